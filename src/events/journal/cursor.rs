//! Walks a segment from record to record, and around what is none. Holds one block in memory, or one record.

use std::io;
use std::ops::Range;

use memchr::memmem;

use super::disk::JournalDisk;
use super::frame::{FRAME_BYTES, Frame, MARKER};
use super::segment::{HEADER, HEADER_BYTES};
use crate::limits::{JOURNAL_READ_BYTES, JOURNAL_SEARCH_BYTES};

/// What comes next in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A record, which begins at this offset; [`Cursor::payload`] has its payload.
    Record(u64, Frame),
    /// Bytes that are no record.
    Bad(Range<u64>),
    /// Nothing up to the end that was given.
    End,
}

/// A place in a segment.
#[derive(Debug)]
pub struct Cursor<F> {
    file: F,
    salt: u32,
    /// Where the next step begins.
    offset: u64,
    /// The least number that the next record may have.
    next_seq: u64,
    /// Bytes of the file from `window_at` on, none of them beyond what was committed when they were read.
    window: Vec<u8>,
    window_at: u64,
    /// Where in `window` the last record's payload is.
    payload: Range<usize>,
    /// Bytes that may still be checked in vain.
    search: u64,
}

impl<F> Cursor<F> {
    /// At `offset` of a segment; records with numbers below `next_seq` count as bad.
    pub fn new(file: F, salt: u32, offset: u64, next_seq: u64) -> Self {
        Self {
            file,
            salt,
            offset,
            next_seq,
            window: Vec::new(),
            window_at: offset,
            payload: 0..0,
            search: JOURNAL_SEARCH_BYTES,
        }
    }

    /// The payload of the record that the last step found.
    pub fn payload(&self) -> &[u8] {
        self.window.get(self.payload.clone()).unwrap_or_default()
    }

    /// The first bytes of a piece of the file, at most `bytes`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn excerpt<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        piece: &Range<u64>,
        bytes: usize,
    ) -> io::Result<Vec<u8>> {
        let len = usize::try_from(piece.end - piece.start).unwrap_or(bytes);
        let mut out = vec![0; len.min(bytes)];
        let read = read_all(disk, &mut self.file, &mut out, piece.start)?;
        out.truncate(read);
        Ok(out)
    }

    /// The next step, in the first `end` bytes of the file; records with numbers above `last_seq` count as bad.
    ///
    /// # Errors
    /// The file cannot be read. The same step may be tried again.
    pub fn step<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        end: u64,
        last_seq: u64,
    ) -> io::Result<Step> {
        self.payload = 0..0;
        if self.offset == 0 && end > 0 {
            let header = self.window(disk, 0, HEADER.len(), end)?;
            if header == Some(&HEADER) {
                self.offset = HEADER_BYTES;
            } else if header.is_some_and(|header| header.get(..7) == HEADER.get(..7)) {
                // Another version of the format: nothing in it is ours.
                self.offset = end;
                return Ok(Step::Bad(0..end));
            }
        }
        if self.offset >= end {
            return Ok(Step::End);
        }
        let from = self.offset;
        if let Some(frame) = self.probe(disk, from, end, last_seq)? {
            let at = usize::try_from(from - self.window_at).unwrap_or(usize::MAX);
            self.payload = at + FRAME_BYTES..at + frame.bytes();
            self.offset = from + frame.bytes() as u64;
            self.next_seq = frame.seq + 1;
            return Ok(Step::Record(from, frame));
        }
        self.offset = self.search(disk, from + 1, end, last_seq)?;
        Ok(Step::Bad(from..self.offset))
    }

    /// The record that begins at `at`, if one does.
    fn probe<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        at: u64,
        end: u64,
        last_seq: u64,
    ) -> io::Result<Option<Frame>> {
        let allowed = self.next_seq..=last_seq;
        let Some(frame) = self
            .window(disk, at, FRAME_BYTES, end)?
            .and_then(Frame::read)
            .filter(|frame| allowed.contains(&frame.seq))
        else {
            return Ok(None);
        };
        let salt = self.salt;
        let record = self.window(disk, at, frame.bytes(), end)?;
        Ok(record
            .is_some_and(|record| frame.holds(salt, record))
            .then_some(frame))
    }

    /// Where the next record begins, at `at` or behind it; `end` when none does.
    fn search<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        mut at: u64,
        end: u64,
        last_seq: u64,
    ) -> io::Result<u64> {
        while end.saturating_sub(at) >= FRAME_BYTES as u64 {
            if self.window(disk, at, FRAME_BYTES, end)?.is_none() {
                // The file is shorter than it was.
                break;
            }
            let held = self.held(at);
            let Some(found) = memmem::find(held, &MARKER) else {
                // A marker may lie across the end of what is held.
                at += (held.len() + 1).saturating_sub(MARKER.len()).max(1) as u64;
                continue;
            };
            at += found as u64;
            if self.probe(disk, at, end, last_seq)?.is_some() {
                return Ok(at);
            }
            // At the most what was read and summed for it.
            self.search = self.search.saturating_sub(self.held(at).len() as u64);
            if self.search == 0 {
                break;
            }
            at += 1;
        }
        Ok(end)
    }

    /// What is in memory from `at` on.
    fn held(&self, at: u64) -> &[u8] {
        let skip = at
            .checked_sub(self.window_at)
            .and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..))
            .unwrap_or_default()
    }

    /// The `len` bytes at `at`, `None` when they are not all before `end` or not in the file.
    fn window<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        at: u64,
        len: usize,
        end: u64,
    ) -> io::Result<Option<&[u8]>> {
        if end.saturating_sub(at) < len as u64 {
            return Ok(None);
        }
        if self.held(at).len() < len {
            let kept = self.held(at).len();
            let drop = self.window.len() - kept;
            self.window.drain(..drop);
            self.window_at = at;
            let behind = usize::try_from(end - at).unwrap_or(usize::MAX);
            let wanted = len.max(JOURNAL_READ_BYTES).min(behind);
            if len <= JOURNAL_READ_BYTES {
                // The last record may have been a large one.
                self.window.shrink_to(JOURNAL_READ_BYTES);
            }
            self.window.resize(wanted, 0);
            let place = self.window.get_mut(kept..).unwrap_or_default();
            let read = read_all(disk, &mut self.file, place, at + kept as u64);
            self.window
                .truncate(kept + read.as_ref().copied().unwrap_or(0));
            read?;
        }
        Ok(self.held(at).get(..len))
    }
}

/// Reads until `bytes` are full or the file ends.
fn read_all<D: JournalDisk>(
    disk: &mut D,
    file: &mut D::File,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(file, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
