//! The text of one scrape: Prometheus' text format 0.0.4, and what OpenMetrics 1.0 adds.
//!
//! A parser of its own: of the crates there are, `prometheus-parse`, `prometheus-scrape` and `openmetrics` know no escapes, lose lines
//! in silence and rest on regular expressions, and `openmetrics-parser` refuses what Prometheus takes, is LGPL, and builds a tree.
//!
//! It takes what either of Prometheus' two parsers takes (the server's `textparse` and the library's `expfmt`, which the original used):
//! samples without TYPE, HELP and TYPE in any place and several times, blank lines, spaces and tabs between words, a comma too many
//! or too few between labels, escapes that mean nothing, types in capitals, no line end behind the last line, names in quotes.
//! It refuses what both refuse: a CR before a line end, numbers with `_` or in hexadecimal, text that is not UTF-8.
//!
//! | as it comes | family, as text format 0.0.4 has it |
//! |---|---|
//! | `x_bucket`, `x_sum`, `x_count` of a histogram `x`; the latter two of a summary | `x` |
//! | `x_total` of a counter `x`, `x_info` of an info `x` | `x_total` counter, `x_info` gauge |
//! | `x_created` of any of these; `x_gsum`, `x_gcount` of a gauge histogram | a gauge of that name |
//! | gauge histogram; state set; unknown | histogram; gauge; untyped |
//! | a second TYPE that says something else | untyped |
//! | a name with other characters, in quotes | `_` for each of them |
//!
//! Exemplars, units and families without a sample are left out, and of several samples of one series with one timestamp all but the first.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::{ParseError, Problem, snippet};
use super::family::{ALIGNED_LABEL, Family, Kind, Label, PORT_LABEL, Samples, Seen};
use super::line::{Line, Name, unescape};
use crate::limits;

/// How the text is meant, which its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Timestamps are milliseconds.
    #[default]
    Text,
    /// Timestamps are seconds, and the text ends in `# EOF`.
    OpenMetrics,
}

impl Format {
    /// What the value of a header `Content-Type` says; text when there is none, or another.
    pub fn of(content_type: Option<&str>) -> Self {
        let media_type = content_type.and_then(|value| value.split(';').next());
        match media_type {
            Some(name)
                if name
                    .trim()
                    .eq_ignore_ascii_case("application/openmetrics-text") =>
            {
                Self::OpenMetrics
            }
            _ => Self::Text,
        }
    }
}

/// Bounds of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Bytes of it.
    pub bytes: usize,
    /// Samples.
    pub series: usize,
    /// Families, those without a sample too.
    pub families: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            bytes: limits::EXPOSITION_BYTES,
            series: limits::SNAPSHOT_SERIES,
            families: limits::EXPOSITION_FAMILIES,
        }
    }
}

/// The families of `text` that have samples, in the order in which they came.
///
/// # Errors
/// The first line that cannot be taken, or at which a limit is passed.
pub fn parse(text: &[u8], format: Format, limits: &ParseLimits) -> Result<Vec<Family>, ParseError> {
    let at_line = |line| move |problem| ParseError { line, problem };
    if text.len() > limits.bytes {
        let limit = limits.bytes;
        return Err(at_line(1)(Problem::TextTooLong { limit }));
    }
    let mut parser = Parser::new(format, *limits);
    let mut number = 0;
    let mut rest = text;
    while !rest.is_empty() {
        number += 1;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = after.get(1..).unwrap_or_default();
        parser.line(line).map_err(at_line(number))?;
    }
    parser.finish().map_err(at_line(number.max(1)))
}

/// What `# TYPE` says, or OpenMetrics' addition to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    Kind(Kind),
    GaugeHistogram,
    Info,
    StateSet,
}

impl Declared {
    /// In any case, as `expfmt` takes it.
    fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "counter" => Self::Kind(Kind::Counter),
            "gauge" => Self::Kind(Kind::Gauge),
            "histogram" => Self::Kind(Kind::Histogram),
            "summary" => Self::Kind(Kind::Summary),
            "untyped" | "unknown" => Self::Kind(Kind::Untyped),
            "gaugehistogram" | "gauge_histogram" => Self::GaugeHistogram,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }

    fn kind(self) -> Kind {
        match self {
            Self::Kind(kind) => kind,
            Self::GaugeHistogram => Kind::Histogram,
            Self::Info | Self::StateSet => Kind::Gauge,
        }
    }

    /// What a sample belongs to whose name is that of the family with `suffix` behind it.
    fn place(self, suffix: &str) -> Option<Place> {
        use Kind::{Counter, Gauge, Histogram, Summary};
        Some(match (self, suffix) {
            (Self::Kind(Counter), "_total") => Place::Own(Counter),
            (Self::Info, "_info") => Place::Own(Gauge),
            (Self::Kind(Counter | Histogram | Summary) | Self::GaugeHistogram, "_created") => {
                Place::Own(Gauge)
            }
            (Self::GaugeHistogram, "_gsum" | "_gcount") => Place::Own(Gauge),
            (Self::Kind(Histogram) | Self::GaugeHistogram, "_bucket" | "_sum" | "_count") => {
                Place::Group
            }
            (Self::Kind(Summary), "_sum" | "_count") => Place::Group,
            _ => return None,
        })
    }
}

/// Where a sample goes whose name has a suffix.
enum Place {
    /// Among the samples of the family.
    Group,
    /// Into a family of its own, of this kind, with the same help text.
    Own(Kind),
}

/// A family while it is read.
struct Entry<'a> {
    name: Cow<'a, str>,
    help: Option<Cow<'a, str>>,
    declared: Option<Declared>,
    samples: Samples,
}

struct Parser<'a> {
    format: Format,
    limits: ParseLimits,
    entries: Vec<Entry<'a>>,
    /// Where the samples of a name go, and what is said about it.
    by_name: HashMap<Cow<'a, str>, usize>,
    /// The place of the sample before: most have the same name.
    last: Option<(Cow<'a, str>, usize)>,
    labels: Vec<Label<'a>>,
    series: usize,
    seen: Seen,
    ended: bool,
}

impl<'a> Parser<'a> {
    fn new(format: Format, limits: ParseLimits) -> Self {
        Self {
            format,
            limits,
            entries: Vec::new(),
            by_name: HashMap::new(),
            last: None,
            labels: Vec::new(),
            series: 0,
            seen: Seen::new(),
            ended: false,
        }
    }

    fn line(&mut self, line: &'a [u8]) -> Result<(), Problem> {
        let limit = limits::EXPOSITION_LINE_BYTES;
        if line.len() > limit {
            return Err(Problem::LineTooLong { limit });
        }
        let line = without_blanks(line);
        if self.ended && !line.is_empty() {
            return Err(Problem::AfterEof);
        }
        match line.split_first() {
            None => Ok(()),
            Some((b'#', comment)) => self.comment(comment),
            Some(_) => self.sample(Line::new(utf8(line)?)),
        }
    }

    /// What follows a `#`.
    fn comment(&mut self, comment: &'a [u8]) -> Result<(), Problem> {
        let words = without_blanks(comment);
        // Without a space it is a comment, whatever it says.
        if words.len() == comment.len() {
            return Ok(());
        }
        if self.format == Format::OpenMetrics && words == b"EOF" {
            self.ended = true;
            return Ok(());
        }
        let help = words.starts_with(b"HELP");
        if !(help || words.starts_with(b"TYPE")) {
            return Ok(());
        }
        // Other comments may be in any encoding.
        let mut line = Line::new(utf8(words.get(4..).unwrap_or_default())?);
        if !line.rest().starts_with([' ', '\t']) || line.blanks().is_empty() {
            return Ok(());
        }
        let Some(name) = line.name(Name::Metric)? else {
            return Err(Problem::unexpected("the name of a metric", line.rest()));
        };
        if !line.is_empty() && !line.rest().starts_with([' ', '\t']) {
            return Err(Problem::unexpected("a space behind the name", line.rest()));
        }
        let text = line.blanks().rest();
        if help {
            self.help(name, text)
        } else {
            self.declare(name, text.trim_end_matches([' ', '\t']))
        }
    }

    fn help(&mut self, name: Cow<'a, str>, text: &'a str) -> Result<(), Problem> {
        let quote = self.format == Format::OpenMetrics;
        let entry = self.metadata(name)?;
        if let Some(entry) = entry
            && entry.help.is_none()
            && !text.is_empty()
        {
            entry.help = Some(if text.contains('\\') {
                Cow::Owned(unescape(text, quote))
            } else {
                Cow::Borrowed(text)
            });
        }
        Ok(())
    }

    fn declare(&mut self, name: Cow<'a, str>, word: &'a str) -> Result<(), Problem> {
        // `expfmt` takes a TYPE that says nothing.
        if word.is_empty() {
            return Ok(());
        }
        let declared = Declared::parse(word)
            .ok_or_else(|| Problem::unexpected("the type of a metric", word))?;
        if let Some(entry) = self.metadata(name)? {
            entry.declared = match entry.declared {
                Some(before) if before != declared => Some(Declared::Kind(Kind::Untyped)),
                _ => Some(declared),
            };
        }
        Ok(())
    }

    /// The family that HELP or TYPE is about; none when the name is that of samples of another family.
    fn metadata(&mut self, name: Cow<'a, str>) -> Result<Option<&mut Entry<'a>>, Problem> {
        let index = match self.by_name.get(&name) {
            Some(&index) => index,
            None => self.add(name.clone(), None, None)?,
        };
        Ok(self
            .entries
            .get_mut(index)
            .filter(|entry| entry.name == name))
    }

    fn add(
        &mut self,
        name: Cow<'a, str>,
        help: Option<Cow<'a, str>>,
        declared: Option<Declared>,
    ) -> Result<usize, Problem> {
        let index = self.entries.len();
        if index >= self.limits.families {
            let limit = self.limits.families;
            return Err(Problem::Families { limit });
        }
        self.by_name.insert(name.clone(), index);
        self.entries.push(Entry {
            name,
            help,
            declared,
            samples: Samples::default(),
        });
        Ok(index)
    }

    /// The entry that samples of this name go to.
    fn place(&mut self, name: Cow<'a, str>) -> Result<usize, Problem> {
        if let Some((last, index)) = &self.last
            && *last == name
        {
            return Ok(*index);
        }
        let index = match self.by_name.get(&name) {
            Some(&index) => index,
            None => self.find_place(name.clone())?,
        };
        self.last = Some((name, index));
        Ok(index)
    }

    fn find_place(&mut self, name: Cow<'a, str>) -> Result<usize, Problem> {
        let base = name.rfind('_').and_then(|at| name.split_at_checked(at));
        if let Some((base, suffix)) = base
            && let Some(&index) = self.by_name.get(base)
            && let Some(entry) = self.entries.get(index).filter(|entry| entry.name == base)
            && let Some(place) = entry.declared.and_then(|declared| declared.place(suffix))
        {
            return match place {
                Place::Group => {
                    self.by_name.insert(name, index);
                    Ok(index)
                }
                Place::Own(kind) => {
                    let help = entry.help.clone();
                    self.add(name, help, Some(Declared::Kind(kind)))
                }
            };
        }
        self.add(name, None, None)
    }

    fn sample(&mut self, mut line: Line<'a>) -> Result<(), Problem> {
        self.labels.clear();
        let mut name = None;
        if !line.rest().starts_with('{') {
            name = line.name(Name::Metric)?;
            if name.is_none() {
                return Err(Problem::unexpected("the name of a metric", line.rest()));
            }
        }
        if line.blanks().eat('{') {
            self.braces(&mut line, &mut name)?;
        }
        let Some(name) = name else {
            return Err(Problem::unexpected(
                "the name of the metric in the braces",
                line.rest(),
            ));
        };
        let value = number(line.blanks())?;
        let own_ms = self.timestamp(line.blanks())?;
        exemplar(line.blanks())?;
        self.add_sample(name, &value, own_ms)
    }

    /// The labels, whose opening brace was just passed, and the name of the metric if it is in quotes among them.
    fn braces(
        &mut self,
        line: &mut Line<'a>,
        metric: &mut Option<Cow<'a, str>>,
    ) -> Result<(), Problem> {
        loop {
            if line.blanks().eat('}') {
                return Ok(());
            }
            let start = *line;
            let in_quotes = line.rest().starts_with('"');
            let Some(name) = line.name(Name::Label)? else {
                return Err(Problem::unexpected("the name of a label", line.rest()));
            };
            if line.blanks().eat('=') {
                if !line.blanks().eat('"') {
                    return Err(Problem::unexpected("\" and the label's value", line.rest()));
                }
                let value = line.quoted()?;
                match &*name {
                    "__name__" => return Err(Problem::NameLabel),
                    ALIGNED_LABEL | PORT_LABEL => {}
                    _ if self.labels.len() >= limits::EXPOSITION_LABELS => {
                        let limit = limits::EXPOSITION_LABELS;
                        return Err(Problem::Labels { limit });
                    }
                    _ => self.labels.push(Label { name, value }),
                }
            } else if in_quotes && metric.is_none() && line.rest().starts_with([',', '}']) {
                // Other characters are allowed in it.
                *metric = { start }.name(Name::Metric)?;
            } else {
                return Err(Problem::unexpected(
                    "= behind the label's name",
                    line.rest(),
                ));
            }
            line.blanks().eat(',');
        }
    }

    /// Milliseconds.
    fn timestamp(&self, line: &mut Line<'a>) -> Result<Option<i64>, Problem> {
        if line.is_empty() || line.rest().starts_with('#') {
            return Ok(None);
        }
        let word = line.word();
        let ms = match self.format {
            Format::Text => word.parse().ok(),
            Format::OpenMetrics => float(word).and_then(|seconds| {
                let ms = (seconds * 1000.0).round();
                // Beyond 2^53 a double does not tell milliseconds apart.
                (ms.abs() < 9e15).then_some(ms as i64)
            }),
        };
        ms.map(Some)
            .ok_or_else(|| Problem::unexpected("a timestamp", word))
    }

    fn add_sample(
        &mut self,
        name: Cow<'a, str>,
        value: &str,
        own_ms: Option<i64>,
    ) -> Result<(), Problem> {
        if self.series >= self.limits.series {
            let limit = self.limits.series;
            return Err(Problem::Series { limit });
        }
        let index = self.place(name.clone())?;
        let Some(entry) = self.entries.get_mut(index) else {
            return Ok(());
        };
        let added = entry
            .samples
            .push(&name, &mut self.labels, value, own_ms, &mut self.seen)
            .map_err(|name| Problem::LabelTwice(snippet(&name)))?;
        self.series += usize::from(added);
        entry.samples.grouped |= added && name != entry.name;
        Ok(())
    }

    fn finish(self) -> Result<Vec<Family>, Problem> {
        if self.format == Format::OpenMetrics && !self.ended {
            return Err(Problem::NoEof);
        }
        let full = |entry: &Entry<'_>| !entry.samples.is_empty();
        let mut families = Vec::with_capacity(self.entries.iter().filter(|e| full(e)).count());
        for mut entry in self.entries.into_iter().filter(full) {
            entry.samples.shrink();
            families.push(Family {
                name: entry.name.into(),
                help: entry.help.unwrap_or_default().into(),
                kind: entry.declared.map_or(Kind::Untyped, Declared::kind),
                samples: entry.samples,
            });
        }
        Ok(families)
    }
}

/// `line` behind its leading spaces and tabs.
fn without_blanks(line: &[u8]) -> &[u8] {
    let blanks = line
        .iter()
        .take_while(|&&byte| matches!(byte, b' ' | b'\t'));
    line.get(blanks.count()..).unwrap_or_default()
}

fn utf8(text: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(text).map_err(|_| Problem::NotUtf8)
}

/// As Go reads it, without hexadecimal digits and `_`.
fn float(word: &str) -> Option<f64> {
    let value: f64 = word.parse().ok()?;
    let digits = word.bytes().any(|byte| byte.is_ascii_digit());
    let signed = word.starts_with(['+', '-']);
    // "1e999" is no number, and "-nan" no word.
    let good = value.is_finite() || !digits && (value.is_infinite() || !signed);
    good.then_some(value)
}

/// The value of a sample, fit to be written.
fn number<'a>(line: &mut Line<'a>) -> Result<Cow<'a, str>, Problem> {
    let word = line.word();
    let value = float(word).ok_or_else(|| Problem::unexpected("a number", word))?;
    Ok(if value.is_nan() {
        Cow::Borrowed("NaN")
    } else if value.is_infinite() {
        Cow::Borrowed(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if word.len() <= limits::SAMPLE_VALUE_BYTES {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("{value:e}"))
    })
}

/// What may follow a sample: `# {labels} value`, which is dropped.
fn exemplar(line: &mut Line<'_>) -> Result<(), Problem> {
    let rest = line.rest();
    if line.is_empty() || line.eat('#') && line.blanks().rest().starts_with('{') {
        Ok(())
    } else {
        Err(Problem::unexpected("the end of the line", rest))
    }
}

#[cfg(test)]
mod tests;
