//! What an error of librdkafka or of a broker means for a record: never, later, or a new producer.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::config::Mask;

/// Why a record was not delivered. Small and without memory of its own: one may come for each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(Code);

/// What becomes of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kafka will never take it.
    Never,
    /// The record is not at fault: it is sent again.
    Later,
    /// The broker does not say whether the record is at fault: it is sent again for a while.
    Unclear,
}

impl Reason {
    /// Of an error that a send or a delivery report carries.
    pub(super) fn of(error: &KafkaError) -> Self {
        Self(error.rdkafka_error_code().unwrap_or(Code::Fail))
    }

    /// The record is larger than what Kafka takes.
    pub const TOO_LARGE: Self = Self(Code::MessageSizeTooLarge);

    /// What becomes of the record.
    pub fn verdict(self) -> Verdict {
        match self.0 {
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::BadMessage
            | Code::UnsupportedForMessageFormat => Verdict::Never,
            Code::Unknown | Code::InvalidMessage | Code::InvalidRequest | Code::PolicyViolation => {
                Verdict::Unclear
            }
            _ => Verdict::Later,
        }
    }

    /// Too large: alone, or with others in one batch.
    pub fn is_size(self) -> bool {
        matches!(
            self.0,
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize
        )
    }

    /// Kafka does not take the record's time.
    pub fn is_time(self) -> bool {
        self.0 == Code::InvalidTimestamp
    }

    /// Kafka has not seen the record, or its answer was not waited for: the producer gave up for another reason.
    pub fn is_purge(self) -> bool {
        matches!(self.0, Code::PurgeQueue | Code::PurgeInflight)
    }

    /// The value of the label `reason`; one of a few.
    pub fn label(self) -> &'static str {
        match self.0 {
            _ if self.is_size() => "too_large",
            Code::InvalidTimestamp => "timestamp",
            Code::InvalidRecord | Code::BadMessage | Code::UnsupportedForMessageFormat => "invalid",
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => "not_allowed",
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic => "no_topic",
            _ => "refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The crate's own text repeats its name: `Broker: Message size too large` is all that helps.
        self.0.fmt(f)
    }
}

/// A producer or consumer could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// One of `CIM_KAFKA_OPTS`.
    #[error("CIM_KAFKA_OPTS: {0}")]
    Option(#[from] OptionError),
    /// Everything together. The text is librdkafka's, passwords masked.
    #[error("librdkafka does not take the settings for Kafka: {0}")]
    Together(String),
}

impl ConfigError {
    pub(super) fn together(error: KafkaError, mask: &Mask) -> Self {
        // The text of a bad single setting may show its value; those of the options were checked.
        Self::Together(match error {
            KafkaError::ClientCreation(text) => mask.clean(&text),
            KafkaError::ClientConfig(_, _, key, _) => format!("{key} does not take its value"),
            error => mask.clean(&error.to_string()),
        })
    }
}

/// What is wrong with one of the options that are passed through to librdkafka. Values are never shown: one may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such key.
    #[error("librdkafka knows no option {key}")]
    Unknown {
        /// The key.
        key: String,
    },
    /// The key is there, and does not take this value.
    #[error("{key} does not take its value (not shown){}", hint(.key))]
    Value {
        /// The key.
        key: String,
    },
    /// CIM's guarantees rest on this option.
    #[error("{key} cannot be set: {why}")]
    Refused {
        /// The key.
        key: String,
        /// What it would break, or which setting to use.
        why: &'static str,
    },
}

impl OptionError {
    /// The option's key.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key } | Self::Value { key } | Self::Refused { key, .. } => key,
        }
    }
}

fn hint(key: &str) -> &'static str {
    let secure = ["security.", "ssl.", "sasl.", "https.", "enable.ssl"];
    if !cfg!(feature = "kafka-tls") && secure.iter().any(|prefix| key.starts_with(prefix)) {
        "; this CIM was built without the feature kafka-tls"
    } else {
        ""
    }
}

/// What a consumer asked of the brokers and did not get. It may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct RequestError {
    pub(super) what: &'static str,
    pub(super) reason: Reason,
}

impl RequestError {
    pub(super) fn new(what: &'static str, error: &KafkaError) -> Self {
        let reason = Reason::of(error);
        Self { what, reason }
    }
}

/// Why a record was not taken by the producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No room: poll, and send it again.
    #[error("the producer's queue is full")]
    Full,
    /// Kafka will never take it.
    #[error("{0}")]
    Rejected(Reason),
    /// Kafka does not take it now.
    #[error("{0}")]
    Retry(Reason),
    /// The producer is of no use any more: see [`super::Producer::fatal`].
    #[error("the producer has failed")]
    Fatal,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: Code) -> Reason {
        Reason::of(&KafkaError::MessageProduction(code))
    }

    #[test]
    fn only_what_is_the_records_own_fault_is_given_up() {
        for (code, verdict, label) in [
            (Code::MessageSizeTooLarge, Verdict::Never, "too_large"),
            (Code::MessageBatchTooLarge, Verdict::Never, "too_large"),
            (Code::InvalidRecord, Verdict::Never, "invalid"),
            (Code::InvalidTimestamp, Verdict::Never, "timestamp"),
            (Code::Unknown, Verdict::Unclear, "refused"),
            (
                Code::TopicAuthorizationFailed,
                Verdict::Later,
                "not_allowed",
            ),
            (Code::UnknownTopic, Verdict::Later, "no_topic"),
            (Code::NotEnoughReplicas, Verdict::Later, "refused"),
            (Code::NotLeaderForPartition, Verdict::Later, "refused"),
            (Code::KafkaStorageError, Verdict::Later, "refused"),
            (Code::PurgeInflight, Verdict::Later, "refused"),
            (Code::SaslAuthenticationFailed, Verdict::Later, "refused"),
            (Code::Authentication, Verdict::Later, "refused"),
            (Code::BrokerTransportFailure, Verdict::Later, "refused"),
        ] {
            let reason = reason(code);
            assert_eq!((reason.verdict(), reason.label()), (verdict, label));
        }
    }

    #[test]
    fn an_error_says_what_librdkafka_says() {
        let text = reason(Code::MessageSizeTooLarge).to_string();
        assert!(text.contains("Message size too large"), "{text}");
    }
}
