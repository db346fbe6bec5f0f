//! Holds the reading thread of crate `nats` back, so that an external server keeps what CIM has no room for.
//!
//! The crate reads as fast as it can into queues without a bound of their own. Its one lever: the error callback is called on its
//! reading thread for each message of a subscription that may keep none. So CIM sends itself such a message, and the callback waits here.
//! While it waits the crate holds locks: nothing is to be published, subscribed or dropped until the gate is open again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Open until it is closed.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed_until: Mutex<Option<Instant>>,
    opened: Condvar,
}

impl Gate {
    /// From now on, for at most `time`, whoever comes by waits.
    pub(super) fn close(&self, now: Instant, time: Duration) {
        *self.lock() = Some(now + time);
    }

    /// Lets go who waits.
    pub(super) fn open(&self) {
        *self.lock() = None;
        self.opened.notify_all();
    }

    /// Waits while the gate is closed.
    pub(super) fn pass(&self) {
        let mut closed_until = self.lock();
        while let Some(left) = closed_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
        {
            closed_until = self
                .opened
                .wait_timeout(closed_until, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Nothing in here can be half changed.
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.closed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn who_comes_by_waits_until_it_is_opened_or_the_time_is_up() {
        let gate = Arc::new(Gate::default());
        gate.pass();
        gate.close(Instant::now(), Duration::from_secs(600));
        let waiting = std::thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.pass()
        });
        assert!(!waiting.is_finished());
        gate.open();
        waiting.join().unwrap();
        let start = Instant::now();
        gate.close(start, Duration::from_millis(20));
        gate.pass();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
