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
    /// The publisher of the last message waits for an acknowledgement: a writer that drops lines of this batch says so.
    pub ack: Option<Outcome>,
}

impl Lines {
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
    /// The lines.
    pub lines: Arc<Lines>,
}
