//! When what lies in a file was written, roughly: a few points of it, whatever its size.

use crate::limits::BACKLOG_TIMES;

/// Points at which lines were written, in order; the first one stays.
#[derive(Debug, Clone)]
pub struct Times(Vec<(u64, u64)>);

impl Times {
    /// From offset `at` on, written at `ms`.
    pub fn new(at: u64, ms: u64) -> Self {
        Self(vec![(at, ms)])
    }

    /// What comes at `at` is written at `ms`. Takes no notice of less than a second.
    pub fn add(&mut self, at: u64, ms: u64) {
        if self
            .0
            .last()
            .is_some_and(|last| ms < last.1.saturating_add(1000))
        {
            return;
        }
        if self.0.len() >= BACKLOG_TIMES {
            let mut nth = 0;
            self.0.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
        self.0.push((at, ms));
    }

    /// When what lies at `at` was written, at the earliest.
    pub fn of(&self, at: u64) -> u64 {
        let behind = self.0.partition_point(|point| point.0 <= at);
        let point = self.0.get(behind.saturating_sub(1));
        point.map_or(0, |point| point.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_points_tell_how_old_a_line_is_at_the_most() {
        let mut times = Times::new(10, 5_000);
        assert_eq!(
            (times.of(0), times.of(10), times.of(99)),
            (5_000, 5_000, 5_000)
        );
        times.add(20, 5_999);
        assert_eq!(times.of(99), 5_000);
        for n in 1..=1000 {
            times.add(10 + n * 10, 5_000 + n * 1000);
            assert!(times.0.len() <= BACKLOG_TIMES);
        }
        assert_eq!(times.of(10), 5_000);
        assert_eq!(times.of(20_000), 1_005_000);
        for n in 0..=1000 {
            assert!(times.of(10 + n * 10) <= 5_000 + n * 1000);
        }
    }
}
