//! One run of a row on one side, and what the runs of both say together.

use std::time::Duration;

use serde_json::{Value, json};

use crate::figures::{self, Latency, rounded};
use crate::rival::Side;
use crate::support::proc::cpu;
use crate::traffic::{Outcome, Row};

/// What a run measured.
pub struct Round {
    row: String,
    is_cim: bool,
    expected: u64,
    arrived: u64,
    took: Duration,
    /// User and system time of the server.
    cpu: Duration,
    /// The same of the generator.
    generator_cpu: Duration,
    /// CPU time of everything else on this machine meanwhile.
    others_cpu: Duration,
    idle_kib: u64,
    peak_kib: u64,
    latency: Option<Latency>,
}

/// CPU time of everything on this machine, to the clock tick.
fn all_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let mut times = stat.split_whitespace().skip(1).map(|time| {
        let ticks: u64 = time.parse().unwrap();
        ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
    });
    // user nice system idle iowait irq softirq steal
    let mut busy = 0;
    for is_busy in [true, true, true, false, false, true, true, true] {
        let time = times.next().unwrap_or(0);
        busy += if is_busy { time } else { 0 };
    }
    Duration::from_micros(busy)
}

/// Starts a server for it, runs it and ends the server.
pub fn run(side: &Side, row: &Row, seconds: f64) -> Round {
    let server = side.start();
    let own = || cpu(std::process::id()).unwrap();
    let before = (server.usage(), own(), all_cpu());
    let Outcome {
        expected,
        arrived,
        took,
        latencies,
    } = row.run(server.address, seconds);
    let after = (server.usage(), own(), all_cpu());
    let cpu = after.0.cpu - before.0.cpu;
    let generator_cpu = after.1 - before.1;
    Round {
        row: row.to_string(),
        is_cim: side.is_cim(),
        expected,
        arrived,
        took,
        cpu,
        generator_cpu,
        others_cpu: (after.2 - before.2).saturating_sub(cpu + generator_cpu),
        idle_kib: server.idle_kib,
        peak_kib: after.0.peak_kib,
        latency: Latency::of(latencies),
    }
}

impl Round {
    pub fn is_complete(&self) -> bool {
        self.arrived == self.expected
    }

    fn per_s(&self) -> f64 {
        self.arrived as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// CPU seconds of the server for each million messages.
    fn cpu_per_million(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.arrived.max(1) as f64
    }

    pub fn json(&self) -> Value {
        let seconds = |time: Duration| rounded(time.as_secs_f64(), 3);
        let micros = |ms: fn(Latency) -> f64| self.latency.map(|l| rounded(ms(l) * 1e3, 1));
        json!({
            "row": self.row,
            "server": if self.is_cim { "cim" } else { "nats-server" },
            "expected": self.expected,
            "arrived": self.arrived,
            "took_s": seconds(self.took),
            "messages_per_s": rounded(self.per_s(), 0),
            "cpu_s": seconds(self.cpu),
            "cpu_s_per_million": rounded(self.cpu_per_million(), 3),
            "generator_cpu_s": seconds(self.generator_cpu),
            "others_cpu_s": seconds(self.others_cpu),
            "idle_mib": rounded(self.idle_kib as f64 / 1024.0, 1),
            "peak_mib": rounded(self.peak_kib as f64 / 1024.0, 1),
            "latency_p50_us": micros(|l| l.p50_ms),
            "latency_p99_us": micros(|l| l.p99_ms),
            "latency_max_us": micros(|l| l.max_ms),
        })
    }
}

/// The medians of one row on one side.
struct Medians {
    lost: u64,
    per_s: f64,
    cpu_per_million: f64,
    idle_mib: f64,
    peak_mib: f64,
    latency_us: Option<(f64, f64)>,
}

impl Medians {
    /// `None` without a run.
    fn of(row: &str, is_cim: bool, rounds: &[Round]) -> Option<Self> {
        let is_meant = |round: &&Round| round.row == row && round.is_cim == is_cim;
        let mine: Vec<_> = rounds.iter().filter(is_meant).collect();
        let median = |of: &dyn Fn(&Round) -> Option<f64>| {
            let mut values: Vec<f64> = mine.iter().filter_map(|&round| of(round)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let micros = |ms: fn(Latency) -> f64| median(&|round| Some(ms(round.latency?) * 1e3));
        Some(Self {
            lost: mine.iter().map(|r| r.expected - r.arrived).sum(),
            per_s: median(&|round| Some(round.per_s()))?,
            cpu_per_million: median(&|round| Some(round.cpu_per_million()))?,
            idle_mib: median(&|round| Some(round.idle_kib as f64 / 1024.0))?,
            peak_mib: median(&|round| Some(round.peak_kib as f64 / 1024.0))?,
            latency_us: micros(|l| l.p50_ms).zip(micros(|l| l.p99_ms)),
        })
    }
}

const HEADINGS: [&str; 10] = [
    "row",
    "server",
    "messages/s",
    "ratio",
    "CPU s/M",
    "ratio",
    "idle MiB",
    "peak MiB",
    "p50 us",
    "p99 us",
];

/// Prints the table: medians, and how many times theirs ours is.
pub fn compare(rows: &[Row], rounds: &[Round]) {
    let mut lines = Vec::new();
    for row in rows {
        let name = row.to_string();
        let ours = Medians::of(&name, true, rounds);
        let theirs = Medians::of(&name, false, rounds);
        for (server, one) in [("cim", &ours), ("nats-server", &theirs)] {
            let Some(one) = one else { continue };
            let ratio = |of: fn(&Medians) -> f64| match &theirs {
                Some(theirs) if server == "cim" => format!("{:.2}", of(one) / of(theirs)),
                _ => String::new(),
            };
            let micros = |of: fn((f64, f64)) -> f64| {
                one.latency_us
                    .map_or(String::new(), |latency| format!("{:.0}", of(latency)))
            };
            let lost = match one.lost {
                0 => String::new(),
                lost => format!(" ({lost} lost)"),
            };
            lines.push([
                format!("{name}{lost}"),
                server.to_owned(),
                format!("{:.0}", one.per_s),
                ratio(|m| m.per_s),
                format!("{:.3}", one.cpu_per_million),
                ratio(|m| m.cpu_per_million),
                format!("{:.1}", one.idle_mib),
                format!("{:.1}", one.peak_mib),
                micros(|l| l.0),
                micros(|l| l.1),
            ]);
        }
    }
    figures::table(HEADINGS, lines.into_iter());
}
