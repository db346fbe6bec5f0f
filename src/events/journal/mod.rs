//! The journal: events on disk until their sink has them. Appended by one thread, read by another.
//!
//! # On disk
//!
//! One directory, `<state dir>/journal`. All numbers are little-endian.
//!
//! `<first>-<salt>.seg`: a segment. `first` is the number of its first record in 20 decimal digits, `salt` a random number in 8
//! hexadecimal ones. It begins with the 8 bytes `CIMJRNL\x01`, the last of them the version of the format. Then, one behind the other, records:
//!
//! ```text
//!  0  3  marker c1 4a 52, by which the next record behind a bad one is found
//!  3  1  kind: 1 an event of the application (FlatBuffers), 2 one that CIM raised (JSON)
//!  4  4  bytes of the payload
//!  8  8  seq: 1, 2, 3, … over all segments, none left out
//! 16  8  time it was stored, milliseconds since the epoch
//! 24  4  CRC-32 of bytes 0 to 23 and the payload, begun with the salt: bytes that an application put into an event are
//!        never taken for a record
//! 28     the payload
//! ```
//!
//! `position`: how far everything is done with; see [`position`](self::position). Lost or damaged: everything that is there is delivered once more.
//!
//! `owner`: locked (flock) by the CIM that owns the directory, its pid in it.
//!
//! `damaged.jsonl`, `damaged.jsonl.1`: pieces that could not be read ([`crate::set_aside`]). `unreadable.seg`: the last segment that
//! the disk did not give back.
//!
//! # Rules
//!
//! * A record is readable once it is committed: written by `write(2)`, and synced when the policy is [`Fsync::Always`].
//! * What the file has beyond the last commit is the beginning of what is written next, at the same place: a failed write is
//!   continued, never repeated behind itself.
//! * A segment is removed when all of its records are acknowledged and it is not the last one.
//! * The start reads the last segment alone, whatever the backlog; earlier ones are checked when they are read.
//! * Only the end of the last segment is ever cut. Any other bad piece is passed over, kept in `damaged.jsonl` and counted.
//!
//! ```text
//! frame.rs     bytes of a record      cursor.rs    walks a segment, around what is bad    recovery.rs  the start
//! segment.rs   names and headers      position.rs  the stored position                    owner.rs     one owner
//! writer.rs    append and commit      ledger.rs    what writer and reader share           inspect.rs   for `cim journal`
//! reader.rs    next, rewind and ack   disk.rs      calls of the file system               error.rs     what can go wrong
//! ```

mod cursor;
mod disk;
mod error;
mod frame;
pub mod inspect;
mod ledger;
mod owner;
pub mod position;
mod reader;
mod recovery;
mod segment;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use disk::JournalDisk;
pub use error::{AppendError, JournalError, OpenError};
pub use frame::{FRAME_BYTES, Kind};
pub use reader::JournalReader;
pub use recovery::open_with;
pub use writer::JournalWriter;

use crate::limits;
use crate::logs::disk::RealDisk;
use crate::metrics::Metrics;

/// When what was written is synchronised with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// By the kernel, when it likes: a crash of the machine can lose the last seconds, a crash of CIM nothing.
    Never,
    /// Once a second.
    Interval,
    /// Before a record counts as stored.
    Always,
}

impl Fsync {
    /// Every policy with its name in `CIM_JOURNAL_FSYNC`.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("never", Self::Never),
        ("interval", Self::Interval),
        ("always", Self::Always),
    ];
}

/// The bounds of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalLimits {
    /// Bytes of all segments together.
    pub bytes_max: u64,
    /// Bytes of one segment, unless one record has more.
    pub segment_bytes: u64,
    /// When it is synced.
    pub fsync: Fsync,
}

impl JournalLimits {
    /// Segments of the usual size.
    pub fn new(bytes_max: u64, fsync: Fsync) -> Self {
        Self {
            bytes_max,
            segment_bytes: limits::JOURNAL_SEGMENT_BYTES,
            fsync,
        }
    }
}

/// One record, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of all records; the first one ever is 1.
    pub seq: u64,
    /// When it was stored, in milliseconds since the epoch.
    pub time_ms: u64,
    /// What the payload is.
    pub kind: Kind,
    /// At most [`limits::JOURNAL_RECORD_BYTES`].
    pub payload: Vec<u8>,
}

/// Opens the journal in `dir`, which is made when it is missing, and becomes its owner until both ends are dropped.
///
/// # Errors
/// Another process owns it, or the directory cannot be used. Whatever its files hold is no error: damage is passed over and counted.
pub fn open(
    dir: &Path,
    limits: JournalLimits,
    metrics: &Arc<Metrics>,
) -> Result<(JournalWriter, JournalReader), OpenError> {
    open_with(RealDisk, dir, limits, metrics)
}

#[cfg(test)]
mod tests;
