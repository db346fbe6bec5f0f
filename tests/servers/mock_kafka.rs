//! Kafka in this process: librdkafka's mock brokers on loopback. CIM in a process of its
//! own may use them too. They check neither sequence numbers nor sizes: refusals are injected.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::kafka_reader::{Consumed, Reader};
use crate::support::forks;

/// Errors of brokers, for [`MockKafka::refuse`].
pub use rdkafka::types::RDKafkaRespErr as BrokerError;

/// The brokers. Not to be sent to another thread.
pub struct MockKafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl MockKafka {
    /// One broker.
    pub fn start() -> Self {
        Self::brokers(1)
    }

    pub fn brokers(count: i32) -> Self {
        let cluster = MockCluster::new(count).unwrap();
        Self { cluster }
    }

    /// `host:port` of each broker.
    pub fn bootstrap(&self) -> Vec<String> {
        let list = self.cluster.bootstrap_servers();
        list.split(',').map(str::to_owned).collect()
    }

    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.cluster.create_topic(topic, partitions, 1).unwrap();
    }

    /// Every connection is closed, and no new one taken. librdkafka binds the ports again at once, and aborts the process when it cannot.
    pub fn down(&self) {
        forks::no_child_holds(|| self.cluster.broker_down(-1).unwrap());
    }

    pub fn up(&self) {
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

    /// Whether commits of consumer groups fail.
    pub fn refuse_commits(&self, refuse: bool) {
        let commit = RDKafkaApiKey::OffsetCommit;
        self.cluster.clear_request_errors(commit);
        if refuse {
            let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
            self.cluster.request_errors(commit, &[error; 1000]);
        }
    }

    /// The next member of a consumer group that says that it lives is told that another one has its name.
    pub fn fence(&self) {
        let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
        self.cluster
            .request_errors(RDKafkaApiKey::Heartbeat, &[fenced]);
    }

    /// What is in the topic once there are `count` records; panics when none comes for `limit`. In order within a partition.
    #[track_caller]
    pub fn consume(&self, topic: &str, count: usize, limit: Duration) -> Vec<Consumed> {
        let mut reader = self.reader(topic);
        reader.wait_for_within(limit, count);
        // What is there besides.
        reader.read_to_the_end().to_vec()
    }

    /// A consumer of all partitions, from the beginning.
    pub fn reader(&self, topic: &str) -> Reader {
        Reader::of(&self.cluster.bootstrap_servers(), topic)
    }
}
