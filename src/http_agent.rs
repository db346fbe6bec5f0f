//! What all of CIM's HTTP clients have in common: they talk to what is named and to nothing else, a status is an answer, and their
//! buffers are small.

use std::sync::Arc;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::time::Duration as Limit;
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Timeout};

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

/// TCP connections with a time-out of their own: ureq's would count the TLS handshake too, which may take longer, and which
/// [`Agent::shutdown`] can end. A connection that is not there yet it cannot.
#[derive(Debug)]
pub struct QuickTcp {
    tcp: TcpConnector,
    most: Duration,
}

impl QuickTcp {
    /// Connections that take at most `most`, all addresses of a name together.
    pub fn new(most: Duration) -> Self {
        Self {
            tcp: TcpConnector::default(),
            most,
        }
    }
}

impl<In: Transport> Connector<In> for QuickTcp {
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let mut timeout = details.timeout;
        if *timeout.after > self.most {
            timeout = NextTimeout {
                after: Limit::Exact(self.most),
                reason: Timeout::Connect,
                ..timeout
            };
        }
        let details = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::clone(&details.run_connector),
            register_shutdown: Arc::clone(&details.register_shutdown),
        };
        self.tcp.connect(&details, chained)
    }
}
