//! The stored position: how far everything is done with, in the file `position`.
//!
//! Two slots of 56 bytes, at offsets 0 and 512, are written by turns, so that one that is torn leaves the other. The good one with the
//! higher turn counts. Numbers are little-endian:
//!
//! ```text
//!  0  8  turn            16  8  first of the segment     32  8  offset at which a record begins, in the segment
//!  8  8  acked           24  8  its salt                 40  8  that record's number, at most acked + 1
//!                                                        48  4  CRC-32 of bytes 0 to 47; 4 bytes 0
//! ```
//!
//! A position whose segment is not there is not believed: it is of another journal, or newer than what a crash of the machine has left.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::JournalDisk;
use super::segment::{SEQ_MAX, SegmentId};

/// The file's name.
pub const FILE: &str = "position";
const SLOT_BYTES: usize = 56;
/// Bytes of a slot before its CRC.
const SUMMED: usize = SLOT_BYTES - 8;
/// A disk writes 512 bytes whole or not at all.
const SLOT_OFFSETS: [u64; 2] = [0, 512];

/// A place from which on the records that are not acknowledged are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentId,
    /// Where in it a record begins, or 0: the whole segment.
    pub offset: u64,
    /// That record's number, at the least.
    pub seq: u64,
}

impl Place {
    /// The beginning of a segment.
    pub fn start(segment: SegmentId) -> Self {
        Self {
            segment,
            offset: 0,
            seq: segment.first,
        }
    }
}

/// How far everything is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Every record up to this one is acknowledged.
    pub acked: u64,
    /// Where reading begins.
    pub place: Place,
}

fn to_slot(turn: u64, position: &Position) -> [u8; SLOT_BYTES] {
    let Place {
        segment,
        offset,
        seq,
    } = position.place;
    let numbers = [
        turn,
        position.acked,
        segment.first,
        u64::from(segment.salt),
        offset,
        seq,
    ];
    let mut slot = [0; SLOT_BYTES];
    for (place, number) in slot.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let (summed, crc) = slot.split_at_mut(SUMMED);
    let sum = u64::from(crc32fast::hash(summed));
    crc.copy_from_slice(&sum.to_le_bytes());
    slot
}

fn of_slot(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Position)> {
    let mut numbers = slot
        .chunks_exact(8)
        .filter_map(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
    let mut next = || numbers.next();
    let (turn, acked, first, salt) = (next()?, next()?, next()?, next()?);
    let (offset, seq, crc) = (next()?, next()?, next()?);
    let position = Position {
        acked,
        place: Place {
            segment: SegmentId {
                first,
                salt: u32::try_from(salt).ok()?,
            },
            offset,
            seq,
        },
    };
    let sum = crc32fast::hash(slot.get(..SUMMED)?);
    let sane =
        acked <= SEQ_MAX && seq <= acked.saturating_add(1) && acked.saturating_add(1) >= first;
    (crc == u64::from(sum) && sane).then_some((turn, position))
}

/// The file; opened, or opened again, when it is needed.
#[derive(Debug)]
pub struct PositionFile<F> {
    path: PathBuf,
    file: Option<F>,
    turn: u64,
}

impl<F> PositionFile<F> {
    /// In `dir`, not opened yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE),
            file: None,
            turn: 0,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is stored; `None` when nothing is, or nothing good.
    ///
    /// # Errors
    /// The file cannot be opened or read. Later positions are stored all the same.
    pub fn load<D: JournalDisk<File = F>>(&mut self, disk: &mut D) -> io::Result<Option<Position>> {
        let mut file = match disk.open_read(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest: Option<(u64, Position)> = None;
        for offset in SLOT_OFFSETS {
            let mut slot = [0; SLOT_BYTES];
            if disk.read_at(&mut file, &mut slot, offset)? == SLOT_BYTES {
                let older = newest.map(|(turn, _)| turn);
                newest = of_slot(&slot)
                    .filter(|(turn, _)| Some(*turn) > older)
                    .or(newest);
            }
        }
        let Some((turn, position)) = newest else {
            return Ok(None);
        };
        self.turn = turn;
        Ok(Some(position))
    }

    /// Stores `position`.
    ///
    /// # Errors
    /// The file cannot be opened or written; what was stored before is still there.
    pub fn store<D: JournalDisk<File = F>>(
        &mut self,
        disk: &mut D,
        position: &Position,
    ) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => disk.open_update(&self.path)?,
        };
        let turn = self.turn.wrapping_add(1);
        let [even, odd] = SLOT_OFFSETS;
        let offset = if turn.is_multiple_of(2) { even } else { odd };
        let written = disk.write_at(&mut file, &to_slot(turn, position), offset)?;
        if written < SLOT_BYTES {
            // The next try goes to the same slot.
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.turn = turn;
        self.file = Some(file);
        Ok(())
    }
}
