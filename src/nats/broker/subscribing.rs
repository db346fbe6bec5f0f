//! Subscriptions: who has which, and which there are.

use std::rc::Rc;

use super::quoted::quoted;
use super::{Broker, ClientId};
use crate::nats::monitor::{SubInfo, SublistStats};
use crate::nats::subject;
use crate::nats::sublist::SubId;

pub(super) struct Subscription {
    pub(super) client: ClientId,
    pub(super) sid: Rc<[u8]>,
    pub(super) subject: Rc<[u8]>,
    pub(super) queue: Option<Rc<[u8]>>,
    /// 0: for ever.
    pub(super) max: u64,
    pub(super) delivered: u64,
}

impl Subscription {
    fn bytes(&self) -> usize {
        self.subject.len() + self.sid.len() + self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    fn info(&self, cid: u64) -> SubInfo {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        SubInfo {
            subject: text(&self.subject),
            queue: self.queue.as_deref().map(text).unwrap_or_default(),
            sid: text(&self.sid),
            msgs: self.delivered,
            max: self.max,
            cid,
        }
    }
}

impl Broker {
    /// Subscriptions of all clients.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// The subscriptions of one client.
    pub fn subscriptions_of(&self, id: ClientId) -> impl Iterator<Item = SubInfo> + '_ {
        self.clients.get(id).into_iter().flat_map(|client| {
            let subscriptions = client.subscriptions.values();
            let subscriptions = subscriptions.filter_map(|&sub| self.subscriptions.get(sub));
            subscriptions.map(|subscription| subscription.info(client.number))
        })
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = SubInfo> + '_ {
        self.subscriptions.iter().map(|(_, subscription)| {
            let client = self.clients.get(subscription.client);
            subscription.info(client.map_or(0, |client| client.number))
        })
    }

    /// What the index of subscriptions has counted.
    pub fn sublist_stats(&self) -> SublistStats {
        self.sublist.stats()
    }

    /// Whether somebody is subscribed to `subject`.
    pub fn has_interest(&mut self, subject: &[u8]) -> bool {
        !self.subscriptions.is_empty() && !self.sublist.matches(subject).is_empty()
    }

    pub(super) fn subscribe(
        &mut self,
        id: ClientId,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let permissions = client.permissions.as_deref();
        if permissions.is_some_and(|permissions| !permissions.may_subscribe(subject, queue)) {
            let mut text = format!(
                "Permissions Violation for Subscription to {}",
                quoted(subject)
            );
            if let Some(queue) = queue {
                text.push_str(&format!(" using queue {}", quoted(queue)));
            }
            self.stats.violations += 1;
            return self.error(id, &text);
        }
        let bytes = subject.len() + sid.len() + queue.map_or(0, <[u8]>::len);
        if client.subscriptions.len() >= self.limits.client_subscriptions
            || self.subscriptions.len() >= self.limits.all_subscriptions
            || self.subscription_bytes + bytes > self.limits.all_subscription_bytes
        {
            return self.error(id, "maximum subscriptions exceeded");
        }
        if client.subscriptions.contains_key(sid) {
            return self.ok_if_verbose(id);
        }
        if !subject::is_valid(subject) {
            return self.error(id, "Invalid Subject");
        }
        let subject: Rc<[u8]> = subject.into();
        let queue: Option<Rc<[u8]>> = queue.map(Rc::from);
        let sid: Rc<[u8]> = sid.into();
        let sub = self.subscriptions.insert(Subscription {
            client: id,
            sid: sid.clone(),
            subject: subject.clone(),
            queue: queue.clone(),
            max: 0,
            delivered: 0,
        });
        client.subscriptions.insert(sid, sub);
        self.subscription_bytes += bytes;
        self.sublist.insert(&subject, queue, sub);
        self.ok_if_verbose(id);
    }

    pub(super) fn unsubscribe(&mut self, id: ClientId, sid: &[u8], max: u64) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        if let Some(&sub) = client.subscriptions.get(sid)
            && let Some(subscription) = self.subscriptions.get_mut(sub)
        {
            if max > subscription.delivered {
                subscription.max = max;
            } else {
                self.end(sub);
            }
        }
        self.ok_if_verbose(id);
    }

    /// Takes a subscription from its client and from the index.
    pub(super) fn end(&mut self, sub: SubId) {
        if let Some(subscription) = self.subscriptions.get(sub)
            && let Some(client) = self.clients.get_mut(subscription.client)
        {
            client.subscriptions.remove(&subscription.sid);
        }
        self.forget(sub);
    }

    pub(super) fn forget(&mut self, sub: SubId) {
        if let Some(subscription) = self.subscriptions.try_remove(sub) {
            self.subscription_bytes -= subscription.bytes();
            self.sublist.remove(&subscription.subject, sub);
        }
    }
}
