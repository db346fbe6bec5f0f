//! Producers against librdkafka's mock brokers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::time::{Duration, Instant};

use cim::kafka::{
    Compression, Delivery, Outcome, Pace, Producer, ProducerConfig, SendError, Verdict,
};
use cim::limits::KAFKA_BATCH_BYTES;
use cim::options::KafkaOptions;
use cim::secret::Secret;
use servers::{BrokerError, MockKafka, free_port};
use support::PATIENCE;

const BATCHES: Pace = Pace::Batches {
    bytes: KAFKA_BATCH_BYTES,
};

fn config(brokers: &[String], pace: Pace, opts: &[(&str, &str)]) -> ProducerConfig {
    let opt = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    let options = KafkaOptions {
        compression: Compression::None,
        opts: opts.iter().map(opt).collect(),
    };
    ProducerConfig::for_events(brokers, None, &options, pace)
}

fn producer(kafka: &MockKafka, pace: Pace, opts: &[(&str, &str)]) -> Producer {
    Producer::new(&config(&kafka.bootstrap(), pace, opts)).unwrap()
}

/// Polls until there are reports on `count` records.
#[track_caller]
fn reports(producer: &Producer, count: usize) -> Vec<Delivery> {
    let start = Instant::now();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(start.elapsed() < PATIENCE, "only {all:?}");
        let mut some = Vec::new();
        producer.poll(Duration::from_millis(200), &mut some);
        all.extend(some);
    }
    all
}

fn delivered(token: u64) -> Delivery {
    let outcome = Outcome::Delivered;
    Delivery { token, outcome }
}

#[test]
fn records_arrive_with_key_and_time_and_their_tokens_come_back() {
    for (_, codec) in Compression::NAMES {
        let kafka = MockKafka::start();
        kafka.create_topic("T", 1);
        let config = ProducerConfig {
            compression: codec,
            ..config(&kafka.bootstrap(), BATCHES, &[])
        };
        let producer = Producer::new(&config).unwrap();
        for n in 0..100 {
            let value = format!("value {n}");
            producer
                .send("T", Some(b"k"), value.as_bytes(), Some(1_000 + n), n as u64)
                .unwrap();
        }
        producer.send("T", None, b"", None, u64::MAX).unwrap();
        let tokens: Vec<_> = (0..100).chain([u64::MAX]).map(delivered).collect();
        assert_eq!(reports(&producer, 101), tokens);
        assert_eq!(producer.in_flight(), 0);
        let records = kafka.consume("T", 101, PATIENCE);
        assert_eq!(records.len(), 101);
        for (n, record) in records.iter().take(100).enumerate() {
            assert_eq!(record.text(), format!("value {n}"));
            assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
            assert_eq!(record.timestamp_ms, Some(1_000 + n as i64));
        }
        let last = records.last().unwrap();
        assert_eq!((&last.key, last.value.len()), (&None, 0));
        assert!(last.timestamp_ms.unwrap() > 1_700_000_000_000, "now");
    }
}

#[test]
fn brokers_that_are_not_there_yet_are_waited_for() {
    let kafka = MockKafka::start();
    kafka.create_topic("T", 1);
    kafka.down();
    let producer = producer(&kafka, BATCHES, &[]);
    producer.send("T", None, b"x", None, 1).unwrap();
    let start = Instant::now();
    while !producer.brokers_down() {
        assert!(start.elapsed() < PATIENCE);
        let mut none = Vec::new();
        producer.poll(Duration::from_millis(50), &mut none);
        assert_eq!(none, []);
    }
    assert!(!producer.last_error().is_empty());
    assert!(!producer.probe("T", Duration::from_millis(50)));
    kafka.up();
    assert_eq!(reports(&producer, 1), [delivered(1)]);
    assert!(!producer.brokers_down());
    assert!(producer.probe("T", PATIENCE));
}

#[test]
fn a_record_too_large_is_refused_at_once_and_the_others_go_on() {
    let kafka = MockKafka::start();
    let producer = producer(&kafka, BATCHES, &[("message.max.bytes", "2000")]);
    producer.send("T", None, b"before", None, 1).unwrap();
    let error = producer.send("T", None, &[b'x'; 3000], None, 2);
    assert!(
        matches!(error, Err(SendError::Rejected(reason)) if reason.label() == "too_large"),
        "{error:?}"
    );
    producer.send("T", None, b"behind", None, 3).unwrap();
    let mut tokens: Vec<_> = reports(&producer, 2).iter().map(|d| d.token).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 3]);
    assert_eq!(producer.fatal(), None);
}

#[test]
fn the_queue_is_bounded_and_has_room_again_once_reports_are_taken() {
    let kafka = MockKafka::start();
    kafka.create_topic("T", 1);
    let opts = [
        ("queue.buffering.max.kbytes", "8"),
        ("message.max.bytes", "100000"),
    ];
    let producer = producer(&kafka, BATCHES, &opts);
    let value = [b'x'; 1000];
    let mut taken = 0;
    while producer.send("T", None, &value, None, taken) != Err(SendError::Full) {
        taken += 1;
        assert!(taken < 100);
    }
    assert_eq!(taken, 8);
    reports(&producer, 8);
    producer.send("T", None, &value, None, 8).unwrap();
    reports(&producer, 1);
    // It would never have room for this one.
    let error = producer.send("T", None, &[b'x'; 9000], None, 9);
    assert!(matches!(error, Err(SendError::Rejected(_))), "{error:?}");
}

#[test]
fn a_refused_batch_ends_its_producer_and_nothing_behind_it_arrives() {
    let kafka = MockKafka::start();
    kafka.create_topic("T", 1);
    let producer = producer(&kafka, BATCHES, &[("batch.num.messages", "10")]);
    kafka.refuse(&[
        BrokerError::RD_KAFKA_RESP_ERR_NO_ERROR,
        BrokerError::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        BrokerError::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        BrokerError::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
        BrokerError::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    ]);
    for n in 0..50 {
        producer.send("T", None, b"x", None, n).unwrap();
    }
    for report in reports(&producer, 50) {
        let n = report.token;
        match report.outcome {
            Outcome::Delivered => assert!(n < 10),
            Outcome::Rejected(reason) => assert!((10..20).contains(&n) && reason.is_size()),
            Outcome::Retry(_) => assert!(n >= 20),
        }
    }
    let text = producer.fatal().unwrap();
    assert!(text.contains("gap-less"), "{text}");
    let error = producer.send("T", None, b"x", None, 50);
    assert_eq!(error, Err(SendError::Fatal));
    drop(producer);
    assert_eq!(kafka.consume("T", 10, PATIENCE).len(), 10);
}

#[test]
fn a_careful_producer_outlives_the_record_that_is_refused() {
    let kafka = MockKafka::start();
    kafka.create_topic("T", 1);
    let producer = producer(&kafka, Pace::Careful, &[]);
    kafka.refuse(&[
        BrokerError::RD_KAFKA_RESP_ERR_NO_ERROR,
        BrokerError::RD_KAFKA_RESP_ERR_INVALID_RECORD,
        BrokerError::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    ]);
    let mut outcomes = Vec::new();
    for n in 0..4 {
        let start = Instant::now();
        // Not authorised: the topic is in error until librdkafka asks again.
        while let Err(error) = producer.send("T", None, b"x", None, n) {
            assert!(matches!(error, SendError::Retry(_)), "{error:?}");
            assert!(start.elapsed() < PATIENCE);
            producer.probe("T", Duration::from_millis(100));
        }
        outcomes.push(reports(&producer, 1)[0].outcome);
    }
    assert!(
        matches!(
            outcomes[..],
            [Outcome::Delivered, Outcome::Rejected(a), Outcome::Retry(b), Outcome::Delivered]
                if a.label() == "invalid" && b.verdict() == Verdict::Later
        ),
        "{outcomes:?}"
    );
    assert_eq!(producer.fatal(), None);
    assert_eq!(kafka.consume("T", 2, PATIENCE).len(), 2);
}

#[test]
fn passing_troubles_of_brokers_cost_neither_a_record_nor_the_order() {
    let kafka = MockKafka::brokers(3);
    kafka.create_topic("T", 1);
    let producer = producer(&kafka, BATCHES, &[("batch.num.messages", "10")]);
    kafka.refuse(&[
        BrokerError::RD_KAFKA_RESP_ERR_NO_ERROR,
        BrokerError::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        BrokerError::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        BrokerError::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        BrokerError::RD_KAFKA_RESP_ERR__TRANSPORT,
        BrokerError::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ]);
    for n in 0..200u64 {
        let value = n.to_string();
        producer.send("T", None, value.as_bytes(), None, n).unwrap();
    }
    let reports = reports(&producer, 200);
    assert!(reports.iter().all(|r| r.outcome == Outcome::Delivered));
    let values: Vec<_> = kafka.consume("T", 200, PATIENCE);
    let values: Vec<u64> = values.iter().map(|r| r.text().parse().unwrap()).collect();
    let expected: Vec<u64> = (0..200).collect();
    assert_eq!(values, expected);
}

#[test]
fn settings_are_checked_without_a_broker() {
    let nowhere = [format!("127.0.0.1:{}", free_port())];
    Producer::check(&config(&nowhere, BATCHES, &[])).unwrap();
    let good = config(&nowhere, BATCHES, &[("max.in.flight", "5")]);
    Producer::check(&good).unwrap();
    // Each alone is fine; together with what CIM needs it is not.
    let bad = config(&nowhere, BATCHES, &[("max.in.flight", "6")]);
    let error = Producer::check(&bad).unwrap_err().to_string();
    assert!(error.contains("max.in.flight"), "{error}");
    let refused = config(&nowhere, BATCHES, &[("acks", "1")]);
    let error = Producer::check(&refused).unwrap_err().to_string();
    assert!(error.contains("acks cannot be set"), "{error}");
}
