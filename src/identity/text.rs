//! Text from outside, made safe or refused.

use crate::limits;

/// `text` as a name that may be part of a file name: other characters become `-`, and it is cut.
pub fn safe_name(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
            c
        } else {
            '-'
        }
    };
    let name: String = text
        .chars()
        .take(limits::IDENTITY_BYTES)
        .map(safe)
        .collect();
    if name.bytes().all(|b| b == b'.') {
        return "-".repeat(name.len().max(1));
    }
    name
}

/// `text` without control characters, cut at a character.
pub fn bounded_text(text: &str) -> String {
    let mut bounded = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if bounded.len() + c.len_utf8() > limits::IDENTITY_BYTES {
            break;
        }
        bounded.push(c);
    }
    bounded
}

/// May be a part of a key in etcd, which is parted by `/`: not empty, bounded, one line.
pub fn is_key_part(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= limits::IDENTITY_BYTES
        && !text.chars().any(|c| c == '/' || c.is_control())
}
