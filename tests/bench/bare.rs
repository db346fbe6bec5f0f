//! A bare producer of librdkafka: what the broker and this machine can do, in the same run.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::generator::Times;
use crate::lines::Lines;

/// Its topic.
pub const TOPIC: &str = "BARE";
/// Records before the first row.
const WARM_UP: u64 = 500_000;
/// Time that the last reports may take.
const LIMIT: Duration = Duration::from_secs(60);

/// As safe as CIM's, with the same linger and the same batches.
pub fn producer(brokers: &str) -> BaseProducer {
    let linger = cim::limits::KAFKA_LINGER.as_millis().to_string();
    let batch = cim::limits::KAFKA_BATCH_BYTES.to_string();
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("message.timeout.ms", "0"),
        ("linger.ms", &linger),
        ("batch.size", &batch),
    ] {
        config.set(name, value);
    }
    let producer: BaseProducer = config.create().unwrap();
    // Connected, and the topic made, before time is taken.
    producer
        .send(BaseRecord::<(), _>::to(TOPIC).payload("warm-up"))
        .unwrap();
    producer.flush(LIMIT).unwrap();
    producer
}

/// The broker's compiler has seen what is to come: whoever were first would measure that too.
pub fn warm_up(brokers: &str) {
    flat_out(&producer(brokers), &Lines::new(1), WARM_UP);
}

/// Sends all lines as fast as they are taken; how long until all were acknowledged.
pub fn flat_out(producer: &BaseProducer, lines: &Lines, total: u64) -> Duration {
    let mut line = Numbered::new(lines);
    let begin = Instant::now();
    for number in 0..total {
        let bytes = line.numbered(number);
        while !send(producer, bytes) {
            producer.poll(Duration::from_millis(1));
        }
        if number % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LIMIT).unwrap();
    begin.elapsed()
}

/// Sends `rate` lines a second.
pub fn paced(
    producer: &BaseProducer,
    lines: &Lines,
    total: u64,
    rate: u64,
    tick: Duration,
    times: &Times,
) {
    let mut line = Numbered::new(lines);
    let begin = Instant::now();
    let mut sent = 0;
    while sent < total {
        let due = (begin.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64 + 1;
        while sent < due.min(total) {
            times.set(0, sent..sent + 1);
            assert!(send(producer, line.numbered(sent)), "the queue is large");
            sent += 1;
        }
        producer.poll(Duration::ZERO);
        std::thread::sleep(tick);
    }
    producer.flush(LIMIT).unwrap();
}

fn send(producer: &BaseProducer, bytes: &[u8]) -> bool {
    match producer.send(BaseRecord::<(), _>::to(TOPIC).payload(bytes)) {
        Ok(()) => true,
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => false,
        Err((error, _)) => panic!("{error}"),
    }
}

/// A line of connection 0, of which only the digits change.
struct Numbered {
    bytes: Vec<u8>,
    at: std::ops::Range<usize>,
}

impl Numbered {
    fn new(lines: &Lines) -> Self {
        Self {
            bytes: lines.first(0),
            at: lines.number_at(),
        }
    }

    fn numbered(&mut self, number: u64) -> &[u8] {
        crate::lines::write_digits(&mut self.bytes[self.at.clone()], number);
        &self.bytes
    }
}
