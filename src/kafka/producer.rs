//! One producer: takes records, tells later which of them Kafka has. Its owner calls [`Producer::poll`] often.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};

use super::config::{Mask, ProducerConfig};
use super::error::{ConfigError, Reason, SendError, Verdict};
use super::words::{Context, lock};
use crate::limits::{CONFIG_ADDRESSES, KAFKA_POLL_FIRST, KAFKA_POLL_LAST, KAFKA_POLLS_A_TURN};

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// What was given with the record.
    pub token: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All replicas have it.
    Delivered,
    /// Kafka refused the record, or the batch that it was in; with [`super::Pace::Careful`] that is the record alone.
    Rejected(Reason),
    /// It may be there or not, and is to be sent again.
    Retry(Reason),
}

/// What a cluster says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Host and port of each broker, as the brokers are to be reached; at most [`CONFIG_ADDRESSES`].
    pub brokers: Vec<(String, i32)>,
    /// The topics, of those asked for, that are there and that this client may know of.
    pub topics: Vec<String>,
}

/// A producer of librdkafka. Dropping it gives up what is on its way and waits for its threads.
pub struct Producer {
    inner: BaseProducer<Reports>,
    brokers: String,
}

const _: () = assert!(usize::BITS >= u64::BITS, "a token travels as a pointer");

/// What librdkafka tells: while [`Producer::poll`] runs, from the thread that called it.
type Reports = Context<Mutex<Vec<Delivery>>>;

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, token: usize) {
        self.words.called();
        let outcome = match result {
            Ok(_) => {
                self.words.answered();
                Outcome::Delivered
            }
            Err((error, _)) => {
                let reason = Reason::of(error);
                match reason.verdict() {
                    Verdict::Never => Outcome::Rejected(reason),
                    Verdict::Later | Verdict::Unclear => Outcome::Retry(reason),
                }
            }
        };
        let token = token as u64;
        lock(&self.own).push(Delivery { token, outcome });
    }
}

impl Producer {
    /// Makes a producer. It connects in the background, for as long as it takes.
    ///
    /// # Errors
    /// An option that cannot be passed through, or settings that do not go together.
    pub fn new(config: &ProducerConfig) -> Result<Self, ConfigError> {
        let mask = Mask::new(&config.opts);
        let client = config.client_config()?;
        let reports = Reports::new(mask.clone(), Mutex::default());
        let inner = BaseProducer::from_config_and_context(&client, reports)
            .map_err(|error| ConfigError::together(error, &mask))?;
        Ok(Self {
            inner,
            brokers: config.brokers.join(","),
        })
    }

    /// Whether a producer can be made with this configuration: connects to nobody.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn check(config: &ProducerConfig) -> Result<(), ConfigError> {
        let nowhere = ProducerConfig {
            brokers: Vec::new(),
            ..config.clone()
        };
        Self::new(&nowhere).map(drop)
    }

    /// Takes a record, copied; `token` comes back with its report. `timestamp_ms`: since the epoch; `None`: now. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; then the record was not taken and no report comes.
    pub fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: &[u8],
        timestamp_ms: Option<i64>,
        token: u64,
    ) -> Result<(), SendError> {
        self.send_to(topic, None, key, value, timestamp_ms, token)
    }

    /// As [`Producer::send`], to a partition; `None`: by the key.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send_to(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: &[u8],
        timestamp_ms: Option<i64>,
        token: u64,
    ) -> Result<(), SendError> {
        let record = BaseRecord {
            topic,
            partition,
            payload: Some(value),
            key,
            timestamp: timestamp_ms,
            headers: None,
            delivery_opaque: token as usize,
        };
        let Err((error, _)) = self.inner.send(record) else {
            return Ok(());
        };
        Err(match error.rdkafka_error_code() {
            // Alone in the queue and still no room: it is larger than the queue.
            Some(RDKafkaErrorCode::QueueFull) if self.in_flight() == 0 => {
                SendError::Rejected(Reason::TOO_LARGE)
            }
            Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
            Some(RDKafkaErrorCode::Fatal) => SendError::Fatal,
            _ => {
                let reason = Reason::of(&error);
                match reason.verdict() {
                    Verdict::Never => SendError::Rejected(reason),
                    Verdict::Later | Verdict::Unclear => SendError::Retry(reason),
                }
            }
        })
    }

    /// Adds what became of records to `done`. Waits for at most `wait` for the first one; with [`Duration::ZERO`] not at all.
    pub fn poll(&self, wait: Duration, done: &mut Vec<Delivery>) {
        let end = Instant::now() + wait;
        let mut slice = KAFKA_POLL_FIRST;
        loop {
            self.take(done);
            let left = end.saturating_duration_since(Instant::now());
            if !done.is_empty() || left.is_zero() {
                return;
            }
            // A poll that waits does so to its end, whatever comes meanwhile.
            let next = if self.in_flight() == 0 { left } else { slice };
            self.inner.poll(next.min(left));
            slice = (slice * 2).min(KAFKA_POLL_LAST);
        }
    }

    /// What has come, without waiting.
    fn take(&self, done: &mut Vec<Delivery>) {
        let reports = self.inner.context();
        for _ in 0..KAFKA_POLLS_A_TURN {
            let before = reports.words.calls();
            self.inner.poll(Duration::ZERO);
            if reports.words.calls() == before {
                break;
            }
        }
        done.append(&mut lock(&reports.own));
    }

    /// Records that were taken and whose report was not polled yet.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    /// The producer is of no use any more, and why: a new one has to be made. What it had not sent comes back.
    pub fn fatal(&self) -> Option<String> {
        let (_, text) = self.inner.client().fatal_error()?;
        Some(self.inner.context().words.clean(&text))
    }

    /// No broker could be reached when librdkafka last said so, and nothing was delivered since: see [`Producer::probe`].
    pub fn brokers_down(&self) -> bool {
        self.inner.context().words.brokers_down()
    }

    /// The last thing that went wrong, for a line in the log; empty when nothing did.
    pub fn last_error(&self) -> String {
        self.inner.context().words.last_error()
    }

    /// Whether a broker answers within `wait`, which this blocks for at the most.
    pub fn probe(&self, topic: &str, wait: Duration) -> bool {
        let answers = self
            .inner
            .client()
            .fetch_metadata(Some(topic), wait)
            .is_ok();
        if answers {
            self.inner.context().words.answered();
        }
        answers
    }

    /// Partitions of `topic`, which is made when it is missing and brokers may do that; `None` when no broker knows it within `wait`, which
    /// this blocks for at the most.
    pub fn partitions(&self, topic: &str, wait: Duration) -> Option<u32> {
        let end = Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            // What librdkafka has to say of brokers that do not answer is heard here alone.
            self.inner.poll(Duration::ZERO);
            let found = self.inner.client().fetch_metadata(Some(topic), left);
            let known = found.as_ref().ok().and_then(|found| {
                let topic = found.topics().iter().find(|found| found.name() == topic)?;
                u32::try_from(topic.partitions().len()).ok()
            });
            if let Some(partitions) = known.filter(|count| *count > 0) {
                return Some(partitions);
            }
            // A topic that is being made; or no broker, then it has taken its time.
            self.inner.poll(left.min(KAFKA_POLL_LAST));
        }
    }

    /// What the cluster says of itself, and of these topics, within `wait`, which this blocks for at the most. Makes no topic.
    ///
    /// # Errors
    /// No broker answers: what librdkafka said last.
    pub fn look(&self, wanted: &[&str], wait: Duration) -> Result<Cluster, String> {
        let found = self.inner.client().fetch_metadata(None, wait);
        // What librdkafka has to say of brokers that do not answer is heard here alone.
        self.take(&mut Vec::new());
        let found = found.map_err(|error| {
            let words = &self.inner.context().words;
            let last = words.last_error();
            match last.is_empty() {
                true => words.clean(&error.to_string()),
                false => last,
            }
        })?;
        let brokers = found.brokers().iter().take(CONFIG_ADDRESSES);
        let topics = found.topics().iter();
        Ok(Cluster {
            brokers: brokers
                .map(|broker| (broker.host().to_owned(), broker.port()))
                .collect(),
            topics: topics
                .filter(|topic| wanted.contains(&topic.name()))
                .filter(|topic| topic.error().is_none() && !topic.partitions().is_empty())
                .map(|topic| topic.name().to_owned())
                .collect(),
        })
    }

    /// The brokers that it was given, for the log.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Gives up what is on its way and leaves the threads to the end of the process, which is near: they may hang in a name that
    /// is looked up.
    pub fn abandon(self) {
        self.inner.purge(PurgeConfig::default().queue().inflight());
        std::mem::forget(self);
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("brokers", &self.brokers)
            .finish_non_exhaustive()
    }
}
