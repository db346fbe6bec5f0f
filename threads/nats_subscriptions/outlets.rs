//! The lanes that log lines take to their writers: one batch may wait at each, and a writer that stands still is given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Select, SelectedOperation, Sender, TrySendError};

use crate::limits::SINK_STALL;
use crate::logs::batch::{LineBatch, Lines};
use crate::metrics::{DropReason, Metrics};
use crate::progress::Lane;
use crate::settings::LoggingMode;
use crate::tap::Failure;

/// The way to one writer.
struct Outlet {
    lane: Lane,
    to: Sender<LineBatch>,
    /// How long a batch may wait for room.
    stall: Duration,
    /// A batch that waits for room, and since when.
    pending: Option<(LineBatch, Instant)>,
    /// It stood still too long: what finds no room is dropped at once until it moves again.
    stalled: bool,
}

/// All of them.
pub(super) struct Outlets {
    outlets: [Outlet; 3],
    metrics: Arc<Metrics>,
}

/// The lanes of a mode: where its lines go, and where copies go.
pub(super) fn lanes(mode: LoggingMode) -> (Lane, Option<Lane>) {
    match mode {
        LoggingMode::File => (Lane::File, None),
        LoggingMode::Stdout => (Lane::Stdout, None),
        LoggingMode::FileAndStdout => (Lane::File, Some(Lane::Stdout)),
        LoggingMode::Tcp | LoggingMode::Kafka => (Lane::Remote, None),
    }
}

impl Outlets {
    pub(super) fn new(
        file: Sender<LineBatch>,
        stdout: Sender<LineBatch>,
        remote: Sender<LineBatch>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let outlet = |lane, to, stalls| Outlet {
            lane,
            to,
            stall: SINK_STALL * stalls,
            pending: None,
            stalled: false,
        };
        Self {
            outlets: [
                outlet(Lane::File, file, 1),
                // These wait for their sink first, and then for the file writer.
                outlet(Lane::Stdout, stdout, 2),
                outlet(Lane::Remote, remote, 3),
            ],
            metrics,
        }
    }

    /// No batch waits.
    pub(super) fn is_clear(&self) -> bool {
        self.outlets.iter().all(|outlet| outlet.pending.is_none())
    }

    /// A batch waits at a writer that is not given up.
    pub(super) fn holds(&self) -> bool {
        let mut outlets = self.outlets.iter();
        outlets.any(|outlet| outlet.pending.is_some() && !outlet.stalled)
    }

    /// The writer of `lane` is given up for now.
    pub(super) fn is_stalled(&self, lane: Lane) -> bool {
        self.outlets.iter().any(|o| o.lane == lane && o.stalled)
    }

    /// The senders at which a batch waits, each with its lane.
    pub(super) fn waiting(&self) -> Vec<(Lane, Sender<LineBatch>)> {
        let waiting = self.outlets.iter().filter(|o| o.pending.is_some());
        waiting.map(|o| (o.lane, o.to.clone())).collect()
    }

    /// When the next batch that waits is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.outlets.iter().filter_map(Outlet::give_up_at).min()
    }

    /// There is room at the writer of `lane`.
    pub(super) fn complete(
        &mut self,
        lane: Lane,
        operation: SelectedOperation<'_>,
        to: &Sender<LineBatch>,
    ) {
        let outlet = self.outlets.iter_mut().find(|o| o.lane == lane);
        let Some(outlet) = outlet else { return };
        if let Some((batch, _)) = outlet.pending.take() {
            // A writer that is gone has died: the daemon ends.
            let _ = operation.send(to, batch);
            outlet.stalled = false;
        }
    }

    /// Sends `batch` down its lane, or lets it wait there.
    pub(super) fn send(&mut self, mut batch: LineBatch) {
        let metrics = &self.metrics;
        let outlet = self.outlets.iter_mut().find(|o| o.lane == batch.lane);
        let Some(outlet) = outlet else { return };
        if let Some((waiting, _)) = &mut outlet.pending {
            // The writer stands still; the marker in front answers for this batch too.
            waiting.seq = batch.seq;
            return drop_lines(metrics, &mut batch);
        }
        match outlet.to.try_send(batch) {
            Ok(()) => outlet.stalled = false,
            Err(TrySendError::Full(mut batch)) => {
                if outlet.stalled {
                    drop_lines(metrics, &mut batch);
                }
                outlet.pending = Some((batch, Instant::now()));
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// The writer of a batch that waits too long stands still: its lines are dropped, and what remains is a marker, so that
    /// PINGs behind it are answered when the writer moves again.
    pub(super) fn give_up(&mut self) {
        let now = Instant::now();
        for outlet in &mut self.outlets {
            if outlet.give_up_at().is_none_or(|at| at > now) {
                continue;
            }
            outlet.stalled = true;
            let what = match outlet.lane {
                Lane::Stdout => "standard output stands still",
                Lane::Remote => "log sender stands still",
                Lane::File | Lane::Journal => "log file writer stands still",
            };
            log::error!("{what}: lines are dropped until it moves again");
            if let Some((batch, _)) = &mut outlet.pending {
                drop_lines(&self.metrics, batch);
            }
        }
    }

    /// Sends what waits, for a while each: nothing comes any more.
    pub(super) fn finish(&mut self) {
        for outlet in &mut self.outlets {
            if let Some((batch, _)) = outlet.pending.take() {
                let _ = outlet.to.send_timeout(batch, SINK_STALL);
            }
        }
    }
}

impl Outlet {
    fn give_up_at(&self) -> Option<Instant> {
        let (_, since) = self.pending.as_ref()?;
        (!self.stalled).then(|| *since + self.stall)
    }
}

fn drop_lines(metrics: &Metrics, batch: &mut LineBatch) {
    let count = batch.lines.spans.len() as u64;
    if batch.copy {
        metrics.stdout_copies_dropped.inc_by(count);
    } else {
        metrics.dropped(DropReason::Stalled).inc_by(count);
        if let Some(ack) = &batch.lines.ack {
            ack.fail(Failure::NotWritten);
        }
    }
    batch.lines = Arc::new(Lines::none());
}

/// Registers the senders of [`Outlets::waiting`]; the answer tells the lane of an operation's index.
pub(super) fn register<'a>(
    select: &mut Select<'a>,
    waiting: &'a [(Lane, Sender<LineBatch>)],
) -> Vec<usize> {
    waiting.iter().map(|(_, to)| select.send(to)).collect()
}
