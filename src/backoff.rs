//! How long to wait before the next try: longer each time, up to a bound, and never as long as others wait, so that many
//! sidecars that lost the same server do not come back in step. Reads no clock and has no randomness of its own.

use std::time::Duration;

/// A step that doubles from `first` up to `max`, and a random wait between half of it and all of it.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    step: Duration,
}

impl Backoff {
    /// The first wait is at most `first`; none is longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.min(max);
        Self {
            first,
            max,
            step: first,
        }
    }

    /// The wait before the next try. `random` may be any number; evenly spread ones give evenly spread waits.
    pub fn next(&mut self, random: u64) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.max);
        let half = step / 2;
        let span = u64::try_from((step - half).as_nanos()).unwrap_or(u64::MAX);
        let more = random.checked_rem(span.saturating_add(1)).unwrap_or(random);
        half + Duration::from_nanos(more)
    }

    /// It worked: the next wait is the first one again.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn steps_double_up_to_the_bound_and_start_again() {
        let mut backoff = Backoff::new(100 * MS, 500 * MS);
        for step in [100, 200, 400, 500, 500] {
            assert_eq!(backoff.clone().next(0), step * MS / 2);
            let span = u64::from(step) * 500_000;
            assert_eq!(backoff.next(span), step * MS, "the largest of {step}");
        }
        backoff.reset();
        assert_eq!(backoff.next(0), 50 * MS);
    }

    #[test]
    fn no_number_takes_a_wait_out_of_its_bounds() {
        for (first, max) in [
            (Duration::ZERO, Duration::ZERO),
            (MS, MS),
            (Duration::from_nanos(1), Duration::from_nanos(3)),
            (10 * MS, MS),
            (Duration::MAX, Duration::MAX),
        ] {
            for random in [0, 1, 2, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
                let mut backoff = Backoff::new(first, max);
                let mut step = first.min(max);
                for _ in 0..80 {
                    let wait = backoff.next(random);
                    assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
                    step = step.saturating_mul(2).min(max);
                }
            }
        }
    }
}
