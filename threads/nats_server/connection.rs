//! The socket side of one NATS client.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::buffer::spare_capacity;

use crate::limits::READ_BLOCK_BYTES;
use crate::nats::intake::Publisher;
use crate::nats::{Broker, ClientId};

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
    /// Never: the client has ended its side, and only its PINGs still wait.
    Ended,
}

/// What a read brought.
#[derive(Debug)]
pub(super) enum Read {
    /// Bytes; `more` when there are probably more.
    Some { more: bool },
    /// Nothing for now.
    Drained,
    /// The client has closed its side.
    End,
    /// The connection is broken.
    Failed(io::Error),
}

pub(super) struct Connection {
    stream: TcpStream,
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
    pub last_in: Instant,
    pub next_ping: Instant,
    /// Since when the client takes nothing although something waits for it.
    pub blocked_since: Option<Instant>,
    pub peer: SocketAddr,
}

impl Connection {
    pub fn new(
        stream: TcpStream,
        id: ClientId,
        peer: SocketAddr,
        now: Instant,
        next_ping: Instant,
    ) -> Self {
        Self {
            stream,
            token: token(id),
            registered: false,
            turn: Turn::Polled,
            ended: false,
            publisher: Publisher::default(),
            input: Vec::new(),
            needed: 0,
            partial_since: None,
            opened: now,
            last_in: now,
            next_ping,
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

    /// One read into the free space of `buffer`.
    pub fn read(&self, buffer: &mut Vec<u8>) -> Read {
        let room = buffer.capacity() - buffer.len();
        loop {
            return match rustix::io::read(&self.stream, spare_capacity(buffer)) {
                Ok(0) => Read::End,
                Ok(n) => Read::Some { more: n == room },
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Read::Drained,
                Err(error) => Read::Failed(error.into()),
            };
        }
    }

    /// Sends what waits, as much as the socket takes.
    pub fn flush(&mut self, id: ClientId, broker: &mut Broker, now: Instant) -> io::Result<()> {
        while let Some(out) = broker.outbound(id)
            && !out.is_empty()
        {
            match rustix::io::write(&self.stream, out.front()) {
                Ok(n) => {
                    broker.sent(id, n);
                    self.blocked_since = None;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.blocked_since.get_or_insert(now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Says goodbye so that the client reads our last words: unread input would turn the close into a reset.
    pub fn close(&mut self, registry: &Registry) {
        self.deregister(registry);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::with_capacity(READ_BLOCK_BYTES);
        for _ in 0..16 {
            rest.clear();
            if !matches!(self.read(&mut rest), Read::Some { .. }) {
                break;
            }
        }
    }
}

/// The poll token of a client; the ones below are the listener and the waker.
pub(super) fn token(id: ClientId) -> Token {
    Token(id + FIRST_CLIENT_TOKEN)
}

pub(super) const FIRST_CLIENT_TOKEN: usize = 2;
