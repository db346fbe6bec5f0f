//! Verified log lines on their way from `nats_subscriptions` to a writer.

use std::sync::Arc;

use bytes::Bytes;

use crate::logs::container::Container;
use crate::progress::Lane;
use crate::tap::{Outcome, Span};

/// The lines of one read, in order; shared when they go to two sinks.
#[derive(Debug)]
pub struct Lines {
    /// The bytes that were read, the payloads among them.
    pub buffer: Bytes,
    /// The payload of each line within `buffer`, without the line end.
    pub spans: Vec<Span>,
    /// Consecutive lines of one container: who, and how many of `spans`. The counts add up to `spans.len()`.
    pub runs: Vec<(Arc<Container>, u32)>,
    /// A publisher waits for an acknowledgement: a writer that drops lines of this batch says so.
    pub ack: Option<Outcome>,
}

impl Lines {
    /// No lines: what is left of a batch that only says how far its lane has come.
    pub fn none() -> Self {
        Self {
            buffer: Bytes::new(),
            spans: Vec::new(),
            runs: Vec::new(),
            ack: None,
        }
    }

    /// The same without the first `count` lines.
    pub fn without_first(&self, count: usize) -> Self {
        self.only(|line| line >= count)
    }

    /// The lines whose index `keep` likes.
    pub fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let mut at = 0;
        let mut spans = Vec::new();
        let runs = self.runs.iter().filter_map(|(container, lines)| {
            let before = spans.len();
            let end = at + *lines as usize;
            let run = self.spans.get(at..end).unwrap_or_default();
            let kept = run.iter().zip(at..).filter(|&(_, line)| keep(line));
            spans.extend(kept.map(|(span, _)| *span));
            at = end;
            let left = u32::try_from(spans.len() - before).unwrap_or(u32::MAX);
            (left > 0).then(|| (Arc::clone(container), left))
        });
        Self {
            runs: runs.collect(),
            buffer: self.buffer.clone(),
            spans,
            ack: self.ack.clone(),
        }
    }

    /// The containers in order, each with its lines.
    pub fn runs(&self) -> impl Iterator<Item = (&Arc<Container>, impl Iterator<Item = &[u8]>)> {
        let mut spans = self.spans.as_slice();
        self.runs.iter().map(move |(container, count)| {
            let (run, rest) = spans
                .split_at_checked(*count as usize)
                .unwrap_or((spans, &[]));
            spans = rest;
            (container, run.iter().map(|span| span.of(&self.buffer)))
        })
    }
}

/// Lines for one writer.
#[derive(Debug)]
pub struct LineBatch {
    /// The way that this copy takes; the writer that stores it calls `Progress::done(lane, seq)`.
    pub lane: Lane,
    /// The number of the LOG batch (or, for a marker without lines, of the last one that was dropped).
    pub seq: u64,
    /// Somebody waits: write at once, not when the buffer is full.
    pub flush: bool,
    /// The file has these lines too (mode FILEANDSTDOUT): stdout may give this copy up. The file writer takes no notice.
    pub copy: bool,
    /// The lines are still to be sent to a remote sink: a file that takes them is marked ([`crate::logs::backlog`]).
    pub backlog: bool,
    /// The lines.
    pub lines: Arc<Lines>,
}

#[cfg(test)]
pub mod testing {
    //! Batches made by hand.

    use super::*;

    /// A batch of `(container, payload)`.
    pub fn batch(
        lane: Lane,
        seq: u64,
        flush: bool,
        lines: &[(&Arc<Container>, &[u8])],
    ) -> LineBatch {
        let mut buffer = Vec::new();
        let mut all = Lines::none();
        for (container, payload) in lines {
            all.spans.push(Span {
                start: buffer.len() as u32,
                len: payload.len() as u32,
            });
            buffer.extend_from_slice(payload);
            match all.runs.last_mut() {
                Some((last, count)) if Arc::ptr_eq(last, container) => *count += 1,
                _ => all.runs.push((Arc::clone(container), 1)),
            }
        }
        all.buffer = buffer.into();
        LineBatch {
            lane,
            seq,
            flush,
            copy: false,
            backlog: false,
            lines: Arc::new(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::batch;
    use super::*;
    use crate::logs::container::Containers;

    #[test]
    fn what_is_left_after_the_first_lines() {
        let mut containers = Containers::new("p", "n");
        let mut of = |name: &[u8]| containers.get(name, b"", std::time::Instant::now());
        let (a, b) = (of(b"a"), of(b"b"));
        let all: [(&Arc<Container>, &[u8]); 5] =
            [(&a, b"0"), (&a, b"1"), (&b, b""), (&a, b"33"), (&a, b"4")];
        let batch = batch(Lane::File, 1, false, &all);
        for skip in 0..=6 {
            let rest = batch.lines.without_first(skip);
            let lines: Vec<_> = rest
                .runs()
                .flat_map(|(container, lines)| lines.map(move |line| (container, line)))
                .collect();
            let want = all.get(skip..).unwrap_or_default();
            assert_eq!(lines.len(), want.len());
            for (got, want) in lines.iter().zip(want) {
                assert!(Arc::ptr_eq(got.0, want.0));
                assert_eq!(got.1, want.1);
            }
        }
    }
}
