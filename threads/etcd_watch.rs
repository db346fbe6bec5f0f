//! Thread `etcd-watch`: reads and watches the change sets of this microservice, and hands them on in etcd's order.
//!
//! Out: `change_sets` (`config_delivery`). A full channel holds the thread back, and with it etcd's stream: nothing grows. It begins when
//! it is known which etcd and which microservice; a change of either begins anew. Ends when its [`Interrupt`] says so, also in the
//! middle of a call.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Select, Sender};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::change_set::calls;
use crate::change_set::history::History;
use crate::change_set::intake::{Intake, Output, Skipped, Step};
use crate::change_set::key::ChangeSet;
use crate::change_set::memory::Own;
use crate::clock;
use crate::etcd::{Client, Config, EtcdError, Tls};
use crate::events::{OwnEvent, OwnEvents};
use crate::health::{Health, Part, State, reason};
use crate::interrupt::Interrupt;
use crate::limits::{ETCD_RETRY_FIRST, ETCD_RETRY_LAST};
use crate::metrics::Metrics;
use crate::random;
use crate::settings::{Store, problem};
use crate::surroundings::{NotKnown, Surroundings};
use crate::threads::spawn::{Notice, spawn};

/// A change set, and when it was seen.
#[derive(Debug)]
pub struct Seen {
    /// The change set.
    pub change_set: ChangeSet,
    /// When it came from etcd.
    pub at: Instant,
}

/// The thread's parts.
pub struct EtcdWatch {
    /// Which etcd, and whose change sets.
    pub surroundings: Surroundings,
    /// To `config_delivery`.
    pub change_sets: Sender<Seen>,
    /// Stops and wakes the thread.
    pub interrupt: Interrupt,
    /// `remote_svc_retry_count`.
    pub settings: Arc<Store>,
    /// What `cim history` shows.
    pub history: Arc<Mutex<History>>,
    /// CIM's own events.
    pub own_events: OwnEvents,
    /// How etcd is.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl EtcdWatch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("etcd-watch", notices, move || self.run())
    }

    fn run(self) {
        let mut outage = Outage::default();
        let mut intake = None;
        while !self.interrupt.is_stopped() {
            let (config, own) = match self.target() {
                Ok(target) => target,
                Err(why) => {
                    let reason = reason(&why.to_string(), why.next());
                    self.health.set(Part::Etcd, why.state(), &reason);
                    self.interrupt.wait();
                    continue;
                }
            };
            // It outlives its client: it knows where to go on, in another etcd too. Whose change sets they are never changes.
            let intake = intake.get_or_insert_with(|| {
                let started_with = self.surroundings.started_with();
                Intake::new(own.clone(), started_with)
            });
            let client = match Client::new(config.clone()) {
                Ok(client) => client,
                Err(error) => {
                    // A file that is not there yet, or wrong, can be put right while CIM runs.
                    outage.begin(&self, &error);
                    self.interrupt.pause(ETCD_RETRY_LAST);
                    continue;
                }
            };
            let closer = client.closer();
            self.interrupt.attach(move || closer.close());
            let watching = Watching {
                parts: &self,
                config: &config,
                own: &own,
                client,
                intake,
                outage: &mut outage,
                backoff: Backoff::new(ETCD_RETRY_FIRST, ETCD_RETRY_LAST),
            };
            watching.run();
        }
    }

    fn target(&self) -> Result<(Config, Own), NotKnown> {
        Ok((self.surroundings.etcd()?, self.surroundings.own()?))
    }
}

/// Since when etcd has not answered, and whether the event was raised for that.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    raised: bool,
}

impl Outage {
    fn begin(&mut self, parts: &EtcdWatch, error: &EtcdError) {
        let text = chain(error);
        if self.since.is_none() {
            log::warn!("etcd: {text}; trying again");
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let settings = parts.settings.load();
        let limit = settings.cim.cim_settings.remote_svc_retry_count;
        if !self.raised && since.elapsed() >= Duration::from_secs(limit.into()) {
            self.raised = true;
            log::error!("etcd has not been reachable for {limit} s: {text}");
            parts.own_events.raise(OwnEvent::ConnectEtcdFailure {
                error: text.clone(),
            });
        }
        let next = "CIM tries until it works; change sets wait in etcd, outcomes in CIM";
        parts.health.not_ready(Part::Etcd, &text, next);
    }

    fn end(&mut self, parts: &EtcdWatch, revision: i64, own: &Own) {
        if self.since.take().is_some() {
            log::info!("etcd answers");
        }
        self.raised = false;
        parts.metrics.changes.progress(revision);
        let reason = format!("watching {} at revision {revision}", own.prefix());
        parts.health.set(Part::Etcd, State::Ready, &reason);
    }
}

/// One client, as long as it is the right one.
struct Watching<'a> {
    parts: &'a EtcdWatch,
    config: &'a Config,
    own: &'a Own,
    client: Client,
    intake: &'a mut Intake,
    outage: &'a mut Outage,
    backoff: Backoff,
}

impl Watching<'_> {
    /// Returns when the thread is to end, or another client is needed.
    fn run(mut self) {
        while self.goes_on() {
            let result = match self.intake.step() {
                Step::ReadOwn => self.read_own(),
                Step::ReadPrefix {
                    at,
                    min_mod_revision,
                    limit,
                } => self.read_prefix(at, min_mod_revision, limit),
                Step::Watch { start_revision } => self.watch(start_revision),
            };
            let Err(error) = result else { continue };
            // Stopped, or another etcd is configured.
            if matches!(error, EtcdError::Closed) {
                return;
            }
            self.outage.begin(self.parts, &error);
            // Certificates are replaced in their files: a new client reads them again.
            if !self.pause() || self.config.tls != Tls::default() {
                return;
            }
        }
    }

    fn goes_on(&self) -> bool {
        let same = self.parts.surroundings.etcd().as_ref() == Ok(self.config);
        same && !self.parts.interrupt.is_stopped()
    }

    fn read_own(&mut self) -> Result<(), EtcdError> {
        let status = self.client.status()?;
        log::info!(
            "etcd {} at {}",
            problem::shown(&status.version),
            self.client.endpoint()
        );
        let page = calls::read_own(&mut self.client, self.own)?;
        self.intake.on_own(&page);
        self.progress();
        Ok(())
    }

    fn read_prefix(
        &mut self,
        at: Option<i64>,
        min_mod_revision: i64,
        limit: usize,
    ) -> Result<(), EtcdError> {
        match calls::read_prefix(&mut self.client, self.own, at, min_mod_revision, limit) {
            Ok(page) => {
                let output = self.intake.on_page(page);
                self.progress();
                if output.replaced {
                    // Two etcds behind one address would take turns, without an end.
                    self.pause();
                }
                self.hand_on(output);
                Ok(())
            }
            Err(error) => {
                self.intake.on_read_failed(calls::read_failure(&error));
                Err(error)
            }
        }
    }

    /// One stream, until it ends or something else is to be done.
    fn watch(&mut self, start_revision: i64) -> Result<(), EtcdError> {
        let ends = &self.parts.metrics.changes.watch_ends;
        let began = Instant::now();
        let result = self.frames(start_revision);
        self.intake.on_break();
        if began.elapsed() >= ETCD_RETRY_LAST {
            // It has worked: what cuts it off, such as a proxy, is no reason to wait longer each time.
            self.backoff.reset();
        }
        let reason = match &result {
            Ok(()) if matches!(self.intake.step(), Step::Watch { .. }) => "limit",
            Ok(()) => {
                // Not at once again and again, should etcd end each watch that begins.
                self.pause();
                "canceled"
            }
            Err(_) => "error",
        };
        ends.with_label_values(&[reason]).inc();
        result
    }

    fn frames(&mut self, start_revision: i64) -> Result<(), EtcdError> {
        let mut stream = calls::watch(&mut self.client, self.own, start_revision)?;
        while let Some(frame) = stream.next_frame()? {
            if let Some(why) = frame.cancellation(start_revision) {
                log::warn!("etcd has ended the watch: {why}; the change sets are read again");
            }
            let has_events = !frame.events.is_empty();
            let output = self.intake.on_frame(frame.into());
            if !matches!(self.intake.step(), Step::Watch { .. }) {
                return Ok(());
            }
            if has_events {
                self.backoff.reset();
            }
            self.progress();
            if !self.hand_on(output) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Longer each time. False when the thread is to end.
    fn pause(&mut self) -> bool {
        let pause = self.backoff.next(random::number());
        self.parts.interrupt.pause(pause)
    }

    fn progress(&mut self) {
        self.outage
            .end(self.parts, self.intake.revision(), self.own);
    }

    /// False when it was interrupted: what is left is lost, and so is the intake with it.
    fn hand_on(&mut self, output: Output) -> bool {
        let skipped = &self.parts.metrics.changes.skipped;
        for Skipped::Malformed { key, error } in output.skipped {
            skipped.with_label_values(&["malformed_key"]).inc();
            log::warn!("{key} is no key of a change set and is passed over: {error}");
        }
        if output.replaced {
            log::warn!(
                "this etcd is not the one that was seen before: the change sets are read again"
            );
        }
        for change_set in output.change_sets {
            let key = change_set.key.text();
            log::info!(
                "change set {key}: {} bytes, at revision {} of etcd",
                change_set.value.len(),
                change_set.position.revision
            );
            let mut history = self
                .parts
                .history
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            history.seen(&change_set, clock::now_ms());
            drop(history);
            let seen = Seen {
                change_set,
                at: Instant::now(),
            };
            if !self.send(seen) {
                return false;
            }
        }
        true
    }

    /// Waits for room. What was taken from the intake must not be lost, so nothing but a stop ends the wait.
    fn send(&self, seen: Seen) -> bool {
        let (to, interrupt) = (&self.parts.change_sets, &self.parts.interrupt);
        let mut select = Select::new();
        let sending = select.send(to);
        select.recv(interrupt.woken());
        loop {
            let operation = select.select();
            if operation.index() == sending {
                return operation.send(to, seen).is_ok();
            }
            // Whether it was a stop, the flag says.
            let _ = operation.recv(interrupt.woken());
            if interrupt.is_stopped() {
                return false;
            }
        }
    }
}
