//! Remote sinks of log lines: a TCP collector, Kafka.
//!
//! ```text
//! wanted.rs   which one the settings name     connect.rs   from there to one that works      window.rs   what is in flight
//! tcp.rs      lines as bytes, each with \n    unacknowledged.rs   what the peer's kernel has      tail.rs   what a peer may yet lose
//! kafka.rs    lines as records of topic LOGS
//! ```

pub mod connect;
pub mod kafka;
pub mod tail;
pub mod tcp;
mod unacknowledged;
pub mod wanted;
pub mod window;

use std::time::Duration;

/// A sink that takes formatted lines and says later which of them have arrived.
pub trait Remote {
    /// Takes line `index` of `chunk` (a number that the caller chose, growing): `format` appends its text, without a line end. False
    /// when there is no room: then nothing was taken.
    ///
    /// # Errors
    /// The sink is broken; nothing counts as arrived but what was said to be.
    fn line(
        &mut self,
        chunk: u64,
        index: u32,
        format: &mut dyn FnMut(&mut Vec<u8>),
    ) -> Result<bool, RemoteError>;

    /// Moves what waits, for at most `wait`, and adds what has arrived since the last call.
    ///
    /// # Errors
    /// The sink is broken.
    fn turn(&mut self, wait: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError>;

    /// The process ends: nothing is waited for.
    fn close(self: Box<Self>) {}
}

/// Lines of one chunk that are done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The chunk.
    pub chunk: u64,
    /// How many lines of it. They arrive in order.
    pub lines: u32,
    /// The sink will never take this line (index in the chunk, why); `lines` is 1 then.
    pub rejected: Option<(u32, &'static str)>,
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
    /// Lines waited too long.
    #[error("{peer} has let log lines wait for {time:?}: it stands still or is too slow")]
    Stalled {
        /// The sink.
        peer: String,
        /// For how long.
        time: Duration,
    },
    /// The settings lack it.
    #[error("{0} is missing in common-infra.json: log lines have no place to go")]
    NoAddress(&'static str),
    /// Kafka does not say how many partitions the topic has.
    #[error(
        "no broker of {brokers} knows topic {topic} ({last}): are they up, and does the topic exist or may it be created?"
    )]
    NoTopic {
        /// `kafka_brokers`.
        brokers: String,
        /// The topic.
        topic: &'static str,
        /// What librdkafka said last.
        last: String,
    },
    /// The producer is of no use any more.
    #[error("Kafka at {brokers} does not take log lines: {reason}")]
    Kafka {
        /// `kafka_brokers`.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// librdkafka does not take its settings.
    #[error("no producer can be made for log lines")]
    Settings(#[from] crate::kafka::ConfigError),
    /// CIM ends.
    #[error("CIM ends before all log lines have arrived")]
    Ending,
}
