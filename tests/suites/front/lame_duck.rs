//! nats-server's lame duck mode: nobody new, and the clients that there are sent away one after the other.

use std::time::{Duration, Instant};

use cim::nats::config::{LAME_DUCK_DURATION, LAME_DUCK_GRACE, ServerConfig};
use cim::random;

/// Longest time between two clients.
const PACE: Duration = Duration::from_secs(1);

/// The mode, once it has begun.
pub struct LameDuck {
    left: usize,
    pace: Duration,
    next: Instant,
}

impl LameDuck {
    /// With so many clients.
    pub fn new(config: &ServerConfig, clients: usize) -> Self {
        let grace = config.lame_duck_grace_period.unwrap_or(LAME_DUCK_GRACE);
        let duration = config.lame_duck_duration.unwrap_or(LAME_DUCK_DURATION);
        let closing = duration.saturating_sub(grace);
        let share = closing / u32::try_from(clients.max(1)).unwrap_or(u32::MAX);
        let wait = if clients == 0 { Duration::ZERO } else { grace };
        Self {
            left: clients,
            pace: share.min(PACE),
            next: Instant::now() + wait,
        }
    }

    /// When a client is next to go.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// One goes; the next one after a time between a half and all of the pace. False: it was the last one.
    pub fn go_on(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        let part = (random::number() % 512 + 512) as f64 / 1024.0;
        self.next = Instant::now() + self.pace.mul_f64(part);
        self.left > 0
    }
}
