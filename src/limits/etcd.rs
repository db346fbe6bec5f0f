//! etcd.

use std::time::Duration;

/// Time to connect to an etcd endpoint, TLS included; the same again for its name.
pub const ETCD_CONNECT_TIME: Duration = Duration::from_secs(2);
/// Time for one call of etcd, and for the first answer of a watch. etcd itself gives a put up after about 5 s.
pub const ETCD_CALL_TIME: Duration = Duration::from_secs(5);
/// Time one watch stream of etcd is used before the next one takes over: a connection that has died without a sign is
/// then known, which with one call that times out must take less than 60 s.
pub const ETCD_STREAM_TIME: Duration = Duration::from_secs(25);
const _: () = assert!(
    ETCD_STREAM_TIME.as_secs() + ETCD_CALL_TIME.as_secs() + 2 * ETCD_CONNECT_TIME.as_secs() < 60,
    "a half-open watch must be known within 60 s"
);
/// Time a connection to etcd is kept open between two calls.
pub const ETCD_IDLE_TIME: Duration = Duration::from_secs(60);
/// Bytes of one answer of etcd, and of one line of a watch. etcd takes requests of up to 1.5 MiB, which base64 makes 2, and
/// breaks larger watch answers up: one key of the largest size always fits. A reader of many keys asks for a few at a time.
pub const ETCD_ANSWER_BYTES: usize = 4 << 20;
/// Keys or events in one answer of etcd. Each takes some 80 bytes once read and may be 3 bytes on the wire (`{},`).
pub const ETCD_ITEMS: usize = 16_384;
/// Bytes that are kept of a text in which etcd says why not.
pub const ETCD_REASON_BYTES: usize = 200;
/// Bytes of each of the two buffers of a connection to etcd, and of one read of a watch.
pub const ETCD_BUFFER_BYTES: usize = 16 << 10;
/// Pause after the first failed try to reach etcd.
pub const ETCD_RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries to reach etcd: it is found again within seconds, by many sidecars without a rush.
pub const ETCD_RETRY_LAST: Duration = Duration::from_secs(5);
