//! Segments: their names and how they begin.

use std::path::{Path, PathBuf};

/// How a segment begins; the last byte is the version of the format.
pub const HEADER: [u8; 8] = *b"CIMJRNL\x01";
/// Bytes of [`HEADER`].
pub const HEADER_BYTES: u64 = HEADER.len() as u64;
/// Numbers of records stay far below the largest one, so that counting on from one never ends.
pub const SEQ_MAX: u64 = u64::MAX / 4;

/// Which segment: what its name says. Ordered as its records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// The number of its first record.
    pub first: u64,
    /// What its CRCs begin with.
    pub salt: u32,
}

impl SegmentId {
    /// Reads a file name; `None` for one that is not exactly as [`SegmentId::file_name`] writes it.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, salt) = name.strip_suffix(".seg")?.split_once('-')?;
        let id = Self {
            first: first.parse().ok()?,
            salt: u32::from_str_radix(salt, 16).ok()?,
        };
        (id.file_name() == name && (1..=SEQ_MAX).contains(&id.first)).then_some(id)
    }

    /// Its file's name.
    pub fn file_name(self) -> String {
        format!("{:020}-{:08x}.seg", self.first, self.salt)
    }

    /// Its file in `dir`.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }
}

/// A segment and how much of it may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Which.
    pub id: SegmentId,
    /// Bytes in the file that are committed.
    pub len: u64,
    /// The disk did not give it back: its file is kept when the segment goes.
    pub unreadable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_order_as_numbers_do() {
        let id = SegmentId {
            first: 42,
            salt: 0xbeef,
        };
        assert_eq!(id.file_name(), "00000000000000000042-0000beef.seg");
        assert_eq!(SegmentId::parse(&id.file_name()), Some(id));
        for (first, other) in [(9, 10), (99, 100), (1, SEQ_MAX)] {
            let name = |first| SegmentId { first, salt: 1 }.file_name();
            assert!(name(first) < name(other));
        }
    }

    #[test]
    fn other_names_are_no_segments() {
        for name in [
            "",
            "position",
            "owner",
            "damaged.jsonl",
            "unreadable.seg",
            "42-0000beef.seg",
            "00000000000000000042-0000BEEF.seg",
            "00000000000000000042-0000beef.seg.bad",
            "00000000000000000042-+000beef.seg",
            "+0000000000000000042-0000beef.seg",
            "00000000000000000000-0000beef.seg",
            "18446744073709551615-0000beef.seg",
            "99999999999999999999-0000beef.seg",
        ] {
            assert_eq!(SegmentId::parse(name), None, "{name}");
        }
    }
}
