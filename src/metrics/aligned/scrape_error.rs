//! Why a port could not be scraped.

use std::io;
use std::time::Duration;

use super::error::ParseError;
use super::snapshot::TooLarge;
use crate::limits::{ALIGNED_BODIES_BYTES, EXPOSITION_BYTES};

/// One port has not given its metrics; the next aligned time is the next try.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// Nobody listens there, or nobody takes the connection.
    #[error("no connection")]
    NoConnection {
        /// What the operating system says.
        source: io::Error,
    },
    /// No whole answer within this time.
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke, or what came was no HTTP, or no TLS.
    #[error("no answer that can be read")]
    Broken {
        /// What was wrong.
        source: io::Error,
    },
    /// An answer other than 200: a redirect is not followed.
    #[error("status {0} instead of 200")]
    Status(u16),
    /// More than [`EXPOSITION_BYTES`].
    #[error("more than {EXPOSITION_BYTES} bytes: let the application offer fewer series")]
    TooLarge,
    /// The ports together have more than [`ALIGNED_BODIES_BYTES`].
    #[error(
        "with the other ports more than {ALIGNED_BODIES_BYTES} bytes: let the application offer fewer series"
    )]
    NoRoom,
    /// The text cannot be read.
    #[error("the text cannot be read")]
    Text(#[from] ParseError),
    /// The snapshot has no room for what the port offers.
    #[error(transparent)]
    Series(#[from] TooLarge),
    /// CIM's own series cannot be written.
    #[error("CIM's own series cannot be written")]
    Own(#[source] prometheus::Error),
    /// The operating system has no thread to give for this port.
    #[error("no thread")]
    NoThread {
        /// What the operating system says.
        source: io::Error,
    },
}
