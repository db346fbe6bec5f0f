//! The start: what the directory holds, whatever that is. Reads the last segment and the position, and nothing else.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::JournalLimits;
use super::cursor::{Cursor, Step};
use super::disk::JournalDisk;
use super::error::{JournalError, OpenError};
use super::frame::FRAME_BYTES;
use super::ledger::{Ledger, State};
use super::owner::Owner;
use super::position::{Place, Position, PositionFile};
use super::reader::{Begin, JournalReader, keep};
use super::segment::{SEQ_MAX, Segment, SegmentId};
use super::writer::{JournalWriter, Resume};
use crate::limits::{JOURNAL_DAMAGED_BYTES, JOURNAL_DAMAGED_PIECE_BYTES, JOURNAL_SEGMENTS};
use crate::logs::disk::Disk;
use crate::logs::trouble::Operation;
use crate::metrics::Metrics;
use crate::set_aside::SetAside;

/// The file that keeps damaged pieces.
const DAMAGED: &str = "damaged.jsonl";

/// Both ends of a journal.
type Ends<D> = (JournalWriter<D>, JournalReader<D>);

/// [`super::open`] on a disk of the caller's choice, which is cloned for the second end.
///
/// # Errors
/// See [`super::open`].
pub fn open_with<D: JournalDisk + Clone>(
    mut disk: D,
    dir: &Path,
    limits: JournalLimits,
    metrics: &Arc<Metrics>,
) -> Result<Ends<D>, OpenError> {
    let unusable = |operation, source| OpenError::Directory {
        dir: dir.to_owned(),
        operation,
        source,
    };
    disk.create_dir_all(dir)
        .map_err(|e| unusable(Operation::MakeDirectory, e))?;
    let owner = Owner::new(dir)?;
    let segments = segments(&mut disk, dir, limits.segment_bytes);
    let segments = segments.map_err(|e| unusable(Operation::List, e))?;
    let damaged = Arc::new(SetAside::new(dir.join(DAMAGED), JOURNAL_DAMAGED_BYTES));

    let mut found = Found {
        disk: &mut disk,
        dir,
        metrics,
        damaged: &damaged,
        segments,
    };
    let mut file = PositionFile::new(dir);
    let position = found.position(&mut file);
    let end = found.end();
    let segments = found.segments;

    let last = end.last_seq;
    let committed = position.acked.max(last);
    let resume = Resume {
        // Numbers have no gap within a segment.
        segment: end.resume.filter(|_| committed == last),
        next_seq: committed + 1,
    };
    let state = State {
        segments,
        committed,
        acked: position.acked.min(committed),
        oldest_ms: None,
    };
    let ledger = Arc::new(Ledger::new(state, Arc::clone(metrics), owner));
    let (fresh, fresh_heard) = bounded(1);
    let (room, room_heard) = bounded(1);
    let begin = Begin {
        file,
        position,
        damaged,
    };
    let (for_writer, for_reader) = (Arc::clone(&ledger), ledger);
    let mut reader = JournalReader::new(
        disk.clone(),
        dir.to_owned(),
        for_reader,
        begin,
        (room, fresh_heard),
    );
    reader.look_at_oldest();
    let writer = JournalWriter::new(
        disk,
        dir.to_owned(),
        limits,
        for_writer,
        resume,
        (fresh, room_heard),
    );
    Ok((writer, reader))
}

/// Every segment in `dir`, in order, with the bytes of its file; of too many the first ones.
///
/// # Errors
/// The directory cannot be listed.
pub(super) fn segments<D: Disk>(
    disk: &mut D,
    dir: &Path,
    segment_bytes: u64,
) -> io::Result<VecDeque<Segment>> {
    let mut ids = Vec::new();
    disk.list(dir, &mut |name| {
        let id = name.to_str().and_then(SegmentId::parse);
        ids.extend(id.filter(|_| ids.len() < 2 * JOURNAL_SEGMENTS));
    })?;
    ids.sort_unstable();
    ids.truncate(JOURNAL_SEGMENTS);
    let segments = ids.into_iter().filter_map(|id| {
        let len = match disk.stat_path(&id.path(dir)) {
            Ok(Some(stat)) if stat.regular => stat.len,
            Ok(_) => return None,
            // It is there, and has no more than this.
            Err(_) => segment_bytes,
        };
        Some(Segment {
            id,
            len,
            unreadable: false,
        })
    });
    Ok(segments.collect())
}

/// A stored position as it applies to the segments that are there; `None` when it does not.
pub(super) fn believed(stored: Position, segments: &VecDeque<Segment>) -> Option<Position> {
    let id = stored.place.segment;
    let segment = segments.iter().find(|segment| segment.id == id)?;
    let place = if stored.place.offset <= segment.len {
        stored.place
    } else {
        Place::start(id)
    };
    Some(Position { place, ..stored })
}

/// Where the journal ends.
struct End<F> {
    /// The number of the last record.
    last_seq: u64,
    /// The last segment, when it may be appended to.
    resume: Option<(SegmentId, F, u64)>,
}

struct Found<'a, D> {
    disk: &'a mut D,
    dir: &'a Path,
    metrics: &'a Arc<Metrics>,
    damaged: &'a SetAside,
    segments: VecDeque<Segment>,
}

impl<D: JournalDisk> Found<'_, D> {
    /// What the file says when it is to be believed; else everything that is there is still to be delivered.
    fn position(&mut self, file: &mut PositionFile<D::File>) -> Position {
        let stored = file.load(self.disk).unwrap_or_else(|source| {
            // Counted as every failed operation; what follows is the same as for a lost file.
            let error = JournalError::new(Operation::Read, file.path(), source, self.metrics);
            log::warn!("{}", crate::chain::chain(&error));
            None
        });
        let Some(first) = self.segments.front().map(|segment| segment.id) else {
            // An empty journal: numbers go on, so that none comes twice.
            let acked = stored.map_or(0, |position| position.acked);
            let place = Place::start(SegmentId {
                first: acked + 1,
                salt: 0,
            });
            return Position { acked, place };
        };
        let believed = stored.and_then(|stored| believed(stored, &self.segments));
        if stored.is_some() && believed.is_none() {
            log::warn!(
                "{}: the stored position does not belong to the segments that are there: all of them are delivered once more",
                self.dir.display()
            );
        }
        believed.unwrap_or(Position {
            acked: first.first - 1,
            place: Place::start(first),
        })
    }

    /// Reads the last segment, and cuts what is torn at its end.
    fn end(&mut self) -> End<D::File> {
        let Some(last) = self.segments.back().copied() else {
            return End {
                last_seq: 0,
                resume: None,
            };
        };
        let path = last.id.path(self.dir);
        match self.scan(last) {
            Ok(end) => end,
            Err((operation, source)) => {
                let error = JournalError::new(operation, &path, source, self.metrics);
                log::error!(
                    "{}: it stays as it is, and new events go to another segment",
                    crate::chain::chain(&error)
                );
                // However many records it has: none of their numbers is used again.
                let records = last.len / FRAME_BYTES as u64 + 1;
                End {
                    last_seq: (last.id.first + records).min(SEQ_MAX),
                    resume: None,
                }
            }
        }
    }

    fn scan(&mut self, last: Segment) -> Result<End<D::File>, (Operation, io::Error)> {
        let path = last.id.path(self.dir);
        let file = self.disk.open_read(&path);
        let file = file.map_err(|e| (Operation::Open, e))?;
        let mut cursor = Cursor::new(file, last.id.salt, 0, last.id.first);
        let mut last_seq = last.id.first - 1;
        let (mut whole, mut torn) = (true, None::<Range<u64>>);
        loop {
            let step = cursor.step(self.disk, last.len, SEQ_MAX);
            match step.map_err(|e| (Operation::Read, e))? {
                Step::Record(_, frame) => {
                    last_seq = frame.seq;
                    // Bad, and not at the end: the reader passes over it.
                    whole &= torn.take().is_none();
                }
                Step::Bad(piece) => torn = Some(piece),
                Step::End => break,
            }
        }
        let mut len = last.len;
        if let Some(torn) = torn {
            let bytes = cursor.excerpt(self.disk, &torn, JOURNAL_DAMAGED_PIECE_BYTES);
            let reason = format!(
                "{}: torn end, bytes {} to {}",
                last.id.file_name(),
                torn.start,
                torn.end
            );
            keep(self.damaged, &bytes.unwrap_or_default(), &reason);
            log::warn!("the event journal: {reason} are cut off: they were not stored whole");
            let damage = &self.metrics.events.journal_damage;
            damage.with_label_values(&["torn_tail"]).inc();
            len = torn.start;
        }
        let mut file = self
            .disk
            .open_update(&path)
            .map_err(|e| (Operation::Open, e))?;
        if len < last.len {
            let cut = self.disk.set_len(&mut file, len);
            cut.map_err(|e| (Operation::Truncate, e))?;
        }
        if let Some(last) = self.segments.back_mut() {
            last.len = len;
        }
        Ok(End {
            last_seq,
            resume: whole.then_some((last.id, file, len)),
        })
    }
}
