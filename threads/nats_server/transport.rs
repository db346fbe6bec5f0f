//! How the bytes of one client travel: plain, or through TLS.
//!
//! TLS holds back no plaintext between two reads, so that poll knows all there is to know, and what it has encrypted counts among
//! what waits for the client until the socket has it.

use std::io::{self, BufRead, IoSlice, Read as _, Write};
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;
use rustix::buffer::spare_capacity;
use rustix::net::RecvFlags;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use crate::limits::{CONTROL_LINE_BYTES, TLS_READS_A_ROUND, TLS_RECORD_BYTES, TLS_WRITE_BYTES};
use crate::nats::tls::{HandshakeFirst, TlsOptions};
use crate::nats::{Broker, ClientId};

/// What a TLS handshake begins with (RFC 8446 section 5.1: a record of type handshake).
const HANDSHAKE_RECORD: u8 = 0x16;

/// Chunks of what waits for a client that one write takes at most.
pub(super) const CHUNKS_A_WRITE: usize = 8;

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

/// How a handshake is getting on.
#[derive(Debug)]
pub(super) enum Shake {
    /// The client's next bytes are not there yet.
    Waits,
    /// Bytes for NATS may follow, and may be there.
    Done,
    /// There will be none.
    Failed(io::Error),
}

/// What a client without a handshake has begun with.
#[derive(Debug)]
pub(super) enum First {
    /// Nothing yet.
    Nothing,
    /// A handshake.
    Handshake,
    /// Something else.
    Other,
    /// The end, or an error.
    End,
}

pub(super) enum Transport {
    Plain,
    /// Neither plain nor TLS yet.
    Undecided(Undecided),
    Handshake(Box<Session>),
    Tls(Box<Session>),
}

/// The time before the client's first bytes.
#[derive(Debug)]
pub(super) struct Undecided {
    /// Bytes for the client that go out in plain text: its INFO.
    pub plain: usize,
    /// When the INFO goes out although the handshake was to come first.
    fallback: Option<Instant>,
}

pub(super) struct Session {
    tls: ServerConnection,
    /// Bytes at the start of what waits for the client that are encrypted already.
    encrypted: usize,
    /// The client has said that it sends no more.
    ended: bool,
    /// What it has sent behind its last good bytes cannot be used.
    broken: Option<rustls::Error>,
}

impl Transport {
    /// Version and cipher suite of TLS.
    pub fn label(&self) -> Option<(String, String)> {
        match self {
            Self::Tls(session) => Some(session.label()),
            Self::Plain | Self::Undecided(_) | Self::Handshake(_) => None,
        }
    }
}

impl Undecided {
    /// For a client whose INFO has `info` bytes.
    pub fn new(options: &TlsOptions, info: usize, now: Instant) -> Self {
        let (plain, fallback) = match options.handshake_first {
            HandshakeFirst::Off => (info, None),
            HandshakeFirst::On => (0, None),
            HandshakeFirst::Within(time) => (0, Some(now + time)),
        };
        Self { plain, fallback }
    }

    pub fn fallback(&self) -> Option<Instant> {
        self.fallback
    }

    /// The client has not begun: it gets its INFO of `info` bytes.
    pub fn fall_back(&mut self, info: usize) {
        self.plain = info;
        self.fallback = None;
    }

    /// Looks at the client's first byte and leaves it where it is.
    pub fn first(stream: &TcpStream) -> First {
        let mut byte = [0];
        loop {
            return match rustix::net::recv(stream, &mut byte, RecvFlags::PEEK) {
                Ok((_, 0)) => First::End,
                Ok(_) if byte == [HANDSHAKE_RECORD] => First::Handshake,
                Ok(_) => First::Other,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => First::Nothing,
                Err(_) => First::End,
            };
        }
    }
}

/// One read into the free space of `buffer`.
pub(super) fn read_plain(stream: &TcpStream, buffer: &mut Vec<u8>) -> Read {
    let room = buffer.capacity() - buffer.len();
    loop {
        return match rustix::io::read(stream, spare_capacity(buffer)) {
            Ok(0) => Read::End,
            Ok(n) => Read::Some { more: n == room },
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::AGAIN) => Read::Drained,
            Err(error) => Read::Failed(error.into()),
        };
    }
}

/// Sends up to `most` bytes of what waits. False when the socket takes no more.
pub(super) fn write_plain(
    stream: &TcpStream,
    id: ClientId,
    broker: &mut Broker,
    most: &mut usize,
    progress: &mut bool,
) -> io::Result<bool> {
    while let Some(out) = broker.outbound(id)
        && !out.is_empty()
        && *most > 0
    {
        let front = out.front();
        let result = if *most < out.len() {
            rustix::io::write(stream, front.get(..*most).unwrap_or(front))
        } else {
            let mut slices = [IoSlice::new(&[]); CHUNKS_A_WRITE];
            let count = out.slices(&mut slices);
            rustix::io::writev(stream, slices.get(..count).unwrap_or_default())
        };
        match result {
            Ok(n) => {
                broker.sent(id, n);
                *most -= n;
                *progress = true;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

impl Session {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(config)?;
        tls.set_buffer_limit(Some(TLS_WRITE_BYTES));
        Ok(Self {
            tls,
            encrypted: 0,
            ended: false,
            broken: None,
        })
    }

    /// The handshake, as far as the client's bytes go. What comes behind it stays for [`Self::read`].
    pub fn shake(&mut self, stream: &TcpStream) -> Shake {
        loop {
            let result = self.tls.read_tls(&mut Socket(stream));
            match result {
                Ok(0) => return Shake::Failed(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Shake::Waits,
                Err(error) => return Shake::Failed(error),
            }
            let result = self.tls.process_new_packets();
            // Its last bytes may say why.
            if let Err(error) = self.send(stream, &mut false) {
                return Shake::Failed(error);
            }
            match result {
                Ok(state) => self.ended |= state.peer_has_closed(),
                Err(error) => return Shake::Failed(io::Error::other(error)),
            }
            if !self.tls.is_handshaking() {
                return Shake::Done;
            }
        }
    }

    /// Reads into the free space of `buffer`, of which there are at least [`TLS_RECORD_BYTES`] and a control line.
    pub fn read(&mut self, stream: &TcpStream, cipher: &mut [u8], buffer: &mut Vec<u8>) -> Read {
        let before = buffer.len();
        // Behind a handshake.
        self.decrypted(buffer);
        for _ in 0..TLS_READS_A_ROUND {
            if let Some(error) = self.broken.take_if(|_| buffer.len() == before) {
                return Read::Failed(io::Error::other(error));
            }
            if buffer.len() > before {
                return Read::Some { more: true };
            }
            if self.ended {
                return Read::End;
            }
            // Plaintext is shorter than what it comes in, but for the part of a record that has come before.
            let room = (buffer.capacity() - buffer.len()).saturating_sub(TLS_RECORD_BYTES);
            let room = room.max(CONTROL_LINE_BYTES).min(cipher.len());
            let chunk = cipher.get_mut(..room).unwrap_or_default();
            let n = match Socket(stream).read(chunk) {
                Ok(0) => return Read::End,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Drained,
                Err(error) => return Read::Failed(error),
            };
            self.decrypt(chunk.get(..n).unwrap_or_default(), buffer);
            if self.tls.wants_write()
                && let Err(error) = self.send(stream, &mut false)
            {
                return Read::Failed(error);
            }
            if buffer.len() > before {
                let more = n == room || self.ended || self.broken.is_some();
                return Read::Some { more };
            }
        }
        Read::Some { more: true }
    }

    fn decrypt(&mut self, mut bytes: &[u8], buffer: &mut Vec<u8>) {
        while !bytes.is_empty() && !self.ended && self.broken.is_none() {
            // It takes what there is, unless plaintext waits, and none does.
            if self.tls.read_tls(&mut bytes).is_err() {
                self.broken = Some(rustls::Error::General("plaintext waits".to_owned()));
                return;
            }
            match self.tls.process_new_packets() {
                Ok(state) => self.ended = state.peer_has_closed(),
                Err(error) => self.broken = Some(error),
            }
            self.decrypted(buffer);
        }
    }

    /// Moves all plaintext into `buffer`.
    fn decrypted(&mut self, buffer: &mut Vec<u8>) {
        let mut reader = self.tls.reader();
        while let Ok(chunk) = reader.fill_buf()
            && !chunk.is_empty()
        {
            let n = chunk.len();
            if buffer.capacity() - buffer.len() < n {
                buffer.reserve_exact(n);
            }
            buffer.extend_from_slice(chunk);
            reader.consume(n);
        }
    }

    /// Sends what is encrypted. False when the socket takes no more.
    pub fn send(&mut self, stream: &TcpStream, progress: &mut bool) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => *progress = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Encrypts and sends what waits. False when the socket takes no more.
    pub fn write(
        &mut self,
        stream: &TcpStream,
        id: ClientId,
        broker: &mut Broker,
        progress: &mut bool,
    ) -> io::Result<bool> {
        loop {
            if !self.send(stream, progress)? {
                return Ok(false);
            }
            let waits = broker.outbound(id).map_or(0, |out| out.len());
            // A slow consumer has nothing any more that waits.
            broker.sent(id, std::mem::take(&mut self.encrypted).min(waits));
            let Some(out) = broker.outbound(id).filter(|out| !out.is_empty()) else {
                return Ok(true);
            };
            let front = out.front();
            let piece = front.get(..TLS_WRITE_BYTES).unwrap_or(front);
            self.encrypted = self.tls.writer().write(piece)?;
            if self.encrypted == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }

    /// Tells the client that nothing follows, if the socket takes it.
    pub fn say_goodbye(&mut self, stream: &TcpStream) {
        if self.encrypted == 0 {
            self.tls.send_close_notify();
        }
        let _ = self.send(stream, &mut false);
    }

    /// The client's certificate, in DER form.
    pub fn certificate(&self) -> Option<&[u8]> {
        Some(self.tls.peer_certificates()?.first()?.as_ref())
    }

    /// Version and cipher suite, as nats-server writes them.
    pub fn label(&self) -> (String, String) {
        let version = match self.tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            _ => "Unknown",
        };
        let suite = self.tls.negotiated_cipher_suite();
        let suite = suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
        (version.to_owned(), suite.replace("TLS13_", "TLS_"))
    }
}

/// The socket for rustls: a system call that was interrupted is made again.
struct Socket<'a>(&'a TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(self.0, &mut *buffer) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match rustix::io::writev(self.0, parts) {
                Err(rustix::io::Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
