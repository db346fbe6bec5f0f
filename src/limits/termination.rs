//! How CIM ends.

use std::time::Duration;

/// Time the data path has to store what was accepted once a stop was asked for. Kubernetes gives 30 s in all.
pub const STOP_TIME: Duration = Duration::from_secs(20);
/// Time in which `nats_server` still reads what clients had sent before the stop.
pub const STOP_READ_TIME: Duration = Duration::from_secs(1);

/// Time in which Kubernetes has to say whether the pod is being deleted, once a signal has come.
pub const POD_STATE_TIME: Duration = Duration::from_secs(2);
/// Time in which the application has to answer the request to shut down.
pub const SHUTDOWN_ANSWER_TIME: Duration = Duration::from_secs(10);
/// Time that this request has even when no grace is left: the application hears of its end, and [`GRACE_RESERVE`] holds it.
pub const SHUTDOWN_ANSWER_TIME_LEAST: Duration = Duration::from_secs(1);
/// Part of the grace that is kept for CIM's own end (CONTRACT section 10).
pub const GRACE_RESERVE: Duration = Duration::from_secs(3);
const _: () = assert!(GRACE_RESERVE.as_secs() > SHUTDOWN_ANSWER_TIME_LEAST.as_secs());
/// Grace when nobody says another. Kubernetes: 30 s.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest grace that is believed.
pub const GRACE_LONGEST: Duration = Duration::from_secs(3600);
/// Time for the deletion of the own pod at the end.
pub const DELETE_POD_TIME: Duration = Duration::from_secs(5);

/// Time between two looks for the application's NATS connections, with `CIM_END_AFTER_APP`.
pub const PRESENCE_LOOK: Duration = Duration::from_millis(500);
