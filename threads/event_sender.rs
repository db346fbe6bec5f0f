//! Thread `event-sender`: takes events out of the journal to their sink, and frees the journal when they have arrived.
//!
//! In: the journal; `fresh` (records were committed), `interrupt` (something changed, stop). The sink: topic EVENT where Kafka brokers are
//! configured; a file of JSON Lines beside the logs where it is known that there are none; until then events wait. Events are made
//! JSON once it is known who this sidecar is ([`Current::is_settled`]).
//! Owns the producer. Ends when its [`Interrupt`] says so and everything is delivered, Kafka is in an outage, or the time for it is over; what
//! is left stays in the journal.

mod file;
mod handful;
mod kafka;
mod work;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};

use crate::events::delivery::{Journal, Refused};
use crate::health::{Health, Part, State};
use crate::identity::Current;
use crate::interrupt::Interrupt;
use crate::limits::{EVENT_SENDER_LOOK, EVENT_SENDER_SETTLING};
use crate::metrics::Metrics;
use crate::options::KafkaOptions;
use crate::settings::{Settings, Store};
use crate::threads::spawn::{Notice, spawn};
use file::ToFile;
use kafka::ToKafka;
use work::Work;

/// What the thread owns.
pub struct EventSender<J> {
    /// The journal's reading end.
    pub journal: J,
    /// Records were committed to the journal.
    pub fresh: Receiver<()>,
    /// Keeps what no sink will ever take.
    pub set_aside: Box<dyn Fn(&Refused<'_>) + Send>,
    /// Tells of changes and of the stop.
    pub interrupt: Interrupt,
    /// The settings in force.
    pub settings: Arc<Store>,
    /// Who this sidecar is.
    pub identity: Arc<Current>,
    /// How Kafka is spoken to.
    pub kafka: KafkaOptions,
    /// Where the file is, when there is no Kafka.
    pub log_dir: PathBuf,
    /// Time in which what is left may be delivered once a stop was asked for.
    pub stop_time: Duration,
    /// Where it says how Kafka is.
    pub health: Arc<Health>,
    /// The series it moves.
    pub metrics: Arc<Metrics>,
}

/// Where events go.
enum Sink {
    /// It is not known yet.
    Unknown,
    Kafka(Box<ToKafka>),
    File(Box<ToFile>),
}

impl<J: Journal + Send + 'static> EventSender<J> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("event-sender", notices, move || Sending::new(self).run())
    }
}

struct Sending<J> {
    work: Work<J>,
    sink: Sink,
    /// What the sink was chosen by, and when that is looked at again.
    settings: Option<Arc<Settings>>,
    look_at: Instant,
}

impl<J: Journal> Sending<J> {
    fn new(parts: EventSender<J>) -> Self {
        Self {
            work: Work::new(parts),
            sink: Sink::Unknown,
            settings: None,
            look_at: Instant::now(),
        }
    }

    fn run(mut self) {
        let mut stop_at = None;
        loop {
            let now = Instant::now();
            self.look(now);
            if self.work.parts.interrupt.is_stopped() {
                let end = *stop_at.get_or_insert_with(|| {
                    // Whoever filled the journal has ended by now: what it wrote last counts.
                    self.work.look_again();
                    now + self.work.parts.stop_time
                });
                if now >= end || self.is_finished() {
                    break;
                }
            }
            let pause = self.turn(now);
            self.work.free(now);
            // What keeps the thread waiting is over at the stop's end at the latest.
            let pause = stop_at.map_or(pause, |end| {
                pause.min(end.saturating_duration_since(Instant::now()))
            });
            if !self.wait(pause) {
                break;
            }
        }
        self.work.free(Instant::now());
        if let Sink::Kafka(kafka) = self.sink {
            kafka.end();
        }
    }

    /// Nothing is left that could be done before the end.
    fn is_finished(&self) -> bool {
        match &self.sink {
            Sink::Unknown => true,
            Sink::Kafka(kafka) => kafka.is_out() || self.work.is_idle(),
            Sink::File(_) => self.work.is_idle(),
        }
    }

    /// Chooses the sink anew when what it depends on may have changed.
    fn look(&mut self, now: Instant) {
        let settings = Arc::clone(&self.work.parts.settings.load());
        let same = self
            .settings
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &settings));
        if same && now < self.look_at {
            return;
        }
        let settled = self.work.parts.identity.is_settled();
        self.look_at = now
            + if settled {
                EVENT_SENDER_LOOK
            } else {
                EVENT_SENDER_SETTLING
            };
        if settled {
            self.choose(&settings, now);
            self.settings = Some(settings);
        }
    }

    fn choose(&mut self, settings: &Settings, now: Instant) {
        let parts = &self.work.parts;
        let brokers = &settings.infra.kafka_brokers;
        let identity = parts.identity.load();
        if !brokers.is_empty() {
            let client_id = settings.cim.cim_settings.kafka_client_id.as_deref();
            if !matches!(&self.sink, Sink::Kafka(kafka) if kafka.is_for(brokers, client_id)) {
                let kafka = ToKafka::new(brokers, client_id, now);
                let why = format!("no broker of {} has answered yet", brokers.join(","));
                let next = "CIM tries until one does; events wait in the journal";
                parts.health.not_ready(Part::Kafka, &why, next);
                self.replace(Sink::Kafka(Box::new(kafka)));
            }
        } else if identity.standalone || !parts.settings.lacks_infra() {
            if !matches!(self.sink, Sink::File(_)) {
                let file = ToFile::new(parts, &identity, now);
                let path = file.path().display();
                log::info!("no Kafka brokers are configured: events go to {path}");
                let reason = format!("no brokers are configured: events go to {path}");
                parts.health.set(Part::Kafka, State::Disabled, &reason);
                self.replace(Sink::File(Box::new(file)));
            }
        } else if self.settings.is_none() || !matches!(self.sink, Sink::Unknown) {
            let why = "which brokers there are is not known: common-infra.json has not come yet, CIM_KAFKA_BROKERS is not set";
            let next = "events wait in the journal until one of them is there";
            parts.health.not_ready(Part::Kafka, why, next);
            self.replace(Sink::Unknown);
        }
    }

    fn replace(&mut self, sink: Sink) {
        self.work.all_back();
        self.sink = sink;
    }

    /// Does what can be done now; how long it may wait then.
    fn turn(&mut self, now: Instant) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(now);
        let look = until(self.look_at);
        let pause = match &mut self.sink {
            Sink::Unknown => look,
            Sink::Kafka(kafka) => kafka.turn(&mut self.work, now),
            Sink::File(file) => file.turn(&mut self.work, now),
        };
        let journal = self.work.journal_at().filter(|at| *at > now);
        let journal = journal.map_or(look, until);
        pause.min(look).min(journal)
    }

    /// Waits for `pause`, or until something happens. False when nobody is left who could stop it.
    fn wait(&mut self, pause: Duration) -> bool {
        if pause.is_zero() {
            return true;
        }
        let parts = &mut self.work.parts;
        select! {
            recv(parts.fresh) -> fresh => if fresh.is_err() {
                // A closed channel is always ready.
                parts.fresh = never();
            },
            recv(parts.interrupt.woken()) -> woken => {
                self.look_at = Instant::now();
                return woken.is_ok();
            }
            default(pause) => {}
        }
        true
    }
}
