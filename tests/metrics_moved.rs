//! Every series that CIM declares is moved by what it counts: one that is declared and in no situation here fails the test.
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
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use cim::events::journal::{Fsync, JournalLimits};
use cim::events::{OwnEvent, OwnEvents};
use cim::identity::{Host, Identity};
use cim::limits::{CONFIG_ANSWERS, OWN_EVENTS};
use cim::metrics::Metrics;
use cim::options::Names;
use cim::progress::Progress;
use cim::tap::{Batch, Span};
use cim::threads::journal_writer::JournalThread;
use cim::threads::spawn::NOTICES;
use crossbeam_channel::bounded;
use serde_json::json;
use servers::fmaas::Writer;
use servers::kube::golden_pod;
use servers::{
    Behaviour, BrokerError, Collector, EtcdGateway, Kube, MockKafka, Reply, ReplyStatus, TestApp,
};
use support::disk::Mount;
use support::nats::{event, log, publish};
use support::{Cim, Load, NatsWire, Options, PATIENCE, Signal, eventually, metrics};

const APP: &str = "app";
const ID: &str = "0123456789ab";

/// Series that only a sink standing still for longer than `SINK_STALL` moves, with their label where others are moved sooner.
const HEAVY: [&str; 2] = [
    "cim_log_stdout_copies_dropped_total",
    "cim_log_lines_dropped_total stalled",
];

/// What has moved: names, and `name value` for each label but the pod and the bounds of histograms.
#[derive(Debug, Default)]
struct Moved(BTreeSet<String>);

impl Moved {
    /// Takes in what is not 0 now.
    fn see(&mut self, cim: &Cim) {
        self.see_text(&cim.metrics());
    }

    fn see_text(&mut self, text: &str) {
        for series in every(text).filter(|(_, value)| *value > 0.0) {
            self.0.extend(series.0);
        }
    }

    /// Takes in what is not 0 until `series` is moved.
    #[track_caller]
    fn until(&mut self, cim: &Cim, series: &str, mut again: impl FnMut()) {
        eventually(PATIENCE, || {
            again();
            self.see(cim);
            self.0.contains(series)
        });
    }
}

/// Each sample's names and value; a histogram goes by the name that it is declared with.
fn every(text: &str) -> impl Iterator<Item = (Vec<String>, f64)> {
    metrics::samples(text).into_iter().map(|sample| {
        let name = sample
            .name
            .strip_suffix("_count")
            .filter(|name| name.ends_with("_size") || name.ends_with("_seconds"))
            .unwrap_or(&sample.name)
            .to_owned();
        let labels = sample.labels.iter();
        let mut names: Vec<_> = labels
            .filter(|(label, _)| label != "pod" && label != "le")
            .map(|(_, value)| format!("{name} {value}"))
            .collect();
        names.push(name);
        (names, sample.value)
    })
}

/// What applications do all day, what they do wrong, and what operators do.
fn ordinary_use(moved: &mut Moved) {
    let options = Options::new()
        .cim("lmaas.max_file_size_in_mb", 1)
        .cim("lmaas.max_backup_files", 1)
        .mode("FILEANDSTDOUT", "json");
    let cim = Cim::start(options);
    let mut wire = cim.client();
    let mut listener = cim.client();
    listener.subscribe("CONFIG", "1");
    listener.ping_pong();
    wire.publish("CONFIG", b"{}");
    wire.publish_log(APP, ID, b"a line");
    wire.ping_pong();
    moved.see(&cim);

    // Three rotations, one backup is kept.
    let line = publish("LOG", None, &log(APP, ID, &[b'x'; 100_000]));
    (0..40).for_each(|_| wire.send(&line));
    wire.ping_pong();
    // More events than are kept.
    (0..1100).for_each(|_| wire.send(&publish("EVENT", None, &event("Event"))));
    // More of CIM's own lines on one matter than are written.
    (0..40).for_each(|_| wire.publish("LOG", b"no FlatBuffer"));
    wire.ping_pong();

    let registration = br#"{"container_name":"app","container_id":"0123456789ab"}"#;
    let path = "/api/v1/_operations/xgvela/register";
    assert_eq!(cim.post(path, registration).status, 200);
    let path = "/api/v1/_operations/event/subscriptions";
    let subscription = br#"{"localEventName":["Event"]}"#;
    assert_eq!(cim.post(path, subscription).status, 200);
    moved.see(&cim);
    let mut half = TcpStream::connect(cim.http).unwrap();
    half.write_all(b"GET /metrics HT").unwrap();
    drop(half);
    moved.until(&cim, "cim_http_aborted_total", || {});
    cim.signal(Signal::HUP);
    moved.until(&cim, "cim_config_reloads_total", || {});
    drop(wire);
    moved.until(&cim, "cim_nats_connections_closed_total", || {});
    moved.until(&cim, "cim_log_lines_stdout_total", || {});
}

/// A subscriber that reads nothing.
fn slow_consumer(moved: &mut Moved) {
    let cim = Cim::start(Options::new().env("CIM_NATS_MAX_PENDING", "2097152"));
    let mut slow = cim.client();
    slow.subscribe("big", "1");
    slow.ping_pong();
    let mut wire = cim.client();
    let message = publish("big", None, &[b'x'; 500_000]);
    moved.until(&cim, "cim_nats_slow_consumers_total", || {
        wire.send(&message)
    });
}

/// Standard output stands still, for less than makes its lines go elsewhere.
fn held_back(moved: &mut Moved) {
    let options = Options::new()
        .mode("STDOUT", "text")
        .cim("cim_settings.cim_file_log", false)
        .hold_stdout();
    let cim = Cim::start(options);
    let load = Load::start(cim.nats, APP, 0, None);
    moved.until(&cim, "cim_nats_held_back_total", || {});
    cim.stdout.release();
    load.stop();
}

/// Log files may not become large enough for the line: it waits, and is then given up.
fn no_space(moved: &mut Moved) {
    let cim = Cim::start(Options::new().before("ulimit -f 64"));
    let mut wire = cim.client();
    wire.publish_log(APP, ID, &[b'x'; 200_000]);
    moved.until(&cim, "cim_log_file_failing", || {});
    moved.until(&cim, "cim_log_lines_dropped_total no_space", || {});
}

/// There is a file where the log directory was.
fn io_error(moved: &mut Moved) {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let cim = Cim::start(Options::new().log_dir(&logs));
    eventually(PATIENCE, || logs.exists());
    std::fs::rename(&logs, dir.path().join("moved")).unwrap();
    std::fs::write(&logs, b"not a directory").unwrap();
    let mut wire = cim.client();
    wire.publish_log(APP, ID, b"nowhere to go");
    moved.until(&cim, "cim_log_lines_dropped_total io_error", || {});
}

/// What CMaaS and the application do with configuration, and what they do wrong.
fn configuration(moved: &mut Moved) {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    let options = Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1");
    // An API server that knows no such pod: the environment says whose change sets they are.
    let kube = Kube::start();
    let options = kube
        .env()
        .into_iter()
        .fold(options, |options, (name, value)| options.env(name, value));
    let cim = Cim::start(options);
    cim.post("/api/v1/_operations/xgvela/register", b"{}");
    let key = |name: &str, number: u32| format!("change-set/ns1/ms1/v0/ms/{name}/{number}");
    for (number, status, series) in [
        (1, ReplyStatus::Success, "cim_config_resp_success_total"),
        (2, ReplyStatus::Failure, "cim_config_resp_failure_total"),
        (3, ReplyStatus::Unused, "cim_config_resp_unused_total"),
    ] {
        app.reply_with(cim.nats, Reply::of(status));
        etcd.put(&key("app.json", number), "[]");
        moved.until(&cim, series, || {});
    }
    app.on("/updateConfig", Behaviour::Answer(500));
    etcd.put(&key("app.json", 4), "[]");
    moved.until(&cim, "cim_config_push_failure_total", || {});
    etcd.put("change-set/ns1/ms1/v0/short", "[]");
    moved.until(&cim, "cim_config_skipped_total malformed_key", || {});
    let mut wire = cim.client();
    let foreign = format!(r#"{{"change-set-key":"{}"}}"#, key("app.json", 9));
    wire.publish("CONFIG", foreign.as_bytes());
    moved.until(&cim, "cim_config_skipped_total foreign_answer", || {});
    etcd.deny_puts(true);
    etcd.put(&key("app.json", 5), "[]");
    moved.until(&cim, "cim_commit_config_push_failure_total", || {});
    etcd.deny_puts(false);
    etcd.cut_watches();
    moved.until(&cim, "cim_etcd_watch_ends_total", || {});
    moved.until(&cim, "cim_etcd_watch_progress_age_seconds", || {});
    etcd.put("config/ns1/ms1/0", "{}");
    wire.publish("EVENT", &event("NotConfigured"));
    moved.until(&cim, "cim_day_one_total loaded", || {});
    moved.see(&cim);
    // More answers than wait while the application is asked.
    app.on("/updateConfig", Behaviour::Never);
    etcd.put(&key("app.json", 6), "[]");
    let flood = || (0..CONFIG_ANSWERS * 2).for_each(|_| wire.publish("CONFIG", foreign.as_bytes()));
    moved.until(&cim, "cim_config_skipped_total too_many_answers", flood);
}

/// More events of CIM's own than are taken: no daemon raises so many at once.
fn own_events(moved: &mut Moved) {
    let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
    let identity = Arc::new(Identity::resolve(&Names::default(), &Host::default()).0);
    let who = move || Arc::clone(&identity);
    let (events, _raised) = OwnEvents::new(who, Arc::clone(&metrics));
    (0..=OWN_EVENTS).for_each(|_| events.raise(OwnEvent::ConfigUpdateFailure));
    moved.see_text(&String::from_utf8(metrics.render().unwrap()).unwrap());
}

/// Runs the situations side by side: some of them wait for `SINK_STALL`.
/// A collector that goes away with lines in flight, comes back, and goes again.
fn collector(moved: &mut Moved) {
    let collector = Collector::start();
    let cim = Cim::start(
        Options::new()
            .mode("TCP", "text")
            .infra("logging_svc_url", collector.address().to_string())
            .infra("enable_retrx", "true"),
    );
    let mut wire = cim.client();
    wire.publish_log(APP, ID, b"a line");
    moved.until(&cim, "Total_msg_sent_to_tcp", || {});
    collector.freeze();
    let line = publish("LOG", None, &log(APP, ID, &[b'x'; 100_000]));
    // Far more than two kernels hold, and less than CIM keeps in flight.
    (0..35).for_each(|_| wire.send(&line));
    moved.until(&cim, "cim_log_lines_sent_total", || {});
    eventually(PATIENCE, || {
        cim.metric("cim_log_lines_sent_total", &[("sink", "tcp")]) > 10.0
    });
    collector.kill();
    moved.until(&cim, "cim_log_lines_handed_back_total", || {});
    moved.until(&cim, "tcp_disconnect_count", || {});
    moved.until(&cim, "cim_log_sink_outages_total", || {});
    moved.until(&cim, "cim_log_backlog_lines", || {});
    moved.until(&cim, "cim_log_backlog_bytes", || {});
    moved.until(&cim, "cim_log_backlog_oldest_seconds", || {});
    collector.thaw();
    collector.restart();
    moved.until(&cim, "cim_log_lines_retransmitted_total", || {});
    collector.kill();
    eventually(PATIENCE, || {
        wire.publish_log(APP, ID, b"into the file");
        cim.metric("cim_log_backlog_lines", &[]) > 0.0
    });
    cim.write_cim_json(&support::options::default_cim_json());
    cim.signal(Signal::HUP);
    moved.until(&cim, "cim_log_backlog_lost_total mode", || {
        wire.publish_log(APP, ID, b"the mode is another one");
    });
}

/// Kafka takes lines and events, but for one.
fn kafka(moved: &mut Moved) {
    const TOO_LARGE: BrokerError = BrokerError::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let kafka = MockKafka::start();
    kafka.create_topic("LOGS", 1);
    kafka.create_topic("EVENT", 1);
    let brokers = kafka.bootstrap().join(",");
    let options = || Options::new().env("CIM_KAFKA_BROKERS", &brokers);
    let cim = Cim::start(options().mode("KAFKA", "text"));
    cim.client().publish_log(APP, ID, b"a line");
    moved.until(&cim, "cim_log_lines_kafka_total", || {});
    drop(cim);
    let cim = Cim::start(options());
    let mut wire = cim.client();
    wire.publish("EVENT", &event("taken"));
    moved.until(&cim, "cim_events_delivered_total kafka", || {});
    moved.until(&cim, "cim_events_sent_total kafka", || {});
    // The batch, and then the event alone.
    kafka.refuse(&[TOO_LARGE, TOO_LARGE]);
    wire.publish("EVENT", &event("refused"));
    moved.until(&cim, "cim_set_aside_total EVENT", || {});
    moved.until(&cim, "cim_kafka_producers_replaced_total EVENT", || {});
    moved.until(&cim, "cim_events_retried_total", || {});
    kafka.refuse_no_more();
    kafka.down();
    wire.publish("EVENT", &event("waits"));
    for series in [
        "cim_journal_records",
        "cim_journal_bytes",
        "cim_journal_oldest_seconds",
    ] {
        moved.until(&cim, series, || {});
    }
}

/// A user publishes what it may not.
fn permissions(moved: &mut Moved) {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.conf");
    let text =
        "authorization { users: [ {user: u, password: p, permissions: {publish: {deny: LOG}}} ] }";
    std::fs::write(&users, text).unwrap();
    let cim = Cim::start(Options::new().env("CIM_NATS_AUTH_FILE", &users));
    let mut wire = NatsWire::open(cim.nats);
    wire.send(b"CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nPUB LOG 0\r\n\r\n");
    wire.expect("-ERR 'Permissions Violation for Publish to \"LOG\"'");
    moved.until(&cim, "cim_nats_permission_violations_total", || {});
}

/// Somebody else takes the consumer's name, and it is replaced.
fn notifications(moved: &mut Moved) {
    let kafka = MockKafka::start();
    kafka.create_topic("FMAASEVENTS", 1);
    let options = Options::new()
        .env("CIM_KAFKA_BROKERS", kafka.bootstrap().join(","))
        .env(
            "CIM_KAFKA_OPTS",
            "heartbeat.interval.ms=100,fetch.wait.max.ms=20",
        );
    let cim = Cim::start(options);
    let mut wire = cim.client();
    wire.subscribe("EVENT-NOTIFICATION", "1");
    cim.post("/api/v1/_operations/xgvela/register", b"{}");
    let wanted = br#"{"localEventName":["E1"]}"#;
    cim.post("/api/v1/_operations/event/subscriptions", wanted);
    let writer = Writer::new(&kafka.bootstrap());
    writer.write(&[("localEventName", Some("E1"))], "wanted");
    writer.write(&[("localEventName", Some("E2"))], "not wanted");
    writer.flush();
    for series in [
        "cim_notifications_consumed_total",
        "cim_notifications_delivered_total",
        "cim_notifications_skipped_total no_match",
        "cim_kafka_rebalances_total assigned",
    ] {
        moved.until(&cim, series, || {});
    }
    kafka.fence();
    moved.until(&cim, "cim_kafka_consumers_replaced_total", || {});
}

/// An external server that takes smaller messages than there are, and dies.
fn external(moved: &mut Moved) {
    let kafka = MockKafka::start();
    kafka.create_topic("FMAASEVENTS", 1);
    let mut server = Cim::start(Options::new().env("CIM_NATS_MAX_PAYLOAD", "4096"));
    let options = Options::new()
        .env("CIM_NATS_URL", format!("nats://{}", server.nats))
        .env("CIM_KAFKA_BROKERS", kafka.bootstrap().join(","));
    let cim = Cim::start(options);
    cim.post("/api/v1/_operations/xgvela/register", b"{}");
    let wanted = br#"{"localEventName":["E1"]}"#;
    cim.post("/api/v1/_operations/event/subscriptions", wanted);
    let writer = Writer::new(&kafka.bootstrap());
    writer.write(&[("localEventName", Some("E1"))], &"x".repeat(8000));
    writer.flush();
    moved.until(&cim, "cim_nats_external_dropped_total", || {});
    server.kill9();
    moved.until(&cim, "cim_nats_external_connections_lost_total", || {});
}

/// The journal finds a torn end at the start, and cannot be written then.
fn journal(moved: &mut Moved) {
    let dir = tempfile::tempdir().unwrap();
    let options = || {
        Options::new()
            .env("CIM_STATE_DIR", dir.path())
            .env("CIM_KAFKA_BROKERS", "127.0.0.1:1")
    };
    let mut cim = Cim::start(options());
    let mut wire = cim.client();
    wire.publish("EVENT", &event("stays"));
    wire.ping_pong();
    cim.kill9();
    let segment = std::fs::read_dir(dir.path().join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "seg"))
        .unwrap();
    let mut file = std::fs::File::options().append(true).open(segment).unwrap();
    file.write_all(b"the beginning of a record").unwrap();
    let cim = Cim::start(options().before("ulimit -f 64"));
    moved.until(&cim, "cim_journal_damage_total", || {});
    let message = publish("EVENT", None, &event(&"x".repeat(100_000)));
    cim.client().send(&message);
    moved.until(&cim, "cim_journal_errors_total", || {});
}

/// An application with one port that answers and one that does not, and a process that stood still for some aligned times.
fn aligned(moved: &mut Moved) {
    let app = TestApp::start();
    app.on("/metrics", Behaviour::Text(200, b"app 1\n".to_vec()));
    let broken = TestApp::start();
    broken.on("/metrics", Behaviour::Answer(500));
    let ports = [app.port().to_string(), broken.port().to_string()];
    let annotation = json!({
        "scrape": "true", "path": "/metrics", "ports": ports, "scheme": "http",
        "measurementInterval": "1s", "maxRetention": "1",
    });
    let kube = Kube::start();
    let annotations = json!({"xgvela.com/mmaas": annotation.to_string()});
    kube.put_pod(golden_pod(annotations));
    let env = kube.env().into_iter();
    let options = env.fold(Options::new(), |options, (name, value)| {
        options.env(name, value)
    });
    let cim = Cim::start(options);
    for series in [
        "cim_aligned_scrapes_total success",
        "cim_aligned_scrapes_total failure",
        "cim_aligned_snapshots",
        "cim_aligned_snapshots_dropped_total retention",
    ] {
        moved.until(&cim, series, || {});
    }
    cim.signal(Signal::STOP);
    let stopped = std::time::Instant::now();
    eventually(PATIENCE, || stopped.elapsed().as_secs() >= 3);
    cim.signal(Signal::CONT);
    moved.until(&cim, "cim_aligned_missed_total", || {});
}

/// A journal without room, and an end: no daemon fills one so soon.
fn journal_full(moved: &mut Moved) {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
    let limits = JournalLimits {
        bytes_max: 1200,
        segment_bytes: 400,
        fsync: Fsync::Never,
    };
    let (journal, _reader) = cim::events::journal::open(dir.path(), limits, &metrics).unwrap();
    let (batches, batches_in) = bounded(64);
    let (raised, raised_in) = bounded(1);
    let (stop, stopped) = bounded(0);
    let thread = JournalThread {
        batches: batches_in,
        raised: raised_in,
        stop: stopped,
        journal,
        progress: Progress::new(|| {}),
        metrics: Arc::clone(&metrics),
    };
    let thread = thread.spawn(&bounded(NOTICES).0).unwrap();
    for seq in 1..=64 {
        let batch = Batch {
            seq,
            buffer: vec![0; 100].into(),
            spans: vec![Span { start: 0, len: 100 }],
            flush: false,
            ack: None,
            acks: Vec::new(),
        };
        batches.send_timeout(batch, PATIENCE).unwrap();
    }
    drop((batches, raised, stop));
    thread.join().unwrap();
    moved.see_text(&String::from_utf8(metrics.render().unwrap()).unwrap());
}

fn run(situations: &[fn(&mut Moved)]) -> Moved {
    let mut all = Moved::default();
    std::thread::scope(|scope| {
        let started: Vec<_> = situations
            .iter()
            .map(|&situation| {
                scope.spawn(move || {
                    let mut moved = Moved::default();
                    situation(&mut moved);
                    moved
                })
            })
            .collect();
        for thread in started {
            match thread.join() {
                Ok(moved) => all.0.extend(moved.0),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all
}

/// Every name that is declared, and `name value` for each label value that is shown from the start.
fn declared() -> BTreeSet<String> {
    let metrics = Metrics::new("cnf-0").unwrap();
    let mut names: BTreeSet<String> = metrics.names().iter().cloned().collect();
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    for (shown, _) in every(&text) {
        let family = shown.last().unwrap();
        let is_part = ["_bucket", "_sum"].iter().any(|end| family.ends_with(end));
        if !family.starts_with("process_") && !is_part {
            assert!(names.contains(family), "{family} is shown and not declared");
            names.extend(shown);
        }
    }
    names
}

#[test]
fn every_declared_series_is_moved_by_what_it_counts() {
    let moved = run(&[
        ordinary_use,
        slow_consumer,
        held_back,
        no_space,
        io_error,
        configuration,
        own_events,
        collector,
        kafka,
        journal,
        journal_full,
        notifications,
        permissions,
        external,
        aligned,
    ]);
    let never: Vec<_> = declared()
        .into_iter()
        .filter(|name| !moved.0.contains(name) && !HEAVY.contains(&name.as_str()))
        .collect();
    assert_eq!(never, [""; 0], "declared, and moved by no situation");
}

/// Standard output stands still for good, in the mode in which the file has the lines too.
fn copies_given_up(moved: &mut Moved) {
    let options = Options::new()
        .mode("FILEANDSTDOUT", "text")
        .large_files()
        .hold_stdout();
    let cim = Cim::start(options);
    let load = Load::start(cim.nats, APP, 0, None);
    moved.until(&cim, HEAVY[0], || {});
    cim.stdout.release();
    load.stop();
}

/// The disk stands still in the middle of a write. Without the rights to make such a disk: nothing.
fn stalled(moved: &mut Moved) {
    let Some(disk) = Mount::ext4(64) else { return };
    let cim = Cim::start(Options::new().large_files().log_dir(disk.path()));
    let mut wire = cim.client();
    wire.publish_log(APP, ID, b"before");
    wire.ping_pong();
    let Some(frozen) = disk.freeze() else { return };
    let load = Load::start(cim.nats, "load", 0, None);
    moved.until(&cim, HEAVY[1], || {});
    drop(frozen);
    load.stop();
}

#[test]
#[ignore = "integration"]
fn every_series_that_takes_a_long_stall_is_moved_by_it() {
    for name in HEAVY {
        assert!(declared().contains(name), "{name} is not declared");
    }
    let moved = run(&[copies_given_up]);
    assert!(moved.0.contains(HEAVY[0]));
    let moved = run(&[stalled]);
    assert!(moved.0.contains(HEAVY[1]) || moved.0.is_empty());
}
