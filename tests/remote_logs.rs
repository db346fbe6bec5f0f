//! The modes TCP and KAFKA through the whole daemon: sinks that break in each way, what is sent later, what is not, and changes of mode.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::kube::{Kube, golden_pod};
use servers::scene::events;
use servers::{Collector, MockKafka, Reader};
use support::arrivals::{Arrivals, ours};
use support::load::{check_in_order, line};
use support::options::default_cim_json;
use support::pod::{Pod, wait_for_conservation};
use support::publisher::Publisher;
use support::{Cim, Load, NatsWire, Options, PATIENCE, Signal, eventually};

const ID: &str = "0123456789ab";
/// A sink that stands still is given up after 5 s.
const GIVEN_UP: Duration = Duration::from_secs(9);

fn tcp(collector: &Collector, format: &str) -> Options {
    Options::new()
        .mode("TCP", format)
        .infra("logging_svc_url", collector.address().to_string())
        .large_files()
}

fn retransmitting(collector: &Collector, format: &str) -> Options {
    tcp(collector, format).infra("enable_retrx", "true")
}

/// Publishes the lines `numbers` of a load, and waits for the PONG.
fn publish(wire: &mut NatsWire, numbers: std::ops::Range<u64>) -> Duration {
    for number in numbers {
        wire.publish_log("app", ID, &line(0, number));
    }
    wire.ping_pong()
}

fn outages(cim: &Cim) -> f64 {
    cim.metric("cim_log_sink_outages_total", &[])
}

fn backlog_bytes(cim: &Cim) -> f64 {
    cim.metric("cim_log_backlog_bytes", &[])
}

/// Lines go straight to the sink.
fn is_steady(cim: &Cim) -> bool {
    let parts = cim.get("/readyz").json()["parts"].clone();
    parts["collector"]["state"] == "ready"
}

#[track_caller]
fn until_steady(cim: &Cim) {
    eventually(2 * PATIENCE, || is_steady(cim));
}

/// A CIM whose collector has gone after it was there.
#[track_caller]
fn in_an_outage(collector: &Collector, options: Options) -> Cim {
    let cim = Cim::start(options);
    until_steady(&cim);
    collector.stop();
    eventually(PATIENCE, || outages(&cim) == 1.0);
    cim
}

/// How often CIM has said that the collector is down.
fn failures(cim: &Cim) -> usize {
    let events = events(cim);
    let failures = events
        .iter()
        .filter(|event| event["eventName"] == "LmaasTCPFailure");
    failures.count()
}

/// The lines of loads that the collector has.
fn lines(collector: &Collector) -> Vec<Vec<u8>> {
    ours(&collector.lines()).cloned().collect()
}

/// Records of 200 bytes that the mock brokers keep at the least: 5 MB.
const MOCK_RECORDS: usize = 20_000;
/// Lines a second, so that there are no more.
const PACE: u64 = 2000;

fn values(reader: &Reader) -> Vec<Vec<u8>> {
    reader
        .records()
        .iter()
        .map(|record| record.value.clone())
        .collect()
}

/// Another mode, with large files.
#[track_caller]
fn set_mode(cim: &Cim, mode: &str) {
    let mut json = default_cim_json();
    let lmaas = &mut json["cimConfig"]["lmaas"];
    lmaas["logging_mode"] = mode.into();
    lmaas["max_file_size_in_mb"] = 50.into();
    lmaas["max_backup_files"] = 20.into();
    cim.write_cim_json(&json);
    let reloads = cim.metric("cim_config_reloads_total", &[]);
    cim.signal(Signal::HUP);
    eventually(PATIENCE, || {
        cim.metric("cim_config_reloads_total", &[]) > reloads
    });
}

/// Container and text of each JSON line, CIM's own left out.
fn json_lines(collector: &Collector) -> Vec<(String, String)> {
    let lines = collector.lines();
    let values = lines
        .iter()
        .map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    values
        .map(|value| (text(&value["container_name"]), text(&value["log"])))
        .filter(|(container, _)| container != "cim")
        .collect()
}

#[test]
fn a_pong_means_that_the_collectors_kernel_has_the_lines() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(&collector, "text"));
    let mut wire = cim.client();
    until_steady(&cim);
    // What its program has read is another matter.
    collector.freeze();
    let waited = publish(&mut wire, 0..100);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    assert!(cim.metric("Total_msg_sent_to_tcp", &[]) >= 100.0);
    assert_eq!(lines(&collector).len(), 0);
    collector.thaw();
    eventually(PATIENCE, || lines(&collector).len() == 100);
    assert_eq!(check_in_order(&lines(&collector), 1), [100]);
    wait_for_conservation(&cim);
}

#[test]
fn an_acknowledgement_to_a_reply_subject_means_the_same() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(&collector, "text"));
    let mut wire = cim.client();
    wire.subscribe("acks.1", "1");
    let payload = support::nats::log("app", ID, &line(0, 0));
    wire.publish_with_reply("LOG", "acks.1", &payload);
    assert_eq!(wire.delivered().subject, "acks.1");
    assert!(cim.metric("Total_msg_sent_to_tcp", &[]) >= 1.0);
    eventually(PATIENCE, || lines(&collector).len() == 1);
}

#[test]
fn a_collector_that_closes_gets_the_next_lines_and_without_enable_retrx_the_file_keeps_its_own() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(&collector, "text"));
    let mut wire = cim.client();
    publish(&mut wire, 0..50);
    eventually(PATIENCE, || lines(&collector).len() == 50);
    collector.stop();
    eventually(PATIENCE, || outages(&cim) == 1.0);
    publish(&mut wire, 50..100);
    assert_eq!(cim.lines_of("app").len(), 50);
    collector.restart();
    until_steady(&cim);
    publish(&mut wire, 100..150);
    eventually(PATIENCE, || lines(&collector).len() == 100);
    let mut all = lines(&collector);
    all.splice(50..50, cim.lines_of("app"));
    assert_eq!(check_in_order(&all, 1), [150]);
    assert_eq!((outages(&cim), failures(&cim)), (1.0, 1));
    assert_eq!(cim.metric("tcp_disconnect_count", &[]), 1.0);
    assert_eq!(backlog_bytes(&cim), 0.0);
    wait_for_conservation(&cim);
}

#[test]
fn each_outage_is_told_once() {
    let collector = Collector::start();
    let cim = Cim::start(tcp(&collector, "text"));
    let mut wire = cim.client();
    for outage in 1..=3 {
        until_steady(&cim);
        let numbers = outage as u64 * 10..outage as u64 * 10 + 10;
        publish(&mut wire, numbers.clone());
        // A collector that was killed gets earlier ones once more.
        eventually(PATIENCE, || {
            let mut all = lines(&collector);
            all.extend(cim.lines_of("app"));
            numbers.clone().all(|number| all.contains(&line(0, number)))
        });
        collector.kill();
        eventually(PATIENCE, || failures(&cim) == outage);
        collector.restart();
    }
    until_steady(&cim);
    assert_eq!((outages(&cim), failures(&cim)), (3.0, 3));
    assert_eq!(cim.metric("tcp_disconnect_count", &[]), 3.0);
}

/// A collector that neither reads nor ends: publishers notice nothing but one pause.
#[test]
fn a_collector_that_stands_still_is_given_up_and_loses_nothing() {
    let collector = Collector::start();
    let cim = Cim::start(retransmitting(&collector, "text"));
    let load = Load::start(cim.nats, "app", 0, Some(10));
    eventually(PATIENCE, || lines(&collector).len() > 1000);
    collector.freeze();
    eventually(GIVEN_UP, || outages(&cim) == 1.0);
    let acknowledged = load.acknowledged();
    eventually(PATIENCE, || load.acknowledged() > acknowledged + 5000);
    let sent = load.stop();
    collector.thaw();
    eventually(2 * PATIENCE, || {
        Arrivals::of(&collector.lines(), 0, sent).lost() == 0
    });
    until_steady(&cim);
    assert_eq!(backlog_bytes(&cim), 0.0);
    assert_eq!(failures(&cim), 1, "{}", outages(&cim));
    wait_for_conservation(&cim);
}

/// Nothing comes any more, no end either: as behind a network that is gone. What was not acknowledged has not arrived.
#[test]
fn a_collector_that_falls_silent_is_noticed_and_gets_every_line_in_order_when_it_is_back() {
    let collector = Collector::start();
    let cim = Cim::start(retransmitting(&collector, "text"));
    let load = Load::start(cim.nats, "app", 0, Some(10));
    eventually(PATIENCE, || lines(&collector).len() > 1000);
    collector.fall_silent();
    let start = Instant::now();
    eventually(GIVEN_UP, || outages(&cim) == 1.0);
    assert!(
        start.elapsed() > Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let acknowledged = load.acknowledged();
    eventually(PATIENCE, || load.acknowledged() > acknowledged + 5000);
    // Its end does not reach CIM, which has ended the connection itself.
    collector.kill();
    collector.restart();
    let sent = load.stop();
    eventually(2 * PATIENCE, || {
        Arrivals::of(&collector.lines(), 0, sent).lost() == 0
    });
    let arrivals = Arrivals::of(&collector.lines(), 0, sent);
    assert_eq!((arrivals.doubled, arrivals.reordered), (0, 0), "{arrivals}");
    until_steady(&cim);
    assert_eq!((failures(&cim), cim.files_of("app").len()), (1, 0));
    wait_for_conservation(&cim);
}

#[test]
fn a_collector_that_is_too_slow_overflows_to_the_file_and_catches_up_later() {
    let collector = Collector::start();
    collector.slow(200_000);
    let cim = Cim::start(retransmitting(&collector, "text"));
    let load = Load::start(cim.nats, "app", 0, Some(10));
    eventually(GIVEN_UP + PATIENCE, || outages(&cim) >= 1.0);
    let acknowledged = load.acknowledged();
    eventually(PATIENCE, || load.acknowledged() > acknowledged + 5000);
    let sent = load.stop();
    collector.thaw();
    eventually(2 * PATIENCE, || {
        Arrivals::of(&collector.lines(), 0, sent).lost() == 0
    });
    until_steady(&cim);
    wait_for_conservation(&cim);
}

#[test]
fn stored_lines_come_oldest_first_with_their_containers_and_new_ones_behind_them() {
    let pod = Pod::new();
    let collector = Collector::start();
    let cim = in_an_outage(&collector, pod.options(retransmitting(&collector, "json")));
    let mut wire = cim.client();
    let names = ["app", "side/car", "caf\u{e9} {x}"];
    let text = |container: usize, n: usize| match n % 3 {
        0 => format!("{container} {n}"),
        1 => format!("{container} {n}\n\tat first\n\nat last\n"),
        _ => format!("{container} {n}\n"),
    };
    for n in 0..60 {
        for (container, name) in names.iter().enumerate() {
            wire.publish_log(name, ID, text(container, n).as_bytes());
        }
    }
    wire.ping_pong();
    assert!(!pod.marks().is_empty());
    collector.restart();
    // Behind what is stored, whether that is on its way already or not.
    for n in 60..90 {
        for (container, name) in names.iter().enumerate() {
            wire.publish_log(name, ID, text(container, n).as_bytes());
        }
        wire.ping_pong();
    }
    eventually(PATIENCE, || json_lines(&collector).len() >= 270);
    let lines = json_lines(&collector);
    for (container, name) in names.iter().enumerate() {
        let got = lines.iter().filter(|(of, _)| of == name);
        let got: Vec<_> = got.map(|(_, log)| log.clone()).collect();
        let wanted: Vec<_> = (0..90).map(|n| text(container, n)).collect();
        assert_eq!(got, wanted, "{name}");
    }
    until_steady(&cim);
    assert_eq!(backlog_bytes(&cim), 0.0);
    eventually(PATIENCE, || pod.marks().is_empty());
    let files = || std::fs::read_dir(&cim.log_dir).unwrap();
    let logs = || {
        let names = files().map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| !name.ends_with(".jsonl"))
            .collect::<Vec<_>>()
    };
    eventually(PATIENCE, || logs().is_empty());
    wait_for_conservation(&cim);
}

/// CIM's own lines are no less than others, although nobody waits for them.
#[test]
fn what_cim_itself_says_in_an_outage_is_sent_too() {
    let pod = Pod::new();
    let collector = Collector::start();
    let cim = Cim::start(pod.options(retransmitting(&collector, "text")));
    until_steady(&cim);
    let said = |text: &str| {
        let lines = collector.lines();
        let has = |line: &&Vec<u8>| memchr::memmem::find(line, text.as_bytes()).is_some();
        // Each has a time of its own; what the collector may not have read comes twice.
        lines.iter().filter(has).collect::<BTreeSet<_>>().len()
    };
    for outage in 1..=3 {
        eventually(PATIENCE, || said("log lines go to tcp") == outage);
        collector.stop();
        eventually(PATIENCE, || !is_steady(&cim));
        collector.restart();
        until_steady(&cim);
    }
    eventually(PATIENCE, || said("log lines go to tcp") == 4);
    assert!(said("log lines go to the log files") >= 1);
    assert_eq!(backlog_bytes(&cim), 0.0);
    eventually(PATIENCE, || {
        pod.marks().is_empty() && cim.files_of("cim").is_empty()
    });
    wait_for_conservation(&cim);
}

#[test]
fn rotation_and_retention_go_on_in_an_outage_and_what_they_cost_is_counted() {
    let collector = Collector::start();
    let options = retransmitting(&collector, "text")
        .cim("lmaas.max_file_size_in_mb", 1)
        .cim("lmaas.max_backup_files", 2);
    let cim = in_an_outage(&collector, options);
    let mut wire = cim.client();
    let sent = 40_000;
    for from in (0..sent).step_by(2000) {
        publish(&mut wire, from..from + 2000);
    }
    assert!(cim.files_of("app").len() <= 3);
    let lost = || cim.metric("cim_log_backlog_lost_total", &[("reason", "retention")]);
    eventually(PATIENCE, || lost() > 0.0);
    collector.restart();
    eventually(PATIENCE, || {
        lines(&collector).last() == Some(&line(0, sent - 1))
    });
    let arrivals = Arrivals::of(&collector.lines(), 0, sent);
    assert_eq!(arrivals.lost.len(), 1, "{arrivals}");
    assert_eq!(
        (arrivals.lost() as f64, arrivals.lost[0].start),
        (lost(), 0)
    );
    assert_eq!((arrivals.doubled, arrivals.reordered), (0, 0), "{arrivals}");
    until_steady(&cim);
    eventually(PATIENCE, || cim.files_of("app").is_empty());
}

#[test]
fn a_kill_in_an_outage_costs_no_line_that_was_acknowledged() {
    let pod = Pod::new();
    let collector = Collector::start();
    let options = pod.options(retransmitting(&collector, "text"));
    let mut cim = in_an_outage(&collector, options.clone());
    let load = Load::start(cim.nats, "app", 0, Some(5));
    eventually(PATIENCE, || load.acknowledged() > 5000);
    cim.kill9();
    let acknowledged = load.acknowledged();
    load.stop();
    drop(cim);
    let cim = Cim::start(options);
    collector.restart();
    eventually(PATIENCE, || {
        Arrivals::of(&collector.lines(), 0, acknowledged).lost() == 0
    });
    until_steady(&cim);
    let arrivals = Arrivals::of(&collector.lines(), 0, acknowledged);
    assert_eq!((arrivals.doubled, arrivals.reordered), (0, 0), "{arrivals}");
    eventually(PATIENCE, || {
        pod.marks().is_empty() && cim.files_of("app").is_empty()
    });
}

#[test]
fn a_kill_while_stored_lines_are_sent_doubles_few_and_loses_none() {
    let pod = Pod::new();
    let collector = Collector::start();
    let options = pod.options(retransmitting(&collector, "text"));
    let mut cim = in_an_outage(&collector, options.clone());
    let mut wire = cim.client();
    let sent = 60_000;
    for from in (0..sent).step_by(2000) {
        publish(&mut wire, from..from + 2000);
    }
    collector.restart();
    collector.slow(8_000_000);
    eventually(PATIENCE, || lines(&collector).len() > 10_000);
    cim.kill9();
    drop(cim);
    collector.thaw();
    // What the killed one had sent.
    eventually(PATIENCE, || collector.open() == 0);
    let before = Arrivals::of(&collector.lines(), 0, sent);
    assert!(before.different < sent, "it was quicker: {before}");
    let cim = Cim::start(options);
    eventually(PATIENCE, || {
        lines(&collector).last() == Some(&line(0, sent - 1))
    });
    let arrivals = Arrivals::of(&collector.lines(), 0, sent);
    eprintln!("killed after {} lines: {arrivals}", before.different);
    assert_eq!((arrivals.lost(), arrivals.reordered), (0, 0), "{arrivals}");
    assert!(arrivals.steps_back <= 1, "{arrivals}");
    assert!(arrivals.doubled < before.different, "{arrivals}");
    until_steady(&cim);
    eventually(PATIENCE, || pod.marks().is_empty());
}

#[test]
fn a_stop_in_an_outage_leaves_the_lines_for_the_next_start() {
    let pod = Pod::new();
    let collector = Collector::start();
    let options = pod.options(retransmitting(&collector, "text"));
    let mut cim = in_an_outage(&collector, options.clone());
    let mut wire = cim.client();
    publish(&mut wire, 0..5000);
    cim.stop(Signal::TERM);
    drop(cim);
    collector.restart();
    let cim = Cim::start(options);
    let mut wire = cim.client();
    publish(&mut wire, 5000..10_000);
    eventually(PATIENCE, || lines(&collector).len() >= 10_000);
    assert_eq!(check_in_order(&lines(&collector), 1), [10_000]);
    until_steady(&cim);
    assert_eq!(failures(&cim), 1, "the outage of the first run");
}

#[test]
fn a_stop_waits_for_what_is_on_its_way() {
    let collector = Collector::start();
    let mut cim = Cim::start(tcp(&collector, "text"));
    until_steady(&cim);
    let load = Load::start(cim.nats, "app", 0, None);
    eventually(PATIENCE, || lines(&collector).len() > 5000);
    let sent = load.stop();
    cim.stop(Signal::TERM);
    eventually(PATIENCE, || lines(&collector).len() as u64 >= sent);
    assert_eq!(check_in_order(&lines(&collector), 1), [sent]);
}

#[test]
fn without_an_address_lines_go_to_the_file_until_there_is_one() {
    let cim = Cim::start(Options::new().mode("TCP", "text"));
    let mut wire = cim.client();
    publish(&mut wire, 0..10);
    assert_eq!(check_in_order(&cim.lines_of("app"), 1), [10]);
    let reason = || cim.get("/readyz").json()["parts"]["collector"]["reason"].to_string();
    eventually(PATIENCE, || reason().contains("logging_svc_url is missing"));
    assert_eq!(cim.get("/readyz").status, 200, "it is not needed");
    let collector = Collector::start();
    cim.write_infra_json(&json!({
        "log_format": "text", "logging_svc_url": collector.address().to_string()
    }));
    cim.signal(Signal::HUP);
    until_steady(&cim);
    publish(&mut wire, 10..20);
    eventually(PATIENCE, || lines(&collector).len() == 10);
    assert_eq!(failures(&cim), 1);
    wait_for_conservation(&cim);
}

/// Each mode has a stretch of the lines, and all together have each line once and in order.
#[test]
fn the_mode_changes_under_load_and_no_line_is_lost_or_changes_its_place() {
    let collector = Collector::start();
    let kafka = MockKafka::start();
    kafka.create_topic("LOGS", 1);
    let options = tcp(&collector, "text")
        .cim("lmaas.logging_mode", "FILE")
        .infra("enable_retrx", "true")
        .infra("kafka_brokers", kafka.bootstrap());
    let cim = Cim::start(options);
    let publisher = Publisher::start(cim.nats, 0, 20, PACE);
    publisher.go_on(500);
    for mode in ["TCP", "KAFKA", "STDOUT", "TCP", "FILE"] {
        set_mode(&cim, mode);
        publisher.go_on(500);
        if matches!(mode, "TCP" | "KAFKA") {
            until_steady(&cim);
            publisher.go_on(500);
        }
    }
    let sent = publisher.stop();
    wait_for_conservation(&cim);
    assert_eq!(outages(&cim), 0.0);
    let mut reader = kafka.reader("LOGS");
    let records = cim.metric("cim_log_lines_kafka_total", &[]) as usize;
    assert!(records < MOCK_RECORDS, "{records}: they are not all kept");
    // What has arrived is not yet read.
    let mut places = [const { Vec::new() }; 4];
    eventually(PATIENCE, || {
        reader.read(support::LOOK);
        let mut to_kafka = values(&reader);
        to_kafka.retain(|line| support::arrivals::is_ours(line));
        let to_stdout = ours(&cim.stdout.lines()).cloned().collect();
        places = [cim.lines_of("app"), lines(&collector), to_kafka, to_stdout];
        places.iter().map(Vec::len).sum::<usize>() as u64 >= sent
    });
    let mut all = Vec::new();
    for place in places {
        assert!(place.is_sorted(), "lines have changed their places");
        // The mode is another one while lines are under way.
        assert!(place.len() >= 400, "{}", place.len());
        all.extend(place);
    }
    all.sort();
    assert_eq!(check_in_order(&all, 1), [sent]);
}

/// Lines that are still to be sent stay in the file when the mode changes; they are in their place among the others.
#[test]
fn a_change_to_file_in_an_outage_ends_the_backlog_and_keeps_the_lines() {
    let pod = Pod::new();
    let collector = Collector::start();
    let cim = in_an_outage(&collector, pod.options(retransmitting(&collector, "text")));
    let load = Load::start(cim.nats, "app", 0, Some(10));
    eventually(PATIENCE, || load.acknowledged() > 2000);
    set_mode(&cim, "FILE");
    eventually(PATIENCE, || {
        let state = &cim.get("/readyz").json()["parts"]["collector"]["state"];
        state == "disabled"
    });
    let acknowledged = load.acknowledged();
    eventually(PATIENCE, || load.acknowledged() > acknowledged + 2000);
    let sent = load.stop();
    eventually(PATIENCE, || cim.lines_so_far("app").len() as u64 >= sent);
    assert_eq!(check_in_order(&cim.lines_of("app"), 1), [sent]);
    eventually(PATIENCE, || pod.marks().is_empty());
    assert_eq!(backlog_bytes(&cim), 0.0);
    assert!(cim.metric("cim_log_backlog_lost_total", &[("reason", "mode")]) > 0.0);
    wait_for_conservation(&cim);
}

#[test]
fn kafka_that_is_away_gets_every_line_later_in_order() {
    let pod = Pod::new();
    let kafka = MockKafka::start();
    kafka.create_topic("LOGS", 4);
    let options = Options::new()
        .mode("KAFKA", "text")
        .large_files()
        .infra("kafka_brokers", kafka.bootstrap())
        .infra("enable_retrx", "true");
    let cim = Cim::start(pod.options(options));
    until_steady(&cim);
    let publisher = Publisher::start(cim.nats, 0, 20, PACE);
    publisher.go_on(500);
    kafka.down();
    eventually(GIVEN_UP, || outages(&cim) == 1.0);
    publisher.go_on(500);
    kafka.up();
    until_steady(&cim);
    publisher.go_on(500);
    let sent = publisher.stop();
    assert!(
        (sent as usize) < MOCK_RECORDS,
        "{sent}: they are not all kept"
    );
    let mut reader = kafka.reader("LOGS");
    eventually(PATIENCE, || {
        reader.read(support::LOOK);
        Arrivals::of(&values(&reader), 0, sent).lost() == 0
    });
    let arrivals = Arrivals::of(&values(&reader), 0, sent);
    eprintln!("{arrivals}");
    assert_eq!(arrivals.reordered, 0, "{arrivals}");
    let partitions = reader.records().iter().map(|record| record.partition);
    let partitions: HashSet<_> = partitions.collect();
    assert_eq!(
        partitions.len(),
        1,
        "all lines of a pod are in one partition"
    );
    assert_eq!(failures(&cim), 0, "that event is about TCP");
    assert_eq!(backlog_bytes(&cim), 0.0);
    eventually(PATIENCE, || {
        pod.marks().is_empty() && cim.files_of("app").is_empty()
    });
    wait_for_conservation(&cim);
}

#[test]
fn the_collector_of_the_own_node_is_preferred_and_the_service_used_without_one() {
    let (local, service) = (Collector::start(), Collector::start());
    let kube = Kube::start();
    kube.put_pod(golden_pod(json!({})));
    let mut pod = golden_pod(json!({}));
    let node = pod["spec"]["nodeName"].clone();
    pod["metadata"]["name"] = "fluent-bit-1".into();
    pod["metadata"]["namespace"] = "logging".into();
    pod["metadata"]["labels"] = json!({"k8s-app": "fluent-bit"});
    pod["spec"]["nodeName"] = node;
    pod["status"] = json!({"phase": "Running", "podIP": local.address().ip().to_string()});
    kube.put_pod(pod);
    let mut options = tcp(&service, "text")
        .cim("lmaas.prefer_local_daemonset", true)
        .infra("logging_svc_tcp_port", local.address().port().to_string());
    for (name, value) in kube.env() {
        options = options.env(name, value);
    }
    let cim = Cim::start(options);
    let mut wire = cim.client();
    until_steady(&cim);
    publish(&mut wire, 0..10);
    eventually(PATIENCE, || lines(&local).len() == 10);
    assert_eq!(service.connections(), 0);
    kube.remove("/api/v1/namespaces/logging/pods/fluent-bit-1");
    local.stop();
    eventually(PATIENCE, || service.connections() == 1);
    until_steady(&cim);
    publish(&mut wire, 10..20);
    eventually(PATIENCE, || lines(&service).len() == 10);
}
