//! The figures of a row, as JSON and in a table.

use std::time::Duration;

use serde_json::{Value, json};

use crate::arguments::Row;
use crate::figures::{Latency, rounded};
use crate::verify::Found;

/// What a row measured.
#[derive(Debug)]
pub struct Outcome {
    pub row: Row,
    pub sent: u64,
    pub found: Found,
    /// From the first publish to the last line in the file.
    pub took: Duration,
    /// From the first publish to the last write of the generator.
    pub published_in: Duration,
    /// The final PINGs were answered.
    pub answered: bool,
    /// User and system time of the server.
    pub cpu: Option<Duration>,
    /// The same of the generator.
    pub generator_cpu: Option<Duration>,
    pub idle_kib: Option<u64>,
    pub peak_kib: Option<u64>,
    pub start: Option<Duration>,
    pub latency: Option<Latency>,
}

fn mib(kib: Option<u64>) -> Option<f64> {
    kib.map(|kib| kib as f64 / 1024.0)
}

impl Outcome {
    fn lines_per_s(&self) -> f64 {
        self.found.written as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn published_per_s(&self) -> f64 {
        self.sent as f64 / self.published_in.as_secs_f64().max(1e-9)
    }

    /// CPU seconds of the server for each million lines written.
    fn cpu_per_million(&self) -> Option<f64> {
        let millions = self.found.written as f64 / 1e6;
        let cpu = self.cpu.filter(|_| millions > 0.0)?;
        Some(cpu.as_secs_f64() / millions)
    }

    pub fn json(&self) -> Value {
        let number = |value: Option<f64>, digits| value.map(|value| rounded(value, digits));
        let millis = |time: Option<Duration>| number(time.map(|time| time.as_secs_f64() * 1e3), 1);
        json!({
            "row": self.row.name,
            "connections": self.row.connections,
            "rate": self.row.rate,
            "sent": self.sent,
            "written": self.found.written,
            "lost": self.found.lost,
            "doubled": self.found.doubled,
            "reordered": self.found.reordered,
            "damaged": self.found.damaged,
            "answered": self.answered,
            "lines_per_s": rounded(self.lines_per_s(), 0),
            "published_per_s": rounded(self.published_per_s(), 0),
            "cpu_s": number(self.cpu.map(|cpu| cpu.as_secs_f64()), 2),
            "cpu_s_per_million": number(self.cpu_per_million(), 3),
            "generator_cpu_s": number(self.generator_cpu.map(|cpu| cpu.as_secs_f64()), 2),
            "idle_mib": number(mib(self.idle_kib), 1),
            "peak_mib": number(mib(self.peak_kib), 1),
            "start_ms": millis(self.start),
            "latency_p50_ms": number(self.latency.map(|latency| latency.p50_ms), 2),
            "latency_p99_ms": number(self.latency.map(|latency| latency.p99_ms), 2),
            "latency_max_ms": number(self.latency.map(|latency| latency.max_ms), 2),
            "latency_lines": self.latency.map(|latency| latency.lines),
        })
    }

    fn cells(&self) -> [String; 14] {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("-".into(), |value| format!("{value:.digits$}"))
        };
        [
            self.row.name.clone(),
            self.sent.to_string(),
            self.found.written.to_string(),
            self.found.lost.to_string(),
            self.found.doubled.to_string(),
            self.found.reordered.to_string(),
            self.found.damaged.to_string(),
            format!("{:.0}", self.lines_per_s()),
            number(self.cpu_per_million(), 2),
            number(mib(self.idle_kib), 1),
            number(mib(self.peak_kib), 1),
            number(self.start.map(|start| start.as_secs_f64() * 1e3), 0),
            number(self.latency.map(|latency| latency.p50_ms), 1),
            number(self.latency.map(|latency| latency.p99_ms), 1),
        ]
    }
}

const HEADINGS: [&str; 14] = [
    "row",
    "sent",
    "written",
    "lost",
    "doubled",
    "reordered",
    "damaged",
    "lines/s",
    "CPU s/M",
    "idle MiB",
    "peak MiB",
    "start ms",
    "p50 ms",
    "p99 ms",
];

/// Prints the table.
pub fn table(outcomes: &[Outcome]) {
    crate::figures::table(HEADINGS, outcomes.iter().map(Outcome::cells));
}
