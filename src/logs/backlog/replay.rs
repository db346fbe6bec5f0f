//! The backlog as chunks of lines, for `log_sender`: oldest first within a container, containers in turns.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::books::Piece;
use super::{Backlog, read};
use crate::limits::BACKLOG_STORE_INTERVAL;
use crate::logs::batch::Lines;

/// Lines of one container, read from one of its files.
#[derive(Debug)]
pub struct StoredChunk {
    /// The lines, in one run of their container as it was named then. Their text is not needed to say that they are delivered: who only
    /// waits for that may put an empty buffer in its place.
    pub lines: Lines,
    piece: Piece,
    start: u64,
    end: u64,
}

impl StoredChunk {
    /// Offset behind the first `lines` lines.
    fn offset(&self, lines: usize) -> u64 {
        let next = self.lines.spans.get(lines);
        next.map_or(self.end, |span| self.start + u64::from(span.start))
    }

    /// How many of the first `lines` lines begin at the offset `from` or behind it.
    fn behind(&self, from: u64, lines: usize) -> u64 {
        let begins_before = |span: &crate::tap::Span| self.start + u64::from(span.start) < from;
        let before = self.lines.spans.partition_point(begins_before);
        lines.min(self.lines.spans.len()).saturating_sub(before) as u64
    }
}

/// The backlog cannot be read now; other containers' may be.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A log file could not be opened or read: it is tried again at the container's next turn.
    #[error("log file of {stem} in {dir} cannot be read: its stored lines wait")]
    Read {
        /// Its name without `.log`.
        stem: String,
        /// The log directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the backlog. One for a [`Backlog`], owned by the thread that sends it.
pub struct Replay {
    backlog: Arc<Backlog>,
    wake: Box<dyn Fn() + Send>,
    /// The file that was read last, with its inode.
    file: Option<(u64, File)>,
    stored_at: Option<Instant>,
    /// When what is delivered is to be stored; `None`: it is.
    store_at: Option<Instant>,
}

impl Replay {
    /// `wake` is called when there is a file that the file writer may remove; it must not block.
    pub fn new(backlog: Arc<Backlog>, wake: impl Fn() + Send + 'static) -> Self {
        Self {
            backlog,
            wake: Box::new(wake),
            file: None,
            stored_at: None,
            store_at: None,
        }
    }

    /// The next lines of the backlog, some `max_bytes` of them (a longer line comes alone); `None`: nothing more for now.
    ///
    /// # Errors
    /// A file cannot be read; the next call is about another container.
    pub fn next_chunk(&mut self, max_bytes: usize) -> Result<Option<StoredChunk>, ReplayError> {
        loop {
            let Some(task) = self.backlog.lock().books.next_to_read() else {
                self.file = None;
                return Ok(None);
            };
            let piece = task.piece.clone();
            let failed = |source| ReplayError::Read {
                stem: piece.owner.stem.clone(),
                dir: self.backlog.log_dir.clone(),
                source,
            };
            if piece.lines.is_none() {
                self.backlog.count(&task).map_err(failed)?;
            }
            let file = match self.file.take() {
                Some((inode, file)) if inode == piece.inode => file,
                _ => match self.backlog.open_file(&piece, false).map_err(failed)? {
                    Some(file) => file,
                    None => continue,
                },
            };
            let list = self.backlog.list_path(&piece.owner.stem, piece.inode);
            let Some(found) = read::read(&file, &list, &piece, max_bytes).map_err(failed)? else {
                self.backlog.cut(&piece);
                continue;
            };
            self.file = Some((piece.inode, file));
            let end = piece.read + found.used as u64;
            let mut inner = self.backlog.lock();
            if !inner.books.read_on(&piece, end, found.wholes_read) {
                continue;
            }
            let count = u32::try_from(found.spans.len()).unwrap_or(u32::MAX);
            return Ok(Some(StoredChunk {
                lines: Lines {
                    buffer: Bytes::from(found.buffer).slice(..found.used),
                    spans: found.spans,
                    runs: vec![(Arc::clone(&piece.owner), count)],
                    ack: None,
                },
                start: piece.read,
                end,
                piece,
            }));
        }
    }

    /// The first `lines` lines of `chunk` have arrived; the chunks of a container in the order in which they were given. Returns how many
    /// lines the backlog has become shorter by: fewer when some were said to have arrived before, or are lost meanwhile (then none).
    pub fn delivered(&mut self, chunk: &StoredChunk, lines: usize, now: Instant) -> u64 {
        let mut inner = self.backlog.lock();
        let (count, done) =
            inner
                .books
                .delivered(&chunk.piece, chunk.start, chunk.offset(lines), |from| {
                    chunk.behind(from, lines)
                });
        self.backlog.publish(&mut inner);
        drop(inner);
        if count > 0 {
            let next = self.stored_at.map_or(now, |at| at + BACKLOG_STORE_INTERVAL);
            self.store_at.get_or_insert(next);
        }
        if done {
            self.backlog.done.store(true, Ordering::Release);
            (self.wake)();
        }
        self.turn(now);
        count
    }

    /// Stores what is delivered when it is time.
    pub fn turn(&mut self, now: Instant) {
        if self.store_at.is_some_and(|at| at <= now) {
            self.sync(now);
        }
    }

    /// When [`Replay::turn`] has something to do although nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.store_at
    }

    /// Stores what is delivered now: before the end, and at a pause.
    pub fn sync(&mut self, now: Instant) {
        self.stored_at = Some(now);
        self.store_at = None;
        let dirty = self.backlog.lock().books.dirty();
        for stem in dirty {
            // The lock is free in between: the file writer does not wait for all of them.
            let mut inner = self.backlog.lock();
            self.backlog.store(&mut inner, &stem, now);
            if inner.books.sequence(&stem).is_some_and(|left| left.dirty) {
                self.store_at = Some(now + BACKLOG_STORE_INTERVAL);
            }
        }
    }

    /// What was given out and is not delivered comes again: the sink has lost it.
    pub fn rewind(&mut self) {
        self.file = None;
        self.backlog.lock().books.rewind();
    }

    /// Counts the lines of one piece that an earlier run has left; false when all are counted. A piece may be a whole file: call it when
    /// there is nothing better to do.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn survey(&mut self) -> Result<bool, ReplayError> {
        let Some(task) = self.backlog.lock().books.next_uncounted() else {
            return Ok(false);
        };
        let result = self.backlog.count(&task);
        result.map(|()| true).map_err(|source| ReplayError::Read {
            stem: task.piece.owner.stem.clone(),
            dir: self.backlog.log_dir.clone(),
            source,
        })
    }
}
