//! What other threads ask of the thread `kubernetes`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::{Deleted, KubeError, Pod};

/// A command. Whoever waits for a reply gives a channel with room for it, and a limit to its own wait: a call that is under way
/// comes first.
pub enum Command {
    /// An application has registered. Where there is neither a mounted cim.json nor the ConfigMap, that is made.
    Registered {
        /// After this time `done` is called all the same; what is missing is done in the background.
        until: Instant,
        /// Called once all is known and the ConfigMap is there, when that may take long, or at `until`.
        done: Box<dyn FnOnce() + Send>,
    },
    /// Delete the own pod while CIM goes on, so that it starts again: tried until it is done.
    RestartPod {
        /// Why, for CIM's own log.
        reason: &'static str,
    },
    /// Delete the own pod at the end, so that application and sidecar start together: tried once.
    DeletePod {
        /// Why, for CIM's own log.
        reason: String,
        /// For the call.
        time: Duration,
        /// What became of it.
        reply: Sender<Result<Deleted, KubeError>>,
    },
    /// Read the own pod.
    GetPod {
        /// For the call.
        time: Duration,
        /// The pod.
        reply: Sender<Result<Pod, KubeError>>,
    },
    /// Find the log collector of the own node.
    LocalCollector {
        /// For all calls together.
        time: Duration,
        /// Its address; `None` when there is none that is ready.
        reply: Sender<Result<Option<IpAddr>, KubeError>>,
    },
    /// End. The thread's `Stopper` sends it.
    Stop,
}
