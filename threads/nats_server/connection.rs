//! The socket side of one NATS client.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::limits::{READ_BLOCK_BYTES, TLS_RECORD_BYTES};
use crate::nats::intake::Publisher;
use crate::nats::{Broker, ClientId};

use super::transport::{Read, Transport, read_plain, write_plain};

/// When a connection is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// When poll says so.
    Polled,
    /// In this round.
    Ready,
    /// At the next common tick: it publishes a stream, which is read in bulk.
    Cooling,
    /// When the data path has room again.
    Held,
    /// When less waits for a client to which it publishes, or after a short while.
    Stalled,
    /// When a TLS handshake before it has come to its end.
    Queued,
    /// Never: the client has ended its side, and only its PINGs still wait.
    Ended,
}

pub(super) struct Connection {
    pub stream: TcpStream,
    pub transport: Transport,
    token: Token,
    registered: bool,
    pub turn: Turn,
    /// Poll has reported the end, and will not again: read on until it comes.
    pub ended: bool,
    pub publisher: Publisher,
    /// The start of an operation that is not whole, or operations for which there was no room.
    pub input: Vec<u8>,
    /// Bytes that the operation in `input` needs in all.
    pub needed: usize,
    /// Since when an operation in `input` is not whole.
    pub partial_since: Option<Instant>,
    pub opened: Instant,
    /// Since when it may send CONNECT: with TLS, since the handshake.
    pub ready_since: Instant,
    pub last_in: Instant,
    pub next_ping: Instant,
    /// `next_ping` is counted from its CONNECT.
    pub is_connected: bool,
    /// It has got a PING.
    pub is_pinged: bool,
    /// Since when the client takes nothing although something waits for it.
    pub blocked_since: Option<Instant>,
    pub peer: SocketAddr,
}

impl Connection {
    pub fn new(
        stream: TcpStream,
        transport: Transport,
        id: ClientId,
        peer: SocketAddr,
        now: Instant,
        next_ping: Instant,
    ) -> Self {
        Self {
            stream,
            transport,
            token: token(id),
            registered: false,
            turn: Turn::Polled,
            ended: false,
            publisher: Publisher::default(),
            input: Vec::new(),
            needed: 0,
            partial_since: None,
            opened: now,
            ready_since: now,
            last_in: now,
            next_ping,
            is_connected: false,
            is_pinged: false,
            blocked_since: None,
            peer,
        }
    }

    /// Asks poll to report this connection. Registering anew reports what is there already.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        if !self.registered {
            registry.register(
                &mut self.stream,
                self.token,
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.registered = true;
        }
        Ok(())
    }

    /// Keeps poll from waking up for this connection.
    pub fn deregister(&mut self, registry: &Registry) {
        if self.registered {
            // It fails only for a socket that poll does not know.
            let _ = registry.deregister(&mut self.stream);
            self.registered = false;
        }
    }

    /// Free space that a read needs besides that of a plain one.
    pub fn read_extra(&self) -> usize {
        match self.transport {
            Transport::Plain => 0,
            Transport::Undecided(_) | Transport::Handshake(_) | Transport::Tls(_) => {
                TLS_RECORD_BYTES
            }
        }
    }

    /// One read into the free space of `buffer`; `cipher` is for what is still encrypted.
    pub fn read(&mut self, cipher: &mut [u8], buffer: &mut Vec<u8>) -> Read {
        match &mut self.transport {
            Transport::Plain => read_plain(&self.stream, buffer),
            Transport::Tls(session) => session.read(&self.stream, cipher, buffer),
            // Its bytes are not for NATS.
            Transport::Undecided(_) | Transport::Handshake(_) => Read::Drained,
        }
    }

    /// Sends what waits, as much as the socket takes.
    pub fn flush(&mut self, id: ClientId, broker: &mut Broker, now: Instant) -> io::Result<()> {
        let mut progress = false;
        let (stream, progress_made) = (&self.stream, &mut progress);
        let is_all = match &mut self.transport {
            Transport::Plain => {
                write_plain(stream, id, broker, &mut { usize::MAX }, progress_made)?
            }
            Transport::Undecided(undecided) => {
                write_plain(stream, id, broker, &mut undecided.plain, progress_made)?
            }
            Transport::Handshake(session) => session.send(stream, progress_made)?,
            Transport::Tls(session) => session.write(stream, id, broker, progress_made)?,
        };
        self.wrote(progress, !is_all, now);
        Ok(())
    }

    /// Something was sent to the client, or its socket takes no more.
    pub fn wrote(&mut self, progress: bool, is_stuck: bool, now: Instant) {
        if progress {
            self.blocked_since = None;
        }
        if is_stuck {
            self.blocked_since.get_or_insert(now);
        }
    }

    /// Says goodbye so that the client reads our last words: unread input would turn the close into a reset.
    pub fn close(&mut self, registry: &Registry) {
        self.deregister(registry);
        if let Transport::Tls(session) = &mut self.transport {
            session.say_goodbye(&self.stream);
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        // What is there by now: whoever goes on sending is to notice that nobody reads.
        let mut left = rustix::io::ioctl_fionread(&self.stream).unwrap_or(0);
        let mut rest = Vec::with_capacity(READ_BLOCK_BYTES);
        while left > 0 {
            rest.clear();
            if !matches!(read_plain(&self.stream, &mut rest), Read::Some { .. }) {
                break;
            }
            left = left.saturating_sub(rest.len() as u64);
        }
    }
}

/// The poll token of a client; the ones below are the listener and the waker.
pub(super) fn token(id: ClientId) -> Token {
    Token(id + FIRST_CLIENT_TOKEN)
}

pub(super) const FIRST_CLIENT_TOKEN: usize = 2;
