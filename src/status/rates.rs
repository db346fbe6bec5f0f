//! How much passed in the last ten minutes: a ring of points, each what came within one step. Reads no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use prometheus::IntCounterVec;
use prometheus::core::Collector;
use serde_json::{Map, Value, json};

use crate::limits::{RATE_POINTS, RATE_STEP};
use crate::metrics::Metrics;

/// What is counted, each since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals([u64; 4]);

/// Their names in the document, in the order of [`Totals`].
const NAMES: [&str; 4] = ["lines", "events", "change_sets", "dropped"];

impl Totals {
    /// As they are now.
    pub fn read(metrics: &Metrics) -> Self {
        let dropped = dropped(metrics).map(|(_, count)| count).sum();
        Self([
            metrics.lines_in.get(),
            metrics.events.stored.get(),
            each(&metrics.changes.change_sets).map(|(_, n)| n).sum(),
            dropped,
        ])
    }

    /// `{"lines": …}`
    pub fn document(self) -> Value {
        let members = NAMES.iter().zip(self.0);
        Value::Object(
            members
                .map(|(name, n)| ((*name).into(), n.into()))
                .collect(),
        )
    }
}

/// What was lost, by what it was and why; lines that wait in a file or in the journal are not.
pub(super) fn dropped(metrics: &Metrics) -> impl Iterator<Item = (String, u64)> {
    let of = |what: &'static str, counters: Vec<(String, u64)>| {
        counters
            .into_iter()
            .map(move |(why, n)| (format!("{what}: {why}"), n))
    };
    let lines = each(metrics.lines_dropped()).collect();
    let events = each(&metrics.events.dropped).collect();
    let external = each(&metrics.external_dropped).collect();
    of("lines", lines)
        .chain(of("events", events))
        .chain(of("external server", external))
}

/// Each value of a counter's one label, with its count.
pub(super) fn each(counters: &IntCounterVec) -> impl Iterator<Item = (String, u64)> {
    let families = counters.collect().into_iter();
    families.flat_map(|mut family| {
        let metrics = family.take_metric().into_iter();
        metrics.map(|metric| {
            // The constant label `pod` is beside it.
            let mut labels = metric.get_label().iter();
            let label = labels.find(|label| label.name() != "pod");
            let label = label.map(|label| label.value().to_owned());
            (
                label.unwrap_or_default(),
                metric.get_counter().get_value() as u64,
            )
        })
    })
}

/// A step of less says nothing of a rate.
const SHORTEST: Duration = Duration::from_secs(1);

/// What came within one step.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// How long the step was.
    took: Duration,
    counts: [u32; 4],
}

/// The points of the last [`RATE_POINTS`] steps.
#[derive(Debug)]
pub struct Rates {
    points: VecDeque<Point>,
    /// The end of the newest one.
    until: Instant,
    /// The same in milliseconds since the epoch.
    until_ms: u64,
    totals: Totals,
}

impl Rates {
    /// Counts what comes from now on.
    pub fn new(totals: Totals, now: Instant, now_ms: u64) -> Self {
        Self {
            points: VecDeque::new(),
            until: now,
            until_ms: now_ms,
            totals,
        }
    }

    /// When the next point is due.
    pub fn due(&self) -> Instant {
        self.until + RATE_STEP
    }

    /// Adds a point; the oldest one goes when there are too many.
    pub fn add(&mut self, totals: Totals, now: Instant, now_ms: u64) {
        if self.points.len() >= RATE_POINTS {
            self.points.pop_front();
        }
        self.points.push_back(self.point(totals, now));
        (self.until, self.until_ms, self.totals) = (now, now_ms, totals);
    }

    /// What came since the last point.
    fn point(&self, totals: Totals, now: Instant) -> Point {
        let mut counts = [0; 4];
        for ((count, new), old) in counts.iter_mut().zip(totals.0).zip(self.totals.0) {
            *count = u32::try_from(new.saturating_sub(old)).unwrap_or(u32::MAX);
        }
        Point {
            took: now.saturating_duration_since(self.until),
            counts,
        }
    }

    /// The points, the oldest first: a list of seconds and one for each of what is counted. The last one is the step that is under
    /// way, unless that has just begun.
    pub fn document(&self, totals: Totals, now: Instant, now_ms: u64) -> Value {
        let last = Some(self.point(totals, now)).filter(|point| point.took >= SHORTEST);
        let until_ms = last.map_or(self.until_ms, |_| now_ms);
        let points: Vec<_> = self.points.iter().copied().chain(last).collect();
        let seconds = |point: &Point| (point.took.as_secs_f64() * 1000.0).round() / 1000.0;
        let mut members = Map::new();
        members.insert("until".into(), until_ms.into());
        let all: Vec<_> = points.iter().map(seconds).collect();
        members.insert("seconds".into(), json!(all));
        for (n, name) in NAMES.iter().enumerate() {
            let series: Vec<_> = points.iter().map(|point| point.counts.get(n)).collect();
            members.insert((*name).into(), json!(series));
        }
        Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::DropReason;

    #[test]
    fn a_point_is_what_came_within_its_step_and_the_oldest_go() {
        let start = Instant::now();
        let at = |step: usize| start + RATE_STEP * u32::try_from(step).unwrap();
        let mut rates = Rates::new(Totals([5, 0, 0, 0]), start, 1000);
        assert_eq!(rates.due(), at(1));
        let soon = start + SHORTEST / 2;
        assert_eq!(
            rates.document(Totals([6, 0, 0, 0]), soon, 1500),
            json!({"until": 1000, "seconds": [], "lines": [], "events": [], "change_sets": [], "dropped": []})
        );
        rates.add(Totals([12, 3, 1, 0]), at(1), 11_000);
        // A thread that was held up for a while.
        let late = at(3) + Duration::from_millis(5);
        rates.add(Totals([12, 4, 1, 9]), late, 31_005);
        let now = Totals([14, 4, 1, 9]);
        assert_eq!(
            rates.document(now, late + 2 * SHORTEST, 33_005),
            json!({"until": 33_005, "seconds": [10.0, 20.005, 2.0], "lines": [7, 0, 2], "events": [3, 1, 0], "change_sets": [1, 0, 0], "dropped": [0, 9, 0]})
        );
        for step in 4..4 + RATE_POINTS {
            rates.add(Totals([step as u64 + 100, 4, 1, 9]), at(step), 0);
        }
        let last = at(3 + RATE_POINTS);
        let document = rates.document(rates.totals, last, 0);
        let lines = document["lines"].as_array().unwrap();
        assert_eq!(lines.len(), RATE_POINTS);
        assert_eq!((&lines[0], &lines[1]), (&json!(92), &json!(1)));
    }

    #[test]
    fn a_count_that_goes_back_or_is_huge_is_no_trouble() {
        let start = Instant::now();
        let mut rates = Rates::new(Totals([5, 0, 0, 0]), start, 0);
        rates.add(Totals([0, u64::MAX, 0, 0]), start, 0);
        let document = rates.document(Totals::default(), start, 0);
        assert_eq!(document["lines"], json!([0]));
        assert_eq!(document["events"], json!([u32::MAX]));
        assert_eq!(document["seconds"], json!([0.0]));
    }

    #[test]
    fn the_totals_are_those_of_the_metrics() {
        let metrics = Metrics::new("p").unwrap();
        metrics.lines_in.inc_by(7);
        metrics.dropped(DropReason::NoSpace).inc_by(2);
        metrics.events.stored.inc_by(3);
        metrics.events.dropped.with_label_values(&["stop"]).inc();
        let external = &metrics.external_dropped;
        external.with_label_values(&["LOG"]).inc_by(4);
        let sets = &metrics.changes.change_sets;
        sets.with_label_values(&["success"]).inc();
        sets.with_label_values(&["failure"]).inc();
        assert_eq!(
            Totals::read(&metrics).document(),
            json!({"lines": 7, "events": 3, "change_sets": 2, "dropped": 7})
        );
        let by: Vec<_> = dropped(&metrics).filter(|(_, n)| *n > 0).collect();
        let expected = [
            ("lines: no_space", 2),
            ("events: stop", 1),
            ("external server: LOG", 4),
        ];
        assert_eq!(by, expected.map(|(what, n)| (what.to_owned(), n)));
    }
}
