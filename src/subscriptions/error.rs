//! What can be wrong with event subscriptions.

use std::io;
use std::path::PathBuf;

use crate::limits::{
    SUBSCRIPTION_VALUE_BYTES, SUBSCRIPTION_VALUES, SUBSCRIPTIONS, SUBSCRIPTIONS_BYTES,
    SUBSCRIPTIONS_FILE_BYTES,
};

/// Why a request is no subscription. The first two texts are the original's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not JSON, or a member of another type.
    #[error("Invalid request body.")]
    Body,
    /// The one field that is needed.
    #[error("LocalEventName must not be empty.")]
    NoEventName,
    /// More values than are kept.
    #[error("{0} has more than {SUBSCRIPTION_VALUES} values.")]
    TooManyValues(&'static str),
    /// A longer value than is kept.
    #[error("{0} has a value of more than {SUBSCRIPTION_VALUE_BYTES} bytes.")]
    LongValue(&'static str),
}

/// Why a change is not made. Nothing has changed then, on disk and in memory.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No subscription has this id.
    #[error("Subscription ID does not exist.")]
    Unknown,
    /// The bound is reached.
    #[error(
        "There are too many event subscriptions: at most {SUBSCRIPTIONS}, and {SUBSCRIPTIONS_BYTES} bytes in all. Delete those that are not needed."
    )]
    Full,
    /// What is not stored would be forgotten.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The file could not be written; it holds what it held before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A disk that is full, read-only, …
    #[error("the event subscriptions cannot be stored in {}: is the disk full or read-only?", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than could be read again: a topic of very many partitions.
    #[error(
        "the event subscriptions would take {0} bytes, at most {SUBSCRIPTIONS_FILE_BYTES} are stored"
    )]
    TooLarge(usize),
}

/// Why bytes are no stored subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// Not the JSON that is written.
    #[error("it is not the JSON of event subscriptions: {0}")]
    Json(String),
    /// Of another CIM.
    #[error("it has version {0}, this CIM reads version 1")]
    Version(u64),
    /// What no CIM writes.
    #[error("its {0} cannot be")]
    Value(&'static str),
}

/// A file of an earlier run is of no use. CIM begins without subscriptions; the application has to subscribe again.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stored event subscriptions of {} cannot be used ({problem}): there are none now, {}", .path.display(),
    match .put_aside { Ok(to) => format!("and the file is kept as {}", to.display()), Err(error) => format!("and the file cannot be put aside ({error})") }
)]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// Where it is now.
    pub put_aside: Result<PathBuf, io::Error>,
}
