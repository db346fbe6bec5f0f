//! The thread `kafka-consumer` with a real Kafka: what a mock does not know of topics that are made, brokers that are killed and groups
//! with several members. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::health::State;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use servers::fmaas::{Rig, Writer};
use servers::{Kafka, KafkaOptions};
use support::{PATIENCE, eventually};

const E1: &str = r#"{"localEventName":["E1"]}"#;
/// Time for a broker that has been away, or a group that is shared anew.
const RECOVERY: Duration = PATIENCE.saturating_mul(6);

fn with_partitions(partitions: u32) -> Kafka {
    Kafka::start_with(KafkaOptions {
        partitions,
        ..KafkaOptions::default()
    })
}

fn sorted(mut values: Vec<String>) -> Vec<u32> {
    let mut numbers: Vec<u32> = values.drain(..).map(|n| n.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Waits for these numbers, each once.
#[track_caller]
fn gets(rig: &Rig, count: u32) {
    eventually(RECOVERY, || rig.got().len() >= count as usize);
    rig.quiet();
    let expected: Vec<u32> = (0..count).collect();
    assert!(sorted(rig.got()) == expected, "{:?}", sorted(rig.got()));
}

/// Another member of the group, which commits what it has got.
struct Foreigner {
    got: Arc<Mutex<Vec<String>>>,
    is_leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Foreigner {
    fn joins(brokers: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "cnf-0")
            .set("auto.offset.reset", "error")
            .create()
            .unwrap();
        consumer.subscribe(&["FMAASEVENTS"]).unwrap();
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let is_leaving = Arc::new(AtomicBool::new(false));
        let (all, leaving) = (Arc::clone(&got), Arc::clone(&is_leaving));
        let thread = std::thread::spawn(move || {
            while !leaving.load(SeqCst) {
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                    let text = String::from_utf8_lossy(message.payload().unwrap());
                    all.lock().unwrap().push(text.into_owned());
                }
            }
            // Its end commits and leaves the group.
        });
        Self {
            got,
            is_leaving,
            thread,
        }
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }

    fn leaves(self) -> Vec<String> {
        self.is_leaving.store(true, SeqCst);
        self.thread.join().unwrap();
        let got = self.got.lock().unwrap();
        got.clone()
    }
}

#[test]
#[ignore = "integration"]
fn with_kafka_a_topic_that_is_missing_at_first_and_a_broker_that_is_killed_cost_nothing() {
    let mut kafka = with_partitions(3);
    let brokers = [kafka.brokers()];
    let mut rig = Rig::with_options(&brokers, &[]);
    rig.start();
    rig.answered(E1, PATIENCE);
    assert_eq!(rig.position().ends.map(|ends| ends.len()), Some(0));
    eventually(PATIENCE, || rig.state().1.contains("is not there yet"));
    let writer = Writer::new(&brokers);
    writer.numbers(0..100);
    gets(&rig, 100);
    kafka.kill();
    eventually(RECOVERY, || rig.state().0 == State::NotReady);
    kafka.restart();
    writer.numbers(100..200);
    gets(&rig, 200);
    eventually(RECOVERY, || rig.state().0 == State::Ready);
    kafka.freeze();
    // So long it stands still, which nobody is told.
    std::thread::sleep(Duration::from_secs(3));
    kafka.thaw();
    writer.numbers(200..300);
    gets(&rig, 300);
    rig.stop();
    writer.numbers(300..400);
    // The coordinator still knows this member: it waits for nobody.
    let start = Instant::now();
    rig.start();
    gets(&rig, 400);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
#[ignore = "integration"]
fn with_kafka_the_end_of_a_topic_is_where_an_era_begins() {
    let kafka = with_partitions(3);
    let brokers = [kafka.brokers()];
    let writer = Writer::new(&brokers);
    writer.numbers(1000..1100);
    let mut rig = Rig::with_options(&brokers, &[]);
    rig.start();
    rig.answered(E1, PATIENCE);
    writer.numbers(0..50);
    let ends: i64 = rig.position().ends.unwrap().values().sum();
    assert_eq!(ends, 100);
    gets(&rig, 50);
    rig.unsubscribe();
    writer.numbers(2000..2100);
    rig.answered(E1, PATIENCE);
    writer.numbers(50..100);
    gets(&rig, 100);
}

#[test]
#[ignore = "integration"]
fn with_kafka_another_member_of_the_group_takes_its_share_and_gives_it_back() {
    let kafka = with_partitions(6);
    let brokers = [kafka.brokers()];
    let writer = Writer::new(&brokers);
    writer.numbers(9000..9100);
    let mut rig = Rig::with_options(&brokers, &[("heartbeat.interval.ms", "200")]);
    rig.start();
    rig.answered(E1, PATIENCE);
    writer.numbers(0..500);
    gets(&rig, 500);
    let foreigner = Foreigner::joins(&brokers[0]);
    let mut next = 500;
    // Both have a share once both get something new.
    let start = Instant::now();
    while foreigner.got().is_empty() {
        assert!(start.elapsed() < RECOVERY);
        writer.numbers(next..next + 20);
        next += 20;
        std::thread::sleep(Duration::from_millis(50));
    }
    eventually(PATIENCE, || rig.state().1.contains("3 partitions"));
    writer.numbers(next..next + 200);
    next += 200;
    let all = |foreigner: &Foreigner| -> BTreeSet<u32> {
        sorted([rig.got(), foreigner.got()].concat())
            .into_iter()
            .collect()
    };
    eventually(RECOVERY, || all(&foreigner).len() >= next as usize);
    let theirs = foreigner.leaves();
    writer.numbers(next..next + 200);
    next += 200;
    eventually(RECOVERY, || rig.state().1.contains("6 partitions"));
    eventually(RECOVERY, || rig.got().len() + theirs.len() >= next as usize);
    rig.quiet();
    let (ours, theirs) = (sorted(rig.got()), sorted(theirs));
    let once: BTreeSet<u32> = ours.iter().copied().collect();
    assert_eq!(once.len(), ours.len(), "nothing comes twice");
    let both: BTreeSet<u32> = once.into_iter().chain(theirs).collect();
    assert!(both == (0..next).collect(), "{} of {next}", both.len());
    let rebalances = &rig.metrics.notifications.rebalances;
    let revoked = rebalances.with_label_values(&["revoked"]).get();
    assert_eq!(revoked, 9, "all six, then the three that were left");
}
