//! The bytes of one record.

use crc32fast::Hasher;

use crate::limits::JOURNAL_RECORD_BYTES;

/// Bytes before the payload.
pub const FRAME_BYTES: usize = 28;
/// How a record begins. The first byte is in no UTF-8 text.
pub const MARKER: [u8; 3] = [0xc1, b'J', b'R'];
/// Bytes before the CRC.
const SUMMED: usize = FRAME_BYTES - 4;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A FlatBuffers `Event`, as the application published it.
    Event = 1,
    /// The JSON of an event that CIM raised itself.
    Raised = 2,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Event),
            2 => Some(Self::Raised),
            _ => None,
        }
    }
}

/// What stands before the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// Bytes of the payload, at most [`JOURNAL_RECORD_BYTES`].
    pub len: usize,
    /// The record's number.
    pub seq: u64,
    /// When it was stored, in milliseconds since the epoch.
    pub time_ms: u64,
    crc: u32,
}

fn sum(salt: u32, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Appends one record. The payload has at most [`JOURNAL_RECORD_BYTES`].
pub fn append(salt: u32, kind: Kind, seq: u64, time_ms: u64, payload: &[u8], out: &mut Vec<u8>) {
    let mut head = [0; SUMMED];
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [a, b, c] = MARKER;
    let parts: [&[u8]; 4] = [
        &[a, b, c, kind as u8],
        &len.to_le_bytes(),
        &seq.to_le_bytes(),
        &time_ms.to_le_bytes(),
    ];
    let mut rest = head.as_mut_slice();
    for part in parts {
        let Some((place, after)) = rest.split_at_mut_checked(part.len()) else {
            break;
        };
        place.copy_from_slice(part);
        rest = after;
    }
    let crc = sum(salt, &head, payload);
    out.reserve(FRAME_BYTES + payload.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

impl Frame {
    /// Reads the first [`FRAME_BYTES`] of a record; `None` when they cannot be those of one.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let kind = Kind::of(*bytes.strip_prefix(&MARKER)?.first()?)?;
        let len = u32::from_le_bytes(number(bytes, 4)?) as usize;
        (len <= JOURNAL_RECORD_BYTES).then_some(Self {
            kind,
            len,
            seq: u64::from_le_bytes(number(bytes, 8)?),
            time_ms: u64::from_le_bytes(number(bytes, 16)?),
            crc: u32::from_le_bytes(number(bytes, SUMMED)?),
        })
    }

    /// Bytes of the whole record.
    pub fn bytes(&self) -> usize {
        FRAME_BYTES + self.len
    }

    /// The CRC is that of `record`, frame and payload.
    pub fn holds(&self, salt: u32, record: &[u8]) -> bool {
        let (Some(head), Some(payload)) = (record.get(..SUMMED), record.get(FRAME_BYTES..)) else {
            return false;
        };
        payload.len() == self.len && sum(salt, head, payload) == self.crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(salt: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(salt, Kind::Raised, 7, 1_767_225_600_123, payload, &mut out);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = record(0, b"ab");
        assert_eq!(bytes.len(), 30);
        assert_eq!(&bytes[..4], [0xc1, 0x4a, 0x52, 2]);
        assert_eq!(&bytes[4..8], [2, 0, 0, 0]);
        assert_eq!(&bytes[8..16], [7, 0, 0, 0, 0, 0, 0, 0]);
        let crc = crc32fast::hash(&[&bytes[..24], b"ab"].concat());
        assert_eq!(&bytes[24..28], crc.to_le_bytes());
        assert_eq!(&bytes[28..], b"ab");
    }

    #[test]
    fn a_length_above_the_largest_is_no_record() {
        let mut bytes = record(0, b"");
        bytes[4..8].copy_from_slice(&(JOURNAL_RECORD_BYTES as u32 + 1).to_le_bytes());
        assert_eq!(Frame::read(&bytes), None);
    }

    proptest! {
        #[test]
        fn a_record_comes_back_and_no_changed_bit_or_other_salt_does(
            salt: u32,
            payload in prop::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut bytes = record(salt, &payload);
            let frame = Frame::read(&bytes).unwrap();
            prop_assert_eq!((frame.kind, frame.seq, frame.len), (Kind::Raised, 7, payload.len()));
            prop_assert_eq!(frame.bytes(), bytes.len());
            prop_assert!(frame.holds(salt, &bytes));
            prop_assert!(!frame.holds(salt ^ 1, &bytes));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let holds = Frame::read(&bytes).is_some_and(|frame| frame.holds(salt, &bytes));
            prop_assert!(!holds);
        }
    }
}
