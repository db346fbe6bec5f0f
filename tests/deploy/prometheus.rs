//! The scrape configuration and the alerts: their series are there, each alert has its chapter, and Prometheus's own tool takes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::dashboard;
use super::manifest::{documents, list, text, with};
use super::queries::Known;

const RULES: &str = "deploy/prometheus/rules.yaml";
const TESTS: &str = "deploy/prometheus/rules_test.yaml";
const RUNBOOK: &str = "docs/operations.md";

fn alerts() -> Vec<Value> {
    let rules = documents(RULES).remove(0);
    let groups = list(&rules["groups"]).iter();
    groups
        .flat_map(|group| list(&group["rules"]).to_vec())
        .collect()
}

/// `reason` of `{{ $labels.reason }}`.
fn labels_in(text: &str) -> Vec<String> {
    let places = text.split("$labels.").skip(1);
    let name = |place: &str| {
        let end = place.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        place[..end.unwrap_or(place.len())].to_owned()
    };
    places.map(name).collect()
}

#[test]
fn every_alert_asks_for_series_that_cim_has_and_says_what_to_do() {
    let known = Known::read();
    let runbook = text(RUNBOOK);
    let chapters = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### Cim"));
    let chapters: BTreeSet<_> = chapters.map(|name| format!("Cim{name}")).collect();
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let member = |pointer: &str| {
            let value = alert.pointer(pointer).and_then(Value::as_str);
            value
                .unwrap_or_else(|| panic!("no {pointer} in {alert}"))
                .to_owned()
        };
        let name = member("/alert");
        let expression = member("/expr");
        let query = known.check(&expression);
        for annotation in ["summary", "description"] {
            let text = member(&format!("/annotations/{annotation}"));
            known.check_labels(&expression, &query, &labels_in(&text));
        }
        let severity = member("/labels/severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity.as_str()),
            "{name}"
        );
        // As a heading's anchor is made: in lower case.
        let anchor = format!("{RUNBOOK}#{}", name.to_lowercase());
        assert_eq!(member("/annotations/runbook_url"), anchor);
        assert!(names.insert(name));
    }
    assert_eq!(
        names, chapters,
        "each alert has a chapter in {RUNBOOK}, and each chapter an alert"
    );
}

#[test]
fn every_alert_is_tried() {
    let tests = documents(TESTS).remove(0);
    let tests = list(&tests["tests"]);
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let test = with(tests, "name", name);
        let samples = list(&test["promql_expr_test"]).iter();
        let fires = samples.map(|one| list(&one["exp_samples"]).len());
        assert!(fires.eq([1, 0]), "{name} fires once, and once it does not");
    }
}

#[test]
fn prometheus_finds_the_port_and_keeps_the_labels_that_alerts_and_dashboard_use() {
    let config = documents("deploy/prometheus/scrape.yaml").remove(0);
    assert_eq!(config["rule_files"][0], "rules.yaml");
    let jobs = list(&config["scrape_configs"]);
    let cim = with(jobs, "job_name", "cim");
    let aligned = with(jobs, "job_name", "cim-aligned");
    assert_eq!(jobs.len(), 2);
    for job in jobs {
        assert_eq!(job["honor_labels"], true, "CIM's own label pod stands");
        let rules = list(&job["relabel_configs"]);
        assert_eq!(
            rules[0]["regex"], "cim-metrics",
            "the port of the manifests"
        );
        for label in ["namespace", "pod"] {
            with(rules, "target_label", label);
        }
    }
    assert!(cim["metrics_path"].is_null(), "/metrics");
    assert_eq!(aligned["metrics_path"], "/metrics/aligned");
    assert_eq!(aligned["params"]["snapshot"][0], "1");
}

/// Runs promtool in a folder with the rules; panics when it is not content.
#[track_caller]
fn promtool(folder: &Path, arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("promtool is missing: `make integration-test` says how to get it, or goes without");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
#[ignore = "integration"]
fn with_promtool_rules_scrape_configuration_and_queries_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("rules.yaml", &text(RULES));
    put("rules_test.yaml", &text(TESTS));
    promtool(dir.path(), &["check", "rules", "rules.yaml"]);
    promtool(dir.path(), &["test", "rules", "rules_test.yaml"]);

    // Debian's promtool knows no discovery in Kubernetes.
    let scrape = text("deploy/prometheus/scrape.yaml");
    let discovery = "kubernetes_sd_configs: [{role: pod}]";
    assert_eq!(scrape.matches(discovery).count(), 2);
    let fixed = "static_configs: [{targets: ['127.0.0.1:6061']}]";
    put("prometheus.yml", &scrape.replace(discovery, fixed));
    promtool(dir.path(), &["check", "config", "prometheus.yml"]);

    let queries: Vec<_> = dashboard::queries()
        .iter()
        .enumerate()
        .map(|(n, query)| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h");
            serde_json::json!({"record": format!("query:{n}"), "expr": query})
        })
        .collect();
    // YAML takes JSON.
    let rules = serde_json::json!({"groups": [{"name": "dashboard", "rules": queries}]});
    put("dashboard.yaml", &rules.to_string());
    promtool(dir.path(), &["check", "rules", "dashboard.yaml"]);
}
