//! When Kafka is told to send no more, because a record waits that finds no room. Pausing throws away what was read ahead: for a short
//! wait it does not pay.

use std::time::{Duration, Instant};

use crate::limits::KAFKA_HOLD_TIME;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Read.
    Read,
    /// Read nothing for this long, nor look at what else Kafka says.
    Wait(Duration),
    /// Tell Kafka to send no more, then see what else it says.
    Pause,
    /// That was told: see what else it says.
    Paused,
    /// Tell Kafka to go on, then read.
    Resume,
}

/// Since when a record waits.
#[derive(Debug, Default)]
pub struct Holding {
    since: Option<Instant>,
    paused: bool,
}

impl Holding {
    /// What is to be done. `waits`: a record waits.
    pub fn look(&mut self, waits: bool, now: Instant) -> Hold {
        if !waits {
            self.since = None;
            return if std::mem::take(&mut self.paused) {
                Hold::Resume
            } else {
                Hold::Read
            };
        }
        if self.paused {
            return Hold::Paused;
        }
        let since = *self.since.get_or_insert(now);
        let left = KAFKA_HOLD_TIME.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() {
            self.paused = true;
            return Hold::Pause;
        }
        Hold::Wait(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_is_told_once_when_a_record_waits_for_long_and_once_when_it_does_no_more() {
        let start = Instant::now();
        let mut holding = Holding::default();
        let half = KAFKA_HOLD_TIME / 2;
        for (waits, at, hold) in [
            (false, 0, Hold::Read),
            (true, 0, Hold::Wait(KAFKA_HOLD_TIME)),
            (true, 1, Hold::Wait(half)),
            (false, 1, Hold::Read),
            (true, 2, Hold::Wait(KAFKA_HOLD_TIME)),
            (true, 4, Hold::Pause),
            (true, 9, Hold::Paused),
            (true, 99, Hold::Paused),
            (false, 99, Hold::Resume),
            (false, 100, Hold::Read),
            (true, 100, Hold::Wait(KAFKA_HOLD_TIME)),
        ] {
            assert_eq!(holding.look(waits, start + half * at), hold, "at {at}");
        }
    }
}
