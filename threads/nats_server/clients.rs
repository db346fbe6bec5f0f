//! Clients come and go: accepting, sending, timers, closing.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::FLUSH_EARLY_BYTES;
use crate::nats::{ClientId, CloseReason, Outbound};

use super::Loop;
use super::connection::{Connection, Turn};

/// Time after which accepting is tried again when the process has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What has gathered for a client in a round from which on it may wait for the next one: nobody waits for an answer of this size.
const GATHER_BYTES: usize = 32 << 10;
/// Shortest time between two looks at all clients' timers.
const TIMER_STEP: Duration = Duration::from_millis(50);

/// A large piece, and not yet enough.
fn is_worth_gathering(out: &Outbound) -> bool {
    (GATHER_BYTES..FLUSH_EARLY_BYTES).contains(&out.len())
}

impl Loop {
    pub(super) fn accept(&mut self) {
        self.accept_again = false;
        loop {
            match self.listener.accept() {
                // On an IPv6 socket that takes IPv4 too, who comes by IPv4 is shown as such.
                Ok((stream, peer)) => {
                    self.open(
                        stream,
                        SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has given up already.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    log::error!(
                        "NATS server cannot accept a connection: {error}; raise the limit of open files if this goes on"
                    );
                    self.accept_again = true;
                    self.timer_at(self.now + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    pub(super) fn open(&mut self, stream: mio::net::TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("NATS client {peer}: {error}");
        }
        let id = self.broker.add(&peer.ip().to_string());
        if self.connections.len() <= id {
            self.connections.resize_with(id + 1, || None);
        }
        let info = self.broker.outbound(id).map_or(0, |out| out.len());
        let mut connection = Connection::new(
            stream,
            self.transport(info),
            id,
            peer,
            self.now,
            self.now + self.limits.ping_interval,
        );
        let handshakes = self.handshakes.as_ref();
        let deadline = handshakes.and_then(|handshakes| handshakes.deadline(&connection));
        let registered = connection.register(self.poll.registry());
        if let Some(place) = self.connections.get_mut(id) {
            *place = Some(connection);
        }
        self.metrics.nats_connections.inc();
        self.metrics.nats_connections_total.inc();
        if let Err(error) = registered {
            self.broken(id, &error, CloseReason::ReadError);
        }
        self.timer_at(deadline.unwrap_or_else(|| self.first_look()));
    }

    /// When a client that may send CONNECT from now on is looked at first.
    pub(super) fn first_look(&self) -> Instant {
        let limits = &self.limits;
        let ping = limits.ping_interval.min(limits.first_ping);
        self.now + ping.min(limits.connect_timeout)
    }

    pub(super) fn flush(&mut self) {
        for id in self.broker.take_dirty() {
            self.flush_one(id);
        }
    }

    /// As [`Self::flush`] at the end of a round; but while there is more to read, clients for whom a large piece has gathered are left
    /// to gather another one, for one round: fewer and larger writes wake them up less often.
    pub(super) fn flush_round(&mut self) {
        let gathers = !self.ready.is_empty() && !self.gathering;
        self.gathering = gathers;
        for id in self.broker.take_dirty() {
            if gathers && self.broker.outbound(id).is_some_and(is_worth_gathering) {
                self.broker.mark_dirty(id);
            } else {
                self.flush_one(id);
            }
        }
    }

    pub(super) fn flush_one(&mut self, id: ClientId) {
        let result = self
            .writer
            .flush(&mut self.connections, id, &mut self.broker, self.now);
        self.flushed(id, result);
    }

    pub(super) fn flushed(&mut self, id: ClientId, result: io::Result<()>) {
        if let Err(error) = result {
            return self.broken(id, &error, CloseReason::WriteError);
        }
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        if connection.blocked_since.is_some() {
            let deadline = self.now + self.limits.write_deadline;
            // While something waits the socket must be polled, whatever the connection's turn: it may be held next.
            if let Err(error) = connection.register(self.poll.registry()) {
                return self.broken(id, &error, CloseReason::WriteError);
            }
            self.timer_at(deadline);
        }
    }

    pub(super) fn broken(&mut self, id: ClientId, error: &io::Error, reason: CloseReason) {
        log::debug!("NATS client {id}: {error}");
        let reason = if error.kind() == io::ErrorKind::ConnectionReset {
            CloseReason::ClientClosed
        } else {
            reason
        };
        self.broker.close_with(id, reason, None);
    }

    pub(super) fn close_marked(&mut self) {
        let mut closing = self.broker.take_closing();
        if !closing.is_empty() {
            self.take_back_lent();
            closing.extend(self.broker.take_closing());
        }
        for (id, reason) in closing {
            let label = self
                .broker
                .client(id)
                .map(|client| client.connect.label())
                .unwrap_or_default();
            if let Some(mut connection) = self.connections.get_mut(id).and_then(Option::take) {
                // Its last words, as far as the socket takes them.
                let _ = connection.flush(id, &mut self.broker, self.now);
                connection.close(self.poll.registry());
                self.forget_handshake(id, &connection);
                self.partial_bytes -= connection.input.capacity();
                let text = reason.as_str();
                self.remember(id, &connection, text);
                if reason.is_slow_consumer() {
                    self.metrics.nats_slow_consumers.inc();
                    log::warn!("NATS client {} {label} cut off: {text}", connection.peer);
                } else if reason == CloseReason::TlsHandshakeError {
                    log::debug!("NATS client {} closed: {text}", connection.peer);
                } else if reason == CloseReason::ClientClosed {
                    log::debug!("NATS client {} {label} has gone", connection.peer);
                } else {
                    log::info!("NATS client {} {label} closed: {text}", connection.peer);
                }
                self.metrics.nats_connections.dec();
                self.metrics.nats_closed.with_label_values(&[text]).inc();
            }
            self.broker.remove(id);
            self.held.retain(|&(other, _)| other != id);
            for list in [&mut self.ready, &mut self.cooling, &mut self.pinging] {
                list.retain(|&other| other != id);
            }
            self.early.retain(|&(other, _)| other != id);
            self.stalled.retain(|&(other, _, _)| other != id);
        }
    }

    /// PINGs, time-outs, and accepting once more.
    pub(super) fn timers(&mut self) {
        if self.accept_again {
            self.accept();
        }
        let now = self.now;
        let limits = &self.limits;
        let mut next = self.accept_again.then(|| now + ACCEPT_RETRY);
        let (mut marked, mut late) = (Vec::new(), Vec::new());
        for (id, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            let handshakes = self.handshakes.as_ref();
            if let Some(at) = handshakes.and_then(|handshakes| handshakes.deadline(connection)) {
                if now >= at {
                    late.push(id);
                } else {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
                continue;
            }
            let client = self.broker.client(id);
            let authorised = client.is_some_and(|client| client.authorised);
            let connected = client.and_then(|client| client.connected);
            if let Some(at) = connected.filter(|_| !connection.is_connected) {
                connection.is_connected = true;
                connection.next_ping = connection.next_ping.min(at + limits.first_ping);
            }
            let mut deadline = connection.next_ping;
            if !authorised {
                deadline = deadline.min(connection.ready_since + limits.connect_timeout);
                if now >= connection.ready_since + limits.connect_timeout {
                    marked.push((id, CloseReason::AuthenticationTimeout));
                    continue;
                }
            }
            if let Some(since) = connection.blocked_since {
                deadline = deadline.min(since + limits.write_deadline);
                if now >= since + limits.write_deadline {
                    marked.push((id, CloseReason::SlowConsumerWriteDeadline));
                    continue;
                }
            }
            if now >= connection.next_ping {
                // Who has sent something lately is alive, but gets its first PING in time all the same, as from nats-server, which
                // measures the way there and back; who is held back cannot answer.
                let is_quiet = now.duration_since(connection.last_in) >= limits.ping_interval;
                if (is_quiet || !connection.is_pinged) && connection.turn != Turn::Held {
                    if connection.publisher.pings_outstanding >= limits.pings_outstanding {
                        marked.push((id, CloseReason::StaleConnection));
                        continue;
                    }
                    connection.publisher.pinged(now);
                    connection.is_pinged = true;
                    self.broker.ping(id);
                }
                connection.next_ping = now + limits.ping_interval;
                deadline = deadline.max(now).min(connection.next_ping);
            }
            next = Some(next.map_or(deadline, |next| next.min(deadline)));
        }
        self.timers_at = next.map(|next| next.max(now + TIMER_STEP));
        for (id, reason) in marked {
            self.broker.close(id, reason);
        }
        for id in late {
            self.handshake_is_late(id);
            let connection = self.connections.get(id).and_then(Option::as_ref);
            let handshakes = self.handshakes.as_ref().zip(connection);
            if let Some(at) = handshakes.and_then(|(all, connection)| all.deadline(connection)) {
                self.timer_at(at.max(now + TIMER_STEP));
            }
        }
        self.flush();
        self.close_marked();
    }
}
