//! When offsets are committed, and when it is asked whether that has worked. No clock, no broker.

use std::time::{Duration, Instant};

use super::start::Offsets;
use crate::limits::{KAFKA_COMMIT_CHECK, KAFKA_COMMIT_INTERVAL};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Nothing for this long, or until something else is delivered.
    Wait(Duration),
    /// Commit these offsets.
    Now(Offsets),
    /// Ask whether these are committed.
    Check(Offsets),
}

/// What was committed last, as far as is known.
#[derive(Debug, Default)]
pub struct Commits {
    asked: Offsets,
    at: Option<Instant>,
}

impl Commits {
    /// What is to be done, when these offsets may be committed and are not known to be.
    pub fn look(&mut self, offsets: Offsets, now: Instant) -> Commit {
        if offsets.is_empty() {
            return Commit::Wait(Duration::MAX);
        }
        let is_asked = offsets == self.asked;
        let pause = if is_asked {
            KAFKA_COMMIT_CHECK
        } else {
            KAFKA_COMMIT_INTERVAL
        };
        if let Some(at) = self.at {
            let left = pause.saturating_sub(now.saturating_duration_since(at));
            if !left.is_zero() {
                return Commit::Wait(left);
            }
        }
        self.at = Some(now);
        if is_asked {
            return Commit::Check(offsets);
        }
        self.asked.clone_from(&offsets);
        Commit::Now(offsets)
    }

    /// What was committed last is not.
    pub fn again(&mut self) {
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_committed_once_in_a_while_and_what_stays_is_checked() {
        let offsets = |offset| Offsets::from([(0, offset)]);
        let start = Instant::now();
        let mut commits = Commits::default();
        let (interval, check) = (KAFKA_COMMIT_INTERVAL, KAFKA_COMMIT_CHECK);
        let mut look = |offsets, after| commits.look(offsets, start + after);
        let forever = Commit::Wait(Duration::MAX);
        assert_eq!(look(Offsets::new(), Duration::ZERO), forever);
        assert_eq!(look(offsets(1), Duration::ZERO), Commit::Now(offsets(1)));
        assert_eq!(look(offsets(2), interval / 2), Commit::Wait(interval / 2));
        assert_eq!(look(offsets(3), interval), Commit::Now(offsets(3)));
        assert_eq!(look(offsets(3), interval), Commit::Wait(check));
        let checked = interval + check;
        assert_eq!(look(offsets(3), checked), Commit::Check(offsets(3)));
        // Nobody knows: it is asked again.
        assert_eq!(look(offsets(3), checked), Commit::Wait(check));
        assert_eq!(look(Offsets::new(), checked), forever);
        commits.again();
        let next = start + checked + interval;
        assert_eq!(commits.look(offsets(3), next), Commit::Now(offsets(3)));
    }
}
