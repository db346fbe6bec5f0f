//! How many records librdkafka is given at one time: one batch for each partition, and the next when that has arrived.
//!
//! With idempotence it has one batch of a partition on its way anyway; and while further records wait behind that for longer than the
//! linger time, its thread asks without a pause whether they may go, which takes a whole processor as long as a broker does not answer.

use std::time::{Duration, Instant};

use crate::limits::{KAFKA_BATCH_BYTES, KAFKA_LINGER};

/// Less than the linger time, so that the last record of a handful is still in time for its batch.
const GATHER: Duration = KAFKA_LINGER.saturating_sub(Duration::from_millis(1));
/// Less than a batch: keys and what librdkafka puts before each record are in it too.
const BYTES: usize = KAFKA_BATCH_BYTES / 4 * 3;

/// The records that are on their way.
#[derive(Debug)]
pub(super) struct Handful {
    since: Instant,
    bytes: usize,
}

impl Handful {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
        }
    }

    /// One more record may go. `in_flight`: records that were sent and have not arrived.
    pub(super) fn has_room(&mut self, in_flight: usize, now: Instant) -> bool {
        if in_flight == 0 {
            *self = Self::new(now);
        }
        self.bytes < BYTES && now.saturating_duration_since(self.since) < GATHER
    }

    /// A record of so many bytes was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_waits_until_all_has_arrived() {
        let start = Instant::now();
        let mut handful = Handful::new(start);
        assert!(handful.has_room(0, start));
        handful.sent(100);
        assert!(handful.has_room(1, start + GATHER / 2));
        let late = start + GATHER;
        assert!(!handful.has_room(1, late));
        assert!(handful.has_room(0, late));
        handful.sent(BYTES);
        assert!(!handful.has_room(1, late));
        assert!(handful.has_room(0, late));
    }
}
