//! What `log_sender` enters: pieces are read, counted, delivered, and done with.

use std::ops::Bound;

use super::{Books, Loss, Piece, Place, Sequence};

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

impl Books {
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
}
