//! The rows: what goes through CIM to Kafka or to a collector, beside a bare producer; and sinks that are down.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bare;
use crate::drain::Drain;
use crate::figures::{Latency, rounded};
use crate::generator::{Sent, Times, paced, unpaced};
use crate::lines::{LINE_BYTES, Lines};
use crate::servers::{Kafka, free_port, loopback};
use crate::support::proc::{Usage, cpu};
use crate::support::{Cim, NatsWire, Options, eventually, settled};
use crate::topic::Topic;
use crate::verify::{Check, Found, verify};
use crate::{Arguments, Row};

const DELIVERED: &str = "cim_events_delivered_total";
const TO_KAFKA: &str = "cim_log_lines_kafka_total";
const TO_TCP: &str = "Total_msg_sent_to_tcp";
/// Rate of the latency rows.
const RATE: u64 = 1000;
/// Time between two writes of the latency rows.
const TICK: Duration = Duration::from_micros(500);
/// Time between two looks at the metrics, which take CPU time from what they look at.
const LOOK: Duration = Duration::from_millis(10);
/// Time without progress after which what is missing counts as lost.
const LIMIT: Duration = Duration::from_secs(45);
/// Time in which CIM has to find its sink, the rest of a topic that is being made included.
const READY: Duration = Duration::from_secs(30);
/// Time for which the sinks stay down once all is stored: some tries to reach them fall into it.
const OUTAGE: Duration = Duration::from_secs(20);

/// What a row measured.
#[derive(Debug, Default)]
pub struct Figures {
    pub row: &'static str,
    pub sent: u64,
    pub found: Found,
    /// Until the last one had arrived.
    pub took: Option<Duration>,
    /// User and system time of CIM; in a bare row: of this process.
    pub cpu: Option<Duration>,
    pub peak_kib: Option<u64>,
    pub latency: Option<Latency>,
}

impl Figures {
    pub fn per_s(&self) -> Option<f64> {
        let took = self.took?.as_secs_f64().max(1e-9);
        Some(self.found.written as f64 / took)
    }

    fn cpu_per_million(&self) -> Option<f64> {
        let millions = self.found.written as f64 / 1e6;
        Some(self.cpu.filter(|_| millions > 0.0)?.as_secs_f64() / millions)
    }

    fn peak_mib(&self) -> Option<f64> {
        self.peak_kib.map(|kib| kib as f64 / 1024.0)
    }

    /// Nothing is lost, nothing damaged.
    pub fn is_complete(&self) -> bool {
        self.found.lost + self.found.damaged == 0
    }

    pub fn json(&self) -> Value {
        let number = |value: Option<f64>, digits| value.map(|value| rounded(value, digits));
        json!({
            "row": self.row,
            "sent": self.sent,
            "arrived": self.found.written,
            "lost": self.found.lost,
            "doubled": self.found.doubled,
            "reordered": self.found.reordered,
            "damaged": self.found.damaged,
            "per_s": number(self.per_s(), 0),
            "cpu_s_per_million": number(self.cpu_per_million(), 3),
            "peak_mib": number(self.peak_mib(), 1),
            "latency_p50_ms": number(self.latency.map(|latency| latency.p50_ms), 2),
            "latency_p99_ms": number(self.latency.map(|latency| latency.p99_ms), 2),
            "latency_max_ms": number(self.latency.map(|latency| latency.max_ms), 2),
            "latency_lines": self.latency.map(|latency| latency.lines),
        })
    }

    pub fn cells(&self) -> [String; HEADINGS.len()] {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".into(), |value| format!("{value:.digits$}"))
        };
        [
            self.row.to_owned(),
            self.sent.to_string(),
            self.found.written.to_string(),
            self.found.lost.to_string(),
            self.found.doubled.to_string(),
            self.found.reordered.to_string(),
            number(self.per_s(), 0),
            number(self.cpu_per_million(), 2),
            number(self.peak_mib(), 1),
            number(self.latency.map(|latency| latency.p50_ms), 1),
            number(self.latency.map(|latency| latency.p99_ms), 1),
        ]
    }
}

pub const HEADINGS: [&str; 11] = [
    "row",
    "sent",
    "arrived",
    "lost",
    "doubled",
    "reordered",
    "per s",
    "CPU s/M",
    "peak MiB",
    "p50 ms",
    "p99 ms",
];

/// One run of `row`.
pub fn run(row: Row, arguments: &Arguments, kafka: &mut Option<Kafka>) -> Figures {
    // What earlier runs left to be written would be written during this one.
    rustix::fs::sync();
    let brokers = if row.needs_kafka() {
        let start = || {
            let kafka = Kafka::start();
            bare::warm_up(&kafka.brokers());
            kafka
        };
        kafka.get_or_insert_with(start).brokers()
    } else {
        loopback(free_port()).to_string()
    };
    let figures = match row {
        Row::Bare => bare_flat(arguments, &brokers),
        Row::Events => events(arguments, &brokers),
        Row::BareLatency => bare_latency(arguments, &brokers),
        Row::EventLatency => event_latency(arguments, &brokers),
        Row::LogsKafka => logs_kafka(arguments, &brokers),
        Row::LogsTcp => logs_tcp(arguments),
        Row::DownKafka => down(arguments, &brokers, "KAFKA"),
        Row::DownTcp => down(arguments, &brokers, "TCP"),
        Row::FrozenKafka => frozen(arguments, kafka.as_ref().expect("it was started")),
        Row::Replay => replay(arguments),
    };
    Figures {
        row: row.name(),
        ..figures
    }
}

fn bare_flat(arguments: &Arguments, brokers: &str) -> Figures {
    let lines = Lines::new(1);
    let mut topic = Topic::from_now(brokers, bare::TOPIC);
    let producer = bare::producer(brokers);
    let before = cpu(std::process::id()).unwrap();
    let took = bare::flat_out(&producer, &lines, arguments.lines);
    let after = cpu(std::process::id()).unwrap();
    drop(producer);
    let mut check = Check::new(&lines, vec![arguments.lines]);
    Figures {
        sent: arguments.lines,
        found: topic.read(&lines, &mut check),
        took: Some(took),
        cpu: Some(after - before),
        ..Figures::default()
    }
}

fn bare_latency(arguments: &Arguments, brokers: &str) -> Figures {
    let lines = Lines::new(1);
    let total = RATE * arguments.seconds;
    let times = Times::new(1, total);
    let mut topic = Topic::from_now(brokers, bare::TOPIC);
    let producer = bare::producer(brokers);
    let mut check = Check::new(&lines, vec![total]);
    let latencies = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| topic.watch(&lines, &times, &mut check));
        bare::paced(&producer, &lines, total, RATE, TICK, &times);
        watcher.join().unwrap()
    });
    Figures {
        sent: total,
        found: check.found(),
        latency: Latency::of(latencies),
        ..Figures::default()
    }
}

fn events(arguments: &Arguments, brokers: &str) -> Figures {
    let cim = Rig::start(options(arguments).infra("kafka_brokers", json!([brokers])));
    cim.warm_up(DELIVERED);
    let mut topic = Topic::from_now(brokers, "EVENT");
    let lines = Lines::events(1);
    let total = arguments.events;
    let (sent, figures) = cim.deliver(DELIVERED, &lines, 1, total);
    let mut check = Check::new(&lines, sent.lines);
    Figures {
        found: topic.read(&lines, &mut check),
        ..figures
    }
}

fn event_latency(arguments: &Arguments, brokers: &str) -> Figures {
    let cim = Rig::start(options(arguments).infra("kafka_brokers", json!([brokers])));
    cim.warm_up(DELIVERED);
    let lines = Lines::events(1);
    let total = RATE * arguments.seconds;
    let times = Times::new(1, total);
    let mut topic = Topic::from_now(brokers, "EVENT");
    let mut check = Check::new(&lines, vec![total]);
    let before = cim.usage();
    let latencies = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| topic.watch(&lines, &times, &mut check));
        paced(cim.cim.nats, &lines, 1, total, RATE, TICK, Some(&times));
        watcher.join().unwrap()
    });
    let after = cim.usage();
    Figures {
        sent: total,
        found: check.found(),
        cpu: Some(after.cpu - before.cpu),
        peak_kib: Some(after.peak_kib),
        latency: Latency::of(latencies),
        ..Figures::default()
    }
}

fn logs_kafka(arguments: &Arguments, brokers: &str) -> Figures {
    let options = options(arguments)
        .mode("KAFKA", &arguments.log_format)
        .infra("kafka_brokers", json!([brokers]));
    let cim = Rig::start(options);
    cim.warm_up(TO_KAFKA);
    let mut topic = Topic::from_now(brokers, "LOGS");
    let lines = Lines::new(1);
    let (sent, figures) = cim.deliver(TO_KAFKA, &lines, 1, arguments.lines);
    let mut check = Check::new(&lines, sent.lines);
    Figures {
        found: topic.read(&lines, &mut check),
        ..figures
    }
}

fn logs_tcp(arguments: &Arguments) -> Figures {
    let lines = Lines::new(1);
    let check = Check::new(&lines, vec![arguments.lines]);
    let drain = Drain::start(loopback(0), &lines, check);
    let options = options(arguments)
        .mode("TCP", &arguments.log_format)
        .infra("logging_svc_url", drain.address.to_string());
    let cim = Rig::start(options);
    cim.warm_up(TO_TCP);
    let (_, figures) = cim.deliver(TO_TCP, &lines, 1, arguments.lines);
    Figures {
        found: drain.found(),
        ..figures
    }
}

/// Every sink is down: events until the journal takes no more, and log lines.
fn down(arguments: &Arguments, nobody: &str, mode: &str) -> Figures {
    let options = options(arguments)
        .mode(mode, &arguments.log_format)
        .infra("kafka_brokers", json!([nobody]))
        .infra("logging_svc_url", nobody);
    let cim = Rig::start(options);
    let (lines, sent, figures) = cim.offer(arguments);
    Figures {
        found: verify(&cim.cim.log_dir, &lines, &sent.lines),
        ..figures
    }
}

/// The brokers stand still with everything on its way, and take it when they go on.
fn frozen(arguments: &Arguments, kafka: &Kafka) -> Figures {
    let options = options(arguments)
        .mode("KAFKA", &arguments.log_format)
        .infra("kafka_brokers", json!([kafka.brokers()]));
    let cim = Rig::start(options);
    cim.warm_up(DELIVERED);
    cim.warm_up(TO_KAFKA);
    let mut topic = Topic::from_now(&kafka.brokers(), "LOGS");
    kafka.freeze();
    let (lines, sent, figures) = cim.offer(arguments);
    kafka.thaw();
    cim.wait(TO_KAFKA, sent.lines.iter().sum::<u64>() as f64);
    let mut check = Check::new(&lines, sent.lines);
    Figures {
        found: topic.read(&lines, &mut check),
        peak_kib: Some(cim.usage().peak_kib),
        ..figures
    }
}

/// A backlog, then the collector appears.
fn replay(arguments: &Arguments) -> Figures {
    let lines = Lines::new(1);
    let total = (arguments.backlog_mb << 20) / (LINE_BYTES as u64 + 1);
    let address = loopback(free_port());
    let options = options(arguments)
        .mode("TCP", &arguments.log_format)
        .infra("logging_svc_url", address.to_string());
    let cim = Rig::start(options);
    let sent = unpaced(cim.cim.nats, &lines, 1, total);
    assert!(sent.answered.is_some(), "not every line was stored");
    let before = cim.usage();
    let check = Check::new(&lines, sent.lines);
    let drain = Drain::start(address, &lines, check);
    cim.wait(TO_TCP, total as f64);
    let after = cim.usage();
    let span = drain.span();
    Figures {
        sent: total,
        found: drain.found(),
        took: span.map(|(first, last)| last - first),
        cpu: Some(after.cpu - before.cpu),
        peak_kib: Some(after.peak_kib),
        ..Figures::default()
    }
}

fn options(arguments: &Arguments) -> Options {
    let mut options = Options::new().large_files().infra("enable_retrx", "true");
    if let Some(binary) = &arguments.binary {
        options.binary = std::path::absolute(binary).expect("the binary");
    }
    for pair in &arguments.env {
        let (name, value) = pair.split_once('=').expect("--env NAME=VALUE");
        options = options.env(name, value);
    }
    options
}

/// A CIM of a row.
struct Rig {
    cim: Cim,
}

impl Rig {
    fn start(options: Options) -> Self {
        Self {
            cim: Cim::start(options),
        }
    }

    fn usage(&self) -> Usage {
        self.cim.usage()
    }

    /// One event and one log line arrive: the sink is there.
    fn warm_up(&self, series: &str) {
        let mut client = self.cim.client();
        client.publish_event("warm-up");
        client.publish_log("warm-up", "0123456789ab", b"warm-up");
        client.ping_pong();
        eventually(READY, || self.cim.metric(series, &[]) >= 1.0);
        // What came before it on its way may be there now too.
        settled(READY, 20 * LOOK, || self.cim.metric(series, &[]) as u64);
    }

    /// Publishes flat out and waits until `series` says that all has arrived.
    fn deliver(
        &self,
        series: &str,
        lines: &Lines,
        connections: u32,
        total: u64,
    ) -> (Sent, Figures) {
        let already = self.cim.metric(series, &[]);
        let before = self.usage();
        let sent = unpaced(self.cim.nats, lines, connections, total);
        assert!(sent.answered.is_some(), "not everything was stored");
        let end = self.wait(series, already + total as f64);
        let after = self.usage();
        let figures = Figures {
            sent: total,
            took: Some(end - sent.began),
            cpu: Some(after.cpu - before.cpu),
            peak_kib: Some(after.peak_kib),
            ..Figures::default()
        };
        (sent, figures)
    }

    /// Waits until `series` is `value`, or does not grow for long. When that was.
    fn wait(&self, series: &str, value: f64) -> Instant {
        let mut known = (0.0, Instant::now());
        while known.0 < value && known.1.elapsed() < LIMIT {
            let now = self.cim.metric(series, &[]);
            if now > known.0 {
                known = (now, Instant::now());
            } else {
                std::thread::sleep(LOOK);
            }
        }
        known.1
    }

    /// What is offered while nobody takes it; all of it is stored.
    fn offer(&self, arguments: &Arguments) -> (Lines, Sent, Figures) {
        let before = self.usage();
        let begin = Instant::now();
        let event_bytes = self.fill_the_journal();
        let lines = Lines::new(4);
        let offered = arguments.offered_mb << 20;
        let total = offered.saturating_sub(event_bytes) / (LINE_BYTES as u64 + 1);
        let sent = unpaced(self.cim.nats, &lines, 4, total);
        assert!(sent.answered.is_some(), "not every line was stored");
        let took = begin.elapsed();
        std::thread::sleep(OUTAGE);
        let after = self.usage();
        let figures = Figures {
            sent: total,
            took: Some(took),
            cpu: Some(after.cpu - before.cpu),
            peak_kib: Some(after.peak_kib),
            ..Figures::default()
        };
        (lines, sent, figures)
    }

    /// Publishes events until the journal is full; how many bytes.
    fn fill_the_journal(&self) -> u64 {
        let lines = Lines::events(1);
        let mut block = crate::lines::Block::new(&lines, 0, 400);
        let mut stream = NatsWire::connect(self.cim.nats).stream();
        stream
            .set_write_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let mut sent = 0;
        let mut bytes = 0;
        loop {
            let (block, count) = block.numbered(sent, u64::MAX);
            if stream.write_all(block).is_err() {
                break;
            }
            sent += count;
            bytes += block.len() as u64;
        }
        let full = self.cim.metric("cim_journal_full_total", &[]);
        assert!(full >= 1.0, "the journal is not full after {sent} events");
        bytes
    }
}
