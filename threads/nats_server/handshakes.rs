//! TLS handshakes: which client needs one, how many there are at one time, and how they end.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{READ_BLOCK_BYTES, TLS_HANDSHAKES};
use crate::nats::tls::{CertificateNames, Tls};
use crate::nats::{ClientId, CloseReason};

use super::Loop;
use super::connection::{Connection, Turn};
use super::transport::{First, Session, Shake, Transport, Undecided};

/// TLS on the server's side.
pub(super) struct Handshakes {
    pub tls: Arc<Tls>,
    /// For what is read and not yet decrypted.
    pub cipher: Vec<u8>,
    /// Handshakes that have begun and not ended.
    under_way: usize,
    /// Clients that have begun theirs and wait for its turn.
    queue: VecDeque<ClientId>,
}

impl Handshakes {
    pub(super) fn new(tls: Arc<Tls>) -> Self {
        Self {
            tls,
            cipher: vec![0; READ_BLOCK_BYTES],
            under_way: 0,
            queue: VecDeque::new(),
        }
    }

    /// When the connection must have got further; `None`: its transport is settled.
    pub(super) fn deadline(&self, connection: &Connection) -> Option<Instant> {
        let end = connection.ready_since + self.tls.options().timeout;
        match &connection.transport {
            Transport::Undecided(undecided) => Some(undecided.fallback().unwrap_or(end)),
            Transport::Handshake(_) => Some(end),
            Transport::Plain | Transport::Tls(_) => None,
        }
    }
}

impl Loop {
    /// A new client of `info` bytes to read first may have to go through a handshake.
    pub(super) fn transport(&self, info: usize) -> Transport {
        match &self.handshakes {
            Some(handshakes) => {
                let options = handshakes.tls.options();
                Transport::Undecided(Undecided::new(options, info, self.now))
            }
            None => Transport::Plain,
        }
    }

    /// Time that a handshake may take, zero without TLS.
    pub(super) fn tls_timeout(&self) -> Duration {
        let handshakes = self.handshakes.as_ref();
        handshakes.map_or(Duration::ZERO, |all| all.tls.options().timeout)
    }

    /// Whether the connection's bytes are for NATS. When they are not yet, what is there is used for the handshake.
    pub(super) fn is_settled(&mut self, id: ClientId) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return false;
        };
        let first = match &connection.transport {
            Transport::Plain | Transport::Tls(_) => return true,
            Transport::Handshake(_) => {
                self.shake(id);
                return false;
            }
            Transport::Undecided(_) => Undecided::first(&connection.stream),
        };
        let Some(handshakes) = &mut self.handshakes else {
            return true;
        };
        match first {
            First::Nothing => self.poll_again(id),
            First::Handshake if handshakes.under_way >= TLS_HANDSHAKES => {
                connection.turn = Turn::Queued;
                handshakes.queue.push_back(id);
            }
            First::Handshake => match Session::new(handshakes.tls.config()) {
                Ok(session) => {
                    handshakes.under_way += 1;
                    connection.transport = Transport::Handshake(Box::new(session));
                    self.shake(id);
                }
                Err(error) => self.no_handshake(id, &io::Error::other(error)),
            },
            First::Other if handshakes.tls.options().is_optional() => {
                self.go_plain(id);
                return true;
            }
            First::Other => {
                let what = "its first bytes are not TLS";
                self.no_handshake(id, &io::Error::other(what));
            }
            First::End => self.no_handshake(id, &io::ErrorKind::UnexpectedEof.into()),
        }
        false
    }

    fn shake(&mut self, id: ClientId) {
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        let Transport::Handshake(session) = &mut connection.transport else {
            return;
        };
        match session.shake(&connection.stream) {
            Shake::Waits => self.poll_again(id),
            Shake::Failed(error) => self.no_handshake(id, &error),
            Shake::Done => {
                self.handshake_is_over();
                self.encrypted_from_now(id);
            }
        }
    }

    /// The handshake of a client was good.
    fn encrypted_from_now(&mut self, id: ClientId) {
        let options = self.handshakes.as_ref().map(|all| all.tls.options());
        let maps = options.is_some_and(|options| options.map);
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        let transport = std::mem::replace(&mut connection.transport, Transport::Plain);
        if let Transport::Handshake(session) = transport {
            if options.is_some_and(|options| !options.admits(session.certificate())) {
                connection.transport = Transport::Tls(session);
                let what = "the client's certificate is not one of pinned_certs";
                return self.no_handshake(id, &io::Error::other(what));
            }
            let (version, suite) = session.label();
            log::debug!("NATS client {}: TLS {version}, {suite}", connection.peer);
            if maps && let Some(certificate) = session.certificate() {
                let names = CertificateNames::read(certificate);
                self.broker.set_certificate(id, names);
            }
            connection.transport = Transport::Tls(session);
        }
        self.begin(id);
        // Bytes for NATS may have come with the last ones of the handshake.
        if let Some(connection) = self.connection(id) {
            connection.turn = Turn::Ready;
            self.ready.push(id);
        }
    }

    /// The client goes without TLS.
    fn go_plain(&mut self, id: ClientId) {
        if let Some(connection) = self.connection(id) {
            connection.transport = Transport::Plain;
        }
        self.begin(id);
    }

    /// The times for CONNECT and PINGs begin, and what has waited for the client is sent.
    fn begin(&mut self, id: ClientId) {
        let now = self.now;
        let ping_at = now + self.limits.ping_interval;
        let first_look = self.first_look();
        if let Some(connection) = self.connection(id) {
            connection.ready_since = now;
            connection.next_ping = ping_at;
            self.timer_at(first_look);
        }
        self.flush_one(id);
    }

    fn no_handshake(&mut self, id: ClientId, error: &io::Error) {
        if let Some(connection) = self.connection(id) {
            log::info!("NATS client {}: no TLS handshake: {error}", connection.peer);
        }
        self.broker.close(id, CloseReason::TlsHandshakeError);
    }

    /// The time of a client without a settled transport is over.
    pub(super) fn handshake_is_late(&mut self, id: ClientId) {
        let now = self.now;
        let info = self.broker.outbound(id).map_or(0, |out| out.len());
        let is_optional = self
            .handshakes
            .as_ref()
            .is_some_and(|handshakes| handshakes.tls.options().is_optional());
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        match &mut connection.transport {
            Transport::Undecided(undecided) if undecided.fallback().is_some() => {
                if connection.turn == Turn::Queued {
                    // It has begun, and only its turn has not come.
                    undecided.fall_back(0);
                } else {
                    undecided.fall_back(info);
                    connection.ready_since = now;
                    self.flush_one(id);
                }
            }
            Transport::Undecided(_) if is_optional && connection.turn != Turn::Queued => {
                self.go_plain(id);
            }
            Transport::Undecided(_) | Transport::Handshake(_) => {
                let late = io::ErrorKind::TimedOut.into();
                self.no_handshake(id, &late);
            }
            Transport::Plain | Transport::Tls(_) => {}
        }
    }

    /// Before a connection is forgotten.
    pub(super) fn forget_handshake(&mut self, id: ClientId, connection: &Connection) {
        if let Some(handshakes) = &mut self.handshakes {
            handshakes.queue.retain(|&other| other != id);
            if matches!(connection.transport, Transport::Handshake(_)) {
                self.handshake_is_over();
            }
        }
    }

    /// The next one may begin.
    fn handshake_is_over(&mut self) {
        let Some(handshakes) = &mut self.handshakes else {
            return;
        };
        handshakes.under_way = handshakes.under_way.saturating_sub(1);
        while let Some(next) = self.handshakes.as_mut().and_then(|h| h.queue.pop_front()) {
            if let Some(connection) = self.connection(next)
                && connection.turn == Turn::Queued
            {
                self.make_ready(next);
                return;
            }
        }
    }
}
