//! What is wrong with the text of a scrape.

use crate::limits;

/// A text that cannot be taken, and where. All of the port's samples are left out then, as Prometheus does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The whole text is too long.
    #[error("the text has more than {limit} bytes")]
    TextTooLong {
        /// [`limits::EXPOSITION_BYTES`].
        limit: usize,
    },
    /// The line is too long.
    #[error("it has more than {limit} bytes")]
    LineTooLong {
        /// [`limits::EXPOSITION_LINE_BYTES`].
        limit: usize,
    },
    /// A metric or label has too long a name.
    #[error("the name \"{snippet}…\" has more than {limit} bytes")]
    NameTooLong {
        /// How it begins.
        snippet: String,
        /// [`limits::EXPOSITION_NAME_BYTES`].
        limit: usize,
    },
    /// Too many labels.
    #[error("it has more than {limit} labels")]
    Labels {
        /// [`limits::EXPOSITION_LABELS`].
        limit: usize,
    },
    /// Too many samples.
    #[error("there are more than {limit} samples")]
    Series {
        /// [`limits::SNAPSHOT_SERIES`].
        limit: usize,
    },
    /// Too many families.
    #[error("there are more than {limit} metric families")]
    Families {
        /// [`limits::EXPOSITION_FAMILIES`].
        limit: usize,
    },
    /// A help text or a sample is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// Something else was expected.
    #[error("{expected} was expected, and it goes on with \"{found}\"")]
    Unexpected {
        /// What should be there.
        expected: &'static str,
        /// How it goes on, the special characters escaped.
        found: String,
    },
    /// A label is there twice.
    #[error("it has the label \"{0}\" twice")]
    LabelTwice(String),
    /// The label that stands for the metric's name.
    #[error("the label __name__ is reserved")]
    NameLabel,
    /// A text in OpenMetrics that was cut off.
    #[error("the text ends without # EOF")]
    NoEof,
    /// OpenMetrics with something after its end.
    #[error("the text goes on after # EOF")]
    AfterEof,
}

impl Problem {
    /// `expected` is not what `rest` of the line begins with.
    pub(super) fn unexpected(expected: &'static str, rest: &str) -> Self {
        Self::Unexpected {
            expected,
            found: snippet(rest),
        }
    }
}

/// The beginning of `text`, fit to be shown.
pub(super) fn snippet(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        let before = shown.len();
        match char {
            '\'' | '"' => shown.push(char),
            _ => shown.extend(char.escape_debug()),
        }
        if shown.len() > limits::EXPOSITION_SNIPPET_BYTES {
            shown.truncate(before);
            break;
        }
    }
    shown
}
