//! Log lines to Kafka whose brokers are not there: each try to reach them leaves nothing behind, for an outage may last.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use cim::kafka::{Compression, Pace, ProducerConfig};
use cim::limits::KAFKA_BATCH_BYTES;
use cim::logs::remote::kafka::{BatchBytes, KafkaLogs};
use cim::options::KafkaOptions;
use servers::{free_port, loopback};
use support::{PATIENCE, eventually};

/// Threads of librdkafka in this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("rdk:")).count()
}

#[test]
fn a_failed_try_leaves_no_thread_behind() {
    let options = KafkaOptions {
        compression: Compression::None,
        opts: Vec::new(),
    };
    let pace = Pace::Batches {
        bytes: KAFKA_BATCH_BYTES,
    };
    let brokers = [loopback(free_port()).to_string()];
    let config = ProducerConfig::for_events(&brokers, None, &options, pace);
    let tried = KafkaLogs::connect(config, "cnf-0", BatchBytes::default());
    assert!(tried.is_err(), "nobody is there");
    eventually(PATIENCE, || threads() == 0);
}
