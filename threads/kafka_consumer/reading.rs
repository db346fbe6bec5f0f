//! What is read in one era from one set of brokers: first where the era begins, then as a member of the consumer group. A consumer
//! that fails is replaced, and the next one goes on where it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::KafkaConsumer;
use super::closing::Closing;
use super::member::{Member, Trouble};
use crate::backoff::Backoff;
use crate::chain::chain;
use crate::health::{Part, State, reason};
use crate::kafka::{Consumer, ConsumerConfig, FMAASEVENTS, Failure, Ledger, Polled};
use crate::limits::{
    KAFKA_CONSUMER_ASK, KAFKA_CONSUMER_RETRY_FIRST, KAFKA_CONSUMER_RETRY_LAST,
    KAFKA_CONSUMER_STOP_TIME, KAFKA_ENDS_RETRY_FIRST, KAFKA_ENDS_RETRY_LAST, KAFKA_NO_TOPIC_TIME,
    KAFKA_POLLS_A_TURN, KAFKA_PROBE_PAUSE, KAFKA_REVOKE_TIME,
};
use crate::logs::throttle::Throttle;
use crate::random;

/// See the module.
pub(super) struct Reading {
    era: u64,
    config: ConsumerConfig,
    ledger: Ledger,
    running: Option<Running>,
    /// No consumer is made before then.
    retry_at: Instant,
    backoff: Backoff,
    is_told: bool,
    health: Option<(State, String)>,
    closing: Arc<Closing>,
}

struct Running {
    consumer: Consumer,
    since: Instant,
    /// `None` while it is asked where the era begins.
    member: Option<Member>,
    /// Brokers are not asked for that before then.
    ask_at: Instant,
    ask_backoff: Backoff,
    ask_told: Throttle,
    /// Why that is not known.
    unknown: String,
    /// Brokers say since then that the topic is not there.
    missing_since: Option<Instant>,
    probe_at: Instant,
}

impl Reading {
    pub fn new(era: u64, config: ConsumerConfig, closing: &Arc<Closing>, now: Instant) -> Self {
        Self {
            era,
            config,
            ledger: Ledger::default(),
            running: None,
            retry_at: now,
            backoff: Backoff::new(KAFKA_CONSUMER_RETRY_FIRST, KAFKA_CONSUMER_RETRY_LAST),
            is_told: false,
            health: None,
            closing: Arc::clone(closing),
        }
    }

    /// It was made for these.
    pub fn is_for(&self, era: u64, config: &ConsumerConfig) -> bool {
        self.era == era && self.config == *config
    }

    /// Kafka has something to say.
    pub fn ready(&self) -> Option<&Receiver<()>> {
        let running = self.running.as_ref()?;
        Some(running.consumer.ready())
    }

    /// Does what can be done now; how long it may wait then. `answer`: time left for whoever waits to learn where the era begins.
    pub fn turn(
        &mut self,
        parts: &mut KafkaConsumer,
        answer: Option<Duration>,
        now: Instant,
    ) -> Duration {
        self.ledger.delivered(parts.notifier.delivered());
        self.make(parts, now);
        let Some(running) = &mut self.running else {
            return self.retry_at.saturating_duration_since(now);
        };
        match running.turn(self.era, &mut self.ledger, parts, answer, now) {
            Ok(pause) => {
                let (state, reason) = running.health(parts, &self.config);
                self.tell(parts, state, reason);
                pause
            }
            Err(trouble) => self.replace(parts, &trouble, now),
        }
    }

    /// Makes a consumer when there is none.
    fn make(&mut self, parts: &KafkaConsumer, now: Instant) {
        if self.running.is_some() || now < self.retry_at {
            return;
        }
        match Consumer::new(&self.config) {
            Ok(consumer) => {
                self.running = Some(Running {
                    consumer,
                    since: now,
                    member: None,
                    ask_at: now,
                    ask_backoff: Backoff::new(KAFKA_ENDS_RETRY_FIRST, KAFKA_ENDS_RETRY_LAST),
                    ask_told: Throttle::default(),
                    unknown: String::new(),
                    missing_since: None,
                    probe_at: now,
                });
            }
            Err(error) => {
                let text = chain(&error);
                if !std::mem::replace(&mut self.is_told, true) {
                    log::error!("nothing is read from {FMAASEVENTS}: {text}");
                }
                let next = "nothing is read; put the settings of Kafka right (`cim doctor`)";
                self.tell(parts, State::NotReady, reason(&text, next));
                self.retry_at = now + self.backoff.next(random::number());
            }
        }
    }

    /// Gives the consumer up; how long until there is another one.
    fn replace(&mut self, parts: &mut KafkaConsumer, trouble: &Trouble, now: Instant) -> Duration {
        let Trouble { label, text } = trouble;
        log::warn!("the Kafka consumer is replaced ({label}): {text}");
        let replaced = &parts.metrics.notifications.consumers_replaced;
        replaced.with_label_values(&[label]).inc();
        let why = format!("the consumer of {FMAASEVENTS} has failed: {text}");
        let next = "another one is made, records wait in Kafka";
        self.tell(parts, State::NotReady, reason(&why, next));
        self.ledger.revoked();
        if let Some(running) = self.running.take() {
            if now.saturating_duration_since(running.since) >= KAFKA_CONSUMER_RETRY_LAST {
                self.backoff.reset();
            }
            self.closing.close(running.consumer);
        }
        let pause = self.backoff.next(random::number());
        self.retry_at = Instant::now() + pause;
        pause
    }

    /// The era is over, or the brokers are others.
    pub fn close(mut self, parts: &mut KafkaConsumer) {
        if parts.subscriptions.era() == Some(self.era) {
            self.settle(parts, KAFKA_REVOKE_TIME);
        }
        if let Some(running) = self.running.take() {
            self.closing.close(running.consumer);
        }
    }

    /// The process ends.
    pub fn end(mut self, parts: &mut KafkaConsumer) {
        self.settle(parts, KAFKA_CONSUMER_STOP_TIME);
        if let Some(running) = self.running.take() {
            self.closing.close(running.consumer);
        }
    }

    /// Waits until what is under way is delivered and committed, or `limit` is over.
    fn settle(&mut self, parts: &mut KafkaConsumer, limit: Duration) {
        if let Some(Running {
            consumer, member, ..
        }) = &mut self.running
            && let Some(member) = member
            && let Err(Trouble { text, .. }) =
                member.settle(consumer, &mut self.ledger, parts, limit)
        {
            log::warn!("what was delivered last may come once more: {text}");
        }
    }

    fn tell(&mut self, parts: &KafkaConsumer, state: State, reason: String) {
        let known = self.health.as_ref();
        if known.is_some_and(|known| known.0 == state && known.1 == reason) {
            return;
        }
        parts.health.set(Part::Notifications, state, &reason);
        self.health = Some((state, reason));
    }
}

impl Running {
    fn turn(
        &mut self,
        era: u64,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
        answer: Option<Duration>,
        now: Instant,
    ) -> Result<Duration, Trouble> {
        if self.consumer.brokers_down() && now >= self.probe_at && self.member.is_some() {
            // Only who asks learns that they are back.
            self.consumer.probe(KAFKA_CONSUMER_ASK);
            self.probe_at = Instant::now() + KAFKA_PROBE_PAUSE;
        }
        if let Some(member) = &mut self.member {
            return member.turn(&self.consumer, ledger, parts, now);
        }
        self.hear()?;
        if now < self.ask_at {
            return Ok(self.ask_at - now);
        }
        let wait = answer.map_or(KAFKA_CONSUMER_ASK, |left| left.min(KAFKA_CONSUMER_ASK));
        if self.knows_ends(era, parts, wait) {
            self.consumer.join()?;
            self.member = Some(Member::new(era, now));
            return Ok(Duration::ZERO);
        }
        let pause = self.ask_backoff.next(random::number());
        self.ask_at = Instant::now() + pause;
        Ok(pause)
    }

    /// Takes what librdkafka has to say.
    fn hear(&mut self) -> Result<(), Trouble> {
        for _ in 0..KAFKA_POLLS_A_TURN {
            match self.consumer.poll() {
                Polled::Nothing => break,
                Polled::Failed(Failure::Fatal(label, text)) => {
                    return Err(Trouble { label, text });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it is stored where the era begins; asks for it.
    fn knows_ends(&mut self, era: u64, parts: &KafkaConsumer, wait: Duration) -> bool {
        let Some(mut position) = parts.subscriptions.position(era) else {
            return false;
        };
        if position.ends.is_some() {
            return true;
        }
        let result = match self.consumer.ends(wait) {
            Ok(ends) if ends.is_empty() && self.may_be_there(Instant::now()) => {
                Err(format!("topic {FMAASEVENTS} seems not to be there"))
            }
            Ok(ends) => {
                position.ends = Some(ends);
                let stored = parts.subscriptions.set_position(era, position);
                stored.map_err(|error| chain(&error))
            }
            Err(error) => Err(error.to_string()),
        };
        let Err(text) = result else {
            return true;
        };
        if let Some(before) = self.ask_told.pass(Instant::now()) {
            log::warn!(
                "it is not known yet where the event subscriptions begin: {text} ({before} lines about this left out)"
            );
        }
        self.unknown = text;
        false
    }

    /// A broker that has just started may not know its topics for a moment; were that believed, the whole topic would be read.
    fn may_be_there(&mut self, now: Instant) -> bool {
        let since = *self.missing_since.get_or_insert(now);
        now.saturating_duration_since(since) < KAFKA_NO_TOPIC_TIME
    }

    fn health(&self, parts: &KafkaConsumer, config: &ConsumerConfig) -> (State, String) {
        let error = self.consumer.last_error();
        let brokers = self.consumer.brokers();
        let Some(member) = &self.member else {
            let why = if error.is_empty() {
                &self.unknown
            } else {
                &error
            };
            let why = match why.is_empty() {
                true => format!("{brokers} has not said yet where topic {FMAASEVENTS} ends"),
                false => format!("{brokers} does not say where topic {FMAASEVENTS} ends: {why}"),
            };
            let next = "CIM asks until it does, records wait in Kafka";
            return (State::NotReady, reason(&why, next));
        };
        if self.consumer.brokers_down() {
            let why = format!("no broker of {brokers} is there: {error}");
            let next = "CIM tries until one is, records wait in Kafka";
            return (State::NotReady, reason(&why, next));
        }
        let group = &config.group;
        let (why, next) = match member.partitions() {
            _ if member.lacks_topic() => (
                format!("topic {FMAASEVENTS} is not there yet in the Kafka of {brokers}"),
                "it is read from its beginning once it is made",
            ),
            None => (
                format!("consumer group {group} at {brokers} has given no partitions yet {error}"),
                "CIM waits for them, records wait in Kafka",
            ),
            Some(0) => (
                format!("another consumer of group {group} has all partitions of {FMAASEVENTS}"),
                "this one takes over when that ends: is there a second CIM of this pod's name?",
            ),
            Some(_) if member.is_held() && !parts.notifier.is_heard() => (
                "nobody is subscribed to EVENT-NOTIFICATION".to_owned(),
                "records wait in Kafka until the application subscribes on NATS",
            ),
            Some(count) => {
                let reason = format!("{count} partitions of {FMAASEVENTS} from {brokers}");
                return (State::Ready, reason);
            }
        };
        (State::NotReady, reason(&why, next))
    }
}
