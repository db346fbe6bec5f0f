//! `cim journal`: what the journal of events holds. Reads its files; changes nothing, whether a CIM runs on them or not.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};

use super::show::{event_json, json_text, json_value};
use super::terminal::Bar;
use crate::events::journal::inspect::{Item, Seen, SegmentSeen};
use crate::events::journal::{FRAME_BYTES, Kind};
use crate::limits::{JOURNAL_SHOWN, JOURNAL_SHOWN_DAMAGE};
use crate::options::{self, Choice, Chosen, Paths};
use crate::wire::Event;

/// `cim journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Print each segment: its events, bytes, numbers, times, and how much of it is delivered
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Print events as JSON Lines: number, time stored, kind, name, bytes, delivered, fields
    Show {
        #[command(flatten)]
        place: Place,
        /// Number of the first event to print [default: the first that is not delivered]
        #[arg(long, value_name = "SEQ")]
        from: Option<u64>,
        /// Events to print at most
        #[arg(long, value_name = "N", default_value_t = JOURNAL_SHOWN)]
        count: u64,
    },
    /// Check every event against its CRC, and that none is missing; exit 1 when something is wrong
    Verify {
        #[command(flatten)]
        place: Place,
    },
}

/// Where the journal is, as `cim run` finds it.
pub(super) type Place = Chosen<Directories>;

/// The settings that say so.
#[derive(Debug)]
pub(super) struct Directories;

impl Choice for Directories {
    const HEADING: Option<&'static str> = None;
    const SHOWN: &'static [(&'static str, Option<&'static str>)] =
        &[("state_dir", None), ("log_dir", None)];
    const HIDDEN: &'static [&'static str] = &["pod_id"];
}

/// The name of the journal's directory in the state directory.
pub const JOURNAL_DIR: &str = "journal";

impl Place {
    /// The journal's.
    fn dir(&self) -> PathBuf {
        self.paths().state_dir.join(JOURNAL_DIR)
    }

    /// All that `cim run` would use.
    pub(super) fn paths(&self) -> Paths {
        options::resolve(&self.given).options.paths
    }
}

/// The journal cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum JournalCliError {
    /// There is none, or it cannot be read.
    #[error("no event journal can be read in {}: is this CIM's state directory (--state-dir, CIM_STATE_DIR)?", .dir.display())]
    Directory {
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// One of its files cannot be read.
    #[error("{} of the event journal cannot be read", .name)]
    Segment {
        /// Which.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// Looks and prints; false when `verify` found something wrong. A reader of `out` that has gone away has seen enough.
///
/// # Errors
/// The journal cannot be read.
pub fn run(args: &JournalArgs, out: &mut dyn Write) -> Result<bool, JournalCliError> {
    match &args.command {
        JournalCommand::List { place } => list(&look(&place.dir())?, out).map(|()| true),
        JournalCommand::Show { place, from, count } => {
            let seen = look(&place.dir())?;
            let from = from.unwrap_or(seen.acked + 1);
            show(&seen, from, *count, out).map(|()| true)
        }
        JournalCommand::Verify { place } => verify(&look(&place.dir())?, out),
    }
}

fn look(dir: &Path) -> Result<Seen, JournalCliError> {
    Seen::look(dir).map_err(|source| JournalCliError::Directory {
        dir: dir.to_owned(),
        source,
    })
}

/// For all of `segments`.
fn bar<'a>(
    what: &'static str,
    segments: impl IntoIterator<Item = &'a SegmentSeen>,
    on: bool,
) -> Bar {
    let bytes = segments.into_iter().map(|segment| segment.bytes);
    Bar::of_bytes(what, bytes.sum(), on)
}

/// As [`Seen::walk`]; `bar` is told of what passes.
fn pass(
    seen: &Seen,
    segment: &SegmentSeen,
    bar: &mut Bar,
    each: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> io::Result<bool> {
    seen.walk(segment, &mut |item| {
        bar.advance(match &item {
            Item::Record { payload, .. } => (FRAME_BYTES + payload.len()) as u64,
            Item::Bad(piece) => piece.end - piece.start,
        });
        each(item)
    })
}

fn walk(
    seen: &Seen,
    segment: &SegmentSeen,
    bar: &mut Bar,
    each: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> Result<bool, JournalCliError> {
    let walked = pass(seen, segment, bar, each);
    walked.map_err(|source| JournalCliError::Segment {
        name: segment.name.clone(),
        source,
    })
}

/// A time as RFC 3339 has it.
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.map_or_else(
        || ms.to_string(),
        |time| time.to_rfc3339_opts(SecondsFormat::Millis, true),
    )
}

fn used(seen: &Seen) -> String {
    match seen.in_use {
        Some(Some(pid)) => {
            format!(" CIM runs on it (process {pid}): this is what was there a moment ago.")
        }
        Some(None) => " CIM runs on it: this is what was there a moment ago.".to_owned(),
        None => String::new(),
    }
}

/// What was counted in one segment.
#[derive(Default)]
struct Tally {
    records: u64,
    waiting: u64,
    /// Number and time of the first record and of the last one.
    span: Option<((u64, u64), (u64, u64))>,
}

fn list(seen: &Seen, out: &mut dyn Write) -> Result<(), JournalCliError> {
    let mut text = format!(
        "{:<37} {:>8} {:>10} {:>12} {:>12} {:<24} {:<24} DELIVERED\n",
        "SEGMENT", "EVENTS", "BYTES", "FROM", "TO", "FIRST STORED", "LAST STORED"
    );
    let (mut segments, mut bytes, mut waiting) = (0_u64, 0, 0);
    let all: Vec<_> = seen.segments().collect();
    let mut bar = bar("journal", &all, !io::stdout().is_terminal());
    for segment in all {
        let mut tally = Tally::default();
        let there = walk(seen, &segment, &mut bar, &mut |item| {
            if let Item::Record { seq, time_ms, .. } = item {
                tally.records += 1;
                tally.waiting += u64::from(seq > seen.acked);
                let first = tally.span.map_or((seq, time_ms), |(first, _)| first);
                tally.span = Some((first, (seq, time_ms)));
            }
            ControlFlow::Continue(())
        })?;
        if !there {
            continue;
        }
        segments += 1;
        bytes += segment.bytes;
        waiting += tally.waiting;
        let shown = |at: Option<(u64, u64)>| match at {
            Some((seq, ms)) => (seq.to_string(), time(ms)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let (from, first) = shown(tally.span.map(|(first, _)| first));
        let (to, last) = shown(tally.span.map(|(_, last)| last));
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<37} {:>8} {:>10} {from:>12} {to:>12} {first:<24} {last:<24} {}",
            segment.name,
            tally.records,
            segment.bytes,
            tally.records - tally.waiting,
        );
        if out.write_all(text.as_bytes()).is_err() {
            return Ok(());
        }
        text.clear();
    }
    let _ = writeln!(
        text,
        "{segments} segments, {bytes} bytes, {waiting} events wait for their delivery; delivered up to {}.{}",
        seen.acked,
        used(seen)
    );
    let _ = out.write_all(text.as_bytes());
    Ok(())
}

fn show(seen: &Seen, from: u64, count: u64, out: &mut dyn Write) -> Result<(), JournalCliError> {
    let segments: Vec<_> = seen.segments().collect();
    // The last segment that begins at `from` or before.
    let begin = segments.partition_point(|segment| segment.first <= from);
    let mut left = count;
    let mut line = String::new();
    let segments = segments.get(begin.saturating_sub(1)..).unwrap_or_default();
    // Two that write to one terminal would be in each other's way.
    let mut bar = bar("journal", segments, !io::stdout().is_terminal());
    for segment in segments {
        if left == 0 {
            break;
        }
        walk(seen, segment, &mut bar, &mut |item| {
            let Item::Record { seq, .. } = item else {
                return ControlFlow::Continue(());
            };
            if seq < from {
                return ControlFlow::Continue(());
            }
            line.clear();
            record_json(&item, seq <= seen.acked, &mut line);
            left = left.saturating_sub(1);
            if out.write_all(line.as_bytes()).is_err() {
                left = 0;
            }
            match left {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })?;
    }
    Ok(())
}

/// One line with its `\n`, whatever the payload holds.
fn record_json(item: &Item<'_>, delivered: bool, out: &mut String) {
    let Item::Record {
        seq,
        time_ms,
        kind,
        payload,
    } = item
    else {
        return;
    };
    let mut fields = String::new();
    let mut name = String::new();
    match kind {
        Kind::Event => {
            if let Ok(event) = Event::read(payload) {
                json_text(event.event_name, &mut name);
                event_json(&event, &mut fields);
            }
        }
        Kind::Raised => {
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(payload) {
                if let Some(event) = value.get("eventName") {
                    json_value(event, &mut name);
                }
                json_value(&value, &mut fields);
            }
        }
    }
    let null = |text: String| match text.is_empty() {
        true => "null".to_owned(),
        false => text,
    };
    let kind = match kind {
        Kind::Event => "event",
        Kind::Raised => "raised",
    };
    let _ = writeln!(
        out,
        "{{\"seq\":{seq},\"time\":\"{}\",\"kind\":\"{kind}\",\"event\":{},\"bytes\":{},\"delivered\":{delivered},\"fields\":{}}}",
        time(*time_ms),
        null(name),
        payload.len(),
        null(fields)
    );
}

fn verify(seen: &Seen, out: &mut dyn Write) -> Result<bool, JournalCliError> {
    let (mut records, mut wrong) = (0_u64, 0);
    let mut text = String::new();
    let mut next_seq = None;
    let segments: Vec<_> = seen.segments().collect();
    let mut say = |line: String| {
        wrong += 1;
        if wrong <= JOURNAL_SHOWN_DAMAGE {
            text.push_str(&line);
            text.push('\n');
        }
    };
    let mut bar = bar("verify", &segments, true);
    for (n, segment) in segments.iter().enumerate() {
        let is_last = n + 1 == segments.len();
        let mut end = None;
        let walked = pass(seen, segment, &mut bar, &mut |item| {
            match item {
                Item::Record { seq, .. } => {
                    if let Some(bad) = end.take() {
                        say(damaged(segment, &bad));
                    }
                    let expected = next_seq.unwrap_or(segment.first);
                    match seq.checked_sub(expected) {
                        Some(0) => {}
                        Some(1) => say(format!("event {expected} is missing")),
                        Some(_) => say(format!("events {expected} to {} are missing", seq - 1)),
                        None => say(format!("{}: event {seq} is there twice", segment.name)),
                    }
                    next_seq = Some(seq + 1);
                    records += 1;
                }
                Item::Bad(piece) => end = Some(piece),
            }
            ControlFlow::Continue(())
        });
        match walked {
            Ok(true) => {}
            // Delivered meanwhile.
            Ok(false) if seen.in_use.is_some() => next_seq = None,
            Ok(false) => say(format!("{} has gone", segment.name)),
            Err(error) => say(format!("{} cannot be read: {error}", segment.name)),
        }
        match end {
            // What is being written.
            Some(_) if is_last && seen.in_use.is_some() => {}
            Some(bad) if is_last => say(format!(
                "{}: the end is torn, bytes {} to {}; the next start of CIM cuts it off",
                segment.name, bad.start, bad.end
            )),
            Some(bad) => say(damaged(segment, &bad)),
            None => {}
        }
    }
    drop(bar);
    let more = wrong - wrong.min(JOURNAL_SHOWN_DAMAGE);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    let verdict = match wrong {
        0 => "all good".to_owned(),
        _ => format!("{wrong} wrong"),
    };
    let _ = writeln!(
        text,
        "{} segments, {records} events: {verdict}.{}",
        segments.len(),
        used(seen)
    );
    let _ = out.write_all(text.as_bytes());
    Ok(wrong == 0)
}

fn damaged(segment: &SegmentSeen, piece: &std::ops::Range<u64>) -> String {
    format!(
        "{}: bytes {} to {} are damaged",
        segment.name, piece.start, piece.end
    )
}

#[cfg(test)]
mod tests;
