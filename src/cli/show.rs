//! How `cim tail` prints a message: one line of text each, whatever the bytes.

use std::fmt::Write;

use crate::limits::TAIL_EXCERPT_BYTES;
use crate::wire::{Event, KeyValues, LogMessage, WireError};

/// Appends `data`, a message on `subject`, to `out` as one line with its `\n`. LOG: `container: line`; EVENT: JSON with
/// the fields that are there; any other subject: the text, after `subject: ` when `name_subject` is set.
/// What a terminal would act upon is escaped as `\xNN`.
pub fn show(subject: &str, data: &[u8], name_subject: bool, out: &mut String) {
    match subject {
        "LOG" => match LogMessage::read(data) {
            Ok(log) => {
                escape(log.container_name, out);
                out.push_str(": ");
                escape(log.payload, out);
            }
            Err(error) => malformed(subject, data, error, out),
        },
        "EVENT" => match Event::read(data) {
            Ok(event) => event_json(&event, out),
            Err(error) => malformed(subject, data, error, out),
        },
        _ => {
            if name_subject {
                escape(subject.as_bytes(), out);
                out.push_str(": ");
            }
            escape(data, out);
        }
    }
    out.push('\n');
}

fn malformed(subject: &str, data: &[u8], error: WireError, out: &mut String) {
    // Writing to a String does not fail.
    let _ = write!(out, "{subject}: malformed, {error}; {} bytes: ", data.len());
    escape(data.get(..TAIL_EXCERPT_BYTES).unwrap_or(data), out);
    if data.len() > TAIL_EXCERPT_BYTES {
        out.push('…');
    }
}

/// Text as it is; control characters but the tab, and bytes that are not UTF-8, as `\xNN`; a newline as `\n`.
fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push(c),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Appends the fields that are there, as a JSON object on one line.
pub(super) fn event_json(event: &Event<'_>, out: &mut String) {
    out.push_str("{\"event_name\":");
    json_text(event.event_name, out);
    let _ = write!(out, ",\"event_time\":{}", event.event_time);
    for (name, text) in [
        ("container_id", event.container_id),
        ("source_id", event.source_id),
        ("source_name", event.source_name),
        ("event_source_type", event.event_source_type),
    ] {
        if !text.is_empty() {
            let _ = write!(out, ",\"{name}\":");
            json_text(text, out);
        }
    }
    for (name, list) in event.lists() {
        if !list.is_empty() {
            let _ = write!(out, ",\"{name}\":");
            json_list(list, out);
        }
    }
    out.push('}');
}

fn json_list(list: KeyValues<'_>, out: &mut String) {
    for (n, entry) in list.iter().enumerate() {
        out.push_str(if n == 0 { "[{" } else { ",{" });
        json_text(entry.key, out);
        out.push(':');
        json_text(entry.value, out);
        out.push('}');
    }
    out.push(']');
}

/// A JSON string; bytes that are not UTF-8 become U+FFFD. JSON escapes the C0 controls; the C1 controls are escaped
/// here, since terminals act upon some.
pub(super) fn json_text(bytes: &[u8], out: &mut String) {
    let text = String::from_utf8_lossy(bytes);
    json_value(&serde_json::Value::from(text.as_ref()), out);
}

/// A JSON value on one line, with the controls in its texts escaped as above.
pub(super) fn json_value(value: &serde_json::Value, out: &mut String) {
    for c in value.to_string().chars() {
        if c.is_control() {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    macro_rules! golden {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/golden/1-inputs/", $name, ".fb"))
        };
    }

    fn shown(subject: &str, data: &[u8]) -> String {
        let mut out = String::new();
        show(subject, data, false, &mut out);
        out
    }

    #[test]
    fn a_log_line_is_printed_with_its_container() {
        assert_eq!(
            shown("LOG", golden!("log_message")),
            "app: hello golden line 1\n"
        );
        assert_eq!(
            shown("LOG", golden!("log_message_not_utf8")),
            "app: bytes \\xff\\xfe\\x80 not utf-8 \\xc3\n"
        );
    }

    #[test]
    fn an_event_is_printed_as_json() {
        let text = shown("EVENT", golden!("event_full"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["event_name"], "GoldenEvent");
        assert_eq!(json["event_time"], 1_767_225_600_123_i64);
        assert_eq!(json["managed_object"][1]["mo2"], "v2 <&> \"q\" é");
        assert_eq!(json["monitored_attributes"][0]["ma1"], "m1");
        assert_eq!(
            shown("EVENT", golden!("event_name_not_utf8")),
            "{\"event_name\":\"Bad\u{fffd}\",\"event_time\":0}\n"
        );
    }

    #[test]
    fn what_is_malformed_is_said_and_shown_in_part() {
        let text = shown("LOG", b"just text");
        assert!(
            text.starts_with("LOG: malformed, ") && text.ends_with("9 bytes: just text\n"),
            "{text}"
        );
        assert!(shown("EVENT", &[b'x'; 5000]).len() < 400);
    }

    #[test]
    fn other_subjects_are_text_and_control_bytes_are_escaped() {
        assert_eq!(shown("CONFIG", b"{\"a\":1}"), "{\"a\":1}\n");
        assert_eq!(shown("x", b"a\tb\n\x1b[31m\xff"), "a\tb\\n\\x1b[31m\\xff\n");
        let mut out = String::new();
        show("a.b", b"x", true, &mut out);
        assert_eq!(out, "a.b: x\n");
    }

    proptest! {
        #[test]
        fn every_message_is_one_line_without_control_characters(
            subject in prop_oneof![Just("LOG"), Just("EVENT"), Just("x")],
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let text = shown(subject, &data);
            let line = text.strip_suffix('\n').unwrap();
            prop_assert!(line.chars().all(|c| c == '\t' || !c.is_control()), "{line:?}");
        }
    }
}
