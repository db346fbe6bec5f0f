//! Kafka through librdkafka: settings, producers, the consumer of notifications, what an error means.
//!
//! ```text
//! config/      settings -> librdkafka's       producer.rs  records in, delivery reports out
//! words.rs     what librdkafka says unasked   consumer.rs  records out, offsets in; these two are all that talks to brokers
//! error.rs     never, later, or a new producer
//! start.rs     where a partition is begun     ledger.rs    which offsets may be committed
//! hold.rs      when Kafka is told to wait     commits.rs   when they are
//! ```
//!
//! librdkafka brings threads of its own: `rdk:main` and one for each broker (`rdk:broker…`). Its queues are bounded
//! in records and bytes, and part of the memory budget.

mod commits;
mod config;
mod consumer;
mod error;
mod hold;
mod ledger;
mod producer;
mod start;
mod words;

pub use commits::{Commit, Commits};
pub use config::{ConsumerConfig, Pace, ProducerConfig, check_options};
pub use consumer::{Consumer, Failure, Polled, Record, is_caught};
pub use error::{ConfigError, OptionError, Reason, RequestError, SendError, Verdict};
pub use hold::{Hold, Holding};
pub use ledger::Ledger;
pub use producer::{Cluster, Delivery, Outcome, Producer};
pub use start::{Known, Offsets, Start};

/// The topic of log lines.
pub const LOGS: &str = "LOGS";
/// The topic of events that applications may subscribe to.
pub const FMAASEVENTS: &str = "FMAASEVENTS";

/// `compression.type` of librdkafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compression {
    None,
    Gzip,
    Lz4,
    Snappy,
    Zstd,
}

impl Compression {
    /// Every codec with its name, which is librdkafka's.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("none", Self::None),
        ("gzip", Self::Gzip),
        ("lz4", Self::Lz4),
        ("snappy", Self::Snappy),
        ("zstd", Self::Zstd),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.into_iter();
        names
            .find(|(_, codec)| *codec == self)
            .map_or("none", |n| n.0)
    }
}
