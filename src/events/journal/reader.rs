//! The end that reads and acknowledges.
//!
//! Numbers follow each other without gaps, so a gap between two records that were read tells what was lost between them, to damage or with
//! a segment that is gone. Lost records count as set aside, and as done with once everything before them is.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustix::io::Errno;

use super::Record;
use super::cursor::{Cursor, Step};
use super::disk::JournalDisk;
use super::error::JournalError;
use super::frame::Frame;
use super::ledger::{Ledger, State};
use super::position::{Place, Position, PositionFile};
use super::segment::{Segment, SegmentId};
use crate::clock;
use crate::events::delivery;
use crate::limits::{
    JOURNAL_DAMAGED_PIECE_BYTES, JOURNAL_MARK_BYTES, JOURNAL_MARKS, JOURNAL_READ_TRIES,
};
use crate::logs::disk::RealDisk;
use crate::logs::trouble::Operation;
use crate::set_aside::SetAside;

/// A record in flight.
#[derive(Debug, Clone, Copy)]
struct Mark {
    place: Place,
    time_ms: u64,
}

/// A segment as the ledger showed it.
#[derive(Clone, Copy)]
struct View {
    segment: Segment,
    /// The one behind it.
    later: Option<Segment>,
    /// The last record that was committed then, in all segments.
    committed: u64,
}

/// The segment that is being read.
struct Open<F> {
    view: View,
    cursor: Cursor<F>,
    /// Something bad was passed over since the last good record.
    damaged: bool,
}

/// Reads the journal.
pub struct JournalReader<D: JournalDisk = RealDisk> {
    disk: D,
    dir: PathBuf,
    ledger: Arc<Ledger>,
    position: PositionFile<D::File>,
    damaged: Arc<SetAside>,
    open: Option<Box<Open<D::File>>>,
    /// The number of the record that comes next.
    next_seq: u64,
    /// The last record that was given out.
    returned: u64,
    /// Every record up to this one is done with.
    acked: u64,
    /// Where reading begins after a rewind or a restart: at or before the record behind `acked`.
    base: Place,
    /// Places of records in flight, the first one at or before the record behind `acked`.
    marks: VecDeque<Mark>,
    /// Damage is counted once, however often it is passed: up to here.
    counted_seq: u64,
    counted_at: (SegmentId, u64),
    failures: (SegmentId, u32),
    /// Wakes the writer.
    room: Sender<()>,
    fresh: Receiver<()>,
}

/// Where [`super::recovery`] says that reading begins.
pub struct Begin<F> {
    /// The position file.
    pub file: PositionFile<F>,
    /// What it says, or what stands in for it.
    pub position: Position,
    /// Where damaged pieces are kept.
    pub damaged: Arc<SetAside>,
}

const NOWHERE: SegmentId = SegmentId { first: 0, salt: 0 };

impl<D: JournalDisk> JournalReader<D> {
    pub(super) fn new(
        disk: D,
        dir: PathBuf,
        ledger: Arc<Ledger>,
        begin: Begin<D::File>,
        (room, fresh): (Sender<()>, Receiver<()>),
    ) -> Self {
        let Position { acked, place } = begin.position;
        Self {
            disk,
            dir,
            ledger,
            position: begin.file,
            damaged: begin.damaged,
            open: None,
            next_seq: acked + 1,
            returned: acked,
            acked,
            base: place,
            marks: VecDeque::new(),
            counted_seq: acked,
            counted_at: (NOWHERE, 0),
            failures: (NOWHERE, 0),
            room,
            fresh,
        }
    }

    /// The next record that is committed and was not given out since the last [`rewind`](Self::rewind); `None` when there is none yet.
    ///
    /// # Errors
    /// The journal cannot be read now: call it again later. A segment that the disk does not give back for
    /// [`JOURNAL_READ_TRIES`] calls is passed over.
    #[expect(clippy::should_implement_trait, reason = "no end, but a \"not yet\"")]
    pub fn next(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            if self.next_seq > self.ledger.committed() {
                return Ok(None);
            }
            let Some(mut open) = self.opened()? else {
                continue;
            };
            let View {
                segment,
                later,
                committed,
            } = open.view;
            match open.cursor.step(&mut self.disk, segment.len, committed) {
                Ok(Step::Record(at, frame)) => {
                    self.failures.1 = 0;
                    if frame.seq < self.next_seq {
                        self.open = Some(open);
                        continue;
                    }
                    self.lost_up_to(frame.seq - 1, !open.damaged);
                    open.damaged = false;
                    let record = self.give_out(&frame, at, &open);
                    self.open = Some(open);
                    return Ok(Some(record));
                }
                Ok(Step::Bad(piece)) => {
                    self.bad_piece(&mut open, piece);
                    self.open = Some(open);
                }
                Ok(Step::End) if committed == self.ledger.committed() => {
                    self.at_end(open, later, committed);
                }
                Ok(Step::End) => {
                    let view = self.look(|state| Some(state.find(segment.id)?.0));
                    // `None`: all of it was acknowledged, and it is gone.
                    self.open = view.map(|view| {
                        open.view = view;
                        open
                    });
                }
                Err(error) => {
                    let path = open.view.segment.id.path(&self.dir);
                    // Its place is kept: the cursor goes on where it stands.
                    let result = self.failed(segment, Operation::Read, error, later, committed);
                    if result.is_err() {
                        self.open = Some(open);
                    }
                    result.map_err(|error| JournalError { path, ..error })?;
                }
            }
        }
    }

    /// Looks at the oldest record, for its age.
    pub(super) fn look_at_oldest(&mut self) {
        if let Ok(Some(record)) = self.next() {
            self.ledger.ack(self.acked, Some(record.time_ms));
        }
        self.rewind();
    }

    /// [`next`](Self::next) begins again behind the last acknowledged record.
    pub fn rewind(&mut self) {
        self.open = None;
        self.marks.clear();
        self.next_seq = self.acked + 1;
        self.returned = self.acked;
    }

    /// Every record up to `seq` is done with; what was not given out since the last [`rewind`](Self::rewind) stays. The
    /// position is stored, and segments without other records are removed. Cheap enough for each batch of delivery reports, too
    /// dear for each record.
    ///
    /// # Errors
    /// The position could not be stored, or a segment not be removed: until a later call works, a restart delivers some once
    /// more. The records count as done with all the same.
    pub fn ack(&mut self, seq: u64) -> Result<(), JournalError> {
        let mut acked = seq.min(self.returned).max(self.acked);
        if acked >= self.returned {
            // What was lost behind the last record is done with too.
            acked = acked.max(self.next_seq - 1);
        }
        self.acked = acked;
        self.returned = self.returned.max(acked);
        while self
            .marks
            .get(1)
            .is_some_and(|mark| mark.place.seq <= acked + 1)
        {
            self.marks.pop_front();
        }
        let oldest = self.marks.front();
        if let Some(mark) = oldest {
            self.base = mark.place;
        }
        let oldest_ms = oldest.map(|mark| mark.time_ms);
        self.ledger.ack(acked, oldest_ms);
        let first_left = {
            let state = self.ledger.state();
            state.segments.get(state.spent()).copied()
        };
        if let Some(left) = first_left.filter(|left| left.id > self.base.segment) {
            self.base = Place::start(left.id);
            let open = self.open.as_deref();
            if open.is_some_and(|open| open.view.segment.id < left.id) {
                // Its space is free only when it is closed.
                self.open = None;
            }
        }
        let position = Position {
            acked,
            place: self.base,
        };
        let stored = self.position.store(&mut self.disk, &position);
        let stored = stored.map_err(|source| {
            let metrics = self.ledger.metrics();
            JournalError::new(Operation::Write, self.position.path(), source, metrics)
        });
        if self.ledger.free(&mut self.disk, &self.dir)? {
            // Full: it is awake already.
            let _ = self.room.try_send(());
        }
        stored
    }

    /// Records that are not acknowledged, those in flight included.
    pub fn depth(&self) -> u64 {
        self.ledger.committed().saturating_sub(self.acked)
    }

    /// Hears of records that were committed. Closed when the writer is gone.
    pub fn fresh(&self) -> &Receiver<()> {
        &self.fresh
    }

    /// What the ledger shows of a segment, and what was committed, at one moment.
    fn look(&self, which: impl FnOnce(&State) -> Option<Segment>) -> Option<View> {
        let state = self.ledger.state();
        let segment = which(&state)?;
        Some(View {
            segment,
            later: state.find(segment.id).and_then(|(_, later)| later),
            committed: state.committed,
        })
    }

    /// The segment in which the next record is; `None`: look again.
    fn opened(&mut self) -> Result<Option<Box<Open<D::File>>>, JournalError> {
        if let Some(open) = self.open.take() {
            return Ok(Some(open));
        }
        let Some(view) = self.look(|state| state.holding(self.next_seq)) else {
            // There is not one segment.
            self.pass_over(None, self.ledger.committed());
            return Ok(None);
        };
        let View {
            segment,
            later,
            committed,
        } = view;
        if segment.unreadable {
            self.pass_over(later, committed);
            return Ok(None);
        }
        match self.disk.open_read(&segment.id.path(&self.dir)) {
            Ok(file) => {
                let place = self.place_in(segment.id);
                let cursor = Cursor::new(file, segment.id.salt, place.offset, place.seq);
                Ok(Some(Box::new(Open {
                    view,
                    cursor,
                    damaged: false,
                })))
            }
            Err(error) => {
                self.failed(segment, Operation::Open, error, later, committed)?;
                Ok(None)
            }
        }
    }

    /// Where to begin in a segment: at the base when it is there, and before what comes next.
    fn place_in(&self, id: SegmentId) -> Place {
        let base = self.base;
        if base.segment == id && base.seq <= self.next_seq {
            base
        } else {
            Place::start(id)
        }
    }

    fn give_out(&mut self, frame: &Frame, at: u64, open: &Open<D::File>) -> Record {
        let place = Place {
            segment: open.view.segment.id,
            offset: at,
            seq: frame.seq,
        };
        self.mark(place, frame.time_ms);
        self.next_seq = frame.seq + 1;
        self.returned = frame.seq;
        Record {
            seq: frame.seq,
            time_ms: frame.time_ms,
            kind: frame.kind,
            payload: open.cursor.payload().to_vec(),
        }
    }

    fn mark(&mut self, place: Place, time_ms: u64) {
        let near = |last: &Mark| {
            last.place.segment == place.segment
                && place.offset - last.place.offset < JOURNAL_MARK_BYTES
                && time_ms.saturating_sub(last.time_ms) < 1000
        };
        // The first one behind what is acknowledged is always marked.
        if self.returned > self.acked && self.marks.back().is_some_and(near) {
            return;
        }
        if self.marks.len() >= JOURNAL_MARKS {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back(Mark { place, time_ms });
    }

    /// Keeps and counts a piece that is no record.
    fn bad_piece(&mut self, open: &mut Open<D::File>, piece: std::ops::Range<u64>) {
        open.damaged = true;
        let at = (open.view.segment.id, piece.end);
        if at <= self.counted_at {
            return;
        }
        self.counted_at = at;
        let kind = &["bad_record"];
        let damage = &self.ledger.metrics().events.journal_damage;
        damage.with_label_values(kind).inc();
        let file = open.view.segment.id.file_name();
        log::error!(
            "the event journal: bytes {} to {} of {file} are damaged and passed over",
            piece.start,
            piece.end
        );
        if let Ok(bytes) = open
            .cursor
            .excerpt(&mut self.disk, &piece, JOURNAL_DAMAGED_PIECE_BYTES)
        {
            let reason = format!("{file}: bytes {} to {} damaged", piece.start, piece.end);
            keep(&self.damaged, &bytes, &reason);
        }
    }

    /// All of a segment is read.
    fn at_end(&mut self, open: Box<Open<D::File>>, later: Option<Segment>, committed: u64) {
        match later {
            // Its first record comes next, or a later one.
            Some(later) => self.lost_up_to(later.id.first - 1, !open.damaged),
            // Everything up to `committed` was in the part that was read.
            None => {
                self.lost_up_to(committed, !open.damaged);
                self.open = Some(open);
            }
        }
    }

    /// Nothing comes from a segment any more.
    fn pass_over(&mut self, later: Option<Segment>, committed: u64) {
        match later {
            Some(later) => self.lost_up_to(later.id.first - 1, true),
            None => self.lost_up_to(committed, true),
        }
    }

    /// A segment cannot be opened or read. `Ok` when it is passed over.
    fn failed(
        &mut self,
        segment: Segment,
        operation: Operation,
        error: io::Error,
        later: Option<Segment>,
        committed: u64,
    ) -> Result<(), JournalError> {
        let gone = error.kind() == io::ErrorKind::NotFound;
        let medium = matches!(
            Errno::from_io_error(&error),
            Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN)
        );
        let path = segment.id.path(&self.dir);
        let error = JournalError::new(operation, &path, error, self.ledger.metrics());
        if !gone {
            if self.failures.0 != segment.id {
                self.failures = (segment.id, 0);
            }
            self.failures.1 += 1;
            if !medium || self.failures.1 < JOURNAL_READ_TRIES {
                return Err(error);
            }
            let mut state = self.ledger.state();
            let bad = state.segments.iter_mut().find(|s| s.id == segment.id);
            bad.into_iter().for_each(|s| s.unreadable = true);
        }
        self.pass_over(later, committed);
        Ok(())
    }

    /// Records up to `seq` that were not given out never will be. `segment`: no damaged piece explains that, so a segment is gone.
    fn lost_up_to(&mut self, seq: u64, segment: bool) {
        if seq < self.next_seq {
            return;
        }
        let from = self.next_seq.max(self.counted_seq + 1);
        self.next_seq = seq + 1;
        if from <= seq {
            let lost = seq + 1 - from;
            self.counted_seq = seq;
            let events = &self.ledger.metrics().events;
            if segment {
                let damage = &events.journal_damage;
                damage.with_label_values(&["bad_segment"]).inc();
            }
            let aside = events.set_aside.with_label_values(&["EVENT", "damaged"]);
            aside.inc_by(lost);
            log::error!("the event journal: events {from} to {seq} are lost to damage");
        }
        if self.returned == self.acked {
            self.acked = seq;
            self.returned = seq;
            self.ledger.ack(seq, None);
        }
    }
}

/// Keeps a damaged piece.
pub(super) fn keep(damaged: &SetAside, bytes: &[u8], reason: &str) {
    if let Err(error) = damaged.keep("journal", None, bytes, reason, clock::now_ms()) {
        log::warn!("{}", crate::chain::chain(&error));
    }
}

impl<D: JournalDisk> delivery::Journal for JournalReader<D> {
    type Error = JournalError;

    fn next(&mut self) -> Result<Option<Record>, JournalError> {
        JournalReader::next(self)
    }

    fn rewind(&mut self) {
        JournalReader::rewind(self);
    }

    fn ack(&mut self, seq: u64) -> Result<(), JournalError> {
        JournalReader::ack(self, seq)
    }
}
