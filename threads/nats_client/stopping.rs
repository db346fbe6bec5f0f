//! The end of the thread's life: what the server had sent is read, stored and acknowledged first.

use std::time::Instant;

use super::{Acks, Loop};
use crate::limits::{STOP_READ_TIME, STOP_TIME};
use crate::nats::intake::Stored;

/// Where the thread is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Reads what the server had sent: until this PING is answered, or the time is up.
    Draining(u64, Instant),
    /// Reads nothing; waits for the data path to store everything.
    Storing(Instant),
    /// Waits until the last acknowledgements are with the server: until this PING is answered.
    Leaving(u64, Instant),
    Ended,
}

impl Phase {
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Draining(_, until) | Self::Storing(until) | Self::Leaving(_, until) => {
                Some(until)
            }
            Self::Serving | Self::Ended => None,
        }
    }

    /// Messages are taken.
    pub(super) fn is_reading(self) -> bool {
        matches!(self, Self::Serving | Self::Draining(..))
    }
}

impl Loop {
    /// Nothing is left to wait for in this phase. Looked at before each sleep, after `settle` has asked for a wake-up.
    pub(super) fn is_phase_over(&self) -> bool {
        match self.phase {
            Phase::Serving | Phase::Ended => false,
            Phase::Draining(ping, _) | Phase::Leaving(ping, _) => {
                self.link.is_none() || self.publishing.answered() >= ping
            }
            Phase::Storing(_) => {
                self.log.is_empty()
                    && self.events.is_empty()
                    && self.control.is_empty()
                    && self.stored().covers(Stored {
                        log: self.log.last(),
                        event: self.events.last(),
                        control: self.control.last(),
                    })
            }
        }
    }

    /// Moves on through the end of the thread's life.
    pub(super) fn advance(&mut self) {
        if self.phase == Phase::Serving && self.stop.is_asked() {
            self.connect_at = None;
            self.cooled_at = None;
            self.let_go();
            if let Some(link) = &mut self.link {
                link.unsubscribe();
            }
            let ping = self.publishing.want_ping();
            self.phase = Phase::Draining(ping, self.now + STOP_READ_TIME);
        }
        let is_over = self.is_phase_over()
            || self.phase.until().is_some_and(|until| self.now >= until)
            || (self.phase.until().is_some() && self.stop.is_at_once());
        if !is_over {
            return;
        }
        match self.phase {
            Phase::Serving | Phase::Ended => {}
            Phase::Draining(..) => {
                // What is there by now is stored, whether its acknowledgement finds a place or not.
                self.receive(Acks::Forgone);
                self.phase = Phase::Storing(self.now + STOP_TIME);
            }
            Phase::Storing(_) => {
                // What the data path has not taken by now is lost; it may end.
                self.settle();
                self.senders = None;
                let ping = self.publishing.want_ping();
                self.phase = Phase::Leaving(ping, self.now + STOP_READ_TIME);
            }
            Phase::Leaving(..) => self.phase = Phase::Ended,
        }
    }
}
