//! `cim spool`: the log lines that lie in the log files until a remote sink has them. Reads the marks and the sizes of the files; changes
//! nothing, whether a CIM runs on them or not.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::journal::{Place, time};
use crate::logs::backlog::inspect::{Unreadable, Waiting, look};
use crate::settings::problem::escaped;

/// `cim spool`.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    #[command(flatten)]
    place: Place,
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
}

/// The backlogs cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: is this CIM's state directory (--state-dir, CIM_STATE_DIR), and may this user read it?", .dir.display())]
pub struct SpoolError {
    dir: PathBuf,
    source: io::Error,
}

/// One container.
#[derive(Debug, Serialize)]
struct Row {
    container: String,
    container_id: String,
    bytes: u64,
    /// As far as they are counted.
    lines: Option<u64>,
    oldest: String,
    files: usize,
}

impl Row {
    fn of(waiting: &Waiting) -> Self {
        Self {
            container: escaped(&String::from_utf8_lossy(&waiting.name)),
            container_id: escaped(&String::from_utf8_lossy(&waiting.id)),
            bytes: waiting.bytes,
            lines: waiting.lines,
            oldest: time(waiting.oldest_ms),
            files: waiting.files,
        }
    }
}

/// Looks and prints. A reader of `out` that has gone away has seen enough.
///
/// # Errors
/// The directory of the marks cannot be read; that there is none is an answer.
pub fn run(args: &SpoolArgs, out: &mut dyn Write) -> Result<(), SpoolError> {
    let paths = args.place.paths();
    let found = look(&paths.state_dir, &paths.log_dir);
    let (waiting, unreadable) = found.map_err(|source| SpoolError {
        dir: paths.state_dir,
        source,
    })?;
    let rows: Vec<_> = waiting.iter().map(Row::of).collect();
    let text = match args.json {
        true => as_json(&rows, &unreadable),
        false => table(&rows, &unreadable),
    };
    let _ = out.write_all(text.as_bytes());
    Ok(())
}

fn shown(unreadable: &Unreadable) -> String {
    escaped(&format!("{}: {}", unreadable.name, unreadable.reason))
}

fn table(rows: &[Row], unreadable: &[Unreadable]) -> String {
    let mut text = format!(
        "{:>12} {:>10} {:>6} {:<24} {:<24} CONTAINER\n",
        "BYTES", "LINES", "FILES", "OLDEST", "ID"
    );
    for row in rows {
        let lines = row.lines.map_or("-".to_owned(), |lines| lines.to_string());
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:>12} {lines:>10} {:>6} {:<24} {:<24} {}",
            row.bytes, row.files, row.oldest, row.container_id, row.container
        );
    }
    for one in unreadable {
        let _ = writeln!(text, "cannot be read: {}", shown(one));
    }
    let bytes: u64 = rows.iter().map(|row| row.bytes).sum();
    let _ = writeln!(
        text,
        "{} containers, {bytes} bytes wait in the log files for their sink.",
        rows.len()
    );
    text
}

fn as_json(rows: &[Row], unreadable: &[Unreadable]) -> String {
    let object = json!({
        "containers": rows,
        "bytes": rows.iter().map(|row| row.bytes).sum::<u64>(),
        "unreadable": unreadable.iter().map(shown).collect::<Vec<_>>(),
    });
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_container_and_nothing_that_moves_the_cursor() {
        let waiting = Waiting {
            name: b"app\x1b[2J".to_vec(),
            id: b"7".to_vec(),
            bytes: 4096,
            lines: None,
            oldest_ms: 0,
            files: 2,
        };
        let unreadable = Unreadable {
            name: "x.mark".to_owned(),
            reason: "its check sum is wrong".to_owned(),
        };
        let rows = [Row::of(&waiting)];
        let text = table(&rows, std::slice::from_ref(&unreadable));
        let line = text.lines().nth(1).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "4096",
                "-",
                "2",
                "1970-01-01T00:00:00.000Z",
                "7",
                "app\\u{1b}[2J"
            ]
        );
        assert!(text.contains("cannot be read: x.mark"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&as_json(&rows, &[unreadable])).unwrap();
        assert_eq!(
            (&json["bytes"], &json["containers"][0]["lines"]),
            (&4096.into(), &serde_json::Value::Null)
        );
    }
}
