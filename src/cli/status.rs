//! `cim status`: what a running CIM is and does, from the document of its operations API (`/status`, docs/status.md).

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::DateTime;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Exit;
use super::operations::{NoAnswer, NotCim, Operations, OperationsArgs};
use super::terminal::{CLEAR, Style, is_screen, screenful, size};
use crate::http::STATUS_PATH;
use crate::limits::STATUS_BYTES;
use crate::secret::{self, Secret, SecretError};
use crate::settings::problem::{cut, escaped};

/// `cim status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 CIM is ready; 1 it is not; 2 a command line that cannot be used, or a token that CIM does not take; 3 no CIM answers.
Settings and all that does not fit: --json, or http://127.0.0.1:6060/ in a browser.")]
pub struct StatusArgs {
    /// Where CIM is.
    #[command(flatten)]
    pub operations: OperationsArgs,
    /// File with the token, when CIM wants one
    #[arg(
        long,
        env = "CIM_MONITOR_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// The document as it is, JSON; with --watch one a line
    #[arg(long)]
    pub json: bool,
    /// Again every so many seconds (1 to 3600), until interrupted (on a terminal the exit code is then that of the last look)
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub watch: Option<u64>,
}

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The token cannot be read.
    #[error("the token cannot be used (--token-file, CIM_MONITOR_TOKEN_FILE)")]
    Token(#[from] SecretError),
    /// Nobody listens, or it is no CIM.
    #[error(transparent)]
    NoServer(#[from] NoAnswer),
    /// CIM wants a token, or another one.
    #[error("{server} refuses: {reason}")]
    Refused {
        /// Where.
        server: String,
        /// What it says.
        reason: String,
    },
    /// What answers is no CIM.
    #[error(transparent)]
    NotCim(#[from] NotCim),
    /// Signals cannot be handled.
    #[error("cannot handle SIGINT and SIGTERM")]
    Signals(#[source] io::Error),
}

impl StatusError {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Token(_) | Self::Refused { .. } => Exit::Usage,
            Self::NoServer(_) | Self::NotCim(_) => Exit::NoServer,
            Self::Signals(_) => Exit::Failed,
        }
    }
}

/// Asks and prints; true when CIM is ready. With `--watch` it comes back when nobody reads any more, and on a terminal
/// that is drawn anew with SIGINT and SIGTERM.
///
/// # Errors
/// Nobody answers, or not as CIM does; with `--watch` that is shown, and only the first look may fail.
pub fn run(args: &StatusArgs) -> Result<bool, StatusError> {
    let operations = Operations::new(&args.operations);
    let token = args.token_file.as_deref().map(secret::read).transpose()?;
    let watched = args.watch.is_some() && !args.json;
    let screen = Screen::of_process(watched).map_err(StatusError::Signals)?;
    let mut last = look(&operations, token.as_ref());
    if let Err(error) = last {
        return Err(error);
    }
    loop {
        let mut ready = false;
        let text = match &last {
            Ok(document) => {
                ready = document.get("status").and_then(Value::as_str) == Some("ready");
                match args.json {
                    true => format!("{document}\n"),
                    false => page(document, screen.style),
                }
            }
            Err(error) => format!("{}\n", screen.style.bad(&error.to_string())),
        };
        let shown = match &last {
            // For a program that reads JSON it is none.
            Err(_) if args.json => Ok(()),
            _ => screen.show(&text),
        };
        let Some(seconds) = args.watch.filter(|_| shown.is_ok()) else {
            return Ok(ready);
        };
        if !screen.wait(Duration::from_secs(seconds)) {
            return Ok(ready);
        }
        last = look(&operations, token.as_ref());
    }
}

fn look(operations: &Operations, token: Option<&Secret>) -> Result<Value, StatusError> {
    let (status, text) = operations.ask(STATUS_PATH, token, STATUS_BYTES)?;
    let document: Option<Value> = serde_json::from_str(&text).ok();
    match (status, document) {
        (200, Some(document)) if document.get("parts").is_some_and(Value::is_object) => {
            Ok(document)
        }
        (401 | 403, document) => Err(StatusError::Refused {
            server: operations.server.clone(),
            reason: document
                .as_ref()
                .map(|d| text_of(d, "error"))
                .unwrap_or_default(),
        }),
        _ => Err(operations.not_cim().into()),
    }
}

/// Where the text goes.
struct Screen {
    style: Style,
    /// A terminal that is drawn anew each time; readable once SIGINT or SIGTERM has come. Else a signal ends the process as usual.
    redrawn: Option<UnixStream>,
}

impl Screen {
    fn of_process(watch: bool) -> io::Result<Self> {
        let redrawn = match watch && is_screen(&io::stdout()) {
            true => Some(signalled()?),
            false => None,
        };
        Ok(Self {
            style: Style::of_stdout(),
            redrawn,
        })
    }

    fn show(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.redrawn {
            // The cursor is not hidden, so that no end of the process leaves it so.
            Some(_) => out.write_all(screenful(text, size(&out)).as_bytes())?,
            None => out.write_all(text.as_bytes())?,
        }
        out.flush()
    }

    /// Waits; false when a signal has come, and the screen is left as a shell wants it.
    fn wait(&self, time: Duration) -> bool {
        let Some(signalled) = &self.redrawn else {
            std::thread::sleep(time);
            return true;
        };
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(signalled, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return true,
                Ok(_) => break,
                // By a signal that is not one of them, or the next look tells.
                Err(_) => {}
            }
        }
        // The terminal has written ^C where the prompt comes.
        let _ = io::stdout().write_all(CLEAR.as_bytes());
        false
    }
}

/// What can be read once SIGINT or SIGTERM has come.
fn signalled() -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

/// Rows of each list that are shown; `--json` has all.
const ROWS: usize = 8;
/// Characters of a name.
const NAME: usize = 32;

fn page(document: &Value, style: Style) -> String {
    // Writing to a String does not fail.
    let mut out = String::new();
    let (cim, identity) = (at(document, "cim"), at(document, "identity"));
    let status = text_of(document, "status");
    let state = match status.as_str() {
        "ready" => style.good(&status),
        _ => style.bad(&status),
    };
    let failure = match at(document, "failure").as_str() {
        Some(failure) => format!(": {}", escaped(failure)),
        None => String::new(),
    };
    let pod = style.head(&text_of(identity, "pod"));
    let _ = writeln!(
        out,
        "{pod} in {}: {state}{failure}",
        text_of(identity, "namespace")
    );
    let _ = writeln!(
        out,
        "{}",
        style.faint(&format!(
            "cim {}, up {}, log mode {}, {} of memory, NATS on {}, logs in {}",
            text_of(cim, "version"),
            span(number(cim, "uptime_seconds")),
            text_of(document, "logging_mode"),
            bytes(number(cim, "resident_bytes")),
            text_of(cim, "nats"),
            text_of(cim, "log_dir")
        ))
    );
    parts(&mut out, at(document, "parts"), style);
    rates(&mut out, document, style);
    backlogs(&mut out, at(document, "backlogs"), style);
    containers(&mut out, document, style);
    connections(&mut out, at(document, "connections"), style);
    change_sets(&mut out, at(document, "change_sets"), style);
    log(&mut out, at(document, "log"), style);
    out
}

fn parts(out: &mut String, parts: &Value, style: Style) {
    let _ = writeln!(out, "\n{}", style.head("PART             STATE      WHY"));
    for (name, part) in parts.as_object().into_iter().flatten() {
        let state = text_of(part, "state");
        let padded = format!("{state:<10}");
        let shown = match (state.as_str(), at(part, "needed").as_bool()) {
            ("ready", _) => style.good(&padded),
            ("not ready", Some(true)) => style.bad(&padded),
            ("not ready", _) => style.look_at(&padded),
            _ => style.faint(&padded),
        };
        let (name, reason) = (escaped(name), text_of(part, "reason"));
        let _ = writeln!(out, "{name:<16} {shown} {reason}");
    }
}

fn rates(out: &mut String, document: &Value, style: Style) {
    let (rates, totals) = (at(document, "rates"), at(document, "totals"));
    let seconds: Vec<f64> = numbers(at(rates, "seconds"));
    let title = "LAST TEN MINUTES        TOTAL  LAST/S   MAX/S";
    let _ = writeln!(out, "\n{}", style.head(title));
    for name in ["lines", "events", "change_sets", "dropped"] {
        let counts = numbers(at(rates, name));
        let rates: Vec<f64> = counts
            .iter()
            .zip(&seconds)
            .map(|(count, seconds)| count / seconds.max(1e-3))
            .collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        let total = number(totals, name);
        let line = format!(
            "{:<16} {:>12} {:>7} {:>7} ",
            name.replace('_', " "),
            total,
            rate(rates.last().copied().unwrap_or(0.0)),
            rate(most),
        );
        let line = match name == "dropped" && total > 0.0 {
            true => style.bad(&line),
            false => line,
        };
        let _ = writeln!(out, "{line} {}", style.faint(&sparks(&rates, most)));
    }
    for (what, count) in at(document, "dropped").as_object().into_iter().flatten() {
        let line = format!("  dropped, {}: {count}", escaped(what));
        let _ = writeln!(out, "{}", style.bad(&line));
    }
}

/// A character for each point, the oldest first.
fn sparks(rates: &[f64], most: f64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |rate: &f64| match *rate > 0.0 {
        true => {
            let height = (rate / most * 7.0).ceil().clamp(1.0, 7.0);
            BARS.get(height as usize).copied().unwrap_or(' ')
        }
        false => '▁',
    };
    rates.iter().map(bar).collect()
}

fn backlogs(out: &mut String, backlogs: &Value, style: Style) {
    let title = "WAITS                   RECORDS       SIZE  OLDEST";
    let _ = writeln!(out, "\n{}", style.head(title));
    for (name, title) in [
        ("journal", "events (journal)"),
        ("log_lines", "lines to send"),
    ] {
        let one = at(backlogs, name);
        let age = match at(one, "oldest_seconds").as_f64() {
            Some(seconds) => format!("{} ago", span(seconds)),
            None => "-".to_owned(),
        };
        let records = number(one, "records");
        let line = format!(
            "{title:<18} {records:>12} {:>10}  {age}",
            bytes(number(one, "bytes"))
        );
        let _ = writeln!(
            out,
            "{}",
            match records > 0.0 {
                true => style.look_at(&line),
                false => line,
            }
        );
    }
    let aside = number(backlogs, "set_aside");
    if aside > 0.0 {
        let line = format!("set aside, what Kafka will never take: {aside}");
        let _ = writeln!(out, "{}", style.bad(&line));
    }
}

fn containers(out: &mut String, document: &Value, style: Style) {
    let shown = list(at(at(document, "containers"), "shown"));
    if shown.is_empty() {
        return;
    }
    let title = "CONTAINER                               LINES       SIZE  FILE     LAST LINE";
    let _ = writeln!(out, "\n{}", style.head(title));
    let now = number(document, "time");
    for one in shown.iter().take(ROWS) {
        let state = format!("{:<8}", text_of(one, "file_state"));
        let _ = writeln!(
            out,
            "{:<NAME$} {:>12} {:>10}  {} {} ago",
            name(one),
            number(one, "lines"),
            bytes(number(one, "file_bytes")),
            match state.trim_end() {
                "failing" => style.bad(&state),
                "waiting" => style.look_at(&state),
                _ => state,
            },
            span((now - number(one, "last")).max(0.0) / 1000.0),
        );
    }
    more(
        out,
        shown.len(),
        number(at(document, "containers"), "total"),
        style,
    );
}

fn connections(out: &mut String, connections: &Value, style: Style) {
    let shown = list(at(connections, "connections"));
    if shown.is_empty() {
        return;
    }
    let title = "NATS CONNECTION                            IN          OUT    WAITING  CLIENT";
    let _ = writeln!(out, "\n{}", style.head(title));
    for one in shown.iter().take(ROWS) {
        let _ = writeln!(
            out,
            "{:<NAME$} {:>12} {:>12} {:>10}  {} {}",
            name(one),
            number(one, "in_msgs"),
            number(one, "out_msgs"),
            bytes(number(one, "pending_bytes")),
            text_of(one, "lang"),
            text_of(one, "version"),
        );
    }
    more(out, shown.len(), number(connections, "total"), style);
}

fn change_sets(out: &mut String, change_sets: &Value, style: Style) {
    let all = list(change_sets);
    if all.is_empty() {
        return;
    }
    let title = "CHANGE SET  OUTCOME        SEEN                 KEY";
    let _ = writeln!(out, "\n{}", style.head(title));
    for one in all.iter().rev().take(ROWS) {
        let outcome = match at(one, "outcome").as_str() {
            Some(outcome) => escaped(outcome),
            None => "under way".to_owned(),
        };
        let padded = format!("{outcome:<14}");
        let shown = match outcome.as_str() {
            "success" => style.good(&padded),
            "under way" | "superseded" | "unused" => padded,
            _ => style.bad(&padded),
        };
        let _ = writeln!(
            out,
            "{:<11} {shown} {:<20} {}",
            number(one, "revision"),
            time(number(one, "seen")),
            text_of(one, "key")
        );
    }
    more(out, all.len(), all.len() as f64, style);
}

fn log(out: &mut String, log: &Value, style: Style) {
    let all = list(log);
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", style.head("LAST WARNINGS AND ERRORS OF CIM"));
    let from = all.len().saturating_sub(ROWS);
    for one in all.iter().skip(from) {
        let level = text_of(one, "level");
        let time = text_of(one, "time");
        let _ = writeln!(
            out,
            "{} {} {}",
            style.faint(cut(&time, "2026-11-23T00:00:00".len())),
            match level.as_str() {
                "WARNING" => style.look_at(&level),
                _ => style.bad(&level),
            },
            text_of(one, "text")
        );
    }
}

fn more(out: &mut String, shown: usize, all: f64, style: Style) {
    let left = all - shown.min(ROWS) as f64;
    if left > 0.0 {
        let _ = writeln!(out, "{}", style.faint(&format!("and {left} more")));
    }
}

// ---- the document, in which anything may be missing

fn at<'a>(value: &'a Value, member: &str) -> &'a Value {
    value.get(member).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value, member: &str) -> f64 {
    at(value, member).as_f64().unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<f64> {
    let numbers = list(value).iter();
    numbers.map(|n| n.as_f64().unwrap_or_default()).collect()
}

/// A member's text, with nothing in it that moves the cursor.
fn text_of(value: &Value, member: &str) -> String {
    at(value, member).as_str().map(escaped).unwrap_or_default()
}

/// A name cut to its column.
fn name(value: &Value) -> String {
    let name = text_of(value, "name");
    match name.chars().count() {
        0 => "-".to_owned(),
        n if n > NAME => name.chars().take(NAME - 1).chain(['…']).collect(),
        _ => name,
    }
}

fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        r if r < 10.0 => format!("{r:.1}"),
        r => format!("{r:.0}"),
    }
}

fn bytes(bytes: f64) -> String {
    const UNITS: [(&str, f64); 3] = [
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
    ];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(unit, size)| format!("{:.1} {unit}", bytes / size),
    )
}

fn span(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// In UTC.
fn time(ms: f64) -> String {
    let time = DateTime::from_timestamp_millis(ms as i64);
    time.map_or_else(
        || "-".to_owned(),
        |time| time.format("%Y-%m-%dT%H:%M:%S").to_string(),
    )
}

#[cfg(test)]
mod tests;
