//! Lines on their way: into the sink, and off the list when they have arrived.

use std::time::{Duration, Instant};

use super::{Sending, Source};
use crate::chain::chain;
use crate::clock;
use crate::kafka::LOGS;
use crate::limits::{REPLAY_CHUNK_BYTES, REPLAY_WINDOW_BYTES};
use crate::logs::backlog::StoredChunk;
use crate::logs::remote::Arrived;
use crate::logs::remote::wanted::Wanted;
use crate::progress::Lane;

impl Sending {
    /// During an outage with a sink: fills the window from the files.
    pub(super) fn refill(&mut self) {
        let catching_up = self.outage.is_some() && self.sink.is_some();
        if !catching_up || !self.retransmits() || self.is_leaving() {
            return;
        }
        while self.window.bytes() < REPLAY_WINDOW_BYTES {
            match self.parts.replay.next_chunk(REPLAY_CHUNK_BYTES) {
                Ok(Some(chunk)) => {
                    let lines = u32::try_from(chunk.lines.spans.len()).unwrap_or(u32::MAX);
                    let bytes = chunk.lines.buffer.len();
                    let now = Instant::now();
                    self.window
                        .push(Source::Stored(Box::new(chunk)), lines, bytes, now);
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some(before) = self.told.pass(Instant::now()) {
                        log::error!(
                            "{}: the log lines in it wait ({before} lines about this left out)",
                            chain(&error)
                        );
                    }
                    break;
                }
            }
        }
    }

    /// Hands the sink what it has room for.
    pub(super) fn push(&mut self) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let format = self.seen.infra.log_format;
        let form = &self.parts.form;
        let mut sent = 0;
        let mut result = Ok(true);
        'chunks: while let Some(chunk) = self.window.unsent() {
            let lines = match &chunk.what {
                Source::Live(batch) => &batch.lines,
                Source::Stored(chunk) => &chunk.lines,
            };
            let mut at = 0;
            for (container, lines) in lines.runs() {
                for line in lines {
                    if at >= chunk.sent {
                        result = sink.line(chunk.id, at, &mut |out| {
                            form.append(format, container, line, out);
                        });
                        if !matches!(result, Ok(true)) {
                            break 'chunks;
                        }
                        sent += 1;
                        chunk.sent = at + 1;
                    }
                    at += 1;
                }
            }
            // As many spans as there should be lines: they end here in any case.
            chunk.sent = chunk.lines;
        }
        let series = &self.parts.metrics.remote.sent;
        series.with_label_values(&[self.name()]).inc_by(sent);
        if let Err(error) = result {
            self.begin_outage(&error);
        }
    }

    /// Lets the sink work, and takes note of what has arrived.
    pub(super) fn turn(&mut self, wait: Duration) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let mut arrived = std::mem::take(&mut self.arrived);
        let result = sink.turn(wait, &mut arrived);
        if !arrived.is_empty() {
            self.moved = Instant::now();
        }
        for what in arrived.drain(..) {
            self.on_arrived(&what);
        }
        self.arrived = arrived;
        self.pop_done();
        if let Err(error) = result {
            self.begin_outage(&error);
        }
    }

    pub(super) fn on_arrived(&mut self, what: &Arrived) {
        if let Some((line, reason)) = &what.rejected {
            self.keep_rejected(what.chunk, *line, reason);
        } else {
            let lines = u64::from(what.lines);
            let remote = &self.parts.metrics.remote;
            match self.target {
                Some(Wanted::Kafka { .. }) => remote.to_kafka.inc_by(lines),
                _ => remote.to_tcp.inc_by(lines),
            }
        }
        self.window.arrived(what);
    }

    pub(super) fn keep_rejected(&mut self, chunk: u64, line: u32, reason: &'static str) {
        let lines = self.window.get(chunk).map(|chunk| match &chunk.what {
            Source::Live(batch) => &*batch.lines,
            Source::Stored(stored) => &stored.lines,
        });
        let text = lines.and_then(|lines| {
            let span = lines.spans.get(line as usize)?;
            Some(span.of(&lines.buffer))
        });
        let text = text.unwrap_or_default();
        let kept = self
            .parts
            .set_aside
            .keep(LOGS, None, text, reason, clock::now_ms());
        let series = &self.parts.metrics.events.set_aside;
        series.with_label_values(&[LOGS, reason]).inc();
        let what = kept
            .as_ref()
            .map_or_else(|error| chain(error), |()| "it is set aside".into());
        if let Some(before) = self.told.pass(Instant::now()) {
            log::warn!(
                "Kafka does not take a log line of {} bytes ({reason}): {what} ({before} lines about this left out)",
                text.len()
            );
        }
    }

    pub(super) fn pop_done(&mut self) {
        while let Some(chunk) = self.window.pop_done() {
            match chunk.what {
                Source::Live(batch) => self.parts.progress.done(Lane::Remote, batch.seq),
                Source::Stored(stored) => {
                    let lines = stored.lines.spans.len();
                    self.delivered(&stored, lines);
                }
            }
        }
    }

    /// The first `lines` lines of a chunk of the files have arrived, or are set aside.
    pub(super) fn delivered(&mut self, chunk: &StoredChunk, lines: usize) {
        let lines = self.parts.replay.delivered(chunk, lines, Instant::now());
        let series = &self.parts.metrics.remote.retransmitted;
        series.with_label_values(&[self.name()]).inc_by(lines);
    }
}
