//! What can go wrong with a log file, and what is to be done about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::metrics::DropReason;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make the log directory.
    MakeDirectory,
    /// Open or make a log file.
    Open,
    /// Look at an open file or at its path.
    Stat,
    /// Read the last byte of a file.
    Read,
    /// Append lines.
    Write,
    /// Cut a half-written line off.
    Truncate,
    /// Give a full file its backup's name.
    Rename,
    /// Look through the log directory.
    List,
    /// Remove a backup.
    Remove,
    /// Bring what was written to the medium.
    Sync,
}

impl Operation {
    /// The value of the label `operation`.
    pub fn label(self) -> &'static str {
        match self {
            Self::MakeDirectory => "mkdir",
            Self::Open => "open",
            Self::Stat => "stat",
            Self::Read => "read",
            Self::Write => "write",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::List => "list",
            Self::Remove => "remove",
            Self::Sync => "sync",
        }
    }
}

/// An operation on a log file failed.
#[derive(Debug, thiserror::Error)]
#[error("{} {} failed: {source}", .operation.label(), .path.display())]
pub struct Trouble {
    /// What was tried.
    pub operation: Operation,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl Trouble {
    /// `operation` on `path` failed with `source`.
    pub fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }

    /// Removing something may help.
    pub fn no_space(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT))
    }

    /// The file may not become larger: another file may help.
    pub fn too_big(&self) -> bool {
        self.errno() == Some(Errno::FBIG)
    }

    /// What the metrics call lines that are lost to this.
    pub fn reason(&self) -> DropReason {
        if self.no_space() || self.too_big() {
            DropReason::NoSpace
        } else {
            DropReason::IoError
        }
    }

    /// The same cause, as far as can be told: who has waited for the one need not wait for the other.
    pub fn same_cause(&self, other: &Self) -> bool {
        self.errno() == other.errno() && self.source.kind() == other.source.kind()
    }
}
