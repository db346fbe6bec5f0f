//! 200,000 log lines at load to a real broker and to collectors that die, stand still and come back, while CIM itself is killed: what
//! was acknowledged arrives, in order, and what comes twice is counted. `make integration-test` runs this.
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

use servers::kafka::Kafka;
use servers::{Collector, Syslog};
use support::arrivals::{Arrivals, ours};
use support::load::parse;
use support::pod::{Pod, wait_for_conservation};
use support::publisher::Publisher;
use support::{Cim, Options, PATIENCE, eventually};

const LINES: u64 = 200_000;
/// Lines a second: what is stored can be caught up with.
const PACE: u64 = 10_000;
/// Lines before each PING.
const LINES_A_PING: u64 = 200;
/// Lines that may come twice in a whole run over TCP: those that had come and were not acknowledged when a connection ended.
const DOUBLED: u64 = 3 * (256 << 10) / 200;
/// Lines between two things that break.
const STRETCH: u64 = LINES / 5;

/// Where lines go, and how it breaks.
trait Sink {
    fn options(&self, options: Options) -> Options;
    /// Goes away for a while in its own ways, one after another.
    fn break_down(&mut self, way: usize);
    /// Comes back from that.
    fn come_back(&mut self, way: usize);
    /// The lines that it has, in order.
    fn lines(&mut self) -> Vec<Vec<u8>>;
}

fn outages(cim: &Cim) -> f64 {
    cim.metric("cim_log_sink_outages_total", &[])
}

#[track_caller]
fn until_steady(cim: &Cim) {
    eventually(3 * PATIENCE, || {
        cim.get("/readyz").json()["parts"]["collector"]["state"] == "ready"
    });
}

/// What became of the lines of a CIM that was killed, and of those of the next one.
struct Outcome {
    killed: Arrivals,
    next: Arrivals,
}

/// The sink breaks in two ways under load and comes back; CIM is killed and started again.
#[track_caller]
fn run(name: &str, sink: &mut dyn Sink) -> Outcome {
    let pod = Pod::new();
    let options = sink.options(pod.options(Options::new().large_files()));
    let options = options
        .infra("enable_retrx", "true")
        .infra("log_format", "text");
    let mut cim = Cim::start(options.clone());
    until_steady(&cim);
    let publisher = Publisher::start(cim.nats, 0, LINES_A_PING, PACE);
    for way in 0..2 {
        publisher.go_on(STRETCH / 2);
        let before = outages(&cim);
        sink.break_down(way);
        eventually(PATIENCE, || outages(&cim) > before);
        publisher.go_on(STRETCH);
        sink.come_back(way);
        // Under load.
        until_steady(&cim);
    }
    publisher.go_on(STRETCH / 2);
    cim.kill9();
    let of_killed = publisher.stop();
    drop(cim);
    let cim = Cim::start(options);
    let publisher = Publisher::start(cim.nats, 1, LINES_A_PING, PACE);
    publisher.go_on(LINES.saturating_sub(of_killed).max(STRETCH / 2));
    let of_next = publisher.stop();
    until_steady(&cim);
    eventually(PATIENCE, || pod.marks().is_empty());
    wait_for_conservation(&cim);
    let mut outcome = None;
    eventually(2 * PATIENCE, || {
        let lines = sink.lines();
        let next = Arrivals::of(&lines, 1, of_next);
        let is_whole = next.lost.is_empty();
        let killed = Arrivals::of(&lines, 0, of_killed);
        outcome = Some(Outcome { killed, next });
        is_whole
    });
    let outcome = outcome.unwrap();
    println!(
        "{name}: {of_killed} lines acknowledged before the kill: {}",
        outcome.killed
    );
    println!("{name}: {of_next} lines behind it: {}", outcome.next);
    let next = &outcome.next;
    assert_eq!((next.doubled, next.reordered), (0, 0), "nothing broke");
    assert!(cim.files_of("app").is_empty());
    outcome
}

struct Broker {
    kafka: Kafka,
}

impl Sink for Broker {
    fn options(&self, options: Options) -> Options {
        options
            .cim("lmaas.logging_mode", "KAFKA")
            .infra("kafka_brokers", vec![self.kafka.brokers()])
    }

    fn break_down(&mut self, way: usize) {
        match way {
            0 => self.kafka.kill(),
            _ => self.kafka.freeze(),
        }
    }

    fn come_back(&mut self, way: usize) {
        match way {
            0 => self.kafka.restart(),
            _ => self.kafka.thaw(),
        }
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut reader = self.kafka.reader("LOGS");
        let records = reader.read_to_the_end();
        records.iter().map(|record| record.value.clone()).collect()
    }
}

#[test]
#[ignore = "integration"]
fn with_kafka_that_is_killed_and_frozen_every_acknowledged_line_arrives_in_order() {
    let kafka = Kafka::start();
    let outcome = run("kafka", &mut Broker { kafka });
    assert_eq!(outcome.killed.lost(), 0, "{}", outcome.killed);
    // Records whose delivery report the kill, the freeze and the kill of CIM have cost.
    assert_eq!(outcome.killed.reordered, 0, "{}", outcome.killed);
    assert!(outcome.killed.steps_back <= 3, "{}", outcome.killed);
}

fn tcp(options: Options, address: SocketAddr) -> Options {
    options
        .cim("lmaas.logging_mode", "TCP")
        .infra("logging_svc_url", address.to_string())
}

impl Sink for Collector {
    fn options(&self, options: Options) -> Options {
        tcp(options, self.address())
    }

    fn break_down(&mut self, way: usize) {
        match way {
            0 => self.fall_silent(),
            _ => self.freeze(),
        }
    }

    fn come_back(&mut self, way: usize) {
        match way {
            0 => {
                // CIM has ended the connection long since, and nobody was told.
                self.kill();
                self.restart();
            }
            _ => self.thaw(),
        }
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        Collector::lines(self)
    }
}

#[test]
#[ignore = "integration"]
fn with_collector_that_falls_silent_and_stands_still_every_acknowledged_line_arrives() {
    let mut collector = Collector::start();
    let outcome = run("collector", &mut collector);
    assert_eq!(outcome.killed.lost(), 0, "{}", outcome.killed);
    assert!(outcome.killed.doubled < DOUBLED, "{}", outcome.killed);
    // One that was frozen reads the old connection and the new one side by side: each for itself is in order.
    let mut next = 0;
    for lines in collector.lines_of_connections() {
        let mut lines: Vec<_> = ours(&lines).map(|line| parse(line)).collect();
        lines.retain(|(connection, _)| *connection == 0);
        let (Some((_, first)), Some((_, last))) = (lines.first(), lines.last()) else {
            continue;
        };
        assert!(lines.iter().map(|line| line.1).eq(*first..last + 1));
        assert!(*first <= next, "{first} behind {next}");
        next = last + 1;
    }
}

impl Sink for Syslog {
    fn options(&self, options: Options) -> Options {
        tcp(options, self.address())
    }

    fn break_down(&mut self, way: usize) {
        match way {
            0 => self.freeze(),
            _ => self.kill(),
        }
    }

    fn come_back(&mut self, way: usize) {
        match way {
            0 => self.thaw(),
            _ => self.restart(),
        }
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        Syslog::lines(self)
    }
}

/// What the kernel of a killed collector had acknowledged and it had not read is gone with it: one stretch, before everything else.
#[test]
#[ignore = "integration"]
fn with_collector_rsyslog_that_is_frozen_and_killed_loses_only_what_it_had_not_read() {
    let outcome = run("rsyslog", &mut Syslog::start());
    assert!(outcome.killed.lost.len() <= 1, "{}", outcome.killed);
    assert!(outcome.killed.doubled < DOUBLED, "{}", outcome.killed);
}
