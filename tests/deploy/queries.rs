//! PromQL, as much of it as alerts and dashboard use: which series a query names, by which labels it picks and groups them, and whether
//! CIM has those.

use std::collections::BTreeSet;

use cim::metrics::Metrics;

use super::manifest::text;
use crate::support::{Cim, Options, metrics};

/// What a query names.
#[derive(Debug, Default)]
pub struct Query {
    /// Series, and the labels by which each is picked.
    pub series: Vec<(String, Vec<String>)>,
    /// Labels in `by (…)`, `without (…)` and `on (…)`.
    pub grouped: BTreeSet<String>,
}

const GROUPING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
const WORDS: [&str; 9] = [
    "and", "or", "unless", "offset", "bool", "sum", "min", "max", "count",
];

impl Query {
    #[track_caller]
    pub fn read(expression: &str) -> Self {
        let mut query = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_:.".contains(c)));
            let (word, after) = rest.split_at(word.unwrap_or(rest.len()));
            rest = match first {
                '"' => closed(rest, '"').1,
                '[' => closed(rest, ']').1,
                '{' => {
                    let (matchers, after) = closed(rest, '}');
                    let (_, labels) = query.series.last_mut().expect("a series before {");
                    *labels = names_of_matchers(matchers);
                    after
                }
                // A number or a time.
                '0'..='9' => after,
                _ if word.is_empty() => &rest[first.len_utf8()..],
                _ => {
                    let behind = after.trim_start();
                    if GROUPING.contains(&word) {
                        let (labels, after) = closed(behind, ')');
                        let labels = labels.split(',').map(|label| label.trim().to_owned());
                        query
                            .grouped
                            .extend(labels.filter(|label| !label.is_empty()));
                        after
                    } else {
                        if !behind.starts_with('(') && !WORDS.contains(&word) {
                            query.series.push((word.to_owned(), Vec::new()));
                        }
                        after
                    }
                }
            };
        }
        assert!(!query.series.is_empty(), "{expression}");
        query
    }
}

/// The text after the first character up to `end`, and what follows; no `end` within quotes counts.
#[track_caller]
fn closed(text: &str, end: char) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == end && !quoted {
            return (&text[1..at], &text[at + c.len_utf8()..]);
        }
        quoted ^= c == '"';
    }
    panic!("{text}: no {end}");
}

fn names_of_matchers(matchers: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = matchers;
    while let Some((name, after)) = rest.split_once(['=', '!']) {
        names.push(name.trim_matches([',', ' ']).to_owned());
        let value = after.find('"').expect("a value");
        rest = closed(&after[value..], '"').1;
    }
    names
}

/// What CIM's `/metrics` has, and what Prometheus puts beside it.
pub struct Known {
    names: BTreeSet<String>,
    sources: String,
}

/// Of the scrape configuration, and CIM's own.
const TARGET_LABELS: [&str; 5] = ["job", "instance", "namespace", "pod", "le"];

impl Known {
    /// From a running CIM; series without a value yet have no line there, but are declared.
    pub fn read() -> Self {
        let cim = Cim::start(Options::new());
        let samples = metrics::samples(&cim.metrics());
        let mut names: BTreeSet<_> = samples.into_iter().map(|sample| sample.name).collect();
        names.extend(Metrics::new("p").unwrap().names().iter().cloned());
        names.extend(["up", "ALERTS"].map(str::to_owned));
        let files = ["mod", "config", "delivery", "runtime"];
        let sources = files.map(|file| text(&format!("src/metrics/{file}.rs")));
        Self {
            names,
            sources: sources.concat(),
        }
    }

    /// The series itself has this label, as its declaration says.
    fn is_own_label(&self, series: &str, label: &str) -> bool {
        let declared = self.sources.split_once(&format!("\"{series}\""));
        let (_, declaration) = declared.unwrap_or_default();
        let declaration = declaration.split(")?").next().unwrap();
        declaration.contains(&format!("\"{label}\""))
    }

    fn has_label(&self, series: &str, label: &str) -> bool {
        TARGET_LABELS.contains(&label)
            || (series == "ALERTS" && ["alertname", "alertstate"].contains(&label))
            || self.is_own_label(series, label)
    }

    /// Every series of the query is there, with the labels that it is picked by.
    #[track_caller]
    pub fn check(&self, expression: &str) -> Query {
        let query = Query::read(expression);
        for (series, labels) in &query.series {
            assert!(self.names.contains(series), "{series} in {expression}");
            for label in labels {
                assert!(
                    self.has_label(series, label),
                    "{series} has no {label}: {expression}"
                );
            }
        }
        for label in &query.grouped {
            let has = |(series, _): &(String, _)| self.has_label(series, label);
            assert!(query.series.iter().any(has), "no {label} in {expression}");
        }
        query
    }

    /// A text such as `{{ $labels.reason }}` or `{{reason}}` names labels that the query gives.
    #[track_caller]
    pub fn check_labels(&self, expression: &str, query: &Query, labels: &[String]) {
        for label in labels {
            let given = match query.grouped.is_empty() {
                true => query.series.iter().any(|(s, _)| self.has_label(s, label)),
                false => query.grouped.contains(label),
            };
            assert!(given, "{expression} gives no {label}");
        }
    }
}

#[test]
fn a_query_is_taken_apart() {
    let query = Query::read(
        r#"sum by (pod, reason) (rate(a_total{x=~"b{c}",y!="d,e"}[5m])) / 2e3 or b_bytes > 10 * 1024 unless c offset 10m"#,
    );
    let labels = |names: &[&str]| {
        names
            .iter()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
    };
    let expected = [
        ("a_total", labels(&["x", "y"])),
        ("b_bytes", labels(&[])),
        ("c", labels(&[])),
    ];
    assert_eq!(
        query.series,
        expected.map(|(name, labels)| (name.to_owned(), labels))
    );
    assert!(query.grouped.into_iter().eq(["pod", "reason"]));
}
