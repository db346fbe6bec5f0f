//! The bytes of a log file to lines again. A payload may hold line ends; those that do are listed beside the mark, and a line that
//! is listed stays whole.
//!
//! The list, `<stem>.<inode, 16 hex digits>.whole`, has an entry of [`WHOLE_BYTES`] for each, in the order of the file, little-endian: offset in the
//! file (u64), length without the line end (u32), CRC-32 of the payload (u32), CRC-32 of the 16 bytes before (u32). An entry that is
//! missing, torn or of something else only means that the payload comes as several lines.

use crate::limits::PAYLOAD_BYTES;
use crate::tap::Span;

/// Bytes of an entry.
pub const WHOLE_BYTES: usize = 20;

/// A payload that holds line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Offset of its first byte in the file.
    pub start: u64,
    /// Its length; at most [`PAYLOAD_BYTES`].
    pub len: u32,
    /// CRC-32 of it.
    pub crc: u32,
}

impl Whole {
    /// The entry of `payload` at `start`; `None` when it is larger than a payload can be.
    pub fn of(start: u64, payload: &[u8]) -> Option<Self> {
        let len = u32::try_from(payload.len()).ok()?;
        (payload.len() <= PAYLOAD_BYTES).then(|| Self {
            start,
            len,
            crc: crc32fast::hash(payload),
        })
    }

    /// Offset behind it and its line end.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.len) + 1)
    }

    /// Its bytes in the list.
    pub fn encode(&self) -> [u8; WHOLE_BYTES] {
        let mut out = [0; WHOLE_BYTES];
        let (body, sum) = out.split_at_mut(16);
        let fields = self
            .start
            .to_le_bytes()
            .into_iter()
            .chain(self.len.to_le_bytes())
            .chain(self.crc.to_le_bytes());
        body.iter_mut()
            .zip(fields)
            .for_each(|(to, byte)| *to = byte);
        sum.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        out
    }

    /// Reads an entry; `None` when it is torn or cannot be one.
    pub fn decode(bytes: &[u8; WHOLE_BYTES]) -> Option<Self> {
        let (body, sum) = bytes.split_first_chunk::<16>()?;
        if *sum != crc32fast::hash(body).to_le_bytes() {
            return None;
        }
        let (start, rest) = body.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (crc, _) = rest.split_first_chunk::<4>()?;
        let whole = Self {
            start: u64::from_le_bytes(*start),
            len: u32::from_le_bytes(*len),
            crc: u32::from_le_bytes(*crc),
        };
        (whole.len as usize <= PAYLOAD_BYTES).then_some(whole)
    }
}

/// What [`split`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Bytes that the lines take, their ends included; 0 when the first one is not whole.
    pub used: usize,
    /// Bytes that have to be there for the first line that is not whole, as far as known.
    pub wanted: usize,
}

/// Adds the lines in `buffer`, the bytes of a file from `base` on, to `spans`, until it has `max` of them. `last`: nothing follows, the rest
/// is a line without its end too. `wholes`: entries of the list, in order.
pub fn split(
    buffer: &[u8],
    base: u64,
    last: bool,
    wholes: impl Iterator<Item = Whole>,
    max: usize,
    spans: &mut Vec<Span>,
) -> Split {
    let mut wholes = wholes.peekable();
    let mut at = 0;
    let wanted = loop {
        // The next entry that lies ahead.
        let next = loop {
            match wholes.peek() {
                Some(whole) if whole.start < base + at as u64 => {
                    wholes.next();
                }
                next => break next.map_or(u64::MAX, |whole| whole.start),
            }
        };
        if at >= buffer.len() || spans.len() >= max {
            break 1;
        }
        if next == base + at as u64
            && let Some(whole) = wholes.next()
        {
            match held(buffer, at, &whole) {
                Held::Yes(span) => {
                    spans.push(span);
                    at += span.len as usize + 1;
                    continue;
                }
                Held::Cut if !last => break whole.len as usize + 1,
                Held::Cut | Held::No => {}
            }
        }
        let from = at;
        for end in memchr::memchr_iter(b'\n', buffer.get(from..).unwrap_or_default()) {
            let end = from + end;
            spans.push(span(at, end));
            at = end + 1;
            if base + at as u64 >= next || spans.len() >= max {
                break;
            }
        }
        if at == from {
            let rest = buffer.len() - at;
            // No line is longer than a payload: somebody else has written here.
            if !last && rest <= PAYLOAD_BYTES {
                break PAYLOAD_BYTES + 1;
            }
            let end = at + rest.min(PAYLOAD_BYTES);
            spans.push(span(at, end));
            at = end;
        } else if at < buffer.len() && spans.len() < max && base + (at as u64) < next {
            // A part of a line is left.
            if !last {
                break PAYLOAD_BYTES + 1;
            }
        }
    };
    Split { used: at, wanted }
}

fn span(from: usize, to: usize) -> Span {
    Span {
        start: u32::try_from(from).unwrap_or(u32::MAX),
        len: u32::try_from(to - from).unwrap_or(u32::MAX),
    }
}

enum Held {
    Yes(Span),
    /// The buffer ends in it.
    Cut,
    No,
}

/// Whether the payload of `whole` is what begins at `at`.
fn held(buffer: &[u8], at: usize, whole: &Whole) -> Held {
    let end = at + whole.len as usize;
    match (buffer.get(at..end), buffer.get(end)) {
        (Some(payload), Some(b'\n')) if crc32fast::hash(payload) == whole.crc => {
            Held::Yes(span(at, end))
        }
        (Some(_), Some(_)) => Held::No,
        _ => Held::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines of `text`, split with the buffer cut after `cut` bytes each time.
    fn lines(text: &[u8], wholes: &[Whole], cut: usize, max: usize) -> Vec<Vec<u8>> {
        let (mut found, mut at, mut room) = (Vec::new(), 0, cut);
        while at < text.len() {
            let end = text.len().min(at + room);
            let buffer = &text[at..end];
            let mut spans = Vec::new();
            let all = wholes.iter().copied();
            let split = split(buffer, at as u64, end == text.len(), all, max, &mut spans);
            found.extend(spans.iter().map(|span| span.of(buffer).to_vec()));
            at += split.used;
            if split.used == 0 {
                assert!(split.wanted > buffer.len(), "no way on");
                room = split.wanted;
            } else {
                room = cut;
            }
        }
        found
    }

    #[test]
    fn a_listed_payload_is_one_line() {
        let text = b"a\nb1\nb2\nc\n";
        let whole = Whole::of(2, b"b1\nb2").unwrap();
        for cut in 1..=text.len() {
            assert_eq!(lines(text, &[], cut, 9), [&b"a"[..], b"b1", b"b2", b"c"]);
            assert_eq!(lines(text, &[whole], cut, 9), [&b"a"[..], b"b1\nb2", b"c"]);
        }
    }

    #[test]
    fn an_entry_that_does_not_fit_is_as_good_as_none() {
        let text = b"a\nb1\nb2\nc\n";
        let good = Whole::of(2, b"b1\nb2").unwrap();
        for bad in [
            Whole { crc: 1, ..good },
            Whole { start: 3, ..good },
            Whole { start: 0, ..good },
            Whole { len: 4, ..good },
            Whole { len: 8, ..good },
            Whole { len: 9, ..good },
            Whole { len: 900, ..good },
        ] {
            for cut in 1..=text.len() {
                assert_eq!(
                    lines(text, &[bad], cut, 9),
                    [&b"a"[..], b"b1", b"b2", b"c"],
                    "{bad:?}"
                );
            }
        }
    }

    #[test]
    fn the_end_of_a_piece_ends_a_line_and_so_does_the_largest_payload() {
        assert_eq!(lines(b"a\nb", &[], 9, 9), [b"a", b"b"]);
        assert_eq!(lines(b"\n\n", &[], 9, 9), [b"", b""]);
        let long = vec![b'x'; 2 * PAYLOAD_BYTES + 7];
        let found = lines(&long, &[], 1000, 9);
        let lens: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(lens, [PAYLOAD_BYTES, PAYLOAD_BYTES, 7]);
    }

    #[test]
    fn an_entry_with_any_bit_changed_is_none() {
        let entry = Whole::of(77, b"x\ny").unwrap();
        assert_eq!(Whole::decode(&entry.encode()), Some(entry));
        for bit in 0..WHOLE_BYTES * 8 {
            let mut bytes = entry.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Whole::decode(&bytes), None, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_what_is_read(
            payloads in proptest::collection::vec("[ab\n]{0,6}", 0..20),
            cut in 1usize..40,
            max in 1usize..5,
        ) {
            let (mut text, mut wholes) = (Vec::new(), Vec::new());
            for payload in &payloads {
                if payload.contains('\n') {
                    wholes.extend(Whole::of(text.len() as u64, payload.as_bytes()));
                }
                text.extend_from_slice(payload.as_bytes());
                text.push(b'\n');
            }
            let found = lines(&text, &wholes, cut, max);
            let want: Vec<Vec<u8>> = payloads.iter().map(|p| p.clone().into_bytes()).collect();
            prop_assert_eq!(found, want);
        }
    }
}
