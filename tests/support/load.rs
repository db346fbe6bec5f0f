//! A publisher of numbered messages on a thread of its own, and the check of what arrived.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::nats::{event_at, log, publish};
use super::{LOOK, NatsWire, PATIENCE};

/// Messages of one write.
const A_WRITE: u64 = 50;

/// A publisher that sends as fast as it is let: lines ([`line`]) or events ([`event_name`]), numbered.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Publishes to `container` on a connection of its own, with a PING after every `ping_every` writes.
    pub fn start(
        to: SocketAddr,
        container: &str,
        connection: u32,
        ping_every: Option<u64>,
    ) -> Self {
        let container = container.to_owned();
        Self::of(to, 0..u64::MAX, ping_every, move |number| {
            let payload = log(&container, "0123456789ab", &line(connection, number));
            publish("LOG", None, &payload)
        })
    }

    /// Publishes the events with these numbers, with a PING after every write. Their time is now: of a producer whose last record is a
    /// day old (`producer.id.expiration.ms`) a broker that starts again knows nothing, and takes a batch twice.
    pub fn events(to: SocketAddr, numbers: Range<u64>) -> Self {
        let now_ms = cim::clock::now_ms() as i64;
        Self::of(to, numbers, Some(1), move |number| {
            publish("EVENT", None, &event_at(&event_name(number), now_ms))
        })
    }

    /// Publishes what `message` makes of each of `numbers`.
    pub fn of(
        to: SocketAddr,
        numbers: Range<u64>,
        ping_every: Option<u64>,
        message: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            sent: numbers.start.into(),
            acknowledged: numbers.start.into(),
            ..Shared::default()
        });
        let wire = NatsWire::connect(to);
        let (mut out, answers) = (wire.stream(), wire.stream());
        out.set_write_timeout(None).unwrap();
        answers.set_read_timeout(None).unwrap();
        let (own, of_reader) = (Arc::clone(&shared), Arc::clone(&shared));
        let writer = std::thread::spawn(move || {
            own.publish(&mut out, numbers.end, ping_every, message);
            own.ended.store(true, SeqCst);
            // Closing would discard what the server has not read: the stream stays open in `answers`.
            let _ = out.shutdown(std::net::Shutdown::Write);
        });
        let reader = std::thread::spawn(move || of_reader.read(BufReader::new(answers)));
        Self {
            shared,
            threads: vec![writer, reader],
        }
    }

    /// Messages up to this number were handed to the kernel whole.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(SeqCst)
    }

    /// Messages up to this number came before a PING that was answered.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }

    /// The publisher has ended: all is sent, it was told to, or the connection is gone.
    pub fn ended(&self) -> bool {
        self.shared.ended.load(SeqCst)
    }

    /// Ends the publisher, waits until the server has closed the connection, and returns how far it came.
    #[track_caller]
    pub fn stop(mut self) -> u64 {
        self.shared.stop.store(true, SeqCst);
        let start = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            assert!(
                start.elapsed() < 3 * PATIENCE,
                "the server has not closed a connection whose client has ended; {} sent, {} acknowledged",
                self.sent(),
                self.acknowledged()
            );
            std::thread::sleep(LOOK);
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.sent()
    }
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    stop: AtomicBool,
    ended: AtomicBool,
    /// How far it had come before each PING that has no answer yet.
    pings: Mutex<VecDeque<u64>>,
}

impl Shared {
    fn publish(
        &self,
        out: &mut impl Write,
        end: u64,
        ping_every: Option<u64>,
        message: impl Fn(u64) -> Vec<u8>,
    ) {
        let mut block = Vec::new();
        let mut writes = 0;
        while !self.stop.load(SeqCst) {
            let first = self.sent.load(SeqCst);
            let next = end.min(first + A_WRITE);
            if first == next {
                return;
            }
            block.clear();
            (first..next).for_each(|number| block.extend(message(number)));
            if out.write_all(&block).is_err() {
                return;
            }
            self.sent.store(next, SeqCst);
            writes += 1;
            if ping_every.is_some_and(|every| writes % every == 0) {
                self.pings.lock().unwrap().push_back(next);
                if out.write_all(b"PING\r\n").is_err() {
                    return;
                }
            }
        }
    }

    fn read(&self, answers: impl BufRead) {
        for answer in answers.lines() {
            match answer.as_deref() {
                Ok("PONG") => {
                    let sent = self.pings.lock().unwrap().pop_front();
                    self.acknowledged
                        .store(sent.expect("a PONG for each PING"), SeqCst);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// The name of event `number`.
pub fn event_name(number: u64) -> String {
    format!("E{number:07}")
}

/// The number of an event whose name is that of [`event_name`]; `text` is its JSON.
#[track_caller]
pub fn event_number(text: &[u8]) -> u64 {
    let name = text.strip_prefix(b"{\"eventName\":\"E");
    let digits = name.and_then(|name| std::str::from_utf8(name.get(..7)?).ok());
    let number = digits.and_then(|digits| digits.parse().ok());
    number.unwrap_or_else(|| panic!("not ours: {:?}", String::from_utf8_lossy(text)))
}

/// Line `number` of `connection`: 200 bytes or so.
pub fn line(connection: u32, number: u64) -> Vec<u8> {
    format!("c{connection:03} n{number:012} {}", "x".repeat(180)).into_bytes()
}

/// The connection and the number of a line of [`line`].
#[track_caller]
pub fn parse(text: &[u8]) -> (u32, u64) {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| {
        let mut words = text.split(' ');
        let connection = words.next()?.strip_prefix('c')?.parse().ok()?;
        let number = words.next()?.strip_prefix('n')?.parse().ok()?;
        Some((connection, number))
    });
    let (connection, number) =
        parsed.unwrap_or_else(|| panic!("torn: {:?}", String::from_utf8_lossy(text)));
    assert_eq!(text, line(connection, number), "damaged");
    (connection, number)
}

/// Checks that the lines of each connection are 0, 1, 2 … without a gap, a double or a change of order; returns how
/// many each of the connections 0..`connections` has.
#[track_caller]
pub fn check_in_order(lines: &[Vec<u8>], connections: u32) -> Vec<u64> {
    let mut next = vec![0; connections as usize];
    for text in lines {
        let (connection, number) = parse(text);
        let expected = &mut next[connection as usize];
        assert_eq!(
            number, *expected,
            "connection {connection}: lost, doubled or out of order"
        );
        *expected += 1;
    }
    next
}

/// What has become of numbered messages that were published in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Wanted, and not there.
    pub lost: u64,
    /// There once more.
    pub doubled: u64,
    /// There for the first time behind a later one.
    pub reordered: u64,
    /// Pieces in which one after another is there once more.
    pub runs: u64,
}

/// Counts; `wanted` says which numbers must be there.
pub fn tally(numbers: &[u64], wanted: impl Fn(u64) -> bool) -> Tally {
    let mut tally = Tally::default();
    let last = numbers.iter().copied().max().unwrap_or(0);
    let mut seen = vec![false; last as usize + 1];
    let (mut highest, mut doubled_before) = (None, None);
    for &number in numbers {
        if std::mem::replace(&mut seen[number as usize], true) {
            tally.doubled += 1;
            tally.runs += u64::from(doubled_before.is_none_or(|before| number <= before));
            doubled_before = Some(number);
            continue;
        }
        tally.reordered += u64::from(Some(number) < highest);
        highest = highest.max(Some(number));
        doubled_before = None;
    }
    let there = |number: u64| seen.get(number as usize).copied().unwrap_or(false);
    // Beyond the last one too: the first that is not wanted ends it.
    let behind = (last + 1..).take_while(|number| wanted(*number)).count() as u64;
    let lost = (0..=last).filter(|number| wanted(*number) && !there(*number));
    tally.lost = lost.count() as u64 + behind;
    tally
}
