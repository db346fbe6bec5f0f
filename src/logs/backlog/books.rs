//! The books of the backlog: which pieces of which files are still to be sent, how far they are read and delivered, and how many lines
//! that is. No file is touched here.
//!
//! At every moment: lines taken in = delivered + [`Books::lines`] + lost, but for pieces found at the start, which count from the moment
//! when their lines are counted.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use super::mark::{Mark, MarkedPiece};
use super::times::Times;
use crate::limits::{BACKLOG_CONTAINERS, BACKLOG_PIECES, BACKLOG_UNCOUNTED};
use crate::logs::backups::Backup;
use crate::logs::container::Container;

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
    fn is_done(&self) -> bool {
        self.sent == self.end
    }

    /// Bytes that are left.
    fn bytes(&self) -> u64 {
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
    fn is_done(&self, inode: u64) -> bool {
        let mut of_file = self.pieces.iter().filter(|piece| piece.inode == inode);
        of_file.all(Piece::is_done)
    }
}

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

/// A piece that is to be read.
#[derive(Debug, Clone)]
pub struct Task {
    /// The piece, as it was.
    pub piece: Piece,
    /// Its backlog was forgotten: it is read only to count what is lost.
    pub forgotten: bool,
}

/// A file of which everything is delivered.
#[derive(Debug, Clone)]
pub struct Done {
    /// The container's file name.
    pub stem: String,
    /// The file.
    pub inode: u64,
    /// Where it is.
    pub place: Place,
    /// Its length if nothing was added.
    pub len: u64,
    /// It holds nothing but backlog.
    pub only: bool,
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

    /// Pieces of the backup `ms` of `stem` whose lines are not counted.
    pub fn uncounted_in(&self, stem: &str, ms: i64) -> Vec<Task> {
        let pieces = self.sequences.get(stem).into_iter().flat_map(|s| &s.pieces);
        pieces
            .filter(|piece| piece.place == Place::Backup(ms) && piece.lines.is_none())
            .map(|piece| Task {
                piece: piece.clone(),
                forgotten: false,
            })
            .collect()
    }

    /// A piece whose lines are not counted.
    pub fn next_uncounted(&mut self) -> Option<Task> {
        if let Some(piece) = self.uncounted.pop_front() {
            return Some(Task {
                piece,
                forgotten: true,
            });
        }
        let mut pieces = self.sequences.values().flat_map(|s| &s.pieces);
        let piece = pieces.find(|piece| piece.lines.is_none())?.clone();
        Some(Task {
            piece,
            forgotten: false,
        })
    }

    /// The lines of a piece are counted, from `sent` on. False: it was delivered further meanwhile.
    pub fn counted(&mut self, task: &Task, lines: u64) -> bool {
        if task.forgotten {
            self.lose(Loss::Mode, lines);
            return true;
        }
        let Some(piece) = self.piece(&task.piece) else {
            return true;
        };
        if piece.lines.is_some() {
            return true;
        }
        if piece.sent != task.piece.sent {
            return false;
        }
        piece.lines = Some(lines);
        self.lines += lines;
        true
    }

    /// The piece as it is now; `None` when it is lost or done with.
    pub fn piece(&mut self, piece: &Piece) -> Option<&mut Piece> {
        let sequence = self.sequences.get_mut(&piece.owner.stem)?;
        sequence
            .pieces
            .iter_mut()
            .find(|now| now.serial == piece.serial)
    }

    /// What to read next: the container that has waited longest for its turn, its oldest piece that is not read yet.
    pub fn next_to_read(&mut self) -> Option<Task> {
        let unread = |(stem, sequence): (&String, &Sequence)| {
            let piece = sequence
                .pieces
                .iter()
                .find(|piece| piece.read < piece.end)?;
            Some((stem.clone(), piece.clone()))
        };
        let turn = self.turn.as_str();
        let behind = self
            .sequences
            .range::<str, _>((Bound::Excluded(turn), Bound::Unbounded));
        let before = self
            .sequences
            .range::<str, _>((Bound::Unbounded, Bound::Included(turn)));
        let (stem, piece) = behind.chain(before).find_map(unread)?;
        self.turn = stem;
        Some(Task {
            piece,
            forgotten: false,
        })
    }

    /// The piece is read up to `read`. False: it is not there any more, or was rewound.
    pub fn read_on(&mut self, piece: &Piece, read: u64, wholes_read: u64) -> bool {
        match self.piece(piece) {
            Some(now) if now.read == piece.read && read <= now.end => {
                now.read = read;
                now.wholes_read = wholes_read;
                true
            }
            _ => false,
        }
    }

    /// Everything up to `to` has arrived, of which `lines` say how many lines begin at or behind an offset. Returns how many are newly
    /// delivered, and whether the file is done with. What was sent out of order, or is not in the books any more, counts nothing.
    pub fn delivered(
        &mut self,
        piece: &Piece,
        from: u64,
        to: u64,
        lines: impl Fn(u64) -> u64,
    ) -> (u64, bool) {
        let Some(now) = self.piece(piece) else {
            return (0, false);
        };
        if from > now.sent || to <= now.sent || to > now.end {
            return (0, false);
        }
        let lines = lines(now.sent);
        let bytes = to - now.sent;
        now.sent = to;
        if now.read < to {
            now.read = to;
            now.wholes_read = 0;
        }
        let counted = now.lines.is_some();
        if let Some(count) = &mut now.lines {
            *count = count.saturating_sub(lines);
        }
        if counted {
            self.lines = self.lines.saturating_sub(lines);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        let inode = piece.inode;
        let done = self
            .sequences
            .get_mut(&piece.owner.stem)
            .is_some_and(|sequence| {
                sequence.dirty = true;
                sequence.is_done(inode)
            });
        (lines, done)
    }

    /// What is read and not delivered is read again.
    pub fn rewind(&mut self) {
        for piece in self.sequences.values_mut().flat_map(|s| &mut s.pieces) {
            piece.read = piece.sent;
            piece.wholes_read = 0;
        }
    }

    /// The files of which everything is delivered.
    pub fn done(&self) -> Vec<Done> {
        let mut all: Vec<Done> = Vec::new();
        for (stem, sequence) in &self.sequences {
            for piece in &sequence.pieces {
                if !sequence.is_done(piece.inode) {
                    continue;
                }
                let done = Done {
                    stem: stem.clone(),
                    inode: piece.inode,
                    place: piece.place,
                    len: piece.tail.max(piece.end),
                    only: piece.only,
                };
                // The last piece of a file says how long it is, and whether all before it was backlog.
                match all
                    .last_mut()
                    .filter(|last| last.stem == *stem && last.inode == piece.inode)
                {
                    Some(last) => *last = done,
                    None => all.push(done),
                }
            }
        }
        all
    }

    /// The file is done with: what follows in it begins a new piece. False: something was added to it.
    pub fn close_done(&mut self, done: &Done) -> bool {
        let Some(sequence) = self.sequences.get_mut(&done.stem) else {
            return false;
        };
        if !sequence.is_done(done.inode) {
            return false;
        }
        for piece in sequence.pieces.iter_mut().filter(|p| p.inode == done.inode) {
            piece.closed = true;
        }
        true
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

/// The same container, whatever place it has.
fn same(a: &Arc<Container>, b: &Arc<Container>) -> bool {
    Arc::ptr_eq(a, b) || (a.name == b.name && a.id == b.id)
}
