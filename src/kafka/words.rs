//! What librdkafka says besides the answers to what it was asked: its log lines and errors, bounded and without passwords.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use super::config::Mask;
use crate::logs::throttle::Throttle;

/// Said by one client, while it is polled, from the thread that polls it.
pub(super) struct Words {
    /// Calls so far, of any kind: whether one more look at the client's queue is worth it.
    calls: AtomicU64,
    brokers_down: AtomicBool,
    last_error: Mutex<String>,
    told: Mutex<Throttle>,
    mask: Mask,
}

/// What librdkafka has of a client: `own` is what this kind of client is told besides.
pub(super) struct Context<T> {
    pub words: Words,
    pub own: T,
}

impl<T> Context<T> {
    pub fn new(mask: Mask, own: T) -> Self {
        let words = Words::new(mask);
        Self { words, own }
    }
}

impl<T: Send + Sync> ClientContext for Context<T> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.words.log(level, facility, text);
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, _: &[u8]) {
        self.words.called();
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.words.error(&error, reason);
    }
}

/// A panic while it was held leaves a whole value.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Words {
    fn new(mask: Mask) -> Self {
        Self {
            calls: AtomicU64::default(),
            brokers_down: AtomicBool::default(),
            last_error: Mutex::default(),
            told: Mutex::default(),
            mask,
        }
    }

    /// librdkafka has called.
    pub fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// See [`Self::called`].
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// A line for the log.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.called();
        let grave = matches!(
            level,
            RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Warning
        );
        // CONFWARN: what CIM itself has set.
        if !grave || facility == "CONFWARN" {
            return log::debug!("Kafka: {facility}: {}", self.mask.clean(text));
        }
        if let Some(before) = lock(&self.told).pass(Instant::now()) {
            let text = self.mask.clean(text);
            log::warn!("Kafka: {facility}: {text} ({before} lines about Kafka left out)");
        }
    }

    /// An error that no call has asked for.
    fn error(&self, error: &KafkaError, reason: &str) {
        self.called();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.brokers_down.store(true, Ordering::Relaxed);
            }
            _ => *lock(&self.last_error) = self.mask.clean(reason),
        }
    }

    /// A broker has answered.
    pub fn answered(&self) {
        self.brokers_down.store(false, Ordering::Relaxed);
    }

    /// No broker could be reached when librdkafka last said so, and none has answered since.
    pub fn brokers_down(&self) -> bool {
        self.brokers_down.load(Ordering::Relaxed)
    }

    /// The last thing that went wrong, for a line in the log; empty when nothing did.
    pub fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }

    /// `text` as it may be shown.
    pub fn clean(&self, text: &str) -> String {
        self.mask.clean(text)
    }
}
