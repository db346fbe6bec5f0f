//! The server without its sockets: what each client has said and subscribed to, who gets a message, and what waits for
//! whom. In: operations of [`super::parser`]. Out: bytes in each client's [`Outbound`], the clients to flush and to close.

mod answers;
mod lent;
mod lines;
mod logins;
mod outbound;
mod quoted;
mod routing;
mod subscribing;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use answers::Answers;
pub use lent::Lent;
use lines::Lines;
use outbound::Chunks;
pub use outbound::Outbound;
pub use routing::{Mark, Published};
use subscribing::Subscription;

use super::auth::{Auth, Check, Permissions, new_nonce};
use super::info::{Connect, Info};
use super::parser::Op;
use super::sublist::{SubId, Sublist};
use super::tls::CertificateNames;
use super::{Change, CloseReason, Limits};
use crate::limits::{CROWDED_STEPS, FLUSH_EARLY_BYTES};

/// Place of a client in the broker's table; reused after [`Broker::remove`].
pub type ClientId = usize;

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

impl Client {
    #[inline]
    fn mark_dirty(&mut self, id: ClientId, dirty: &mut Vec<ClientId>) {
        if !self.in_dirty {
            self.in_dirty = true;
            dirty.push(id);
        }
    }
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

    /// Forgets a connection and its subscriptions.
    pub fn remove(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.try_remove(id) else {
            return;
        };
        self.pending -= client.out.len();
        client.out.clear(&mut self.chunks);
        for sub in client.subscriptions.into_values() {
            self.forget(sub);
        }
    }

    /// The client's side of the protocol.
    pub fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(id)
    }

    /// What clients are told at first.
    pub fn info(&self) -> &Info {
        &self.info
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

    /// Takes what waits for the client out of its [`Outbound`], to be sent elsewhere: until [`Self::take_back`] nothing may be sent to it
    /// from here.
    pub fn lend(&mut self, id: ClientId) -> Option<Lent> {
        self.clients.get_mut(id).map(|client| client.out.lend())
    }

    /// What was lent is back, sent or not. What is left makes the client one that has something to send.
    pub fn take_back(&mut self, id: ClientId, lent: Lent) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        self.pending -= client.out.take_back(&mut self.chunks, lent);
        if !client.out.is_empty() {
            client.mark_dirty(id, &mut self.dirty);
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

    /// What time it was at the last look.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What time it is.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whether the client is on its way out.
    pub fn is_closing(&self, id: ClientId) -> bool {
        self.clients.get(id).is_none_or(|client| client.closing)
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

    /// The client has something to send.
    #[inline]
    pub fn mark_dirty(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.mark_dirty(id, &mut self.dirty);
        }
    }

    #[inline]
    fn after_push(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else {
            return;
        };
        client.mark_dirty(id, &mut self.dirty);
        let len = client.out.len();
        let much = FLUSH_EARLY_BYTES.min(self.limits.client_pending_bytes / CROWDED_STEPS as usize);
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
}

/// A client that sends INFO must at least send a JSON object, as to nats-server.
fn is_info(json: &[u8]) -> bool {
    type Members = HashMap<String, serde::de::IgnoredAny>;
    serde_json::from_str::<Option<Members>>(&String::from_utf8_lossy(json)).is_ok()
}

#[cfg(test)]
mod tests;
