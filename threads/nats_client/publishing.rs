//! What CIM publishes on an external server: acknowledgements, notifications, and the PINGs that tell what is with the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::link::Link;
use crate::limits::{
    ACKS_WAITING, EXTERNAL_PING_INTERVAL, EXTERNAL_PONG_TIME, EXTERNAL_UNDER_WAY_BYTES,
};
use crate::metrics::Metrics;
use crate::notifications::{Outlet, SUBJECT};

/// A PING that is not answered yet.
struct Ping {
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
    ping: Option<Ping>,
    /// Number of the last PING.
    last: u64,
    answered: u64,
    /// A PING with this number is wanted.
    wanted: u64,
    ping_at: Instant,
    /// The first PING of this connection is answered: the subscriptions are in force.
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
            ping: None,
            last: 0,
            answered: 0,
            wanted: 0,
            ping_at: now,
            is_ready: false,
            metrics,
        }
    }

    /// When it has something to do, or to miss.
    pub(super) fn look_at(&self) -> Instant {
        match &self.ping {
            Some(ping) => ping.sent_at + EXTERNAL_PONG_TIME,
            None => self.ping_at,
        }
    }

    /// A new connection.
    pub(super) fn begin(&mut self, now: Instant) {
        self.ping_at = now;
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self) {
        self.outlet.set_heard(false);
        self.is_ready = false;
        self.ping = None;
        self.under_way_bytes = 0;
        while let Some(payload) = self.under_way.pop_back() {
            self.again.push_front(payload);
        }
    }

    /// Nothing was read up to now.
    pub(super) fn was_held(&mut self, now: Instant) {
        if let Some(ping) = &mut self.ping {
            ping.sent_at = now;
        }
    }

    /// The PONG did not come in time.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.ping
            .as_ref()
            .is_some_and(|ping| now >= ping.sent_at + EXTERNAL_PONG_TIME)
    }

    /// Number of the last PING that was answered: all that the server had sent before is read, and all that was published before is there.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Sends a PING as soon as can be, and returns its number.
    pub(super) fn want_ping(&mut self) -> u64 {
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

    /// A PONG has come; true when it is the first one of this connection.
    pub(super) fn on_pong(&mut self, now: Instant) -> bool {
        let Some(ping) = self.ping.take() else {
            return false;
        };
        self.answered = ping.number;
        self.under_way
            .drain(..ping.notifications.min(self.under_way.len()));
        self.delivered += ping.notifications as u64;
        self.under_way_bytes -= ping.bytes;
        self.ping_at = now + EXTERNAL_PING_INTERVAL;
        self.outlet.set_delivered(self.delivered);
        self.outlet.set_heard(true);
        !std::mem::replace(&mut self.is_ready, true)
    }

    /// Publishes what there is.
    pub(super) fn publish(&mut self, link: &mut Link, now: Instant) {
        self.publish_acks(link);
        self.notify(link);
        self.send_ping(link, now);
    }

    fn publish_acks(&mut self, link: &mut Link) {
        while self.under_way_bytes < EXTERNAL_UNDER_WAY_BYTES
            && let Some((subject, text)) = self.acks.pop_front()
        {
            link.publish(&subject, &text);
            self.published(subject.len() + text.len(), text.len());
        }
    }

    fn notify(&mut self, link: &mut Link) {
        while self.is_ready
            && self.under_way_bytes < EXTERNAL_UNDER_WAY_BYTES
            && let Some(payload) = self.again.pop_front().or_else(|| self.outlet.next())
        {
            let bytes = payload.len();
            if self.under_way_bytes > 0 && bytes > EXTERNAL_UNDER_WAY_BYTES {
                // A large one goes alone, once the others have arrived.
                self.again.push_front(payload);
                return;
            }
            if bytes > link.max_payload {
                log::error!(
                    "a notification of {bytes} bytes is lost: {} takes {} bytes (max_payload)",
                    link.server,
                    link.max_payload
                );
                let dropped = &self.metrics.external_dropped;
                dropped.with_label_values(&[SUBJECT]).inc();
                self.under_way.push_back(Vec::new());
                continue;
            }
            link.publish(SUBJECT, &payload);
            self.published(bytes, bytes);
            self.under_way.push_back(payload);
        }
    }

    fn published(&mut self, under_way: usize, payload: usize) {
        self.under_way_bytes += under_way;
        self.metrics.nats_out_messages.inc();
        self.metrics.nats_out_bytes.inc_by(payload as u64);
    }

    fn send_ping(&mut self, link: &mut Link, now: Instant) {
        let is_due = now >= self.ping_at
            || self.wanted > self.last
            || !self.under_way.is_empty()
            || self.under_way_bytes >= EXTERNAL_UNDER_WAY_BYTES / 2;
        if self.ping.is_some() || !is_due {
            return;
        }
        link.ping();
        self.last += 1;
        self.ping = Some(Ping {
            number: self.last,
            sent_at: now,
            notifications: self.under_way.len(),
            bytes: self.under_way_bytes,
        });
    }
}
