//! Remote sinks of log lines: a TCP collector, Kafka.

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
    /// The connection failed.
    #[error("the connection to {peer} failed")]
    Broken {
        /// The peer's address.
        peer: String,
        /// What the operating system says.
        source: std::io::Error,
    },
}
