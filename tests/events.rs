//! DESIGN 4, events: what was acknowledged arrives, in order, through outages, restarts and kill -9; and nobody but its own publisher waits
//! for it. With librdkafka's mock brokers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use cim::wire::{EventFields, encode_event};
use flatbuffers::FlatBufferBuilder;
use serde_json::{Value, json};
use servers::scene::own_log;
use servers::{Consumed, MockKafka};
use support::forks;
use support::load::{event_name, event_number};
use support::nats::{event, publish};
use support::{Cim, Load, NatsWire, Options, PATIENCE, Signal, eventually, metrics, settled};
use tempfile::TempDir;

const EVENT: &str = "EVENT";
/// A PING on a connection of its own is answered in microseconds; a busy machine is given this.
const PROMPT: Duration = Duration::from_secs(1);
/// The publisher counts as held back when it got nowhere for this long.
const HELD: Duration = Duration::from_millis(500);

/// Brokers, and a state directory that several CIMs have one after another.
struct Bed {
    kafka: MockKafka,
    state: TempDir,
}

impl Bed {
    fn new() -> Self {
        let kafka = MockKafka::start();
        kafka.create_topic(EVENT, 1);
        let state = tempfile::tempdir().unwrap();
        Self { kafka, state }
    }

    fn options(&self) -> Options {
        in_pod()
            .env("CIM_STATE_DIR", self.state.path())
            .env("CIM_KAFKA_BROKERS", self.kafka.bootstrap().join(","))
            .env("CIM_KAFKA_OPTS", "reconnect.backoff.max.ms=200")
    }

    fn start(&self) -> Cim {
        Cim::start(self.options())
    }

    /// The numbers of the events that have come, once there are `count`.
    #[track_caller]
    fn numbers(&self, count: usize) -> Vec<u64> {
        let records = self.kafka.consume(EVENT, count, PATIENCE);
        records.iter().map(|r| event_number(&r.value)).collect()
    }

    /// What `cim journal` says of the state directory; it must be content.
    #[track_caller]
    fn journal(&self, command: &str) -> String {
        let mut cim = Command::new(env!("CARGO_BIN_EXE_cim"));
        cim.args(["journal", command, "--state-dir"])
            .arg(self.state.path());
        let output = forks::output(&mut cim).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// common-infra.json is there and names nothing.
fn in_pod() -> Options {
    let mut options = Options::new();
    options.infra_json = Some(json!({}));
    options
}

/// Events stored = delivered + set aside + in the journal; call it when nothing is under way.
#[track_caller]
fn check_conservation(cim: &Cim, stored: u64) {
    let text = cim.metrics();
    let sum = |name| metrics::sum(&text, name, &[]);
    let accounted =
        sum("cim_events_delivered_total") + sum("cim_set_aside_total") + sum("cim_journal_records");
    let is = sum("cim_events_stored_total");
    assert_eq!((is, accounted), (stored as f64, stored as f64), "{text}");
}

#[track_caller]
fn wait_delivered(cim: &Cim, count: u64) {
    eventually(PATIENCE, || {
        cim.metric("cim_events_delivered_total", &[]) >= count as f64
            && cim.metric("cim_journal_records", &[]) == 0.0
    });
}

/// Publishes the events with these numbers; they are stored when it returns.
#[track_caller]
fn publish_events(wire: &mut NatsWire, numbers: std::ops::Range<u64>) {
    let bytes: Vec<u8> = numbers
        .flat_map(|n| publish(EVENT, None, &event(&event_name(n))))
        .collect();
    wire.send(&bytes);
    wire.ping_pong();
}

fn with_name(name: &[u8]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let fields = EventFields {
        event_name: name,
        event_time: 1,
        ..EventFields::default()
    };
    encode_event(&fields, &mut builder);
    builder.finished_data().to_vec()
}

#[test]
fn without_kafka_events_are_lines_of_json_in_a_file() {
    let cim = Cim::start(in_pod());
    let mut wire = cim.client();
    publish_events(&mut wire, 0..100);
    wait_delivered(&cim, 100);
    let text = fs::read(cim.log_dir.join("cnf-0_ns1_events.jsonl")).unwrap();
    let lines = support::logs::lines(&text);
    let numbers: Vec<_> = lines.iter().map(|line| event_number(line)).collect();
    assert!(numbers.iter().copied().eq(0..100), "{numbers:?}");
    let first: Value = serde_json::from_slice(&lines[0]).unwrap();
    assert_eq!(first["sourceHeaders"]["podId"], "cnf-0");
    assert_eq!(
        cim.metric("cim_events_delivered_total", &[("sink", "file")]),
        100.0
    );
    check_conservation(&cim, 100);
}

#[test]
fn an_acknowledged_event_survives_kill_9_and_the_next_cim_delivers_it() {
    let bed = Bed::new();
    bed.kafka.down();
    let mut cim = bed.start();
    let mut wire = cim.client();
    wire.subscribe("answers", "1");
    for n in 0..3 {
        wire.publish_with_reply(EVENT, "answers", &event(&event_name(n)));
        let answer: Value = serde_json::from_slice(&wire.delivered().payload).unwrap();
        assert_eq!(answer["stream"], EVENT);
        assert!(answer["seq"].is_u64(), "{answer}");
    }
    publish_events(&mut wire, 3..1000);
    cim.kill9();

    assert!(
        bed.journal("list")
            .contains("1000 events wait for their delivery")
    );
    let shown = bed.journal("show");
    let first: Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"], event_name(0));
    assert_eq!(
        (&first["seq"], &first["delivered"]),
        (&json!(1), &json!(false))
    );
    assert!(bed.journal("verify").contains("1000 events: all good"));

    bed.kafka.up();
    let cim = bed.start();
    assert!(bed.numbers(1000).into_iter().eq(0..1000));
    wait_delivered(&cim, 1000);
    check_conservation(&cim, 1000);
    publish_events(&mut cim.client(), 1000..1010);
    assert!(bed.numbers(1010).into_iter().eq(0..1010));
}

#[test]
fn a_restart_in_the_middle_of_the_delivery_repeats_little_and_loses_nothing() {
    let bed = Bed::new();
    bed.kafka.delay(Duration::from_millis(30));
    let mut cim = bed.start();
    publish_events(&mut cim.client(), 0..10_000);
    eventually(PATIENCE, || {
        cim.metric("cim_events_delivered_total", &[]) > 0.0
    });
    cim.kill9();
    bed.kafka.delay(Duration::ZERO);
    let cim = bed.start();
    eventually(PATIENCE, || cim.metric("cim_journal_records", &[]) == 0.0);
    let numbers = bed.numbers(10_000);
    let tally = support::load::tally(&numbers, |n| n < 10_000);
    eprintln!("{tally:?}");
    assert_eq!((tally.lost, tally.reordered), (0, 0));
    assert!(tally.runs <= 1, "doubled at the kill alone: {tally:?}");
}

#[test]
fn kafka_may_come_later_and_go_and_come_back() {
    let bed = Bed::new();
    bed.kafka.down();
    let cim = bed.start();
    let mut wire = cim.client();
    publish_events(&mut wire, 0..100);
    assert_eq!(cim.metric("cim_journal_records", &[]), 100.0);
    assert_eq!(cim.metric("cim_events_delivered_total", &[]), 0.0);
    bed.kafka.up();
    assert!(bed.numbers(100).into_iter().eq(0..100));
    bed.kafka.down();
    publish_events(&mut wire, 100..200);
    bed.kafka.up();
    assert!(bed.numbers(200).into_iter().eq(0..200));
    wait_delivered(&cim, 200);
    check_conservation(&cim, 200);
}

#[test]
fn events_wait_for_the_file_that_names_the_brokers() {
    let bed = Bed::new();
    let cim = Cim::start(Options::new().env("CIM_STATE_DIR", bed.state.path()));
    publish_events(&mut cim.client(), 0..100);
    assert_eq!(cim.metric("cim_journal_records", &[]), 100.0);
    cim.write_infra_json(&json!({"kafka_brokers": bed.kafka.bootstrap()}));
    cim.signal(Signal::HUP);
    assert!(bed.numbers(100).into_iter().eq(0..100));
    let files = fs::read_dir(&cim.log_dir).unwrap();
    let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| !name.ends_with(".jsonl")));
}

#[test]
fn what_is_malformed_or_too_large_is_told_and_blocks_nothing() {
    let bed = Bed::new();
    let cim = bed.start();
    let mut wire = cim.client();
    wire.subscribe("answers", "1");
    publish_events(&mut wire, 0..1);
    wire.publish(EVENT, b"no event at all");
    wire.publish_with_reply(EVENT, "answers", b"\xff\xfe\x00");
    let answer: Value = serde_json::from_slice(&wire.delivered().payload).unwrap();
    assert!(answer["error"].is_object(), "{answer}");
    // Six times as large as JSON.
    wire.publish(EVENT, &with_name(&vec![b'<'; 1_000_000]));
    publish_events(&mut wire, 1..2);
    // Beyond what NATS takes: the connection is closed, as by a stock server.
    let mut other = cim.client();
    other.send(b"PUB EVENT 2000000\r\n");
    assert!(other.expect_closed().contains("Maximum Payload Violation"));
    publish_events(&mut wire, 2..3);
    assert_eq!(bed.numbers(3), [0, 1, 2]);
    wait_delivered(&cim, 3);

    let malformed = [("subject", EVENT)];
    assert_eq!(cim.metric("cim_malformed_messages_total", &malformed), 2.0);
    let set_aside = [("topic", EVENT), ("reason", "too_large")];
    assert_eq!(cim.metric("cim_set_aside_total", &set_aside), 1.0);
    check_conservation(&cim, 4);
    let log = || own_log(&cim);
    eventually(PATIENCE, || {
        log().contains("message on EVENT of 15 bytes is malformed and was dropped; it begins with no event at all")
            && log().contains("event 2 of the journal is set aside: its JSON would have more than")
    });
    let kept = fs::read_to_string(bed.state.path().join("set-aside.jsonl")).unwrap();
    let mut reasons = Vec::new();
    for line in kept.lines() {
        let kept: Value = serde_json::from_str(line).unwrap();
        assert_eq!(kept["topic"], EVENT);
        reasons.push(kept["reason"].as_str().unwrap().to_owned());
    }
    reasons.sort();
    let too_large = format!("its JSON would have more than {} bytes", 4 << 20);
    assert_eq!(reasons, [too_large.as_str(), "malformed", "malformed"]);
}

#[test]
fn a_second_cim_on_the_same_directory_is_refused() {
    let bed = Bed::new();
    let mut cim = bed.start();
    let Err(refused) = Cim::try_start(bed.options()) else {
        panic!("two on one directory");
    };
    assert_eq!(refused.status.and_then(|status| status.code()), Some(1));
    let wanted = format!("in use by process {}", cim.pid());
    assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("CIM_STATE_DIR"),
        "{}",
        refused.stderr
    );
    publish_events(&mut cim.client(), 0..10);
    assert!(bed.numbers(10).into_iter().eq(0..10));
    cim.kill9();
    // The owner is gone, however it went.
    publish_events(&mut bed.start().client(), 10..20);
}

#[test]
fn a_full_journal_holds_the_publishers_of_events_back_and_nobody_else() {
    // Twice what the journal and the kernel (32 MB for a socket since Linux 6.18) take together.
    const COUNT: u64 = 3000;
    let bed = Bed::new();
    bed.kafka.down();
    let cim = Cim::start(bed.options().env("CIM_JOURNAL_MAX_MB", "8"));
    let load = Load::of(cim.nats, 0..COUNT, Some(1), |number| {
        // Large in the journal and small in the brokers, which keep 5 MB: nothing in the buffer refers to its end.
        let mut payload = event(&event_name(number));
        payload.resize(30_000, 0);
        publish(EVENT, None, &payload)
    });
    eventually(PATIENCE, || cim.metric("cim_journal_full_total", &[]) > 0.0);
    let sent = settled(PATIENCE, HELD, || load.sent());
    assert!(sent < COUNT, "nobody was held back");
    let bytes = cim.metric("cim_journal_bytes", &[]);
    assert!(bytes <= f64::from(8 << 20), "{bytes}");

    let mut other = cim.client();
    for n in 0..20 {
        other.publish_log("app", "1", format!("line {n}").as_bytes());
        other.publish("CONFIG", b"{}");
        let took = other.ping_pong();
        assert!(took < PROMPT, "PING took {took:?}");
    }
    assert_eq!(cim.lines_of("app").len(), 20);
    assert_eq!(cim.get("/healthz").status, 200);
    assert_eq!(load.sent(), sent);
    let peak = cim.usage().peak_kib;
    assert!(peak < 64 << 10, "{peak} KiB resident");

    bed.kafka.up();
    eventually(PATIENCE, || load.acknowledged() == COUNT);
    load.stop();
    assert!(bed.numbers(COUNT as usize).into_iter().eq(0..COUNT));
    wait_delivered(&cim, COUNT);
    check_conservation(&cim, COUNT);
}

#[test]
fn the_events_of_each_connection_stay_in_order_under_one_key() {
    let bed = Bed::new();
    let brokers = MockKafka::start();
    brokers.create_topic(EVENT, 4);
    let cim = Cim::start(
        bed.options()
            .env("CIM_KAFKA_BROKERS", brokers.bootstrap().join(",")),
    );
    let loads: Vec<_> = (0..4)
        .map(|n| Load::events(cim.nats, n * 10_000..n * 10_000 + 1000))
        .collect();
    for (n, load) in (0..).zip(&loads) {
        eventually(PATIENCE, || load.acknowledged() == n * 10_000 + 1000);
    }
    let records = brokers.consume(EVENT, 4000, PATIENCE);
    assert_eq!(records.len(), 4000);
    let key = |record: &Consumed| (record.partition, record.key.clone());
    assert!(records.iter().all(|r| key(r) == key(&records[0])));
    for n in 0..4 {
        let of = |number: &u64| number / 10_000 == n;
        let numbers = records.iter().map(|r| event_number(&r.value)).filter(of);
        assert!(numbers.eq(n * 10_000..n * 10_000 + 1000));
    }
    wait_delivered(&cim, 4000);
    check_conservation(&cim, 4000);
}

#[test]
fn what_is_raised_at_the_end_is_delivered() {
    let bed = Bed::new();
    let mut cim = bed.start();
    publish_events(&mut cim.client(), 0..500);
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    let records = bed.kafka.consume(EVENT, 501, PATIENCE);
    assert_eq!(records.len(), 501);
    let last: Value = serde_json::from_slice(&records[500].value).unwrap();
    assert_eq!(last["eventName"], "ApplicationShutdownInitiated");
    assert!(bed.journal("list").contains(" 0 events wait"));
}

#[test]
fn what_is_raised_at_the_end_waits_in_the_journal_while_kafka_is_away() {
    let bed = Bed::new();
    bed.kafka.down();
    let mut cim = bed.start();
    publish_events(&mut cim.client(), 0..10);
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    let shown = bed.journal("show");
    assert_eq!(shown.lines().count(), 11, "{shown}");
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "ApplicationShutdownInitiated");
    bed.kafka.up();
    let _cim = bed.start();
    let records = bed.kafka.consume(EVENT, 11, PATIENCE);
    assert!(records[10].text().contains("ApplicationShutdownInitiated"));
}
