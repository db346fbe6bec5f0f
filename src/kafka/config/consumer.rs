//! The settings of the consumer of notifications: small buffers, and no offset that CIM has not chosen itself.

use rdkafka::ClientConfig;

use super::{canonical, check_options, common, millis};
use crate::kafka::error::OptionError;
use crate::limits;
use crate::options::KafkaOptions;
use crate::secret::Secret;

/// What a consumer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// `kafka_client_id`; `cim` when there is none.
    pub client_id: Option<String>,
    /// The consumer group: the pod.
    pub group: String,
    /// Which member of the group this is, whatever process it lives in: see [`instance`].
    pub instance: String,
    /// `CIM_KAFKA_OPTS`: these win, but for those that [`check_options`] refuses.
    pub opts: Vec<(String, Secret)>,
}

impl ConsumerConfig {
    /// Of the pod.
    pub fn new(
        brokers: &[String],
        client_id: Option<&str>,
        pod: &str,
        namespace: &str,
        options: &KafkaOptions,
    ) -> Self {
        Self {
            brokers: brokers.to_vec(),
            client_id: client_id.map(str::to_owned),
            group: pod.to_owned(),
            instance: instance(pod, namespace),
            opts: options.opts.clone(),
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
        set("group.id", &self.group);
        set("group.instance.id", &self.instance);
        // What is committed is what the application has.
        set("enable.auto.commit", "false");
        set("enable.auto.offset.store", "false");
        // Each partition is begun at an offset. One that is not there any more has been removed for its age, or the topic was made
        // anew: all that is left is what comes nearest to it.
        set("auto.offset.reset", "earliest");
        set("allow.auto.create.topics", "false");
        // All partitions are given and taken at one time.
        set("partition.assignment.strategy", "range,roundrobin");
        set(
            "topic.metadata.refresh.interval.ms",
            &millis(limits::KAFKA_CONSUMER_REFRESH),
        );
        let bytes = limits::KAFKA_CONSUMER_BYTES;
        set("queued.max.messages.kbytes", &(bytes / 1000).to_string());
        set(
            "queued.min.messages",
            &limits::KAFKA_CONSUMER_RECORDS.to_string(),
        );
        set(
            "fetch.queue.backoff.ms",
            &millis(limits::KAFKA_CONSUMER_FULL_PAUSE),
        );
        set("fetch.max.bytes", &limits::KAFKA_FETCH_BYTES.to_string());
        set(
            "fetch.message.max.bytes",
            &limits::KAFKA_FETCH_PARTITION_BYTES.to_string(),
        );
        for (key, value) in &self.opts {
            let key = canonical(key);
            if !PRODUCING.contains(&key) {
                set(key, value.reveal());
            }
        }
        Ok(client)
    }
}

/// Options of every client that are about producing: were they set here, one record larger than `fetch.max.bytes` would be an error,
/// and each fetch would hold up what comes behind it.
const PRODUCING: [&str; 2] = ["message.max.bytes", "max.in.flight.requests.per.connection"];

/// `<pod>_<namespace>`, the name of a static member of the group: a CIM that is killed and started again is given its partitions back
/// at once. Kafka's rules for it are those for a topic's name: where they do not hold, a digest keeps it apart from others.
fn instance(pod: &str, namespace: &str) -> String {
    const BYTES_MAX: usize = 249;
    let whole = format!("{pod}_{namespace}");
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if whole.len() <= BYTES_MAX && whole.bytes().all(is_allowed) {
        return whole;
    }
    let digest = format!("{:08x}", crc32fast::hash(whole.as_bytes()));
    let allowed = whole.bytes().filter(|byte| is_allowed(*byte));
    let mut id: String = allowed
        .take(BYTES_MAX - 1 - digest.len())
        .map(char::from)
        .collect();
    id.push('-');
    id.push_str(&digest);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_called_after_pod_and_namespace_within_kafkas_rules() {
        assert_eq!(instance("cnf-0", "ns1"), "cnf-0_ns1");
        let long = "p".repeat(253);
        let ids = [
            instance(&long, "ns1"),
            instance(&long, "ns2"),
            instance("höst", "ns1"),
            instance("hst", "ns1"),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(id.len() <= 249, "{id}");
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
                "{id}"
            );
            assert!(!ids.iter().skip(n + 1).any(|other| other == id));
        }
    }
}
