//! The servers that CIM talks to: real ones, which a test can kill, freeze and restart, and small stand-ins in this process for
//! tests that need no other program. A test file that has `mod servers;` has `mod support;` too.
//! Each has free ports, and ends with its value.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod app;
pub mod collector;
pub mod endpoint;
pub mod etcd;
pub mod fmaas;
pub mod gateway;
pub mod h2c;
pub mod kafka;
pub mod kafka_reader;
pub mod kube;
pub mod mock_kafka;
pub mod process;
pub mod prometheus;
pub mod recorder;
pub mod scene;
pub mod store;
pub mod syslog;
pub mod tmaas;

pub use app::{Behaviour, Reply, ReplyStatus, TestApp};
pub use collector::Collector;
pub use endpoint::Endpoint;
pub use etcd::{Etcd, EtcdOptions, Found};
pub use gateway::EtcdGateway;
pub use kafka::{Kafka, KafkaOptions};
pub use kafka_reader::{Consumed, Reader};
pub use kube::Kube;
pub use mock_kafka::{BrokerError, MockKafka};
pub use prometheus::Prometheus;
pub use recorder::Recorder;
pub use store::Change;
pub use syslog::Syslog;

pub use crate::support::free_port;

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// An address of loopback.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Bytes as the gateway has them.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A member with bytes; an absent one is empty.
#[track_caller]
pub fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

/// A member with a text.
#[track_caller]
pub fn text(value: &Value) -> String {
    String::from_utf8_lossy(&bytes(value)).into_owned()
}

/// A member with a 64-bit number, a text or not; an absent one is 0.
#[track_caller]
pub fn number(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        Value::Number(number) => number.as_i64().unwrap(),
        _ => 0,
    }
}

/// The first key beyond those that begin with `prefix`, which ends with an ASCII character.
pub fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    end
}
