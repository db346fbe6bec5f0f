//! Why a port could not be scraped.

use std::io;
use std::time::Duration;

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
}
