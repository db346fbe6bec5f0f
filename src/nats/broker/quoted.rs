//! A subject in the text of an error, quoted as nats-server does it: in the way of Go.

/// `bytes` between quotation marks; what cannot be printed is escaped.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(c, &mut text);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

fn push(c: char, text: &mut String) {
    match c {
        '"' | '\\' => text.extend(['\\', c]),
        ' '..='~' => text.push(c),
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\t' => text.push_str("\\t"),
        '\n' => text.push_str("\\n"),
        '\x0b' => text.push_str("\\v"),
        '\x0c' => text.push_str("\\f"),
        '\r' => text.push_str("\\r"),
        '\0'..='\x7f' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_printed(c) => text.push(c),
        c if u32::from(c) < 0x10000 => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => text.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// What Rust prints as it is, Go does too: neither blanks nor what has no form of its own. Behind another one a mark is printed as well.
fn is_printed(c: char) -> bool {
    let pair: String = ['a', c].into_iter().collect();
    pair.escape_debug().eq(pair.chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_as_go_quotes() {
        for (bytes, expected) in [
            (&b"foo.*"[..], r#""foo.*""#),
            (b"a\"b\\'c", r#""a\"b\\'c""#),
            (
                b"\x00\x01\x07\x08\t\n\x0b\x0c\r\x1b\x7f",
                r#""\x00\x01\a\b\t\n\v\f\r\x1b\x7f""#,
            ),
            ("caf\u{e9} \u{301}".as_bytes(), "\"caf\u{e9} \u{301}\""),
            (b"\xff\xc3", r#""\xff\xc3""#),
            (
                "\u{a0}\u{2028}\u{fffd}\u{e0001}".as_bytes(),
                "\"\\u00a0\\u2028\u{fffd}\\U000e0001\"",
            ),
        ] {
            assert_eq!(quoted(bytes), expected);
        }
    }
}
