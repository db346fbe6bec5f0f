//! The TCP sink and collectors that break in each way: what was said to have arrived is there, in order, and repeated only around a
//! break. `make integration-test` runs the part with a real collector.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use cim::logs::remote::Remote;
use cim::logs::remote::tail::Legacy;
use cim::logs::remote::tcp::TcpSink;
use cim::resolver::CachingResolver;
use servers::{Collector, Syslog};
use support::{LOOK, PATIENCE, eventually};

/// A turn that does not wait long for what does not come.
const SHORT: Duration = Duration::from_millis(20);

/// Sends numbered lines, and those that have not arrived again when a connection is lost.
struct Sending {
    address: SocketAddr,
    resolver: CachingResolver,
    legacy: Legacy,
    sink: Option<TcpSink>,
    /// The next line to send, and the first one that has not arrived.
    next: u32,
    arrived: u32,
    /// Connections that were lost.
    breaks: u32,
}

impl Sending {
    fn to(address: SocketAddr) -> Self {
        Self {
            address,
            resolver: CachingResolver::default(),
            legacy: Legacy::default(),
            sink: None,
            next: 0,
            arrived: 0,
            breaks: 0,
        }
    }

    /// Sends what is below `until`, once; true when all has arrived.
    fn step(&mut self, until: u32) -> bool {
        let Some(sink) = &mut self.sink else {
            match TcpSink::connect(&self.resolver, &self.address.to_string(), &self.legacy) {
                Ok(sink) => self.sink = Some(sink),
                Err(_) => std::thread::sleep(LOOK),
            }
            return false;
        };
        while self.next < until {
            let text = line(self.next);
            let mut format = |out: &mut Vec<u8>| out.extend_from_slice(&text);
            let (chunk, index) = (u64::from(self.next / 100), self.next % 100);
            if !sink.line(chunk, index, &mut format).unwrap() {
                break;
            }
            self.next += 1;
        }
        let mut arrived = Vec::new();
        let result = sink.turn(SHORT, &mut arrived);
        self.arrived += arrived.iter().map(|one| one.lines).sum::<u32>();
        if result.is_err() {
            self.sink = None;
            self.next = self.arrived;
            self.breaks += 1;
        }
        self.arrived == until
    }

    /// Until all lines below `until` have arrived.
    #[track_caller]
    fn send(&mut self, until: u32) {
        let (mut known, mut since) = (self.arrived, Instant::now());
        while !self.step(until) {
            if self.arrived > known {
                (known, since) = (self.arrived, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{} of {until}", self.arrived);
        }
    }

    /// Until the collector takes nothing more of the lines below `until`.
    fn fill(&mut self, until: u32) {
        let start = Instant::now();
        let mut known = (self.next, self.arrived, Instant::now());
        while known.2.elapsed() < 10 * SHORT {
            assert!(!self.step(until), "nothing stands still");
            assert!(start.elapsed() < PATIENCE);
            if (self.next, self.arrived) != (known.0, known.1) {
                known = (self.next, self.arrived, Instant::now());
            }
        }
    }
}

fn line(number: u32) -> Vec<u8> {
    format!("{{\"log\":\"{number} {}\"}}", "x".repeat(100)).into_bytes()
}

fn number(line: &[u8]) -> u32 {
    let text = std::str::from_utf8(line).unwrap();
    let digits = text.strip_prefix("{\"log\":\"").unwrap();
    let number = digits.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(line, self::line(number));
    number
}

/// What came of the lines that were sent.
struct Outcome {
    lost: Vec<Range<u32>>,
    doubled: u32,
    /// Times that an earlier line came again.
    repeats: u32,
}

fn outcome(lines: &[Vec<u8>], sent: u32) -> Outcome {
    let mut outcome = Outcome {
        lost: Vec::new(),
        doubled: 0,
        repeats: 0,
    };
    // The next line that has never come, and the one behind the last one.
    let (mut new, mut next) = (0, 0);
    for line in lines {
        let number = number(line);
        if number < next {
            outcome.repeats += 1;
        } else if number > next {
            assert!(next >= new, "{number} after {next}: a gap among repeats");
            outcome.lost.push(next..number);
        }
        outcome.doubled += u32::from(number < new);
        next = number + 1;
        new = new.max(next);
    }
    if new < sent {
        outcome.lost.push(new..sent);
    }
    outcome
}

#[test]
fn lines_arrive_although_the_collector_closes_ends_stands_still_and_dawdles() {
    let collector = Collector::start();
    let mut sending = Sending::to(collector.address());
    sending.send(5000);
    collector.close();
    sending.send(10_000);
    collector.stop();
    for _ in 0..5 {
        assert!(!sending.step(15_000), "nobody is there");
    }
    collector.restart();
    sending.send(15_000);
    collector.slow(2_000_000);
    sending.send(20_000);
    collector.freeze();
    sending.fill(100_000);
    collector.thaw();
    sending.send(100_000);
    let outcome = outcome(&collector.wait_for(100_000), 100_000);
    assert_eq!(outcome.lost, []);
    assert!(outcome.repeats <= sending.breaks && sending.breaks == 2);
    assert_eq!(collector.connections(), 3);
}

#[test]
fn a_killed_collector_gets_again_what_it_had_not_read() {
    let collector = Collector::start();
    let mut sending = Sending::to(collector.address());
    sending.send(1000);
    collector.wait_for(1000);
    collector.freeze();
    sending.fill(100_000);
    collector.kill();
    eventually(PATIENCE, || {
        sending.step(100_000);
        sending.sink.is_none()
    });
    collector.restart();
    sending.send(100_000);
    eventually(PATIENCE, || collector.lines().last() == Some(&line(99_999)));
    let outcome = outcome(&collector.lines(), 100_000);
    assert_eq!(outcome.lost.len(), 0, "{:?}", outcome.lost);
    // It had read these, which nobody can know.
    assert!(outcome.doubled <= 1000, "{}", outcome.doubled);
}

#[test]
fn what_a_silent_collector_has_not_acknowledged_has_not_arrived() {
    let collector = Collector::start();
    let mut sending = Sending::to(collector.address());
    sending.send(100);
    collector.fall_silent();
    sending.fill(200);
    assert_eq!(sending.arrived, 100);
    let another = TcpSink::connect(
        &CachingResolver::default(),
        &collector.address().to_string(),
        &Legacy::default(),
    );
    assert!(another.is_err(), "nobody answers");
    collector.speak_again();
    sending.send(200);
    assert_eq!((sending.breaks, collector.wait_for(200).len()), (0, 200));
}

#[test]
#[ignore = "integration"]
fn with_collector_every_line_is_written_once_in_order_through_a_freeze_and_a_restart() {
    let mut syslog = Syslog::start();
    let mut sending = Sending::to(syslog.address());
    sending.send(20_000);
    syslog.freeze();
    sending.fill(200_000);
    syslog.thaw();
    sending.send(200_000);
    syslog.wait_for(200_000);
    syslog.stop();
    for _ in 0..5 {
        assert!(!sending.step(220_000), "nobody is there");
    }
    syslog.restart();
    sending.send(220_000);
    let outcome = outcome(&syslog.wait_for(220_000), 220_000);
    assert_eq!((outcome.lost.len(), outcome.doubled), (0, 0));
    assert_eq!(sending.breaks, 1);
}

#[test]
#[ignore = "integration"]
fn with_collector_a_kill_loses_nothing_that_was_acknowledged() {
    let mut syslog = Syslog::start();
    let mut sending = Sending::to(syslog.address());
    while sending.arrived < 50_000 {
        sending.step(100_000);
    }
    syslog.kill();
    syslog.restart();
    sending.send(100_000);
    eventually(PATIENCE, || syslog.lines().last() == Some(&line(99_999)));
    let outcome = outcome(&syslog.lines(), 100_000);
    println!("{} doubled", outcome.doubled);
    assert_eq!(outcome.lost.len(), 0, "{:?}", outcome.lost);
}

#[test]
#[ignore = "integration"]
fn with_collector_lines_are_written_as_they_were_sent() {
    let syslog = Syslog::start();
    let mut lines: Vec<Vec<u8>> = [
        "plain",
        " space before and after ",
        "tab\tand é\u{2028}",
        "12 digits first, as a length",
        "<13>as a priority",
        "end of another system\r",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    lines.push(b"not UTF-8 \xff\xfe".to_vec());
    lines.push(vec![b'x'; 1 << 20]);
    let mut sink = TcpSink::connect(
        &CachingResolver::default(),
        &syslog.address().to_string(),
        &Legacy::default(),
    );
    let sink = sink.as_mut().unwrap();
    let mut arrived = Vec::new();
    for (index, text) in (0..).zip(&lines) {
        let mut format = |out: &mut Vec<u8>| out.extend_from_slice(text);
        eventually(PATIENCE, || {
            let taken = sink.line(0, index, &mut format).unwrap();
            sink.turn(Duration::ZERO, &mut arrived).unwrap();
            taken
        });
    }
    eventually(PATIENCE, || {
        sink.turn(SHORT, &mut arrived).unwrap();
        sink.is_idle()
    });
    assert!(syslog.wait_for(lines.len()) == lines);
}
