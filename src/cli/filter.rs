//! Which messages `cim tail` prints: by container, level, name of the event, text.

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::wire::{Event, LogMessage};

/// Bytes at the beginning of a line in which its level is looked for.
const HEAD_BYTES: usize = 256;

/// What is printed of what passes.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Only log lines of this container, or of these
    #[arg(long, value_name = "NAME")]
    container: Vec<String>,
    /// Only log lines of this level and above; lines that name no level are left out
    #[arg(long, value_enum, value_name = "LEVEL")]
    level: Option<Severity>,
    /// Only events of this name, or of these; `*` at the end stands for any end
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only messages whose line, as it is printed, has this text; of several, one is enough
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Severity {
    /// For whoever writes the program.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// In the course of things.
    Info,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
    /// The program ends.
    Fatal,
}

impl FilterArgs {
    /// The message passes, but for its text.
    pub fn takes(&self, subject: &str, data: &[u8]) -> bool {
        let of_logs = !self.container.is_empty() || self.level.is_some();
        let of_events = !self.event.is_empty();
        match subject {
            "LOG" if of_logs => LogMessage::read(data).is_ok_and(|log| {
                let name = log.container_name;
                let named = self
                    .container
                    .iter()
                    .any(|wanted| wanted.as_bytes() == name);
                let grave = |least| severity(log.payload).is_some_and(|found| found >= least);
                (named || self.container.is_empty()) && self.level.is_none_or(grave)
            }),
            "EVENT" if of_events => Event::read(data).is_ok_and(|event| {
                let name = String::from_utf8_lossy(event.event_name);
                self.event
                    .iter()
                    .any(|wanted| match wanted.strip_suffix('*') {
                        Some(begin) => name.starts_with(begin),
                        None => name == *wanted,
                    })
            }),
            // Who asks for some lines or events wants nothing else.
            _ => !of_logs && !of_events,
        }
    }

    /// Its line, as it is printed, has the text.
    pub fn takes_line(&self, line: &str) -> bool {
        self.text.is_empty() || self.text.iter().any(|text| line.contains(text.as_str()))
    }
}

/// The level that a line names: as a member of JSON, as a word in capitals, in brackets or behind `level=`, or as klog writes it.
fn severity(line: &[u8]) -> Option<Severity> {
    let text = line.trim_ascii_start();
    if text.starts_with(b"{")
        && let Ok(Value::Object(members)) = serde_json::from_slice(text)
    {
        return ["level", "severity", "lvl", "log.level", "loglevel"]
            .into_iter()
            .find_map(|name| members.get(name))
            .and_then(of_value);
    }
    if let [letter, d1, d2, d3, d4, b' ', ..] = text
        && [d1, d2, d3, d4].iter().all(|digit| digit.is_ascii_digit())
    {
        return match letter {
            b'I' => Some(Severity::Info),
            b'W' => Some(Severity::Warning),
            b'E' => Some(Severity::Error),
            b'F' => Some(Severity::Fatal),
            _ => None,
        };
    }
    let head = text.get(..HEAD_BYTES).unwrap_or(text);
    let mut at = 0;
    while let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
        let letters = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if letters == 0 {
            at += 1;
            continue;
        }
        let word = rest.get(..letters).unwrap_or_default();
        let before = at.checked_sub(1).and_then(|at| head.get(at));
        let behind = rest.get(letters);
        let capitals = word.iter().all(u8::is_ascii_uppercase);
        let marked = matches!(before, Some(b'[' | b'<' | b'(' | b'=' | b'"' | b'|'))
            && !matches!(behind, Some(b'=' | b'_' | b'-'));
        let first = at == 0 && behind == Some(&b':');
        if (capitals || marked || first)
            && let Some(found) = std::str::from_utf8(word).ok().and_then(of_word)
        {
            return Some(found);
        }
        at += letters;
    }
    None
}

fn of_word(word: &str) -> Option<Severity> {
    Some(match word.to_ascii_lowercase().as_str() {
        "trace" | "trc" => Severity::Trace,
        "debug" | "dbg" => Severity::Debug,
        "info" | "inf" | "notice" | "information" => Severity::Info,
        "warn" | "warning" | "wrn" => Severity::Warning,
        "error" | "err" | "severe" => Severity::Error,
        "fatal" | "critical" | "crit" | "panic" | "alert" | "emerg" | "emergency" | "exception" => {
            Severity::Fatal
        }
        _ => return None,
    })
}

/// Numbers as pino and bunyan have them.
fn of_value(value: &Value) -> Option<Severity> {
    match value {
        Value::String(text) => of_word(text),
        Value::Number(number) => match number.as_u64()? {
            10..20 => Some(Severity::Trace),
            20..30 => Some(Severity::Debug),
            30..40 => Some(Severity::Info),
            40..50 => Some(Severity::Warning),
            50..60 => Some(Severity::Error),
            60.. => Some(Severity::Fatal),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EventFields, encode_event, encode_log};
    use proptest::prelude::*;

    #[test]
    fn the_level_of_a_line() {
        use Severity::*;
        for (line, level) in [
            (
                "2026-11-23T07:00:00Z ERROR main: no error at all",
                Some(Error),
            ),
            ("[info] started", Some(Info)),
            ("level=warn msg=\"x\"", Some(Warning)),
            ("time=1 level=\"debug\"", Some(Debug)),
            ("warning: unused", Some(Warning)),
            ("<crit> x", Some(Fatal)),
            ("E1123 07:00:00.000000       1 main.go:7] x", Some(Error)),
            (r#"{"level":"Warning","msg":"ERROR"}"#, Some(Warning)),
            (r#"{"severity":"NOTICE"}"#, Some(Info)),
            (r#"{"level":50,"msg":"x"}"#, Some(Error)),
            (r#"{"msg":"ERROR"}"#, None),
            ("{ERROR not JSON", Some(Error)),
            ("there was no error and no warning", None),
            ("an information", None),
            ("TERRORS", None),
            ("", None),
        ] {
            assert_eq!(severity(line.as_bytes()), level, "{line}");
        }
        let late = format!("{}ERROR", "x ".repeat(HEAD_BYTES));
        assert_eq!(severity(late.as_bytes()), None);
    }

    fn log(name: &str, line: &str) -> Vec<u8> {
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        encode_log(name.as_bytes(), b"1", line.as_bytes(), &mut builder);
        builder.finished_data().to_vec()
    }

    fn event(name: &str) -> Vec<u8> {
        let mut builder = flatbuffers::FlatBufferBuilder::new();
        let fields = EventFields {
            event_name: name.as_bytes(),
            ..EventFields::default()
        };
        encode_event(&fields, &mut builder);
        builder.finished_data().to_vec()
    }

    #[test]
    fn who_asks_for_some_gets_no_others() {
        let texts = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let all = FilterArgs::default();
        assert!(all.takes("LOG", b"no FlatBuffer") && all.takes("x", b"") && all.takes_line("x"));
        let some = FilterArgs {
            container: texts(&["app", "db"]),
            level: Some(Severity::Warning),
            event: texts(&["Link*", "Up"]),
            text: texts(&["one", "two"]),
        };
        for (container, line, taken) in [
            ("app", "WARN x", true),
            ("db", "ERROR x", true),
            ("db", "INFO x", false),
            ("db", "x", false),
            ("web", "ERROR x", false),
        ] {
            assert_eq!(
                some.takes("LOG", &log(container, line)),
                taken,
                "{container} {line}"
            );
        }
        for (name, taken) in [
            ("LinkDown", true),
            ("Up", true),
            ("Upper", false),
            ("link", false),
        ] {
            assert_eq!(some.takes("EVENT", &event(name)), taken, "{name}");
        }
        assert!(!some.takes("CONFIG", b"{}") && !some.takes("LOG", b"no FlatBuffer"));
        assert!(some.takes_line("a two b") && !some.takes_line("three"));
        let only_events = FilterArgs {
            event: texts(&["*"]),
            ..FilterArgs::default()
        };
        assert!(
            only_events.takes("EVENT", &event("x")) && !only_events.takes("LOG", &log("a", "b"))
        );
    }

    proptest! {
        #[test]
        fn any_line_has_a_level_or_none(line in proptest::collection::vec(any::<u8>(), 0..400)) {
            severity(&line);
        }
    }
}
