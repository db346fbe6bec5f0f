//! The original's `/metrics` (`golden/4-metrics`): every series is there, with the same type, labels and buckets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};

use cim::metrics::Metrics;

/// Name -> type, and the samples' names with their labels (`name{labels}`), values left out.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn families(text: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            let fresh = families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
            assert_eq!(fresh, None, "{name} is declared twice");
        } else if !line.starts_with('#') && !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.starts_with(&current), "{series} under {current}");
            let family = families.get_mut(&current).unwrap();
            assert!(family.1.insert(series.to_owned()), "{series} twice");
        }
    }
    families
}

fn golden() -> Families {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/4-metrics/metrics.txt"
    );
    families(&std::fs::read_to_string(path).unwrap())
}

fn ours() -> Families {
    let text = Metrics::new("cnf-0").unwrap().render().unwrap();
    families(&String::from_utf8(text).unwrap())
}

#[test]
fn every_series_of_the_original_is_there() {
    let (golden, ours) = (golden(), ours());
    assert_eq!(golden.len(), 24, "the sample is whole");
    for (name, family) in &golden {
        assert_eq!(ours.get(name), Some(family), "{name}");
    }
}

/// better: the original declares these and never moves them, so that they never appear.
#[test]
fn totals_that_the_original_never_shows() {
    let ours = ours();
    for name in [
        "Total_msg_count",
        "Total_msg_write_to_file",
        "cim_commit_config_push_failure_total",
    ] {
        let series = BTreeSet::from([format!("{name}{{pod=\"cnf-0\"}}")]);
        assert_eq!(ours[name], ("counter".to_owned(), series));
    }
    assert!(!golden().contains_key("Total_msg_count"));
}

/// CONTRACT section 9: label `pod` on each. The process metrics have none, as in the original.
#[test]
fn every_series_names_the_pod() {
    for (name, (_, series)) in ours() {
        if !name.starts_with("process_") {
            assert!(series.iter().all(|s| s.contains("pod=\"cnf-0\"")), "{name}");
        }
    }
}

/// CONTRACT section 9 names TEST too; the sample does not have it.
#[test]
fn subject_test_has_its_series() {
    let ours = ours();
    let log = golden()["cim_nats_LOG_message_size"].1.clone();
    let test: BTreeSet<String> = log.iter().map(|s| s.replace("_LOG_", "_TEST_")).collect();
    assert_eq!(ours["cim_nats_TEST_message_size"].1, test);
    assert!(ours.contains_key("cim_nats_TEST_message_count"));
}

#[test]
fn process_values_are_believable() {
    let text = String::from_utf8(Metrics::new("p").unwrap().render().unwrap()).unwrap();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("{name} ")));
        line.unwrap().parse().unwrap()
    };
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
}
