//! The sockets of thread `http-server`: each remembers whether it is worth a try, for poll events are edges.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::http::{Connection, End, Response, Scope};
use crate::limits::HTTP_ACCEPT_PAUSE;

/// A socket that connections come in through.
pub struct Listener {
    socket: mio::net::TcpListener,
    /// What is to be found here.
    pub scope: Scope,
    /// There may be a connection to accept.
    ready: bool,
    /// Accepting failed: not before this time again.
    retry_at: Option<Instant>,
}

impl Listener {
    /// `socket` is registered with the poll.
    pub fn new(socket: mio::net::TcpListener, scope: Scope) -> Self {
        Self {
            socket,
            scope,
            ready: true,
            retry_at: None,
        }
    }

    /// The poll says that there is something to accept.
    pub fn ready(&mut self) {
        self.ready = true;
    }

    /// When accepting is to be tried again after a failure: no event will tell.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The next connection. A failure, such as no descriptors left, is logged once, and again after it has been over.
    pub fn accept(&mut self, now: Instant) -> Option<mio::net::TcpStream> {
        if !self.ready || self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        loop {
            match self.socket.accept() {
                Ok((socket, _)) => {
                    self.retry_at = None;
                    return Some(socket);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    ErrorKind::WouldBlock => {
                        self.ready = false;
                        self.retry_at = None;
                        return None;
                    }
                    _ => {
                        if self.retry_at.is_none() {
                            log::warn!("the operations API cannot accept a connection: {error}");
                        }
                        self.retry_at = Some(now + HTTP_ACCEPT_PAUSE);
                        return None;
                    }
                },
            }
        }
    }
}

/// A client's place.
pub struct Slot {
    socket: mio::net::TcpStream,
    /// The listener's.
    pub scope: Scope,
    /// What is to be read and written, and by when.
    pub conn: Connection,
    /// Reading may succeed: so until the socket says `WouldBlock`.
    pub readable: bool,
    /// Writing may succeed.
    pub writable: bool,
    /// The answer that was promised.
    pub reply: Option<Receiver<Response>>,
}

impl Slot {
    /// `socket` is registered with the poll.
    pub fn new(socket: mio::net::TcpStream, scope: Scope, conn: Connection) -> Self {
        Self {
            socket,
            scope,
            conn,
            readable: true,
            writable: true,
            reply: None,
        }
    }

    /// Writes what there is.
    pub fn write(&mut self, now: Instant) {
        match self.socket.write(self.conn.to_write()) {
            Ok(0) => self.conn.abort(End::IoError),
            Ok(count) => {
                if self.conn.wrote(count, now) {
                    // It fails when the client has gone, which the next read tells.
                    let _ = self.socket.shutdown(Shutdown::Write);
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => self.writable = false,
                ErrorKind::Interrupted => {}
                _ => self.conn.abort(End::IoError),
            },
        }
    }

    /// Reads what there is room for.
    pub fn read(&mut self, block: &mut [u8], now: Instant) {
        let room = self.conn.room().min(block.len());
        let block = block.get_mut(..room).unwrap_or_default();
        match self.socket.read(block) {
            Ok(0) => self.conn.client_closed(),
            Ok(count) => self
                .conn
                .received(block.get(..count).unwrap_or_default(), now),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => self.readable = false,
                ErrorKind::Interrupted => {}
                _ => self.conn.abort(End::IoError),
            },
        }
    }
}
