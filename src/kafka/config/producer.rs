//! The settings of a producer: what CIM's guarantees need, and what the operator says besides.

use std::time::Duration;

use rdkafka::ClientConfig;

use super::{canonical, check_options, common, millis};
use crate::kafka::Compression;
use crate::kafka::error::OptionError;
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
    pub(in crate::kafka) fn client_config(&self) -> Result<ClientConfig, OptionError> {
        check_options(&self.opts)?;
        let mut client = common(&self.brokers, self.client_id.as_deref());
        let mut set = |key: &str, value: &str| {
            client.set(key, value);
        };
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
        set("request.timeout.ms", &millis(limits::KAFKA_ACK_TIME));
        for (key, value) in &self.opts {
            let fixed = self.pace == Pace::Careful && CAREFUL.contains(&canonical(key));
            if !fixed {
                set(canonical(key), value.reveal());
            }
        }
        Ok(client)
    }
}

/// What makes [`Pace::Careful`] careful.
const CAREFUL: [&str; 3] = [
    "queue.buffering.max.ms",
    "batch.num.messages",
    "max.in.flight.requests.per.connection",
];
