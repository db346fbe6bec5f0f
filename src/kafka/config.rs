//! The settings of a producer: what CIM's guarantees need, what the operator may say besides (`CIM_KAFKA_OPTS`), and what not.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::Compression;
use super::error::OptionError;
use crate::limits;
use crate::options::KafkaOptions;
use crate::secret::Secret;

/// How records travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// In batches, several on their way at one time. A batch that a broker will never take ends the producer
    /// (`enable.gapless.guarantee`): nothing behind it is delivered, so order is kept.
    Batches {
        /// Bytes of one batch that has more than one record.
        bytes: usize,
    },
    /// In batches; what a broker will never take is given up, and what is behind it goes on.
    Lenient {
        /// Bytes of one batch that has more than one record.
        bytes: usize,
    },
    /// One record a request, one request at a time, no lingering: whoever sends one record and waits for its report knows
    /// which one Kafka does not take.
    Careful,
}

/// What a producer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// `kafka_client_id`; `cim` when there is none.
    pub client_id: Option<String>,
    /// `CIM_KAFKA_COMPRESSION`.
    pub compression: Compression,
    /// `CIM_KAFKA_OPTS`: these win, but for those that [`check_options`] refuses.
    pub opts: Vec<(String, Secret)>,
    /// Records that may wait in the producer or be on their way.
    pub queue_records: usize,
    /// Bytes of their values; librdkafka rounds up to KiB.
    pub queue_bytes: usize,
    /// Time that a record may wait for others of its batch.
    pub linger: Duration,
    /// How records travel.
    pub pace: Pace,
}

impl ProducerConfig {
    /// With the bounds for events.
    pub fn for_events(
        brokers: &[String],
        client_id: Option<&str>,
        options: &KafkaOptions,
        pace: Pace,
    ) -> Self {
        Self {
            brokers: brokers.to_vec(),
            client_id: client_id.map(str::to_owned),
            compression: options.compression,
            opts: options.opts.clone(),
            queue_records: limits::EVENTS_IN_FLIGHT,
            queue_bytes: limits::EVENT_BYTES_IN_FLIGHT,
            linger: limits::KAFKA_LINGER,
            pace,
        }
    }

    /// As librdkafka has it.
    ///
    /// # Errors
    /// The first option that cannot be passed through.
    pub(super) fn client_config(&self) -> Result<ClientConfig, OptionError> {
        check_options(&self.opts)?;
        let mut client = ClientConfig::new();
        let mut set = |key: &str, value: &str| {
            client.set(key, value);
        };
        let millis = |time: Duration| time.as_millis().to_string();
        set("metadata.broker.list", &self.brokers.join(","));
        set("client.id", self.client_id.as_deref().unwrap_or("cim"));
        set("compression.codec", self.compression.name());
        set("enable.idempotence", "true");
        set("request.required.acks", "all");
        // No record is ever given up for its age.
        set("message.timeout.ms", "0");
        set(
            "queue.buffering.max.messages",
            &self.queue_records.to_string(),
        );
        set(
            "queue.buffering.max.kbytes",
            &self.queue_bytes.div_ceil(1024).to_string(),
        );
        match self.pace {
            Pace::Batches { bytes } => {
                set("enable.gapless.guarantee", "true");
                set("queue.buffering.max.ms", &millis(self.linger));
                set("batch.size", &bytes.to_string());
            }
            Pace::Lenient { bytes } => {
                set("queue.buffering.max.ms", &millis(self.linger));
                set("batch.size", &bytes.to_string());
            }
            Pace::Careful => {
                set("queue.buffering.max.ms", "0");
                set("batch.num.messages", "1");
                set("max.in.flight.requests.per.connection", "1");
            }
        }
        set("socket.keepalive.enable", "true");
        set("socket.timeout.ms", &millis(limits::KAFKA_ANSWER_TIME));
        set("request.timeout.ms", &millis(limits::KAFKA_ACK_TIME));
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
        for (key, value) in &self.opts {
            let fixed = self.pace == Pace::Careful && CAREFUL.contains(&canonical(key));
            if !fixed {
                set(canonical(key), value.reveal());
            }
        }
        client.set_log_level(log_level());
        Ok(client)
    }
}

/// What makes [`Pace::Careful`] careful.
const CAREFUL: [&str; 3] = [
    "queue.buffering.max.ms",
    "batch.num.messages",
    "max.in.flight.requests.per.connection",
];

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
pub(super) struct Mask(Vec<Secret>);

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

#[cfg(test)]
mod tests {
    use super::*;

    fn opts(list: &[(&str, &str)]) -> Vec<(String, Secret)> {
        let opt = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
        list.iter().map(opt).collect()
    }

    fn config(list: &[(&str, &str)], pace: Pace) -> ProducerConfig {
        let options = KafkaOptions {
            compression: Compression::Zstd,
            opts: opts(list),
        };
        let brokers = ["a:1".to_owned(), "b:2".to_owned()];
        ProducerConfig::for_events(&brokers, None, &options, pace)
    }

    #[test]
    fn options_that_break_a_guarantee_or_are_wrong_are_refused_and_name_the_key_alone() {
        for (key, value) in [
            ("enable.idempotence", "false"),
            ("enable.gapless.guarantee", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("message.timeout.ms", "5000"),
            ("delivery.timeout.ms", "5000"),
            ("retries", "1"),
            ("transactional.id", "t"),
            ("queuing.strategy", "lifo"),
            ("queue.buffering.backpressure.threshold", "10"),
            ("delivery.report.only.error", "true"),
            ("bootstrap.servers", "evil:9092"),
            ("metadata.broker.list", "evil:9092"),
            ("partitioner", "random"),
            ("plugin.library.paths", "/tmp/x.so"),
            ("test.mock.num.brokers", "3"),
        ] {
            let error = check_options(&opts(&[(key, value)])).unwrap_err();
            assert!(matches!(&error, OptionError::Refused { .. }), "{error}");
            assert_eq!(error.key(), key);
        }
        let unknown = check_options(&opts(&[("lingering.ms", "hunter2")])).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "librdkafka knows no option lingering.ms"
        );
        for (key, value) in [
            ("linger.ms", "hunter2"),
            ("linger.ms", "-1"),
            ("compression.type", "hunter2"),
            ("client.id", "a\0b"),
            ("partitioner", "hunter2"),
        ] {
            let error = check_options(&opts(&[(key, value)])).unwrap_err();
            assert_eq!(error, OptionError::Value { key: key.into() });
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn options_that_help_are_taken() {
        check_options(&opts(&[
            ("linger.ms", "20"),
            ("compression.codec", "lz4"),
            ("partitioner", "murmur2_random"),
            ("message.max.bytes", "2000000"),
            ("client.id", "other"),
            ("debug", "broker,topic"),
            ("broker.address.family", "v4"),
        ]))
        .unwrap();
    }

    #[cfg(not(feature = "kafka-tls"))]
    #[test]
    fn without_tls_the_error_says_which_build_has_it() {
        let error = check_options(&opts(&[("security.protocol", "ssl")])).unwrap_err();
        assert!(error.to_string().contains("kafka-tls"), "{error}");
    }

    #[cfg(feature = "kafka-tls")]
    #[test]
    fn with_tls_its_options_are_taken() {
        let all = [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
        ];
        check_options(&opts(&all)).unwrap();
    }

    #[test]
    fn what_the_operator_says_wins_under_any_of_its_names() {
        let said = [
            ("linger.ms", "77"),
            ("compression.type", "lz4"),
            ("queue.buffering.max.kbytes", "123"),
        ];
        let batches = config(&said, Pace::Batches { bytes: 1000 });
        let native = batches
            .client_config()
            .unwrap()
            .create_native_config()
            .unwrap();
        for (key, value) in [
            ("linger.ms", "77"),
            ("compression.codec", "lz4"),
            ("queue.buffering.max.kbytes", "123"),
            ("queue.buffering.max.messages", "4096"),
            ("bootstrap.servers", "a:1,b:2"),
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("batch.size", "1000"),
            ("client.id", "cim"),
        ] {
            assert_eq!(native.get(key).unwrap(), value, "{key}");
        }
    }

    #[test]
    fn a_careful_producer_stays_careful_whatever_the_operator_says() {
        let said = [
            ("linger.ms", "77"),
            ("max.in.flight", "5"),
            ("batch.num.messages", "9"),
        ];
        let careful = config(&said, Pace::Careful);
        let native = careful
            .client_config()
            .unwrap()
            .create_native_config()
            .unwrap();
        for (key, value) in [
            ("linger.ms", "0"),
            ("max.in.flight", "1"),
            ("batch.num.messages", "1"),
            ("enable.gapless.guarantee", "false"),
            ("enable.idempotence", "true"),
        ] {
            assert_eq!(native.get(key).unwrap(), value, "{key}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let mask = Mask::new(&opts(&[
            ("sasl.password", "hunter2"),
            ("ssl.key.password", ""),
            ("linger.ms", "5"),
        ]));
        let text = mask.clean("login with hunter2 failed\n5 times");
        assert_eq!(text, "login with *** failed\\n5 times");
        let long = "é".repeat(limits::KAFKA_TEXT_BYTES);
        assert!(mask.clean(&long).len() <= limits::KAFKA_TEXT_BYTES);
    }
}
