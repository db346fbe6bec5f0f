//! Percentiles, and how figures are printed.

use serde_json::{Value, json};

/// Publish to readable where the line goes.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "each bench uses a part")]
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub lines: usize,
}

impl Latency {
    /// The percentiles of `nanos`; `None` when there are none.
    pub fn of(mut nanos: Vec<u64>) -> Option<Self> {
        nanos.sort_unstable();
        let at = |percent: usize| {
            let index = (nanos.len() * percent / 100).min(nanos.len().checked_sub(1)?);
            Some(nanos[index] as f64 / 1e6)
        };
        Some(Self {
            p50_ms: at(50)?,
            p99_ms: at(99)?,
            max_ms: at(100)?,
            lines: nanos.len(),
        })
    }
}

/// To so many digits.
pub fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    json!((value * scale).round() / scale)
}

/// Prints a table.
pub fn table<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<_> = std::iter::once(headings.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    println!();
    for row in &rows {
        let cells: Vec<_> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("{cell:>0$}", width(column)))
            .collect();
        println!("{}", cells.join("  "));
    }
}
