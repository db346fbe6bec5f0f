//! LOG buffers to lines: each is verified, counted, and put with the lines of its container.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::batch::Lines;
use super::container::{Container, Containers};
use crate::tap::{Batch, Failure, Span};
use crate::wire::LogMessage;

/// What one batch brought; the caller adds it to the metrics once.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the last one.
    pub last_bytes: u64,
    /// Messages that are no valid `LogMessage`.
    pub malformed: u64,
}

/// The valid lines of `batch`, in order. `size` is called with the bytes of each message.
pub fn lines(
    batch: Batch,
    containers: &mut Containers,
    now: Instant,
    mut size: impl FnMut(u32),
) -> (Lines, Counts) {
    let mut counts = Counts::default();
    let Batch {
        buffer,
        spans,
        ack,
        acks,
        ..
    } = batch;
    let mut lines = Vec::with_capacity(spans.len());
    let mut runs: Vec<(Arc<Container>, u32)> = Vec::with_capacity(1);
    for (index, span) in spans.into_iter().enumerate() {
        size(span.len);
        counts.messages += 1;
        counts.bytes += u64::from(span.len);
        counts.last_bytes = u64::from(span.len);
        let Ok(message) = LogMessage::read(span.of(&buffer)) else {
            counts.malformed += 1;
            if let Some((_, outcome)) = acks.iter().find(|(at, _)| *at as usize == index) {
                outcome.fail(Failure::Malformed);
            }
            continue;
        };
        lines.push(span_of(&buffer, message.payload));
        match runs.last_mut() {
            Some((container, count))
                if *container.name == *message.container_name
                    && *container.id == *message.container_id =>
            {
                *count += 1;
            }
            _ => runs.push((
                containers.get(message.container_name, message.container_id, now),
                1,
            )),
        }
    }
    (
        Lines {
            buffer,
            spans: lines,
            runs,
            ack,
        },
        counts,
    )
}

/// Where `part`, a slice of `buffer`, lies in it; an empty slice may lie anywhere.
fn span_of(buffer: &Bytes, part: &[u8]) -> Span {
    let start = part.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr());
    if part.is_empty() {
        Span { start: 0, len: 0 }
    } else {
        Span {
            start: start as u32,
            len: part.len() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap::Outcome;
    use crate::wire::encode_log;

    #[test]
    fn lines_keep_their_order_and_bad_ones_are_counted() {
        let mut buffer = b"PUB".to_vec();
        let mut spans = Vec::new();
        let encoded = |name: &str, text: &[u8]| {
            let mut builder = flatbuffers::FlatBufferBuilder::new();
            encode_log(name.as_bytes(), b"id", text, &mut builder);
            builder.finished_data().to_vec()
        };
        for message in [
            encoded("a", b"1"),
            encoded("a", b"\xff"),
            b"junk".to_vec(),
            encoded("b", b""),
            encoded("a", b"3"),
        ] {
            spans.push(Span {
                start: buffer.len() as u32,
                len: message.len() as u32,
            });
            buffer.extend_from_slice(&message);
        }
        let bytes = buffer.len() as u64 - 3;
        let (good, bad) = (Outcome::default(), Outcome::default());
        let acks = vec![(1, good.clone()), (2, bad.clone())];
        let batch = Batch {
            seq: 1,
            buffer: buffer.into(),
            spans,
            flush: false,
            ack: None,
            acks,
        };
        let mut containers = Containers::new("pod", "ns");
        let mut sizes = Vec::new();
        let (lines, counts) = lines(batch, &mut containers, Instant::now(), |size| {
            sizes.push(size)
        });
        let got: Vec<_> = lines
            .runs()
            .map(|(container, lines)| {
                (
                    container.name.to_vec(),
                    lines.map(<[u8]>::to_vec).collect::<Vec<_>>(),
                )
            })
            .collect();
        let expected: Vec<(Vec<u8>, Vec<Vec<u8>>)> = vec![
            (b"a".to_vec(), vec![b"1".to_vec(), b"\xff".to_vec()]),
            (b"b".to_vec(), vec![b"".to_vec()]),
            (b"a".to_vec(), vec![b"3".to_vec()]),
        ];
        assert_eq!(got, expected);
        assert_eq!(
            (counts.messages, counts.bytes, counts.malformed, sizes.len()),
            (5, bytes, 1, 5)
        );
        assert_eq!(
            (good.failure(), bad.failure()),
            (None, Some(Failure::Malformed))
        );
    }
}
