//! The load generator: plain connections, a thread for each, ready bytes and large blocks, since it has the server's CPUs.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::support::NatsWire;

/// Bytes of one write of a publisher, at most, and of one read of a subscriber.
const BLOCK_BYTES: usize = 128 << 10;
/// A connection on which nothing happens for so long has lost what is missing.
const LIMIT: Duration = Duration::from_secs(20);
const SUBJECT: &str = "bench.subject";
const INBOX: &str = "_INBOX.bench.1";
/// Requests that are answered in a second on an ordinary machine.
const REQUESTS_PER_S: f64 = 15_000.0;

/// Who sends what to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub shape: Shape,
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Publishers as fast as they are let, on one subject that each of the subscribers gets.
    Stream { publishers: u64, subscribers: u64 },
    /// One request after the other, from one connection, answered by another one.
    Request,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages that should have arrived; when nobody subscribes: that should have been published.
    pub expected: u64,
    pub arrived: u64,
    pub took: Duration,
    /// Of each request, in nanoseconds.
    pub latencies: Vec<u64>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            Shape::Stream {
                publishers,
                subscribers,
            } => write!(f, "{publishers}-{subscribers}-")?,
            Shape::Request => f.write_str("request-")?,
        }
        match self.bytes {
            bytes if bytes >= 1024 && bytes % 1024 == 0 => write!(f, "{}k", bytes / 1024),
            bytes => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let parse = || {
            let (shape, size) = name.rsplit_once('-')?;
            let bytes = match size.strip_suffix('k') {
                Some(size) => size.parse::<usize>().ok()?.checked_mul(1024)?,
                None => size.parse().ok()?,
            };
            let shape = match shape.split_once('-') {
                None if shape == "request" => Shape::Request,
                None => return None,
                Some((publishers, subscribers)) => Shape::Stream {
                    publishers: publishers.parse().ok().filter(|&n| n > 0)?,
                    subscribers: subscribers.parse().ok()?,
                },
            };
            Some(Self { shape, bytes })
        };
        parse().ok_or_else(|| {
            format!("no row is called {name:?}: 1-0-128, 1-4-16k, request-16 are examples")
        })
    }
}

impl Row {
    /// Runs it against a server; a run that loses nothing takes about `seconds`.
    pub fn run(&self, to: SocketAddr, seconds: f64) -> Outcome {
        match self.shape {
            Shape::Stream {
                publishers,
                subscribers,
            } => {
                // What a message costs the server for each of its ways, roughly.
                let nanos = (500 + self.bytes as u64 / 4) * (1 + subscribers);
                let each = (seconds * 1e9 / nanos as f64) as u64 / publishers;
                stream(to, self.bytes, publishers, subscribers, each.max(1))
            }
            Shape::Request => {
                let count = (seconds * REQUESTS_PER_S) as u64;
                request(to, self.bytes, count.max(1))
            }
        }
    }
}

fn publish(subject: &str, reply: &str, bytes: usize) -> Vec<u8> {
    frame("PUB", &format!("{subject}{reply}"), bytes)
}

fn frame(verb: &str, arguments: &str, bytes: usize) -> Vec<u8> {
    let mut frame = format!("{verb} {arguments} {bytes}\r\n").into_bytes();
    frame.extend((0..bytes).map(|n| b'a' + (n % 26) as u8));
    frame.extend(b"\r\n");
    frame
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = NatsWire::connect(to).stream();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn subscribe(stream: &mut TcpStream, subject: &str) {
    let text = format!("SUB {subject} 1\r\nPING\r\n");
    stream.write_all(text.as_bytes()).unwrap();
    assert!(pong(stream), "a PONG behind SUB");
}

/// Reads up to a PONG, and nothing behind it.
fn pong(stream: &mut TcpStream) -> bool {
    let mut line = Vec::new();
    let mut byte = [0];
    while line != b"PONG\r\n" {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            _ => {
                eprintln!("no PONG: {}", line.escape_ascii());
                return false;
            }
        }
        if line == b"PING\r\n" {
            stream.write_all(b"PONG\r\n").unwrap();
            line.clear();
        }
    }
    true
}

fn stream(to: SocketAddr, bytes: usize, publishers: u64, subscribers: u64, each: u64) -> Outcome {
    let command = publish(SUBJECT, "", bytes);
    let message = frame("MSG", &format!("{SUBJECT} 1"), bytes);
    let published = each * publishers;
    let start = Barrier::new((publishers + subscribers) as usize + 1);
    let (start, command, message) = (&start, &command[..], &message[..]);
    std::thread::scope(|scope| {
        let takers: Vec<_> = (0..subscribers)
            .map(|_| {
                scope.spawn(move || {
                    let mut stream = connect(to);
                    subscribe(&mut stream, SUBJECT);
                    start.wait();
                    let mut count = Count::new(message);
                    let arrived = count.up_to(&mut stream, published);
                    (arrived, Instant::now())
                })
            })
            .collect();
        let givers: Vec<_> = (0..publishers)
            .map(|_| {
                scope.spawn(move || {
                    let mut stream = connect(to);
                    start.wait();
                    let done = give(&mut stream, command, each);
                    (done, Instant::now())
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let join = |threads: Vec<std::thread::ScopedJoinHandle<'_, (u64, Instant)>>| {
            let ends = threads.into_iter().map(|thread| thread.join().unwrap());
            ends.fold((0, began), |(sum, last), (n, end)| (sum + n, last.max(end)))
        };
        let (given, given_at) = join(givers);
        let (taken, taken_at) = join(takers);
        let (expected, arrived) = match subscribers {
            0 => (published, given),
            _ => (published * subscribers, taken),
        };
        Outcome {
            expected,
            arrived,
            took: given_at.max(taken_at) - began,
            latencies: Vec::new(),
        }
    })
}

/// Sends `command` so many times, and PING. How many the server has taken.
fn give(stream: &mut TcpStream, command: &[u8], count: u64) -> u64 {
    let a_block = (BLOCK_BYTES / command.len()).max(1) as u64;
    let block = command.repeat(a_block as usize);
    let mut left = count;
    while left > 0 {
        let n = left.min(a_block);
        if let Err(error) = stream.write_all(&block[..n as usize * command.len()]) {
            eprintln!("a publisher ended {left} messages early: {error}");
            return count - left;
        }
        left -= n;
    }
    let answered = stream.write_all(b"PING\r\n").is_ok() && pong(stream);
    if answered { count } else { 0 }
}

/// Counts messages that are all the same.
struct Count<'a> {
    message: &'a [u8],
    block: Vec<u8>,
    /// Bytes at the start of `block` that are read.
    filled: usize,
}

impl<'a> Count<'a> {
    fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            block: vec![0; BLOCK_BYTES + message.len()],
            filled: 0,
        }
    }

    /// Reads `wanted` messages; how many came.
    fn up_to(&mut self, stream: &mut TcpStream, wanted: u64) -> u64 {
        let mut count = 0;
        while count < wanted {
            match stream.read(&mut self.block[self.filled..]) {
                Ok(0) => {
                    eprintln!("the server has cut off a subscriber after {count} messages");
                    break;
                }
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    eprintln!("nothing came after {count} messages: {error}");
                    break;
                }
            }
            count += self.messages(stream);
        }
        count
    }

    /// The whole messages in the block; a part of one goes to its start.
    fn messages(&mut self, stream: &mut TcpStream) -> u64 {
        let (mut at, mut count) = (0, 0);
        let block = &self.block[..self.filled];
        // All of the first one is looked at, and the start of the others: a length that is wrong shows there.
        if block.len() >= self.message.len() && block[0] == b'M' {
            assert!(block.starts_with(self.message), "a damaged message");
        }
        while at < block.len() {
            if block[at] == b'M' {
                if block.len() - at < self.message.len() {
                    break;
                }
                at += self.message.len();
                count += 1;
            } else if let Some(end) = memchr::memchr(b'\n', &block[at..]) {
                let line = &block[at..=at + end];
                match line {
                    b"PING\r\n" => stream.write_all(b"PONG\r\n").unwrap(),
                    other => eprintln!("the server says {}", other.escape_ascii()),
                }
                at += line.len();
            } else {
                break;
            }
        }
        self.block.copy_within(at..self.filled, 0);
        self.filled -= at;
        count
    }
}

fn request(to: SocketAddr, bytes: usize, count: u64) -> Outcome {
    let asked = frame("MSG", &format!("{SUBJECT} 1 {INBOX}"), bytes);
    let answered = frame("MSG", &format!("{INBOX} 1"), bytes);
    let ask = publish(SUBJECT, &format!(" {INBOX}"), bytes);
    let answer = publish(INBOX, "", bytes);
    let (asked, answered) = (&asked[..], &answered[..]);
    let mut requester = connect(to);
    subscribe(&mut requester, INBOX);
    let mut responder = connect(to);
    subscribe(&mut responder, SUBJECT);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut requests = Count::new(asked);
            for _ in 0..count {
                if requests.up_to(&mut responder, 1) == 0 || responder.write_all(&answer).is_err() {
                    break;
                }
            }
        });
        let mut answers = Count::new(answered);
        let mut latencies = Vec::with_capacity(count as usize);
        let began = Instant::now();
        let mut last = began;
        for _ in 0..count {
            if requester.write_all(&ask).is_err() || answers.up_to(&mut requester, 1) == 0 {
                break;
            }
            let now = Instant::now();
            latencies.push((now - last).as_nanos() as u64);
            last = now;
        }
        Outcome {
            expected: count,
            arrived: latencies.len() as u64,
            took: last - began,
            latencies,
        }
    })
}
