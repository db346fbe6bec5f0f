//! The application's HTTP side.

use std::time::Duration;

/// Bytes of a request to the application. A change set in etcd has at most 1.5 MiB, and JSON may write a byte as six.
pub const APP_REQUEST_BYTES: usize = 10 << 20;
/// Bytes that are read of the text of an application's answer; the connection of a longer one is closed.
pub const APP_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of it that a log line shows.
pub const APP_ANSWER_SHOWN_BYTES: usize = 256;
/// Bytes of the head of an application's answer, and of the buffers of its connection.
pub const APP_HEAD_BYTES: usize = 16 << 10;
/// Time in which the application's kernel has to take a connection: it is on the same host. Nothing can interrupt this wait,
/// so it is short; who calls tries again.
pub const APP_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Time in which the text of an answer has to follow its head: the status is the answer, the text is for the log alone.
pub const APP_ANSWER_TEXT_TIME: Duration = Duration::from_secs(1);
/// Time after which an idle connection to the application is not used again. Common servers close theirs after 5 s and more,
/// and a request on a connection that is just being closed may or may not have been handled.
pub const APP_IDLE_TIME: Duration = Duration::from_secs(3);
