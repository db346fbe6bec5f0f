//! A stretch of a piece: the lines of its file from where it is read on.

use std::fs::File;
use std::io;
use std::path::Path;

use super::books::Piece;
use super::split::{WHOLE_BYTES, Whole, split};
use crate::limits::{BACKLOG_CHUNK_LINES, BACKLOG_WHOLE_READ, PAYLOAD_BYTES};
use crate::logs::disk::state::{open_to_read, read_at};
use crate::tap::Span;

/// Whole lines, and where reading goes on behind them.
#[derive(Debug)]
pub struct Stretch {
    /// The bytes, from [`Piece::read`] on.
    pub buffer: Vec<u8>,
    /// The lines in it; at least one.
    pub spans: Vec<Span>,
    /// Bytes of `buffer` that they take.
    pub used: usize,
    /// [`Piece::wholes_read`] behind them.
    pub wholes_read: u64,
}

/// The lines from `piece.read` on, some `max` bytes of them, more when the first one is longer. `list`: path of the list of lines that hold
/// line ends. `None`: the file is shorter than what was written to it.
///
/// # Errors
/// The file cannot be read. A list that cannot be is as good as none.
pub fn read(file: &File, list: &Path, piece: &Piece, max: usize) -> io::Result<Option<Stretch>> {
    let left = usize::try_from(piece.end.saturating_sub(piece.read)).unwrap_or(usize::MAX);
    let mut window = Window::read(list, piece);
    let mut lines = BACKLOG_CHUNK_LINES;
    let mut bytes = max.clamp(1, PAYLOAD_BYTES + 1).min(left);
    loop {
        let buffer = read_at(file, piece.read, bytes)?;
        if buffer.len() < bytes {
            return Ok(None);
        }
        // What lies behind the last entry that is known waits for the next ones.
        let known = window.known.map_or(buffer.len(), |end| {
            let ahead = end.saturating_sub(piece.read);
            usize::try_from(ahead).map_or(buffer.len(), |ahead| ahead.min(buffer.len()))
        });
        let last = known == left;
        let mut spans = Vec::new();
        let found = split(
            buffer.get(..known).unwrap_or(&buffer),
            piece.read,
            last,
            window.entries.iter().map(|(_, whole)| *whole),
            lines,
            &mut spans,
        );
        if found.used > 0 {
            return Ok(Some(Stretch {
                wholes_read: window.position(piece.read + found.used as u64),
                buffer,
                spans,
                used: found.used,
            }));
        }
        if known < buffer.len() {
            // A list that is not about this file.
            window.known = None;
        } else {
            bytes = found.wanted.max(bytes + 1).min(left);
            lines = 1;
        }
    }
}

/// Counts the lines of `piece` from `sent` on; `None`: the file is shorter.
///
/// # Errors
/// The file cannot be read.
pub fn count(file: &File, list: &Path, piece: &Piece, max: usize) -> io::Result<Option<u64>> {
    let mut piece = Piece {
        read: piece.sent,
        wholes_read: 0,
        ..piece.clone()
    };
    let mut lines = 0;
    while piece.read < piece.end {
        let Some(stretch) = read(file, list, &piece, max)? else {
            return Ok(None);
        };
        lines += stretch.spans.len() as u64;
        piece.read += stretch.used as u64;
        piece.wholes_read = stretch.wholes_read;
    }
    Ok(Some(lines))
}

/// The entries of the list that lie ahead, as many as are read at one time.
struct Window {
    /// Where in the list each is.
    entries: Vec<(u64, Whole)>,
    /// Where in the list the window ends.
    end: u64,
    /// Offset in the file up to which no entry is missing; `None`: there are no more.
    known: Option<u64>,
}

impl Window {
    fn read(list: &Path, piece: &Piece) -> Self {
        let mut window = Self {
            entries: Vec::new(),
            end: piece.wholes_read,
            known: None,
        };
        if piece.wholes_read >= piece.wholes {
            return window;
        }
        let Ok(Some((file, _))) = open_to_read(list) else {
            return window;
        };
        loop {
            let left = usize::try_from(piece.wholes - window.end).unwrap_or(usize::MAX);
            let bytes = left.min(BACKLOG_WHOLE_READ * WHOLE_BYTES);
            let Ok(read) = read_at(&file, window.end, bytes) else {
                return window;
            };
            let (entries, _) = read.as_chunks::<WHOLE_BYTES>();
            for (at, entry) in (window.end..).step_by(WHOLE_BYTES).zip(entries) {
                let ahead = Whole::decode(entry).filter(|whole| whole.start >= piece.read);
                window.entries.extend(ahead.map(|whole| (at, whole)));
            }
            window.end += bytes as u64;
            let more = read.len() == bytes && window.end < piece.wholes;
            if !more {
                return window;
            }
            if let Some((_, last)) = window.entries.last() {
                window.known = Some(last.end());
                return window;
            }
        }
    }

    /// Where in the list the entries from the offset `from` on are.
    fn position(&self, from: u64) -> u64 {
        let next = self.entries.iter().find(|(_, whole)| whole.start >= from);
        next.map_or(self.end, |(at, _)| *at)
    }
}
