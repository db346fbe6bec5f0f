//! Log lines as records of topic LOGS, without a key (CONTRACT section 6).
//!
//! All lines of a pod go to one partition, chosen by the pod's name: only within a partition does Kafka keep order, and without a key
//! librdkafka would change it every few milliseconds. Lines so arrive in order, but for those that are refused before they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Arrived, Remote, RemoteError};
use crate::kafka::{Delivery, LOGS, Outcome, Pace, Producer, ProducerConfig, Reason, SendError};
use crate::limits::{
    KAFKA_BATCH_BYTES, KAFKA_BATCH_BYTES_LEAST, KAFKA_LOG_BYTES_IN_FLIGHT, KAFKA_LOGS_IN_FLIGHT,
    KAFKA_TOPIC_TIME,
};

/// Bits of a token that tell the line within its chunk; the others tell the chunk.
const INDEX_BITS: u32 = 24;

/// How large batches may be: smaller after a broker has refused one. Shared by the sinks that follow each other.
#[derive(Debug, Clone)]
pub struct BatchBytes(Arc<AtomicUsize>);

impl Default for BatchBytes {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(KAFKA_BATCH_BYTES)))
    }
}

impl BatchBytes {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn halve(&self) {
        let half = (self.get() / 2).max(KAFKA_BATCH_BYTES_LEAST);
        self.0.store(half, Ordering::Relaxed);
    }

    /// Down to the least, a batch that is refused has few records or one: they are given up, and the others go on.
    fn pace(&self) -> Pace {
        let bytes = self.get();
        if bytes > KAFKA_BATCH_BYTES_LEAST {
            Pace::Batches { bytes }
        } else {
            Pace::Lenient { bytes }
        }
    }
}

/// See the module.
pub struct KafkaLogs {
    producer: Producer,
    partition: i32,
    batch_bytes: BatchBytes,
    line: Vec<u8>,
    done: Vec<Delivery>,
    /// Lines that were refused before they were sent.
    refused: Vec<Arrived>,
}

impl KafkaLogs {
    /// A producer whose brokers answer. `config` says all but the bounds and the pace; `pod` chooses the partition. Blocks for up to
    /// [`KAFKA_TOPIC_TIME`], and for the end of librdkafka's threads when it fails.
    ///
    /// # Errors
    /// Settings that librdkafka does not take; no broker answers, or none knows the topic, within [`KAFKA_TOPIC_TIME`].
    pub fn connect(
        config: ProducerConfig,
        pod: &str,
        batch_bytes: BatchBytes,
    ) -> Result<Self, RemoteError> {
        let config = ProducerConfig {
            queue_records: KAFKA_LOGS_IN_FLIGHT,
            queue_bytes: KAFKA_LOG_BYTES_IN_FLIGHT,
            pace: batch_bytes.pace(),
            ..config
        };
        let producer = Producer::new(&config)?;
        let Some(partitions) = producer.partitions(LOGS, KAFKA_TOPIC_TIME) else {
            // Dropped, not abandoned: tries go on for as long as the outage, and each would leave its threads behind.
            return Err(RemoteError::NoTopic {
                brokers: producer.brokers().to_owned(),
                topic: LOGS,
                last: producer.last_error(),
            });
        };
        let hash = crc32fast::hash(pod.as_bytes());
        let partition = hash.checked_rem(partitions).unwrap_or(0);
        Ok(Self {
            producer,
            partition: i32::try_from(partition).unwrap_or(0),
            batch_bytes,
            line: Vec::new(),
            done: Vec::new(),
            refused: Vec::new(),
        })
    }

    fn kafka_error(&self, reason: String) -> RemoteError {
        RemoteError::Kafka {
            brokers: self.producer.brokers().to_owned(),
            reason,
        }
    }

    fn fatal(&self) -> RemoteError {
        let reason = self.producer.fatal();
        self.kafka_error(reason.unwrap_or_else(|| "the producer has failed".to_owned()))
    }

    /// What became of one record; consecutive ones that have arrived are told together.
    fn on_delivery(
        &self,
        delivery: Delivery,
        arrived: &mut Vec<Arrived>,
    ) -> Result<(), RemoteError> {
        let (chunk, index) = untoken(delivery.token);
        match delivery.outcome {
            Outcome::Delivered => {
                match arrived.last_mut() {
                    Some(last) if last.chunk == chunk && last.rejected.is_none() => last.lines += 1,
                    _ => arrived.push(Arrived {
                        chunk,
                        lines: 1,
                        rejected: None,
                    }),
                }
                Ok(())
            }
            Outcome::Rejected(reason) if self.batch_bytes.get() > KAFKA_BATCH_BYTES_LEAST => {
                self.batch_bytes.halve();
                Err(self.kafka_error(format!("a batch was refused: {reason}")))
            }
            Outcome::Rejected(reason) => {
                arrived.push(rejected(chunk, index, reason));
                Ok(())
            }
            Outcome::Retry(reason) => Err(self.kafka_error(reason.to_string())),
        }
    }
}

fn token(chunk: u64, index: u32) -> u64 {
    (chunk << INDEX_BITS) | u64::from(index)
}

fn untoken(token: u64) -> (u64, u32) {
    let index = token & ((1 << INDEX_BITS) - 1);
    (token >> INDEX_BITS, u32::try_from(index).unwrap_or(0))
}

fn rejected(chunk: u64, index: u32, reason: Reason) -> Arrived {
    Arrived {
        chunk,
        lines: 1,
        rejected: Some((index, reason.label())),
    }
}

impl Remote for KafkaLogs {
    fn line(
        &mut self,
        chunk: u64,
        index: u32,
        format: &mut dyn FnMut(&mut Vec<u8>),
    ) -> Result<bool, RemoteError> {
        self.line.clear();
        format(&mut self.line);
        let to = Some(self.partition);
        let token = token(chunk, index);
        match self
            .producer
            .send_to(LOGS, to, None, &self.line, None, token)
        {
            Ok(()) => Ok(true),
            Err(SendError::Full) => Ok(false),
            Err(SendError::Rejected(reason)) => {
                self.refused.push(rejected(chunk, index, reason));
                Ok(true)
            }
            Err(SendError::Retry(reason)) => Err(self.kafka_error(reason.to_string())),
            Err(SendError::Fatal) => Err(self.fatal()),
        }
    }

    fn turn(&mut self, wait: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError> {
        let mut done = std::mem::take(&mut self.done);
        self.producer.poll(wait, &mut done);
        let mut result = Ok(());
        for delivery in done.drain(..) {
            // What has arrived counts, whatever became of others.
            let told = self.on_delivery(delivery, arrived);
            result = result.and(told);
        }
        self.done = done;
        arrived.append(&mut self.refused);
        if result.is_ok() && self.producer.fatal().is_some() {
            result = Err(self.fatal());
        }
        result
    }

    fn close(self: Box<Self>) {
        self.producer.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_chunk_and_line() {
        for (chunk, index) in [(0, 0), (1, 0), (7, 3), ((1 << 40) - 1, (1 << 24) - 1)] {
            assert_eq!(untoken(token(chunk, index)), (chunk, index));
        }
    }
}
