//! Thread `config-delivery`: delivers change sets to the application, or to CIM itself, and commits each outcome in etcd; and takes the
//! application to its first configuration.
//!
//! In: `change_sets` (`etcd_watch`), `answers` and `signals` (`nats_subscriptions`). The decisions are in [`crate::change_set`]; here are the
//! calls, which block, each with a time-out. Ends when no sender of `answers` is left and no commit is pending, or when its
//! [`Interrupt`] says so, also in the middle of a call.

mod etcd;
mod subscription;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, at, never, select};

use crate::app::{self, AppClient, AppError, body};
use crate::chain::chain;
use crate::change_set::answer::ConfigAnswer;
use crate::change_set::calls;
use crate::change_set::day_one::{DayOne, DayOneAction, LoadOutcome};
use crate::change_set::delivery::{
    Action, Commit, CommitOutcome, Delivery, Finished, Heard, PostOutcome,
};
use crate::change_set::history::History;
use crate::change_set::key::ChangeSet;
use crate::change_set::outcome::Outcome;
use crate::clock;
use crate::etcd::Client;
use crate::events::{AppSignal, OwnEvents};
use crate::interrupt::Interrupt;
use crate::limits::UPDATE_CONFIG_TIME;
use crate::metrics::Metrics;
use crate::own_log::OwnLog;
use crate::random;
use crate::settings::Store;
use crate::settings::effect::{Told, take_effect};
use crate::surroundings::Surroundings;
use crate::threads::etcd_watch::Seen;
use crate::threads::spawn::{Notice, spawn};
use etcd::{Complaint, Etcd};
use subscription::Subscription;

/// The thread's parts.
pub struct ConfigDelivery {
    /// Which etcd, and whose change sets.
    pub surroundings: Surroundings,
    /// From `etcd_watch`.
    pub change_sets: Receiver<Seen>,
    /// The application's answers, from `nats_subscriptions`.
    pub answers: Receiver<ConfigAnswer>,
    /// What the application tells by its events, from `nats_subscriptions`.
    pub signals: Receiver<AppSignal>,
    /// How often the application has registered.
    pub registrations: Arc<AtomicU64>,
    /// The pod goes for good: what CIM remembers of it in etcd is removed at the end.
    pub forget: Arc<AtomicBool>,
    /// Stops and wakes the thread.
    pub interrupt: Interrupt,
    /// The settings in force, and what a change set for CIM itself changes.
    pub settings: Arc<Store>,
    /// Its level and way are settings too.
    pub own_log: Arc<OwnLog>,
    /// What `cim history` shows.
    pub history: Arc<Mutex<History>>,
    /// CIM's own events.
    pub own_events: OwnEvents,
    /// Has the pod deleted, for this reason. Does not block.
    pub delete_pod: Box<dyn Fn(&'static str) + Send>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl ConfigDelivery {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("config-delivery", notices, move || {
            Delivering::new(self).run()
        })
    }
}

/// What is known of one change set on its way, for metrics.
struct InFlight {
    seen: Instant,
    attempted: bool,
}

/// The machines, once it is known whose change sets they are.
struct Work {
    delivery: Delivery,
    day_one: DayOne,
    subscription: Subscription,
}

struct Delivering {
    parts: ConfigDelivery,
    app: AppClient,
    etcd: Etcd,
    work: Option<Work>,
    /// What is in flight, and behind it what waits while its commit is refused.
    in_flight: VecDeque<InFlight>,
    /// See [`calls::commit`].
    memory_revision: Option<i64>,
    commit_complaint: Complaint,
    read_complaint: Complaint,
    /// No answer can come any more: only what is pending is finished.
    closing: bool,
}

impl Delivering {
    fn new(parts: ConfigDelivery) -> Self {
        let app = AppClient::new();
        let stop = app.stop_handle();
        let stop_app = stop.clone();
        parts.interrupt.attach(move || stop_app.stop());
        Self {
            parts,
            app,
            etcd: Etcd::new(stop),
            work: None,
            in_flight: VecDeque::new(),
            memory_revision: None,
            commit_complaint: Complaint::default(),
            read_complaint: Complaint::default(),
            closing: false,
        }
    }

    fn run(mut self) {
        while !self.parts.interrupt.is_stopped() {
            self.learn();
            self.subscribe();
            self.act();
            let pending = self.work.as_ref().is_some_and(|w| w.delivery.has_commit());
            if self.closing && !pending {
                return self.forget();
            }
            self.wait();
        }
    }

    /// The memory of a pod that never comes back would stay in etcd for ever. Where etcd is away now, it does.
    fn forget(&mut self) {
        let Ok(own) = self.parts.surroundings.own() else {
            return;
        };
        if !self.parts.forget.load(Ordering::Acquire) || self.parts.surroundings.etcd().is_err() {
            return;
        }
        let (known, interrupt) = (&self.parts.surroundings, &self.parts.interrupt);
        let key = own.memory_key();
        let delete = |client: &mut Client| client.delete(key.as_bytes());
        if let Err(error) = self.etcd.call(known, interrupt, delete) {
            log::warn!("{key} stays in etcd: {}", chain(&error));
        }
    }

    /// Takes in what may have become known since.
    fn learn(&mut self) {
        if self.work.is_none()
            && let Ok(own) = self.parts.surroundings.own()
        {
            let options = &self.parts.surroundings.options;
            self.work = Some(Work {
                delivery: Delivery::new(own.clone(), options.reply_timeout),
                day_one: DayOne::new(&own, options.revisions.nf.as_deref()),
                subscription: Subscription::new(own),
            });
        }
        if let Some(work) = &mut self.work {
            let exists = self.parts.settings.config_map().is_some();
            work.delivery.set_self_with_config_map(exists);
            let registrations = self.parts.registrations.load(Ordering::Acquire);
            if work.subscription.registered(registrations) {
                work.day_one.on_registered(registrations == 1);
            }
        }
    }

    /// The puts at subscription time, before anything is delivered.
    fn subscribe(&mut self) {
        let started_with = self.parts.surroundings.started_with();
        let Some(work) = &mut self.work else { return };
        let subscription = &mut work.subscription;
        if self.parts.surroundings.etcd().is_err()
            || !subscription.is_due(&started_with, Instant::now())
        {
            return;
        }
        let call = |client: &mut Client| subscription.run(client, &started_with);
        let (known, interrupt) = (&self.parts.surroundings, &self.parts.interrupt);
        let called = self.etcd.call(known, interrupt, call);
        let deliver = called.unwrap_or_else(|error| {
            let subscription = &mut work.subscription;
            subscription.failed(&error, Instant::now(), random::number())
        });
        if deliver {
            work.delivery.on_registered();
        }
    }

    /// Does what the machines ask for, until they ask for nothing more.
    fn act(&mut self) {
        loop {
            let Some(work) = &mut self.work else { return };
            let (actions, day_one) = (work.delivery.take_actions(), work.day_one.take_actions());
            if actions.is_empty() && day_one.is_empty() || self.parts.interrupt.is_stopped() {
                return;
            }
            for action in actions {
                self.deliver(action);
            }
            for action in day_one {
                self.first_configuration(action);
            }
        }
    }

    fn deliver(&mut self, action: Action) {
        match action {
            // Nothing new begins while CIM ends: it is delivered after the next start.
            Action::Post(_) | Action::ApplySelf(_) if self.closing => {}
            Action::Post(change_set) => self.post(&change_set),
            Action::ApplySelf(change_set) => self.apply(&change_set),
            Action::Commit(commit) => self.commit(&commit),
            Action::Raise(event) => self.parts.own_events.raise(event),
            Action::Finished(finished) => self.finished(&finished),
        }
    }

    fn post(&mut self, change_set: &ChangeSet) {
        let metrics = &self.parts.metrics.changes;
        if let Some(in_flight) = self.in_flight.front_mut()
            && !std::mem::replace(&mut in_flight.attempted, true)
        {
            metrics.push_attempts.inc();
        }
        self.history().sent(&change_set.position, clock::now_ms());
        let key = &change_set.key;
        let body = body::update_config(
            key.text(),
            key.data_key(),
            &change_set.value,
            key.revision(),
        );
        let started = Instant::now();
        let result = self.send(app::UPDATE_CONFIG, &body);
        let took = started.elapsed();
        let outcome = match &result {
            Ok(answer) if answer.status < 400 => {
                log::info!(
                    "change set {}: accepted after {took:?} with {answer}",
                    key.text()
                );
                PostOutcome::Accepted
            }
            Ok(answer) => {
                log::error!(
                    "change set {}: the application answers {answer}",
                    key.text()
                );
                PostOutcome::Rejected {
                    status: answer.status,
                }
            }
            Err(error @ AppError::Refused { .. }) => {
                log::warn!("change set {}: {}", key.text(), chain(error));
                PostOutcome::Refused
            }
            // CIM stops: nothing is to be concluded from that.
            Err(AppError::Stopped { .. }) => return,
            Err(error) => {
                log::error!("change set {}: {}", key.text(), chain(error));
                PostOutcome::Failed
            }
        };
        let metrics = &self.parts.metrics.changes;
        if outcome == PostOutcome::Accepted {
            metrics.push_successes.inc();
            if let Some(in_flight) = self.in_flight.front() {
                metrics
                    .delivery
                    .observe(in_flight.seen.elapsed().as_secs_f64());
            }
        }
        self.hear();
        if let Some(work) = &mut self.work {
            work.delivery
                .on_post(outcome, Instant::now(), random::number());
        }
    }

    fn send(&mut self, path: &str, body: &[u8]) -> Result<app::AppAnswer, AppError> {
        let target = self.parts.surroundings.application();
        self.app.post(&target, path, body, UPDATE_CONFIG_TIME)
    }

    fn apply(&mut self, change_set: &ChangeSet) {
        self.history().sent(&change_set.position, clock::now_ms());
        let key = change_set.key.text();
        let what = format!("changed by change set {key}");
        let result = take_effect(
            &self.parts.settings,
            &self.parts.own_log,
            &what,
            Told::Names,
            |store| store.patch(&change_set.value),
        );
        if let Err(error) = &result {
            log::error!("change set {key} changes nothing: {error}");
        }
        if let Some(work) = &mut self.work {
            work.delivery.on_self(result.is_ok(), Instant::now());
        }
    }

    fn commit(&mut self, commit: &Commit) {
        let (known, interrupt) = (&self.parts.surroundings, &self.parts.interrupt);
        let seen = &mut self.memory_revision;
        let call = |client: &mut Client| Ok(calls::commit(client, commit, seen));
        let outcome = self.etcd.call(known, interrupt, call);
        let outcome = outcome.unwrap_or_else(|error| CommitOutcome::Unreachable {
            error: chain(&error),
        });
        match &outcome {
            CommitOutcome::Taken => {
                self.commit_complaint.end();
                log::debug!("commit {} = {}", commit.commit_key, commit.value);
            }
            CommitOutcome::Unreachable { error } | CommitOutcome::Refused { error } => {
                self.parts.metrics.changes.commit_failures.inc();
                self.etcd.renew();
                let text = format!("commit {} = {}: {error}", commit.commit_key, commit.value);
                if self.commit_complaint.is_news(&text) {
                    log::warn!("{text}; trying again");
                }
            }
        }
        if let Some(work) = &mut self.work {
            work.delivery
                .on_commit(outcome, Instant::now(), random::number());
        }
    }

    fn finished(&mut self, finished: &Finished) {
        let metrics = &self.parts.metrics.changes;
        let outcome = finished.outcome;
        metrics
            .change_sets
            .with_label_values(&[outcome.label()])
            .inc();
        match outcome {
            Outcome::Success | Outcome::SelfApplied => metrics.successes.inc(),
            Outcome::Unused => metrics.unused.inc(),
            Outcome::Failure | Outcome::NoAnswer | Outcome::SelfRefused => metrics.failures.inc(),
            Outcome::Rejected | Outcome::Broken | Outcome::Unreachable => {
                metrics.push_failures.inc();
            }
            Outcome::Superseded => {}
        }
        if outcome != Outcome::Superseded {
            let took = finished.ended.saturating_duration_since(finished.decided);
            metrics.commit.observe(took.as_secs_f64());
        }
        self.in_flight.pop_front();
        let change_set = &finished.change_set;
        self.history()
            .finished(&change_set.position, outcome, clock::now_ms());
        let level = if outcome.is_good() {
            log::Level::Info
        } else {
            log::Level::Error
        };
        log::log!(
            level,
            "change set {} {}",
            change_set.key.text(),
            outcome.text()
        );
    }

    /// Answers that wait already.
    fn hear(&mut self) {
        // As many as were there at the beginning: an application that never stops answering must not hold CIM here.
        for _ in 0..self.parts.answers.len() {
            match self.parts.answers.try_recv() {
                Ok(answer) => self.on_answer(&answer),
                Err(_) => return,
            }
        }
    }

    fn on_answer(&mut self, answer: &ConfigAnswer) {
        let now = Instant::now();
        let heard = match &mut self.work {
            Some(work) => {
                let position = work.delivery.in_flight().map(|c| c.position.clone());
                (work.delivery.on_answer(answer, now), position)
            }
            None => (Heard::Foreign, None),
        };
        let metrics = &self.parts.metrics.changes;
        let key = crate::change_set::key::shown_key(answer.change_set_key.as_bytes());
        match heard {
            (Heard::Counts { another_revision }, position) => {
                metrics.answers.inc();
                if another_revision {
                    log::warn!("the answer for {key} names another revision: the key's own counts");
                }
                log::info!(
                    "the application answers for {key}: {:?} {}",
                    answer.status,
                    answer.remarks
                );
                if let Some(position) = position {
                    self.history().answered(&position, clock::now_ms());
                }
            }
            (Heard::Foreign, _) => {
                metrics.skipped.with_label_values(&["foreign_answer"]).inc();
                log::warn!("an answer for {key}, which is not waited for, is passed over");
            }
        }
    }

    fn first_configuration(&mut self, action: DayOneAction) {
        let results = &self.parts.metrics.changes.day_one;
        match action {
            DayOneAction::Read => {
                let keys = self.work.as_ref().map(|work| work.day_one.keys().to_vec());
                let keys = keys.unwrap_or_default();
                let (known, interrupt) = (&self.parts.surroundings, &self.parts.interrupt);
                let call = |client: &mut Client| calls::read_keys(client, &keys);
                let page = self.etcd.call(known, interrupt, call);
                match &page {
                    Ok(_) => self.read_complaint.end(),
                    Err(error) => {
                        let error = chain(error);
                        if self.read_complaint.is_news(&error) {
                            log::warn!(
                                "the first configuration cannot be read: {error}; trying again"
                            );
                        }
                    }
                }
                if let Some(work) = &mut self.work {
                    work.day_one
                        .on_read(page.ok(), Instant::now(), random::number());
                }
            }
            DayOneAction::Load(value) => {
                let outcome = match self.send(app::LOAD_CONFIG, &value) {
                    Ok(answer) if (200..300).contains(&answer.status) => {
                        log::info!(
                            "first configuration: {} bytes loaded, answer {answer}",
                            value.len()
                        );
                        self.parts
                            .metrics
                            .changes
                            .day_one
                            .with_label_values(&["loaded"])
                            .inc();
                        LoadOutcome::Accepted
                    }
                    Ok(answer) => {
                        log::error!("first configuration: the application answers {answer}");
                        LoadOutcome::Failed
                    }
                    Err(error @ AppError::Refused { .. }) => {
                        log::warn!("first configuration: {}", chain(&error));
                        LoadOutcome::Refused
                    }
                    Err(AppError::Stopped { .. }) => return,
                    Err(error) => {
                        log::error!("first configuration: {}", chain(&error));
                        LoadOutcome::Failed
                    }
                };
                if let Some(work) = &mut self.work {
                    work.day_one
                        .on_load(outcome, Instant::now(), random::number());
                }
            }
            DayOneAction::Raise(event) => {
                results.with_label_values(&["failed"]).inc();
                self.parts.own_events.raise(event);
            }
            DayOneAction::DeletePod => {
                (self.parts.delete_pod)("the application did not load its first configuration");
            }
        }
    }

    /// Sleeps until there is something to do, and takes it in.
    fn wait(&mut self) {
        let wants = self
            .work
            .as_ref()
            .is_some_and(|w| w.delivery.wants_change_set());
        let change_sets = if wants && !self.closing {
            self.parts.change_sets.clone()
        } else {
            never()
        };
        // Until it is known whose first configuration it is about, what the application tells waits.
        let signals = if self.work.is_some() {
            self.parts.signals.clone()
        } else {
            never()
        };
        let timer = self.deadline().map_or_else(never, at);
        select! {
            recv(self.parts.answers) -> answer => match answer {
                Ok(answer) => self.on_answer(&answer),
                Err(_) => {
                    self.closing = true;
                    self.parts.answers = never();
                }
            },
            recv(signals) -> signal => match signal {
                Ok(signal) => self.on_signal(signal),
                Err(_) => self.parts.signals = never(),
            },
            // What has changed is looked at in any case.
            recv(self.parts.interrupt.woken()) -> _ => {}
            recv(timer) -> _ => {}
            recv(change_sets) -> seen => match seen {
                Ok(seen) => self.take(seen),
                // The watch has ended; the daemon knows why.
                Err(_) => self.parts.change_sets = never(),
            },
        }
        // Answers first: one that came in the moment of the deadline has come in time. And the time passes whatever comes.
        self.hear();
        self.tick();
    }

    fn take(&mut self, seen: Seen) {
        self.in_flight.push_back(InFlight {
            seen: seen.at,
            attempted: false,
        });
        if let Some(work) = &mut self.work {
            // It was taken because it is wanted.
            let _ = work.delivery.take(seen.change_set, Instant::now());
        }
    }

    fn on_signal(&mut self, signal: AppSignal) {
        // A registration that came before it must not undo it.
        self.learn();
        let Some(work) = &mut self.work else { return };
        match signal {
            AppSignal::NotConfigured => work.day_one.on_not_configured(),
            AppSignal::Configured => work.day_one.on_configured(),
            AppSignal::ShutdownSuccess | AppSignal::ShutdownFailure => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let work = self.work.as_ref()?;
        [
            work.delivery.deadline(),
            work.day_one.deadline(),
            work.subscription.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if let Some(work) = &mut self.work {
            work.delivery.on_tick(now);
            work.day_one.on_tick(now);
            work.subscription.on_tick(now);
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.parts
            .history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
