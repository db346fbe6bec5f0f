//! Messages of CIM's own on EVENT-NOTIFICATION: published while somebody is subscribed, delivered when it is in the sockets.

use std::collections::VecDeque;

use crate::nats::Broker;
use crate::nats::broker::Mark;
use crate::notifications::{Outlet, SUBJECT};

use super::{Loop, Phase};

pub(super) struct Notifying {
    outlet: Outlet,
    /// One that found nobody after all.
    kept: Option<Vec<u8>>,
    published: u64,
    /// What waits in which client's way, with the number of the message. No more than the outlet lets be under way, for each client.
    under_way: VecDeque<(u64, Mark)>,
}

impl Notifying {
    pub(super) fn new(outlet: Outlet) -> Self {
        Self {
            outlet,
            kept: None,
            published: 0,
            under_way: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        self.kept.take().or_else(|| self.outlet.next())
    }

    /// Publishes what waits, until a client should be flushed first; true when that is so.
    fn publish(&mut self, broker: &mut Broker) -> bool {
        while let Some(payload) = self.next() {
            let number = self.published + 1;
            let before = self.under_way.len();
            let marks = broker.publish_own(SUBJECT.as_bytes(), &payload);
            self.under_way.extend(marks.map(|mark| (number, mark)));
            if self.under_way.len() == before {
                // Whoever is subscribed is on its way out.
                self.kept = Some(payload);
                return false;
            }
            self.published = number;
            if broker.wants_flush() {
                return true;
            }
        }
        false
    }

    /// Says what is delivered.
    fn settle(&mut self, broker: &Broker) {
        while let Some((_, mark)) = self.under_way.front()
            && broker.is_past(mark)
        {
            self.under_way.pop_front();
        }
        let first = self.under_way.front().map(|(number, _)| number - 1);
        self.outlet.set_delivered(first.unwrap_or(self.published));
    }
}

impl Loop {
    /// Publishes what there is to publish.
    pub(super) fn notify(&mut self) {
        let is_heard = self.phase != Phase::Ended && self.broker.has_interest(SUBJECT.as_bytes());
        self.notifying.outlet.set_heard(is_heard);
        while is_heard && self.notifying.publish(&mut self.broker) {
            for id in self.broker.take_full() {
                self.flush_one(id);
            }
        }
    }

    /// After clients were flushed.
    pub(super) fn settle_notified(&mut self) {
        self.notifying.settle(&self.broker);
    }
}
