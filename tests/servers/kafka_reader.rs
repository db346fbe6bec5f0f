//! What is in a Kafka topic, read by a plain consumer: of a real broker or of librdkafka's own mock.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::PATIENCE;

/// A record as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub timestamp_ms: Option<i64>,
    /// In their order; without a value: empty.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Consumed {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// Reads one topic from its beginning, and keeps all that it has read.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    records: Vec<Consumed>,
}

impl Reader {
    /// Reads all `partitions` of a topic, which need not exist yet.
    pub fn new(brokers: &str, topic: &str, partitions: u32) -> Self {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", brokers),
            ("group.id", "tests"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "true"),
            ("fetch.wait.max.ms", "20"),
            ("fetch.error.backoff.ms", "50"),
            ("topic.metadata.refresh.interval.ms", "500"),
            ("reconnect.backoff.max.ms", "200"),
        ] {
            config.set(name, value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment
                .add_partition_offset(topic, partition as i32, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&assignment).unwrap();
        Self {
            consumer,
            topic: topic.to_owned(),
            records: Vec::new(),
        }
    }

    /// Reads all partitions of a topic that exists.
    pub fn of(brokers: &str, topic: &str) -> Self {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()
            .unwrap();
        let metadata = client.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = metadata.topics()[0].partitions().len();
        Self::new(brokers, topic, partitions as u32)
    }

    /// Everything read so far: by partition in its order, across partitions in none.
    pub fn records(&self) -> &[Consumed] {
        &self.records
    }

    /// Reads until `count` records are there; more may be.
    #[track_caller]
    pub fn wait_for(&mut self, count: usize) -> &[Consumed] {
        self.wait_for_within(PATIENCE, count)
    }

    /// As [`Reader::wait_for`]; the limit is on the time without a new record.
    #[track_caller]
    pub fn wait_for_within(&mut self, limit: Duration, count: usize) -> &[Consumed] {
        let mut last = Instant::now();
        while self.records.len() < count {
            if self.poll(Duration::from_millis(100)) {
                last = Instant::now();
            }
            assert!(
                last.elapsed() < limit,
                "{} records of {count} in topic {}",
                self.records.len(),
                self.topic
            );
        }
        &self.records
    }

    /// Reads up to what is in the topic now.
    #[track_caller]
    pub fn read_to_the_end(&mut self) -> &[Consumed] {
        let assignment = self.consumer.assignment().unwrap();
        let mut count = 0;
        for partition in assignment.elements() {
            let marks =
                self.consumer
                    .fetch_watermarks(&self.topic, partition.partition(), PATIENCE);
            let (low, high) = marks.unwrap();
            count += (high - low) as usize;
        }
        self.wait_for(count)
    }

    /// Waits for a record, and takes those behind it.
    pub fn read(&mut self, wait: Duration) {
        let mut found = self.poll(wait);
        while found {
            found = self.poll(Duration::ZERO);
        }
    }

    /// Takes the next record; false when there is none for now.
    fn poll(&mut self, time: Duration) -> bool {
        // An outage is over sooner or later; what does not come is said by the limit of whoever waits.
        let Some(Ok(message)) = self.consumer.poll(time) else {
            return false;
        };
        let headers = message.headers().into_iter().flat_map(|all| all.iter());
        let record = Consumed {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            timestamp_ms: message.timestamp().to_millis(),
            headers: headers
                .map(|header| {
                    let value = header.value.unwrap_or_default().to_vec();
                    (header.key.to_owned(), value)
                })
                .collect(),
        };
        self.records.push(record);
        true
    }
}
