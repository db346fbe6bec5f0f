//! The consumer as a member of its group: partitions come and go, records are judged and handed over in their order, offsets follow
//! what is delivered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::KafkaConsumer;
use crate::chain::chain;
use crate::kafka::{
    Commit, Commits, Consumer, FMAASEVENTS, Failure, Hold, Holding, Known, Ledger, Offsets, Polled,
    Record, RequestError, Start,
};
use crate::limits::{
    KAFKA_ASSIGN_TIME, KAFKA_COMMIT_INTERVAL, KAFKA_CONSUMER_ASK, KAFKA_CONSUMER_LOOK,
    KAFKA_RECORDS_A_TURN, KAFKA_REVOKE_TIME,
};
use crate::logs::throttle::Throttle;
use crate::subscriptions::{Decision, Position};

/// Why a consumer is of no use any more.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The value of the label `reason`; one of a few.
    pub label: &'static str,
    pub text: String,
}

impl From<RequestError> for Trouble {
    fn from(error: RequestError) -> Self {
        Self {
            label: "request",
            text: error.to_string(),
        }
    }
}

/// A record that finds no room, or no ear.
struct InHand {
    partition: i32,
    offset: i64,
    value: Vec<u8>,
}

/// See the module.
pub(super) struct Member {
    era: u64,
    /// Partitions that are assigned; `None`: the group has not given any yet, or has taken them away.
    partitions: Option<usize>,
    lacks_topic: bool,
    hand: Option<InHand>,
    holding: Holding,
    commits: Commits,
    /// What could not be stored.
    unsaved: Option<Position>,
    save_at: Instant,
    too_large: Throttle,
    failures: Throttle,
}

impl Member {
    pub fn new(era: u64, now: Instant) -> Self {
        Self {
            era,
            partitions: None,
            lacks_topic: false,
            hand: None,
            holding: Holding::default(),
            commits: Commits::default(),
            unsaved: None,
            save_at: now,
            too_large: Throttle::default(),
            failures: Throttle::default(),
        }
    }

    /// How many the group has given; `None`: it has not said.
    pub fn partitions(&self) -> Option<usize> {
        self.partitions
    }

    /// Topic FMAASEVENTS is not there.
    pub fn lacks_topic(&self) -> bool {
        self.lacks_topic
    }

    /// A record waits.
    pub fn is_held(&self) -> bool {
        self.hand.is_some()
    }

    /// Does what can be done now; how long it may wait then.
    pub fn turn(
        &mut self,
        consumer: &Consumer,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
        now: Instant,
    ) -> Result<Duration, Trouble> {
        let mut pause = self.save(parts, now);
        pause = pause.min(self.read(consumer, ledger, parts, now)?);
        Ok(pause.min(self.commit(consumer, ledger, now)?))
    }

    /// Takes what Kafka has; how long it may wait then.
    fn read(
        &mut self,
        consumer: &Consumer,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
        now: Instant,
    ) -> Result<Duration, Trouble> {
        for _ in 0..KAFKA_RECORDS_A_TURN {
            self.offer(ledger, parts);
            match self.holding.look(self.is_held(), now) {
                Hold::Wait(left) => return Ok(left),
                Hold::Pause => consumer.pause()?,
                Hold::Resume => consumer.resume()?,
                Hold::Paused | Hold::Read => {}
            }
            match consumer.poll() {
                Polled::Nothing => return Ok(KAFKA_CONSUMER_LOOK),
                Polled::Record(record) => self.take(&record, ledger, parts)?,
                Polled::Assigned(partitions) => {
                    self.assigned(&partitions, consumer, ledger, parts)?;
                }
                Polled::Revoked => self.revoked(consumer, ledger, parts)?,
                Polled::Failed(Failure::Fatal(label, text)) => {
                    return Err(Trouble { label, text });
                }
                Polled::Failed(Failure::NoTopic) => self.lacks_topic = true,
                Polled::Failed(Failure::Passing(text)) => self.complain(&text),
            }
        }
        Ok(Duration::ZERO)
    }

    /// Judges a record by its headers, and hands it over when it is wanted.
    fn take(
        &mut self,
        record: &Record<'_>,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
    ) -> Result<(), Trouble> {
        let (partition, offset) = (record.partition(), record.offset());
        if self.is_held() {
            // It is read again by the next consumer.
            let text = "a record came though none was asked for".to_owned();
            let label = "order";
            return Err(Trouble { label, text });
        }
        let matcher = parts.subscriptions.matcher();
        if parts.subscriptions.era() != Some(self.era) {
            // The matcher may be that of the next era, which is not to get it.
            return Ok(());
        }
        let bytes = record.value().len();
        let reason = match matcher.decide(record.headers()) {
            Decision::Deliver if bytes <= parts.notifier.bytes_max() => {
                self.hand = Some(InHand {
                    partition,
                    offset,
                    value: record.value().to_vec(),
                });
                return Ok(());
            }
            Decision::Deliver => {
                if let Some(before) = self.too_large.pass(Instant::now()) {
                    let most = parts.notifier.bytes_max();
                    log::warn!(
                        "the record of {FMAASEVENTS} in partition {partition} at offset {offset} is not delivered: it has {bytes} bytes, and NATS takes {most} ({before} lines about this left out)"
                    );
                }
                "too_large"
            }
            Decision::NoMatch => "no_match",
            Decision::Replay => "replay",
        };
        ledger.passed_over(partition, offset);
        let metrics = &parts.metrics.notifications;
        metrics.consumed.inc();
        metrics.skipped.with_label_values(&[reason]).inc();
        Ok(())
    }

    /// Hands over the record that waits, if somebody hears it and there is room.
    fn offer(&mut self, ledger: &mut Ledger, parts: &mut KafkaConsumer) {
        let Some(mut hand) = self.hand.take_if(|_| parts.notifier.is_heard()) else {
            return;
        };
        match parts.notifier.send(hand.value) {
            Ok(number) => {
                ledger.handed_over(hand.partition, hand.offset, number);
                parts.metrics.notifications.consumed.inc();
            }
            Err(value) => {
                hand.value = value;
                self.hand = Some(hand);
            }
        }
    }

    /// Begins partitions where the era, or what was committed since, says. Nothing of them is read before that is committed, and
    /// known to be so after a restart.
    fn assigned(
        &mut self,
        partitions: &[i32],
        consumer: &Consumer,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
    ) -> Result<(), Trouble> {
        let Some(mut position) = parts.subscriptions.position(self.era) else {
            // This consumer is about to be closed.
            return Ok(consumer.unassign()?);
        };
        let rebalances = &parts.metrics.notifications.rebalances;
        let count = partitions.len();
        rebalances
            .with_label_values(&["assigned"])
            .inc_by(count as u64);
        let end = Instant::now() + KAFKA_ASSIGN_TIME;
        let left = || end.saturating_duration_since(Instant::now());
        let joined = position.joined;
        let committed = if joined && count > 0 {
            consumer.committed(partitions.iter().copied(), left())?
        } else {
            Offsets::new()
        };
        let ends = position.ends.get_or_insert_default();
        let starts: BTreeMap<i32, Start> = partitions
            .iter()
            .map(|partition| {
                let known = Known {
                    era: ends.get(partition).copied(),
                    committed: committed.get(partition).copied(),
                    handed_over: ledger.next(*partition),
                };
                (*partition, known.start(joined))
            })
            .collect();
        for partition in starts.iter().filter(|(_, start)| **start == Start::End) {
            let partition = partition.0;
            log::warn!(
                "Kafka has forgotten how far partition {partition} of {FMAASEVENTS} was delivered: it goes on at its end"
            );
        }
        let starts = consumer.resolve(&starts, left())?;
        ledger.assigned(&starts);
        if !starts.is_empty() {
            let mut offsets = ledger.to_commit();
            if !joined {
                // What the group has committed in an earlier era must not count in this one.
                for (partition, end) in &*ends {
                    offsets.entry(*partition).or_insert(*end);
                }
            }
            commit_now(&offsets, consumer, ledger, left())?;
        }
        consumer.assign(&starts)?;
        for (partition, start) in starts {
            ends.entry(partition).or_insert(start);
        }
        position.joined |= count > 0;
        self.unsaved = Some(position);
        self.save_at = Instant::now();
        self.save(parts, self.save_at);
        self.partitions = Some(count);
        self.lacks_topic &= count == 0;
        log::info!("{count} partitions of {FMAASEVENTS} are assigned");
        Ok(())
    }

    /// Gives all partitions back, once what is under way of them is delivered and committed, or that takes too long.
    fn revoked(
        &mut self,
        consumer: &Consumer,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
    ) -> Result<(), Trouble> {
        let count = self.partitions.take().unwrap_or(0);
        log::info!("{count} partitions of {FMAASEVENTS} are taken away");
        let rebalances = &parts.metrics.notifications.rebalances;
        rebalances
            .with_label_values(&["revoked"])
            .inc_by(count as u64);
        if let Err(Trouble { text, .. }) = self.settle(consumer, ledger, parts, KAFKA_REVOKE_TIME) {
            self.complain(&text);
        }
        self.holding = Holding::default();
        ledger.revoked();
        Ok(consumer.unassign()?)
    }

    /// Waits until what is under way is delivered and committed. What waits in hand is given up: it is not committed. Records that
    /// come meanwhile are left to the next one.
    pub fn settle(
        &mut self,
        consumer: &Consumer,
        ledger: &mut Ledger,
        parts: &mut KafkaConsumer,
        limit: Duration,
    ) -> Result<(), Trouble> {
        self.hand = None;
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        while parts.notifier.delivered() < parts.notifier.sent() && parts.notifier.is_heard() {
            if parts.notifier.moved().recv_timeout(left()).is_err() {
                break;
            }
        }
        ledger.delivered(parts.notifier.delivered());
        let offsets = ledger.to_commit();
        if offsets.is_empty() {
            return Ok(());
        }
        commit_now(&offsets, consumer, ledger, left().max(limit / 4))
    }

    /// Commits what is delivered, once in a while; how long until then.
    fn commit(
        &mut self,
        consumer: &Consumer,
        ledger: &mut Ledger,
        now: Instant,
    ) -> Result<Duration, Trouble> {
        match self.commits.look(ledger.to_commit(), now) {
            Commit::Wait(pause) => return Ok(pause),
            Commit::Now(offsets) => consumer.commit(&offsets)?,
            Commit::Check(_) if consumer.brokers_down() => {}
            Commit::Check(offsets) => {
                match consumer.committed(offsets.keys().copied(), KAFKA_CONSUMER_ASK) {
                    Ok(committed) => {
                        ledger.committed(&committed);
                        self.commits.again();
                    }
                    Err(error) => self.complain(&error.to_string()),
                }
            }
        }
        Ok(KAFKA_COMMIT_INTERVAL)
    }

    /// Stores what has not been stored yet; how long until the next try.
    fn save(&mut self, parts: &KafkaConsumer, now: Instant) -> Duration {
        let Some(position) = &self.unsaved else {
            return Duration::MAX;
        };
        if now < self.save_at {
            return self.save_at - now;
        }
        match parts.subscriptions.set_position(self.era, position.clone()) {
            Ok(()) => self.unsaved = None,
            Err(error) => self.complain(&chain(&error)),
        }
        self.save_at = now + KAFKA_CONSUMER_LOOK;
        KAFKA_CONSUMER_LOOK
    }

    fn complain(&mut self, text: &str) {
        if let Some(before) = self.failures.pass(Instant::now()) {
            log::warn!("{FMAASEVENTS}: {text} ({before} lines about this left out)");
        }
    }
}

/// Commits `offsets` and makes sure that it has worked.
fn commit_now(
    offsets: &Offsets,
    consumer: &Consumer,
    ledger: &mut Ledger,
    limit: Duration,
) -> Result<(), Trouble> {
    consumer.commit(offsets)?;
    let committed = consumer.committed(ledger.to_commit().into_keys(), limit)?;
    ledger.committed(&committed);
    if ledger.to_commit().is_empty() {
        return Ok(());
    }
    let label = "commit";
    let text = "Kafka does not commit the offsets of the consumer group".to_owned();
    Err(Trouble { label, text })
}
