//! Kafka in this process: librdkafka's mock brokers on loopback, and a consumer that reads what has arrived. CIM in a process of its
//! own may use them too. They check neither sequence numbers nor sizes: refusals are injected.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use socket2::{Domain, Socket, Type};

/// Errors of brokers, for [`MockKafka::refuse`].
pub use rdkafka::types::RDKafkaRespErr as BrokerError;

/// A record as a consumer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub timestamp_ms: Option<i64>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Consumed {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// The brokers. Not to be sent to another thread.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    /// Holds the ports while nobody listens: were one taken meanwhile, librdkafka would abort the process.
    held: RefCell<Vec<Socket>>,
}

impl MockKafka {
    /// One broker.
    pub fn start() -> Self {
        Self::brokers(1)
    }

    pub fn brokers(count: i32) -> Self {
        let cluster = MockCluster::new(count).unwrap();
        Self {
            cluster,
            held: RefCell::default(),
        }
    }

    /// `host:port` of each broker.
    pub fn bootstrap(&self) -> Vec<String> {
        let list = self.cluster.bootstrap_servers();
        list.split(',').map(str::to_owned).collect()
    }

    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.cluster.create_topic(topic, partitions, 1).unwrap();
    }

    /// Every connection is closed, and no new one taken.
    pub fn down(&self) {
        self.cluster.broker_down(-1).unwrap();
        for address in self.bootstrap() {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            // Its listener may live on for a moment, and the test goes on without if it does for long.
            if (0..1000).any(|_| {
                let bound = socket.bind(&address.into()).is_ok();
                if !bound {
                    std::thread::sleep(Duration::from_millis(1));
                }
                bound
            }) {
                self.held.borrow_mut().push(socket);
            }
        }
    }

    pub fn up(&self) {
        self.held.borrow_mut().clear();
        self.cluster.broker_up(-1).unwrap();
    }

    /// Answers take that long.
    pub fn delay(&self, time: Duration) {
        self.cluster.broker_round_trip_time(-1, time).unwrap();
    }

    /// The next requests to produce get these answers, one each; `RD_KAFKA_RESP_ERR_NO_ERROR`: the request is served, `…__TRANSPORT`:
    /// the connection is closed.
    pub fn refuse(&self, answers: &[RDKafkaRespErr]) {
        let produce = RDKafkaApiKey::Produce;
        self.cluster.request_errors(produce, answers);
    }

    /// From now on every request is served again.
    pub fn refuse_no_more(&self) {
        self.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    }

    /// What is in the topic once there are `count` records; panics when there are fewer after `limit`. In order within a partition.
    #[track_caller]
    pub fn consume(&self, topic: &str, count: usize, limit: Duration) -> Vec<Consumed> {
        let start = Instant::now();
        let mut reader = self.reader(topic);
        while reader.records.len() < count {
            assert!(
                start.elapsed() < limit,
                "{} of {count} records after {limit:?}",
                reader.records.len()
            );
            reader.read(Duration::from_millis(100));
        }
        // What is there besides.
        reader.read_to_end();
        reader.records
    }

    /// A consumer of all partitions, from the beginning.
    pub fn reader(&self, topic: &str) -> Reader {
        Reader::new(&self.cluster.bootstrap_servers(), topic)
    }
}

/// Reads a topic.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    pub records: Vec<Consumed>,
}

impl Reader {
    pub fn new(bootstrap: &str, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "20")
            .create()
            .unwrap();
        let limit = Duration::from_secs(20);
        let metadata = consumer.fetch_metadata(Some(topic), limit).unwrap();
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition_offset(topic, partition.id(), Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        Self {
            consumer,
            topic: topic.to_owned(),
            records: Vec::new(),
        }
    }

    /// Waits for one record, and takes those behind it.
    pub fn read(&mut self, wait: Duration) {
        let mut next = self.consumer.poll(wait);
        while let Some(message) = next {
            if let Ok(message) = message {
                let headers = message.headers().into_iter().flat_map(|h| h.iter());
                let headers = headers.map(|header| {
                    let value = header.value.unwrap_or_default().to_vec();
                    (header.key.to_owned(), value)
                });
                self.records.push(Consumed {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().unwrap_or_default().to_vec(),
                    timestamp_ms: message.timestamp().to_millis(),
                    headers: headers.collect(),
                });
            }
            next = self.consumer.poll(Duration::ZERO);
        }
    }

    /// Reads up to what is the end now.
    pub fn read_to_end(&mut self) {
        let limit = Duration::from_secs(20);
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), limit);
        let ends: HashMap<i32, i64> = metadata.unwrap().topics()[0]
            .partitions()
            .iter()
            .map(|partition| {
                let id = partition.id();
                let marks = self.consumer.fetch_watermarks(&self.topic, id, limit);
                (id, marks.unwrap().1)
            })
            .collect();
        let start = Instant::now();
        while (self.records.len() as i64) < ends.values().sum() {
            assert!(start.elapsed() < limit, "the end of {ends:?} did not come");
            self.read(Duration::from_millis(50));
        }
    }
}
