//! The server without its sockets: what each client has said and subscribed to, who gets a message, and what waits for
//! whom. In: operations of [`super::parser`]. Out: bytes in each client's [`Outbound`], the clients to flush and to close.

mod answers;
mod outbound;
mod quoted;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use answers::Answers;
use outbound::Chunks;
pub use outbound::Outbound;
use quoted::quoted;

use super::auth::{Auth, Check, Permissions, Verdict, new_nonce};
use super::info::{Connect, Info};
use super::monitor::{SubInfo, SublistStats};
use super::parser::{Op, Publish};
use super::sublist::{SubId, Sublist};
use super::tls::CertificateNames;
use super::{Change, CloseReason, Limits, subject};
use crate::limits::{CROWDED_STEPS, OUTBOUND_CHUNK_BYTES};

/// Place of a client in the broker's table; reused after [`Broker::remove`].
pub type ClientId = usize;

/// Bytes after which a client is flushed in the middle of a batch, so that a burst does not look like a slow consumer.
const FLUSH_EARLY_BYTES: usize = OUTBOUND_CHUNK_BYTES;

struct Subscription {
    client: ClientId,
    sid: Rc<[u8]>,
    subject: Rc<[u8]>,
    queue: Option<Rc<[u8]>>,
    /// 0: for ever.
    max: u64,
    delivered: u64,
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

/// One client's side of the protocol.
pub struct Client {
    /// Its number, counted from the start of the server.
    pub number: u64,
    /// What it was told to sign.
    nonce: Option<String>,
    ip: String,
    /// What it said in its last CONNECT.
    pub connect: Connect,
    /// It has sent CONNECT with good credentials, or needs none.
    pub authorised: bool,
    /// When it first got in with a CONNECT.
    pub connected: Option<Instant>,
    /// The user as which it is in; `None` when nobody is asked who they are.
    pub user: Option<String>,
    /// What it has sent and was sent.
    pub stats: Stats,
    /// Who its certificate says that it is, where that counts.
    pub certificate: Option<CertificateNames>,
    /// Its credentials are being looked at: what it sends has to wait.
    pub checking: bool,
    /// `None`: it may do everything.
    permissions: Option<Arc<Permissions>>,
    answers: Answers,
    subscriptions: HashMap<Rc<[u8]>, SubId>,
    out: Outbound,
    in_dirty: bool,
    closing: bool,
}

/// What was counted since the last look.
#[derive(Debug, Default, Clone, Copy)]
pub struct Stats {
    /// Messages from clients.
    pub in_messages: u64,
    /// Bytes of them, headers included.
    pub in_bytes: u64,
    /// Messages to clients.
    pub out_messages: u64,
    /// Bytes of them, headers included.
    pub out_bytes: u64,
    /// Publishes and subscriptions that a client has no right to.
    pub violations: u64,
}

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

/// All clients and subscriptions.
pub struct Broker {
    limits: Limits,
    info: Info,
    auth: Auth,
    clients: Slab<Client>,
    next_number: u64,
    subscriptions: Slab<Subscription>,
    subscription_bytes: usize,
    sublist: Sublist,
    /// What waits for all clients.
    pending: usize,
    chunks: Chunks,
    lines: Lines,
    crowded: Option<ClientId>,
    dirty: Vec<ClientId>,
    full: Vec<ClientId>,
    closing: Vec<(ClientId, CloseReason)>,
    ended: Vec<SubId>,
    random: u64,
    stats: Stats,
    now: Instant,
    /// Credentials that take their time, with the client and its number.
    checks: VecDeque<(ClientId, u64, Check)>,
    /// Clients that the last message of CIM's own went to.
    reached: Vec<ClientId>,
}

/// Where in the stream of bytes to a client a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    client: ClientId,
    number: u64,
    end: u64,
}

impl Broker {
    /// A server without clients. `seed` chooses the members of queue groups.
    pub fn new(limits: Limits, info: Info, auth: Auth, seed: u64, now: Instant) -> Self {
        Self {
            limits,
            info: Info {
                auth_required: auth.needs_credentials(),
                ..info
            },
            auth,
            clients: Slab::new(),
            next_number: 1,
            subscriptions: Slab::new(),
            subscription_bytes: 0,
            sublist: Sublist::default(),
            pending: 0,
            chunks: Chunks::default(),
            lines: Lines::default(),
            crowded: None,
            dirty: Vec::new(),
            full: Vec::new(),
            closing: Vec::new(),
            ended: Vec::new(),
            random: seed | 1,
            stats: Stats::default(),
            now,
            checks: VecDeque::new(),
            reached: Vec::new(),
        }
    }

    /// A new connection from `ip`: it gets its INFO. One too many is closed with the reason that nats-server gives.
    pub fn add(&mut self, ip: &str) -> ClientId {
        let number = self.next_number;
        self.next_number += 1;
        let nonce = self.auth.needs_nonce().then(new_nonce);
        let line = self.info.line(number, ip, nonce.as_deref());
        let id = self.clients.insert(Client {
            number,
            nonce,
            ip: ip.to_owned(),
            connect: Connect::default(),
            authorised: !self.auth.is_required(),
            connected: None,
            user: None,
            stats: Stats::default(),
            certificate: None,
            checking: false,
            permissions: None,
            answers: Answers::default(),
            subscriptions: HashMap::new(),
            out: Outbound::default(),
            in_dirty: false,
            closing: false,
        });
        self.send(id, [&line]);
        if self.clients.len() > self.limits.connections {
            self.close(id, CloseReason::MaxConnectionsExceeded);
        }
        id
    }

    /// Others may connect from now on, within other bounds. Who would not get in any more is closed, and so are the last ones of those that
    /// are too many.
    pub fn change(&mut self, Change { auth, limits }: Change) {
        let before = std::mem::replace(&mut self.auth, auth);
        self.info.auth_required = self.auth.needs_credentials();
        self.limits = limits;
        let mut refused = Vec::new();
        for (id, client) in &mut self.clients {
            // Who is not in yet is looked at when it comes to that.
            if client.closing || (!client.authorised && self.auth.is_required()) {
                continue;
            }
            match self.auth.keeps(&before, client.user.as_deref()) {
                Some(permissions) => {
                    client.authorised = true;
                    client.permissions = permissions;
                }
                None => refused.push(id),
            }
        }
        for id in refused {
            self.close(id, CloseReason::AuthenticationFailure);
        }
        let open = self.clients.iter().filter(|(_, client)| !client.closing);
        let mut open: Vec<_> = open.map(|(id, client)| (client.number, id)).collect();
        open.sort_unstable();
        for &(_, id) in open.iter().skip(self.limits.connections) {
            self.close(id, CloseReason::MaxConnectionsExceeded);
        }
    }

    /// Tells every client that understands it that the server is about to end (nats-server: lame duck mode).
    pub fn enter_lame_duck(&mut self) {
        self.info.ldm = true;
        let told: Vec<(ClientId, Vec<u8>)> = self
            .clients
            .iter()
            .filter(|(_, client)| client.authorised && client.connect.protocol >= 1)
            .map(|(id, client)| {
                (
                    id,
                    self.info
                        .line(client.number, &client.ip, client.nonce.as_deref()),
                )
            })
            .collect();
        for (id, line) in told {
            self.send(id, [&line]);
        }
    }

    /// The client has shown a certificate, before anything else.
    pub fn set_certificate(&mut self, id: ClientId, names: CertificateNames) {
        if let Some(client) = self.clients.get_mut(id) {
            client.certificate = Some(names);
        }
    }

    /// Forgets a connection and its subscriptions.
    pub fn remove(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.try_remove(id) else {
            return;
        };
        self.pending -= client.out.clear(&mut self.chunks);
        for sub in client.subscriptions.into_values() {
            self.forget(sub);
        }
    }

    /// The client's side of the protocol.
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(id)
    }

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

    /// What clients are told at first.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Whether somebody is subscribed to `subject`.
    pub fn has_interest(&mut self, subject: &[u8]) -> bool {
        !self.subscriptions.is_empty() && !self.sublist.matches(subject).is_empty()
    }

    /// What was counted since the last call.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// Clients that have got something to send since the last call.
    pub fn take_dirty(&mut self) -> Vec<ClientId> {
        let dirty = std::mem::take(&mut self.dirty);
        for &id in &dirty {
            if let Some(client) = self.clients.get_mut(id) {
                client.in_dirty = false;
            }
        }
        dirty
    }

    /// Some clients have so much waiting that they should be flushed before more is routed.
    pub fn wants_flush(&self) -> bool {
        !self.full.is_empty()
    }

    /// Those clients.
    pub fn take_full(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.full)
    }

    /// The last client that got something since the last call although much waits for it already. What CIM takes itself does not count.
    pub fn take_crowded(&mut self) -> Option<ClientId> {
        self.crowded.take()
    }

    /// How much whoever publishes to the client should slow down: 0 is not at all, and the closer it is to being cut off the more, up to
    /// about [`CROWDED_STEPS`].
    pub fn crowding(&self, id: ClientId) -> u32 {
        let steps = |bytes: usize, most: usize| {
            let step = (most / CROWDED_STEPS as usize).max(1);
            u32::try_from(bytes / step).unwrap_or(CROWDED_STEPS)
        };
        let len = self.outbound(id).map_or(0, Outbound::len);
        let of_one = steps(len, self.limits.client_pending_bytes);
        let half = self.limits.all_pending_bytes / 2;
        let above = self.pending.checked_sub(half).filter(|_| len > 0);
        of_one.max(above.map_or(0, |above| 1 + steps(above, half)))
    }

    /// Clients to close, with the reason; their last words are in their [`Outbound`].
    pub fn take_closing(&mut self) -> Vec<(ClientId, CloseReason)> {
        std::mem::take(&mut self.closing)
    }

    /// What waits for the client.
    pub fn outbound(&self, id: ClientId) -> Option<&Outbound> {
        self.clients.get(id).map(|client| &client.out)
    }

    /// `count` bytes of the client's [`Outbound::front`] are sent.
    pub fn sent(&mut self, id: ClientId, count: usize) {
        if let Some(client) = self.clients.get_mut(id) {
            client.out.consume(&mut self.chunks, count);
            self.pending -= count;
        }
    }

    /// Ends a connection: the client gets nats-server's `-ERR` where there is one.
    pub fn close(&mut self, id: ClientId, reason: CloseReason) {
        self.close_with(id, reason, reason.error_text());
    }

    /// Ends a connection with a text of its own.
    pub fn close_with(&mut self, id: ClientId, reason: CloseReason, text: Option<&str>) {
        if let Some(text) = text {
            self.error(id, text);
        }
        if let Some(client) = self.clients.get_mut(id)
            && !client.closing
        {
            client.closing = true;
            self.closing.push((id, reason));
            if reason.is_slow_consumer() {
                // Its memory is what others need now.
                self.pending -= client.out.clear(&mut self.chunks);
            }
        }
    }

    /// `-ERR` without an end of the connection.
    pub fn error(&mut self, id: ClientId, text: &str) {
        self.send(id, [b"-ERR '", text.as_bytes(), b"'\r\n"]);
    }

    /// `PONG`.
    pub fn pong(&mut self, id: ClientId) {
        self.send(id, [b"PONG\r\n"]);
    }

    /// `PING`.
    pub fn ping(&mut self, id: ClientId) {
        self.send(id, [b"PING\r\n"]);
    }

    /// Any operation but PING, PONG and publishes, which concern the data path and time too.
    pub fn apply(&mut self, id: ClientId, op: &Op<'_>) {
        match op {
            Op::Connect(json) => self.connect(id, json),
            Op::Subscribe {
                subject,
                queue,
                sid,
            } => self.subscribe(id, subject, *queue, sid),
            Op::Unsubscribe { sid, max } => self.unsubscribe(id, sid, max.unwrap_or(0)),
            Op::Error(_) => self.close(id, CloseReason::ParseError),
            Op::Info(json) if !is_info(json) => self.close(id, CloseReason::ProtocolViolation),
            Op::Ok | Op::Info(_) | Op::Ping | Op::Pong | Op::Publish(_) => {}
        }
    }

    fn connect(&mut self, id: ClientId, json: &[u8]) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        let Ok(mut connect) = Connect::read(json, &client.connect) else {
            return self.close(id, CloseReason::ProtocolViolation);
        };
        if let Some(certificate) = &client.certificate
            && self.auth.is_required()
        {
            // The certificate says who it is, whatever CONNECT says; a password of that user must be right all the same.
            let Some(user) = self.auth.user_of(certificate) else {
                return self.close(id, CloseReason::AuthenticationFailure);
            };
            connect.user = Some(user.to_owned());
        }
        let verdict =
            if client.authorised && !self.auth.is_asked_again(&connect, client.user.as_deref()) {
                // Who is in stays in; what it has shown is not kept for another look.
                Verdict::Allowed(client.permissions.clone())
            } else {
                if client.authorised && connect.user.is_none() {
                    connect.user.clone_from(&client.user);
                }
                client.user = self.auth.name(&connect);
                let nonce = client.nonce.as_deref().unwrap_or_default();
                self.auth.look(&connect, nonce)
            };
        // Credentials have served their purpose; the rest is kept.
        client.connect = Connect {
            user: None,
            pass: None,
            nkey: None,
            sig: None,
            auth_token: None,
            // Who was told that there are none does not get any.
            headers: connect.headers && self.info.headers,
            ..connect
        };
        match verdict {
            Verdict::Check(check) => {
                client.checking = true;
                let number = client.number;
                self.checks.push_back((id, number, check));
            }
            verdict => self.log_in(id, verdict),
        }
    }

    fn log_in(&mut self, id: ClientId, verdict: Verdict) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.checking = false;
        client.authorised = false;
        let Verdict::Allowed(permissions) = verdict else {
            return self.close(id, CloseReason::AuthenticationFailure);
        };
        client.authorised = true;
        client.connected.get_or_insert(self.now);
        client.permissions = permissions;
        let connect = &client.connect;
        if connect.names_account || connect.new_account {
            self.close(id, CloseReason::AuthenticationFailure);
        } else if !(0..=1).contains(&connect.protocol) {
            self.close(id, CloseReason::BadClientProtocolVersion);
        } else if connect.no_responders && !connect.headers {
            self.close(id, CloseReason::NoRespondersRequiresHeaders);
        } else {
            self.ok_if_verbose(id);
        }
    }

    /// A client that begins without CONNECT is in all the same, where there is a user of those who show nothing. False: it is not.
    pub fn admit(&mut self, id: ClientId) -> bool {
        match (self.clients.get_mut(id), self.auth.no_auth_user()) {
            (Some(client), Some(user)) if client.certificate.is_none() => {
                client.user = Some(user.name.clone());
                client.permissions = user.permissions.clone();
                client.authorised = true;
                true
            }
            _ => false,
        }
    }

    /// The next credentials that take their time: for [`Check::run`], elsewhere.
    pub fn next_check(&mut self) -> Option<(ClientId, u64, Check)> {
        self.checks.pop_front()
    }

    /// What came out of it. False when the client is not there any more.
    pub fn checked(&mut self, id: ClientId, number: u64, verdict: Verdict) -> bool {
        let client = self.clients.get(id);
        let is_here = client.is_some_and(|client| client.number == number && client.checking);
        if is_here {
            self.log_in(id, verdict);
        }
        is_here
    }

    /// What time it was at the last look.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What time it is.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    fn subscribe(&mut self, id: ClientId, subject: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
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

    fn unsubscribe(&mut self, id: ClientId, sid: &[u8], max: u64) {
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
    fn end(&mut self, sub: SubId) {
        if let Some(subscription) = self.subscriptions.get(sub)
            && let Some(client) = self.clients.get_mut(subscription.client)
        {
            client.subscriptions.remove(&subscription.sid);
        }
        self.forget(sub);
    }

    fn forget(&mut self, sub: SubId) {
        if let Some(subscription) = self.subscriptions.try_remove(sub) {
            self.subscription_bytes -= subscription.bytes();
            self.sublist.remove(&subscription.subject, sub);
        }
    }

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

    /// Whether the client is on its way out.
    pub fn is_closing(&self, id: ClientId) -> bool {
        self.clients.get(id).is_none_or(|client| client.closing)
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

    fn route(
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

    fn ok_if_verbose(&mut self, id: ClientId) {
        if self
            .clients
            .get(id)
            .is_some_and(|client| client.connect.verbose)
        {
            self.send(id, [b"+OK\r\n"]);
        }
    }

    fn send<const N: usize>(&mut self, id: ClientId, parts: [&[u8]; N]) {
        if let Some(client) = self.clients.get_mut(id)
            && !client.closing
        {
            self.pending += client.out.push(&mut self.chunks, parts);
            self.after_push(id);
        }
    }

    #[inline]
    fn after_push(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        if !client.in_dirty {
            client.in_dirty = true;
            self.dirty.push(id);
        }
        let len = client.out.len();
        let much = FLUSH_EARLY_BYTES.min(self.limits.client_pending_bytes);
        if len >= much || self.pending > self.limits.all_pending_bytes {
            self.after_much(id, len);
        }
    }

    /// The client has `len` bytes waiting, which is much, or all have.
    fn after_much(&mut self, id: ClientId, len: usize) {
        if self.crowding(id) > 0 {
            self.crowded = Some(id);
        }
        if len > self.limits.client_pending_bytes {
            self.close(id, CloseReason::SlowConsumerPendingBytes);
        } else if self.pending > self.limits.all_pending_bytes {
            // Whoever holds most of the common budget goes.
            let largest = self
                .clients
                .iter()
                .filter(|(_, c)| !c.closing)
                .max_by_key(|(_, c)| c.out.len())
                .map(|(id, _)| id);
            if let Some(largest) = largest {
                self.close(largest, CloseReason::SlowConsumerPendingBytes);
            }
        } else if len >= FLUSH_EARLY_BYTES && !self.full.contains(&id) {
            self.full.push(id);
        }
    }

    /// xorshift64: spread, not secrecy.
    fn next_random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below.max(1) as u64) as usize
    }
}

/// A client that sends INFO must at least send a JSON object, as to nats-server.
fn is_info(json: &[u8]) -> bool {
    type Members = HashMap<String, serde::de::IgnoredAny>;
    serde_json::from_str::<Option<Members>>(&String::from_utf8_lossy(json)).is_ok()
}

struct Message<'a> {
    subject: &'a [u8],
    reply: &'a [u8],
    header_len: Option<usize>,
    body: &'a [u8],
}

/// The lines before a message, but for the ids of the subscriptions in their middle: the same for all who get it.
#[derive(Debug, Default)]
struct Lines {
    /// `HMSG subject `, which `MSG subject ` is a part of.
    start: Vec<u8>,
    /// ` [reply ]length`, and the line end.
    plain: Vec<u8>,
    /// ` [reply ]header-length length`, and the line end; only for a message with headers.
    with_headers: Vec<u8>,
}

impl Lines {
    fn write(&mut self, message: &Message<'_>) {
        let known = self.start.get(b"HMSG ".len()..);
        let is_same = known.and_then(|known| known.strip_suffix(b" ")) == Some(message.subject);
        // A stream has one subject for many messages.
        if !is_same {
            self.start.clear();
            self.start.extend_from_slice(b"HMSG ");
            self.start.extend_from_slice(message.subject);
            self.start.push(b' ');
        }
        let header_len = message.header_len.unwrap_or(0);
        let mut digits = itoa::Buffer::new();
        let mut write = |line: &mut Vec<u8>, numbers: &[usize]| {
            line.clear();
            if !message.reply.is_empty() {
                line.push(b' ');
                line.extend_from_slice(message.reply);
            }
            for &number in numbers {
                line.push(b' ');
                line.extend_from_slice(digits.format(number).as_bytes());
            }
            line.extend_from_slice(b"\r\n");
        };
        write(
            &mut self.plain,
            &[message.body.len().saturating_sub(header_len)],
        );
        if message.header_len.is_some() {
            write(&mut self.with_headers, &[header_len, message.body.len()]);
        }
    }

    fn hmsg(&self) -> &[u8] {
        &self.start
    }

    fn msg(&self) -> &[u8] {
        self.start.get(1..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
