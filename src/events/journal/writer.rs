//! The end that appends.
//!
//! What is appended and not yet written is `pending`: the bytes that come behind the committed ones of the last segment. A failed or short
//! write leaves them as they are, and the next one goes on at the same place. Under [`Fsync::Always`] they are kept until the sync has
//! worked, and written again when it has not: after a failed sync nobody knows what the medium has.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::disk::JournalDisk;
use super::error::{AppendError, JournalError};
use super::frame::{self, FRAME_BYTES, Kind};
use super::ledger::Ledger;
use super::segment::{HEADER, HEADER_BYTES, SEQ_MAX, Segment, SegmentId};
use super::{Fsync, JournalLimits};
use crate::chain::chain;
use crate::limits::{JOURNAL_BUFFER_BYTES, JOURNAL_RECORD_BYTES, JOURNAL_SEGMENTS, JOURNAL_SYNC};
use crate::logs::disk::RealDisk;
use crate::logs::trouble::Operation;
use crate::random;

/// The last segment.
struct Active<F> {
    id: SegmentId,
    /// Open once something is written.
    file: Option<F>,
    /// Its name may not be on the medium yet.
    new: bool,
    /// Bytes that are committed.
    len: u64,
}

/// Appends to the journal. Dropped without a commit, it loses what was not committed and nothing else.
pub struct JournalWriter<D: JournalDisk = RealDisk> {
    disk: D,
    dir: PathBuf,
    limits: JournalLimits,
    ledger: Arc<Ledger>,
    active: Option<Active<D::File>>,
    pending: Vec<u8>,
    /// Bytes of `pending` that the file has.
    written: usize,
    /// When the first record of `pending` was appended.
    pending_ms: u64,
    next_seq: u64,
    /// When the policy asks for a sync of what is committed.
    sync_at: Option<Instant>,
    unsynced: bool,
    /// Wakes the reader.
    fresh: Sender<()>,
    room: Receiver<()>,
}

/// What [`super::recovery`] found to go on with.
pub struct Resume<F> {
    /// The last segment, when it may be appended to: open, with its committed bytes.
    pub segment: Option<(SegmentId, F, u64)>,
    /// The number of the next record.
    pub next_seq: u64,
}

impl<D: JournalDisk> JournalWriter<D> {
    pub(super) fn new(
        disk: D,
        dir: PathBuf,
        limits: JournalLimits,
        ledger: Arc<Ledger>,
        resume: Resume<D::File>,
        (fresh, room): (Sender<()>, Receiver<()>),
    ) -> Self {
        Self {
            disk,
            dir,
            limits,
            ledger,
            active: resume.segment.map(|(id, file, len)| Active {
                id,
                file: Some(file),
                new: false,
                len,
            }),
            pending: Vec::new(),
            written: 0,
            pending_ms: 0,
            next_seq: resume.next_seq,
            sync_at: None,
            unsynced: false,
            fresh,
            room,
        }
    }

    /// Appends a record that was stored at `now_ms`, milliseconds since the epoch, and returns its number. It is readable and safe
    /// after the next [`commit`](Self::commit), or before when the buffer or the segment is full.
    ///
    /// # Errors
    /// It was not appended, and may be tried again: the journal is full, or what was appended before could not be written. Or it
    /// is larger than any record may be.
    pub fn append(&mut self, kind: Kind, payload: &[u8], now_ms: u64) -> Result<u64, AppendError> {
        if payload.len() > JOURNAL_RECORD_BYTES || self.next_seq >= SEQ_MAX {
            return Err(AppendError::TooLarge {
                bytes: payload.len(),
                max: JOURNAL_RECORD_BYTES,
            });
        }
        let bytes = (FRAME_BYTES + payload.len()) as u64;
        let planned = self
            .active
            .as_ref()
            .map(|a| a.len + self.pending.len() as u64);
        let fits =
            |planned: u64| planned <= HEADER_BYTES || planned + bytes <= self.limits.segment_bytes;
        let same = planned.is_some_and(fits);
        let begun = planned.is_some_and(|planned| planned > 0);
        let header = if same && begun { 0 } else { HEADER_BYTES };
        self.make_room(header + bytes, same)?;
        if !same || self.pending.len() as u64 + bytes > JOURNAL_BUFFER_BYTES as u64 {
            self.flush()?;
        }
        if !same {
            self.begin_segment();
        }
        if self.pending.is_empty() {
            self.pending_ms = now_ms;
        }
        if header > 0 {
            self.pending.extend_from_slice(&HEADER);
        }
        let seq = self.next_seq;
        let salt = self.active.as_ref().map_or(0, |active| active.id.salt);
        frame::append(salt, kind, seq, now_ms, payload, &mut self.pending);
        self.next_seq += 1;
        self.ledger.add_bytes(header + bytes);
        Ok(seq)
    }

    fn make_room(&mut self, bytes: u64, same_segment: bool) -> Result<(), AppendError> {
        let is_full = |ledger: &Ledger| {
            ledger.bytes().saturating_add(bytes) > self.limits.bytes_max
                || (!same_segment && ledger.state().segments.len() >= JOURNAL_SEGMENTS)
        };
        if !is_full(&self.ledger) {
            return Ok(());
        }
        // A segment that could not be removed when it was acknowledged may be now.
        self.ledger.free(&mut self.disk, &self.dir)?;
        if is_full(&self.ledger) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    /// Leaves the last segment, of which everything is committed.
    fn begin_segment(&mut self) {
        if self.unsynced
            && let Err(error) = self.sync()
        {
            // Synced once a second is a promise for machines that work.
            log::warn!("{}", chain(&error));
            self.unsynced = false;
        }
        let mut salt = [0; 4];
        random::fill(&mut salt);
        self.active = Some(Active {
            id: SegmentId {
                first: self.next_seq,
                salt: u32::from_ne_bytes(salt),
            },
            file: None,
            new: true,
            len: 0,
        });
    }

    /// Makes everything that was appended readable, and safe as the policy says: one write. Also to be called at
    /// [`deadline`](Self::deadline).
    ///
    /// # Errors
    /// Nothing is lost: call it again later.
    pub fn commit(&mut self, now: Instant) -> Result<(), JournalError> {
        self.flush()?;
        if !self.unsynced {
            return Ok(());
        }
        if now >= *self.sync_at.get_or_insert(now + JOURNAL_SYNC) {
            // A medium that does not sync is asked once in a while too.
            self.sync_at = Some(now + JOURNAL_SYNC);
            self.sync()?;
        }
        Ok(())
    }

    /// When [`commit`](Self::commit) is to be called although nothing was appended; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.sync_at
    }

    /// Records that are appended and not committed.
    pub fn uncommitted(&self) -> u64 {
        self.next_seq - 1 - self.ledger.committed()
    }

    /// Hears of room when [`append`](Self::append) has said that the journal is full. Closed when the reader is gone.
    pub fn room(&self) -> &Receiver<()> {
        &self.room
    }

    fn failed(&self, operation: Operation, source: io::Error) -> JournalError {
        let path = match &self.active {
            Some(active) => active.id.path(&self.dir),
            None => self.dir.clone(),
        };
        JournalError::new(operation, &path, source, self.ledger.metrics())
    }

    /// Writes what is pending, and commits it.
    fn flush(&mut self) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write()
            .map_err(|(operation, error)| self.failed(operation, error))?;
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.len += self.pending.len() as u64;
        let segment = Segment {
            id: active.id,
            len: active.len,
            unreadable: false,
        };
        self.pending.clear();
        self.pending.shrink_to(JOURNAL_BUFFER_BYTES);
        self.written = 0;
        self.unsynced = self.limits.fsync == Fsync::Interval;
        let last = self.next_seq - 1;
        if !self.ledger.commit(segment, last, self.pending_ms) {
            self.active = None;
        }
        // Full: it is awake already.
        let _ = self.fresh.try_send(());
        Ok(())
    }

    fn write(&mut self) -> Result<(), (Operation, io::Error)> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let path = active.id.path(&self.dir);
        let file = match &mut active.file {
            Some(file) => file,
            none => {
                let opened = self.disk.open_update(&path);
                none.insert(opened.map_err(|e| (Operation::Open, e))?)
            }
        };
        while let Some(rest) = self.pending.get(self.written..).filter(|r| !r.is_empty()) {
            let offset = active.len + self.written as u64;
            match self.disk.write_at(file, rest, offset) {
                Ok(0) => return Err((Operation::Write, io::ErrorKind::WriteZero.into())),
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((Operation::Write, error)),
            }
        }
        if self.limits.fsync == Fsync::Always {
            if let Err(error) = self.disk.sync(file) {
                self.written = 0;
                return Err((Operation::Sync, error));
            }
            if active.new {
                let synced = self.disk.sync_dir(&self.dir);
                synced.map_err(|e| (Operation::Sync, e))?;
                active.new = false;
            }
        }
        Ok(())
    }

    /// Syncs the last segment, all of which is committed.
    fn sync(&mut self) -> Result<(), JournalError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let synced = match &mut active.file {
            Some(file) => self.disk.sync(file),
            None => Ok(()),
        };
        let synced = match synced {
            Ok(()) if active.new => self.disk.sync_dir(&self.dir),
            synced => synced,
        };
        if let Err(error) = synced {
            return Err(self.failed(Operation::Sync, error));
        }
        active.new = false;
        self.unsynced = false;
        self.sync_at = None;
        Ok(())
    }
}
