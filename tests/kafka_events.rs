//! DESIGN 4, events, with a real Kafka: 200,000 at load while the broker is killed, frozen and restarted and CIM is killed. Every acknowledged
//! one arrives, in order; doubles are counted. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::json;
use servers::kafka::{KAFKA_3, Kafka, KafkaOptions};
use support::load::{Tally, event_number, tally};
use support::{Cim, Load, Options, PATIENCE, eventually};
use tempfile::TempDir;

const EVENT: &str = "EVENT";
/// Time for a broker that has been away to take what waits.
const RECOVERY: Duration = PATIENCE.saturating_mul(6);
/// Events that may be on their way to Kafka when CIM is killed.
const IN_FLIGHT: u64 = 4096;

struct Bed {
    kafka: Kafka,
    state: TempDir,
    cim: Cim,
    /// Which events were acknowledged.
    acknowledged: Vec<Range<u64>>,
    begun: Instant,
}

impl Bed {
    fn start(options: KafkaOptions) -> Self {
        let kafka = Kafka::start_with(options);
        let state = tempfile::tempdir().unwrap();
        let cim = start(&kafka, &state);
        Self {
            kafka,
            state,
            cim,
            acknowledged: Vec::new(),
            begun: Instant::now(),
        }
    }

    fn delivered(&self) -> u64 {
        self.cim.metric("cim_events_delivered_total", &[]) as u64
    }

    fn waiting(&self) -> u64 {
        self.cim.metric("cim_journal_records", &[]) as u64
    }

    /// Publishes these events, and does something once half of them are acknowledged.
    #[track_caller]
    fn load(&mut self, numbers: Range<u64>, at_half: impl FnOnce(&mut Self)) {
        let half = numbers.start + (numbers.end - numbers.start) / 2;
        let load = Load::events(self.cim.nats, numbers.clone());
        eventually(RECOVERY, || load.acknowledged() >= half);
        at_half(self);
        eventually(RECOVERY, || {
            load.acknowledged() == numbers.end || load.ended()
        });
        self.acknowledged.push(numbers.start..load.acknowledged());
        load.stop();
        self.say(&format!("{numbers:?} published"));
    }

    fn say(&self, what: &str) {
        eprintln!("{:?} {what}", self.begun.elapsed());
    }

    /// Waits until the journal is empty, and counts what is in Kafka.
    #[track_caller]
    fn tally(&self) -> Tally {
        eventually(RECOVERY, || self.waiting() == 0);
        self.say("delivered");
        let mut reader = self.kafka.reader(EVENT);
        let records = reader.read_to_the_end();
        let numbers: Vec<_> = records.iter().map(|r| event_number(&r.value)).collect();
        let key = |at: usize| &records[at].key;
        assert!((0..records.len()).all(|at| key(at) == key(0)));
        let wanted = |n| self.acknowledged.iter().any(|range| range.contains(&n));
        let tally = tally(&numbers, wanted);
        self.say(&format!("{} records: {tally:?}", numbers.len()));
        let text = self.cim.metrics();
        let ours = |line: &&str| line.starts_with("cim_events") || line.starts_with("cim_kafka");
        text.lines()
            .filter(ours)
            .for_each(|line| eprintln!("{line}"));
        tally
    }
}

fn start(kafka: &Kafka, state: &TempDir) -> Cim {
    let mut options = Options::new()
        .env("CIM_STATE_DIR", state.path())
        .env("CIM_KAFKA_BROKERS", kafka.brokers());
    options.infra_json = Some(json!({}));
    Cim::start(options)
}

/// The whole story: `count` events, and each fault at load.
fn every_outage(options: KafkaOptions, count: u64) {
    let mut bed = Bed::start(options);
    let part = |n: u64| n * count / 5..(n + 1) * count / 5;
    bed.load(part(0), |bed| {
        eventually(PATIENCE, || bed.delivered() > 0);
        bed.kafka.kill();
        bed.say("the broker is killed");
    });
    bed.load(part(1), |bed| {
        bed.kafka.restart();
        bed.say("the broker is there again");
    });
    let before = bed.delivered();
    eventually(RECOVERY, || bed.delivered() > before);
    bed.load(part(2), |bed| {
        bed.kafka.freeze();
        bed.say("the broker is frozen");
    });
    bed.load(part(3), |bed| {
        bed.kafka.thaw();
        bed.say("the broker is thawed");
    });
    let before = bed.delivered();
    eventually(RECOVERY, || bed.delivered() > before);
    bed.load(part(4), |bed| {
        bed.cim.kill9();
        bed.say("CIM is killed");
        bed.cim = start(&bed.kafka, &bed.state);
        bed.say("CIM is there again");
    });
    // What was sent and not acknowledged may be there or not: the numbers go on behind it.
    bed.load(count..count * 11 / 10, |_| {});
    let acknowledged: u64 = bed.acknowledged.iter().map(|r| r.end - r.start).sum();
    eprintln!("{acknowledged} acknowledged");
    assert!(acknowledged >= count * 9 / 10);
    let tally = bed.tally();
    assert_eq!((tally.lost, tally.reordered), (0, 0), "{tally:?}");
    assert!(tally.doubled <= IN_FLIGHT && tally.runs <= 1, "{tally:?}");
    let usage = bed.cim.usage();
    eprintln!("{usage:?}");
}

#[test]
#[ignore = "integration"]
fn with_kafka_every_acknowledged_event_arrives_in_order_through_every_outage() {
    every_outage(KafkaOptions::default(), 200_000);
}

#[test]
#[ignore = "integration"]
fn with_kafka_3_every_acknowledged_event_arrives_in_order_through_every_outage() {
    let options = KafkaOptions {
        version: KAFKA_3,
        ..KafkaOptions::default()
    };
    every_outage(options, 200_000);
}

/// Without a kill of CIM, nothing is there twice: the producer is idempotent, and the same one through every outage of the broker.
#[test]
#[ignore = "integration"]
fn with_kafka_outages_of_the_broker_double_nothing() {
    let mut bed = Bed::start(KafkaOptions::default());
    bed.load(0..50_000, |bed| {
        eventually(PATIENCE, || bed.delivered() > 0);
        bed.kafka.kill();
        bed.kafka.restart();
    });
    let before = bed.delivered();
    eventually(RECOVERY, || bed.delivered() > before || bed.waiting() == 0);
    bed.load(50_000..100_000, |bed| bed.kafka.freeze());
    bed.kafka.thaw();
    assert_eq!(bed.tally(), Tally::default());
    assert_eq!(bed.delivered(), 100_000);
    assert_eq!(bed.cim.metric("cim_events_stored_total", &[]), 100_000.0);
}
