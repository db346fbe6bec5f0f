//! A metric family and its samples, which are kept as the text that they are handed out as, but for the stamp.
//!
//! # A line
//!
//! The line of text format 0.0.4, its labels in alphabetical order, `le` and `quantile` behind them. Three bytes that no UTF-8 text
//! has stand for what a snapshot adds: [`ALIGNED`] for the label `aligned_ts`, [`PORT`] for `source_port`, [`STAMP`] for the timestamp.
//! A sample with a timestamp of its own has only the second of them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::{BuildHasher, Hash, RandomState};

use super::line::escape;

/// Stands for the pair `aligned_ts="…"`.
const ALIGNED: u8 = 0xff;
/// Stands for the pair `source_port="…"`.
const PORT: u8 = 0xfe;
/// Stands for a space and the timestamp.
const STAMP: u8 = 0xfd;

/// Labels that a snapshot adds, in their order; those of the application with these names give way.
pub(super) const ALIGNED_LABEL: &str = "aligned_ts";
pub(super) const PORT_LABEL: &str = "source_port";

/// Bytes that a stamp adds to a line at the most, with times of 10 and 13 digits.
const STAMP_BYTES: usize = "aligned_ts=\"1795393535\"source_port=\"65535\" 1795393535000".len() - 3;
/// Bytes of the comments before the samples, without name and help.
const COMMENT_BYTES: usize = "# HELP  \n# TYPE  histogram\n".len();

/// What a family is, as far as text format 0.0.4 tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Quantiles, `_sum` and `_count`.
    Summary,
    /// Not said, or said in different ways.
    Untyped,
}

impl Kind {
    /// As it is written behind `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

/// A metric family of one scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    pub(super) name: Box<str>,
    pub(super) help: Box<str>,
    pub(super) kind: Kind,
    pub(super) samples: Samples,
}

impl Family {
    /// Letters, digits, `_` and `:`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The help text without its escapes; empty when there is none.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of samples.
    pub fn series(&self) -> usize {
        self.samples.count
    }

    /// Bytes that it takes when it is handed out, at the most, and those of this struct. Samples take less in memory.
    pub(super) fn bytes(&self) -> usize {
        let escapes = |byte: &u8| matches!(byte, b'\\' | b'\n');
        size_of::<Self>()
            + COMMENT_BYTES
            + 2 * self.name.len()
            + self.help.len()
            + self
                .help
                .as_bytes()
                .iter()
                .filter(|byte| escapes(byte))
                .count()
            + self.samples.lines.len()
            + self.samples.count * STAMP_BYTES
    }
}

/// A label of a sample.
#[derive(Debug)]
pub(super) struct Label<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

/// Lines of samples, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Samples {
    lines: Vec<u8>,
    count: usize,
    /// A sample has a timestamp of its own.
    own_stamps: bool,
    /// A sample has another name than the family: `_bucket`, `_sum` or `_count`.
    pub grouped: bool,
}

/// Series, each with its timestamp, that were there before.
pub(super) struct Seen {
    hasher: RandomState,
    series: HashSet<u64>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            series: HashSet::new(),
        }
    }

    /// False when it was there before.
    fn insert(&mut self, series: &[u8], time: impl Hash) -> bool {
        // 64 random bits: two of 50,000 series are taken for one in one scrape of 10^10.
        self.series.insert(self.hasher.hash_one((series, time)))
    }
}

/// What a snapshot adds to the samples of one port.
pub(super) struct Stamp {
    aligned: Vec<u8>,
    port: Vec<u8>,
    time: Vec<u8>,
}

impl Stamp {
    pub(super) fn new(aligned_ms: u64, port: u16) -> Self {
        Self {
            aligned: pair(ALIGNED_LABEL, aligned_ms / 1000),
            port: pair(PORT_LABEL, port),
            time: format!(" {aligned_ms}").into_bytes(),
        }
    }

    fn append(&self, mut lines: &[u8], out: &mut Vec<u8>) {
        while let Some(at) = memchr::memchr3(ALIGNED, PORT, STAMP, lines) {
            let (text, rest) = lines.split_at_checked(at).unwrap_or_default();
            out.extend_from_slice(text);
            let Some((&hole, rest)) = rest.split_first() else {
                break;
            };
            out.extend_from_slice(match hole {
                ALIGNED => &self.aligned,
                PORT => &self.port,
                _ => &self.time,
            });
            lines = rest;
        }
        out.extend_from_slice(lines);
    }
}

fn pair(label: &str, value: impl Display) -> Vec<u8> {
    format!("{label}=\"{value}\"").into_bytes()
}

/// Where a label stands among the others.
fn order(name: &str) -> (bool, &str) {
    (matches!(name, "le" | "quantile"), name)
}

impl Samples {
    /// Lines that no snapshot stamps.
    pub(super) fn fixed(line: String) -> Self {
        Self {
            lines: line.into_bytes(),
            count: 1,
            ..Self::default()
        }
    }

    /// Adds a sample, if its series is not there already: the first one wins, as in Prometheus. `labels` are sorted.
    ///
    /// # Errors
    /// The name of the label that is there twice.
    pub(super) fn push<'a>(
        &mut self,
        name: &str,
        labels: &mut [Label<'a>],
        value: &str,
        own_ms: Option<i64>,
        seen: &mut Seen,
    ) -> Result<bool, Cow<'a, str>> {
        labels.sort_unstable_by(|a, b| order(&a.name).cmp(&order(&b.name)));
        let twice = labels.windows(2).find_map(|pair| match pair {
            [a, b] if a.name == b.name => Some(a.name.clone()),
            _ => None,
        });
        if let Some(name) = twice {
            return Err(name);
        }
        let start = self.lines.len();
        self.lines.extend_from_slice(name.as_bytes());
        let mut added = [ALIGNED_LABEL, PORT_LABEL].into_iter().peekable();
        let mut separator = b'{';
        for label in &*labels {
            while let Some(name) = added.next_if(|name| order(name) < order(&label.name)) {
                self.add_pair(&mut separator, name, own_ms);
            }
            self.separate(&mut separator);
            self.lines.extend_from_slice(label.name.as_bytes());
            self.lines.extend_from_slice(b"=\"");
            match &label.value {
                // It had no escape: nothing in it needs one.
                Cow::Borrowed(value) => self.lines.extend_from_slice(value.as_bytes()),
                Cow::Owned(value) => escape(value, true, &mut self.lines),
            }
            self.lines.push(b'"');
        }
        for name in added {
            self.add_pair(&mut separator, name, own_ms);
        }
        self.lines.extend_from_slice(b"} ");
        let series = self.lines.get(start..).unwrap_or_default();
        if !seen.insert(series, own_ms) {
            self.lines.truncate(start);
            return Ok(false);
        }
        self.lines.extend_from_slice(value.as_bytes());
        match own_ms {
            Some(ms) => {
                self.lines.push(b' ');
                self.lines
                    .extend_from_slice(itoa::Buffer::new().format(ms).as_bytes());
                self.own_stamps = true;
            }
            None => self.lines.push(STAMP),
        }
        self.lines.push(b'\n');
        self.count += 1;
        Ok(true)
    }

    fn separate(&mut self, separator: &mut u8) {
        self.lines.push(*separator);
        *separator = b',';
    }

    fn add_pair(&mut self, separator: &mut u8, name: &str, own_ms: Option<i64>) {
        self.separate(separator);
        match (name, own_ms) {
            (ALIGNED_LABEL, Some(ms)) => self.lines.extend(pair(name, ms.div_euclid(1000))),
            (ALIGNED_LABEL, None) => self.lines.push(ALIGNED),
            _ => self.lines.push(PORT),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives back the room that is not needed.
    pub(super) fn shrink(&mut self) {
        self.lines.shrink_to_fit();
    }

    /// A sample has a timestamp of its own.
    pub(super) fn has_own_stamps(&self) -> bool {
        self.own_stamps
    }

    /// Appends the lines with the stamp. With `seen`, those are left out whose series was there at this very timestamp: an
    /// application that moves its own timestamps slower than it is scraped says the same thing several times.
    pub(super) fn append(&self, stamp: &Stamp, seen: Option<&mut Seen>, out: &mut Vec<u8>) {
        let Some(seen) = seen else {
            return stamp.append(&self.lines, out);
        };
        for line in self.lines.split_inclusive(|&byte| byte == b'\n') {
            let start = out.len();
            stamp.append(line, out);
            let line = out.get(start..).unwrap_or_default();
            let mut words = line.rsplitn(3, |&byte| byte == b' ');
            let (time, _value, series) = (words.next(), words.next(), words.next());
            if !seen.insert(series.unwrap_or_default(), time) {
                out.truncate(start);
            }
        }
    }
}
