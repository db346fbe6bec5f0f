//! The status page and its document.

use std::time::Duration;

/// Time between two points of the rates on the status page: one wake-up of a thread that else sleeps.
pub const RATE_STEP: Duration = Duration::from_secs(10);
/// Points that are kept: ten minutes.
pub const RATE_POINTS: usize = 60;
/// Lines of CIM's own log of level WARNING and above that the status page shows.
pub const OWN_LOG_KEPT: usize = 50;
/// Bytes of them together; the oldest go first.
pub const OWN_LOG_KEPT_BYTES: usize = 16 << 10;
/// Containers that the status page shows: those whose lines came last.
pub const STATUS_CONTAINERS: usize = 64;
/// Bytes of a container's name or id that it shows. Kubernetes: 63, a container runtime's id 64.
pub const STATUS_NAME_BYTES: usize = 128;
/// NATS connections that it shows.
pub const STATUS_CONNECTIONS: usize = 32;
/// Bytes of the document that `cim status` takes: all of the above, a hundred change sets and every setting have some 100 KiB.
pub const STATUS_BYTES: u64 = 2 << 20;
