//! The original's records on topic EVENT (`golden/2-kafka-events`, `6-own-events`, `12-failures`) through the whole daemon: key and value
//! byte for byte, but for what ours has besides.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use cim::wire::{Event, KeyValues};
use serde_json::{Value, json};
use servers::kube::golden_pod;
use servers::scene::{Scene, golden, golden_json, register};
use servers::{Collector, Consumed, MockKafka, Reader, Reply, ReplyStatus};
use support::{Cim, LOOK, Options, PATIENCE, eventually};

const EVENT: &str = "EVENT";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";

fn kafka() -> MockKafka {
    let kafka = MockKafka::start();
    kafka.create_topic(EVENT, 1);
    kafka
}

fn with(kafka: &MockKafka, options: Options) -> Options {
    options.env("CIM_KAFKA_BROKERS", kafka.bootstrap().join(","))
}

/// Takes the list called `name` out of the JSON `value`.
#[track_caller]
fn take_list(value: &mut String, name: &str) -> Value {
    let head = format!(",\"{name}\":");
    let start = value.find(&head).unwrap_or_else(|| panic!("no {name}"));
    let end = start + value[start..].find(']').unwrap() + 1;
    let list = serde_json::from_str(&value[start + head.len()..end]).unwrap();
    value.replace_range(start..end, "");
    list
}

fn pairs(list: KeyValues<'_>) -> Value {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let pairs = list
        .iter()
        .map(|entry| json!({"name": text(entry.key), "value": text(entry.value)}));
    Value::Array(pairs.collect())
}

#[test]
fn every_event_is_the_originals_record() {
    let (scene, kafka) = (Scene::new(), kafka());
    let mut pod = golden_pod(json!({}));
    pod["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
    pod["metadata"]["labels"]["uhn"] = "uhn1".into();
    pod["metadata"]["labels"]["cnfc_uuid"] = "cnfc1".into();
    scene.kube.put_pod(pod);
    let cim = Cim::start(with(&kafka, scene.mounted()));
    let names = [
        "event_full",
        "event_minimal",
        "event_no_managed_object",
        "event_empty_lists",
        "event_name_not_utf8",
    ];
    let mut wire = cim.client();
    let inputs = names.map(|name| golden(&format!("1-inputs/{name}.fb")));
    for input in &inputs {
        wire.publish(EVENT, input);
    }
    wire.ping_pong();
    let records = kafka.consume(EVENT, names.len(), PATIENCE);
    assert_eq!(records.len(), names.len());
    for ((name, input), record) in names.iter().zip(&inputs).zip(&records) {
        let event = Event::read(input).unwrap();
        let mut value = record.text();
        if *name == "event_full" {
            // better: the original drops them.
            for (member, list) in [
                ("thresholdInfo", event.threshold_info),
                ("monitoredAttributes", event.monitored_attributes),
            ] {
                assert!(!list.is_empty());
                assert_eq!(take_list(&mut value, member), pairs(list));
            }
        }
        let file = |part: &str| golden(&format!("2-kafka-events/{name}.{part}.raw"));
        let wanted = String::from_utf8(file("value")).unwrap();
        assert_eq!(value, wanted, "{name}");
        assert_eq!(record.key, Some(file("key")), "{name}");
        assert!(record.headers.is_empty(), "{name}");
        // better: that of the original is the time of the push.
        if event.event_time > 0 {
            assert_eq!(record.timestamp_ms, Some(event.event_time), "{name}");
        }
    }
}

/// An own event without what differs from run to run: the time, and the container that some samples lack.
#[track_caller]
fn own(value: &[u8]) -> (String, i64) {
    let text = std::str::from_utf8(value).unwrap();
    let (head, rest) = text.split_once("\"eventTime\":").expect("a time");
    let (time, rest) = rest.split_once(',').unwrap();
    let rest = rest.replace("\"containerId\":\"\"", "\"containerId\":\"0123456789ab\"");
    (
        format!("{head}\"eventTime\":,{rest}"),
        time.parse().unwrap(),
    )
}

#[track_caller]
fn is_own(record: &Consumed, sample: &str) {
    let file = |part: &str| golden(&format!("{sample}.{part}.raw"));
    let (value, time) = own(&record.value);
    assert_eq!(value, own(&file("value")).0, "{sample}");
    assert_eq!(record.key, Some(file("key")), "{sample}");
    assert_eq!(record.key.as_deref(), Some(&b"EVENT"[..]), "{sample}");
    assert!(record.headers.is_empty(), "{sample}");
    // The time at which it was stored.
    let stored = record.timestamp_ms.unwrap();
    assert!((time..time + 60_000).contains(&stored), "{sample}");
}

/// The change set of a sample is put; its events must come next.
#[track_caller]
fn own_events_of(scene: &Scene, cim: &Cim, reader: &mut Reader, name: &str) {
    let sample = golden_json(&format!("5-config/{name}.result.json"));
    let reply = ReplyStatus::of(sample["app_reply_status"].as_str());
    scene.app.reply_with(cim.nats, Reply::of(reply));
    let text = |member: &str| sample[member].as_str().unwrap().to_owned();
    scene
        .etcd
        .put(&text("change_set_key"), &text("change_set_value"));
    let events = sample["events"].as_array().unwrap();
    let before = reader.records().len();
    eventually(PATIENCE, || {
        reader.read(LOOK);
        reader.records().len() >= before + events.len()
    });
    assert_eq!(reader.records().len(), before + events.len(), "{name}");
    for (n, (event, record)) in events.iter().zip(&reader.records()[before..]).enumerate() {
        let event = event.as_str().unwrap();
        is_own(record, &format!("6-own-events/{name}_{}_{event}", n + 1));
    }
}

#[test]
fn the_events_of_change_sets_are_the_originals_records() {
    let (scene, kafka) = (Scene::new(), kafka());
    let cim = Cim::start(with(&kafka, scene.mounted()));
    register(&cim);
    eventually(PATIENCE, || scene.etcd.get(COMMIT).is_some());
    let names = [
        "01_ms_success",
        "02_ms_failure",
        "03_ms_unused",
        "04_nf_success",
        "07_self_log_level_without_configmap",
        "08_self_bad_patch",
    ];
    let mut reader = kafka.reader(EVENT);
    for name in names {
        own_events_of(&scene, &cim, &mut reader, name);
    }
}

#[test]
fn the_events_of_a_pod_with_a_config_map_are_the_originals_records() {
    let (scene, kafka) = (Scene::new(), kafka());
    let cim = Cim::start(with(&kafka, scene.options()));
    register(&cim);
    eventually(PATIENCE, || scene.etcd.get(COMMIT).is_some());
    let key = "change-set/ns1/ms1/v1/ms/cim.json/202";
    let patch =
        json!([{"op": "replace", "path": "/cimConfig/cim_settings/log_level", "value": "INFO"}]);
    scene.etcd.put(key, &patch.to_string());
    let records = kafka.consume(EVENT, 2, PATIENCE);
    let events = ["1_CimConfigUpdateSuccess", "2_CimCommitConfigSuccess"];
    for (record, event) in records.iter().zip(events) {
        let name = "10_self_log_level_with_configmap";
        is_own(record, &format!("6-own-events/{name}_{event}"));
    }
}

fn a_collector_goes_away(format: &str) {
    let (scene, kafka, collector) = (Scene::new(), kafka(), Collector::start());
    let options = scene
        .mounted()
        .mode("TCP", format)
        .infra("logging_svc_url", collector.address().to_string());
    let cim = Cim::start(with(&kafka, options));
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"before");
    let arrived = |line: &[u8]| memchr::memmem::find(line, b"before").is_some();
    eventually(PATIENCE, || {
        collector.lines().iter().any(|line| arrived(line))
    });
    collector.stop();
    wire.publish_log("app", "1", b"after");
    wire.ping_pong();
    let records = kafka.consume(EVENT, 1, PATIENCE);
    let name = format!("12-failures/tcp_listener_gone_{format}_1_LmaasTCPFailure");
    is_own(&records[0], &name);
    wire.publish_log("app", "1", b"later");
    wire.ping_pong();
    eventually(PATIENCE, || cim.text_of("app").ends_with(b"later\n"));
    assert_eq!(kafka.consume(EVENT, 1, PATIENCE).len(), 1);
}

#[test]
fn a_collector_that_goes_away_is_the_originals_record_once() {
    a_collector_goes_away("json");
}

#[test]
fn a_collector_of_text_that_goes_away_is_the_originals_record_once() {
    a_collector_goes_away("text");
}
