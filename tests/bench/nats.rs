//! `make bench`: CIM's NATS server beside a real nats-server, which the same generator drives in the same run.
//!
//! Subjects are such that CIM takes nothing itself: what is measured is the bare server, in the release binary, with nobody on LOG.
//! Each run starts a server anew; ours and theirs take turns. It prints one JSON line for each run and one table of medians; it fails on
//! messages that do not arrive, never on a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../support/mod.rs"]
mod support;

mod figures;
mod rival;
mod rounds;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use rival::Side;
use rounds::Round;
use traffic::Row;

/// Compares CIM's NATS server with nats-server.
#[derive(Debug, Parser)]
#[command(name = "nats", bin_name = "cargo bench --bench nats --")]
pub struct Arguments {
    /// Only these rows: <publishers>-<subscribers>-<bytes>, as in 1-0-128 (nobody subscribes), 4-4-16k; or request-<bytes>
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each row, on each side
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// Seconds that a run takes a server of about a million messages a second
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The binary to measure, instead of the one of this build
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Further environment of the binary, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Only CIM's server
    #[arg(long)]
    alone: bool,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

const SIZES: [&str; 4] = ["16", "128", "256", "16k"];
const SHAPES: [&str; 5] = ["1-0", "1-1", "1-4", "4-4", "request"];

fn rows(only: &[String]) -> Result<Vec<Row>, String> {
    if !only.is_empty() {
        return only.iter().map(|name| name.parse()).collect();
    }
    let all = SHAPES.iter().flat_map(|shape| {
        let names = SIZES.iter().map(move |size| format!("{shape}-{size}"));
        names.map(|name| name.parse())
    });
    all.collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rows = match rows(&arguments.only) {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut sides = vec![Side::cim(&arguments)];
    if !arguments.alone {
        match Side::nats_server() {
            Ok(side) => sides.push(side),
            Err(error) => println!("nats-server is left out: go cannot be run: {error}"),
        }
    }
    println!(
        "messages of a row are those that arrive, or those published when nobody subscribes; {} CPUs, shared with the generator",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut rounds: Vec<Round> = Vec::new();
    for row in &rows {
        for _ in 0..arguments.repeat {
            for side in &sides {
                eprintln!("running {row} with {} ...", side.name());
                let round = rounds::run(side, row, arguments.seconds);
                println!("{}", round.json());
                rounds.push(round);
            }
        }
    }
    rounds::compare(&rows, &rounds);
    let all_there = rounds.iter().all(Round::is_complete);
    ExitCode::from(u8::from(!all_there))
}
