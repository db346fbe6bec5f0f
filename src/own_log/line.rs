//! One line of CIM's own log: `[LEVEL] : 2006-01-02T15:04:05.000000000 -> [text]`, time in UTC (CONTRACT section 6).
//! One record is one line: control characters in the text are written as escapes.

use std::fmt::{self, Write};

use chrono::{DateTime, Utc};
use log::{Level, Record};

use crate::limits;

/// Target of the records of level EXCEPTION: what ends CIM. [`crate::exception!`] sets it.
pub const EXCEPTION_TARGET: &str = "exception";

/// Bytes kept free for the end of a line: what was cut, what was suppressed, `]` and the line end.
const TAIL_BYTES: usize = 128;
const _: () = assert!(
    limits::OWN_LOG_LINE_BYTES > 4 * TAIL_BYTES,
    "room for a text"
);

/// The level as the line names it.
pub fn level_name(record: &Record<'_>) -> &'static str {
    match record.level() {
        _ if record.target() == EXCEPTION_TARGET => "EXCEPTION",
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The line without its line end, shorter than [`limits::OWN_LOG_LINE_BYTES`]. `suppressed`: lines of the same call site
/// that were not written since its last one.
pub fn format(
    level: &str,
    time: DateTime<Utc>,
    text: fmt::Arguments<'_>,
    suppressed: u64,
) -> String {
    let mut line = Line {
        text: String::with_capacity(256),
        limit: limits::OWN_LOG_LINE_BYTES - TAIL_BYTES,
        cut: 0,
    };
    let time = time.format("%Y-%m-%dT%H:%M:%S%.9f");
    // Writing into a `Line` does not fail; a `Display` of the caller's may, and then the line says what it has.
    let head = write!(line.text, "[{level}] : {time} -> [");
    let body = line.write_fmt(text);
    let mut out = line.text;
    if head.is_err() || body.is_err() {
        out.push_str(" (a part could not be written)");
    }
    if line.cut > 0 {
        out.push_str(&format!("… ({} bytes more)", line.cut));
    }
    if suppressed > 0 {
        out.push_str(&format!(" … (and {suppressed} more like this)"));
    }
    out.push(']');
    out
}

/// Takes text up to a limit, escaped; counts the rest.
struct Line {
    text: String,
    limit: usize,
    cut: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let before = self.text.len();
            if self.cut == 0 {
                if (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}') {
                    self.text.extend(c.escape_default());
                } else {
                    self.text.push(c);
                }
            }
            if self.cut > 0 || self.text.len() > self.limit {
                self.text.truncate(before);
                self.cut += c.len_utf8();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn line(text: &str, suppressed: u64) -> String {
        let time = DateTime::from_timestamp(1_136_214_245, 1_000).unwrap();
        format("INFO", time, format_args!("{text}"), suppressed)
    }

    #[test]
    fn a_record_is_one_line() {
        for (text, suppressed, expected) in [
            ("hello", 0, "[hello]"),
            ("", 0, "[]"),
            ("a\nb\r\nc", 0, "[a\\nb\\r\\nc]"),
            (
                "tab\tbell\u{7} esc\u{1b}[2J nel\u{85} ls\u{2028}",
                0,
                "[tab\tbell\\u{7} esc\\u{1b}[2J nel\\u{85} ls\\u{2028}]",
            ),
            ("again", 17, "[again … (and 17 more like this)]"),
        ] {
            assert_eq!(
                line(text, suppressed),
                format!("[INFO] : 2006-01-02T15:04:05.000001000 -> {expected}")
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        for text in [
            "x".repeat(10_000),
            "é".repeat(10_000),
            "\n".repeat(10_000),
            "\u{10ffff}".repeat(3000),
        ] {
            let line = line(&text, u64::MAX);
            assert!(line.len() < limits::OWN_LOG_LINE_BYTES, "{}", line.len());
            assert!(
                line.len() > limits::OWN_LOG_LINE_BYTES - 2 * TAIL_BYTES,
                "{}",
                line.len()
            );
            assert!(line.contains(" bytes more)"), "{line}");
        }
    }

    #[test]
    fn a_display_that_fails_still_gives_a_line() {
        struct Bad;
        impl fmt::Display for Bad {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        let line = format("INFO", DateTime::UNIX_EPOCH, format_args!("{Bad}"), 0);
        assert!(
            line.ends_with("[half (a part could not be written)]"),
            "{line}"
        );
    }

    /// The original's own lines, byte for byte, but for what CONTRACT section 6 wants otherwise: no empty line after
    /// each. (Its first two lines before registration have no fraction in their time; ours always have nine digits.)
    #[test]
    fn golden_own_log_lines_have_the_same_form() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/8-logs");
        let mut checked = 0;
        for name in [
            "own_log_lines_file.raw",
            "own_log_lines_stdout_before_registration.raw",
        ] {
            let sample = std::fs::read_to_string(golden.join(name)).unwrap();
            for original in sample.lines().filter(|line| !line.is_empty()) {
                let (level, rest) = original
                    .strip_prefix('[')
                    .unwrap()
                    .split_once("] : ")
                    .unwrap();
                let (time, text) = rest.split_once(" -> [").unwrap();
                let parsed: DateTime<Utc> = format!("{time}Z").parse().unwrap();
                let ours = format(
                    level,
                    parsed,
                    format_args!("{}", text.strip_suffix(']').unwrap()),
                    0,
                );
                let expected = if time.contains('.') {
                    original.to_owned()
                } else {
                    original.replacen(time, &format!("{time}.000000000"), 1)
                };
                assert_eq!(ours, expected);
                checked += 1;
            }
        }
        assert!(checked >= 6, "{checked}");
    }
}
