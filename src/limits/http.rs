//! The operations API, what it tells, and names for HTTP clients.

use std::time::Duration;

use super::{CONFIG_ADDRESSES, SNAPSHOT_BYTES};

/// HTTP connections at one time; when a new one comes, the one that has waited longest in the middle of a request goes.
pub const HTTP_CONNECTIONS: usize = 64;
/// Bytes of an HTTP request line and header together.
pub const HTTP_HEAD_BYTES: usize = 16 << 10;
/// Bytes of an HTTP request body.
pub const HTTP_BODY_BYTES: usize = 256 << 10;
/// Time for one whole HTTP request to arrive, and for its answer to leave.
pub const HTTP_REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time an HTTP connection may be kept open between two requests.
pub const HTTP_IDLE_TIME: Duration = Duration::from_secs(60);

/// Lines of an HTTP header. Ordinary clients send fewer than 20; the table of them is on the stack.
pub const HTTP_HEADERS: usize = 64;
/// Bytes of one read from an HTTP connection.
pub const HTTP_READ_BYTES: usize = 16 << 10;
/// Bytes of half-received requests and half-sent answers over all HTTP connections: what slow clients can take together. The answer
/// with the largest snapshot of aligned metrics is one of them, which is lost when it is not sent.
pub const HTTP_ALL_BYTES: usize = (8 << 20) + SNAPSHOT_BYTES;
const _: () = assert!(
    HTTP_ALL_BYTES >= 4 * (HTTP_BODY_BYTES + HTTP_HEAD_BYTES + HTTP_READ_BYTES),
    "a few requests of the largest size must fit at one time"
);
/// Time after which an HTTP connection in the middle of a request or an answer counts as stuck, and goes first when
/// [`HTTP_CONNECTIONS`] is reached. An honest client on loopback needs milliseconds.
pub const HTTP_STUCK_TIME: Duration = Duration::from_secs(1);
/// Time an HTTP connection is still read after the last answer, so that the answer is not lost to a reset (RFC 9112, 9.6).
pub const HTTP_LINGER_TIME: Duration = Duration::from_secs(1);
/// Time that HTTP answers in progress have once a stop was asked for.
pub const HTTP_STOP_TIME: Duration = Duration::from_secs(1);
/// Time without a further try after a failed accept (no descriptors left): a busy loop would help nobody.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of the reason that a part of CIM gives for its state; a longer one is cut.
pub const HEALTH_REASON_BYTES: usize = 512;

/// Time for which the addresses of a name are kept: a server that has moved is found again soon after.
pub const RESOLVED_TIME: Duration = Duration::from_secs(10);
/// Names whose addresses are kept for one client.
pub const RESOLVED_NAMES: usize = CONFIG_ADDRESSES;
