//! Thread `kafka-consumer`: reads topic FMAASEVENTS while the application subscribes to events, and hands what it wants to the
//! notifications on NATS.
//!
//! In: the subscriptions and `changes` of them, the records of Kafka, how far the notifications are, `interrupt` (something changed,
//! stop). Out: notifications, offsets, the answer to the first subscription.
//! Owns the consumer; without a subscription, or without brokers, there is none. A record is asked for by its headers alone, waits when
//! nobody hears it or there is no room, and its offset is committed once it is delivered: a kill of CIM loses none, and repeats
//! what the last commit has not got. Ends when its [`Interrupt`] says so and what was under way is delivered and committed, or
//! `KAFKA_CONSUMER_STOP_TIME` is over.

mod answers;
mod closing;
mod member;
mod reading;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::health::{Health, Part, State};
use crate::identity::Current;
use crate::interrupt::Interrupt;
use crate::kafka::ConsumerConfig;
use crate::limits::{EVENT_SENDER_SETTLING, KAFKA_CONSUMER_LOOK};
use crate::metrics::Metrics;
use crate::notifications::Notifier;
use crate::options::KafkaOptions;
use crate::settings::{Settings, Store};
use crate::subscriptions::{Changed, Subscriptions};
use crate::threads::spawn::{Notice, spawn};
use answers::Answers;
use closing::Closing;
use reading::Reading;

/// What the thread owns.
pub struct KafkaConsumer {
    /// Where records go.
    pub notifier: Notifier,
    /// What the application wants, and where it began.
    pub subscriptions: Arc<Subscriptions>,
    /// The subscriptions have changed.
    pub changes: Receiver<Changed>,
    /// Tells of other changes and of the stop.
    pub interrupt: Interrupt,
    /// The settings in force.
    pub settings: Arc<Store>,
    /// Who this sidecar is.
    pub identity: Arc<Current>,
    /// How Kafka is spoken to.
    pub kafka: KafkaOptions,
    /// Where it says how the notifications are.
    pub health: Arc<Health>,
    /// The series it moves.
    pub metrics: Arc<Metrics>,
}

impl KafkaConsumer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("kafka-consumer", notices, move || {
            Consuming::new(self).run()
        })
    }
}

/// Why nothing is read.
struct Idle {
    state: State,
    reason: &'static str,
}

impl Idle {
    /// Before anything is looked at: nobody is told.
    const UNKNOWN: Self = Self {
        state: State::NotReady,
        reason: "",
    };

    fn disabled(reason: &'static str) -> Self {
        let state = State::Disabled;
        Self { state, reason }
    }

    fn waiting(reason: &'static str) -> Self {
        let state = State::NotReady;
        Self { state, reason }
    }
}

struct Consuming {
    parts: KafkaConsumer,
    /// [`Notifier::moved`] as long as there is somebody on the other side.
    moved: Receiver<()>,
    reading: Result<Box<Reading>, Idle>,
    answers: Answers,
    closing: Arc<Closing>,
    /// Notifications that are counted as delivered.
    counted: u64,
    /// What `reading` was chosen by, and when that is looked at again.
    settings: Option<Arc<Settings>>,
    era: Option<u64>,
    look_at: Instant,
}

impl Consuming {
    fn new(parts: KafkaConsumer) -> Self {
        Self {
            moved: parts.notifier.moved().clone(),
            parts,
            reading: Err(Idle::UNKNOWN),
            answers: Answers::default(),
            closing: Arc::default(),
            counted: 0,
            settings: None,
            era: None,
            look_at: Instant::now(),
        }
    }

    fn run(mut self) {
        while !self.parts.interrupt.is_stopped() {
            let now = Instant::now();
            self.count();
            self.look(now);
            let pause = self.turn(now);
            self.answer();
            if !self.wait(pause) {
                break;
            }
        }
        for Changed { answer } in self.parts.changes.try_iter() {
            self.answers.take(answer, Instant::now());
        }
        self.answers.give(|_| true);
        if let Ok(reading) = self.reading {
            reading.end(&mut self.parts);
        }
    }

    fn count(&mut self) {
        let delivered = self.parts.notifier.delivered();
        let metric = &self.parts.metrics.notifications.delivered;
        metric.inc_by(delivered.saturating_sub(self.counted));
        self.counted = delivered;
    }

    /// Chooses anew what is read when what it depends on may have changed.
    fn look(&mut self, now: Instant) {
        let settings = Arc::clone(&self.parts.settings.load());
        let era = self.parts.subscriptions.era();
        let same = self
            .settings
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &settings));
        if same && self.era == era && now < self.look_at {
            return;
        }
        let settled = self.parts.identity.is_settled();
        self.look_at = now
            + if settled {
                KAFKA_CONSUMER_LOOK
            } else {
                EVENT_SENDER_SETTLING
            };
        match self.wanted(era, &settings, settled) {
            Ok((era, config)) => {
                if !matches!(&self.reading, Ok(reading) if reading.is_for(era, &config)) {
                    self.close();
                    self.reading = Ok(Box::new(Reading::new(era, config, &self.closing, now)));
                }
            }
            Err(idle) => {
                self.close();
                let health = &self.parts.health;
                health.set(Part::Notifications, idle.state, idle.reason);
                self.reading = Err(idle);
            }
        }
        self.settings = Some(settings);
        self.era = era;
    }

    fn wanted(
        &self,
        era: Option<u64>,
        settings: &Settings,
        settled: bool,
    ) -> Result<(u64, ConsumerConfig), Idle> {
        let Some(era) = era else {
            return Err(Idle::disabled(
                "there is no event subscription: nothing is read from Kafka",
            ));
        };
        let parts = &self.parts;
        let identity = parts.identity.load();
        let brokers = &settings.infra.kafka_brokers;
        if brokers.is_empty() {
            return Err(if identity.standalone || !parts.settings.lacks_infra() {
                Idle::disabled(
                    "no Kafka brokers are configured (CIM_KAFKA_BROKERS, kafka_brokers): event subscriptions get nothing",
                )
            } else {
                Idle::waiting(
                    "which brokers there are is not known: common-infra.json has not come yet, CIM_KAFKA_BROKERS is not set; nothing is read until one of them is there",
                )
            });
        }
        if !settled {
            return Err(Idle::waiting(
                "the consumer group is not known: Kubernetes has not said yet who this pod is; CIM asks until it does, records wait in Kafka",
            ));
        }
        let client_id = settings.cim.cim_settings.kafka_client_id.as_deref();
        let (pod, namespace) = (&identity.pod, &identity.namespace);
        let config = ConsumerConfig::new(brokers, client_id, pod, namespace, &parts.kafka);
        Ok((era, config))
    }

    /// Ends what is read now. In the same era the next consumer goes on where this one was.
    fn close(&mut self) {
        let idle = Err(Idle::UNKNOWN);
        if let Ok(reading) = std::mem::replace(&mut self.reading, idle) {
            reading.close(&mut self.parts);
        }
    }

    /// Does what can be done now; how long it may wait then.
    fn turn(&mut self, now: Instant) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(now);
        let answer = self.answers.next().map(until);
        let pause = match &mut self.reading {
            Ok(reading) => {
                let pause = reading.turn(&mut self.parts, answer, now);
                pause.min(until(self.look_at))
            }
            // Only a change of the subscriptions ends this.
            Err(_) if self.era.is_none() => Duration::MAX,
            Err(_) => until(self.look_at),
        };
        answer.map_or(pause, |answer| pause.min(answer))
    }

    /// Gives the answers that are due.
    fn answer(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let is_known = match (&self.reading, self.parts.subscriptions.era()) {
            (Err(idle), _) if idle.state == State::Disabled => true,
            (_, None) => true,
            (_, Some(era)) => {
                let position = self.parts.subscriptions.position(era);
                position.is_none_or(|position| position.ends.is_some())
            }
        };
        let now = Instant::now();
        self.answers.give(|due| is_known || due <= now);
    }

    /// Waits for `pause`, or until something happens. False when nobody is left who could stop it.
    fn wait(&mut self, pause: Duration) -> bool {
        let nothing = never();
        let ready = self.reading.as_ref().ok().and_then(|r| r.ready());
        select! {
            recv(self.parts.changes) -> changed => match changed {
                Ok(Changed { answer }) => {
                    self.look_at = Instant::now();
                    self.answers.take(answer, Instant::now());
                }
                // A closed channel is always ready.
                Err(_) => self.parts.changes = never(),
            },
            recv(self.parts.interrupt.woken()) -> woken => {
                self.look_at = Instant::now();
                return woken.is_ok();
            }
            recv(self.moved) -> moved => if moved.is_err() {
                self.moved = never();
            },
            recv(ready.unwrap_or(&nothing)) -> _ => {}
            default(pause) => {}
        }
        true
    }
}
