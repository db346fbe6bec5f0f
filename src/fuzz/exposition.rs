//! What an application says of its metrics.

use super::assert_showable;
use crate::metrics::aligned::{Family, Format, ParseLimits, Problem, Snapshot, parse, render};

/// Families that are always handed out.
const ALWAYS: [&str; 2] = [
    "clock_aligned_metric_exporter_build_info",
    "metric_scrape_collector_success",
];

/// Any bytes as the answer of a port are refused with an error that may be shown, or come out within the bytes that were counted,
/// as a text that is taken again and then says the very same.
pub fn exposition(data: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        match parse(data, format, &ParseLimits::default()) {
            Ok(families) => check(families),
            Err(error) => {
                let text = error.to_string();
                assert_showable(&text);
                assert!(text.len() <= 256, "{} bytes", text.len());
            }
        }
    }
}

fn check(families: Vec<Family>) {
    for family in &families {
        assert!(family.series() > 0 && is_name(family.name()), "{family:?}");
    }
    if families
        .iter()
        .any(|family| ALWAYS.contains(&family.name()))
    {
        return;
    }
    let first = told(families);
    let wide = ParseLimits {
        bytes: usize::MAX,
        series: usize::MAX,
        families: usize::MAX,
    };
    let again = |text: &str| {
        let families = parse(text.as_bytes(), Format::Text, &wide);
        // A stamp and escapes make lines longer.
        if let Err(error) = &families
            && matches!(error.problem, Problem::LineTooLong { .. })
        {
            return None;
        }
        let mut families = families.expect("what CIM hands out is taken again");
        families.retain(|family| !ALWAYS.contains(&family.name()));
        Some(told(families))
    };
    let Some(second) = again(&first) else {
        return;
    };
    assert_eq!(samples(&second), samples(&first));
    // A family whose type was not clear comes out as several.
    assert_eq!(again(&second).as_ref(), Some(&second));
}

fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    name.bytes().all(good) && name.starts_with(|first: char| !first.is_ascii_digit())
}

/// What is handed out.
fn told(families: Vec<Family>) -> String {
    let mut snapshot = Snapshot::new(60_000);
    if snapshot.add(9, families).is_err() {
        return String::new();
    }
    let bytes = snapshot.bytes();
    let always = render(&[Snapshot::new(60_000)]).len();
    let text = render(&[snapshot]);
    assert!(text.len() - always <= bytes, "{} of {bytes}", text.len());
    String::from_utf8(text).expect("UTF-8")
}

/// The lines of the samples, sorted.
fn samples(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .split('\n')
        .filter(|line| !line.starts_with('#'))
        .collect();
    lines.sort_unstable();
    lines
}
