//! Thread `stdout-writer`: log lines to standard output.
//!
//! In: `batches`, from `nats_subscriptions` (lane Stdout). Out: `files`, to `file_writer`, for the lines that standard
//! output does not take; blocking, and `file_writer` sends nothing back but `progress`.
//! Nobody else's bytes are waited for: each write is small enough for a pipe that has room, and a reader that stands
//! still for `stall` is an outage. Then lines go to the file (mode STDOUT) or their copy is dropped (FILEANDSTDOUT),
//! until everything handed over is stored and standard output has room again.
//! Ends when no sender of `batches` is left.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::limits;
use crate::logs::batch::{LineBatch, Lines};
use crate::logs::format::LineForm;
use crate::logs::output::{Output, OutputError};
use crate::logs::throttle::Throttle;
use crate::metrics::{DropReason, Metrics};
use crate::progress::{Lane, Progress};
use crate::settings::Store;
use crate::tap::Failure;
use crate::threads::spawn::{Notice, spawn};

/// What the thread owns.
pub struct StdoutWriter {
    /// Lines to write.
    pub batches: Receiver<LineBatch>,
    /// Way out when standard output stands still.
    pub files: Sender<LineBatch>,
    /// Standard output.
    pub out: OwnedFd,
    /// Time without progress that makes an outage: [`limits::SINK_STALL`].
    pub stall: Duration,
    /// Form of a line.
    pub form: LineForm,
    /// `log_format`, looked at once a batch.
    pub settings: Arc<Store>,
    /// Where it says what is stored, and sees what `file_writer` has stored for it.
    pub progress: Arc<Progress>,
    /// The series it moves.
    pub metrics: Arc<Metrics>,
}

struct Outage {
    /// The last batch that `file_writer` was given.
    handed: u64,
    try_at: Instant,
}

struct State {
    out: Output,
    outage: Option<Outage>,
    told: Throttle,
}

impl StdoutWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give, or `out` is no open file.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        let mut state = State {
            out: Output::new(self.out.try_clone()?, self.stall)?,
            outage: None,
            told: Throttle::default(),
        };
        spawn("stdout-writer", notices, move || {
            for batch in &self.batches {
                self.take(batch, &mut state);
            }
        })
    }

    fn take(&self, batch: LineBatch, state: &mut State) {
        if !self.is_out_again(state) {
            return self.hand_over(batch, 0, state);
        }
        let format = self.settings.load().infra.log_format;
        let mut lines_out = 0;
        let mut result = Ok(());
        'lines: for (container, lines) in batch.lines.runs() {
            for line in lines {
                state
                    .out
                    .line(|buffer| self.form.append(format, container, line, buffer));
                if state.out.is_full() {
                    let (out, flushed) = state.out.flush();
                    lines_out += out;
                    result = flushed;
                    if result.is_err() {
                        break 'lines;
                    }
                }
            }
        }
        if result.is_ok() {
            let (out, flushed) = state.out.flush();
            lines_out += out;
            result = flushed;
        }
        self.metrics.lines_to_stdout.inc_by(lines_out as u64);
        match result {
            Ok(()) => self.progress.done(Lane::Stdout, batch.seq),
            Err(error) => {
                self.begin_outage(&error, batch.copy, state);
                self.hand_over(batch, lines_out, state);
            }
        }
    }

    fn begin_outage(&self, error: &OutputError, copy: bool, state: &mut State) {
        let now = Instant::now();
        state.outage = Some(Outage {
            handed: 0,
            try_at: now + limits::STDOUT_TRY_AGAIN,
        });
        if let Some(before) = state.told.pass(now) {
            let lines = if copy {
                "copies of lines are dropped, the log files have them"
            } else {
                "lines go to the log files"
            };
            log::error!("{error}: {lines} ({before} lines about this left out)");
        }
    }

    /// True when lines go to standard output, now or again.
    fn is_out_again(&self, state: &mut State) -> bool {
        let Some(outage) = &mut state.outage else {
            return true;
        };
        let now = Instant::now();
        let in_order = self.progress.done_on(Lane::Stdout) >= outage.handed;
        if !in_order || now < outage.try_at {
            return false;
        }
        if !state.out.has_room() {
            outage.try_at = now + limits::STDOUT_TRY_AGAIN;
            return false;
        }
        state.outage = None;
        if let Some(before) = state.told.pass(now) {
            log::info!(
                "standard output takes log lines again ({before} lines about this left out)"
            );
        }
        true
    }

    /// Gives what `batch` has beyond its first `lines_out` lines to `file_writer`, or drops it if it is a copy. Either
    /// way the lane's order is kept: nothing is done before what was handed over earlier.
    fn hand_over(&self, batch: LineBatch, lines_out: usize, state: &mut State) {
        let left = batch.lines.spans.len().saturating_sub(lines_out);
        let handed = state.outage.as_ref().map_or(0, |outage| outage.handed);
        let lines = if batch.copy {
            self.metrics.stdout_copies_dropped.inc_by(left as u64);
            Arc::new(Lines::none())
        } else if lines_out == 0 {
            batch.lines
        } else {
            Arc::new(batch.lines.without_first(lines_out))
        };
        if lines.spans.is_empty() && self.progress.done_on(Lane::Stdout) >= handed {
            return self.progress.done(Lane::Stdout, batch.seq);
        }
        if let Some(outage) = &mut state.outage {
            outage.handed = batch.seq;
        }
        let sent = self.files.send(LineBatch { lines, ..batch });
        if let Err(lost) = sent {
            // Only when `file_writer` is gone: there is nowhere to go.
            let LineBatch { lines, seq, .. } = lost.into_inner();
            let dropped = self.metrics.dropped(DropReason::Stalled);
            dropped.inc_by(lines.spans.len() as u64);
            if let Some(ack) = &lines.ack {
                ack.fail(Failure::NotWritten);
            }
            self.progress.done(Lane::Stdout, seq);
        }
    }
}

#[cfg(test)]
mod tests;
