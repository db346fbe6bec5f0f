//! Event subscriptions with a real Kafka: 10,000 records with mixed headers while CIM is restarted and killed, and what arrives.
//! `make integration-test` runs this.
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
use std::time::Instant;

use serde_json::json;
use servers::fmaas::Writer;
use servers::{Kafka, KafkaOptions};
use support::pod::Pod;
use support::{Cim, NatsWire, Options, PATIENCE, Signal};

const SUBSCRIPTIONS: &str = "/api/v1/_operations/event/subscriptions";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const RECORDS: u32 = 10_000;

/// The headers of record `n`, and whether it is wanted: event E1 or E2, of n1 or n2, no replay.
fn record(n: u32) -> (Vec<(&'static str, Option<&'static str>)>, bool) {
    let event = ["E1", "E2", "E3"][(n % 3) as usize];
    let code = [Some("n1"), Some("n2"), Some("n3"), None][(n / 3 % 4) as usize];
    let is_replay = n.is_multiple_of(7);
    let mut headers = vec![
        ("localEventName", Some(event)),
        ("nfcNamingCode", Some("x")),
    ];
    headers.extend(code.map(|code| ("nfNamingCode", Some(code))));
    if is_replay {
        headers.push(("replay", Some("true")));
    }
    let is_wanted = event != "E3" && matches!(code, Some("n1" | "n2")) && !is_replay;
    (headers, is_wanted)
}

fn listener(cim: &Cim) -> NatsWire {
    let mut wire = cim.client();
    wire.patience = 3 * PATIENCE;
    wire.subscribe("EVENT-NOTIFICATION", "1");
    wire
}

#[test]
#[ignore = "integration"]
fn with_kafka_every_notification_arrives_although_cim_is_restarted_and_killed() {
    let kafka = Kafka::start_with(KafkaOptions {
        partitions: 3,
        ..KafkaOptions::default()
    });
    let pod = Pod::new();
    let options = || {
        let options = Options::new().infra("kafka_brokers", vec![kafka.brokers()]);
        pod.options(options)
    };
    let mut cim = Cim::start(options());
    assert_eq!(cim.post(REGISTER, b"{}").status, 200);
    let filter = json!({"localEventName": ["E1", "E2"], "nfNamingCode": ["n1", "n2"]});
    assert_eq!(
        cim.post(SUBSCRIPTIONS, filter.to_string().as_bytes())
            .status,
        200
    );
    let brokers = kafka.brokers();
    let writer = std::thread::spawn(move || {
        let writer = Writer::new(&[brokers]);
        for n in 0..RECORDS {
            writer.write(&record(n).0, &n.to_string());
            if n % 500 == 0 {
                writer.flush();
            }
        }
        writer.flush();
    });
    let wanted = (0..RECORDS).filter(|&n| record(n).1).count();
    let mut times: HashMap<u32, u32> = HashMap::new();
    let mut doubled = 0;
    let mut add = |payload: &[u8], doubled: &mut usize| {
        let number = std::str::from_utf8(payload).unwrap().parse().unwrap();
        let times_of = times.entry(number).or_default();
        *times_of += 1;
        *doubled += usize::from(*times_of > 1);
        times.len()
    };
    let start = Instant::now();
    let mut wire = listener(&cim);
    let mut killed = false;
    for (stop_at, kill) in [
        (wanted / 5, false),
        (2 * wanted / 5, true),
        (3 * wanted / 5, false),
        (4 * wanted / 5, true),
    ] {
        while add(&wire.delivered().payload, &mut doubled) < stop_at {}
        // An orderly end repeats nothing.
        assert!(killed || doubled == 0, "{doubled}");
        if kill {
            killed = true;
            cim.kill9();
        } else {
            assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
        }
        for payload in wire.rest() {
            add(&payload, &mut doubled);
        }
        cim = Cim::start(options());
        wire = listener(&cim);
    }
    while add(&wire.delivered().payload, &mut doubled) < wanted {}
    writer.join().unwrap();
    println!(
        "{wanted} of {RECORDS} wanted, all arrived in {:?}; {doubled} twice over two kills and two restarts",
        start.elapsed()
    );
    assert!(times.keys().all(|&n| record(n).1));
    // What was under way at a kill: bounded by what is between two commits.
    assert!(doubled <= 2 * cim::limits::NOTIFICATIONS, "{doubled}");
    let skipped = |reason| cim.metric("cim_notifications_skipped_total", &[("reason", reason)]);
    assert!(skipped("no_match") > 0.0 && skipped("replay") > 0.0);
}
