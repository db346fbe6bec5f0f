//! What `file_writer` enters: the backlog grows, and its files get other names.

use std::sync::Arc;

use super::{Books, Loss, Piece, Place};
use crate::limits::{BACKLOG_CONTAINERS, BACKLOG_PIECES};
use crate::logs::backlog::times::Times;
use crate::logs::container::Container;

/// What [`Books::begin`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The place was part of the backlog.
    Known,
    /// A new piece begins: the mark has to say so before anything is written. True: it is the first one of its file.
    New(bool),
    /// There is no room for another container.
    Full,
}

/// What was appended to a file.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// The file.
    pub inode: u64,
    /// Where it was to begin.
    pub start: u64,
    /// Bytes of whole lines.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// How long the file should be now.
    pub expected: u64,
    /// How long it is.
    pub len: u64,
}

impl Books {
    /// Lines of `owner` are about to be appended to its file, which has `len` bytes.
    pub fn begin(&mut self, owner: &Arc<Container>, inode: u64, len: u64, now_ms: u64) -> Begun {
        let stem = owner.stem.as_str();
        if let Some(piece) = self.sequences.get(stem).and_then(|s| s.pieces.back())
            && (piece.inode, piece.end, piece.closed) == (inode, len, false)
            && same(&piece.owner, owner)
        {
            return Begun::Known;
        }
        if self.sequences.len() >= BACKLOG_CONTAINERS && !self.holds(stem) {
            return Begun::Full;
        }
        // Shorter than what was written to it: cut by somebody else, or another file with the inode of one that is gone.
        let cut = |piece: &Piece| piece.inode == inode && piece.end > len;
        if self
            .sequences
            .get(stem)
            .is_some_and(|s| s.pieces.iter().any(cut))
        {
            self.drop_pieces(stem, Loss::Removed, |piece| piece.inode == inode);
        }
        let sequence = self.sequences.entry(stem.to_owned()).or_default();
        let before = sequence.pieces.iter().rfind(|piece| piece.inode == inode);
        // Behind the part of a line that a killed CIM left stands the line end that ends it.
        let ended = |piece: &Piece| piece.tail > piece.end && len == piece.tail + 1;
        let only = before.map_or(len == 0, |piece| {
            piece.only && (len == piece.end || ended(piece))
        });
        let (first, wholes) = (before.is_none(), before.map_or(0, |piece| piece.wholes));
        for piece in &mut sequence.pieces {
            piece.closed = true;
        }
        sequence.dirty = true;
        self.serial += 1;
        let piece = Piece {
            serial: self.serial,
            inode,
            place: Place::Live,
            owner: Arc::clone(owner),
            begin: len,
            sent: len,
            read: len,
            end: len,
            tail: len,
            closed: false,
            lines: Some(0),
            only,
            wholes,
            wholes_read: 0,
            times: Times::new(len, now_ms),
        };
        sequence.pieces.push_back(piece);
        self.bound(stem);
        Begun::New(first)
    }

    /// Gives the oldest piece up when there are too many.
    fn bound(&mut self, stem: &str) {
        let pieces = self.sequences.get(stem).map(|sequence| &sequence.pieces);
        if let Some(pieces) = pieces.filter(|pieces| pieces.len() > BACKLOG_PIECES)
            && let Some(oldest) = pieces.front().map(|piece| piece.serial)
        {
            self.drop_pieces(stem, Loss::Limit, |piece| piece.serial == oldest);
        }
    }

    /// Bytes of the list of whole lines of the file that is being written.
    pub fn wholes(&self, stem: &str) -> u64 {
        let last = self.sequences.get(stem).and_then(|s| s.pieces.back());
        last.map_or(0, |piece| piece.wholes)
    }

    /// The list of whole lines of the file that is being written has got longer.
    pub fn add_wholes(&mut self, stem: &str, bytes: u64) {
        if let Some(sequence) = self.sequences.get_mut(stem)
            && let Some(inode) = sequence.pieces.back().map(|piece| piece.inode)
        {
            for piece in sequence.pieces.iter_mut().filter(|p| p.inode == inode) {
                piece.wholes += bytes;
            }
        }
    }

    /// Lines that [`Books::begin`] announced are written.
    pub fn wrote(&mut self, owner: &Arc<Container>, written: &Written, now_ms: u64) {
        let Written {
            inode,
            start,
            bytes,
            lines,
            expected,
            len,
        } = *written;
        let stem = owner.stem.as_str();
        if len < expected {
            // Cut meanwhile: what was before is gone, and perhaps this too.
            self.drop_pieces(stem, Loss::Removed, |piece| piece.inode == inode);
            let Some(start) = len.checked_sub(bytes) else {
                return self.lose(Loss::Removed, lines);
            };
            if !matches!(self.begin(owner, inode, start, now_ms), Begun::Full) {
                self.extend(stem, inode, bytes, Some(lines), now_ms);
            }
            return;
        }
        if len > expected {
            // Somebody else has written too, before these lines or behind them: they are among what is there now.
            if self.extend(stem, inode, 0, Some(0), now_ms) {
                self.begin_mixed(stem, start, len, now_ms);
                return;
            }
        } else if self.extend(stem, inode, bytes, Some(lines), now_ms) {
            return;
        }
        // Refused at the beginning, or forgotten since.
        let full = self.sequences.len() >= BACKLOG_CONTAINERS;
        self.lose(if full { Loss::Limit } else { Loss::Mode }, lines);
    }

    /// Makes the bytes from `start` to `len` a piece of their own, whose lines are not known.
    fn begin_mixed(&mut self, stem: &str, start: u64, len: u64, now_ms: u64) {
        self.serial += 1;
        let serial = self.serial;
        if let Some(sequence) = self.sequences.get_mut(stem)
            && let Some(last) = sequence.pieces.back_mut()
        {
            last.closed = true;
            let piece = Piece {
                serial,
                begin: start,
                sent: start,
                read: start,
                end: len,
                tail: len,
                lines: None,
                only: false,
                times: Times::new(start, now_ms),
                ..last.clone()
            };
            sequence.pieces.push_back(piece);
            sequence.dirty = true;
            self.bytes += len.saturating_sub(start);
        }
        self.bound(stem);
    }

    fn extend(
        &mut self,
        stem: &str,
        inode: u64,
        bytes: u64,
        lines: Option<u64>,
        now_ms: u64,
    ) -> bool {
        let last = self
            .sequences
            .get_mut(stem)
            .and_then(|s| s.pieces.back_mut());
        let Some(piece) = last.filter(|piece| piece.inode == inode && !piece.closed) else {
            return false;
        };
        piece.times.add(piece.end, now_ms);
        piece.end += bytes;
        piece.tail = piece.end;
        if let (Some(count), Some(lines)) = (&mut piece.lines, lines) {
            *count += lines;
            self.lines += lines;
        }
        self.bytes += bytes;
        true
    }

    /// The file has got its backup's name.
    pub fn renamed(&mut self, stem: &str, inode: u64, ms: i64) {
        if let Some(sequence) = self.sequences.get_mut(stem) {
            for piece in sequence.pieces.iter_mut().filter(|p| p.inode == inode) {
                piece.place = Place::Backup(ms);
                piece.closed = true;
                sequence.dirty = true;
            }
        }
    }
}

/// The same container, whatever place it has.
fn same(a: &Arc<Container>, b: &Arc<Container>) -> bool {
    Arc::ptr_eq(a, b) || (a.name == b.name && a.id == b.id)
}
