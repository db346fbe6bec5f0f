//! What all of CIM's HTTP clients have in common: they talk to what is named and to nothing else, a status is an answer, and their
//! buffers are small.

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

/// How CIM calls itself.
pub const USER_AGENT: &str = concat!("cim/", env!("CARGO_PKG_VERSION"));

/// The beginning of an agent's configuration: no proxy (a proxy of the environment is for what is outside), no redirect followed,
/// every status an answer; `buffer_bytes` for each of the two buffers of a connection and for the head of an answer; one idle connection.
pub fn config(buffer_bytes: usize) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .max_response_header_size(buffer_bytes)
        .input_buffer_size(buffer_bytes)
        .output_buffer_size(buffer_bytes)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
}
