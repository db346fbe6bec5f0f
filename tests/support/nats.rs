//! The NATS protocol by hand: every byte is the test's own. Every wait has a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cim::wire::{EventFields, encode_event, encode_log};
use flatbuffers::FlatBufferBuilder;

use super::PATIENCE;

/// A connection to the NATS port.
pub struct NatsWire {
    stream: TcpStream,
    received: Vec<u8>,
    /// How long each wait may take.
    pub patience: Duration,
    /// The server's first line, without `INFO `.
    pub info: String,
}

/// A message that the server delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub subject: String,
    pub sid: String,
    pub reply: Option<String>,
    pub payload: Vec<u8>,
}

impl NatsWire {
    /// Connects and reads INFO; sends nothing.
    #[track_caller]
    pub fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|error| panic!("no INFO from {to}: {error}"))
    }

    pub fn try_open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut wire = Self {
            stream,
            received: Vec::new(),
            patience: PATIENCE,
            info: String::new(),
        };
        let line = wire.try_line()?;
        let info = line
            .strip_prefix("INFO ")
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("not INFO: {line:?}")))?;
        wire.info = info.to_owned();
        Ok(wire)
    }

    /// Connects as a stock client does: CONNECT, PING, PONG.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        let mut wire = Self::open(to);
        wire.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"test\",\"version\":\"1\"}\r\n");
        wire.ping_pong();
        wire
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes it in time");
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The stream itself, for a writer or reader of its own.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Nothing more will be sent.
    pub fn end_sending(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads more; `Ok(0)` at the end of the stream.
    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "nothing came in time"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut block = [0; 16 << 10];
        match self.stream.read(&mut block) {
            Ok(read) => {
                self.received.extend_from_slice(&block[..read]);
                Ok(read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(io::Error::new(ErrorKind::TimedOut, "nothing came in time"))
            }
            Err(error) => Err(error),
        }
    }

    /// The next line without its CR LF, as it comes: PINGs too.
    fn raw_line(&mut self, deadline: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.fill(deadline)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next line without its CR LF; PINGs of the server are answered and skipped.
    pub fn try_line(&mut self) -> io::Result<String> {
        let deadline = Instant::now() + self.patience;
        loop {
            let line = self.raw_line(deadline)?;
            if line == "PING" {
                self.try_send(b"PONG\r\n")?;
            } else {
                return Ok(line);
            }
        }
    }

    #[track_caller]
    pub fn line(&mut self) -> String {
        self.try_line().expect("a line")
    }

    /// The next line must be `text`.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.line(), text);
    }

    /// The next line must begin with `start`; returns it.
    #[track_caller]
    pub fn expect_start(&mut self, start: &str) -> String {
        let line = self.line();
        assert!(line.starts_with(start), "expected {start:?}…, got {line:?}");
        line
    }

    /// The server must close the connection; returns what it said before.
    #[track_caller]
    pub fn expect_closed(&mut self) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.fill(deadline) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => panic!(
                    "still open after {:?}; received {:?}",
                    self.patience,
                    String::from_utf8_lossy(&self.received)
                ),
                // Closed with unread bytes: a reset.
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.received)).into_owned()
    }

    /// PING, PONG: returns how long it took.
    #[track_caller]
    pub fn ping_pong(&mut self) -> Duration {
        let start = Instant::now();
        self.send(b"PING\r\n");
        self.expect("PONG");
        start.elapsed()
    }

    pub fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.send(&publish(subject, None, payload));
    }

    pub fn publish_with_reply(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        self.send(&publish(subject, Some(reply), payload));
    }

    pub fn publish_log(&mut self, container: &str, id: &str, line: &[u8]) {
        self.publish("LOG", &log(container, id, line));
    }

    pub fn publish_event(&mut self, name: &str) {
        self.publish("EVENT", &event(name));
    }

    pub fn subscribe(&mut self, subject: &str, sid: &str) {
        self.send(format!("SUB {subject} {sid}\r\n").as_bytes());
    }

    /// The next message delivered.
    #[track_caller]
    pub fn delivered(&mut self) -> Delivered {
        let line = self.expect_start("MSG ");
        self.payload_of(&line)
    }

    /// What was delivered before the server went.
    pub fn rest(&mut self) -> Vec<Vec<u8>> {
        let mut rest = Vec::new();
        while let Ok(line) = self.try_line() {
            if line.starts_with("MSG ") {
                rest.push(self.payload_of(&line).payload);
            }
        }
        rest
    }

    #[track_caller]
    fn payload_of(&mut self, line: &str) -> Delivered {
        let words: Vec<_> = line.split_whitespace().collect();
        let (reply, size) = match words.as_slice() {
            [_, _, _, size] => (None, size),
            [_, _, _, reply, size] => (Some((*reply).to_owned()), size),
            _ => panic!("not MSG: {line:?}"),
        };
        let size: usize = size.parse().unwrap();
        let deadline = Instant::now() + self.patience;
        while self.received.len() < size + 2 {
            assert_ne!(
                self.fill(deadline).expect("the payload"),
                0,
                "cut in {line:?}"
            );
        }
        let payload = self.received.drain(..size).collect();
        self.received.drain(..2);
        Delivered {
            subject: words[1].to_owned(),
            sid: words[2].to_owned(),
            reply,
            payload,
        }
    }
}

/// The bytes of one PUB.
pub fn publish(subject: &str, reply: Option<&str>, payload: &[u8]) -> Vec<u8> {
    let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
    let head = format!("PUB {subject} {reply}{}\r\n", payload.len());
    [head.as_bytes(), payload, b"\r\n"].concat()
}

/// A `LogMessage`.
pub fn log(container: &str, id: &str, line: &[u8]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    encode_log(container.as_bytes(), id.as_bytes(), line, &mut builder);
    builder.finished_data().to_vec()
}

/// A small `Event`.
pub fn event(name: &str) -> Vec<u8> {
    event_at(name, 1_767_225_600_123)
}

/// A small `Event` of that time, in milliseconds since the epoch.
pub fn event_at(name: &str, event_time: i64) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let fields = EventFields {
        event_name: name.as_bytes(),
        event_time,
        managed_object: &[(b"mo1", b"v1")],
        ..EventFields::default()
    };
    encode_event(&fields, &mut builder);
    builder.finished_data().to_vec()
}
