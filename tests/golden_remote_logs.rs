//! The original's log lines on TCP and Kafka (`golden/8-logs`) and what it does when the collector is away (`golden/12-failures`) through
//! the whole daemon, and where ours differs on purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use serde_json::Value;
use servers::scene::{Scene, events, events_since, golden, golden_event, golden_json};
use servers::{Collector, MockKafka, free_port, loopback};
use support::{Cim, Options, PATIENCE, eventually, eventually_some};

const ID: &str = "0123456789ab";
const FAILURE: &str = "12-failures/tcp_listener_gone_json_1_LmaasTCPFailure";

/// The lines that the samples were made of, in the order of the samples.
fn publish(cim: &Cim) {
    let mut wire = cim.client();
    for n in 1..=3 {
        wire.publish_log(
            "app",
            ID,
            &golden(&format!("8-logs/kafka_text_{n}.value.raw")),
        );
    }
    wire.ping_pong();
}

fn publish_stored(cim: &Cim) {
    let mut wire = cim.client();
    for n in 1..=3 {
        wire.publish_log("app", ID, format!("stored line {n}").as_bytes());
    }
    wire.ping_pong();
}

fn tcp(options: Options, address: impl ToString, format: &str) -> Options {
    options
        .mode("TCP", format)
        .infra("logging_svc_url", address.to_string())
}

/// The JSON objects of a stream without separators, each as its bytes.
fn objects(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut objects = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(stream).into_iter::<Value>();
    let mut start = 0;
    while let Some(value) = values.next() {
        value.unwrap();
        let end = values.byte_offset();
        objects.push(stream[start..end].to_vec());
        start = end;
    }
    objects
}

fn is_of(container: &str, line: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(line).unwrap();
    value["container_name"] == container
}

#[test]
fn tcp_in_json_has_the_originals_bytes_each_with_a_line_end() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(Options::new(), collector.address(), "json"));
    publish(&cim);
    let mut wanted = objects(&golden("8-logs/tcp_json.raw"));
    wanted.retain(|object| is_of("app", object));
    assert_eq!(wanted.len(), 3);
    let app = || {
        let mut lines = collector.lines();
        lines.retain(|line| is_of("app", line));
        lines
    };
    eventually(PATIENCE, || app().len() >= 3);
    assert_eq!(app(), wanted);
    // CIM's own lines take the same road, without the line end within (CONTRACT 6).
    let own = eventually_some(PATIENCE, || {
        let lines = collector.lines();
        lines.into_iter().find(|line| is_of("cim", line))
    });
    let own: Value = serde_json::from_slice(&own).unwrap();
    let text = own["log"].as_str().unwrap();
    assert!(
        text.starts_with('[') && text.contains("] : ") && text.ends_with(']'),
        "{text}"
    );
    assert!(cim.files_of("app").is_empty());
}

#[test]
fn tcp_in_text_has_the_originals_bytes() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(Options::new(), collector.address(), "text"));
    publish(&cim);
    let stream = golden("8-logs/tcp_text.raw");
    let wanted: Vec<_> = stream
        .trim_ascii_end()
        .split(|byte| *byte == b'\n')
        .collect();
    // The last one ends in a tab.
    let wanted: Vec<_> = wanted[wanted.len() - 3..]
        .iter()
        .map(|line| line.to_vec())
        .collect();
    let app = || {
        let mut lines = collector.lines();
        lines.retain(|line| !line.starts_with(b"["));
        lines
            .iter_mut()
            .for_each(|line| *line = line.trim_ascii_end().to_vec());
        lines
    };
    eventually(PATIENCE, || app().len() >= 3);
    assert_eq!(app(), wanted);
}

/// The records of `app` as the samples have them.
fn kafka_has_the_originals_records(format: &str) {
    let kafka = MockKafka::start();
    kafka.create_topic("LOGS", 1);
    let options = Options::new()
        .mode("KAFKA", format)
        .infra("kafka_brokers", kafka.bootstrap());
    let cim = Cim::start(options);
    publish(&cim);
    let values: Vec<_> = (1..=3)
        .map(|n| golden(&format!("8-logs/kafka_{format}_{n}.value.raw")))
        .collect();
    let mut reader = kafka.reader("LOGS");
    let ours = |reader: &servers::Reader| {
        let mut records = reader.records().to_vec();
        records.retain(|record| values.contains(&record.value));
        records
    };
    eventually(PATIENCE, || {
        reader.read(support::LOOK);
        ours(&reader).len() >= 3
    });
    let records = ours(&reader);
    let got: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
    assert_eq!(got, values);
    let samples = golden_json(&format!("8-logs/kafka_{format}.records.json"));
    let samples = samples.as_array().unwrap();
    assert_eq!(samples.len(), 3);
    for (record, sample) in records.iter().zip(samples) {
        assert_eq!(sample["key"], Value::Null);
        assert_eq!(record.key, None);
        assert!(record.headers.is_empty());
        assert!(record.timestamp_ms.is_some());
    }
    assert!(cim.files_of("app").is_empty());
}

#[test]
fn kafka_in_json_has_the_originals_records() {
    kafka_has_the_originals_records("json");
}

#[test]
fn kafka_in_text_has_the_originals_records() {
    kafka_has_the_originals_records("text");
}

/// One outage: the event of the sample, and the lines in the file.
#[track_caller]
fn failure_is_told_once(cim: &Cim) {
    assert_eq!(events_since(cim, 0, 1), [golden_event(FAILURE)]);
    publish_stored(cim);
    let sample = golden_json("12-failures/tcp_absent_from_start.result.json");
    assert_eq!(
        String::from_utf8(cim.text_of("app")).unwrap(),
        sample["app_log_file"].as_str().unwrap()
    );
    // Further tries are the same outage.
    eventually(PATIENCE, || {
        cim.metric("cim_log_sink_outages_total", &[("sink", "tcp")]) == 1.0
    });
    assert_eq!(events(cim).len(), 1);
}

#[test]
fn a_collector_that_goes_away_is_told_once_and_the_lines_are_in_the_file() {
    for format in ["json", "text"] {
        let name = format!("12-failures/tcp_listener_gone_{format}_1_LmaasTCPFailure");
        assert_eq!(golden_event(&name), golden_event(FAILURE));
        let scene = Scene::new();
        let collector = Collector::start();
        let cim = Cim::start(tcp(scene.mounted(), collector.address(), format));
        publish(&cim);
        eventually(PATIENCE, || collector.count() >= 3);
        collector.stop();
        failure_is_told_once(&cim);
        assert_eq!(cim.metric("tcp_disconnect_count", &[]), 1.0);
    }
}

/// The original raises no event, and loses the first line of each file when it sends it later.
#[test]
fn a_collector_that_was_never_there_is_told_too_and_gets_every_line_later() {
    let scene = Scene::new();
    let address = loopback(free_port());
    let options = tcp(scene.mounted(), address, "json").infra("enable_retrx", "true");
    let cim = Cim::start(options);
    failure_is_told_once(&cim);
    assert_eq!(cim.metric("tcp_disconnect_count", &[]), 0.0);
    let collector = Collector::start_on(address);
    let app = || {
        let mut lines = collector.lines();
        lines.retain(|line| is_of("app", line));
        lines
    };
    eventually(PATIENCE, || app().len() >= 3);
    // The sample has all but the first.
    let mut sample = objects(&golden("8-logs/tcp_json_retransmitted.raw"));
    sample.retain(|object| is_of("app", object));
    assert_eq!(app()[1..], sample[sample.len() - 2..]);
    eventually(PATIENCE, || cim.files_of("app").is_empty());
    assert_eq!(events(&cim), [golden_event(FAILURE)]);
}
