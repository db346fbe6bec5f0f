//! The Grafana dashboard: what of its schema can be checked without Grafana, and that every query has series.

use std::collections::BTreeSet;

use serde_json::Value;

use super::manifest::{list, text};
use super::queries::Known;

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/cim.json")).unwrap()
}

/// Its panels that show something.
fn panels() -> Vec<Value> {
    let panels = list(&dashboard()["panels"]).to_vec().into_iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// Every query, annotations included.
pub fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let annotations = list(&dashboard["annotations"]["list"]).to_vec();
    let targets = panels()
        .into_iter()
        .flat_map(|panel| list(&panel["targets"]).to_vec());
    let queries = targets.chain(annotations);
    queries
        .map(|query| query["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_query_of_the_dashboard_has_series_and_the_labels_of_its_legend() {
    let known = Known::read();
    for panel in panels() {
        for target in list(&panel["targets"]) {
            let expression = target["expr"].as_str().unwrap();
            let query = known.check(expression);
            let legend = target["legendFormat"].as_str().unwrap();
            let labels: Vec<_> = legend
                .split("{{")
                .skip(1)
                .map(|rest| rest.split("}}").next().unwrap().trim().to_owned())
                .collect();
            known.check_labels(expression, &query, &labels);
        }
    }
    for query in queries() {
        known.check(&query);
        // What is chosen above the dashboard holds for every panel.
        assert!(
            query.contains(r#"namespace=~"$namespace",pod=~"$pod""#),
            "{query}"
        );
    }
}

#[test]
fn the_dashboard_has_the_members_that_grafana_wants_and_panels_that_do_not_overlap() {
    let dashboard = dashboard();
    for member in ["uid", "title", "timezone", "refresh"] {
        assert!(dashboard[member].is_string(), "{member}");
    }
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(dashboard["id"].is_null(), "Grafana gives the id");
    let variables: BTreeSet<_> = list(&dashboard["templating"]["list"])
        .iter()
        .map(|variable| variable["name"].as_str().unwrap().to_owned())
        .collect();
    let of_grafana = ["__rate_interval", "__range", "__all"];
    for used in dashboard.to_string().split('$').skip(1) {
        let used = used.trim_start_matches('{');
        let end = used
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap();
        let (name, _) = used.split_at(end);
        assert!(
            variables.contains(name) || of_grafana.contains(&name),
            "${name}"
        );
    }
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let kind = panel["type"].as_str().unwrap();
        assert!(
            ["stat", "state-timeline", "timeseries"].contains(&kind),
            "{title}"
        );
        assert!(panel["description"].is_string(), "{title}");
        assert!(panel["fieldConfig"]["overrides"].is_array(), "{title}");
        assert!(panel["fieldConfig"]["defaults"].is_object(), "{title}");
        assert!(panel["options"].is_object(), "{title}");
        let mut letters = BTreeSet::new();
        assert!(!list(&panel["targets"]).is_empty(), "{title}");
        for target in list(&panel["targets"]) {
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}");
            for source in [&panel["datasource"], &target["datasource"]] {
                assert_eq!(source["type"], "prometheus", "{title}");
                assert_eq!(source["uid"], "${datasource}", "{title}");
            }
        }
    }
}
