//! The end of the thread's life: what clients had sent is read, stored and answered before they are told goodbye.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crate::limits::{STOP_READ_TIME, STOP_TIME};
use crate::nats::{ClientId, CloseReason};

use super::connection::Turn;
use super::{Loop, Phase};

/// Asks the thread to end. The waker must be called after it.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicU8,
    lame_duck: AtomicBool,
    closed: AtomicBool,
    leaving: AtomicUsize,
}

impl Stop {
    /// The end is near: clients are told once (`ldm` in INFO), and everything goes on.
    pub fn soon(&self) {
        self.lame_duck.store(true, Ordering::SeqCst);
    }

    /// Nobody is let in any more, and so many more of the clients that there are, the oldest first, are told goodbye.
    pub fn send_away(&self, clients: usize) {
        self.leaving.fetch_add(clients, Ordering::SeqCst);
        self.closed.store(true, Ordering::SeqCst);
    }

    /// In order: what clients have sent is read, and stored before they are told goodbye.
    pub fn in_order(&self) {
        self.asked.fetch_max(1, Ordering::SeqCst);
    }

    /// Now: the data path behind has died, and nothing more will be stored.
    pub fn at_once(&self) {
        self.asked.store(2, Ordering::SeqCst);
    }

    pub(in crate::threads) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0
    }

    pub(in crate::threads) fn is_at_once(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 1
    }
}

impl Loop {
    /// Nothing is left to wait for in this phase. Looked at before each sleep, after `settle` has asked for a wake-up:
    /// when all is stored by then, none will come.
    pub(super) fn phase_is_over(&self) -> bool {
        match self.phase {
            Phase::Draining(_) | Phase::Storing(_) if self.stop.is_at_once() => true,
            Phase::Draining(_) => self.ready.is_empty() && self.held.is_empty(),
            Phase::Storing(_) => self.stored().covers(self.intake.last()),
            Phase::Serving | Phase::Ended => false,
        }
    }

    fn send_away(&mut self) {
        let _ = self.poll.registry().deregister(&mut self.listener);
        // Who comes now is refused by the kernel, instead of waiting for an answer.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let clients = self.stop.leaving.swap(0, Ordering::SeqCst);
        let open = self.connections.iter().enumerate();
        let mut open: Vec<_> = open
            .filter_map(|(id, connection)| Some((connection.as_ref()?.opened, id)))
            .collect();
        open.sort_unstable();
        for &(_, id) in open.iter().take(clients) {
            self.broker.close(id, CloseReason::ServerShutdown);
        }
    }

    /// Moves on through the end of the thread's life.
    pub(super) fn advance(&mut self) {
        if self.stop.lame_duck.swap(false, Ordering::SeqCst) {
            self.broker.enter_lame_duck();
        }
        if self.stop.closed.swap(false, Ordering::SeqCst) {
            self.send_away();
        }
        match self.phase {
            Phase::Serving if self.stop.is_asked() => {
                let _ = self.poll.registry().deregister(&mut self.listener);
                self.phase = Phase::Draining(self.now + STOP_READ_TIME);
                let ids: Vec<ClientId> = (0..self.connections.len()).collect();
                self.cooling.clear();
                self.cooled_at = None;
                for id in ids {
                    if self
                        .connection(id)
                        .is_some_and(|connection| connection.turn != Turn::Held)
                    {
                        self.make_ready(id);
                    }
                }
            }
            Phase::Draining(until) if self.phase_is_over() || self.now >= until => {
                self.ready.clear();
                self.held.clear();
                self.senders = None;
                self.phase = Phase::Storing(self.now + STOP_TIME);
            }
            Phase::Storing(until) => {
                if self.phase_is_over() || self.now >= until {
                    self.settle();
                    for id in 0..self.connections.len() {
                        self.broker.close(id, CloseReason::ServerShutdown);
                    }
                    self.flush();
                    self.close_marked();
                    self.phase = Phase::Ended;
                }
            }
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
        }
    }
}
