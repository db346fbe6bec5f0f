//! Why the application has not answered.

use std::error::Error;
use std::time::Duration;

use crate::limits::APP_REQUEST_BYTES;

/// What a library says about a failure.
pub(super) type Source = Box<dyn Error + Send + Sync>;

/// The application has not answered a request.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address cannot be used: correct `CIM_APP_URL`.
    #[error("{url} is no http:// address of the application")]
    InvalidUrl {
        /// The address.
        url: String,
    },
    /// The body is larger than [`APP_REQUEST_BYTES`].
    #[error("a request to the application has {bytes} bytes, more than {APP_REQUEST_BYTES}")]
    TooLarge {
        /// Bytes of the body.
        bytes: usize,
    },
    /// No connection: nobody listens, the name is unknown, or it took too long. Nothing was sent; try again later.
    #[error("no connection to the application at {url}")]
    Refused {
        /// The address.
        url: String,
        /// Why.
        source: Source,
    },
    /// Connected, and no answer in time.
    #[error("no answer from the application at {url} within {after:?}")]
    TimedOut {
        /// The address.
        url: String,
        /// The time it had.
        after: Duration,
        /// The request was sent, or a part of it.
        sent: bool,
    },
    /// The connection ended before an answer, or what came was none.
    #[error("the application at {url} broke off without an answer")]
    Broken {
        /// The address.
        url: String,
        /// The request was sent, or a part of it.
        sent: bool,
        /// Why.
        source: Source,
    },
    /// CIM stops: see [`super::AppStop`].
    #[error("the request to the application was given up because CIM stops")]
    Stopped {
        /// The request was sent, or a part of it.
        sent: bool,
    },
}

impl AppError {
    /// The application may have seen the request, so that it could be handled twice if it were sent again. False when it
    /// certainly has not.
    pub fn may_have_been_handled(&self) -> bool {
        match self {
            Self::InvalidUrl { .. } | Self::TooLarge { .. } | Self::Refused { .. } => false,
            Self::TimedOut { sent, .. } | Self::Broken { sent, .. } | Self::Stopped { sent } => {
                *sent
            }
        }
    }
}
