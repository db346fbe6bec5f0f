//! Settings -> librdkafka's: what CIM's guarantees need, what the operator may say besides (`CIM_KAFKA_OPTS`), and what not.
//!
//! An option that only producers or only consumers know is passed to both: librdkafka ignores it where it means nothing.

mod consumer;
mod producer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::error::OptionError;
use crate::limits;
use crate::secret::Secret;

pub use consumer::ConsumerConfig;
pub use producer::{Pace, ProducerConfig};

/// What every client has.
fn common(brokers: &[String], client_id: Option<&str>) -> ClientConfig {
    let mut client = ClientConfig::new();
    let mut set = |key: &str, value: &str| {
        client.set(key, value);
    };
    set("metadata.broker.list", &brokers.join(","));
    set("client.id", client_id.unwrap_or("cim"));
    set("socket.keepalive.enable", "true");
    set("socket.timeout.ms", &millis(limits::KAFKA_ANSWER_TIME));
    set(
        "socket.connection.setup.timeout.ms",
        &millis(limits::KAFKA_CONNECT_TIME),
    );
    set(
        "reconnect.backoff.max.ms",
        &millis(limits::KAFKA_RECONNECT_LAST),
    );
    // An idle connection that the broker closes is no news, and nobody asked for CIM's inner figures.
    set("log.connection.close", "false");
    set("enable.metrics.push", "false");
    client.set_log_level(log_level());
    client
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// librdkafka's lines are CIM's own at the same level; `debug` is what the option of that name asks for.
fn log_level() -> RDKafkaLogLevel {
    match log::max_level() {
        log::LevelFilter::Off | log::LevelFilter::Error => RDKafkaLogLevel::Error,
        log::LevelFilter::Warn => RDKafkaLogLevel::Warning,
        log::LevelFilter::Info => RDKafkaLogLevel::Info,
        log::LevelFilter::Debug | log::LevelFilter::Trace => RDKafkaLogLevel::Debug,
    }
}

/// The one name of an option that has two: were both set, chance would decide.
fn canonical(key: &str) -> &str {
    match key {
        "bootstrap.servers" => "metadata.broker.list",
        "max.in.flight" => "max.in.flight.requests.per.connection",
        "linger.ms" => "queue.buffering.max.ms",
        "retries" => "message.send.max.retries",
        "compression.type" => "compression.codec",
        "acks" => "request.required.acks",
        "delivery.timeout.ms" => "message.timeout.ms",
        "sasl.mechanism" => "sasl.mechanisms",
        "max.partition.fetch.bytes" => "fetch.message.max.bytes",
        key => key,
    }
}

/// Why an option of this (canonical) name is refused.
fn refusal(key: &str) -> Option<&'static str> {
    Some(match key {
        "metadata.broker.list" => {
            "the brokers come from CIM_KAFKA_BROKERS or from kafka_brokers in common-infra.json"
        }
        "enable.idempotence" | "enable.gapless.guarantee" | "queuing.strategy" => {
            "events would lose their order, or come twice"
        }
        "queue.buffering.backpressure.threshold" => "no idempotent producer takes it",
        "request.required.acks" => "only what all replicas have counts as delivered",
        "message.timeout.ms" | "message.send.max.retries" => {
            "events would be lost in a long outage"
        }
        "transactional.id" | "transaction.timeout.ms" => "CIM uses no transactions",
        "group.id" | "group.instance.id" => "the consumer group is called after the pod",
        "group.protocol" | "group.remote.assignor" | "partition.assignment.strategy" => {
            "CIM takes and leaves partitions all at one time"
        }
        "enable.auto.commit"
        | "auto.commit.enable"
        | "enable.auto.offset.store"
        | "offset.store.method"
        | "auto.offset.reset" => "notifications would be lost, or come twice",
        "enable.partition.eof" => "CIM has no use for it",
        "allow.auto.create.topics" => "whoever writes a topic makes it",
        "delivery.report.only.error" => "the journal is freed by the delivery reports",
        "plugin.library.paths" => "CIM loads no code",
        "test.mock.num.brokers" | "test.mock.broker.rtt" => "events would go nowhere",
        _ => return None,
    })
}

/// Whether these options can be passed through: every key known, every value one that it takes, and none that CIM's guarantees
/// forbid. Connects to nobody.
///
/// # Errors
/// The first option that cannot.
pub fn check_options(opts: &[(String, Secret)]) -> Result<(), OptionError> {
    for (key, value) in opts {
        let refused = |why| OptionError::Refused {
            key: key.clone(),
            why,
        };
        if let Some(why) = refusal(canonical(key)) {
            return Err(refused(why));
        }
        if key == "partitioner" && value.reveal() == "random" {
            return Err(refused("events would lose their order"));
        }
        let mut one = ClientConfig::new();
        one.set(key, value.reveal());
        match one.create_native_config().err() {
            None => {}
            Some(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                return Err(OptionError::Unknown { key: key.clone() });
            }
            // A value with a NUL, too.
            Some(_) => return Err(OptionError::Value { key: key.clone() }),
        }
    }
    Ok(())
}

/// What must not be shown: the values of the options that may be passwords.
#[derive(Debug, Clone, Default)]
pub(in crate::kafka) struct Mask(Vec<Secret>);

impl Mask {
    /// For the options `opts`.
    pub fn new(opts: &[(String, Secret)]) -> Self {
        let secret = ["password", "secret", "pem", "key", "config", "username"];
        let is_secret = |key: &str| secret.iter().any(|part| key.contains(part));
        let values = opts
            .iter()
            .filter(|(key, value)| is_secret(key) && !value.reveal().is_empty())
            .map(|(_, value)| value.clone());
        Self(values.collect())
    }

    /// `text` on one line, cut, and without what must not be shown.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.reveal(), "***");
        }
        let text = crate::settings::problem::escaped(&text);
        crate::settings::problem::cut(&text, limits::KAFKA_TEXT_BYTES).to_owned()
    }
}
