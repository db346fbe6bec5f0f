//! The application's ports over HTTP: one GET each, no connection kept. The only file here that touches a socket.
//!
//! Only ports of the own pod are asked, by loopback: who answers there is in the pod. So the certificates of `https` are not verified;
//! they would be for a name that nobody uses here.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ureq::tls::TlsConfig;
use ureq::unversioned::transport::{Connector, RustlsConnector};
use ureq::{Agent, Timeout};

use super::annotation::Plan;
use super::exposition::Format;
use super::scrape_error::ScrapeError;
use crate::http_agent::{self, QuickTcp};
use crate::limits::{
    ALIGNED_BODIES_BYTES, ALIGNED_BUFFER_BYTES, ALIGNED_CONNECT_TIME, ALIGNED_READ_BYTES,
    EXPOSITION_BYTES,
};
use crate::resolver::LocalResolver;

/// What is asked for: the text format, and not OpenMetrics, whose timestamps are seconds. Whoever has nothing else may say so.
const ACCEPT: &str = "text/plain;version=0.0.4;q=1,*/*;q=0.1";

/// A client of the ports of one plan.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    scheme: &'static str,
    path: String,
}

/// Ends the calls that are under way, from another thread; all later ones fail.
#[derive(Debug, Clone)]
pub struct Closer(Agent);

impl Closer {
    /// Closes every socket. Only a TCP connection that is not there yet goes on, for [`ALIGNED_CONNECT_TIME`] at most.
    pub fn close(&self) {
        self.0.clone().shutdown();
    }
}

/// Bytes that the answers of one round may still take, all ports together.
#[derive(Debug)]
pub struct Room(AtomicUsize);

impl Default for Room {
    /// [`ALIGNED_BODIES_BYTES`].
    fn default() -> Self {
        Self(AtomicUsize::new(ALIGNED_BODIES_BYTES))
    }
}

impl Room {
    /// False when there is not so much left.
    fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        taken.is_ok()
    }
}

/// The answer of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scraped {
    /// The text, at most [`EXPOSITION_BYTES`].
    pub text: Vec<u8>,
    /// How it is meant.
    pub format: Format,
}

impl Client {
    /// A client without a connection.
    pub fn new(plan: &Plan) -> Self {
        let tls = TlsConfig::builder().disable_verification(true);
        let config = http_agent::config(ALIGNED_BUFFER_BYTES)
            .accept(ACCEPT)
            .accept_encoding("")
            .tls_config(tls.build())
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .build();
        let connector =
            ().chain(QuickTcp::new(ALIGNED_CONNECT_TIME))
                .chain(RustlsConnector::default());
        Self {
            agent: Agent::with_parts(config, connector, LocalResolver::default()),
            scheme: plan.scheme.name(),
            path: plan.path.clone(),
        }
    }

    /// What ends its calls.
    pub fn closer(&self) -> Closer {
        Closer(self.agent.clone())
    }

    /// The answer of `port` within `time`, at most [`EXPOSITION_BYTES`] of it and what `room` has left. May be called by several
    /// threads at a time.
    ///
    /// # Errors
    /// No whole answer of status 200.
    pub fn get(&self, port: u16, time: Duration, room: &Room) -> Result<Scraped, ScrapeError> {
        let (scheme, path) = (self.scheme, &self.path);
        // The name that the application knows itself by; it is loopback, whatever a file says.
        let request = self
            .agent
            .get(format!("{scheme}://localhost:{port}{path}"))
            .header("Connection", "close")
            .config()
            .timeout_global(Some(time))
            .build();
        let failed = |error: ureq::Error| match error {
            ureq::Error::Timeout(Timeout::Connect) => ScrapeError::NoConnection {
                source: io::ErrorKind::TimedOut.into(),
            },
            ureq::Error::Timeout(_) => ScrapeError::TimedOut(time),
            ureq::Error::Io(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
                ScrapeError::NoConnection { source }
            }
            error => ScrapeError::Broken {
                source: error.into_io(),
            },
        };
        let mut response = request.call().map_err(failed)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(ScrapeError::Status(status));
        }
        let content_type = response.headers().get("content-type");
        let format = Format::of(content_type.and_then(|value| value.to_str().ok()));
        let mut reader = response.body_mut().as_reader();
        let (mut text, mut block) = (Vec::new(), [0; ALIGNED_READ_BYTES]);
        loop {
            let count = match reader.read(&mut block) {
                Ok(0) => return Ok(Scraped { text, format }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error.into())),
            };
            if text.len() + count > EXPOSITION_BYTES {
                return Err(ScrapeError::TooLarge);
            }
            if !room.take(count) {
                return Err(ScrapeError::NoRoom);
            }
            text.extend_from_slice(block.get(..count).unwrap_or_default());
        }
    }
}
