//! `cim history`: the last change sets of a running CIM, through its operations API.

use std::fmt::Write as _;
use std::io::{self, Write};

use chrono::DateTime;
use clap::Args;
use serde_json::Value;

use super::Exit;
use super::operations::{NoAnswer, NotCim, Operations, OperationsArgs};
use crate::http::HISTORY_PATH;
use crate::settings::problem::escaped;

/// Bytes of the answer: a hundred entries with keys of the largest size.
const ANSWER_BYTES: u64 = 1 << 20;

/// `cim history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Where CIM is.
    #[command(flatten)]
    pub operations: OperationsArgs,
    /// The answer as it is, JSON
    #[arg(long)]
    pub json: bool,
}

/// Why there is no history to show.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Nobody listens, or it is no CIM.
    #[error(transparent)]
    NoServer(#[from] NoAnswer),
    /// What answers is no CIM.
    #[error(transparent)]
    NotCim(#[from] NotCim),
}

impl HistoryError {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        Exit::NoServer
    }
}

/// Asks and prints.
///
/// # Errors
/// Nobody answers, or not as CIM does.
pub fn run(args: &HistoryArgs) -> Result<(), HistoryError> {
    let operations = Operations::new(&args.operations);
    let text = match operations.ask(HISTORY_PATH, None, ANSWER_BYTES)? {
        (200, text) => text,
        (status, _) => return Err(operations.no_answer(ureq::Error::StatusCode(status)).into()),
    };
    let shown = if args.json {
        Some(format!("{text}\n"))
    } else {
        serde_json::from_str(&text).ok().and_then(|v| table(&v))
    };
    let shown = shown.ok_or_else(|| operations.not_cim())?;
    // A reader that has gone away has seen enough.
    let _ = io::stdout().write_all(shown.as_bytes());
    Ok(())
}

/// Oldest first; times of day in UTC.
fn table(answer: &Value) -> Option<String> {
    let mut text = format!(
        "{:<10} {:<14} {:<24} {:<13} {:<13} {:<13} KEY\n",
        "REVISION", "OUTCOME", "SEEN", "SENT", "ANSWERED", "COMMITTED"
    );
    for entry in answer.get("change_sets")?.as_array()? {
        let member = |name: &str| match entry.get(name) {
            Some(Value::String(text)) => escaped(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => "-".to_owned(),
        };
        let time = |name: &str, format: &str| {
            let ms = entry.get(name).and_then(Value::as_i64);
            let time = ms.and_then(DateTime::from_timestamp_millis);
            time.map_or("-".to_owned(), |time| time.format(format).to_string())
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<10} {:<14} {:<24} {:<13} {:<13} {:<13} {}",
            member("revision"),
            member("outcome"),
            time("seen", "%Y-%m-%dT%H:%M:%S%.3f"),
            time("sent", "%H:%M:%S%.3f"),
            time("answered", "%H:%M:%S%.3f"),
            time("committed", "%H:%M:%S%.3f"),
            member("key"),
        );
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_each_change_set_and_nothing_that_moves_the_cursor() {
        let answer = json!({"change_sets": [
            {"key": "change-set/n/m/v0/ms/a\u{1b}/7", "revision": 7, "seen": 1_000, "sent": 1_002,
             "answered": null, "committed": 61_002, "outcome": "no_answer"},
        ]});
        let text = table(&answer).unwrap();
        let line = text.lines().nth(1).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "7",
                "no_answer",
                "1970-01-01T00:00:01.000",
                "00:00:01.002",
                "-",
                "00:01:01.002",
                "change-set/n/m/v0/ms/a\\u{1b}/7"
            ]
        );
        assert_eq!(table(&json!({"error": "x"})), None);
    }
}
