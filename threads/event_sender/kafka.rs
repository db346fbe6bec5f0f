//! Events to topic EVENT. A batch that Kafka refuses ends its producer before anything behind it is delivered; a careful one then sends
//! its records one by one, so that the one that Kafka does not take is found and set aside, and all others arrive in order.

use std::time::{Duration, Instant};

use super::handful::Handful;
use super::work::Work;
use crate::backoff::Backoff;
use crate::chain::chain;
use crate::events::delivery::{Call, Journal, Link};
use crate::events::record::TOPIC;
use crate::health::{Health, Part, State};
use crate::kafka::{Delivery, Outcome, Pace, Producer, ProducerConfig, Reason, SendError, Verdict};
use crate::limits::{
    EVENT_REPORT_LOOKS, EVENT_REPORTS_LAST, EVENTS_A_TURN, KAFKA_BATCH_BYTES,
    KAFKA_BATCH_BYTES_LEAST, KAFKA_LAST_REPORTS, KAFKA_POLL_FIRST, KAFKA_PROBE_TIME,
    KAFKA_RETRY_FIRST, KAFKA_RETRY_LAST, KAFKA_UNCLEAR_TIME,
};
use crate::random;

const SINK: &str = "kafka";

/// A producer and what it was made for.
struct Running {
    producer: Producer,
    careful: bool,
}

/// Why records go one at a time.
struct Suspicion {
    /// A broker found a batch too large.
    size: bool,
    /// A record was found that Kafka will never take.
    found: bool,
}

/// What the reports of one turn say together.
#[derive(Default)]
struct News {
    /// Something has arrived.
    arrived: bool,
    /// Why Kafka does not take something now.
    later: Option<Reason>,
    /// The last record of refused batches, and why.
    suspect: Option<(u64, Reason)>,
}

/// See the module.
pub struct ToKafka {
    brokers: Vec<String>,
    client_id: Option<String>,
    running: Option<Running>,
    link: Link,
    /// Health says that it is ready.
    is_ready: bool,
    batch_bytes: usize,
    suspicion: Option<Suspicion>,
    /// The record alone that a broker refuses without saying whether it is at fault, and since when.
    unclear: Option<(u64, Instant)>,
    /// Nothing is sent, and no producer made, before then.
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// Why Kafka does not take something now.
    refusal: Option<Reason>,
    reports: Vec<Delivery>,
    handful: Handful,
    /// Looks at the reports since something was sent or came.
    looks: u32,
    config_told: bool,
}

impl ToKafka {
    /// Not connected yet.
    pub fn new(brokers: &[String], client_id: Option<&str>, now: Instant) -> Self {
        Self {
            brokers: brokers.to_vec(),
            client_id: client_id.map(str::to_owned),
            running: None,
            link: Link::new(now),
            is_ready: false,
            batch_bytes: KAFKA_BATCH_BYTES,
            suspicion: None,
            unclear: None,
            retry_at: None,
            backoff: Backoff::new(KAFKA_RETRY_FIRST, KAFKA_RETRY_LAST),
            refusal: None,
            reports: Vec::new(),
            handful: Handful::new(now),
            looks: 0,
            config_told: false,
        }
    }

    /// It was made for these.
    pub fn is_for(&self, brokers: &[String], client_id: Option<&str>) -> bool {
        self.brokers == brokers && self.client_id.as_deref() == client_id
    }

    /// An outage was told and is not over.
    pub fn is_out(&self) -> bool {
        self.link.is_out()
    }

    /// The process ends.
    pub fn end(self) {
        if let Some(running) = self.running {
            running.producer.abandon();
        }
    }

    /// Sends and receives what can be; how long it may wait then.
    pub fn turn<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) -> Duration {
        self.receive(work, now);
        work.free(now);
        self.suit(work, now);
        let sent = self.send(work, now);
        self.look(work, now);
        if sent >= EVENTS_A_TURN {
            return Duration::ZERO;
        }
        let until = |at: Instant| at.saturating_duration_since(now);
        let reports = (work.window.in_flight() > 0).then(|| {
            let doublings = self.looks.saturating_sub(EVENT_REPORT_LOOKS).min(16);
            self.looks = self.looks.saturating_add(1);
            (KAFKA_POLL_FIRST * (1 << doublings)).min(EVENT_REPORTS_LAST)
        });
        let retry = self.retry_at.map(until);
        let due = !work.window.is_empty();
        let look = self.running.as_ref().and_then(|_| self.link.next_look(due));
        let look = look.map(until);
        let pauses = [reports, retry, look].into_iter().flatten();
        pauses.min().unwrap_or(Duration::MAX)
    }

    /// Takes the reports, and gives a producer up that is of no use any more.
    fn receive<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) {
        let Some(running) = &self.running else {
            return;
        };
        running.producer.poll(Duration::ZERO, &mut self.reports);
        let fatal = running.producer.fatal();
        let mut news = News::default();
        self.take_reports(work, &mut news, now);
        if fatal.is_none() && news.suspect.is_none() {
            return self.react(work, &news, now);
        }
        // What still arrives need not be sent again, and what was refused tells where to be careful.
        let end = Instant::now() + KAFKA_LAST_REPORTS;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some(running) = &self.running else {
                break;
            };
            if left.is_zero() || running.producer.in_flight() == 0 {
                break;
            }
            running.producer.poll(left, &mut self.reports);
            self.take_reports(work, &mut news, now);
        }
        let why = match (news.suspect, fatal) {
            (Some((_, reason)), _) => reason.to_string(),
            (None, Some(text)) => text,
            (None, None) => String::new(),
        };
        self.react(work, &news, now);
        let refused = news.suspect.is_some();
        self.replace(work, if refused { "refused" } else { "failed" }, &why);
        match news.suspect {
            Some((seq, reason)) => {
                // The next try brings news: it need not wait.
                self.retry_at = None;
                work.window.careful_to(Some(seq));
                let size = reason.is_size();
                let suspicion = self
                    .suspicion
                    .get_or_insert(Suspicion { size, found: false });
                suspicion.size |= size;
            }
            None => self.retry_later(now),
        }
    }

    fn take_reports<J: Journal>(&mut self, work: &mut Work<J>, news: &mut News, now: Instant) {
        let careful = self.running.as_ref().is_some_and(|running| running.careful);
        let mut reports = std::mem::take(&mut self.reports);
        for Delivery { token, outcome } in reports.drain(..) {
            self.looks = 0;
            let reason = match outcome {
                Outcome::Delivered => {
                    news.arrived |= work.arrived(token, SINK);
                    continue;
                }
                Outcome::Rejected(reason) | Outcome::Retry(reason) => reason,
            };
            let later = reason.verdict() == Verdict::Later;
            match (careful, later) {
                (true, false) => self.judge(work, reason, news, now),
                (true, true) => {
                    work.unsent();
                    news.later = Some(reason);
                }
                (false, false) => {
                    work.window.back(token);
                    let last = news.suspect.is_none_or(|(last, _)| last < token);
                    if last {
                        news.suspect = Some((token, reason));
                    }
                }
                (false, true) => {
                    work.window.back(token);
                    if !reason.is_purge() {
                        news.later = Some(reason);
                    }
                }
            }
        }
        self.reports = reports;
    }

    /// A record alone was refused: it is the one that is ready.
    fn judge<J: Journal>(
        &mut self,
        work: &mut Work<J>,
        reason: Reason,
        news: &mut News,
        now: Instant,
    ) {
        if reason.is_time() && work.ready.time_ms.is_some() {
            // Kafka need not lose an event because of its clock: the JSON has the event's time too.
            work.unsent();
            work.ready.time_ms = None;
            return;
        }
        if reason.verdict() == Verdict::Unclear {
            let seq = work.ready.seq;
            let since = match self.unclear {
                Some((known, since)) if known == seq => since,
                _ => now,
            };
            self.unclear = Some((seq, since));
            if now.saturating_duration_since(since) < KAFKA_UNCLEAR_TIME {
                work.unsent();
                news.later = Some(reason);
                return;
            }
        }
        self.refuse(work, reason, now);
    }

    /// The record that is ready is set aside.
    fn refuse<J: Journal>(&mut self, work: &mut Work<J>, reason: Reason, now: Instant) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.found = true;
        }
        work.refuse(reason.label(), &reason.to_string(), now);
    }

    /// What follows from the reports.
    fn react<J: Journal>(&mut self, work: &mut Work<J>, news: &News, now: Instant) {
        if news.arrived {
            self.backoff.reset();
            self.retry_at = None;
            self.refusal = None;
            let over = self.link.arrived(now);
            self.tell_up(&work.parts.health, over);
        }
        if let Some(reason) = news.later {
            self.refusal = Some(reason);
            self.retry_later(now);
        }
    }

    fn retry_later(&mut self, now: Instant) {
        self.retry_at = Some(now + self.backoff.next(random::number()));
    }

    /// Gives the producer up; what has not arrived is sent again by the next one.
    fn replace<J: Journal>(&mut self, work: &mut Work<J>, label: &str, why: &str) {
        log::warn!("the Kafka producer of the events is replaced ({label}): {why}");
        let replaced = &work.parts.metrics.events.producers_replaced;
        replaced.with_label_values(&[TOPIC, label]).inc();
        self.running = None;
        work.all_back();
    }

    /// Makes a producer when there is none, or none of the right pace.
    fn suit<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) {
        let careful = work.window.is_careful();
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.careful != careful)
        {
            // Nothing is on its way: the last suspect is done with, or the next one not sent.
            self.running = None;
        }
        if self.running.is_some() || self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        if !careful {
            self.clear_suspicion();
        }
        let pace = if careful {
            Pace::Careful
        } else {
            let bytes = self.batch_bytes;
            Pace::Batches { bytes }
        };
        let client_id = self.client_id.as_deref();
        let config = ProducerConfig::for_events(&self.brokers, client_id, &work.parts.kafka, pace);
        match Producer::new(&config) {
            Ok(producer) => self.running = Some(Running { producer, careful }),
            Err(error) => {
                let text = chain(&error);
                if !std::mem::replace(&mut self.config_told, true) {
                    log::error!("events wait in the journal: {text}");
                }
                self.is_ready = false;
                let health = &work.parts.health;
                let next =
                    "events wait in the journal; put the settings of Kafka right (`cim doctor`)";
                health.not_ready(Part::Kafka, &text, next);
                self.retry_later(now);
            }
        }
    }

    /// Every suspect is done with.
    fn clear_suspicion(&mut self) {
        let Some(suspicion) = self.suspicion.take() else {
            return;
        };
        if suspicion.size && !suspicion.found {
            let smaller = (self.batch_bytes / 2).max(KAFKA_BATCH_BYTES_LEAST);
            log::warn!(
                "Kafka refuses batches of events whose events it takes one by one: batches of {smaller} bytes from now on"
            );
            self.batch_bytes = smaller;
        }
    }

    /// Sends what may be sent; how many.
    fn send<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) -> usize {
        if self.retry_at.is_some_and(|at| now < at) {
            return 0;
        }
        self.retry_at = None;
        let mut sent = 0;
        while sent < EVENTS_A_TURN
            && self.handful.has_room(work.window.in_flight(), now)
            && work.next(now)
        {
            let Some(running) = &self.running else {
                break;
            };
            let ready = &work.ready;
            let (key, value) = (&ready.key, &ready.value);
            let result = running
                .producer
                .send(TOPIC, Some(key), value, ready.time_ms, ready.seq);
            match result {
                Ok(()) => {
                    self.handful.sent(value.len());
                    work.sent(SINK);
                    sent += 1;
                    self.looks = 0;
                }
                Err(SendError::Rejected(reason)) => self.refuse(work, reason, now),
                // The reports make room, and tell what has failed.
                Err(SendError::Full | SendError::Fatal) => break,
                Err(SendError::Retry(reason)) => {
                    // The topic is in error until somebody asks for it; the answer comes by the next try.
                    running.producer.probe(TOPIC, KAFKA_PROBE_TIME);
                    self.refusal = Some(reason);
                    self.retry_later(now);
                    break;
                }
            }
        }
        sent
    }

    /// Looks after the connection.
    fn look<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) {
        let Some(running) = &self.running else {
            return;
        };
        let due = !work.window.is_empty();
        let producer = &running.producer;
        match self.link.look(due, producer.brokers_down(), now) {
            Call::Nothing => {}
            Call::Probe => {
                if producer.probe(TOPIC, KAFKA_PROBE_TIME) {
                    let over = self.link.answered(Instant::now());
                    self.tell_up(&work.parts.health, over);
                } else {
                    self.link.silent(Instant::now());
                }
            }
            Call::Outage => {
                let error = producer.last_error();
                let why = match self.refusal {
                    Some(refusal) => refusal.to_string(),
                    None if error.is_empty() => "nothing arrives".to_owned(),
                    None => error,
                };
                let brokers = producer.brokers();
                log::error!(
                    "Kafka ({brokers}) does not take events: {why}; they wait in the journal"
                );
                self.is_ready = false;
                let health = &work.parts.health;
                let why = format!("Kafka at {brokers} does not take events: {why}");
                let next = "they wait in the journal; CIM tries until they are taken";
                health.not_ready(Part::Kafka, &why, next);
            }
            Call::Suspect => {
                let stuck = work.window.in_flight() > 0;
                if stuck && producer.probe(TOPIC, KAFKA_PROBE_TIME) {
                    self.replace(work, "stalled", "brokers answer, and nothing arrives");
                    self.link.replaced(Instant::now());
                }
            }
        }
    }

    fn tell_up(&mut self, health: &Health, outage: Option<Duration>) {
        if let Some(outage) = outage {
            let seconds = outage.as_secs();
            log::info!("Kafka takes events again, after {seconds} s");
        }
        if !std::mem::replace(&mut self.is_ready, true) {
            let brokers = self.brokers.join(",");
            health.set(
                Part::Kafka,
                State::Ready,
                &format!("events go to {brokers}"),
            );
        }
    }
}
