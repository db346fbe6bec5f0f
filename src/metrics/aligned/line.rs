//! The words of one line of the exposition format: names, quoted strings, numbers.

use std::borrow::Cow;

use super::error::{Problem, snippet};
use crate::limits;

/// What is left of a line, which is UTF-8 and holds no line end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    rest: &'a str,
}

/// Which characters a name may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Letters, digits, `_` and `:`.
    Metric,
    /// Letters, digits and `_`.
    Label,
}

impl Name {
    fn allows(self, char: char, first: bool) -> bool {
        match char {
            'a'..='z' | 'A'..='Z' | '_' => true,
            '0'..='9' => !first,
            ':' => self == Self::Metric,
            _ => false,
        }
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over spaces and tabs.
    pub(super) fn blanks(&mut self) -> &mut Self {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        self
    }

    /// Passes over `char` if it is the next one.
    pub(super) fn eat(&mut self, char: char) -> bool {
        match self.rest.strip_prefix(char) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// All up to the next space or tab.
    pub(super) fn word(&mut self) -> &'a str {
        self.split(self.rest.find([' ', '\t']))
    }

    /// A name without quotes; empty when there is none.
    pub(super) fn bare(&mut self, name: Name) -> &'a str {
        let mut chars = self.rest.char_indices();
        self.split(chars.find_map(|(at, char)| (!name.allows(char, at == 0)).then_some(at)))
    }

    /// A name, in quotes or without; `None` when there is none.
    ///
    /// # Errors
    /// Too long, or in quotes that are empty or not closed.
    pub(super) fn name(&mut self, name: Name) -> Result<Option<Cow<'a, str>>, Problem> {
        let found = if self.eat('"') {
            let quoted = self.quoted()?;
            if quoted.is_empty() {
                return Err(Problem::unexpected("a name in the quotes", self.rest));
            }
            plain(quoted, name)
        } else {
            Cow::Borrowed(self.bare(name))
        };
        if found.len() > limits::EXPOSITION_NAME_BYTES {
            return Err(Problem::NameTooLong {
                snippet: snippet(&found),
                limit: limits::EXPOSITION_NAME_BYTES,
            });
        }
        Ok(Some(found).filter(|name| !name.is_empty()))
    }

    /// The string whose opening quote was just passed, without its escapes. Borrowed when it has none.
    ///
    /// # Errors
    /// The closing quote is missing.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Problem> {
        let start = self.rest;
        let mut at = 0;
        let mut escapes = false;
        loop {
            let rest = start.as_bytes().get(at..).unwrap_or_default();
            let Some(next) = memchr::memchr2(b'"', b'\\', rest) else {
                return Err(Problem::unexpected("a string that ends in \"", start));
            };
            at += next;
            if start.as_bytes().get(at) == Some(&b'\\') {
                escapes = true;
                at += 2;
                continue;
            }
            let raw = start.get(..at).unwrap_or_default();
            self.rest = start.get(at + 1..).unwrap_or_default();
            return Ok(if escapes {
                Cow::Owned(unescape(raw, true))
            } else {
                Cow::Borrowed(raw)
            });
        }
    }

    fn split(&mut self, at: Option<usize>) -> &'a str {
        let at = at.unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(at).unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }
}

/// `text` with `\\` and `\n` as they are meant, `\"` too when `quote`. Another escape stays as it is, as in Prometheus.
pub(super) fn unescape(text: &str, quote: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if quote => out.push('"'),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    out
}

/// Appends `text` with `\` and line ends escaped, `"` too when `quote`.
pub(super) fn escape(text: &str, quote: bool, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quote => out.extend_from_slice(b"\\\""),
            _ => out.push(byte),
        }
    }
}

/// A name with `_` for each character that text format 0.0.4 does not have, which is how Prometheus writes names for a reader
/// that has not asked for others.
fn plain(name: Cow<'_, str>, kind: Name) -> Cow<'_, str> {
    let bad = |(at, char)| !kind.allows(char, at == 0);
    if !name.char_indices().any(bad) {
        return name;
    }
    let plain = |(at, char)| if bad((at, char)) { '_' } else { char };
    Cow::Owned(name.char_indices().map(plain).collect())
}
