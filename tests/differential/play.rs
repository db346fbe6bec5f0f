//! Plays a session against one server and writes down what its clients get.
//!
//! A step is done when a message that its client publishes behind it has reached an observer, or when the server has closed the connection.
//! When neither happens (the server waits for the rest of a line or a payload) the next step comes after a while. In the end each client
//! ends its side and reads until the server ends the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::servers::Config;
use super::session::{Session, escaped};
use super::stream::ends_with_error;

/// Between two writes of a step, so that they are two reads too, as a rule.
const PAUSE: Duration = Duration::from_micros(150);
/// A server that has not closed a connection whose client has ended its side by then does not do it at all.
const END: Duration = Duration::from_secs(5);
/// A server that serves must have answered an observer by then.
const LIMIT: Duration = Duration::from_secs(20);

/// Sessions after which the observer says that it is there.
const SESSIONS_A_PONG: u64 = 256;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The observer has got what its client published behind it.
    Seen,
    /// The server has closed the connection.
    Closed,
    /// Nothing of that.
    Silence,
    /// It was not waited for.
    Unknown,
}

/// What a server makes of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub outcomes: Vec<Outcome>,
    /// What each client got.
    pub got: Vec<Vec<u8>>,
    /// The server closed it when the client had ended its side.
    pub ended: Vec<bool>,
    /// It did so without having read all that was sent: what was on its way to the client may be lost.
    pub reset: Vec<bool>,
}

/// One end of a connection.
struct Wire {
    stream: TcpStream,
    got: Vec<u8>,
    is_over: bool,
    is_reset: bool,
}

impl Wire {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let got = Vec::new();
        Ok(Self {
            stream,
            got,
            is_over: false,
            is_reset: false,
        })
    }

    /// Reads what is there.
    fn pump(&mut self) {
        let mut block = [0; 16 << 10];
        while !self.is_over {
            match self.stream.read(&mut block) {
                Ok(0) => self.is_over = true,
                Ok(count) => self.got.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_over = true;
                    self.is_reset = true;
                }
            }
        }
    }
}

/// Waits until one of `wires` has something to read, and reads it.
fn pump<'a>(wires: impl Iterator<Item = &'a mut Wire>, time: Duration) {
    let mut open: Vec<&mut Wire> = wires.filter(|wire| !wire.is_over).collect();
    let mut polled: Vec<PollFd<'_>> = open
        .iter()
        .map(|wire| PollFd::new(&wire.stream, PollFlags::IN))
        .collect();
    let time = Timespec::try_from(time).unwrap();
    let _ = poll(&mut polled, Some(&time));
    let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
    for (wire, is_ready) in open.iter_mut().zip(ready) {
        if is_ready {
            wire.pump();
        }
    }
}

/// Plays sessions against one server, one after the other.
pub struct Player {
    address: SocketAddr,
    observer: Wire,
    /// Of all that is published behind steps.
    number: u64,
}

impl Player {
    pub fn new(address: SocketAddr, config: Config) -> Self {
        let mut observer = Wire::open(address).unwrap();
        let hello = format!("CONNECT {}\r\nSUB _b.> 1\r\nPING\r\n", config.connect());
        observer.stream.write_all(hello.as_bytes()).unwrap();
        let start = Instant::now();
        while !observer.got.ends_with(b"PONG\r\n") {
            let text = escaped(&observer.got);
            assert!(start.elapsed() < LIMIT && !observer.is_over, "{text}");
            pump([&mut observer].into_iter(), LIMIT);
        }
        Self {
            address,
            observer,
            number: 0,
        }
    }

    /// Plays `session`; a step that has no outcome by then counts as silent.
    pub fn play(&mut self, session: &Session, patience: Duration) -> Record {
        assert!(!self.observer.is_over, "the server has gone");
        self.observer.got.clear();
        self.number += 1;
        if self.number.is_multiple_of(SESSIONS_A_PONG) {
            // It answers PINGs before it sees them.
            self.observer.stream.write_all(b"PONG\r\n").unwrap();
        }
        let mut wires: Vec<Wire> = (0..session.clients())
            .map(|_| Wire::open(self.address).unwrap())
            .collect();
        let mut outcomes = Vec::new();
        for (at, step) in session.steps.iter().enumerate() {
            for (part, write) in step.writes().enumerate() {
                if part > 0 {
                    std::thread::sleep(PAUSE);
                }
                self.write(&mut wires, step.client, write);
            }
            let is_last = at + 1 == session.steps.len();
            outcomes.push(if session.hasty && is_last {
                Outcome::Unknown
            } else {
                self.outcome(
                    &mut wires,
                    step.client,
                    at,
                    !ends_with_error(&step.bytes),
                    patience,
                )
            });
        }
        let mut ended = Vec::new();
        for client in 0..wires.len() {
            let _ = wires[client].stream.shutdown(Shutdown::Write);
            let start = Instant::now();
            while !wires[client].is_over && start.elapsed() < END {
                pump(wires.iter_mut(), END);
            }
            ended.push(wires[client].is_over);
        }
        Record {
            outcomes,
            reset: wires.iter().map(|wire| wire.is_reset).collect(),
            got: wires.into_iter().map(|wire| wire.got).collect(),
            ended,
        }
    }

    fn write(&mut self, wires: &mut [Wire], client: usize, mut bytes: &[u8]) {
        let start = Instant::now();
        while !bytes.is_empty() {
            match wires[client].stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(start.elapsed() < LIMIT, "the server reads nothing");
                    pump(wires.iter_mut(), Duration::from_millis(1));
                }
                // The server has closed it.
                Err(_) => return,
            }
        }
    }

    fn outcome(
        &mut self,
        wires: &mut [Wire],
        client: usize,
        step: usize,
        publishes: bool,
        patience: Duration,
    ) -> Outcome {
        // Of one length for all numbers: whoever is subscribed to it as well gets it, too.
        let subject = format!("_b.{step}.{:016x}", self.number);
        if publishes {
            self.write(wires, client, format!("PUB {subject} 0\r\n\r\n").as_bytes());
        }
        let start = Instant::now();
        loop {
            let seen = self.observer.got.windows(subject.len());
            if seen.into_iter().any(|window| window == subject.as_bytes()) {
                return Outcome::Seen;
            }
            if wires[client].is_over {
                return Outcome::Closed;
            }
            assert!(!self.observer.is_over, "the server has gone");
            let Some(left) = patience.checked_sub(start.elapsed()) else {
                return Outcome::Silence;
            };
            let all = wires.iter_mut().chain([&mut self.observer]);
            pump(all, left);
        }
    }
}
