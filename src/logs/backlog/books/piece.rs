//! What the books have entries of: pieces of files, in sequences.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::logs::backlog::mark::{Mark, MarkedPiece};
use crate::logs::backlog::times::Times;
use crate::logs::backups::Backup;
use crate::logs::container::Container;

/// The name that a file has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `<stem>.log`.
    Live,
    /// A backup of this time.
    Backup(i64),
}

impl Place {
    /// The file's name; `None` for a time that has none.
    pub fn file_name(self, stem: &str) -> Option<String> {
        match self {
            Self::Live => Some(format!("{stem}.log")),
            Self::Backup(ms) => Backup {
                ms,
                stem: stem.to_owned(),
            }
            .file_name(),
        }
    }
}

/// Bytes of one file, all of them lines of one container.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Different for each piece of this run.
    pub serial: u64,
    /// The file.
    pub inode: u64,
    /// Where it is.
    pub place: Place,
    /// Whose lines.
    pub owner: Arc<Container>,
    /// Offset of its first byte.
    pub begin: u64,
    /// Offset up to which it is delivered.
    pub sent: u64,
    /// Offset up to which it is read.
    pub read: u64,
    /// Offset up to which it is written.
    pub end: u64,
    /// Where the part of a line behind `end` ended that was there at the start; `end` when there was none.
    pub tail: u64,
    /// Nothing is added any more.
    pub closed: bool,
    /// Lines from `sent` to `end`; `None`: not counted yet, and closed.
    pub lines: Option<u64>,
    /// The file holds nothing but backlog up to `end`.
    pub only: bool,
    /// Bytes of the list of whole lines of this file.
    pub wholes: u64,
    /// Bytes of it that lie before `read`.
    pub wholes_read: u64,
    /// When its lines were written.
    pub times: Times,
}

impl Piece {
    /// All of it is delivered.
    pub(super) fn is_done(&self) -> bool {
        self.sent == self.end
    }

    /// Bytes that are left.
    pub(super) fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.sent)
    }
}

/// The backlog of the log files of one stem.
#[derive(Debug, Default)]
pub struct Sequence {
    /// Oldest first.
    pub pieces: VecDeque<Piece>,
    /// What the mark says is out of date.
    pub dirty: bool,
    /// The mark could not be stored then.
    pub failed: Option<Instant>,
}

impl Sequence {
    /// What the mark has to say.
    pub fn mark(&self) -> Mark {
        let mut owners: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let pieces = self.pieces.iter().map(|piece| {
            let is_owner = |owner: &(Vec<u8>, Vec<u8>)| {
                *owner.0 == *piece.owner.name && *owner.1 == *piece.owner.id
            };
            let owner = owners.iter().position(is_owner).unwrap_or_else(|| {
                owners.push((piece.owner.name.to_vec(), piece.owner.id.to_vec()));
                owners.len() - 1
            });
            MarkedPiece {
                inode: piece.inode,
                begin: piece.begin,
                sent: piece.sent,
                end: piece.closed.then_some(piece.end),
                lines: piece.lines,
                since: piece.times.of(piece.sent),
                only: piece.only,
                owner,
            }
        });
        Mark {
            pieces: pieces.collect(),
            owners,
        }
    }

    /// All pieces of the file are delivered.
    pub(super) fn is_done(&self, inode: u64) -> bool {
        let mut of_file = self.pieces.iter().filter(|piece| piece.inode == inode);
        of_file.all(Piece::is_done)
    }
}
