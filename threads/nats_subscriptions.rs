//! Thread `nats-subscriptions`: verifies what arrives on LOG, EVENT, CONFIG and TEST, counts it and routes it.
//!
//! In: `log`, `events` and `control` (`nats_server`), `own` (CIM's own log). Out: `file`, `stdout` and `remote` (the writers), `journal`
//! (`journal_writer`), `answers` and `signals` (`config_delivery`), `shutdown` (the daemon); the last three are never waited for.
//! A writer without room stops the intake of LOG alone, a journal without room that of EVENT alone: at most one batch waits here for each. A
//! writer that stands still longer than [`crate::limits::SINK_STALL`] costs LOG lines, counted; the publisher of anything else notices
//! nothing. An event is never dropped: its publisher is held back.
//! Ends when `nats_server` has dropped its senders and all is routed.

mod lines;
mod messages;
mod outlets;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, TrySendError};

use self::lines::LogLines;
use self::messages::Messages;
use self::outlets::{Outlets, register};
use crate::change_set::answer::ConfigAnswer;
use crate::events::AppSignal;
use crate::logs::batch::LineBatch;
use crate::logs::container::Containers;
use crate::metrics::Metrics;
use crate::own_log::OwnLine;
use crate::progress::{Lane, Progress};
use crate::set_aside::SetAside;
use crate::settings::Store;
use crate::tap::{Batch, ControlBatch};
use crate::threads::spawn::{Notice, spawn};

/// The thread's parts.
pub struct NatsSubscriptions {
    /// From `nats_server`: LOG.
    pub log: Receiver<Batch>,
    /// From `nats_server`: EVENT.
    pub events: Receiver<Batch>,
    /// From `nats_server`: CONFIG and TEST.
    pub control: Receiver<ControlBatch>,
    /// From CIM's own log.
    pub own: Receiver<OwnLine>,
    /// To `file_writer`.
    pub file: Sender<LineBatch>,
    /// To `stdout_writer`.
    pub stdout: Sender<LineBatch>,
    /// To `log_sender`.
    pub remote: Sender<LineBatch>,
    /// To `journal_writer`: events that are good.
    pub journal: Sender<Batch>,
    /// To `config_delivery`: the application's answers.
    pub answers: Sender<ConfigAnswer>,
    /// To `config_delivery`: what the application tells by its events.
    pub signals: Sender<AppSignal>,
    /// To the daemon: the application has shut itself down.
    pub shutdown: Sender<AppSignal>,
    /// Keeps messages on EVENT that are no events.
    pub set_aside: Arc<SetAside>,
    /// Who lines belong to.
    pub containers: Containers,
    /// Id of CIM's own container.
    pub own_id: String,
    /// The settings in force.
    pub settings: Arc<Store>,
    /// How far LOG is.
    pub log_progress: Arc<Progress>,
    /// How far EVENT is.
    pub event_progress: Arc<Progress>,
    /// How far CONFIG and TEST are.
    pub control_progress: Arc<Progress>,
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

struct Routing {
    log: Receiver<Batch>,
    events: Receiver<Batch>,
    control: Receiver<ControlBatch>,
    own: Receiver<OwnLine>,
    journal: Sender<Batch>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    lines: LogLines,
    messages: Messages,
    /// Events that wait for room in the journal's channel.
    pending: Option<Batch>,
}

/// What a [`Select`] has found.
enum Found {
    Log,
    Own,
    Events,
    Control,
    Journal,
    Writer(usize),
}

impl Routing {
    fn new(parts: NatsSubscriptions) -> Self {
        let metrics = &parts.metrics;
        let outlets = Outlets::new(parts.file, parts.stdout, parts.remote, Arc::clone(metrics));
        Self {
            log: parts.log,
            events: parts.events,
            control: parts.control,
            own: parts.own,
            journal: parts.journal,
            event_progress: parts.event_progress,
            control_progress: parts.control_progress,
            lines: LogLines::new(
                outlets,
                parts.containers,
                &parts.own_id,
                parts.settings,
                parts.log_progress,
                Arc::clone(metrics),
            ),
            messages: Messages {
                answers: parts.answers,
                signals: parts.signals,
                shutdown: parts.shutdown,
                set_aside: parts.set_aside,
                kept: (Instant::now(), 0),
                metrics: Arc::clone(metrics),
            },
            pending: None,
        }
    }

    fn run(mut self) {
        let (log, own) = (self.log.clone(), self.own.clone());
        let (events, control) = (self.events.clone(), self.control.clone());
        let journal = self.journal.clone();
        let (mut log_open, mut own_open) = (true, true);
        let (mut events_open, mut control_open) = (true, true);
        while log_open
            || events_open
            || control_open
            || self.pending.is_some()
            || !self.lines.is_done()
        {
            let waiting = self.lines.outlets.waiting();
            let mut select = Select::new();
            let mut found = Vec::with_capacity(8);
            for (n, _) in register(&mut select, &waiting).iter().enumerate() {
                found.push(Found::Writer(n));
            }
            let paused = self.lines.is_paused();
            if log_open && !paused {
                select.recv(&log);
                found.push(Found::Log);
            }
            if own_open && !paused {
                select.recv(&own);
                found.push(Found::Own);
            }
            if control_open {
                select.recv(&control);
                found.push(Found::Control);
            }
            if self.pending.is_some() {
                select.send(&journal);
                found.push(Found::Journal);
            } else if events_open {
                select.recv(&events);
                found.push(Found::Events);
            }
            let selected = match self.lines.deadline() {
                Some(deadline) => select.select_deadline(deadline),
                None => Ok(select.select()),
            };
            let Ok(operation) = selected else {
                self.lines.on_time();
                continue;
            };
            match found.get(operation.index()) {
                Some(Found::Log) => match operation.recv(&log) {
                    Ok(batch) => self.lines.on_log(batch),
                    Err(_) => log_open = false,
                },
                Some(Found::Own) => match operation.recv(&own) {
                    Ok(line) => self.lines.on_own(line, &own),
                    Err(_) => own_open = false,
                },
                Some(Found::Control) => match operation.recv(&control) {
                    Ok(batch) => {
                        self.messages.control(&batch);
                        self.control_progress.routed(batch.seq);
                    }
                    Err(_) => control_open = false,
                },
                Some(Found::Events) => match operation.recv(&events) {
                    Ok(batch) => self.on_events(batch),
                    Err(_) => events_open = false,
                },
                Some(Found::Journal) => {
                    if let Some(batch) = self.pending.take() {
                        let seq = batch.seq;
                        // A journal writer that is gone has died: the daemon ends.
                        let _ = operation.send(&journal, batch);
                        self.event_progress.routed(seq);
                    }
                }
                Some(Found::Writer(n)) => {
                    if let Some((lane, to)) = waiting.get(*n) {
                        self.lines.outlets.complete(*lane, operation, to);
                        self.lines.routed();
                    }
                }
                None => {}
            }
        }
        // What was said up to now, the end of the NATS server included.
        while let Ok(line) = own.try_recv() {
            self.lines.on_own(line, &own);
            self.lines.finish();
        }
    }

    fn on_events(&mut self, batch: Batch) {
        let batch = self.messages.events(batch);
        let seq = batch.seq;
        if !batch.spans.is_empty() {
            self.event_progress.sending(Lane::Journal, seq);
            if let Err(TrySendError::Full(batch)) = self.journal.try_send(batch) {
                self.pending = Some(batch);
                return;
            }
        }
        self.event_progress.routed(seq);
        // There is room again for whoever was held back.
        self.event_progress.notify();
    }
}
