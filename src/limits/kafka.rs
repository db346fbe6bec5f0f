//! Kafka: producers, and the consumer of notifications.

use std::time::Duration;

/// Time that a record may wait for others of its batch. librdkafka: 5 ms.
pub const KAFKA_LINGER: Duration = Duration::from_millis(5);
/// Bytes of one batch, at first. librdkafka: 1,000,000, just below what brokers take. Halved, down to [`KAFKA_BATCH_BYTES_LEAST`],
/// when a broker refuses batches whose records it takes one by one.
pub const KAFKA_BATCH_BYTES: usize = 1_000_000;
/// See [`KAFKA_BATCH_BYTES`].
pub const KAFKA_BATCH_BYTES_LEAST: usize = 4096;
/// Time in which a broker has to answer before its connection counts as dead. librdkafka: 60 s.
pub const KAFKA_ANSWER_TIME: Duration = Duration::from_secs(30);
/// Time in which the replicas have to have a batch; the leader says when they do not.
pub const KAFKA_ACK_TIME: Duration = Duration::from_secs(20);
const _: () = assert!(KAFKA_ACK_TIME.as_secs() < KAFKA_ANSWER_TIME.as_secs());
/// Time for one connection to a broker, TLS and login included. librdkafka: 30 s.
pub const KAFKA_CONNECT_TIME: Duration = Duration::from_secs(10);
/// The longest time between two tries to connect to a broker.
pub const KAFKA_RECONNECT_LAST: Duration = Duration::from_secs(5);
/// Bytes of a text of librdkafka that are shown.
pub const KAFKA_TEXT_BYTES: usize = 512;
/// Time of one wait for delivery reports: rdkafka waits it to the end. The first one, doubled up to [`KAFKA_POLL_LAST`].
pub const KAFKA_POLL_FIRST: Duration = Duration::from_millis(1);
/// See [`KAFKA_POLL_FIRST`].
pub const KAFKA_POLL_LAST: Duration = Duration::from_millis(20);
/// Looks at librdkafka's queue in one turn; each may bring the reports of a whole batch.
pub const KAFKA_POLLS_A_TURN: usize = 256;

/// Time without an arrival, though something should have arrived, after which an outage of Kafka is told.
pub const KAFKA_OUTAGE: Duration = Duration::from_secs(5);
/// Time between two questions to the brokers while nobody knows whether there is one and nothing is to be sent.
pub const KAFKA_PROBE_PAUSE: Duration = Duration::from_secs(10);
/// Time after which the first one comes.
pub const KAFKA_FIRST_PROBE: Duration = Duration::from_secs(1);
/// Time for the answer to such a question. Nothing else is done meanwhile.
pub const KAFKA_PROBE_TIME: Duration = Duration::from_millis(500);
/// Time without an arrival after which the producer is replaced if a broker answers a question. Doubled after each replacement, up to
/// [`PRODUCER_STALL_LAST`]: a partition without a leader is not the producer's fault.
pub const PRODUCER_STALL: Duration = Duration::from_secs(60);
/// See [`PRODUCER_STALL`].
pub const PRODUCER_STALL_LAST: Duration = Duration::from_secs(600);
const _: () = assert!(
    PRODUCER_STALL.as_secs() > KAFKA_ANSWER_TIME.as_secs() + KAFKA_CONNECT_TIME.as_secs(),
    "librdkafka gives a dead connection up by itself first"
);
/// Time in which the last reports of a producer that is replaced may come: each that does saves a double.
pub const KAFKA_LAST_REPORTS: Duration = Duration::from_millis(100);
/// Time between two tries to make a producer, or to send what Kafka does not take now: the first one, doubled up to
/// [`KAFKA_RETRY_LAST`].
pub const KAFKA_RETRY_FIRST: Duration = Duration::from_millis(200);
/// See [`KAFKA_RETRY_FIRST`].
pub const KAFKA_RETRY_LAST: Duration = Duration::from_secs(10);
/// Time for which a record alone is tried that a broker refuses without saying whether the record is at fault.
pub const KAFKA_UNCLEAR_TIME: Duration = Duration::from_secs(300);

/// Bytes of records of FMAASEVENTS that are read ahead; a fetch may go beyond it by what it brings.
pub const KAFKA_CONSUMER_BYTES: usize = 2 << 20;
/// Records that are read ahead before the next fetch waits: each takes some 300 bytes in librdkafka besides its own.
pub const KAFKA_CONSUMER_RECORDS: usize = 1000;
/// Time between two looks whether the next fetch has to wait any longer. librdkafka: 1 s, in which nothing comes.
pub const KAFKA_CONSUMER_FULL_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of one fetch, if it is more than one record. Not below librdkafka's `message.max.bytes`, which it insists upon.
pub const KAFKA_FETCH_BYTES: usize = 1 << 20;
/// Bytes of one partition in it, if it is more than one record.
pub const KAFKA_FETCH_PARTITION_BYTES: usize = 256 << 10;
const _: () = assert!(KAFKA_FETCH_BYTES <= KAFKA_CONSUMER_BYTES);
/// Time between two questions which partitions FMAASEVENTS has, and whether it is there.
pub const KAFKA_CONSUMER_REFRESH: Duration = Duration::from_secs(10);
/// Time for the answer to one question of the consumer, which nothing is done for meanwhile.
pub const KAFKA_CONSUMER_ASK: Duration = Duration::from_secs(1);
/// Time for all questions that come before partitions are begun.
pub const KAFKA_ASSIGN_TIME: Duration = Duration::from_secs(2);
/// Time for which brokers have to say that FMAASEVENTS is not there before that is believed.
pub const KAFKA_NO_TOPIC_TIME: Duration = Duration::from_millis(300);
/// Time between two commits of what is delivered: what may come twice after kill -9.
pub const KAFKA_COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// Time without a further commit after which it is asked whether the last one has worked.
pub const KAFKA_COMMIT_CHECK: Duration = Duration::from_secs(2);
/// Consumers that were given up and whose threads have not ended: beyond them the next one is waited for.
pub const KAFKA_CONSUMERS_CLOSING: usize = 4;
/// Time for which the consumer simply waits when a record finds no room, before it tells Kafka to send no more.
pub const KAFKA_HOLD_TIME: Duration = Duration::from_millis(500);
/// Records that are looked at before what else has happened is.
pub const KAFKA_RECORDS_A_TURN: usize = 256;
/// Time that notifications on their way have to be delivered, and their offsets to be committed, when the consumer stops; the rest
/// comes again.
pub const KAFKA_CONSUMER_STOP_TIME: Duration = Duration::from_secs(2);
/// The same when partitions go to another consumer of the group, which waits for it.
pub const KAFKA_REVOKE_TIME: Duration = Duration::from_secs(1);
/// Pause before a consumer that has failed is replaced: the first one, doubled up to [`KAFKA_CONSUMER_RETRY_LAST`].
pub const KAFKA_CONSUMER_RETRY_FIRST: Duration = Duration::from_secs(1);
/// See [`KAFKA_CONSUMER_RETRY_FIRST`].
pub const KAFKA_CONSUMER_RETRY_LAST: Duration = Duration::from_secs(30);
/// Pause before brokers that did not answer are asked again where an era begins: the first one, doubled up to [`KAFKA_ENDS_RETRY_LAST`].
pub const KAFKA_ENDS_RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`KAFKA_ENDS_RETRY_FIRST`].
pub const KAFKA_ENDS_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time between two looks of the consumer at what it depends on, and at what librdkafka has to say, while nothing comes.
pub const KAFKA_CONSUMER_LOOK: Duration = Duration::from_secs(1);
