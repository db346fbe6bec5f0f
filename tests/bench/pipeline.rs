//! `make bench`: what a log line costs on its way from a publisher into the file.
//!
//! Each row starts the release binary of CIM anew, publishes numbered 256-byte lines, waits until the last one is in
//! the files, and then reads the files back: every line is accounted for. It prints a table and one JSON line for each
//! row; it never fails on a time, only on lost, doubled, reordered or damaged lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod figures;
mod generator;
#[allow(dead_code, reason = "each bench uses a part")]
mod lines;
mod report;
mod row;
mod target;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let rows = match arguments.rows() {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!(
        "256-byte lines; files in {}; {} CPUs",
        arguments.dir().display(),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut results = Vec::new();
    for row in rows {
        for _ in 0..arguments.repeat {
            eprintln!("running {} ...", row.name);
            let result = row::run(&arguments, row.clone());
            println!("{}", result.json());
            results.push(result);
        }
    }
    report::table(&results);
    let all_there = results.iter().all(|result| result.found.is_clean());
    ExitCode::from(u8::from(!all_there))
}
