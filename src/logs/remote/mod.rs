//! Remote sinks of log lines: a TCP collector, Kafka.

pub mod tcp;
mod unacknowledged;

use std::time::Duration;

/// A sink that takes formatted lines and says later which of them have arrived.
pub trait Remote {
    /// Takes one line of `chunk` (a number that the caller chose, growing): `format` appends its text, without a line end. False
    /// when there is no room: then nothing was taken, and `format` was not called.
    ///
    /// # Errors
    /// The sink is broken; nothing counts as arrived but what was said to be.
    fn line(
        &mut self,
        chunk: u64,
        format: &mut dyn FnMut(&mut Vec<u8>),
    ) -> Result<bool, RemoteError>;

    /// Moves what waits, for at most `wait`, and adds what has arrived since the last call.
    ///
    /// # Errors
    /// The sink is broken.
    fn turn(&mut self, wait: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError>;
}

/// Lines of one chunk that are done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The chunk.
    pub chunk: u64,
    /// How many lines of it. Those of a TCP connection arrive in order; those in Kafka not, across partitions.
    pub lines: u32,
    /// The sink will never take this line (index in the chunk, why); `lines` is 1 then.
    pub rejected: Option<(u32, String)>,
}

/// Why a remote sink does not work.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A name has no address.
    #[error(
        "{address} is not found ({reason}): is the name of the log collector right, and does DNS work in this pod?"
    )]
    NotFound {
        /// `host:port`.
        address: String,
        /// What the look-up says.
        reason: String,
    },
    /// No address takes a connection.
    #[error(
        "no connection to {address}, the last address tried is {last}: is the log collector up, and do network policies let it be reached?"
    )]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The last one of its addresses.
        last: String,
        /// What the operating system says about that one.
        source: std::io::Error,
    },
    /// The connection failed.
    #[error("the connection to {peer} failed")]
    Broken {
        /// The peer's address.
        peer: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The peer ended the connection.
    #[error("{peer} closed the connection: has the log collector been restarted?")]
    Closed {
        /// The peer's address.
        peer: String,
    },
    /// Nothing could ever count as arrived.
    #[error(
        "the kernel does not tell what {peer} has acknowledged: allow this container sockets of family AF_NETLINK, or /proc/self/net/tcp"
    )]
    Blind {
        /// The peer's address.
        peer: String,
        /// What the operating system says.
        source: std::io::Error,
    },
}
