//! The thread `event-sender` with a journal made of a vector, and librdkafka's mock brokers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use cim::events::delivery::Journal;
use cim::events::journal::{Kind, Record};
use cim::health::{Health, Part, State};
use cim::identity::{Current, Host, Identity};
use cim::interrupt::{Interrupter, interrupt};
use cim::kafka::Compression;
use cim::metrics::Metrics;
use cim::options::{KafkaOptions, Names};
use cim::secret::Secret;
use cim::settings::{Settings, Store};
use cim::threads::event_sender::EventSender;
use cim::threads::spawn::NOTICES;
use cim::wire::{EventFields, encode_event};
use crossbeam_channel::{Receiver, Sender, bounded};
use flatbuffers::FlatBufferBuilder;
use prometheus::IntCounterVec;
use servers::{BrokerError, Consumed, MockKafka};
use support::{PATIENCE, eventually};

const OK: BrokerError = BrokerError::RD_KAFKA_RESP_ERR_NO_ERROR;
const TOO_LARGE: BrokerError = BrokerError::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
const STORED_MS: u64 = 1_767_225_600_000;

#[derive(Default)]
struct Stored {
    records: Vec<Record>,
    read: usize,
    acked: u64,
    /// So many calls fail.
    failing: u32,
}

/// A journal in memory; clones are the same one.
#[derive(Clone, Default)]
struct TestJournal(Arc<Mutex<Stored>>);

impl TestJournal {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap()
    }

    fn fails(&self) -> io::Result<()> {
        let mut stored = self.stored();
        if stored.failing > 0 {
            stored.failing -= 1;
            return Err(io::Error::other("on purpose"));
        }
        Ok(())
    }
}

impl Journal for TestJournal {
    type Error = io::Error;

    fn next(&mut self) -> Result<Option<Record>, io::Error> {
        self.fails()?;
        let mut stored = self.stored();
        let next = stored.records.get(stored.read).cloned();
        stored.read += usize::from(next.is_some());
        Ok(next)
    }

    fn rewind(&mut self) {
        let mut stored = self.stored();
        let acked = stored.acked;
        stored.read = stored.records.iter().filter(|r| r.seq <= acked).count();
    }

    fn ack(&mut self, seq: u64) -> Result<(), io::Error> {
        self.fails()?;
        let mut stored = self.stored();
        assert!(seq >= stored.acked, "{seq} after {}", stored.acked);
        stored.acked = seq;
        Ok(())
    }
}

/// What was set aside: the payload and why.
type Aside = Arc<Mutex<Vec<(Vec<u8>, String)>>>;

struct Rig {
    journal: TestJournal,
    fresh: Sender<()>,
    aside: Aside,
    settings: Arc<Store>,
    identity: Arc<Current>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: Interrupter,
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

struct Start<'a> {
    brokers: Vec<String>,
    opts: &'a [(&'a str, &'a str)],
    pod: Option<&'a str>,
    settled: bool,
    /// Events that are in the journal at the start.
    events: u64,
    stop_time: Duration,
}

impl Default for Start<'_> {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            opts: &[],
            pod: Some("cnf-0"),
            settled: true,
            events: 0,
            stop_time: PATIENCE,
        }
    }
}

fn with_brokers(brokers: Vec<String>) -> Settings {
    let mut settings = Settings::default();
    settings.infra.kafka_brokers = brokers;
    settings
}

fn event(name: &str) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let fields = EventFields {
        event_name: name.as_bytes(),
        event_time: 1_000,
        ..EventFields::default()
    };
    encode_event(&fields, &mut builder);
    builder.finished_data().to_vec()
}

fn opts(list: &[(&str, &str)]) -> KafkaOptions {
    let opt = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    KafkaOptions {
        compression: Compression::None,
        opts: list.iter().map(opt).collect(),
    }
}

impl Rig {
    fn start(start: Start<'_>) -> Self {
        let names = Names {
            pod: start.pod.map(str::to_owned),
            namespace: Some("ns1".to_owned()),
            ..Names::default()
        };
        let (identity, _) = Identity::resolve(&names, &Host::default());
        let (fresh, fresh_in): (_, Receiver<()>) = bounded(1);
        let (stop, interrupt) = interrupt();
        let mut rig = Self {
            journal: TestJournal::default(),
            fresh,
            aside: Aside::default(),
            settings: Arc::new(Store::new(with_brokers(start.brokers))),
            identity: Arc::new(Current::new(identity, start.settled)),
            health: Arc::new(Health::new()),
            metrics: Arc::new(Metrics::new("cnf-0").unwrap()),
            stop,
            dir: tempfile::tempdir().unwrap(),
            thread: None,
        };
        for n in 1..=start.events {
            rig.store(Kind::Event, event(&format!("e{n}")));
        }
        let aside = Arc::clone(&rig.aside);
        let sender = EventSender {
            journal: rig.journal.clone(),
            fresh: fresh_in,
            set_aside: Box::new(move |refused| {
                assert_eq!(refused.topic, "EVENT");
                let kept = (refused.payload.to_vec(), refused.reason.to_owned());
                aside.lock().unwrap().push(kept);
            }),
            interrupt,
            settings: Arc::clone(&rig.settings),
            identity: Arc::clone(&rig.identity),
            kafka: opts(start.opts),
            log_dir: rig.dir.path().to_owned(),
            stop_time: start.stop_time,
            health: Arc::clone(&rig.health),
            metrics: Arc::clone(&rig.metrics),
        };
        rig.thread = Some(sender.spawn(&bounded(NOTICES).0).unwrap());
        rig
    }

    fn kafka(kafka: &MockKafka, events: u64, opts: &[(&str, &str)]) -> Self {
        Self::start(Start {
            brokers: kafka.bootstrap(),
            opts,
            events,
            ..Start::default()
        })
    }

    fn store(&self, kind: Kind, payload: Vec<u8>) {
        let mut stored = self.journal.stored();
        let seq = stored.records.len() as u64 + 1;
        stored.records.push(Record {
            seq,
            time_ms: STORED_MS,
            kind,
            payload,
        });
        drop(stored);
        let _ = self.fresh.try_send(());
    }

    fn events(&self, names: std::ops::RangeInclusive<u64>) {
        names.for_each(|n| self.store(Kind::Event, event(&format!("e{n}"))));
    }

    #[track_caller]
    fn acked(&self, seq: u64) {
        eventually(PATIENCE, || self.journal.stored().acked == seq);
    }

    fn count(&self, counter: &IntCounterVec, labels: &[&str]) -> u64 {
        counter.with_label_values(labels).get()
    }

    fn delivered(&self, sink: &str) -> u64 {
        self.count(&self.metrics.events.delivered, &[sink])
    }

    fn replaced(&self, reason: &str) -> u64 {
        let replaced = &self.metrics.events.producers_replaced;
        self.count(replaced, &["EVENT", reason])
    }

    fn set_aside(&self, reason: &str) -> u64 {
        self.count(&self.metrics.events.set_aside, &["EVENT", reason])
    }

    fn state(&self) -> (State, String) {
        let parts = self.health.report().parts;
        let part = parts.into_iter().find(|p| p.part == Part::Kafka).unwrap();
        (part.state, part.reason)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("cnf-0_ns1_events.jsonl")
    }

    /// Stops the thread and waits for its end.
    fn stop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

fn name(json: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    json["eventName"].as_str().unwrap().to_owned()
}

fn names(records: &[Consumed]) -> Vec<String> {
    records.iter().map(|record| name(&record.value)).collect()
}

fn expected(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("e{n}")).collect()
}

#[test]
fn events_arrive_in_order_for_each_key_and_free_the_journal() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 3);
    let mut rig = Rig::kafka(&kafka, 200, &[]);
    for n in 201..=400u64 {
        if n % 2 == 0 {
            rig.events(n..=n);
        } else {
            let own = format!(r#"{{"eventName":"e{n}"}}"#);
            rig.store(Kind::Raised, own.into_bytes());
        }
    }
    rig.acked(400);
    let records = kafka.consume("EVENT", 400, PATIENCE);
    assert_eq!(records.len(), 400);
    let (own, others): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| record.key.as_deref() == Some(b"EVENT"));
    assert_eq!(names(&own), expected((201..400).step_by(2)));
    assert_eq!(
        names(&others),
        expected((1..=200).chain((202..=400).step_by(2)))
    );
    assert!(own.iter().all(|r| r.timestamp_ms == Some(STORED_MS as i64)));
    assert!(others.iter().all(|r| r.timestamp_ms == Some(1_000)));
    // The MD5 of `::`: no network function is known here.
    let key = b"4501c091b0366d76ea3218b6cfdd8097";
    assert!(others.iter().all(|r| r.key.as_deref() == Some(key)));
    assert_eq!((rig.delivered("kafka"), rig.delivered("file")), (400, 0));
    let events = &rig.metrics.events;
    assert_eq!(rig.count(&events.sent, &["kafka"]), 400);
    assert_eq!(rig.count(&events.retried, &["kafka"]), 0);
    eventually(PATIENCE, || rig.state().0 == State::Ready);
    rig.stop();
}

#[test]
fn brokers_that_are_away_at_the_start_are_said_and_waited_for() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    kafka.down();
    let mut rig = Rig::kafka(&kafka, 50, &[]);
    eventually(PATIENCE, || {
        let (state, reason) = rig.state();
        state == State::NotReady && reason.contains("does not take events")
    });
    assert_eq!(rig.delivered("kafka"), 0);
    kafka.up();
    rig.acked(50);
    assert_eq!(rig.state().0, State::Ready);
    assert_eq!(
        names(&kafka.consume("EVENT", 50, PATIENCE)),
        expected(1..=50)
    );
    assert_eq!(rig.replaced("stalled") + rig.replaced("failed"), 0);
    rig.stop();
}

#[test]
fn brokers_that_are_away_are_said_though_nothing_is_to_be_sent() {
    let kafka = MockKafka::start();
    let rig = Rig::kafka(&kafka, 0, &[]);
    eventually(PATIENCE, || rig.state().0 == State::Ready);
    kafka.down();
    eventually(PATIENCE, || rig.state().0 == State::NotReady);
    kafka.up();
    eventually(PATIENCE, || rig.state().0 == State::Ready);
}

#[test]
fn passing_troubles_of_brokers_cost_neither_an_event_nor_the_order() {
    let kafka = MockKafka::brokers(3);
    kafka.create_topic("EVENT", 1);
    let opts = [("batch.num.messages", "20")];
    kafka.refuse(&[
        OK,
        BrokerError::RD_KAFKA_RESP_ERR__TRANSPORT,
        BrokerError::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        BrokerError::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        OK,
        BrokerError::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ]);
    let rig = Rig::kafka(&kafka, 300, &opts);
    rig.acked(300);
    let records = kafka.consume("EVENT", 300, PATIENCE);
    assert_eq!(names(&records), expected(1..=300));
}

#[test]
fn an_event_larger_than_kafka_takes_is_set_aside_and_the_next_ones_arrive() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    let rig = Rig::kafka(&kafka, 10, &[("message.max.bytes", "2000")]);
    rig.store(Kind::Event, event(&"x".repeat(3000)));
    rig.store(Kind::Event, b"no event".to_vec());
    rig.store(Kind::Event, Vec::new());
    rig.events(11..=20);
    rig.acked(23);
    let records = kafka.consume("EVENT", 20, PATIENCE);
    assert_eq!(names(&records), expected(1..=20));
    let aside = rig.aside.lock().unwrap();
    assert_eq!(name(&aside[0].0), "x".repeat(3000));
    assert!(aside[0].1.contains("too large"), "{}", aside[0].1);
    assert_eq!(
        (&aside[1].0[..], &aside[2].0[..]),
        (&b"no event"[..], &b""[..])
    );
    assert_eq!(
        (rig.set_aside("too_large"), rig.set_aside("malformed")),
        (1, 2)
    );
    assert_eq!(rig.delivered("kafka"), 20);
    assert_eq!(rig.replaced("refused"), 0, "no broker was bothered");
}

#[test]
fn the_event_that_a_broker_refuses_is_found_and_set_aside_and_the_others_arrive_in_order() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    // One batch with all ten; then the third one alone is refused.
    kafka.refuse(&[TOO_LARGE, OK, OK, TOO_LARGE]);
    let mut rig = Rig::kafka(&kafka, 10, &[("linger.ms", "500")]);
    rig.acked(10);
    rig.events(11..=20);
    rig.acked(20);
    let records = kafka.consume("EVENT", 19, PATIENCE);
    assert_eq!(names(&records), expected([1, 2].into_iter().chain(4..=20)));
    let aside = rig.aside.lock().unwrap().clone();
    assert_eq!(aside.len(), 1);
    assert_eq!(name(&aside[0].0), "e3");
    assert_eq!(
        (rig.replaced("refused"), rig.set_aside("too_large")),
        (1, 1)
    );
    assert_eq!(rig.delivered("kafka"), 19);
    rig.stop();
}

#[test]
fn a_batch_whose_events_are_taken_one_by_one_costs_none_of_them() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    kafka.refuse(&[TOO_LARGE]);
    let rig = Rig::kafka(&kafka, 10, &[("linger.ms", "200")]);
    rig.acked(10);
    rig.events(11..=15);
    rig.acked(15);
    let records = kafka.consume("EVENT", 15, PATIENCE);
    assert_eq!(names(&records), expected(1..=15));
    assert!(rig.aside.lock().unwrap().is_empty());
    assert_eq!(rig.replaced("refused"), 1);
}

#[test]
fn an_event_whose_time_kafka_refuses_arrives_with_another_time() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    let time = BrokerError::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
    kafka.refuse(&[time, time]);
    let rig = Rig::kafka(&kafka, 1, &[]);
    rig.acked(1);
    let records = kafka.consume("EVENT", 1, PATIENCE);
    assert_eq!(records.len(), 1);
    assert!(records[0].timestamp_ms.unwrap() > STORED_MS as i64 / 2);
    assert!(rig.aside.lock().unwrap().is_empty());
}

#[test]
fn a_producer_that_fails_is_replaced_and_nothing_is_lost() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    // The head of the line is out of order: librdkafka gives up.
    kafka.refuse(&[
        OK,
        BrokerError::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    ]);
    let opts = [("batch.num.messages", "5"), ("max.in.flight", "1")];
    let rig = Rig::kafka(&kafka, 40, &opts);
    rig.acked(40);
    let records = kafka.consume("EVENT", 40, PATIENCE);
    assert_eq!(names(&records), expected(1..=40));
    assert_eq!(rig.replaced("failed"), 1);
    assert!(rig.aside.lock().unwrap().is_empty());
    assert!(rig.count(&rig.metrics.events.retried, &["kafka"]) > 0);
}

#[test]
fn who_may_not_write_waits_until_it_may() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    let denied = BrokerError::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    kafka.refuse(&[denied, denied, denied]);
    let rig = Rig::kafka(&kafka, 5, &[]);
    rig.acked(5);
    assert_eq!(names(&kafka.consume("EVENT", 5, PATIENCE)), expected(1..=5));
    assert!(rig.aside.lock().unwrap().is_empty());
}

#[test]
fn without_kafka_events_are_lines_of_a_file_beside_the_logs() {
    let mut rig = Rig::start(Start {
        events: 30,
        ..Start::default()
    });
    // In a pod it is not known yet whether there is a Kafka.
    eventually(PATIENCE, || rig.state().1.contains("wait in the journal"));
    assert_eq!(rig.journal.stored().read, 0);
    rig.settings.put_infra(b"{}").unwrap();
    rig.acked(30);
    rig.store(Kind::Raised, br#"{"eventName":"e31"}"#.to_vec());
    rig.acked(31);
    let text = fs::read_to_string(rig.file()).unwrap();
    let lines: Vec<_> = text.lines().map(|line| name(line.as_bytes())).collect();
    assert_eq!(lines, expected(1..=31));
    assert_eq!((rig.delivered("file"), rig.delivered("kafka")), (31, 0));
    let (state, reason) = rig.state();
    assert_eq!(state, State::Disabled);
    assert!(reason.contains("_events.jsonl"), "{reason}");
    rig.stop();
}

#[test]
fn standalone_needs_to_know_nothing_and_its_file_rotates() {
    let mut rig = Rig::start(Start {
        pod: None,
        ..Start::default()
    });
    let mut settings = with_brokers(Vec::new());
    settings.cim.lmaas.max_file_size_in_mb = 1;
    rig.settings.replace(settings);
    let big = "x".repeat(300_000);
    for n in 1..=8 {
        rig.store(Kind::Event, event(&format!("{big}{n}")));
    }
    rig.acked(8);
    rig.stop();
    let mut files: Vec<_> = fs::read_dir(rig.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // The file itself behind its backups: `-` is before `.`.
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    let is = |path: &PathBuf, end: &str| path.to_string_lossy().ends_with(end);
    assert!(is(&files[0], ".log_bkp") && is(&files[2], "_ns1_events.jsonl"));
    let all: String = files
        .iter()
        .map(|f| fs::read_to_string(f).unwrap())
        .collect();
    let names: Vec<_> = all.lines().map(|line| name(line.as_bytes())).collect();
    let expected: Vec<_> = (1..=8).map(|n| format!("{big}{n}")).collect();
    assert!(names == expected, "not all, or not in order");
}

#[test]
fn a_file_that_cannot_be_written_leaves_events_in_the_journal() {
    let rig = Rig::start(Start {
        pod: Some("cnf-0"),
        settled: false,
        events: 3,
        ..Start::default()
    });
    rig.settings.put_infra(b"{}").unwrap();
    // A directory has the file's name.
    fs::create_dir_all(rig.file()).unwrap();
    rig.identity.settle();
    let sent = &rig.metrics.events.sent;
    eventually(PATIENCE, || rig.count(sent, &["file"]) == 3);
    assert_eq!(rig.journal.stored().acked, 0);
    fs::remove_dir(rig.file()).unwrap();
    rig.acked(3);
    assert_eq!(fs::read_to_string(rig.file()).unwrap().lines().count(), 3);
}

#[test]
fn events_wait_until_it_is_known_who_this_sidecar_is() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    let rig = Rig::start(Start {
        brokers: kafka.bootstrap(),
        settled: false,
        events: 1,
        ..Start::default()
    });
    let identity = Identity {
        microservice: Some("ms1".into()),
        ..Identity::clone(&rig.identity.load())
    };
    rig.identity.store(identity);
    assert_eq!(rig.journal.stored().read, 0);
    rig.identity.settle();
    rig.acked(1);
    let records = kafka.consume("EVENT", 1, PATIENCE);
    assert!(records[0].text().contains(r#""microservice":"ms1""#));
}

#[test]
fn brokers_may_appear_change_and_go_while_cim_runs() {
    let (first, second) = (MockKafka::start(), MockKafka::start());
    first.create_topic("EVENT", 1);
    second.create_topic("EVENT", 1);
    let rig = Rig::start(Start {
        events: 3,
        ..Start::default()
    });
    rig.settings.replace(with_brokers(first.bootstrap()));
    rig.acked(3);
    rig.settings.replace(with_brokers(second.bootstrap()));
    rig.stop.wake();
    eventually(PATIENCE, || rig.state().1.contains(&second.bootstrap()[0]));
    rig.events(4..=6);
    rig.acked(6);
    rig.settings.put_infra(b"{}").unwrap();
    rig.settings.replace(with_brokers(Vec::new()));
    eventually(PATIENCE, || rig.state().0 == State::Disabled);
    rig.events(7..=9);
    rig.acked(9);
    assert_eq!(names(&first.consume("EVENT", 3, PATIENCE)), expected(1..=3));
    assert_eq!(
        names(&second.consume("EVENT", 3, PATIENCE)),
        expected(4..=6)
    );
    assert_eq!(fs::read_to_string(rig.file()).unwrap().lines().count(), 3);
}

#[test]
fn the_stop_delivers_what_is_left() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    kafka.delay(Duration::from_millis(50));
    let mut rig = Rig::kafka(&kafka, 5000, &[]);
    rig.stop();
    assert_eq!(rig.journal.stored().acked, 5000);
    let records = kafka.consume("EVENT", 5000, PATIENCE);
    assert_eq!(names(&records), expected(1..=5000));
}

#[test]
fn the_stop_waits_no_longer_than_it_may_and_the_rest_stays_in_the_journal() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    kafka.down();
    let mut rig = Rig::start(Start {
        brokers: kafka.bootstrap(),
        events: 5,
        stop_time: Duration::from_millis(300),
        ..Start::default()
    });
    let sent = &rig.metrics.events.sent;
    eventually(PATIENCE, || rig.count(sent, &["kafka"]) == 5);
    rig.stop();
    assert_eq!(rig.journal.stored().acked, 0);
}

#[test]
fn a_journal_that_fails_for_a_while_costs_nothing() {
    let kafka = MockKafka::start();
    kafka.create_topic("EVENT", 1);
    let rig = Rig::start(Start {
        brokers: kafka.bootstrap(),
        settled: false,
        events: 20,
        ..Start::default()
    });
    rig.journal.stored().failing = 3;
    rig.identity.settle();
    rig.acked(20);
    rig.journal.stored().failing = 2;
    rig.events(21..=30);
    rig.acked(30);
    let records = kafka.consume("EVENT", 30, PATIENCE);
    assert_eq!(names(&records), expected(1..=30));
}
