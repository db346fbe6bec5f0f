//! Log lines: verified, counted, and sent down the lanes of the mode in force.
//!
//! A lane that is left for another one is first waited for, so that no line overtakes an earlier one of its container on the way to the
//! file, and so that lines that are still to be sent to a remote sink and others never mix in a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use prometheus::local::LocalHistogram;

use super::outlets::{Outlets, lanes};
use crate::clock;
use crate::limits::{OWN_LOG_LINES, SINK_STALL};
use crate::logs::batch::{LineBatch, Lines};
use crate::logs::container::{Container, Containers};
use crate::logs::verify;
use crate::metrics::{DropReason, Metrics};
use crate::own_log::OwnLine;
use crate::progress::{Lane, Progress};
use crate::settings::{LoggingMode, Store};
use crate::tap::{Batch, Span};

/// Between two looks at a lane that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// A lane that has not become empty by then is left all the same: its writer stands still.
const SWITCH_TIME: Duration = Duration::from_secs(4 * SINK_STALL.as_secs());

/// The mode in force has other lanes than the one before.
struct Switch {
    to: LoggingMode,
    until: Instant,
    /// The first that go there, and whether somebody waits for them.
    lines: Lines,
    flush: bool,
}

pub(super) struct LogLines {
    pub(super) outlets: Outlets,
    own_container: Arc<Container>,
    containers: Containers,
    settings: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    sizes: LocalHistogram,
    mode: LoggingMode,
    switch: Option<Switch>,
    last_seq: u64,
    /// The last batch sent down each lane that can be left.
    sent: Vec<(Lane, u64)>,
    said_overflow: bool,
    said_collision: bool,
}

impl LogLines {
    pub(super) fn new(
        outlets: Outlets,
        mut containers: Containers,
        own_id: &str,
        settings: Arc<Store>,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let own_container = containers.get(b"cim", own_id.as_bytes(), Instant::now());
        Self {
            outlets,
            own_container,
            containers,
            mode: settings.load().cim.lmaas.logging_mode,
            settings,
            progress,
            sizes: metrics.log.size.local(),
            metrics,
            switch: None,
            last_seq: 0,
            sent: Vec::new(),
            said_overflow: false,
            said_collision: false,
        }
    }

    /// No further lines are to be taken now.
    pub(super) fn is_paused(&self) -> bool {
        self.switch.is_some() || self.outlets.holds()
    }

    /// Nothing waits here.
    pub(super) fn is_done(&self) -> bool {
        self.switch.is_none() && self.outlets.is_clear()
    }

    /// When [`LogLines::on_time`] is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let look = self.switch.as_ref().map(|_| Instant::now() + LOOK_AGAIN);
        [look, self.outlets.deadline()].into_iter().flatten().min()
    }

    /// Gives up a writer that stands still, and goes on when the lanes before are empty.
    pub(super) fn on_time(&mut self) {
        self.outlets.give_up();
        self.go_on();
    }

    /// Says that all is routed when nothing waits here.
    pub(super) fn routed(&mut self) {
        if self.is_done() {
            self.progress.routed(self.last_seq);
        }
    }

    pub(super) fn on_log(&mut self, batch: Batch) {
        // There is room again.
        self.progress.notify();
        let (seq, flush) = (batch.seq, batch.flush);
        let sizes = &self.sizes;
        let (lines, counts) = verify::lines(batch, &mut self.containers, Instant::now(), |size| {
            sizes.observe(f64::from(size))
        });
        let metrics = &self.metrics;
        self.sizes.flush();
        metrics.log.count.inc_by(counts.messages);
        metrics.total_messages.inc_by(counts.messages);
        metrics.total_bytes.inc_by(counts.bytes);
        metrics.lines_in.inc_by(counts.messages);
        if counts.messages > 0 {
            metrics.packet_size.set(counts.last_bytes as i64);
        }
        if counts.malformed > 0 {
            metrics
                .malformed
                .with_label_values(&["LOG"])
                .inc_by(counts.malformed);
            metrics
                .dropped(DropReason::Malformed)
                .inc_by(counts.malformed);
            log::warn!(
                "{} messages on LOG are no valid FlatBuffers LogMessage and were dropped",
                counts.malformed
            );
        }
        self.say_names();
        self.last_seq = seq;
        self.route(lines, flush);
    }

    /// Container names that could not have a file of their own are said once; the metrics of the files show the rest.
    fn say_names(&mut self) {
        let names = self.containers.counts();
        if names.overflowed > 0 && !self.said_overflow {
            self.said_overflow = true;
            log::warn!(
                "too many containers: lines of further ones go to the file of the container %overflow"
            );
        }
        if names.collided > 0 && !self.said_collision {
            self.said_collision = true;
            log::warn!(
                "two containers would share a log file: the second one's file name is marked with a hash"
            );
        }
    }

    /// Lines of CIM's own log: this one, and what waits behind it.
    pub(super) fn on_own(&mut self, first: OwnLine, own: &Receiver<OwnLine>) {
        let mut buffer = first.0;
        let mut spans = vec![Span {
            start: 0,
            len: buffer.len() as u32,
        }];
        for line in own.try_iter().take(OWN_LOG_LINES) {
            spans.push(Span {
                start: buffer.len() as u32,
                len: line.0.len() as u32,
            });
            buffer.extend_from_slice(&line.0);
        }
        self.metrics.lines_in.inc_by(spans.len() as u64);
        let runs = vec![(Arc::clone(&self.own_container), spans.len() as u32)];
        let lines = Lines {
            buffer: buffer.into(),
            spans,
            runs,
            ack: None,
        };
        self.route(lines, false);
    }

    /// Everything that came is to leave now: the thread ends.
    pub(super) fn finish(&mut self) {
        if let Some(switch) = &mut self.switch {
            switch.until = Instant::now();
        }
        self.go_on();
        self.outlets.finish();
    }

    fn route(&mut self, lines: Lines, flush: bool) {
        if !lines.runs.is_empty() {
            let now_ms = clock::now_ms();
            for (container, count) in &lines.runs {
                container.figures.came(u64::from(*count), now_ms);
            }
        }
        let to = self.settings.load().cim.lmaas.logging_mode;
        if lanes(to) == lanes(self.mode) {
            self.mode = to;
            return self.send(lines, flush);
        }
        self.switch = Some(Switch {
            to,
            until: Instant::now() + SWITCH_TIME,
            lines,
            flush,
        });
        self.go_on();
    }

    /// Ends a switch when the lanes before are empty, or when it takes too long.
    fn go_on(&mut self) {
        let (progress, outlets) = (&self.progress, &self.outlets);
        self.sent
            .retain(|&(lane, seq)| progress.done_on(lane) < seq && !outlets.is_stalled(lane));
        let (is_empty, now) = (self.sent.is_empty(), Instant::now());
        if let Some(switch) = self.switch.take_if(|s| is_empty || now >= s.until) {
            self.sent.clear();
            self.mode = switch.to;
            self.send(switch.lines, switch.flush);
        }
    }

    fn send(&mut self, lines: Lines, flush: bool) {
        let (lane, copy) = lanes(self.mode);
        let lines = Arc::new(lines);
        let has_lines = !lines.spans.is_empty();
        // In standard output no line waits, so a marker has nothing to hurry there.
        let lane = if has_lines || lane != Lane::Stdout {
            lane
        } else {
            Lane::File
        };
        let copy = copy.filter(|_| has_lines);
        for (lane, is_copy) in [Some((lane, false)), copy.map(|lane| (lane, true))]
            .into_iter()
            .flatten()
        {
            self.progress.sending(lane, self.last_seq);
            match self.sent.iter_mut().find(|(sent, _)| *sent == lane) {
                Some((_, seq)) => *seq = self.last_seq,
                None => self.sent.push((lane, self.last_seq)),
            }
            self.outlets.send(LineBatch {
                lane,
                seq: self.last_seq,
                flush,
                copy: is_copy,
                backlog: false,
                lines: Arc::clone(&lines),
            });
        }
        self.routed();
    }
}
