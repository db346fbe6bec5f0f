//! The time between two tries: doubled each time up to a bound, with jitter so that the pods of a deployment do not try
//! in step.

use std::time::Duration;

/// Waiting times, one after the other.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at about `first`; never longer than `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last,
            next: first,
        }
    }

    /// The time to wait now: between half and the whole of the present step, where in it says `random`.
    pub fn wait(&mut self, random: u64) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.last);
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX - 1);
        half + Duration::from_nanos(random % (nanos + 1))
    }

    /// The next wait is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_one_and_jitter_takes_at_most_half() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        for (whole_ms, random) in [
            (200, 0),
            (400, u64::MAX),
            (800, 7),
            (1000, 1 << 40),
            (1000, 3),
        ] {
            let whole = Duration::from_millis(whole_ms);
            let wait = backoff.wait(random);
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
        }
        assert_eq!(backoff.wait(0), Duration::from_millis(500));
        assert_eq!(backoff.wait(500_000_000), Duration::from_secs(1));
        backoff.reset();
        assert_eq!(backoff.wait(0), Duration::from_millis(100));
    }
}
