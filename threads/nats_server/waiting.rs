//! What waits for storage: PINGs, acknowledgements, and connections that are held back.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::nats::CloseReason;

use super::connection::{Connection, Turn};
use super::{Loop, Phase};

/// Time without input after which a PING that came early is taken to be behind its publishes, once some have come.
const EARLY_PING_QUIET: Duration = Duration::from_millis(5);
/// The same when nothing has come behind it: its client may only be slow.
const EARLY_PING_ALONE: Duration = Duration::from_millis(20);
/// Time after which it is taken in any case.
const EARLY_PING_WAIT: Duration = Duration::from_millis(200);

/// When a connection whose PING came early at `since` counts as quiet.
fn quiet_at(connection: &Connection, since: Instant) -> Instant {
    let quiet = if connection.last_in > since {
        EARLY_PING_QUIET
    } else {
        EARLY_PING_ALONE
    };
    connection.last_in + quiet
}

impl Loop {
    /// Takes the PINGs that came early once their connection has nothing more to read.
    pub(super) fn settle_early(&mut self) {
        for (id, since) in std::mem::take(&mut self.early) {
            let (room, stored, now) = (self.room(), self.stored(), self.now);
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                continue;
            };
            let is_quiet = connection.turn == Turn::Polled && now >= quiet_at(connection, since);
            if !is_quiet && now < since + EARLY_PING_WAIT && self.phase == Phase::Serving {
                self.early.push((id, since));
                continue;
            }
            let publisher = &mut connection.publisher;
            let was_waiting = publisher.is_waiting();
            let mut taken = self
                .intake
                .late_pings(&mut self.broker, id, publisher, room, stored);
            if !was_waiting && publisher.is_waiting() {
                self.pinging.push(id);
            }
            self.hand_over(&mut taken, Bytes::new());
        }
    }

    /// When the next of them is to be looked at.
    pub(super) fn early_at(&self) -> Option<Instant> {
        let quiet = self.early.iter().map(|&(id, since)| {
            let connection = self.connections.get(id).and_then(Option::as_ref);
            let quiet = connection
                .filter(|c| c.turn == Turn::Polled)
                .map(|c| quiet_at(c, since));
            quiet.unwrap_or(since + EARLY_PING_WAIT)
        });
        quiet.min()
    }

    /// Answers what waited for storage, and lets held connections go on.
    pub(super) fn settle(&mut self) {
        if self.pinging.is_empty()
            && !self.intake.is_waiting()
            && self.held.is_empty()
            && self.phase == Phase::Serving
        {
            return;
        }
        // First ask for a wake-up, then look: what happens in between is not missed.
        self.log_progress.wait();
        self.event_progress.wait();
        self.control_progress.wait();
        let stored = self.stored();
        let (connections, broker) = (&mut self.connections, &mut self.broker);
        self.pinging.retain(|&id| {
            let Some(Some(connection)) = connections.get_mut(id) else {
                return false;
            };
            for _ in 0..connection.publisher.settle(stored) {
                broker.pong(id);
            }
            if connection.turn == Turn::Ended && !connection.publisher.is_waiting() {
                broker.close(id, CloseReason::ClientClosed);
            }
            connection.publisher.is_waiting()
        });
        self.intake.settle(stored, &mut self.broker);
        // In the order in which they began to wait, each once; the rest stays until there is room again.
        for _ in 0..self.held.len() {
            let room = self.room();
            let Some(next) = self.held.iter().position(|&(_, way)| room.on(way)) else {
                break;
            };
            let (id, _) = self.held.remove(next);
            self.resume(id, room);
        }
    }
}
