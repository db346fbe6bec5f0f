//! What the commands share that ask the operations API of a running CIM: `health`, `history` and `status`.

use std::time::Duration;

use clap::Args;

use crate::http_agent;
use crate::secret::Secret;

/// Time for the whole answer: CIM is on this host, and a health check has 5 s.
const TIME: Duration = Duration::from_secs(3);
/// Bytes of each buffer of the connection.
const BUFFER_BYTES: usize = 16 << 10;
/// CONTRACT section 1.
const DEFAULT_PORT: u16 = 6060;

/// Where it is.
#[derive(Debug, Default, Args)]
pub struct OperationsArgs {
    /// Operations API, http://host:port [default: http://127.0.0.1:$CIM_REST_PORT, port 6060]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
}

/// Nobody listens, or it is no CIM.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {server}: is CIM running, and is this its port (--server, CIM_REST_PORT)?")]
pub struct NoAnswer {
    /// Where.
    server: String,
    /// What the client met.
    source: Box<ureq::Error>,
}

/// What answers is no CIM.
#[derive(Debug, thiserror::Error)]
#[error("{server} does not answer as CIM does")]
pub struct NotCim {
    /// Where.
    pub server: String,
}

/// An operations API.
pub(super) struct Operations {
    pub server: String,
}

impl Operations {
    /// The one that the arguments name, else that of this host at `CIM_REST_PORT`.
    pub fn new(args: &OperationsArgs) -> Self {
        let port = std::env::var("CIM_REST_PORT").ok();
        let server = server(args.server.as_deref(), port.as_deref());
        Self { server }
    }

    /// Status and text of the answer to GET of `path`, which has at most `bytes`.
    pub fn ask(
        &self,
        path: &str,
        token: Option<&Secret>,
        bytes: u64,
    ) -> Result<(u16, String), NoAnswer> {
        let server = &self.server;
        get(&format!("{server}{path}"), token, bytes).map_err(|source| self.no_answer(source))
    }

    /// An answer with this status says nothing.
    pub fn no_answer(&self, source: ureq::Error) -> NoAnswer {
        NoAnswer {
            server: self.server.clone(),
            source: Box::new(source),
        }
    }

    /// The answer cannot be used.
    pub fn not_cim(&self) -> NotCim {
        let server = self.server.clone();
        NotCim { server }
    }
}

fn get(url: &str, token: Option<&Secret>, bytes: u64) -> Result<(u16, String), ureq::Error> {
    let agent = http_agent::config(BUFFER_BYTES)
        .timeout_global(Some(TIME))
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {}", token.reveal()));
    }
    let mut answer = request.call()?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(bytes);
    Ok((status, text.read_to_string()?))
}

fn server(given: Option<&str>, port: Option<&str>) -> String {
    if let Some(server) = given {
        let server = server.trim_end_matches('/');
        return match server.contains("://") {
            true => server.to_owned(),
            false => format!("http://{server}"),
        };
    }
    let port = port.and_then(|port| port.parse().ok());
    let port = port.filter(|&port: &u16| port != 0).unwrap_or(DEFAULT_PORT);
    format!("http://127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_api_given_wins_then_the_port_of_the_environment() {
        for (given, port, url) in [
            (Some("http://a:1/"), Some("2"), "http://a:1"),
            (Some("a:1"), None, "http://a:1"),
            (None, Some("7000"), "http://127.0.0.1:7000"),
            (None, Some("0"), "http://127.0.0.1:6060"),
            (None, None, "http://127.0.0.1:6060"),
        ] {
            assert_eq!(server(given, port), url);
        }
    }
}
