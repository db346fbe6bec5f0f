//! What is remembered of one connection between its reads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Room, Stored, Way};

/// A PING that waits.
#[derive(Debug)]
pub(super) struct WaitingPong {
    pub(super) behind: Stored,
    pub(super) count: u32,
}

/// What is remembered of one connection.
#[derive(Debug, Default)]
pub struct Publisher {
    /// Numbers of the last batches with messages of this connection.
    pub(super) last: Stored,
    pub(super) pongs: VecDeque<WaitingPong>,
    /// It has published to LOG: while LOG has no room there is no sense in reading from it.
    pub publishes_log: bool,
    /// The same for EVENT.
    pub publishes_events: bool,
    /// The same for CONFIG and TEST.
    pub publishes_control: bool,
    /// PINGs of the server without an answer.
    pub pings_outstanding: u32,
    /// When the first of them was sent.
    pinged_at: Option<Instant>,
    /// Time from the last PING to its PONG.
    pub round_trip: Option<Duration>,
    /// PINGs whose publishes come after them: see [`super::Intake::late_pings`].
    pub early_pings: u32,
}

impl Publisher {
    /// The server sends it a PING.
    pub fn pinged(&mut self, now: Instant) {
        self.pings_outstanding += 1;
        self.pinged_at.get_or_insert(now);
    }

    /// It has answered.
    pub(super) fn ponged(&mut self, now: Instant) {
        self.pings_outstanding = 0;
        if let Some(at) = self.pinged_at.take() {
            self.round_trip = Some(now.saturating_duration_since(at));
        }
    }

    /// A PING waits for what was published before it.
    pub fn is_waiting(&self) -> bool {
        !self.pongs.is_empty()
    }

    /// The way without room that it publishes to.
    pub fn must_wait(&self, room: Room) -> Option<Way> {
        if self.publishes_log && !room.log {
            Some(Way::Log)
        } else if self.publishes_events && !room.event {
            Some(Way::Event)
        } else if self.publishes_control && !room.control {
            Some(Way::Control)
        } else {
            None
        }
    }

    /// The PINGs that may be answered now.
    pub fn settle(&mut self, stored: Stored) -> u32 {
        let mut count = 0;
        while let Some(pong) = self.pongs.front()
            && stored.covers(pong.behind)
        {
            count += pong.count;
            self.pongs.pop_front();
        }
        count
    }
}
