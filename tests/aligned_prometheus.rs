//! A real Prometheus scrapes both endpoints, and its own checker reads the aligned one. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::Command;

use serde_json::json;
use servers::kube::{Kube, golden_pod};
use servers::scene::golden;
use servers::{Behaviour, Prometheus, TestApp, loopback};
use support::{Cim, Options, PATIENCE, eventually, http};

/// Milliseconds between two aligned times.
const INTERVAL: u64 = 2000;

/// An application as in the samples, but for the sample with a time of its own, which is too long ago for Prometheus.
fn scene() -> (TestApp, Kube, Cim) {
    let text = String::from_utf8(golden("11-metrics-aligned/app_endpoint_answer.txt")).unwrap();
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("app_temp"))
        .collect();
    let app = TestApp::start();
    app.on(
        "/metrics",
        Behaviour::Text(200, (text.join("\n") + "\n").into()),
    );
    let annotation = json!({
        "scrape": "true", "path": "/metrics", "ports": [app.port().to_string()], "scheme": "http",
        "measurementInterval": format!("{INTERVAL}ms"), "maxRetention": "20",
    });
    let kube = Kube::start();
    kube.put_pod(golden_pod(
        json!({"xgvela.com/mmaas": annotation.to_string()}),
    ));
    let env = kube.env().into_iter();
    let options = env.fold(Options::new(), |options, (name, value)| {
        options.env(name, value)
    });
    let cim = Cim::start(options);
    (app, kube, cim)
}

#[test]
#[ignore = "integration"]
fn with_prometheus_samples_are_stored_at_the_aligned_times() {
    let (app, _kube, cim) = scene();
    let jobs = [
        ("plain", cim.http, "/metrics"),
        ("aligned", cim.http, "/metrics/aligned"),
    ];
    let prometheus = Prometheus::start(&jobs);
    let port = app.port().to_string();
    // Of the application and of CIM itself, each with the value that was scraped.
    let own_port = cim.http.port().to_string();
    for (name, port) in [
        ("app_plain", &port),
        ("app_requests_total", &port),
        ("app_dur_bucket", &port),
        ("app_q", &port),
        ("cim_packet_size", &own_port),
        ("cim_nats_LOG_message_size_bucket", &own_port),
    ] {
        let selector = format!("{name}{{job=\"aligned\"}}");
        let mut samples = Vec::new();
        eventually(PATIENCE, || {
            samples = prometheus.samples(&selector);
            let mut times: Vec<u64> = samples.iter().map(|sample| sample.at_ms).collect();
            times.sort_unstable();
            times.dedup();
            times.len() >= 4
        });
        let mut per_time: BTreeMap<u64, usize> = BTreeMap::new();
        for sample in &samples {
            assert_eq!(sample.at_ms % INTERVAL, 0, "{sample:?}");
            assert_eq!(
                sample.labels["aligned_ts"],
                (sample.at_ms / 1000).to_string(),
                "{sample:?}"
            );
            // What CIM says wins over nothing: Prometheus has no such labels of its own.
            assert_eq!(&sample.labels["source_port"], port, "{sample:?}");
            *per_time.entry(sample.at_ms).or_default() += 1;
        }
        let series = *per_time.first_key_value().unwrap().1;
        assert!(
            per_time.values().all(|count| *count == series),
            "{name}: {per_time:?}"
        );
        let gaps: Vec<u64> = per_time
            .keys()
            .zip(per_time.keys().skip(1))
            .map(|(a, b)| b - a)
            .collect();
        // A machine that stood still may have missed one.
        assert!(
            gaps.iter().all(|gap| gap % INTERVAL == 0),
            "{name}: {per_time:?}"
        );
    }
    let plain = prometheus.samples("app_plain{job=\"aligned\"}");
    assert!(plain.iter().all(|sample| sample.value == 7.0), "{plain:?}");
    // Both endpoints are healthy, and nothing of what they gave was refused.
    for job in ["plain", "aligned"] {
        let up = prometheus.samples(&format!("up{{job=\"{job}\"}}"));
        assert!(
            !up.is_empty() && up.iter().all(|sample| sample.value == 1.0),
            "{up:?}"
        );
    }
    for (job, health, error) in prometheus.targets() {
        assert_eq!((health.as_str(), error.as_str()), ("up", ""), "{job}");
    }
    let selector = "cim_aligned_scrapes_total{job=\"plain\",result=\"success\"}";
    eventually(PATIENCE, || {
        let moved = prometheus.samples(selector);
        moved.iter().any(|sample| sample.value >= 4.0)
    });
    let log = prometheus.log();
    assert!(
        !log.contains("level=warn") && !log.contains("level=error"),
        "{log}"
    );
}

/// A name that the original fixes and that breaks Prometheus's conventions for names.
const FIXED: &str = "metric_scrape_collector_success counter metrics should have \"_total\" suffix";

#[test]
#[ignore = "integration"]
fn with_promtool_aligned_metrics_have_no_fault_but_those_of_what_was_scraped() {
    let (app, _kube, cim) = scene();
    eventually(PATIENCE, || cim.metric("cim_aligned_snapshots", &[]) >= 2.0);
    let found = faults(&cim, &cim.get("/metrics/aligned").body);
    let mut known = faults(&cim, cim.metrics().as_bytes());
    known.extend(faults(
        &cim,
        &http::get(loopback(app.port()), "/metrics").body,
    ));
    known.insert(FIXED.to_owned());
    let other: Vec<&String> = found.difference(&known).collect();
    assert_eq!(other, Vec::<&String>::new());
    assert!(found.contains(FIXED), "{found:?}");
}

/// Each is a name and what is wrong with it.
fn faults(cim: &Cim, text: &[u8]) -> BTreeSet<String> {
    let path = cim.dir().join("checked.txt");
    std::fs::write(&path, text).unwrap();
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(File::open(&path).unwrap())
        .output()
        .expect("promtool is missing: `make integration-test` says how to get it, or goes without");
    let faults = String::from_utf8(output.stderr).unwrap();
    // 3: only names. 1: what cannot be read.
    assert_eq!(output.status.code(), Some(3), "{faults}");
    faults.lines().map(str::to_owned).collect()
}
