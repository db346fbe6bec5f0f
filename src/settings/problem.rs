//! What is wrong with a setting: which one, its value, what is allowed. Values come from outside, so what is shown of
//! them is cut, on one line, and without what may be a password.

use std::fmt;

use serde_json::Value;

use crate::limits;

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its path (`cimConfig.lmaas.buffer_size`) or name (`CIM_LOG_DIR`).
    pub path: String,
    /// The value found, as it may be shown: see [`shown`].
    pub value: String,
    /// What is allowed, as the end of "allowed: …".
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} is not allowed; allowed: {}",
            self.path, self.value, self.allowed
        )
    }
}

/// Items of which at most [`limits::CONFIG_PROBLEMS`] are kept; the others are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T> {
    kept: Vec<T>,
    more: usize,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Bounded<T> {
    /// Adds an item, or counts it.
    pub fn push(&mut self, item: T) {
        if self.kept.len() < limits::CONFIG_PROBLEMS {
            self.kept.push(item);
        } else {
            self.more += 1;
        }
    }

    /// The items that were kept, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.kept.iter()
    }

    /// How many were not kept.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Nothing was added.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

impl<T: fmt::Display> fmt::Display for Bounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.kept.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(f, "{separator}{item}")?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

/// The problems of one document.
pub type Problems = Bounded<Problem>;

/// A JSON value as an error may show it. What is in an array or object is not shown: it may be anything.
pub fn shown_json(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => format!("an object of {}", members.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A text as an error may show it: quoted, control characters escaped, at most [`limits::SHOWN_VALUE_BYTES`] of it,
/// credentials masked.
pub fn shown(text: &str) -> String {
    let text = mask_credentials(text);
    let head = cut(&text, limits::SHOWN_VALUE_BYTES);
    let dots = if head.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", escaped(head))
}

/// As much of the beginning of `text` as fits into `bytes` without cutting a character in two.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// `text` with every control character written as its escape, so that it stays on one line and moves no cursor.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `text`, an address or a comma-separated list of them, with everything up to the last `@` (but the first scheme)
/// replaced: a password may hold any character, so nothing before the `@` is safe to show.
pub fn mask_credentials(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let scheme = before
        .find("://")
        .and_then(|at| before.get(..at + 3))
        .filter(|scheme| {
            scheme
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b":/".contains(&b))
        })
        .unwrap_or_default();
    format!("{scheme}***@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_cut_quoted_and_on_one_line() {
        for (value, expected) in [
            (json!(5), "5".to_owned()),
            (json!("a\nb"), "\"a\\nb\"".to_owned()),
            (json!("x".repeat(100)), format!("\"{}…\"", "x".repeat(64))),
            (json!("é".repeat(100)), format!("\"{}…\"", "é".repeat(32))),
            (json!({"a": [1, null]}), "an object of 1".to_owned()),
            (json!([1, null]), "an array of 2".to_owned()),
            (json!(null), "null".to_owned()),
            (json!(-5.5), "-5.5".to_owned()),
            (json!("\u{1b}[2J"), "\"\\u{1b}[2J\"".to_owned()),
        ] {
            assert_eq!(shown_json(&value), expected);
        }
    }

    #[test]
    fn credentials_in_addresses_are_masked() {
        for (text, expected) in [
            ("http://u:p@h:1", "http://***@h:1"),
            ("h:1,https://u:p@@h:2,u@h:3", "***@h:3"),
            ("http://u:p,q@h", "http://***@h"),
            ("h:1", "h:1"),
        ] {
            assert_eq!(mask_credentials(text), expected);
        }
        let long = format!("http://user:secret{}@h", "x".repeat(100));
        assert_eq!(shown(&long), "\"http://***@h\"");
    }

    #[test]
    fn problems_are_bounded_and_the_rest_counted() {
        let mut all = Bounded::default();
        for n in 0..limits::CONFIG_PROBLEMS + 3 {
            all.push(n);
        }
        assert_eq!(all.iter().count(), limits::CONFIG_PROBLEMS);
        assert!(all.to_string().ends_with("; and 3 more"));
    }
}
