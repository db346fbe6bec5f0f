//! Text as Go's `encoding/json` writes it inside quotes: CIM's peers compare bytes.
//!
//! Besides what JSON wants, `<`, `>`, `&`, U+2028 and U+2029 are escaped, and each byte that is not UTF-8 becomes
//! `\ufffd`. Go 1.22 and later: `\b` and `\f` are short.

/// Bytes that are looked at together: the compiler turns the check into vector instructions.
const STRIDE: usize = 32;

/// True for a byte that may have to be escaped; U+2028, U+2029 and bad UTF-8 start with one that is not ASCII.
const fn special(byte: u8) -> bool {
    // Written without short circuit, so that it stays free of branches.
    (byte < 0x20)
        | (byte >= 0x80)
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
}

/// The number of bytes at the start of `text` that can be copied as they are.
fn clean(text: &[u8]) -> usize {
    let mut at = 0;
    for stride in text.chunks(STRIDE) {
        if stride
            .iter()
            .fold(false, |found, &byte| found | special(byte))
        {
            break;
        }
        at += stride.len();
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .position(|&byte| special(byte))
        .unwrap_or(rest.len())
}

/// Appends `text`, escaped.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut text = text;
    loop {
        let (run, rest) = text.split_at(clean(text));
        out.extend_from_slice(run);
        let Some(&byte) = rest.first() else {
            return;
        };
        text = rest.get(one(byte, rest, out)..).unwrap_or_default();
    }
}

/// Appends `"name":"value"`, the value escaped. `name` is one of CIM's own and needs no escape.
pub fn member(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    escape(value, out);
    out.push(b'"');
}

/// Appends the character that starts with the special byte `byte`, the first of `text`; returns its length.
fn one(byte: u8, text: &[u8], out: &mut Vec<u8>) -> usize {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        0x80.. => return beyond_ascii(byte, text, out),
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    1
}

fn beyond_ascii(byte: u8, text: &[u8], out: &mut Vec<u8>) -> usize {
    let len = match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    match text
        .get(..len)
        .filter(|c| !c.is_empty() && std::str::from_utf8(c).is_ok())
    {
        Some([0xe2, 0x80, last @ (0xa8 | 0xa9)]) => {
            out.extend_from_slice(b"\\u202");
            out.push(if *last == 0xa8 { b'8' } else { b'9' });
            len
        }
        Some(c) => {
            out.extend_from_slice(c);
            len
        }
        None => {
            out.extend_from_slice(b"\\ufffd");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape(text, &mut out);
        out
    }

    /// One character after the other, as Go's documentation tells it.
    fn reference(text: &[u8]) -> Vec<u8> {
        let mut out = String::new();
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    '\u{8}' => out.push_str("\\b"),
                    '\u{c}' => out.push_str("\\f"),
                    '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                        out.push_str(&format!("\\u{:04x}", c as u32));
                    }
                    c => out.push(c),
                }
            }
            chunk.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
        }
        out.into_bytes()
    }

    #[test]
    fn as_go_writes_it() {
        for (text, want) in [
            (&b""[..], &b""[..]),
            (b"plain \x7f", b"plain \x7f"),
            (b"a\"b\\c/", b"a\\\"b\\\\c/"),
            (b"\n\r\t\x08\x0c", b"\\n\\r\\t\\b\\f"),
            (b"\0\x01\x1f", b"\\u0000\\u0001\\u001f"),
            (b"<&>", b"\\u003c\\u0026\\u003e"),
            ("é€😀".as_bytes(), "é€😀".as_bytes()),
            (
                "\u{2027}\u{2028}\u{2029}\u{202a}".as_bytes(),
                "\u{2027}\\u2028\\u2029\u{202a}".as_bytes(),
            ),
            ("\u{fffd}".as_bytes(), "\u{fffd}".as_bytes()),
            (b"\xff\xfe\x80", b"\\ufffd\\ufffd\\ufffd"),
            // Cut short, overlong, a surrogate, beyond the last character: one for each byte.
            (b"\xe2\x82", b"\\ufffd\\ufffd"),
            (b"\xc0\xaf", b"\\ufffd\\ufffd"),
            (b"\xed\xa0\x80", b"\\ufffd\\ufffd\\ufffd"),
            (b"\xf4\x90\x80\x80", b"\\ufffd\\ufffd\\ufffd\\ufffd"),
            (b"\xe2x", b"\\ufffdx"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&escaped(text)),
                String::from_utf8_lossy(want)
            );
        }
    }

    proptest! {
        #[test]
        fn as_the_reference(text: Vec<u8>) {
            prop_assert_eq!(escaped(&text), reference(&text));
        }

        #[test]
        fn as_the_reference_where_most_is_clean(
            text in "([ -~]{0,70}|[\u{0}-\u{3f}]|é|\u{2028}|\u{2029}|😀){0,8}", at: usize, byte: u8,
        ) {
            let mut text = text.into_bytes();
            if !text.is_empty() {
                let at = at % text.len();
                text[at] = byte;
            }
            prop_assert_eq!(escaped(&text), reference(&text));
        }
    }
}
