//! The load generator: ready commands, large writes.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::lines::{Block, Lines};
use crate::support::NatsWire;

/// Commands of one write of the unpaced rows: some 140 KB.
const COMMANDS_A_WRITE: usize = 400;
/// How long a final PONG may take.
const PONG_LIMIT: Duration = Duration::from_secs(120);

/// What was sent, and when.
#[derive(Debug)]
pub struct Sent {
    /// Lines of each connection.
    pub lines: Vec<u64>,
    /// Just before the first write.
    pub began: Instant,
    /// After the last write.
    pub published: Instant,
    /// When the last PONG was there; `None` when one did not come.
    pub answered: Option<Instant>,
}

/// When each line was handed over, in nanoseconds after `base`; 0: not yet.
pub struct Times {
    pub base: Instant,
    connections: Vec<Vec<AtomicU64>>,
}

impl Times {
    pub fn new(connections: u32, lines: u64) -> Self {
        let each = lines / u64::from(connections) + 1;
        let column = || (0..each).map(|_| AtomicU64::new(0)).collect();
        Self {
            base: Instant::now(),
            connections: (0..connections).map(|_| column()).collect(),
        }
    }

    /// They are handed over now.
    pub fn set(&self, connection: usize, numbers: std::ops::Range<u64>) {
        let now = self.base.elapsed().as_nanos() as u64;
        for time in &self.connections[connection][numbers.start as usize..numbers.end as usize] {
            time.store(now, Relaxed);
        }
    }

    /// When the line was handed over.
    pub fn get(&self, connection: u64, number: u64) -> Option<u64> {
        let time = self
            .connections
            .get(connection as usize)?
            .get(number as usize)?;
        Some(time.load(Relaxed)).filter(|&time| time > 0)
    }
}

/// One thread for each connection, each as fast as it is let.
pub fn unpaced(to: SocketAddr, lines: &Lines, connections: u32, total: u64) -> Sent {
    let start = Barrier::new(connections as usize + 1);
    let each = |n: u32| {
        total / u64::from(connections) + u64::from(u64::from(n) < total % u64::from(connections))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|n| {
                let start = &start;
                scope.spawn(move || {
                    let mut connection = connect(to);
                    let mut block = Block::new(lines, n, COMMANDS_A_WRITE);
                    start.wait();
                    let mut sent = 0;
                    while sent < each(n) {
                        let (bytes, count) = block.numbered(sent, each(n) - sent);
                        if let Err(error) = connection.write_all(bytes) {
                            eprintln!("connection {n} ended after {sent} lines: {error}");
                            return (sent, Instant::now(), None);
                        }
                        sent += count;
                    }
                    let published = Instant::now();
                    (sent, published, pong(&mut connection))
                })
            })
            .collect();
        start.wait();
        let began = Instant::now();
        let ends: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        Sent {
            lines: ends.iter().map(|end| end.0).collect(),
            began,
            published: ends.iter().map(|end| end.1).max().unwrap_or(began),
            answered: ends
                .iter()
                .map(|end| end.2)
                .try_fold(began, |last, end| Some(last.max(end?))),
        }
    })
}

/// One thread: every `tick` the lines that are due go to the next connection, in one write.
pub fn paced(
    to: SocketAddr,
    lines: &Lines,
    connections: u32,
    total: u64,
    rate: u64,
    tick: Duration,
    times: Option<&Times>,
) -> Sent {
    let mut wires: Vec<_> = (0..connections)
        .map(|n| (connect(to), Block::new(lines, n, COMMANDS_A_WRITE), 0_u64))
        .collect();
    let each = total / u64::from(connections);
    let total = each * u64::from(connections);
    let began = Instant::now();
    let mut sent = 0;
    let mut turn = 0;
    while sent < total {
        let due = (began.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64 + 1;
        let mut left = due.min(total).saturating_sub(sent);
        while left > 0 {
            let n = turn % wires.len();
            turn += 1;
            let (connection, block, number) = &mut wires[n];
            let (bytes, count) = block.numbered(*number, left.min(each - *number));
            if count == 0 {
                continue;
            }
            if let Some(times) = times {
                times.set(n, *number..*number + count);
            }
            if let Err(error) = connection.write_all(bytes) {
                eprintln!("connection {n} ended after {number} lines: {error}");
                return Sent {
                    lines: wires.iter().map(|wire| wire.2).collect(),
                    began,
                    published: Instant::now(),
                    answered: None,
                };
            }
            *number += count;
            sent += count;
            left -= count;
        }
        std::thread::sleep(tick);
    }
    let published = Instant::now();
    let answered = wires
        .iter_mut()
        .map(|wire| pong(&mut wire.0))
        .try_fold(began, |last, end| Some(last.max(end?)));
    Sent {
        lines: wires.iter().map(|wire| wire.2).collect(),
        began,
        published,
        answered,
    }
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = NatsWire::connect(to).stream();
    stream.set_write_timeout(Some(PONG_LIMIT)).unwrap();
    stream.set_read_timeout(Some(PONG_LIMIT)).unwrap();
    stream
}

/// PING; when the PONG came.
fn pong(connection: &mut TcpStream) -> Option<Instant> {
    connection.write_all(b"PING\r\n").ok()?;
    let mut answers = BufReader::new(&*connection);
    let mut line = String::new();
    while answers.read_line(&mut line).ok()? > 0 {
        match line.as_str() {
            "PONG\r\n" => return Some(Instant::now()),
            "PING\r\n" => (&*connection).write_all(b"PONG\r\n").ok()?,
            other => eprintln!("the server says {}", other.trim_end()),
        }
        line.clear();
    }
    None
}
