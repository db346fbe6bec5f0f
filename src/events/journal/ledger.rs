//! What the writer and the reader share: which segments there are, how far they are committed, and how far acknowledged.
//! Touched once a batch, not once a record.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::JournalDisk;
use super::error::JournalError;
use super::owner::Owner;
use super::segment::{Segment, SegmentId};
use crate::logs::trouble::Operation;
use crate::metrics::Metrics;

/// Where the last unreadable segment is kept.
const UNREADABLE: &str = "unreadable.seg";

/// Segments and how far they are used; in the order of their records.
#[derive(Debug, Default)]
pub struct State {
    /// Every segment with a committed record; the last one may be written to.
    pub segments: VecDeque<Segment>,
    /// The number of the last record that may be read.
    pub committed: u64,
    /// Every record up to this one is done with; at most `committed`.
    pub acked: u64,
    /// When the oldest record that is not done with was stored, as far as is known.
    pub oldest_ms: Option<u64>,
}

impl State {
    /// The segment, and the one behind it.
    pub fn find(&self, id: SegmentId) -> Option<(Segment, Option<Segment>)> {
        let at = self.segments.binary_search_by_key(&id, |s| s.id).ok()?;
        let segment = *self.segments.get(at)?;
        Some((segment, self.segments.get(at + 1).copied()))
    }

    /// The segment in which record `seq` is to be looked for.
    pub fn holding(&self, seq: u64) -> Option<Segment> {
        let after = self.segments.partition_point(|s| s.id.first <= seq);
        self.segments.get(after.saturating_sub(1)).copied()
    }

    /// How many of the first segments hold nothing but records that are done with. Never the last one.
    pub fn spent(&self) -> usize {
        let later = self.segments.iter().skip(1);
        later
            .take_while(|later| later.id.first <= self.acked.saturating_add(1))
            .count()
    }
}

/// The shared part.
pub struct Ledger {
    state: Mutex<State>,
    /// Copies of the numbers in `state`, to look at without the lock.
    committed: AtomicU64,
    /// Bytes of all segments, those included that are appended and not yet written.
    bytes: AtomicU64,
    metrics: Arc<Metrics>,
    /// As long as one end is there.
    _owner: Owner,
}

impl Ledger {
    /// As it was found at the start.
    pub fn new(state: State, metrics: Arc<Metrics>, owner: Owner) -> Self {
        let bytes = state.segments.iter().map(|s| s.len).sum();
        let waiting = state.committed.saturating_sub(state.acked);
        metrics.events.stored.inc_by(waiting);
        let ledger = Self {
            committed: AtomicU64::new(state.committed),
            bytes: AtomicU64::new(bytes),
            state: Mutex::new(state),
            metrics,
            _owner: owner,
        };
        ledger.show(&ledger.state());
        ledger
    }

    /// The series that the journal moves.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The state, for a moment.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last record that may be read.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Bytes of all segments, those that are not yet written included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes were appended.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The writer: `segment`, the last one, is committed up to its length, and with it all records up to `committed`. The first of
    /// the new ones was stored at `oldest_ms`. True when the segment may be gone on with: the reader can read it.
    pub fn commit(&self, segment: Segment, committed: u64, oldest_ms: u64) -> bool {
        let mut state = self.state();
        let readable = match state.segments.back_mut().filter(|s| s.id == segment.id) {
            Some(last) => {
                last.len = segment.len;
                !last.unreadable
            }
            None => {
                state.segments.push_back(segment);
                true
            }
        };
        if state.acked == state.committed {
            state.oldest_ms = Some(oldest_ms);
        }
        let new = committed.saturating_sub(state.committed);
        state.committed = committed;
        self.committed.store(committed, Ordering::Release);
        self.metrics.events.stored.inc_by(new);
        self.show(&state);
        readable
    }

    /// The reader: every record up to `acked` is done with; the one behind was stored at `oldest_ms`, where that is known.
    pub fn ack(&self, acked: u64, oldest_ms: Option<u64>) {
        let mut state = self.state();
        state.acked = acked.clamp(state.acked, state.committed);
        state.oldest_ms = if state.acked == state.committed {
            None
        } else {
            oldest_ms.or(state.oldest_ms)
        };
        self.show(&state);
    }

    /// Removes the files of segments that are done with; returns whether that made room.
    ///
    /// # Errors
    /// One cannot be removed; it is tried again next time.
    pub fn free<D: JournalDisk>(&self, disk: &mut D, dir: &Path) -> Result<bool, JournalError> {
        let mut state = self.state();
        let mut freed = false;
        let mut result = Ok(());
        for _ in 0..state.spent() {
            let Some(segment) = state.segments.front().copied() else {
                break;
            };
            let path = segment.id.path(dir);
            let removed = if segment.unreadable {
                let kept = dir.join(UNREADABLE);
                let _ = disk.remove(&kept);
                let renamed = disk.rename_new(&path, &kept);
                renamed.or_else(|_| disk.remove(&path))
            } else {
                disk.remove(&path)
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let operation = Operation::Remove;
                    result = Err(JournalError::new(operation, &path, error, &self.metrics));
                    break;
                }
                _ => {}
            }
            state.segments.pop_front();
            self.bytes.fetch_sub(segment.len, Ordering::Relaxed);
            freed = true;
        }
        self.show(&state);
        result.map(|()| freed)
    }

    fn show(&self, state: &State) {
        let events = &self.metrics.events;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let waiting = state.committed.saturating_sub(state.acked);
        events.journal_records.set(gauge(waiting));
        events.journal_bytes.set(gauge(self.bytes()));
        events.journal_oldest.set(state.oldest_ms);
    }
}
