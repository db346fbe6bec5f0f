//! One connection to an external server: read without blocking, and only when there is room; written to; watched.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::limits::READ_BLOCK_BYTES;
use crate::nats::external::ops::{self, OpError, Step};
use crate::nats::external::{Connected, Wire};

/// A subscription of CIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Log,
    Event,
    Config,
    Test,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Log, Self::Event, Self::Config, Self::Test];

    /// Of the subscription with this id.
    pub(super) fn of(sid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.sid() == sid)
    }

    fn sid(self) -> &'static [u8] {
        match self {
            Self::Log => b"1",
            Self::Event => b"2",
            Self::Config => b"3",
            Self::Test => b"4",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Log => "LOG",
            Self::Event => "EVENT",
            Self::Config => "CONFIG",
            Self::Test => "TEST",
        }
    }
}

pub(super) struct Link {
    /// Scheme, host and port.
    pub(super) server: String,
    wire: Wire,
    /// Read, and not taken yet.
    input: Vec<u8>,
    /// There may be more to read.
    pub(super) is_readable: bool,
    /// Nothing more comes, for this reason.
    pub(super) ended: Option<String>,
    output: Vec<u8>,
    /// Bytes of `output` that the socket has.
    sent: usize,
    /// PONGs that are not in `output` yet.
    pongs: u64,
    /// Nothing more goes out; what the server sent before may still be read.
    is_mute: bool,
    /// Bytes of the largest payload that the server takes.
    pub(super) max_payload: usize,
}

impl Link {
    /// Subscribes.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub(super) fn start(
        connected: Connected,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let socket = connected.wire.socket();
        socket.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)?;
        let mut output = Vec::new();
        for subject in Subject::ALL {
            output.extend_from_slice(b"SUB ");
            output.extend_from_slice(subject.name().as_bytes());
            output.push(b' ');
            output.extend_from_slice(subject.sid());
            output.extend_from_slice(b"\r\n");
        }
        Ok(Self {
            server: connected.server,
            wire: connected.wire,
            input: connected.input,
            is_readable: true,
            ended: None,
            output,
            sent: 0,
            pongs: 0,
            is_mute: false,
            max_payload: connected.max_payload,
        })
    }

    /// The server sends no further messages once it has answered the next PING.
    pub(super) fn unsubscribe(&mut self) {
        for subject in Subject::ALL {
            self.output.extend_from_slice(b"UNSUB ");
            self.output.extend_from_slice(subject.sid());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) {
        let line = format!("PUB {subject} {}\r\n", payload.len());
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(payload);
        self.output.extend_from_slice(b"\r\n");
    }

    pub(super) fn ping(&mut self) {
        self.output.extend_from_slice(b"PING\r\n");
    }

    /// So many PINGs of the server are to be answered.
    pub(super) fn pong(&mut self, pings: u64) {
        self.pongs = self.pongs.saturating_add(pings);
    }

    /// The operation at `at` in what was read.
    pub(super) fn op(&self, at: usize) -> Result<Step<'_>, OpError> {
        ops::next(self.input.get(at..).unwrap_or_default())
    }

    /// The first `bytes` of what was read are taken.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.input.drain(..bytes.min(self.input.len()));
        if self.input.is_empty() {
            // A large message is no reason to keep its memory.
            self.input.shrink_to(READ_BLOCK_BYTES);
        }
    }

    /// Reads once; false when nothing has come.
    pub(super) fn read(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        self.input.reserve(READ_BLOCK_BYTES);
        match self.wire.read_into(&mut self.input) {
            Ok(0) => self.ended = Some("the server has closed the connection".to_owned()),
            Ok(_) => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
            Err(error) => self.ended = Some(format!("the connection is broken: {error}")),
        }
        false
    }

    /// Sends as much as the socket takes.
    pub(super) fn flush(&mut self) {
        if self.is_mute {
            self.output.clear();
            return;
        }
        match self.send() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                // A read tells why, behind what the server had sent.
                self.is_mute = true;
                self.is_readable = true;
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        loop {
            while let Some(rest) = self.output.get(self.sent..)
                && !rest.is_empty()
            {
                match self.wire.write(rest) {
                    Ok(0) => return Err(ErrorKind::WouldBlock.into()),
                    Ok(count) => self.sent += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                // TLS may have read meanwhile.
                self.is_readable = true;
            }
            self.sent = 0;
            self.output.clear();
            self.output.shrink_to(READ_BLOCK_BYTES);
            // No more than a few at a time: a server that takes nothing may ask for ever.
            let pongs = self.pongs.min(64);
            if pongs == 0 {
                break;
            }
            self.pongs -= pongs;
            (0..pongs).for_each(|_| self.output.extend_from_slice(b"PONG\r\n"));
        }
        match self.wire.is_waiting() {
            true => self.wire.flush(),
            false => Ok(()),
        }
    }
}
