//! When to scrape: at multiples of the interval since the epoch, whatever the clock does. Time is an argument.
//!
//! | what happens | what is done |
//! |---|---|
//! | the thread is a little late ([`ALIGNED_LATE_MS`]) | the scrape is still that of the aligned time |
//! | it is later: a scrape took long, the process stood still, the clock was set forwards | the times in between are passed over and counted |
//! | the clock was set back by less than an interval | no time is scraped twice: the next one is that behind the last one |
//! | it was set back further | the clock is believed: the next multiple from there |

use std::time::Duration;

use crate::limits::{ALIGNED_LATE_MS, ALIGNED_LOOK};

/// The times of one interval. It remembers no more than the last one and the next one.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval_ms: u64,
    late_ms: u64,
    /// The last aligned time that was scraped, ms since the epoch.
    last: Option<u64>,
    /// The next one.
    next: u64,
}

/// What is due at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Aligned times that were passed over.
    pub missed: u64,
    /// The aligned time to scrape for, ms since the epoch.
    pub scrape: Option<u64>,
}

impl Schedule {
    /// From `now_ms` on; of `interval` whole milliseconds count, one at least.
    pub fn new(interval: Duration, now_ms: u64) -> Self {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let interval_ms = interval_ms.max(1);
        Self {
            interval_ms,
            late_ms: ALIGNED_LATE_MS.min(interval_ms / 4),
            last: None,
            next: now_ms
                .checked_next_multiple_of(interval_ms)
                .unwrap_or(u64::MAX),
        }
    }

    /// What is due at `now_ms`. A time is due once.
    pub fn due(&mut self, now_ms: u64) -> Due {
        self.look_back(now_ms);
        if now_ms < self.next {
            return Due {
                missed: 0,
                scrape: None,
            };
        }
        // Not before `next`, which is a multiple itself.
        let late = (now_ms - self.next).checked_rem(self.interval_ms);
        let aligned = now_ms - late.unwrap_or_default();
        let passed = (aligned - self.next).checked_div(self.interval_ms);
        let passed = passed.unwrap_or_default();
        self.next = aligned.saturating_add(self.interval_ms);
        if now_ms - aligned > self.late_ms {
            return Due {
                missed: passed.saturating_add(1),
                scrape: None,
            };
        }
        self.last = Some(aligned);
        Due {
            missed: passed,
            scrape: Some(aligned),
        }
    }

    /// How long nothing is due as far as is known at `now_ms`; [`ALIGNED_LOOK`] at most, since the clock may be set.
    pub fn wait(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.next.saturating_sub(now_ms)).min(ALIGNED_LOOK)
    }

    /// `next` is further away than one interval only when the clock was set back.
    fn look_back(&mut self, now_ms: u64) {
        if self.next.saturating_sub(now_ms) <= self.interval_ms {
            return;
        }
        let next = now_ms.checked_next_multiple_of(self.interval_ms);
        let next = next.unwrap_or(u64::MAX);
        self.next = match self.last {
            Some(last) if last == next => next.saturating_add(self.interval_ms),
            _ => next,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn scrape(at: u64, missed: u64) -> Due {
        Due {
            missed,
            scrape: Some(at),
        }
    }

    fn nothing(missed: u64) -> Due {
        Due {
            missed,
            scrape: None,
        }
    }

    /// What is due at each of these moments, with an interval of 10 s.
    fn check(start: u64, moments: &[(u64, Due)]) {
        let mut schedule = Schedule::new(10 * SECOND, start);
        for &(now, due) in moments {
            assert_eq!(schedule.due(now), due, "at {now} of {moments:?}");
        }
    }

    #[test]
    fn scrapes_come_at_multiples_and_each_once() {
        check(
            23_400,
            &[
                (23_400, nothing(0)),
                (29_999, nothing(0)),
                (30_000, scrape(30_000, 0)),
                (30_001, nothing(0)),
                (39_999, nothing(0)),
                (40_003, scrape(40_000, 0)),
                (50_000, scrape(50_000, 0)),
            ],
        );
        check(20_000, &[(20_000, scrape(20_000, 0))]);
    }

    #[test]
    fn a_scrape_that_overruns_passes_times_over() {
        check(
            20_000,
            &[
                (20_000, scrape(20_000, 0)),
                // Ended just behind the next time: that is still good.
                (30_900, scrape(30_000, 0)),
                // Too late for 40.
                (44_000, nothing(1)),
                (50_000, scrape(50_000, 0)),
                // 60 and 70 are gone, 80 is not.
                (80_200, scrape(80_000, 2)),
                // 90, 100 and 110 are gone.
                (119_000, nothing(3)),
                (120_000, scrape(120_000, 0)),
            ],
        );
    }

    #[test]
    fn a_clock_set_forwards_goes_on_with_its_next_multiple() {
        check(
            20_000,
            &[
                (20_000, scrape(20_000, 0)),
                (3_620_001, scrape(3_620_000, 359)),
                (3_620_002, nothing(0)),
                (7_224_000, nothing(360)),
                (7_230_000, scrape(7_230_000, 0)),
            ],
        );
    }

    #[test]
    fn a_clock_set_back_by_an_hour_goes_on_with_its_next_multiple() {
        check(
            3_620_000,
            &[
                (3_620_000, scrape(3_620_000, 0)),
                (21_000, nothing(0)),
                (29_999, nothing(0)),
                (30_000, scrape(30_000, 0)),
                (40_000, scrape(40_000, 0)),
            ],
        );
    }

    #[test]
    fn a_clock_set_back_a_little_scrapes_no_time_twice() {
        check(
            20_000,
            &[
                (20_010, scrape(20_000, 0)),
                (19_800, nothing(0)),
                (20_000, nothing(0)),
                (20_100, nothing(0)),
                (29_999, nothing(0)),
                (30_000, scrape(30_000, 0)),
                // Within the interval before the next time nothing changes.
                (38_000, nothing(0)),
                (33_000, nothing(0)),
                (40_000, scrape(40_000, 0)),
            ],
        );
    }

    #[test]
    fn a_short_interval_is_late_sooner() {
        let mut schedule = Schedule::new(SECOND, 5_000);
        assert_eq!(schedule.due(5_250), scrape(5_000, 0));
        assert_eq!(schedule.due(6_251), nothing(1));
        assert_eq!(schedule.due(7_000), scrape(7_000, 0));
    }

    #[test]
    fn it_waits_for_the_next_time_and_never_long() {
        let schedule = Schedule::new(10 * SECOND, 21_000);
        for (now, wait) in [
            (21_000, 1_000),
            (29_000, 1_000),
            (29_001, 999),
            (29_999, 1),
            (30_000, 0),
            (35_000, 0),
            (0, 1_000),
        ] {
            assert_eq!(schedule.wait(now), Duration::from_millis(wait), "at {now}");
        }
    }

    #[test]
    fn no_clock_and_no_interval_breaks_it() {
        for interval in [Duration::ZERO, SECOND, Duration::MAX] {
            for start in [0, 1, u64::MAX - 1, u64::MAX] {
                let mut schedule = Schedule::new(interval, start);
                for now in [u64::MAX, 0, 1, u64::MAX - 1, u64::MAX] {
                    schedule.due(now);
                    schedule.wait(now);
                }
            }
        }
    }

    proptest! {
        /// A clock that runs, stands still and is set: what is scraped is a multiple, just passed, and not the one before; and
        /// after an interval of running, something was due.
        #[test]
        fn any_clock_gets_its_multiples(
            interval in 1_000_u64..20_000,
            start in 0_u64..100_000,
            steps in prop::collection::vec((0_u8..20, -50_000_i64..50_000), 1..200),
        ) {
            let mut schedule = Schedule::new(Duration::from_millis(interval), start);
            let mut now = start;
            let mut last = None;
            let mut latest = start;
            for (kind, step) in steps {
                // Mostly it runs.
                let step = if kind > 0 { step.rem_euclid(1_000) } else { step };
                now = now.saturating_add_signed(step);
                latest = latest.max(now);
                if latest - now >= interval {
                    // Set back so far that it is believed.
                    (last, latest) = (None, now);
                }
                let due = schedule.due(now);
                if let Some(at) = due.scrape {
                    prop_assert_eq!(at % interval, 0);
                    prop_assert!(at <= now && now - at <= (interval / 4).min(ALIGNED_LATE_MS));
                    prop_assert!(last != Some(at), "{} twice", at);
                    last = Some(at);
                }
                prop_assert_eq!(schedule.due(now), nothing(0));
                let wait = schedule.wait(now);
                prop_assert!(wait > Duration::ZERO && wait <= ALIGNED_LOOK);
                let to_next = wait.as_millis() as u64;
                prop_assert!(to_next == 1_000 || (now + to_next).is_multiple_of(interval));
            }
            // From here it runs: two intervals, since the next one may have been scraped before the clock was set back.
            let until = now + 2 * interval;
            let mut scraped = 0;
            while now < until {
                now += 1 + schedule.wait(now).as_millis() as u64 / 2;
                scraped += u32::from(schedule.due(now).scrape.is_some());
            }
            prop_assert!(scraped >= 1);
        }
    }
}
