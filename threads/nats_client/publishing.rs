//! What CIM publishes on an external server: acknowledgements, notifications, and its own echo.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::Link;
use crate::limits::{
    ACKS_WAITING, EXTERNAL_ECHO_INTERVAL, EXTERNAL_ECHO_TIME, EXTERNAL_UNDER_WAY_BYTES,
};
use crate::metrics::Metrics;
use crate::notifications::{Outlet, SUBJECT};

/// Time after which a publish is tried again that the crate was too busy for.
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// An echo that is under way.
struct Echo {
    number: u64,
    sent_at: Instant,
    /// Notifications that were published before it.
    notifications: usize,
    /// Bytes that were.
    bytes: usize,
}

pub(super) struct Publishing {
    outlet: Outlet,
    /// Subjects and texts.
    acks: VecDeque<(String, Vec<u8>)>,
    /// Notifications that were lost with a connection, perhaps.
    again: VecDeque<Vec<u8>>,
    /// Notifications that are published, and not yet known to be with the server. They are no more than the outlet lets be under way.
    under_way: VecDeque<Vec<u8>>,
    under_way_bytes: usize,
    delivered: u64,
    echo: Option<Echo>,
    /// Number of the last echo.
    last: u64,
    confirmed: u64,
    /// An echo with this number is wanted.
    wanted: u64,
    echo_at: Instant,
    retry_at: Option<Instant>,
    /// The first echo of this connection has come back: the subscriptions are in force.
    is_ready: bool,
    metrics: Arc<Metrics>,
}

impl Publishing {
    pub(super) fn new(outlet: Outlet, metrics: Arc<Metrics>, now: Instant) -> Self {
        // CIM's message to itself (CONTRACT section 2): it shows in the metrics that the way to the subscriptions is open.
        let test = ("TEST".to_owned(), b"CIM is listening".to_vec());
        Self {
            outlet,
            acks: VecDeque::from([test]),
            again: VecDeque::new(),
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            delivered: 0,
            echo: None,
            last: 0,
            confirmed: 0,
            wanted: 0,
            echo_at: now,
            retry_at: None,
            is_ready: false,
            metrics,
        }
    }

    /// When it has something to do, or to miss.
    pub(super) fn look_at(&self) -> Instant {
        let echo = match &self.echo {
            Some(echo) => echo.sent_at + EXTERNAL_ECHO_TIME,
            None => self.echo_at,
        };
        self.retry_at.map_or(echo, |at| at.min(echo))
    }

    /// A new connection.
    pub(super) fn begin(&mut self, now: Instant) {
        self.echo_at = now;
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self) {
        self.outlet.set_heard(false);
        self.is_ready = false;
        self.echo = None;
        self.under_way_bytes = 0;
        self.retry_at = None;
        while let Some(payload) = self.under_way.pop_back() {
            self.again.push_front(payload);
        }
    }

    /// Nothing could come back up to now.
    pub(super) fn was_held(&mut self, now: Instant) {
        if let Some(echo) = &mut self.echo {
            echo.sent_at = now;
        }
    }

    /// The echo did not come back in time.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.echo
            .as_ref()
            .is_some_and(|echo| now >= echo.sent_at + EXTERNAL_ECHO_TIME)
    }

    /// Number of the last echo that came back.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Sends an echo as soon as can be, and returns its number.
    pub(super) fn want_echo(&mut self) -> u64 {
        self.wanted = self.last + 1;
        self.wanted
    }

    /// Publishes `text` on `subject`.
    pub(super) fn acknowledge(&mut self, subject: &[u8], text: &[u8]) {
        // While the server is away for long, whoever asked for them has given up.
        if self.acks.len() >= ACKS_WAITING {
            self.acks.pop_front();
        }
        if let Ok(subject) = std::str::from_utf8(subject) {
            self.acks.push_back((subject.to_owned(), text.to_vec()));
        }
    }

    /// An echo has come back; true when it is the first one of this connection.
    pub(super) fn on_echo(&mut self, text: &[u8], now: Instant) -> bool {
        let number = std::str::from_utf8(text).ok();
        let number = number.and_then(|number| number.parse::<u64>().ok());
        let Some(echo) = self.echo.take_if(|echo| number == Some(echo.number)) else {
            return false;
        };
        self.confirmed = echo.number;
        self.under_way
            .drain(..echo.notifications.min(self.under_way.len()));
        self.delivered += echo.notifications as u64;
        self.under_way_bytes -= echo.bytes;
        self.echo_at = now + EXTERNAL_ECHO_INTERVAL;
        self.outlet.set_delivered(self.delivered);
        self.outlet.set_heard(true);
        !std::mem::replace(&mut self.is_ready, true)
    }

    /// Publishes what there is.
    pub(super) fn publish(&mut self, link: &Link, now: Instant) {
        self.retry_at = None;
        if !(self.publish_acks(link) && self.notify(link) && self.send_echo(link, now)) {
            self.retry_at = Some(now + BUSY_WAIT);
        }
    }

    fn publish_acks(&mut self, link: &Link) -> bool {
        while self.under_way_bytes < EXTERNAL_UNDER_WAY_BYTES
            && let Some((subject, text)) = self.acks.front()
        {
            if !link.publish(subject, text) {
                return false;
            }
            self.published(subject.len() + text.len(), text.len());
            self.acks.pop_front();
        }
        true
    }

    fn notify(&mut self, link: &Link) -> bool {
        while self.is_ready
            && self.under_way_bytes < EXTERNAL_UNDER_WAY_BYTES
            && let Some(payload) = self.again.pop_front().or_else(|| self.outlet.next())
        {
            let bytes = payload.len();
            if self.under_way_bytes > 0 && bytes > EXTERNAL_UNDER_WAY_BYTES {
                // A large one goes alone, once the others have arrived.
                self.again.push_front(payload);
                return true;
            }
            if bytes > link.payload_bytes() {
                log::error!(
                    "a notification of {bytes} bytes is lost: {} takes {} bytes (max_payload)",
                    link.server,
                    link.payload_bytes()
                );
                let dropped = &self.metrics.external_dropped;
                dropped.with_label_values(&[SUBJECT]).inc();
                self.under_way.push_back(Vec::new());
                continue;
            }
            if !link.publish(SUBJECT, &payload) {
                self.again.push_front(payload);
                return false;
            }
            self.published(bytes, bytes);
            self.under_way.push_back(payload);
        }
        true
    }

    fn published(&mut self, under_way: usize, payload: usize) {
        self.under_way_bytes += under_way;
        self.metrics.nats_out_messages.inc();
        self.metrics.nats_out_bytes.inc_by(payload as u64);
    }

    fn send_echo(&mut self, link: &Link, now: Instant) -> bool {
        let is_due = now >= self.echo_at
            || self.wanted > self.last
            || !self.under_way.is_empty()
            || self.under_way_bytes >= EXTERNAL_UNDER_WAY_BYTES / 2;
        if self.echo.is_some() || !is_due {
            return true;
        }
        let number = self.last + 1;
        if !link.send_echo(number) {
            return false;
        }
        self.last = number;
        self.echo = Some(Echo {
            number,
            sent_at: now,
            notifications: self.under_way.len(),
            bytes: self.under_way_bytes,
        });
        true
    }
}
