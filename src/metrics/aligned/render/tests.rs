//! Golden folder 11, several ports and times in one text, and the round trip as a property.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::metrics::aligned::{Format, ParseLimits, parse};

const APP: &str =
    include_str!("../../../../tests/golden/11-metrics-aligned/app_endpoint_answer.txt");

fn families(text: &str) -> Vec<Family> {
    parse(text.as_bytes(), Format::Text, &ParseLimits::default()).unwrap()
}

/// A snapshot of the ports, each with its text.
fn snapshot(aligned_ms: u64, ports: &[(u16, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::new(aligned_ms);
    for (port, text) in ports {
        snapshot.add(*port, families(text)).unwrap();
    }
    snapshot
}

/// What is handed out.
fn text(snapshots: &[Snapshot]) -> String {
    String::from_utf8(render(snapshots)).unwrap()
}

/// The lines that `text` has about families whose names begin with `prefix`.
fn about(text: &str, prefix: &str) -> String {
    let name = |line: &str| line.split(' ').nth(2).unwrap_or_default().to_owned();
    let about = |line: &&str| match line.starts_with("# ") {
        true => name(line).starts_with(prefix),
        false => line.starts_with(prefix),
    };
    text.lines()
        .filter(about)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// `text` without the families that are always there.
fn scraped(text: &str) -> String {
    let mut out = text.to_owned();
    for prefix in [
        "clock_aligned_metric_exporter_build_info",
        "metric_scrape_collector_success",
    ] {
        out = out.replace(&about(text, prefix), "");
    }
    out
}

#[test]
fn golden_snapshots_of_the_application_come_out_byte_for_byte() {
    for (golden, times) in [
        (
            include_str!("../../../../tests/golden/11-metrics-aligned/01_one_snapshot.txt"),
            &[1_795_393_535_000][..],
        ),
        (
            include_str!("../../../../tests/golden/11-metrics-aligned/03_two_snapshots.txt"),
            &[1_795_393_540_000, 1_795_393_545_000],
        ),
    ] {
        let snapshots: Vec<_> = times
            .iter()
            .map(|&ms| snapshot(ms, &[(39090, APP)]))
            .collect();
        let ours = text(&snapshots);
        // The original reads the application's milliseconds as seconds (golden README).
        let golden = golden
            .replace("1767225600123\",", "1767225600\",")
            .replace("1767225600123000", "1767225600123");
        assert_eq!(about(&ours, "app_"), about(&golden, "app_"));
        let success = about(&ours, "metric_scrape_collector_success");
        assert_eq!(success, about(&golden, "metric_scrape_collector_success"));
        assert_eq!(success.lines().count(), 3);
    }
}

#[test]
fn with_nothing_new_there_is_the_build_alone() {
    let golden = include_str!(
        "../../../../tests/golden/11-metrics-aligned/02_again_at_once_nothing_new.txt"
    );
    let ours = text(&[]);
    let version = env!("CARGO_PKG_VERSION");
    let golden = golden
        .replace("go1.26.8", "")
        .replace("version=\"\"}", &format!("version=\"{version}\"}}"));
    assert_eq!(
        ours.replace("goversion=\"\"", ""),
        golden.replace("goversion=\"\"", "")
    );
}

#[test]
fn families_of_several_ports_and_times_stand_under_one_help_and_type() {
    let b = "# HELP z last\n# TYPE z gauge\nz{n=\"2\"} 1\nz{n=\"1\"} 2\n# TYPE a counter\na 1\n";
    let c = "# HELP a first\\n\\\\\n# TYPE a counter\na 2\n# HELP z other\n# TYPE z gauge\nz 3\n";
    let ours = text(&[snapshot(1000, &[(2, b), (1, c)]), snapshot(2000, &[(2, b)])]);
    assert_eq!(
        scraped(&ours),
        "# HELP a first\\n\\\\\n# TYPE a counter\n\
         a{aligned_ts=\"1\",source_port=\"2\"} 1 1000\n\
         a{aligned_ts=\"1\",source_port=\"1\"} 2 1000\n\
         a{aligned_ts=\"2\",source_port=\"2\"} 1 2000\n\
         # HELP z last\n# TYPE z gauge\n\
         z{aligned_ts=\"1\",n=\"2\",source_port=\"2\"} 1 1000\n\
         z{aligned_ts=\"1\",n=\"1\",source_port=\"2\"} 2 1000\n\
         z{aligned_ts=\"1\",source_port=\"1\"} 3 1000\n\
         z{aligned_ts=\"2\",n=\"2\",source_port=\"2\"} 1 2000\n\
         z{aligned_ts=\"2\",n=\"1\",source_port=\"2\"} 2 2000\n"
    );
}

#[test]
fn ports_that_say_different_types_make_a_family_untyped() {
    let (b, c) = ("# TYPE a gauge\na 1", "# TYPE a counter\na 1");
    assert!(text(&[snapshot(1000, &[(1, b), (2, c)])]).contains("# TYPE a untyped\n"));
    assert!(
        text(&[snapshot(1000, &[(1, b)]), snapshot(2000, &[(1, "a 1")])])
            .contains("# TYPE a untyped\n")
    );
    assert!(text(&[snapshot(1000, &[(1, b), (2, b)])]).contains("# TYPE a gauge\n"));
}

#[test]
fn a_family_with_the_name_of_another_ones_samples_takes_the_types_of_both() {
    let histogram = "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\n";
    let gauge = "# HELP a_count x\n# TYPE a_count gauge\na_count -1\n";
    let ours = text(&[snapshot(1000, &[(1, histogram), (2, gauge)])]);
    assert_eq!(
        scraped(&ours),
        "# HELP a \n# TYPE a untyped\n\
         a_bucket{aligned_ts=\"1\",source_port=\"1\",le=\"+Inf\"} 1 1000\n\
         a_count{aligned_ts=\"1\",source_port=\"1\"} 1 1000\n\
         a_count{aligned_ts=\"1\",source_port=\"2\"} -1 1000\n"
    );
}

#[test]
fn what_an_application_says_again_with_its_own_timestamp_is_told_once() {
    let again = text(&[
        snapshot(1000, &[(1, "a 1 500\na 2\nb 1"), (2, "a 1 500")]),
        snapshot(2000, &[(1, "a 3 500\na 4\nb 1")]),
        snapshot(3000, &[(1, "a 3 600\na 6 2000")]),
    ]);
    assert_eq!(
        about(&again, "a"),
        "# HELP a \n# TYPE a untyped\n\
         a{aligned_ts=\"0\",source_port=\"1\"} 1 500\n\
         a{aligned_ts=\"1\",source_port=\"1\"} 2 1000\n\
         a{aligned_ts=\"0\",source_port=\"2\"} 1 500\n\
         a{aligned_ts=\"2\",source_port=\"1\"} 4 2000\n\
         a{aligned_ts=\"0\",source_port=\"1\"} 3 600\n"
    );
    assert_eq!(about(&again, "b").lines().count(), 4);
}

#[test]
fn an_application_may_have_the_families_that_are_always_there() {
    let name = "metric_scrape_collector_success";
    let ours = text(&[snapshot(
        1000,
        &[(1, &format!("{name}{{collector=\"x y\"}} 0 7"))],
    )]);
    assert_eq!(
        about(&ours, name),
        format!(
            "# HELP {name} metric_exporter: Whether a collector succeeded.\n# TYPE {name} untyped\n\
             {name}{{aligned_ts=\"0\",collector=\"x y\",source_port=\"1\"}} 0 7\n{name}{{collector=\"metric\"}} 1\n"
        )
    );
}

/// A sample: the suffix of its name, its labels, its value and its own timestamp.
type Sample = (&'static str, BTreeMap<String, String>, f64, Option<i64>);

/// A family as an application could have it.
#[derive(Debug, Clone)]
struct Model {
    help: String,
    kind: Kind,
    samples: Vec<Sample>,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (-5i32..1000).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::NAN),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let kinds = prop_oneof![
        Just((Kind::Counter, &[""][..])),
        Just((Kind::Gauge, &[""][..])),
        Just((Kind::Untyped, &[""][..])),
        Just((Kind::Summary, &["", "_sum", "_count"][..])),
        Just((Kind::Histogram, &["_bucket", "_sum", "_count"][..])),
    ];
    let label = (
        "[a-zA-Z_][a-zA-Z0-9_]{0,6}|le|quantile",
        "[\\PC\n\\\\\" ,={}#\0\t\r]{0,8}",
    );
    let labels = prop::collection::btree_map(label.0, label.1, 0..4);
    let samples = move |suffixes: &'static [&'static str]| {
        let time = prop::option::weighted(0.2, -5_000_000i64..5_000_000_000_000);
        let sample = (
            prop::sample::select(suffixes),
            labels.clone(),
            value(),
            time,
        );
        prop::collection::vec(sample, 1..6)
    };
    let help = "[\\PC\n\\\\\"]{0,12}";
    (kinds, help).prop_flat_map(move |((kind, suffixes), help)| {
        samples(suffixes).prop_map(move |samples| Model {
            // Blanks before it are not part of it.
            help: help.trim_start_matches(' ').to_owned(),
            kind,
            samples,
        })
    })
}

/// As the model has no number with an exponent, every other one is written with one.
fn write_value(value: f64, exponent: bool) -> String {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        _ if exponent => format!("{value:E}"),
        _ => format!("{value}"),
    }
}

fn escaped(text: &str, quote: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quote {
        text.replace('"', "\\\"")
    } else {
        text
    }
}

/// The text of the families, with `gap` between words.
fn write(models: &BTreeMap<String, Model>, gap: &str) -> String {
    let mut out = String::new();
    for (name, model) in models {
        let (help, kind) = (escaped(&model.help, false), model.kind.as_str());
        out += &format!("# HELP {name}{gap}{help}\n# TYPE{gap}{name} {kind}\n");
        for (suffix, labels, value, time) in &model.samples {
            out += &format!("{name}{suffix}");
            if !labels.is_empty() {
                let pairs = labels
                    .iter()
                    .map(|(name, value)| format!("{name}={gap}\"{}\"", escaped(value, true)));
                out += &format!("{{{}}}", pairs.collect::<Vec<_>>().join(&format!("{gap},")));
            }
            out += &format!("{gap}{}", write_value(*value, gap == "\t"));
            if let Some(time) = time {
                out += &format!("{gap}{time}");
            }
            out.push('\n');
        }
    }
    out
}

/// Name, help, type and samples (name, labels, value and timestamp) of each family in a text as it is handed out.
type Read = Vec<(
    String,
    String,
    String,
    Vec<(String, BTreeMap<String, String>, String, i64)>,
)>;

/// Reads what is handed out, and nothing else: it shares no code with the parser.
fn read(text: &str) -> Read {
    let unescaped = |text: &str| {
        let text = text.replace("\\\\", "\u{1}").replace("\\n", "\n");
        text.replace("\\\"", "\"").replace('\u{1}', "\\")
    };
    let mut out: Read = Vec::new();
    for line in text.split_terminator('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            out.push((name.into(), unescaped(help), String::new(), Vec::new()));
            continue;
        }
        let family = out.last_mut().unwrap();
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family.2 = kind.strip_prefix(&format!("{} ", family.0)).unwrap().into();
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, rest) = rest.rsplit_once("} ").unwrap();
        let (value, time) = rest.split_once(' ').unwrap();
        let mut pairs = BTreeMap::new();
        let mut labels = labels;
        while let Some((label, rest)) = labels.split_once("=\"") {
            let mut end = 0;
            while !rest[end..].starts_with('"') {
                end += if rest[end..].starts_with('\\') { 2 } else { 1 };
                while !rest.is_char_boundary(end) {
                    end += 1;
                }
            }
            pairs.insert(
                label.trim_start_matches(',').into(),
                unescaped(&rest[..end]),
            );
            labels = &rest[end + 1..];
        }
        family
            .3
            .push((name.into(), pairs, value.into(), time.parse().unwrap()));
    }
    out
}

proptest! {
    #[test]
    fn what_an_application_says_comes_out_with_the_stamp(
        models in prop::collection::btree_map("[a-zA-Z_:][a-zA-Z0-9:]{0,8}", model(), 0..5),
        gap in prop::sample::select(&[" ", "\t", "  \t "][..]),
    ) {
        let written = write(&models, gap);
        let snapshot = snapshot(60_000, &[(9, &written)]);
        let bytes = snapshot.bytes();
        let ours = scraped(&text(&[snapshot]));
        prop_assert!(ours.len() <= bytes, "{} of {bytes}", ours.len());
        let mut wanted: Read = Vec::new();
        for (name, model) in models {
            let mut samples: Vec<(String, BTreeMap<_, _>, _, _)> = Vec::new();
            for (suffix, mut labels, value, time) in model.samples {
                let time = time.unwrap_or(60_000);
                labels.insert("source_port".into(), "9".into());
                labels.insert("aligned_ts".into(), time.div_euclid(1000).to_string());
                let sample = (format!("{name}{suffix}"), labels, value, time);
                if !samples.iter().any(|other| (&other.0, &other.1, other.3) == (&sample.0, &sample.1, sample.3)) {
                    samples.push(sample);
                }
            }
            let samples = samples.into_iter().map(|(name, labels, value, time)| {
                (name, labels, write_value(value, false), time)
            });
            wanted.push((name, model.help, model.kind.as_str().into(), samples.collect()));
        }
        let mut ours = read(&ours);
        for (.., samples) in &mut ours {
            for (_, _, value, _) in samples {
                *value = write_value(value.parse().unwrap(), false);
            }
        }
        prop_assert_eq!(ours, wanted);
    }

    #[test]
    fn any_bytes_are_refused_or_come_out_as_a_text_that_is_taken_again(data: Vec<u8>) {
        crate::fuzz::exposition(&data);
    }

    #[test]
    fn words_of_the_format_in_any_order_are_refused_or_come_out_as_a_text_that_is_taken_again(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..40),
    ) {
        crate::fuzz::exposition(words.concat().as_bytes());
    }

    #[test]
    fn a_text_with_a_few_changes_is_refused_or_comes_out_as_a_text_that_is_taken_again(
        models in prop::collection::btree_map("[ab](_count|_sum|_total)?", model(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 0..4),
    ) {
        let mut data = write(&models, " ").into_bytes();
        for (at, byte, change) in changes {
            let at = at.index(data.len());
            match change {
                0 => data[at] = byte,
                1 => data.insert(at, byte),
                _ => drop(data.remove(at)),
            }
            if data.is_empty() {
                break;
            }
        }
        crate::fuzz::exposition(&data);
    }
}

const WORDS: &[&str] = &[
    "a",
    "a_count",
    "a_sum",
    "a_total",
    "b",
    "# TYPE ",
    "# HELP ",
    "# EOF",
    " histogram",
    " counter",
    " summary",
    " gaugehistogram",
    " info",
    "{",
    "}",
    "le=\"1\"",
    "\"a.b\"",
    "b=\"\\n\\\"\\x\"",
    "source_port=\"1\"",
    ",",
    " 1",
    " 2",
    " NaN",
    " 60000",
    " -1.5",
    " # {",
    " ",
    "\n",
    "\n",
    "\n",
    "\n",
    "\na 1\n",
    "\na_count{} 2\n",
    "\n# TYPE a histogram\n",
];
