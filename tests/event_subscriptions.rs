//! Event subscriptions through the whole daemon: from a record of FMAASEVENTS to EVENT-NOTIFICATION, compared with what the original delivers,
//! and across restarts, kills and an application that is away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use servers::MockKafka;
use servers::fmaas::Writer;
use support::pod::Pod;
use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually};

const SUBSCRIPTIONS: &str = "/api/v1/_operations/event/subscriptions";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const TOPIC: &str = "FMAASEVENTS";

fn options(kafka: &MockKafka) -> Options {
    Options::new()
        .infra("kafka_brokers", kafka.bootstrap())
        // These brokers know no static members: a member that was killed must be forgotten soon.
        .env(
            "CIM_KAFKA_OPTS",
            "session.timeout.ms=4000,heartbeat.interval.ms=100,fetch.wait.max.ms=20",
        )
}

#[track_caller]
fn subscribe(cim: &Cim, body: &Value) -> String {
    assert_eq!(cim.post(REGISTER, b"{}").status, 200);
    let answer = cim.post(SUBSCRIPTIONS, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["subscriptionId"].as_str().unwrap().to_owned()
}

fn state(cim: &Cim) -> Value {
    cim.get("/readyz").json()["parts"]["notifications"].clone()
}

#[track_caller]
fn until_ready(cim: &Cim) {
    eventually(2 * PATIENCE, || state(cim)["state"] == "ready");
}

/// A client that is subscribed, or soon will be: records wait for it, and may come at once.
fn listener(cim: &Cim) -> NatsWire {
    let mut wire = cim.client();
    wire.subscribe("EVENT-NOTIFICATION", "1");
    wire
}

fn numbers(heard: &[Vec<u8>]) -> HashMap<u32, u32> {
    let mut times = HashMap::new();
    for payload in heard {
        let number = std::str::from_utf8(payload).unwrap().parse().unwrap();
        *times.entry(number).or_default() += 1;
    }
    times
}

#[track_caller]
fn hear(wire: &mut NatsWire, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| wire.delivered().payload).collect()
}

#[test]
fn what_is_delivered_is_what_the_original_delivers() {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, 1);
    let cim = Cim::start(options(&kafka));
    let mut wire = listener(&cim);
    subscribe(&cim, &json!({"localEventName": ["E1", "E2"]}));
    until_ready(&cim);
    let writer = Writer::new(&kafka.bootstrap());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/10-subscriptions");
    let records = std::fs::read(golden.join("20_fmaasevents_records.json")).unwrap();
    let records: Value = serde_json::from_slice(&records).unwrap();
    for record in records.as_array().unwrap() {
        let headers = record["headers"].as_array().unwrap().iter();
        let headers: Vec<_> = headers
            .map(|header| header.as_str().unwrap().split_once('=').unwrap())
            .map(|(key, value)| (key, Some(value)))
            .collect();
        // The file writes one byte that is not UTF-8 as text.
        let value = record["value"].as_str().unwrap().as_bytes();
        let value = match value.strip_suffix(b"<byte ff>") {
            Some(text) => [text, b"\xff"].concat(),
            None => value.to_vec(),
        };
        writer.write_bytes(&headers, &value);
    }
    writer.write(&[("localEventName", Some("E1"))], "last");
    writer.flush();
    let expected = ["21_event_notification_1.raw", "21_event_notification_2.raw"]
        .map(|name| std::fs::read(golden.join(name)).unwrap());
    assert_eq!(
        hear(&mut wire, 3),
        [&expected[..], &[b"last".to_vec()]].concat()
    );
    eventually(PATIENCE, || {
        cim.metric("cim_notifications_delivered_total", &[]) == 3.0
    });
    assert_eq!(cim.metric("cim_notifications_consumed_total", &[]), 5.0);
    let skipped = |reason| cim.metric("cim_notifications_skipped_total", &[("reason", reason)]);
    assert_eq!((skipped("no_match"), skipped("replay")), (1.0, 1.0));
}

/// In the original the headers of one record are kept for the next ones.
#[test]
fn each_record_is_judged_by_its_own_headers() {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, 1);
    let cim = Cim::start(options(&kafka));
    let mut wire = listener(&cim);
    subscribe(
        &cim,
        &json!({"localEventName": ["E1"], "nfNamingCode": ["n1"]}),
    );
    until_ready(&cim);
    let writer = Writer::new(&kafka.bootstrap());
    let (event, code) = (("localEventName", Some("E1")), ("nfNamingCode", Some("n1")));
    let replay = |value| ("replay", Some(value));
    writer.write(&[event, code], "a");
    writer.write(&[event], "b: no nfNamingCode");
    writer.write(&[event, code, replay("true")], "c: replay");
    writer.write(&[event, code], "d");
    writer.write(&[event, code, replay("false")], "e");
    writer.flush();
    assert_eq!(hear(&mut wire, 3), [b"a", b"d", b"e"]);
}

#[test]
fn a_subscription_outlives_restarts_and_kills_and_nothing_is_left_out() {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, 3);
    let pod = Pod::new();
    let writer = Writer::new(&kafka.bootstrap());
    let mut cim = Cim::start(pod.options(options(&kafka)));
    let id = subscribe(&cim, &json!({"localEventName": ["E1"]}));
    // Killed before anything was read, and before it has joined.
    writer.numbers(0..100);
    cim.kill9();
    let mut heard = Vec::new();
    for round in 1..3u32 {
        writer.numbers(100 * round..100 * round + 50);
        cim = Cim::start(pod.options(options(&kafka)));
        let all = cim.get(SUBSCRIPTIONS).json();
        assert_eq!(all[&id]["localEventName"], json!(["E1"]), "{all}");
        let mut wire = listener(&cim);
        writer.numbers(100 * round + 50..100 * round + 100);
        eventually(3 * PATIENCE, || {
            heard.push(wire.delivered().payload);
            numbers(&heard).len() as u32 == 100 * (round + 1)
        });
        if round % 2 == 0 {
            cim.kill9();
        } else {
            assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
        }
        // What was in the socket when it ended.
        heard.extend(wire.rest());
    }
    let times = numbers(&heard);
    assert_eq!(times.len(), 300);
}

#[test]
fn records_wait_in_kafka_while_the_application_is_away() {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, 1);
    let cim = Cim::start(options(&kafka));
    subscribe(&cim, &json!({"localEventName": ["E1"]}));
    let writer = Writer::new(&kafka.bootstrap());
    writer.numbers(0..100);
    eventually(2 * PATIENCE, || {
        state(&cim)["reason"]
            .as_str()
            .unwrap()
            .contains("EVENT-NOTIFICATION")
    });
    assert_eq!(cim.metric("cim_notifications_delivered_total", &[]), 0.0);
    let mut wire = listener(&cim);
    let expected: Vec<_> = (0..100).map(|n: u32| n.to_string().into_bytes()).collect();
    assert_eq!(hear(&mut wire, 100), expected);
    drop(wire);
    eventually(PATIENCE, || cim.metric("cim_nats_connections", &[]) == 0.0);
    writer.numbers(100..200);
    let mut wire = listener(&cim);
    let expected: Vec<_> = (100..200)
        .map(|n: u32| n.to_string().into_bytes())
        .collect();
    assert_eq!(hear(&mut wire, 100), expected);
}

#[test]
fn a_record_that_is_too_large_for_nats_is_passed_over_and_named() {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, 1);
    let cim = Cim::start(options(&kafka).env("CIM_NATS_MAX_PAYLOAD", "2000"));
    let mut wire = listener(&cim);
    subscribe(&cim, &json!({"localEventName": ["E1"]}));
    until_ready(&cim);
    let writer = Writer::new(&kafka.bootstrap());
    let header = ("localEventName", Some("E1"));
    writer.write(&[header], "before");
    writer.write(&[header], &"x".repeat(2001));
    writer.write(&[header], &"y".repeat(2000));
    writer.flush();
    assert_eq!(
        hear(&mut wire, 2),
        [b"before".to_vec(), "y".repeat(2000).into_bytes()]
    );
    assert_eq!(
        cim.metric(
            "cim_notifications_skipped_total",
            &[("reason", "too_large")]
        ),
        1.0
    );
    eventually(PATIENCE, || {
        let log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        log.contains("FMAASEVENTS") && log.contains("offset 1")
    });
}
