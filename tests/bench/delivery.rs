//! `make bench`: events and log lines on their way through CIM to a real Kafka and to a TCP collector, beside a bare producer of
//! librdkafka in the same run; and what CIM needs while every sink is down.
//!
//! It prints a table and one JSON line for each row. It fails on lost or damaged records, never on a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod bare;
mod deliver;
mod drain;
mod figures;
#[allow(dead_code, reason = "each bench uses a part")]
mod generator;
mod lines;
mod topic;
#[allow(dead_code, reason = "each bench uses a part")]
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use deliver::Figures;
use lines::Lines;

/// Measures the way of events and log lines to their sinks.
#[derive(Debug, Parser)]
#[command(name = "delivery", bin_name = "cargo bench --bench delivery --")]
pub struct Arguments {
    /// Lines of the rows of log lines and of the bare producer
    #[arg(long, default_value_t = 2_000_000)]
    pub lines: u64,
    /// Events of the row events
    #[arg(long, default_value_t = 200_000)]
    pub events: u64,
    /// Seconds that the latency rows publish, 1,000 a second
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// MiB that are offered while every sink is down
    #[arg(long, default_value_t = 1024)]
    pub offered_mb: u64,
    /// MiB of the backlog that is replayed
    #[arg(long, default_value_t = 200)]
    pub backlog_mb: u64,
    /// Form of the log lines on their sink: text (256 bytes, as the bare producer's) or json
    #[arg(long, default_value = "text")]
    pub log_format: String,
    /// Only these rows
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Row>,
    /// Runs of each row
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// The binary to measure, instead of the one of this build
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Further environment of the binary, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// What cargo passes
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// The rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Bare producer at 1,000 a second: from send to visible
    BareLatency,
    /// Events at 1,000 a second: from publish to visible
    EventLatency,
    /// 256-byte records of a bare producer, flat out
    Bare,
    /// Log lines in mode KAFKA, flat out
    LogsKafka,
    /// Events to Kafka, flat out
    Events,
    /// Log lines in mode TCP, flat out
    LogsTcp,
    /// Events and log lines in mode KAFKA, nobody takes them
    DownKafka,
    /// Events and log lines in mode TCP, nobody takes them
    DownTcp,
    /// As down-kafka, but brokers are connected and stand still, and take it all in the end
    FrozenKafka,
    /// A backlog of log lines, and then a TCP collector
    Replay,
}

impl Row {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Events => "events",
            Self::BareLatency => "bare-latency",
            Self::EventLatency => "event-latency",
            Self::LogsKafka => "logs-kafka",
            Self::LogsTcp => "logs-tcp",
            Self::DownKafka => "down-kafka",
            Self::DownTcp => "down-tcp",
            Self::FrozenKafka => "frozen-kafka",
            Self::Replay => "replay",
        }
    }

    fn needs_kafka(self) -> bool {
        !matches!(
            self,
            Self::LogsTcp | Self::DownKafka | Self::DownTcp | Self::Replay
        )
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (_, event) = Lines::events(1).message(0);
    println!(
        "256-byte lines, {}-byte events; {} CPUs, shared with the broker",
        event.len(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut kafka = None;
    let mut results = Vec::new();
    // Row after row, and all of them again: what is compared runs in the same minute.
    for _ in 0..arguments.repeat {
        for &row in Row::value_variants() {
            if !arguments.only.is_empty() && !arguments.only.contains(&row) {
                continue;
            }
            eprintln!("running {} ...", row.name());
            let figures = deliver::run(row, &arguments, &mut kafka);
            println!("{}", figures.json());
            results.push(figures);
        }
    }
    figures::table(deliver::HEADINGS, results.iter().map(Figures::cells));
    compare(&results);
    let all_there = results.iter().all(Figures::is_complete);
    ExitCode::from(u8::from(!all_there))
}

/// What counts is the distance to the bare producer.
fn compare(results: &[Figures]) {
    let best = |name| {
        let rows = results.iter().filter(|figures| figures.row == name);
        rows.filter_map(Figures::per_s).max_by(f64::total_cmp)
    };
    let p99 = |name| {
        let rows = results.iter().filter(|figures| figures.row == name);
        let all = rows.filter_map(|figures| Some(figures.latency?.p99_ms));
        all.min_by(f64::total_cmp)
    };
    if let (Some(bare), Some(cim)) = (best("bare"), best("logs-kafka")) {
        println!("logs-kafka is {:.0} % of bare", cim / bare * 100.0);
    }
    if let (Some(bare), Some(cim)) = (p99("bare-latency"), p99("event-latency")) {
        println!("p99 of event-latency is {:.1} ms above bare", cim - bare);
    }
}
