//! The books of the backlog: which pieces of which files are still to be sent, how far they are read and delivered, and how many lines
//! that is. No file is touched here.
//!
//! At every moment: lines taken in = delivered + [`Books::lines`] + lost, but for pieces found at the start, which count from the moment
//! when their lines are counted.
//!
//! ```text
//! piece.rs   pieces and sequences     writing.rs   the backlog grows     sending.rs   it is read, counted and delivered
//! ```

mod piece;
mod sending;
mod writing;

use std::collections::{BTreeMap, VecDeque};

pub use piece::{Piece, Place, Sequence};
pub use sending::{Done, Task};
pub use writing::{Begun, Written};

use crate::limits::{BACKLOG_CONTAINERS, BACKLOG_UNCOUNTED};

/// Why lines in the files will not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Their file went by count, by age, or for its space.
    Retention,
    /// Their file was removed, moved away or cut by somebody else.
    Removed,
    /// The mode became one without a remote sink.
    Mode,
    /// More containers or pieces than there is room for.
    Limit,
}

impl Loss {
    const ALL: [Loss; 4] = [Loss::Retention, Loss::Removed, Loss::Mode, Loss::Limit];

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Removed => "removed",
            Self::Mode => "mode",
            Self::Limit => "limit",
        }
    }
}

/// All backlogs.
#[derive(Debug, Default)]
pub struct Books {
    sequences: BTreeMap<String, Sequence>,
    turn: String,
    serial: u64,
    lines: u64,
    bytes: u64,
    lost: [u64; 4],
    uncounted: VecDeque<Piece>,
}

impl Books {
    /// Lines that are left, as far as counted.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Bytes that are left.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest line that is left was written, in milliseconds since the epoch.
    pub fn oldest_ms(&self) -> Option<u64> {
        let first = |sequence: &Sequence| {
            let piece = sequence.pieces.iter().find(|piece| !piece.is_done())?;
            Some(piece.times.of(piece.sent))
        };
        self.sequences.values().filter_map(first).min()
    }

    /// Lines lost since the last call, by reason.
    pub fn take_lost(&mut self) -> impl Iterator<Item = (Loss, u64)> + use<> {
        let lost = std::mem::take(&mut self.lost);
        Loss::ALL.into_iter().zip(lost).filter(|lost| lost.1 > 0)
    }

    /// Counts lines that will not be sent.
    pub fn lose(&mut self, loss: Loss, lines: u64) {
        if let Some(count) = self.lost.get_mut(loss as usize) {
            *count += lines;
        }
    }

    /// The backlog of `stem`.
    pub fn sequence(&mut self, stem: &str) -> Option<&mut Sequence> {
        self.sequences.get_mut(stem)
    }

    /// Everything that is written to the files of `stem` is backlog.
    pub fn holds(&self, stem: &str) -> bool {
        self.sequences.contains_key(stem)
    }

    /// The newest backup among the files of `stem` that have to be sent.
    pub fn newest_backup(&self, stem: &str) -> Option<i64> {
        let pieces = self.sequences.get(stem)?.pieces.iter();
        let backups = pieces.filter_map(|piece| match piece.place {
            Place::Backup(ms) => Some(ms),
            Place::Live => None,
        });
        backups.max()
    }

    /// The stems whose marks are out of date.
    pub fn dirty(&self) -> Vec<String> {
        let dirty = self.sequences.iter().filter(|(_, sequence)| sequence.dirty);
        dirty.map(|(stem, _)| stem.clone()).collect()
    }

    /// Takes a piece in that a mark of an earlier run has; in the order of the mark. False: there is no room for it.
    pub fn restore(&mut self, stem: &str, mut piece: Piece) -> bool {
        let full = self.sequences.len() >= BACKLOG_CONTAINERS && !self.sequences.contains_key(stem);
        if full {
            return false;
        }
        self.serial += 1;
        piece.serial = self.serial;
        self.bytes += piece.bytes();
        self.lines += piece.lines.unwrap_or(0);
        let sequence = self.sequences.entry(stem.to_owned()).or_default();
        sequence.pieces.push_back(piece);
        true
    }

    /// Drops pieces that will not be sent; returns the files of which none is left.
    pub fn drop_pieces(
        &mut self,
        stem: &str,
        loss: Loss,
        which: impl Fn(&Piece) -> bool,
    ) -> Vec<u64> {
        let mut gone = Vec::new();
        let mut lost = 0;
        if let Some(sequence) = self.sequences.get_mut(stem) {
            let (lines, bytes) = (&mut self.lines, &mut self.bytes);
            sequence.pieces.retain(|piece| {
                if !which(piece) {
                    return true;
                }
                *bytes = bytes.saturating_sub(piece.bytes());
                *lines = lines.saturating_sub(piece.lines.unwrap_or(0));
                // Not counted: one at the least.
                lost += piece.lines.unwrap_or(u64::from(!piece.is_done()));
                gone.push(piece.inode);
                false
            });
            sequence.dirty |= !gone.is_empty();
            gone.retain(|inode| sequence.pieces.iter().all(|piece| piece.inode != *inode));
        }
        self.lose(loss, lost);
        gone
    }

    /// The backlog of `stem` ends: nothing of it is left.
    pub fn end(&mut self, stem: &str) {
        self.drop_pieces(stem, Loss::Removed, |_| true);
        self.sequences.remove(stem);
    }

    /// The piece as it is now; `None` when it is lost or done with.
    pub fn piece(&mut self, piece: &Piece) -> Option<&mut Piece> {
        let sequence = self.sequences.get_mut(&piece.owner.stem)?;
        sequence
            .pieces
            .iter_mut()
            .find(|now| now.serial == piece.serial)
    }

    /// Ends all backlogs; the lines stay in the files. Returns the stems, with the files of each that have a list, and whether it is still
    /// needed to count them.
    pub fn forget(&mut self) -> Vec<(String, Vec<(u64, bool)>)> {
        let stems: Vec<String> = self.sequences.keys().cloned().collect();
        let mut all = Vec::new();
        for stem in stems {
            let Some(sequence) = self.sequences.remove(&stem) else {
                continue;
            };
            let mut files = Vec::new();
            for piece in sequence.pieces {
                self.bytes = self.bytes.saturating_sub(piece.bytes());
                let count = piece.lines.is_none() && self.uncounted.len() < BACKLOG_UNCOUNTED;
                if piece.wholes > 0 {
                    files.push((piece.inode, count));
                }
                match piece.lines {
                    Some(lines) => {
                        self.lines = self.lines.saturating_sub(lines);
                        self.lose(Loss::Mode, lines);
                    }
                    None if count => self.uncounted.push_back(piece),
                    None => self.lose(Loss::Mode, 1),
                }
            }
            all.push((stem, files));
        }
        all
    }
}
