//! How many lines each call site of CIM's own log may write: a burst, then one in an interval. Reads no clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A place in the program that writes log lines: file and line.
pub type Site = (&'static str, u32);

/// The bounds of one call site.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Lines at once.
    pub burst: u32,
    /// Time after which one more line may come.
    pub interval: Duration,
    /// Call sites that are watched one by one; further ones share one bucket.
    pub sites: usize,
}

/// The buckets of all call sites.
#[derive(Debug)]
pub struct Rates {
    rate: Rate,
    buckets: HashMap<Site, Bucket>,
    /// Shared by the call sites beyond [`Rate::sites`].
    rest: Option<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    lines: u32,
    filled: Instant,
    suppressed: u64,
}

impl Rates {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: HashMap::new(),
            rest: None,
        }
    }

    /// May `site` write a line at `now`? `Some(n)`: yes, and `n` of its lines were suppressed since the last one.
    pub fn admit(&mut self, site: Site, now: Instant) -> Option<u64> {
        let full = Bucket {
            lines: self.rate.burst,
            filled: now,
            suppressed: 0,
        };
        let room = self.buckets.len() < self.rate.sites || self.buckets.contains_key(&site);
        let bucket = if room {
            self.buckets.entry(site).or_insert(full)
        } else {
            self.rest.get_or_insert(full)
        };
        bucket.admit(&self.rate, now)
    }
}

impl Bucket {
    fn admit(&mut self, rate: &Rate, now: Instant) -> Option<u64> {
        let idle = now.saturating_duration_since(self.filled);
        let interval = rate.interval.as_nanos().max(1);
        let earned = u32::try_from(idle.as_nanos() / interval).unwrap_or(u32::MAX);
        if earned >= rate.burst - self.lines {
            self.lines = rate.burst;
            self.filled = now;
        } else {
            self.lines += earned;
            // Not `now`: what is left over of an interval counts for the next line.
            self.filled += rate.interval * earned;
        }
        if self.lines == 0 {
            self.suppressed += 1;
            return None;
        }
        self.lines -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        interval: Duration::from_secs(1),
        sites: 2,
    };

    /// Each step: milliseconds from the start, then what is expected.
    fn check(steps: &[(u64, Option<u64>)]) {
        let (start, mut rates) = (Instant::now(), Rates::new(RATE));
        for (n, &(at, expected)) in steps.iter().enumerate() {
            let got = rates.admit(("a.rs", 1), start + Duration::from_millis(at));
            assert_eq!(got, expected, "step {n} at {at} ms");
        }
    }

    #[test]
    fn a_burst_then_one_each_interval_and_the_suppressed_are_told() {
        check(&[
            (0, Some(0)),
            (0, Some(0)),
            (0, Some(0)),
            (0, None),
            (999, None),
            (1000, Some(2)),
            (1001, None),
            (1999, None),
            (2000, Some(2)),
            (4500, Some(0)),
            (4500, Some(0)),
            (4500, None),
            (5000, Some(1)),
            (60_000, Some(0)),
            (60_000, Some(0)),
            (60_000, Some(0)),
            (60_000, None),
        ]);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        check(&[
            (500, Some(0)),
            (400, Some(0)),
            (0, Some(0)),
            (0, None),
            (500, None),
        ]);
    }

    #[test]
    fn call_sites_have_buckets_of_their_own_and_the_rest_share_one() {
        let (now, mut rates) = (Instant::now(), Rates::new(RATE));
        for line in 0..2 {
            for _ in 0..3 {
                assert_eq!(rates.admit(("a.rs", line), now), Some(0));
            }
            assert_eq!(rates.admit(("a.rs", line), now), None);
        }
        let admitted = (2..100).filter(|&line| rates.admit(("a.rs", line), now).is_some());
        assert_eq!(admitted.count(), 3);
        assert_eq!(rates.buckets.len(), 2);
    }
}
