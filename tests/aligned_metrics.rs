//! The daemon scrapes the application at aligned times, and hands each snapshot out once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::kube::{Fault, Kube, golden_pod};
use servers::scene::golden;
use servers::{Behaviour, Endpoint, TestApp};
use support::{Answer, Cim, Options, PATIENCE, Signal, eventually, eventually_some, http, settled};

const ALIGNED: &str = "/metrics/aligned";
const BUILD_INFO: &str = "clock_aligned_metric_exporter_build_info";

/// The annotation of the samples with these ports and an interval of 1 s, some members changed.
fn annotation(ports: &[u16], changes: Value) -> String {
    let mut annotation: Value = serde_json::from_slice(&golden(
        "11-metrics-aligned/annotation_xgvela.com_mmaas.json",
    ))
    .unwrap();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    annotation["ports"] = ports.into();
    annotation["measurementInterval"] = "1s".into();
    for (name, value) in changes.as_object().unwrap() {
        annotation[name] = value.clone();
    }
    annotation.to_string()
}

/// Kubernetes with the pod, and CIM in it.
fn start(annotation: Option<&str>) -> (Kube, Cim) {
    let kube = Kube::start();
    put(&kube, annotation);
    let cim = Cim::start(options(&kube));
    (kube, cim)
}

fn put(kube: &Kube, annotation: Option<&str>) {
    let annotations = match annotation {
        Some(text) => json!({"xgvela.com/mmaas": text}),
        None => json!({}),
    };
    kube.put_pod(golden_pod(annotations));
}

fn options(kube: &Kube) -> Options {
    let env = kube.env().into_iter();
    env.fold(Options::new(), |options, (name, value)| {
        options.env(name, value)
    })
}

/// An application with the samples' answer.
fn golden_app() -> TestApp {
    app(golden("11-metrics-aligned/app_endpoint_answer.txt"))
}

fn app(text: impl Into<Vec<u8>>) -> TestApp {
    let app = TestApp::start();
    app.on("/metrics", Behaviour::Text(200, text.into()));
    app
}

/// The next answer with a snapshot in it; everything before is thrown away.
#[track_caller]
fn next(cim: &Cim) -> String {
    eventually_some(PATIENCE, || {
        let answer = cim.get(ALIGNED);
        (answer.status == 200)
            .then(|| answer.text())
            .filter(|text| text.contains("aligned_ts="))
    })
}

/// The next answer that has `part` in it, and all that were handed out until then.
#[track_caller]
fn until(cim: &Cim, part: &str) -> String {
    let mut all = String::new();
    eventually(PATIENCE, || {
        let answer = cim.get(ALIGNED);
        if answer.status == 200 {
            all += &answer.text();
        }
        all.contains(part)
    });
    all
}

#[track_caller]
fn held(cim: &Cim, count: f64) {
    eventually(PATIENCE, || {
        cim.metric("cim_aligned_snapshots", &[]) >= count
    });
}

/// The times of the snapshots in a text, oldest first, ms.
fn times(text: &str) -> Vec<u64> {
    let own = text
        .lines()
        .filter(|line| line.starts_with("cim_packet_size{"));
    own.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect()
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

#[test]
fn the_samples_come_as_the_original_stamps_them() {
    let app = golden_app();
    let (_kube, cim) = start(Some(&annotation(&[app.port()], json!({}))));
    let before = now_ms();
    let answer = eventually_some(PATIENCE, || {
        let answer = cim.get("/metrics/aligned?snapshot=1");
        Some(answer).filter(|answer| answer.text().contains("aligned_ts="))
    });
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    let at = times(&text)[0];
    assert_eq!(at % 1000, 0);
    assert!(at + 60_000 > before && at <= now_ms(), "{at}");

    // The application's families, moved to the sample's time and port. better: its own timestamp is in ms.
    let (stamp, port) = (at / 1000, app.port());
    let ours: Vec<String> = of_the_app(&text)
        .map(|line| {
            line.replace(
                &format!("aligned_ts=\"{stamp}\""),
                "aligned_ts=\"1795393535\"",
            )
            .replace(&format!("source_port=\"{port}\""), "source_port=\"39090\"")
            .replace(&format!(" {at}"), " 1795393535000")
        })
        .collect();
    let theirs = String::from_utf8(golden("11-metrics-aligned/01_one_snapshot.txt")).unwrap();
    let theirs: Vec<String> = of_the_app(&theirs)
        .map(|line| {
            line.replace("1767225600123000", "1767225600123")
                .replace("aligned_ts=\"1767225600123\"", "aligned_ts=\"1767225600\"")
        })
        .collect();
    assert_eq!(ours, theirs);

    // CIM's own series, as they are on /metrics.
    let own = format!(
        "aligned_ts=\"{stamp}\",pod=\"cnf-0\",source_port=\"{}\"",
        cim.http.port()
    );
    assert!(
        text.contains(&format!("cim_total_messages_counter{{{own}}} ")),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "cim_nats_LOG_message_size_bucket{{{own},le=\"500\"}} "
        )),
        "{text}"
    );
    assert!(
        text.contains("metric_scrape_collector_success{collector=\"metric\"} 1\n"),
        "{text}"
    );
    assert!(text.contains(BUILD_INFO), "{text}");

    let request = &app.requests("/metrics")[0];
    let host = format!("localhost:{port}");
    assert_eq!(
        (request.method.as_str(), request.header("host")),
        ("GET", Some(host.as_str()))
    );
}

/// The lines of the families that the samples' application has.
fn of_the_app(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| {
        let name = line
            .trim_start_matches("# HELP ")
            .trim_start_matches("# TYPE ");
        name.starts_with("app_")
    })
}

#[test]
fn each_snapshot_is_handed_out_once_all_or_one_at_a_time() {
    let app = golden_app();
    let (_kube, cim) = start(Some(&annotation(
        &[app.port()],
        json!({"maxRetention": "100"}),
    )));
    held(&cim, 3.0);
    let head = http::request(cim.http, "HEAD", ALIGNED, b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let one = times(&cim.get("/metrics/aligned?snapshot=1").text());
    assert_eq!(one.len(), 1);
    let rest = times(&cim.get(ALIGNED).text());
    assert!(rest.len() >= 2, "HEAD takes nothing: {rest:?}");
    let mut all = [one, rest].concat();
    let more = times(&next(&cim));
    all.extend(more);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    assert!(all.iter().all(|at| at % 1000 == 0), "{all:?}");
    // Between two aligned times there is nothing new: some look comes at once after another one.
    eventually(PATIENCE, || {
        cim.get(ALIGNED);
        let text = cim.get(ALIGNED).text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("# HELP "));
        lines.len() == 3 && lines.iter().all(|line| line.contains(BUILD_INFO))
    });
}

#[test]
fn as_many_snapshots_are_kept_as_the_annotation_says() {
    let app = golden_app();
    let (_kube, cim) = start(Some(&annotation(
        &[app.port()],
        json!({"maxRetention": "2"}),
    )));
    let dropped = [("reason", "retention")];
    eventually(PATIENCE, || {
        cim.metric("cim_aligned_snapshots_dropped_total", &dropped) >= 2.0
    });
    assert_eq!(cim.metric("cim_aligned_snapshots", &[]), 2.0);
    let kept = times(&cim.get(ALIGNED).text());
    assert_eq!(kept.len(), 2);
    assert!(kept[1] + 5_000 > now_ms(), "the latest are kept");
    assert!(cim.metric("cim_aligned_snapshots", &[]) <= 1.0);
}

#[test]
fn ports_that_fail_are_left_out_and_the_others_are_not_kept_waiting() {
    let good = app("good 1\n");
    let bad = TestApp::start();
    let (endless, _) = Endpoint::endless(1 << 30);
    let ports = [bad.port(), endless.port(), good.port()];
    let (_kube, cim) = start(Some(&annotation(&ports, json!({"maxRetention": "1000"}))));
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbad 1\n\r\n0\r\n\r\n".to_vec();
    for (behaviour, reason) in [
        (Behaviour::Never, "no whole answer within 1s"),
        (Behaviour::Text(500, b"bad 1\n".to_vec()), "status 500"),
        (Behaviour::CloseAfter, "no answer that can be read"),
        (
            Behaviour::Text(200, b"bad text\n".to_vec()),
            "the text cannot be read",
        ),
        (Behaviour::Raw(chunked), ""),
    ] {
        let before = bad.requests("/metrics").len();
        bad.on("/metrics", behaviour);
        let fine = reason.is_empty();
        // With the second one that of the first is known.
        bad.wait_for("/metrics", before + 2);
        let (state, why) = cim.part("aligned_metrics");
        assert_eq!(state, "not ready");
        // Of the ports that fail the one with the lowest number is named.
        let named = why.starts_with(&format!("port {}", bad.port()));
        assert!(!named || why.contains(reason), "{why}");
        cim.get(ALIGNED);
        let text = until(&cim, if fine { "bad{" } else { "good{" });
        assert!(text.contains("good{"), "{reason}: {text}");
        assert!(fine || !text.contains("bad{"), "{reason}: {text}");
        assert!(!text.contains("sample{"), "{text}");
    }
    let failed = cim.metric("cim_aligned_scrapes_total", &[("result", "failure")]);
    let succeeded = cim.metric("cim_aligned_scrapes_total", &[("result", "success")]);
    assert!(failed >= 8.0 && succeeded >= 5.0, "{failed} {succeeded}");
    let again = format!("port {} can be scraped again", bad.port());
    let mut log = String::new();
    eventually(PATIENCE, || {
        log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        log.contains(&again)
    });
    let told = format!("port {} is left out: status 500 instead of 200", bad.port());
    assert_eq!(
        log.matches(&told).count(),
        1,
        "once, not at each scrape: {log}"
    );
}

#[test]
fn a_hanging_port_does_not_move_the_aligned_times() {
    let (hanging, good) = (TestApp::start(), app("good 1\n"));
    hanging.on("/metrics", Behaviour::Never);
    let ports = [hanging.port(), good.port()];
    let (_kube, cim) = start(Some(&annotation(&ports, json!({"maxRetention": "1000"}))));
    held(&cim, 4.0);
    let times = times(&cim.get(ALIGNED).text());
    assert!(times.iter().all(|at| at % 1000 == 0), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn https_with_a_certificate_of_its_own_is_scraped() {
    let endpoint = Endpoint::https("# TYPE over_tls counter\nover_tls 1\n");
    let plan = annotation(&[endpoint.port()], json!({"scheme": "https"}));
    let (_kube, cim) = start(Some(&plan));
    let text = until(&cim, "over_tls{");
    assert!(text.contains("# TYPE over_tls counter\n"), "{text}");
    cim.until_part("aligned_metrics", "ready", "every 1s");
}

#[test]
fn an_annotation_that_comes_late_is_followed() {
    let app = golden_app();
    let kube = Kube::start();
    put(&kube, Some(&annotation(&[app.port()], json!({}))));
    kube.fault(Some(Fault::Freeze));
    let cim = Cim::start(options(&kube));
    cim.until_part(
        "aligned_metrics",
        "not ready",
        "Kubernetes has not said yet who this pod is",
    );
    assert_eq!(cim.get(ALIGNED).status, 503);
    assert_eq!(app.accepted(), 0);
    kube.fault(None);
    until(&cim, "app_plain{");
}

#[test]
fn without_the_annotation_there_is_nothing_and_it_costs_nothing() {
    for (annotation, reason) in [
        (None, "no annotation xgvela.com/mmaas is known"),
        (Some("{\"scrape\":\"false\"}"), "scrape is not \"true\""),
    ] {
        let (_kube, cim) = start(annotation);
        cim.until_part("aligned_metrics", "disabled", reason);
        let answer = cim.get(ALIGNED);
        assert_eq!(answer.status, 404);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "{error}");
        // What Kubernetes says wakes it a few times.
        let switches = settled(PATIENCE, Duration::from_millis(500), || switches(&cim));
        let start = Instant::now();
        eventually(PATIENCE, || start.elapsed() > Duration::from_millis(2500));
        assert_eq!(self::switches(&cim), switches, "it was woken");
    }
}

/// How often the thread went to sleep so far.
fn switches(cim: &Cim) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", cim.pid())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let name = |path: &std::path::Path| std::fs::read_to_string(path.join("comm")).unwrap();
    let task = tasks
        .find(|path| name(path) == "aligned-scraper\n")
        .expect("the thread");
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt_switches"));
    line.unwrap().to_owned()
}

#[test]
fn an_annotation_that_cannot_be_used_is_named_everywhere() {
    let app = golden_app();
    let wrong = annotation(&[app.port()], json!({"measurementInterval": "100ms"}));
    let (_kube, cim) = start(Some(&wrong));
    let what = "measurementInterval is \"100ms\"; it may be a text like \"15s\"";
    cim.until_part("aligned_metrics", "not ready", what);
    assert_eq!(
        cim.get("/readyz").status,
        200,
        "the pod is not taken out of service for it"
    );
    let answer: Answer = cim.get(ALIGNED);
    assert_eq!(answer.status, 503);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(what), "{error}");
    eventually(PATIENCE, || {
        String::from_utf8_lossy(&cim.text_of("cim")).contains(what)
    });
    assert_eq!(app.accepted(), 0);
}

#[test]
fn times_that_a_stopped_process_has_missed_are_passed_over_and_counted() {
    let app = golden_app();
    let (_kube, cim) = start(Some(&annotation(
        &[app.port()],
        json!({"maxRetention": "1000"}),
    )));
    held(&cim, 1.0);
    cim.signal(Signal::STOP);
    let until = now_ms() + 3_500;
    eventually(PATIENCE, || now_ms() > until);
    cim.signal(Signal::CONT);
    eventually(PATIENCE, || {
        cim.metric("cim_aligned_missed_total", &[]) >= 2.0
    });
    let before = cim.metric("cim_aligned_snapshots", &[]);
    held(&cim, before + 1.0);
    let times = times(&cim.get(ALIGNED).text());
    assert!(times.iter().all(|at| at % 1000 == 0), "{times:?}");
    assert!(
        times.windows(2).any(|pair| pair[1] - pair[0] >= 3_000),
        "{times:?}"
    );
}

#[test]
fn cim_stops_at_once_in_the_middle_of_a_scrape() {
    let app = TestApp::start();
    app.on("/metrics", Behaviour::Never);
    let plan = annotation(&[app.port()], json!({"measurementInterval": "2s"}));
    let (_kube, mut cim) = start(Some(&plan));
    app.wait_for("/metrics", 1);
    let start = Instant::now();
    // A second signal, and the pod is not being deleted: it is CIM's own end.
    assert_eq!(cim.stop(Signal::INT).code(), Some(0));
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

#[test]
fn the_port_for_metrics_alone_has_aligned_metrics_too() {
    let app = golden_app();
    let kube = Kube::start();
    put(&kube, Some(&annotation(&[app.port()], json!({}))));
    let port = servers::free_port();
    let open = servers::loopback(port);
    let cim = Cim::start(options(&kube).env("CIM_METRICS_BIND", open.to_string()));
    held(&cim, 1.0);
    assert!(http::get(open, ALIGNED).text().contains("app_plain{"));
    assert_eq!(http::post(open, ALIGNED, b"").status, 405);
}
