//! Kafka through librdkafka: settings, producers, what an error means.
//!
//! ```text
//! config.rs    settings -> librdkafka's       producer.rs  records in, delivery reports out; the only file that talks to brokers
//! error.rs     never, later, or a new producer
//! ```
//!
//! librdkafka brings threads of its own: `rdk:main` and one for each broker (`rdk:broker…`). Its queues are bounded
//! in records and bytes, and part of the memory budget.

mod config;
mod error;
mod producer;

pub use config::{Pace, ProducerConfig, check_options};
pub use error::{ConfigError, OptionError, Reason, SendError, Verdict};
pub use producer::{Delivery, Outcome, Producer};

/// The topic of log lines.
pub const LOGS: &str = "LOGS";

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
