//! What can go wrong with the journal.

use std::io;
use std::path::{Path, PathBuf};

use crate::logs::trouble::Operation;
use crate::metrics::Metrics;

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns the directory.
    #[error(
        "the event journal {} is in use{}: stop that CIM, or give this one a directory of its own (CIM_STATE_DIR)",
        .dir.display(), .pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
        /// Who, as far as the directory tells.
        pid: Option<u32>,
    },
    /// The directory cannot be made, read or written.
    #[error(
        "the event journal needs {}, which cannot be used ({}): make it a directory that CIM may write to, or name another one (CIM_STATE_DIR)",
        .dir.display(), .operation.label()
    )]
    Directory {
        /// The journal's directory.
        dir: PathBuf,
        /// What was tried.
        operation: Operation,
        /// Why it failed.
        source: io::Error,
    },
}

/// An operation on the journal's files failed. Nothing is lost by it: the same may be tried again.
#[derive(Debug, thiserror::Error)]
#[error("the event journal: {} {} failed", .operation.label(), .path.display())]
pub struct JournalError {
    /// What was tried.
    pub operation: Operation,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl JournalError {
    /// Counts the failure.
    pub(super) fn new(
        operation: Operation,
        path: &Path,
        source: io::Error,
        metrics: &Metrics,
    ) -> Self {
        let errors = &metrics.events.journal_errors;
        errors.with_label_values(&[operation.label()]).inc();
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

/// A record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal has no room for it until older records are acknowledged.
    #[error("the event journal is full")]
    Full,
    /// No journal takes it.
    #[error("an event of {bytes} bytes is too large for the journal, which takes {max}")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// What was appended before could not be written, and there is no more room in memory.
    #[error(transparent)]
    Disk(#[from] JournalError),
}
