//! An outage: lines go to the files until the sink is back and has caught up.

use std::sync::Arc;
use std::time::Instant;

use super::{Sending, Source};
use crate::chain::chain;
use crate::events::OwnEvent;
use crate::health::Part;
use crate::limits::{CATCH_UP_BYTES, CATCH_UP_HOLD, CATCH_UP_PAUSE, REMOTE_STEADY, SINK_STALL};
use crate::logs::batch::LineBatch;
use crate::logs::remote::RemoteError;
use crate::progress::Lane;
use crate::random;
use crate::tap::Failure;

/// See the module.
#[derive(Debug)]
pub(super) struct Outage {
    /// When a sink is asked for.
    pub(super) try_at: Instant,
    /// It was told and counted; not so while it is only that lines of an earlier run come first.
    pub(super) is_told: bool,
    /// Nothing is taken until then: little is left to catch up with, and what comes would go behind it.
    hold_until: Option<Instant>,
}

impl Outage {
    pub(super) fn new(try_at: Instant) -> Self {
        Self {
            try_at,
            is_told: false,
            hold_until: None,
        }
    }

    /// Little is left: takes nothing for a while. A sink that does not use that time is too slow, and is given it again only later.
    pub(super) fn hold(&mut self, now: Instant) {
        if self
            .hold_until
            .is_none_or(|until| now >= until + CATCH_UP_PAUSE)
        {
            self.hold_until = Some(now + CATCH_UP_HOLD);
        }
    }

    /// Nothing is to be taken.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }
}

impl Sending {
    /// A sink that lets lines wait for too long is as good as none.
    pub(super) fn check_stall(&mut self) {
        let since = match (&self.outage, &self.sink) {
            // Live lines: how long the oldest has been waiting.
            (None, _) => self.window.oldest(),
            // Stored ones can wait; what counts is that something moves.
            (Some(_), Some(_)) => self.window.oldest().map(|oldest| oldest.max(self.moved)),
            (Some(_), None) => None,
        };
        if since.is_some_and(|since| since.elapsed() >= SINK_STALL) {
            let peer = self.target.as_ref().map(ToString::to_string);
            self.begin_outage(&RemoteError::Stalled {
                peer: peer.unwrap_or_default(),
                time: SINK_STALL,
            });
        }
    }

    /// Gives the sink up for a while.
    pub(super) fn begin_outage(&mut self, error: &RemoteError) {
        let now = Instant::now();
        let name = self.name();
        let had_sink = self.sink.is_some();
        self.drop_sink();
        let remote = &self.parts.metrics.remote;
        if had_sink && name == "tcp" {
            remote.tcp_disconnects.inc();
        }
        let is_new = self.outage.as_ref().is_none_or(|outage| !outage.is_told);
        let since = self.steady_since.take();
        if since.is_some_and(|since| now.duration_since(since) >= REMOTE_STEADY) {
            self.backoff.reset();
        }
        let try_at = now + self.backoff.next(random::number());
        let outage = self.outage.get_or_insert_with(|| Outage::new(try_at));
        outage.try_at = try_at;
        outage.is_told = true;
        let next = match self.retransmits() {
            true => {
                "log lines go to the log files, and from there to it; CIM tries until it is there"
            }
            false => {
                "log lines go to the log files and stay there (enable_retrx); CIM tries until it is there"
            }
        };
        let health = &self.parts.health;
        health.not_ready(Part::Collector, &chain(error), next);
        if let Some(before) = self.told.pass(now) {
            log::error!(
                "{}: log lines go to the log files ({before} lines about this left out)",
                chain(error)
            );
        }
        if is_new {
            remote.outages.with_label_values(&[name]).inc();
            if name == "tcp" && !matches!(error, RemoteError::Ending) {
                self.parts.own_events.raise(OwnEvent::LmaasTcpFailure);
            }
        }
        let backlog = self.retransmits();
        while let Some(chunk) = self.window.pop() {
            let sent = u64::from(chunk.sent);
            let left: Vec<u32> = chunk.left().collect();
            let Source::Live(batch) = chunk.what else {
                continue;
            };
            let arrived = batch.lines.spans.len() - left.len();
            let back = sent.saturating_sub(arrived as u64);
            let series = &self.parts.metrics.remote.handed_back;
            series.with_label_values(&[name]).inc_by(back);
            let lines = if arrived == 0 {
                batch.lines
            } else {
                let is_left =
                    |line| u32::try_from(line).is_ok_and(|l| left.binary_search(&l).is_ok());
                Arc::new(batch.lines.only(is_left))
            };
            self.hand_over(LineBatch { lines, ..batch }, backlog);
        }
    }

    /// Gives `batch` to `file_writer`.
    pub(super) fn hand_over(&mut self, batch: LineBatch, backlog: bool) {
        self.parts.progress.handing_over();
        let sent = self.parts.files.send(LineBatch { backlog, ..batch });
        if let Err(lost) = sent {
            // Only when `file_writer` is gone: there is nowhere to go.
            let LineBatch { lines, seq, .. } = lost.into_inner();
            let dropped = self
                .parts
                .metrics
                .dropped(crate::metrics::DropReason::Stalled);
            dropped.inc_by(lines.spans.len() as u64);
            if let Some(ack) = &lines.ack {
                ack.fail(Failure::NotWritten);
            }
            self.parts.progress.done(Lane::Remote, seq);
        }
    }

    /// Lines go to the sink again when there is one and nothing is before them.
    pub(super) fn end_outage(&mut self) {
        let retransmits = self.retransmits();
        let Some(outage) = &mut self.outage else {
            return;
        };
        let stored = self.parts.progress.is_all_written();
        let ready = self.sink.is_some() || self.target.is_none();
        let left = if retransmits && self.target.is_some() {
            self.parts.backlog.remaining().bytes
        } else {
            0
        };
        if ready && left <= CATCH_UP_BYTES {
            outage.hold(Instant::now());
        }
        let caught_up = !retransmits || self.target.is_none() || self.parts.backlog.is_empty();
        if ready && stored && caught_up && self.window.is_empty() {
            self.outage = None;
            if self.target.is_some() {
                self.is_steady();
            }
        }
    }
}
