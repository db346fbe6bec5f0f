//! The harness of the real Kafka: a plain producer's records through each kind of outage. `make integration-test` runs this.
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

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use servers::kafka::{KAFKA_3, Kafka, KafkaOptions};
use support::PATIENCE;

const TOPIC: &str = "LOAD";
/// Time for a broker that has been away to take what waits.
const RECOVERY: Duration = PATIENCE.saturating_mul(6);

/// As CIM's own: idempotent, and no time-out ends a record.
fn producer(kafka: &Kafka) -> BaseProducer {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", kafka.brokers().as_str()),
        ("enable.idempotence", "true"),
        ("message.timeout.ms", "0"),
        ("linger.ms", "5"),
        ("reconnect.backoff.max.ms", "200"),
    ] {
        config.set(name, value);
    }
    config.create().unwrap()
}

fn send(producer: &BaseProducer, numbers: std::ops::Range<u32>) {
    for n in numbers {
        let value = n.to_string();
        let mut record = BaseRecord::to(TOPIC).key("key").payload(&value);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    producer.poll(Duration::from_millis(10));
                    record = back;
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        producer.poll(Duration::ZERO);
    }
}

/// Waits until the broker has taken everything.
#[track_caller]
fn delivered(producer: &BaseProducer) {
    let start = Instant::now();
    while producer.in_flight_count() > 0 {
        assert!(start.elapsed() < RECOVERY);
        producer.poll(Duration::from_millis(10));
    }
}

/// The topic has each number below `count` once, in order.
#[track_caller]
fn has_all(kafka: &Kafka, count: u32) {
    let mut reader = kafka.reader(TOPIC);
    let records = reader.read_to_the_end();
    let numbers: Vec<u32> = records.iter().map(|r| r.text().parse().unwrap()).collect();
    let wanted: Vec<u32> = (0..count).collect();
    assert!(numbers == wanted, "{} records", numbers.len());
}

#[test]
#[ignore = "integration"]
fn with_kafka_records_are_read_as_they_were_written() {
    let kafka = Kafka::start();
    // It waits for a topic that is not there yet.
    let mut reader = kafka.reader(TOPIC);
    let producer = producer(&kafka);
    let header = Header {
        key: "name",
        value: Some("value"),
    };
    let record = BaseRecord::to(TOPIC)
        .key("key")
        .payload(&[0xff, 0])
        .timestamp(1_700_000_000_123)
        .headers(OwnedHeaders::new().insert(header));
    producer.send(record).unwrap();
    let record = BaseRecord::<str, str>::to(TOPIC).payload("second");
    producer.send(record).unwrap();
    producer.flush(PATIENCE).unwrap();
    let records = reader.wait_for(2);
    let first = &records[0];
    assert_eq!((first.partition, first.offset), (0, 0));
    assert_eq!(first.key.as_deref(), Some(b"key".as_slice()));
    assert_eq!(first.value, [0xff, 0]);
    assert_eq!(first.timestamp_ms, Some(1_700_000_000_123));
    assert_eq!(first.headers, [("name".to_owned(), b"value".to_vec())]);
    assert_eq!((records[1].key.as_ref(), records[1].offset), (None, 1));
}

#[test]
#[ignore = "integration"]
fn with_kafka_killed_frozen_stopped_and_started_again_every_record_is_there_once() {
    let mut kafka = Kafka::start();
    let producer = producer(&kafka);
    send(&producer, 0..20_000);
    kafka.kill();
    send(&producer, 20_000..30_000);
    assert!(producer.in_flight_count() > 0, "nobody can have taken them");
    kafka.restart();
    delivered(&producer);
    kafka.freeze();
    send(&producer, 30_000..40_000);
    assert!(producer.in_flight_count() > 0, "nobody can have taken them");
    kafka.thaw();
    delivered(&producer);
    kafka.stop();
    send(&producer, 40_000..50_000);
    kafka.restart();
    delivered(&producer);
    has_all(&kafka, 50_000);
}

#[test]
#[ignore = "integration"]
fn with_kafka_of_the_line_before_it_is_the_same() {
    let mut kafka = Kafka::start_with(KafkaOptions {
        version: KAFKA_3,
        ..KafkaOptions::default()
    });
    let producer = producer(&kafka);
    send(&producer, 0..1000);
    delivered(&producer);
    kafka.kill();
    kafka.restart();
    send(&producer, 1000..2000);
    delivered(&producer);
    has_all(&kafka, 2000);
}

#[test]
#[ignore = "integration"]
fn with_kafka_a_topic_has_the_partitions_and_limits_that_were_asked_for() {
    let kafka = Kafka::start_with(KafkaOptions {
        partitions: 3,
        properties: vec!["message.max.bytes=2000".to_owned()],
        ..KafkaOptions::default()
    });
    let producer = producer(&kafka);
    for partition in 0..3 {
        let record = BaseRecord::<str, str>::to(TOPIC)
            .payload("x")
            .partition(partition);
        producer.send(record).unwrap();
    }
    // In a batch with the large one they would be refused too.
    delivered(&producer);
    let large = "x".repeat(3000);
    let record = BaseRecord::<str, str>::to(TOPIC).payload(&large);
    producer.send(record).unwrap();
    delivered(&producer);
    let mut reader = kafka.reader(TOPIC);
    let mut partitions: Vec<i32> = reader.wait_for(3).iter().map(|r| r.partition).collect();
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2]);
    assert_eq!(
        reader.read_to_the_end().len(),
        3,
        "the large one is refused"
    );
}
