//! What a topic got since a moment: read back and checked, at the end or while records come.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::generator::Times;
use crate::lines::{Lines, read_digits};
use crate::verify::{Check, Found};

/// Time without a record after which the others count as lost.
const LIMIT: Duration = Duration::from_secs(30);

/// The part of the one partition of a topic that comes after now.
pub struct Topic {
    consumer: BaseConsumer,
    name: &'static str,
    next: i64,
}

impl Topic {
    /// The topic need not exist yet.
    pub fn from_now(brokers: &str, name: &'static str) -> Self {
        let mut config = ClientConfig::new();
        for (key, value) in [
            ("bootstrap.servers", brokers),
            ("group.id", "bench"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "true"),
            ("fetch.error.backoff.ms", "50"),
            // So much is read ahead at the most.
            ("queued.max.messages.kbytes", "16384"),
        ] {
            config.set(key, value);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        // The first question makes the topic, and may be told that there is none.
        let since = Instant::now();
        let end = loop {
            match consumer.fetch_watermarks(name, 0, LIMIT) {
                Ok((_, high)) => break high,
                Err(error) => assert!(since.elapsed() < LIMIT, "{name}: {error}"),
            }
            let _ = consumer.fetch_metadata(Some(name), LIMIT);
        };
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(name, 0, Offset::Offset(end))
            .unwrap();
        consumer.assign(&from).unwrap();
        Self {
            consumer,
            name,
            next: end,
        }
    }

    /// Reads up to what is there now.
    pub fn read(&mut self, lines: &Lines, check: &mut Check) -> Found {
        let marks = self.consumer.fetch_watermarks(self.name, 0, LIMIT);
        let (_, end) = marks.unwrap();
        let mut since = Instant::now();
        while self.next < end && since.elapsed() < LIMIT {
            if self.poll(lines, |line| check.line(line)) {
                since = Instant::now();
            }
        }
        check.found()
    }

    /// Reads while records come, until all of them are there: how long after they were sent, in nanoseconds.
    pub fn watch(&mut self, lines: &Lines, times: &Times, check: &mut Check) -> Vec<u64> {
        let mut latencies = Vec::new();
        let mut since = Instant::now();
        while check.found().lost > 0 && since.elapsed() < LIMIT {
            let came = self.poll(lines, |line| {
                let now = times.base.elapsed().as_nanos() as u64;
                let connection = read_digits(&line[lines.connection_at()]);
                let number = read_digits(&line[lines.number_at()]);
                if let (Some(connection), Some(number)) = (connection, number)
                    && let Some(sent) = times.get(connection, number)
                {
                    latencies.push(now.saturating_sub(sent));
                }
                check.line(line);
            });
            if came {
                since = Instant::now();
            }
        }
        latencies
    }

    /// The next record; those of other runs are passed over. False when none came.
    fn poll(&mut self, lines: &Lines, on_line: impl FnOnce(&[u8])) -> bool {
        let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else {
            return false;
        };
        self.next = message.offset() + 1;
        if let Some(line) = lines.within(message.payload().unwrap_or_default()) {
            on_line(line);
        }
        true
    }
}
