//! A journal seen from outside, without its owner's lock and without changing anything: for `cim journal`.
//!
//! While a CIM runs on it, segments may go and the last one may grow between two looks; what is shown is what was there.

use std::collections::VecDeque;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, Step};
use super::disk::JournalDisk;
pub use super::owner::owner_of;
use super::position::PositionFile;
use super::recovery;
use super::segment::{SEQ_MAX, Segment};
use super::{Kind, frame::Frame};
use crate::limits::JOURNAL_SEGMENT_BYTES;
use crate::logs::disk::{Disk, RealDisk};

/// What a journal's directory holds.
#[derive(Debug)]
pub struct Seen {
    dir: PathBuf,
    /// A CIM runs on it: which process, as far as that is known.
    pub in_use: Option<Option<u32>>,
    /// Every record up to this one is acknowledged.
    pub acked: u64,
    segments: VecDeque<Segment>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentSeen {
    /// Its file's name.
    pub name: String,
    /// The number of its first record.
    pub first: u64,
    /// Bytes of its file.
    pub bytes: u64,
    segment: Segment,
}

/// What a segment holds, in order.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record.
    Record {
        /// Its number.
        seq: u64,
        /// When it was stored, in milliseconds since the epoch.
        time_ms: u64,
        /// What the payload is.
        kind: Kind,
        /// The payload.
        payload: &'a [u8],
    },
    /// Bytes that are no record.
    Bad(Range<u64>),
}

impl Seen {
    /// Looks into `dir`.
    ///
    /// # Errors
    /// It cannot be listed. A position that cannot be read counts as none.
    pub fn look(dir: &Path) -> io::Result<Self> {
        let mut disk = RealDisk;
        let in_use = owner_of(dir);
        // The position first: segments behind it do not go meanwhile.
        let stored = PositionFile::new(dir).load(&mut disk).unwrap_or_default();
        let segments = recovery::segments(&mut disk, dir, JOURNAL_SEGMENT_BYTES)?;
        let believed = stored.and_then(|stored| recovery::believed(stored, &segments));
        let first = segments.front().map_or(1, |segment| segment.id.first);
        Ok(Self {
            dir: dir.to_owned(),
            in_use,
            acked: believed.map_or(first - 1, |position| position.acked),
            segments,
        })
    }

    /// Every segment, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentSeen> {
        self.segments.iter().map(|segment| SegmentSeen {
            name: segment.id.file_name(),
            first: segment.id.first,
            bytes: segment.len,
            segment: *segment,
        })
    }

    /// Calls `each` with what `segment` holds, until it breaks. False: the segment is gone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn walk(
        &self,
        segment: &SegmentSeen,
        each: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> io::Result<bool> {
        let Segment { id, mut len, .. } = segment.segment;
        let mut disk = RealDisk;
        let mut file = match disk.open_read(&id.path(&self.dir)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // The torn end of a file may have been cut since.
        len = len.min(disk.stat(&mut file)?.len);
        let mut cursor = Cursor::new(file, id.salt, 0, id.first);
        loop {
            let item = match cursor.step(&mut disk, len, SEQ_MAX)? {
                Step::Record(
                    _,
                    Frame {
                        seq, time_ms, kind, ..
                    },
                ) => Item::Record {
                    seq,
                    time_ms,
                    kind,
                    payload: cursor.payload(),
                },
                Step::Bad(piece) => Item::Bad(piece),
                Step::End => return Ok(true),
            };
            if each(item).is_break() {
                return Ok(true);
            }
        }
    }
}
