//! Whether the application is still there, as its NATS connections tell: for a pod that is to complete (`CIM_END_AFTER_APP`).
//!
//! An application is there while it has a connection. One that never had any is still starting. What is stored and not yet delivered
//! keeps CIM up beyond it: the volumes of a pod that has completed go with it.

use std::time::{Duration, Instant};

/// What is seen at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// NATS connections that are open.
    pub open: u64,
    /// NATS connections that were accepted since CIM started.
    pub accepted: u64,
    /// Events and log lines that are stored and still to be delivered.
    pub undelivered: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Presence {
    absence: Duration,
    accepted: u64,
    /// Since when there is no connection; `None` while there is one, and before the first one.
    gone_since: Option<Instant>,
}

impl Presence {
    /// An application counts as gone after `absence` without a connection.
    pub fn new(absence: Duration) -> Self {
        Self {
            absence,
            accepted: 0,
            gone_since: None,
        }
    }

    /// Takes in what is seen at `now`; true once the application is gone for good and nothing is left to deliver.
    pub fn is_over(&mut self, seen: Seen, now: Instant) -> bool {
        // One may have come and gone between two looks.
        let came = seen.accepted != self.accepted;
        self.accepted = seen.accepted;
        if seen.open > 0 || seen.accepted == 0 {
            self.gone_since = None;
            return false;
        }
        if came {
            self.gone_since = Some(now);
        }
        let since = *self.gone_since.get_or_insert(now);
        now.saturating_duration_since(since) >= self.absence && seen.undelivered == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look a second; each is (open, accepted, undelivered).
    #[track_caller]
    fn check(looks: &[(u64, u64, u64)], over_at: Option<usize>) {
        let mut presence = Presence::new(Duration::from_secs(3));
        let start = Instant::now();
        let over = looks
            .iter()
            .zip(0_u32..)
            .position(|(&(open, accepted, undelivered), n)| {
                let seen = Seen {
                    open,
                    accepted,
                    undelivered,
                };
                presence.is_over(seen, start + n * Duration::from_secs(1))
            });
        assert_eq!(over, over_at, "{looks:?}");
    }

    #[test]
    fn over_is_over_when_an_application_was_there_and_is_gone_for_the_time() {
        check(&[(0, 0, 0); 20], None);
        check(&[(1, 1, 0); 20], None);
        let gone = [(1, 1, 0), (0, 1, 0), (0, 1, 0), (0, 1, 0), (0, 1, 0)];
        check(&gone, Some(4));
    }

    #[test]
    fn a_connection_between_two_looks_counts() {
        check(&[(0, 1, 0); 4], Some(3));
        let again = [(0, 1, 0), (0, 1, 0), (0, 2, 0), (0, 2, 0), (0, 2, 0)];
        check(&again, None);
    }

    #[test]
    fn an_application_that_comes_back_is_there_again() {
        let back = [(0, 1, 0), (0, 1, 0), (1, 2, 0), (0, 2, 0), (0, 2, 0)];
        check(&back, None);
    }

    #[test]
    fn what_is_to_be_delivered_is_waited_for() {
        let late = [(0, 1, 9), (0, 1, 9), (0, 1, 9), (0, 1, 9), (0, 1, 0)];
        check(&late, Some(4));
    }
}
