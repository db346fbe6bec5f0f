//! Thread `nats-subscriptions`: verifies what arrives on LOG, EVENT, CONFIG and TEST, counts it and routes it.
//!
//! In: `log` and `events` (`nats_server`), `own` (CIM's own log), `raised` (CIM's own events). Out: `file` and `stdout` (the writers),
//! `answers` and `signals` (`config_delivery`), `shutdown` (the daemon); the last three are never waited for.
//! A writer without room stops the intake of LOG, never that of EVENT and CONFIG: at most one batch waits here. A writer
//! that stands still longer than [`SINK_STALL`] costs LOG lines, counted; the publisher of anything else notices nothing.
//! Ends when `nats_server` has dropped its senders and all is routed.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};
use prometheus::local::LocalHistogram;

use crate::change_set::answer::ConfigAnswer;
use crate::clock;
use crate::events::inbox::Inbox;
use crate::events::{AppSignal, RaisedEvent, log_raised};
use crate::limits::{INBOX_BYTES, INBOX_MESSAGES, OWN_LOG_LINES, SINK_STALL};
use crate::logs::batch::{LineBatch, Lines};
use crate::logs::container::{Container, Containers};
use crate::logs::verify;
use crate::metrics::{DropReason, Metrics};
use crate::own_log::OwnLine;
use crate::progress::{Lane, Progress};
use crate::settings::{LoggingMode, Store};
use crate::tap::{EventBatch, Failure, LogBatch, Span, Subject};
use crate::threads::spawn::{Notice, spawn};
use crate::wire::Event;

/// stdout's writer first waits for stdout itself, then for the file writer.
const STDOUT_STALL: Duration = Duration::from_secs(2 * SINK_STALL.as_secs());

/// The thread's parts.
pub struct NatsSubscriptions {
    /// From `nats_server`.
    pub log: Receiver<LogBatch>,
    /// From `nats_server`.
    pub events: Receiver<EventBatch>,
    /// From CIM's own log.
    pub own: Receiver<OwnLine>,
    /// To `file_writer`.
    pub file: Sender<LineBatch>,
    /// To `stdout_writer`.
    pub stdout: Sender<LineBatch>,
    /// To `config_delivery`: the application's answers.
    pub answers: Sender<ConfigAnswer>,
    /// To `config_delivery`: what the application tells by its events.
    pub signals: Sender<AppSignal>,
    /// To the daemon: the application has shut itself down.
    pub shutdown: Sender<AppSignal>,
    /// CIM's own events, which go to its log until there is a journal.
    pub raised: Receiver<RaisedEvent>,
    /// Who lines belong to.
    pub containers: Containers,
    /// Id of CIM's own container.
    pub own_id: String,
    /// The settings in force.
    pub settings: Arc<Store>,
    /// How far LOG is.
    pub log_progress: Arc<Progress>,
    /// How far EVENT, CONFIG and TEST are.
    pub event_progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl NatsSubscriptions {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("nats-subscript", notices, move || Routing::new(self).run())
    }
}

/// A batch that waits for room at its writer.
struct Pending {
    batch: LineBatch,
    since: Instant,
}

/// What a writer did with the batches before.
#[derive(Default)]
struct Sink {
    /// It stood still too long: what finds no room is dropped at once until it moves again.
    stalled: bool,
}

struct Routing {
    parts: NatsSubscriptions,
    own_container: Arc<Container>,
    /// One a lane at the most.
    pending: VecDeque<Pending>,
    file: Sink,
    stdout: Sink,
    last_seq: u64,
    /// The last batch that standard output alone has got.
    stdout_alone: u64,
    log_sizes: LocalHistogram,
    events: Inbox,
    said_mode: Option<LoggingMode>,
    said_overflow: bool,
    said_collision: bool,
}

impl Routing {
    fn new(mut parts: NatsSubscriptions) -> Self {
        let own_container = parts
            .containers
            .get(b"cim", parts.own_id.as_bytes(), Instant::now());
        let log_sizes = parts.metrics.log.size.local();
        Self {
            own_container,
            pending: VecDeque::new(),
            file: Sink::default(),
            stdout: Sink::default(),
            last_seq: 0,
            stdout_alone: 0,
            log_sizes,
            events: Inbox::new(INBOX_MESSAGES, INBOX_BYTES),
            said_mode: None,
            said_overflow: false,
            said_collision: false,
            parts,
        }
    }

    fn run(mut self) {
        let NatsSubscriptions {
            log: from_log,
            events: from_events,
            own: from_own,
            raised: from_raised,
            file,
            stdout,
            ..
        } = &self.parts;
        let (from_log, from_events, from_own, from_raised) = (
            from_log.clone(),
            from_events.clone(),
            from_own.clone(),
            from_raised.clone(),
        );
        let (file, stdout) = (file.clone(), stdout.clone());
        let (mut log_open, mut events_open, mut own_open, mut raised_open) =
            (true, true, true, true);
        while log_open || events_open || !self.pending.is_empty() {
            let mut select = Select::new();
            let sending: Vec<(usize, Lane)> = self
                .pending
                .iter()
                .map(|pending| match pending.batch.lane {
                    Lane::File => (select.send(&file), Lane::File),
                    _ => (select.send(&stdout), Lane::Stdout),
                })
                .collect();
            // LOG waits while a batch does, unless its writer is given up for now.
            let log_paused = self
                .pending
                .iter()
                .any(|pending| !self.sink(pending.batch.lane).stalled);
            let log = if log_open && !log_paused {
                select.recv(&from_log)
            } else {
                usize::MAX
            };
            let own = if own_open && !log_paused {
                select.recv(&from_own)
            } else {
                usize::MAX
            };
            let events = if events_open {
                select.recv(&from_events)
            } else {
                usize::MAX
            };
            let raised = if raised_open {
                select.recv(&from_raised)
            } else {
                usize::MAX
            };
            let selected = match self.stall_deadline() {
                Some(deadline) => select.select_deadline(deadline),
                None => Ok(select.select()),
            };
            let Ok(operation) = selected else {
                self.give_up();
                continue;
            };
            let lane = sending
                .iter()
                .find(|(index, _)| *index == operation.index())
                .map(|(_, lane)| *lane);
            if let Some(lane) = lane {
                let at = self.pending.iter().position(|p| p.batch.lane == lane);
                if let Some(Pending { batch, .. }) = at.and_then(|at| self.pending.remove(at)) {
                    let sender = if lane == Lane::File { &file } else { &stdout };
                    // A writer that is gone has died: the daemon ends.
                    let _ = operation.send(sender, batch);
                    self.sink_mut(lane).stalled = false;
                }
                if self.pending.is_empty() {
                    self.parts.log_progress.routed(self.last_seq);
                }
                continue;
            }
            match operation.index() {
                index if index == log => match operation.recv(&from_log) {
                    Ok(batch) => {
                        // There is room again.
                        self.parts.log_progress.notify();
                        self.on_log(batch);
                    }
                    Err(_) => log_open = false,
                },
                index if index == events => match operation.recv(&from_events) {
                    Ok(batch) => self.on_events(&batch),
                    Err(_) => events_open = false,
                },
                index if index == own => match operation.recv(&from_own) {
                    Ok(line) => self.on_own(line),
                    Err(_) => own_open = false,
                },
                index if index == raised => match operation.recv(&from_raised) {
                    Ok(event) => log_raised(&event),
                    Err(_) => raised_open = false,
                },
                _ => {}
            }
        }
        // What was said up to now, the end of the NATS server included.
        while let Ok(line) = self.parts.own.try_recv() {
            self.on_own(line);
            while let Some(Pending { batch, .. }) = self.pending.pop_front() {
                let _ = self.sender(batch.lane).send_timeout(batch, SINK_STALL);
            }
        }
    }

    fn sender(&self, lane: Lane) -> &Sender<LineBatch> {
        match lane {
            Lane::File => &self.parts.file,
            _ => &self.parts.stdout,
        }
    }

    fn sink(&self, lane: Lane) -> &Sink {
        match lane {
            Lane::File => &self.file,
            _ => &self.stdout,
        }
    }

    fn sink_mut(&mut self, lane: Lane) -> &mut Sink {
        match lane {
            Lane::File => &mut self.file,
            _ => &mut self.stdout,
        }
    }

    /// When `pending` is given up; never when its writer is already.
    fn give_up_at(&self, pending: &Pending) -> Option<Instant> {
        let lane = pending.batch.lane;
        let stall = match lane {
            Lane::File => SINK_STALL,
            _ => STDOUT_STALL,
        };
        (!self.sink(lane).stalled).then(|| pending.since + stall)
    }

    /// When the next batch that waits is given up.
    fn stall_deadline(&self) -> Option<Instant> {
        let pending = self.pending.iter();
        pending.filter_map(|pending| self.give_up_at(pending)).min()
    }

    /// The writer of a batch that waits stands still: its lines are dropped, and what remains is a marker, so that
    /// PINGs behind it are answered when the writer moves again.
    fn give_up(&mut self) {
        let now = Instant::now();
        let due = |pending| self.give_up_at(pending).is_some_and(|at| at <= now);
        let due = self.pending.iter().position(due);
        let Some(mut pending) = due.and_then(|at| self.pending.remove(at)) else {
            return;
        };
        let lane = pending.batch.lane;
        self.sink_mut(lane).stalled = true;
        if lane == Lane::File {
            log::error!("log file writer stands still: lines are dropped until it moves again");
        } else {
            log::error!("standard output stands still: lines are dropped until it moves again");
        }
        self.drop_lines(&mut pending.batch);
        self.pending.push_back(pending);
    }

    fn drop_lines(&self, batch: &mut LineBatch) {
        let count = batch.lines.spans.len() as u64;
        if batch.copy {
            self.parts.metrics.stdout_copies_dropped.inc_by(count);
        } else {
            self.parts
                .metrics
                .dropped(DropReason::Stalled)
                .inc_by(count);
            if let Some(ack) = &batch.lines.ack {
                ack.fail(Failure::NotWritten);
            }
        }
        batch.lines = Arc::new(Lines::none());
    }

    fn on_log(&mut self, batch: LogBatch) {
        let (seq, flush) = (batch.seq, batch.flush);
        let sizes = &self.log_sizes;
        let (lines, counts) =
            verify::lines(batch, &mut self.parts.containers, Instant::now(), |size| {
                sizes.observe(f64::from(size))
            });
        let metrics = &self.parts.metrics;
        self.log_sizes.flush();
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
        let names = self.parts.containers.counts();
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

    fn on_own(&mut self, first: OwnLine) {
        let mut buffer = first.0;
        let mut spans = vec![Span {
            start: 0,
            len: buffer.len() as u32,
        }];
        for line in self.parts.own.try_iter().take(OWN_LOG_LINES) {
            spans.push(Span {
                start: buffer.len() as u32,
                len: line.0.len() as u32,
            });
            buffer.extend_from_slice(&line.0);
        }
        self.parts.metrics.lines_in.inc_by(spans.len() as u64);
        let runs = vec![(Arc::clone(&self.own_container), spans.len() as u32)];
        self.route(
            Lines {
                buffer: buffer.into(),
                spans,
                runs,
                ack: None,
            },
            false,
        );
    }

    fn route(&mut self, lines: Lines, flush: bool) {
        let mode = self.parts.settings.load().cim.lmaas.logging_mode;
        if matches!(mode, LoggingMode::Tcp | LoggingMode::Kafka) && self.said_mode != Some(mode) {
            log::warn!("logging mode {mode:?} is not there yet: lines go to the log files");
        }
        self.said_mode = Some(mode);
        // What standard output has not taken yet may still come to the file: newer lines must not be there before it.
        let behind = self.parts.log_progress.done_on(Lane::Stdout) < self.stdout_alone;
        let mode = if behind && !self.stdout.stalled {
            LoggingMode::Stdout
        } else {
            mode
        };
        let lines = Arc::new(lines);
        let seq = self.last_seq;
        let batch = |lane, copy| LineBatch {
            lane,
            seq,
            flush,
            copy,
            backlog: false,
            lines: Arc::clone(&lines),
        };
        // A marker goes to the file: only there do lines wait unwritten.
        let (first, second) = match mode {
            LoggingMode::Stdout if !lines.spans.is_empty() => {
                self.stdout_alone = self.last_seq;
                (batch(Lane::Stdout, false), None)
            }
            LoggingMode::FileAndStdout if !lines.spans.is_empty() => {
                (batch(Lane::File, false), Some(batch(Lane::Stdout, true)))
            }
            _ => (batch(Lane::File, false), None),
        };
        for batch in [Some(first), second].into_iter().flatten() {
            self.parts.log_progress.sending(batch.lane, batch.seq);
            self.send(batch);
        }
        if self.pending.is_empty() {
            self.parts.log_progress.routed(self.last_seq);
        }
    }

    fn send(&mut self, mut batch: LineBatch) {
        let lane = batch.lane;
        if let Some(waiting) = self
            .pending
            .iter_mut()
            .find(|pending| pending.batch.lane == lane)
        {
            // The writer stands still; the marker in front answers for this batch too.
            waiting.batch.seq = batch.seq;
            return self.drop_lines(&mut batch);
        }
        match self.sender(lane).try_send(batch) {
            Ok(()) => self.sink_mut(lane).stalled = false,
            Err(TrySendError::Full(mut batch)) => {
                if self.sink(lane).stalled {
                    self.drop_lines(&mut batch);
                }
                self.pending.push_back(Pending {
                    batch,
                    since: Instant::now(),
                });
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    fn on_events(&mut self, batch: &EventBatch) {
        for message in &batch.messages {
            let payload = message.span.of(&batch.buffer);
            let metrics = &self.parts.metrics;
            let (of_subject, name) = match message.subject {
                Subject::Event => (&metrics.event, "EVENT"),
                Subject::Config => (&metrics.config, "CONFIG"),
                Subject::Test => (&metrics.test, "TEST"),
            };
            of_subject.count.inc();
            of_subject.size.observe(payload.len() as f64);
            // As in the original, CIM's messages to itself are in none of the totals.
            if message.subject != Subject::Test {
                metrics.total_messages.inc();
                metrics.total_bytes.inc_by(payload.len() as u64);
                metrics.packet_size.set(payload.len() as i64);
            }
            let valid = match message.subject {
                Subject::Event => self.on_event(payload),
                Subject::Config => self.on_config(payload),
                Subject::Test => true,
            };
            if !valid {
                let metrics = &self.parts.metrics;
                metrics.malformed.with_label_values(&[name]).inc();
                log::warn!(
                    "a message on {name} of {} bytes is malformed and was dropped",
                    payload.len()
                );
                if let Some(ack) = &message.ack {
                    ack.fail(Failure::Malformed);
                }
            }
        }
        self.parts.event_progress.routed(batch.seq);
    }

    /// False when it is no event.
    fn on_event(&mut self, payload: &[u8]) -> bool {
        let Ok(event) = Event::read(payload) else {
            return false;
        };
        let metrics = &self.parts.metrics;
        let now_ms = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
        let latency = now_ms.saturating_sub(event.event_time);
        metrics.event_latency.set(latency as f64);
        if let Some(signal) = AppSignal::of(event.event_name) {
            self.on_signal(signal);
        }
        let metrics = &self.parts.metrics;
        let gone = self.events.push(payload);
        if gone > 0 {
            let dropped = &metrics.inbox_dropped;
            dropped.with_label_values(&["EVENT"]).inc_by(gone);
            log::warn!("the inbox of EVENT is full: its oldest messages were given up");
        }
        let waiting = &metrics.inbox_messages;
        waiting
            .with_label_values(&["EVENT"])
            .set(self.events.len() as i64);
        true
    }

    fn on_signal(&self, signal: AppSignal) {
        let to = match signal {
            AppSignal::NotConfigured | AppSignal::Configured => &self.parts.signals,
            AppSignal::ShutdownSuccess | AppSignal::ShutdownFailure => &self.parts.shutdown,
        };
        if to.try_send(signal).is_err() {
            log::warn!(
                "{signal:?}: the application has told too much of this kind; this one is passed over"
            );
        }
    }

    /// False when it is no answer.
    fn on_config(&self, payload: &[u8]) -> bool {
        let Ok(answer) = ConfigAnswer::parse(payload) else {
            return false;
        };
        if self.parts.answers.try_send(answer).is_err() {
            let dropped = &self.parts.metrics.inbox_dropped;
            dropped.with_label_values(&["CONFIG"]).inc();
            log::warn!("more answers on CONFIG than CIM waits for: one is dropped");
        }
        true
    }
}
