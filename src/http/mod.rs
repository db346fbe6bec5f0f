//! The operations API: HTTP/1.1 and 1.0 without a socket, and the routes.
//!
//! Not `tiny_http`: it starts a thread for each connection without a bound, has no time limit on reads and none on the
//! length of a header line, so that one stuck client after the other would take the sidecar's memory. Here one thread
//! (`threads/http_server.rs`) polls all connections with `mio`, and the parser of the head is `httparse`.
//!
//! Bytes in: [`RequestReader`], which [`Connection`] drives together with its deadlines. [`Handler`] makes an [`Answer`]
//! of a [`Request`]; the daemon's is [`Operations`]. Bytes out: [`Response::encode`]. Every error is JSON, `{"error": …}`.

mod answer;
mod chunked;
mod connection;
mod monitor;
mod origin;
mod reader;
mod request;
mod response;
mod routes;
mod status;
mod subscriptions;

pub use answer::{Answer, Handler, Replier, Scope, Wake, later};
pub use connection::{Connection, Deadline, End, Expendable};
pub use monitor::{Access, Monitor, MonitorPath};
pub use reader::{RequestError, RequestReader, Step};
pub use request::{Method, Request, Version};
pub use response::Response;
pub use routes::{HISTORY_PATH, Operations, STATUS_PATH};
pub use subscriptions::{EventSubscriptions, SUBSCRIPTIONS_PATH};

pub(crate) use origin::host_of;

use std::time::Duration;

use crate::limits;

/// The bounds of the operations API as a value, so that tests can make them small.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a request line and header together.
    pub head_bytes: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Connections at one time.
    pub connections: usize,
    /// Bytes held for all connections together.
    pub all_bytes: usize,
    /// For a whole request to arrive, for its answer to be made, and for it to leave.
    pub request_time: Duration,
    /// Between two requests of a connection.
    pub idle_time: Duration,
    /// After which a connection in the middle of a request or an answer counts as stuck.
    pub stuck_time: Duration,
    /// For reading on after the last answer.
    pub linger_time: Duration,
    /// For answers in progress when CIM stops.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: limits::HTTP_HEAD_BYTES,
            body_bytes: limits::HTTP_BODY_BYTES,
            connections: limits::HTTP_CONNECTIONS,
            all_bytes: limits::HTTP_ALL_BYTES,
            request_time: limits::HTTP_REQUEST_TIME,
            idle_time: limits::HTTP_IDLE_TIME,
            stuck_time: limits::HTTP_STUCK_TIME,
            linger_time: limits::HTTP_LINGER_TIME,
            stop_time: limits::HTTP_STOP_TIME,
        }
    }
}

impl Limits {
    /// Small bounds for tests.
    pub fn tiny() -> Self {
        Self {
            head_bytes: 256,
            body_bytes: 64,
            connections: 4,
            all_bytes: 4096,
            request_time: Duration::from_millis(200),
            idle_time: Duration::from_millis(400),
            stuck_time: Duration::from_millis(50),
            linger_time: Duration::from_millis(100),
            stop_time: Duration::from_millis(200),
        }
    }
}
