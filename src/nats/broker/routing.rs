//! The way of a message: from a client, or CIM itself, to whoever is subscribed.

use super::lines::Message;
use super::quoted::quoted;
use super::{Broker, ClientId};
use crate::nats::parser::Publish;
use crate::nats::sublist::SubId;
use crate::nats::{CloseReason, subject};

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Whoever is subscribed gets it.
    Routed,
    /// The client has no right to it, and was told so.
    Refused,
    /// The client must not send such a message, and is being closed.
    Closing,
}

/// Where in the stream of bytes to a client a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    client: ClientId,
    number: u64,
    end: u64,
}

impl Broker {
    /// A message from a client. `handled`: CIM itself takes the message, so a request is never without responder.
    pub fn publish(&mut self, id: ClientId, message: &Publish<'_>, handled: bool) -> Published {
        let bytes = message.body.len() as u64;
        self.stats.in_messages += 1;
        self.stats.in_bytes += bytes;
        let now = self.now;
        let Some(client) = self.clients.get_mut(id) else {
            return Published::Closing;
        };
        client.stats.in_messages += 1;
        client.stats.in_bytes += bytes;
        if message.header_len.is_some() && !client.connect.headers {
            // nats-server says nothing either.
            self.close_with(id, CloseReason::ProtocolViolation, None);
            return Published::Closing;
        }
        let (verbose, no_responders) = (client.connect.verbose, client.connect.no_responders);
        let mut client = client;
        if client.connect.pedantic && !subject::is_literal(message.subject) {
            self.error(id, "Invalid Publish Subject");
            client = match self.clients.get_mut(id) {
                Some(client) => client,
                None => return Published::Closing,
            };
        }
        if let Some(permissions) = &client.permissions
            && !permissions.may_publish(message.subject)
            && !client
                .answers
                .take(message.subject, permissions.responses, now)
        {
            let subject = quoted(message.subject);
            let text = format!("Permissions Violation for Publish to {subject}");
            self.stats.violations += 1;
            self.error(id, &text);
            return Published::Refused;
        }
        if verbose {
            self.send(id, [b"+OK\r\n"]);
        }
        if self.subscriptions.is_empty() {
            return Published::Routed;
        }
        let crowded = self.crowded;
        let delivered = self.route(
            Some(id),
            message.subject,
            message.reply,
            // Headers of no length are none.
            message.header_len.filter(|&len| len > 0),
            message.body,
        );
        if handled {
            self.crowded = crowded;
        }
        if !delivered && !handled && no_responders && !message.reply.is_empty() {
            self.no_responders(id, message);
        }
        Published::Routed
    }

    /// A message from CIM itself. Where it waits for those who get it: nowhere when there are none.
    pub fn publish_own(
        &mut self,
        subject: &[u8],
        payload: &[u8],
    ) -> impl Iterator<Item = Mark> + '_ {
        self.reached.clear();
        if !self.subscriptions.is_empty() {
            self.route(None, subject, b"", None, payload);
        }
        self.reached.iter().filter_map(|&id| {
            let client = self.clients.get(id).filter(|client| !client.closing)?;
            Some(Mark {
                client: id,
                number: client.number,
                end: client.out.pushed(),
            })
        })
    }

    /// The client has been sent all up to `mark`, or is gone.
    pub fn is_past(&self, mark: &Mark) -> bool {
        let client = self.clients.get(mark.client);
        let client = client.filter(|client| client.number == mark.number && !client.closing);
        client.is_none_or(|client| client.out.sent() >= mark.end)
    }

    fn no_responders(&mut self, id: ClientId, message: &Publish<'_>) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let mine = client
            .subscriptions
            .values()
            .filter_map(|&sub| self.subscriptions.get(sub));
        let Some(sid) = mine
            // nats-server looks at subscriptions without a queue group alone.
            .filter(|sub| sub.queue.is_none() && subject::matches(&sub.subject, message.reply))
            .map(|sub| sub.sid.clone())
            .next()
        else {
            return;
        };
        let headers = [
            b"NATS/1.0 503\r\nNats-Subject: ",
            message.subject,
            b"\r\n\r\n",
        ]
        .concat();
        let mut digits = itoa::Buffer::new();
        let len = digits.format(headers.len()).as_bytes();
        self.send(
            id,
            [
                b"HMSG ",
                message.reply,
                b" ",
                &sid,
                b" ",
                len,
                b" ",
                len,
                b"\r\n",
                &headers,
                b"\r\n",
            ],
        );
    }

    pub(super) fn route(
        &mut self,
        from: Option<ClientId>,
        subject: &[u8],
        reply: &[u8],
        header_len: Option<usize>,
        body: &[u8],
    ) -> bool {
        let found = self.sublist.matches(subject);
        let mut delivered = false;
        let message = Message {
            subject,
            reply,
            header_len,
            body,
        };
        if !found.is_empty() {
            self.lines.write(&message);
        }
        for &sub in &found.plain {
            delivered |= self.deliver(from, sub, &message);
        }
        for group in &found.queues {
            let start = self.next_random(group.len());
            let members = group.iter().cycle().skip(start).take(group.len());
            for &sub in members {
                if self.deliver(from, sub, &message) {
                    delivered = true;
                    break;
                }
            }
        }
        if !self.ended.is_empty() {
            for sub in std::mem::take(&mut self.ended) {
                self.end(sub);
            }
        }
        delivered
    }

    fn deliver(&mut self, from: Option<ClientId>, sub: SubId, message: &Message<'_>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(sub) else {
            return false;
        };
        let id = subscription.client;
        let Some(client) = self.clients.get_mut(id) else {
            return false;
        };
        if client.closing || (from == Some(id) && !client.connect.echo) {
            return false;
        }
        if let Some(permissions) = &client.permissions {
            if permissions.filters() && !permissions.may_get(message.subject) {
                return false;
            }
            if let Some(responses) = permissions.responses
                && !message.reply.is_empty()
            {
                let may_publish = permissions.may_publish(message.reply);
                if !may_publish {
                    client.answers.expect(message.reply, responses, self.now);
                }
            }
        }
        if subscription.max > 0 && subscription.delivered >= subscription.max {
            return false;
        }
        subscription.delivered += 1;
        if subscription.delivered == subscription.max {
            self.ended.push(sub);
        }
        let lines = &self.lines;
        let (start, end, body) = match message.header_len {
            Some(_) if client.connect.headers => (lines.hmsg(), &lines.with_headers, message.body),
            header_len => {
                let body = message.body.get(header_len.unwrap_or(0)..);
                (lines.msg(), &lines.plain, body.unwrap_or_default())
            }
        };
        let bytes = body.len() as u64;
        self.stats.out_messages += 1;
        self.stats.out_bytes += bytes;
        client.stats.out_messages += 1;
        client.stats.out_bytes += bytes;
        let parts = [start, &subscription.sid, end, body, b"\r\n"];
        self.pending += client.out.push(&mut self.chunks, parts);
        self.after_push(id);
        if from.is_none() {
            self.reached.push(id);
        }
        true
    }

    /// xorshift64: spread, not secrecy.
    fn next_random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }
}
