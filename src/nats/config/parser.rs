//! The text of a configuration to its values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, Fault, Place};
use super::sources::Sources;
use super::value::{Block, Kind, Value};
use crate::limits::{NATS_CONFIG_BYTES, NATS_CONFIG_DEPTH, NATS_CONFIG_FILES, NATS_CONFIG_VALUES};

/// The values of the file at `path`.
///
/// # Errors
/// A file cannot be read, is no configuration, or is too much of one.
pub fn read(path: &Path, sources: &dyn Sources) -> Result<Block, ConfigError> {
    let mut budget = Budget::default();
    read_file(path, sources, &mut budget, 0).map_err(|fault| match fault {
        Failure::Inside(error) => error,
        Failure::Here(fault) => ConfigError {
            place: Place {
                file: path.to_string_lossy().into(),
                line: 1,
            },
            fault,
        },
    })
}

/// What all files together have used up.
#[derive(Debug, Default)]
struct Budget {
    files: usize,
    bytes: usize,
    values: usize,
}

impl Budget {
    fn bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        within("bytes", self.bytes, NATS_CONFIG_BYTES)
    }

    fn values(&mut self, values: usize) -> Result<(), Fault> {
        self.values = self.values.saturating_add(values);
        within("values", self.values, NATS_CONFIG_VALUES)
    }
}

fn within(what: &'static str, have: usize, limit: usize) -> Result<(), Fault> {
    if have > limit {
        return Err(Fault::TooMuch { what, limit });
    }
    Ok(())
}

/// A fault of a file as such, or one at a place in it.
enum Failure {
    Here(Fault),
    Inside(ConfigError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

fn read_file(
    path: &Path,
    sources: &dyn Sources,
    budget: &mut Budget,
    depth: usize,
) -> Result<Block, Failure> {
    budget.files += 1;
    within("files", budget.files, NATS_CONFIG_FILES)?;
    let bytes = sources.file(path).map_err(|cause| Fault::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    budget.bytes(bytes.len())?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::Syntax("the file is not UTF-8"))?;
    let mut parser = Parser {
        text: &text,
        at: 0,
        line: 1,
        file: path.to_string_lossy().into(),
        folder: path.parent().map(Path::to_owned).unwrap_or_default(),
        sources,
        budget,
        scopes: vec![BTreeMap::new()],
        depth,
    };
    let parsed = parser.entries(End::OfText);
    parsed.map_err(|fault| match fault {
        Failure::Here(fault) => Failure::Inside(ConfigError {
            place: parser.place(),
            fault,
        }),
        inside => inside,
    })?;
    Ok(Block(parser.scopes.pop().unwrap_or_default()))
}

/// What ends the entries of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    OfText,
    Brace,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    file: Arc<str>,
    folder: PathBuf,
    sources: &'a dyn Sources,
    budget: &'a mut Budget,
    /// The blocks that are open, in which variables are looked for, the innermost last.
    scopes: Vec<BTreeMap<String, Value>>,
    /// Blocks and arrays that are open, those of the including files too.
    depth: usize,
}

type Parsed<T> = Result<T, Failure>;

fn syntax<T>(what: &'static str) -> Parsed<T> {
    Err(Fault::Syntax(what).into())
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// Takes `c` if it is the next one.
    fn takes(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.next();
        }
        found
    }

    fn place(&self) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.line,
        }
    }

    fn skip(&mut self, is_skipped: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&is_skipped) {
            self.next();
        }
    }

    /// Takes a comment, up to the end of its line.
    fn comment(&mut self) -> bool {
        let found = self.rest().starts_with('#') || self.rest().starts_with("//");
        if found {
            self.skip(|c| c != '\n');
        }
        found
    }

    fn blanks_and_comments(&mut self) {
        loop {
            self.skip(char::is_whitespace);
            if !self.comment() {
                return;
            }
        }
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        Ok(within("levels", self.depth, NATS_CONFIG_DEPTH)?)
    }

    /// Entries up to `end`, into the innermost scope.
    fn entries(&mut self, end: End) -> Parsed<()> {
        loop {
            self.blanks_and_comments();
            match self.peek() {
                None if end == End::OfText => return Ok(()),
                None => return syntax("the file ends within a block: a } is missing"),
                Some('}') if end == End::Brace => {
                    self.next();
                    return Ok(());
                }
                // JSON: the whole file is a block.
                Some('{') if end == End::OfText => {
                    self.next();
                    self.deeper()?;
                    self.entries(End::Brace)?;
                    self.depth -= 1;
                }
                Some(_) => {
                    self.entry(end)?;
                    self.entry_end(end)?;
                }
            }
        }
    }

    /// Behind a value: the end of the line, or what separates it from the next entry.
    fn entry_end(&mut self, end: End) -> Parsed<()> {
        self.skip(is_blank);
        if self.comment() {
            return Ok(());
        }
        match self.peek() {
            None => Ok(()),
            Some('}') if end == End::Brace => Ok(()),
            Some('\n' | '\r' | ',' | ';') => {
                self.next();
                Ok(())
            }
            Some(_) => syntax("a value must end with its line, a comma or a semicolon"),
        }
    }

    fn entry(&mut self, end: End) -> Parsed<()> {
        let place = self.place();
        let key = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.next();
                let key = self.up_to(quote)?;
                self.next();
                key
            }
            _ => {
                let key = self.word(|c| c.is_whitespace() || matches!(c, '=' | ':'));
                if key.is_empty() || key.starts_with(['[', ']', '{', '}', '(', ')', ',', ';']) {
                    return syntax("a key is missing");
                }
                if key.eq_ignore_ascii_case("include")
                    && self.peek().is_some_and(char::is_whitespace)
                {
                    self.skip(is_blank);
                    return self.include();
                }
                key
            }
        };
        self.skip(char::is_whitespace);
        if self.takes('=') || self.takes(':') {
            match end {
                // As in nats-server: a value begins in the line of its separator, but for one within braces.
                End::OfText => self.skip(is_blank),
                End::Brace => self.skip(char::is_whitespace),
            }
        }
        let kind = self.value()?;
        self.set(key.to_owned(), Value::new(kind, place))
    }

    fn set(&mut self, key: String, value: Value) -> Parsed<()> {
        let Some(scope) = self.scopes.last_mut() else {
            return syntax("a key outside of any block");
        };
        scope.insert(key, value);
        Ok(())
    }

    /// The text up to `end`, which must come.
    fn up_to(&mut self, end: char) -> Parsed<&'a str> {
        let start = self.at;
        self.skip(|c| c != end);
        if self.peek().is_none() {
            return syntax("the file ends within quotes");
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// The text up to a character that `is_end`, or to the end.
    fn word(&mut self, is_end: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        self.skip(|c| !is_end(c));
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn include(&mut self) -> Parsed<()> {
        let name = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.next();
                let name = self.up_to(quote)?;
                self.next();
                name
            }
            _ => self.word(|c| c.is_whitespace() || matches!(c, ';' | '}' | '\'')),
        };
        if name.is_empty() {
            return syntax("include needs the name of a file");
        }
        self.deeper()?;
        let path = self.folder.join(name);
        let block = read_file(&path, self.sources, self.budget, self.depth)?;
        self.depth -= 1;
        for (key, value) in block.0 {
            self.set(key, value)?;
        }
        Ok(())
    }

    /// The value that begins here.
    fn value(&mut self) -> Parsed<Kind> {
        self.budget.values(1)?;
        match self.peek() {
            None => syntax("a value is missing"),
            Some(c) if c.is_whitespace() => syntax("a value is missing"),
            Some('[') => {
                self.next();
                self.deeper()?;
                let values = self.array()?;
                self.depth -= 1;
                Ok(Kind::Array(values))
            }
            Some('{') => {
                self.next();
                self.deeper()?;
                self.scopes.push(BTreeMap::new());
                self.entries(End::Brace)?;
                self.depth -= 1;
                Ok(Kind::Block(Block(self.scopes.pop().unwrap_or_default())))
            }
            Some('(') => {
                self.next();
                self.lines().map(Kind::Text)
            }
            Some('\'') => {
                self.next();
                let text = self.up_to('\'')?.to_owned();
                self.next();
                Ok(Kind::Text(text))
            }
            Some('"') => {
                self.next();
                let (text, _) = self.unescaped(|c| c == '"')?;
                if !self.takes('"') {
                    return syntax("the file ends within quotes");
                }
                Ok(Kind::Text(text))
            }
            Some(_) => self.bare(),
        }
    }

    fn array(&mut self) -> Parsed<Vec<Value>> {
        let mut values = Vec::new();
        loop {
            self.blanks_and_comments();
            match self.peek() {
                None => return syntax("the file ends within an array: a ] is missing"),
                Some(']') => {
                    self.next();
                    return Ok(values);
                }
                Some(_) => {
                    let place = self.place();
                    let kind = self.value()?;
                    values.push(Value::new(kind, place));
                }
            }
            self.skip(is_blank);
            if self.comment() {
                continue;
            }
            match self.peek() {
                None | Some(']') => {}
                Some(',' | '\n' | '\r') => {
                    self.next();
                }
                Some(_) => return syntax("values of an array are separated by commas or lines"),
            }
        }
    }

    /// `(`, lines, and a `)` that is a line of its own.
    fn lines(&mut self) -> Parsed<String> {
        let start = self.at;
        loop {
            self.skip(|c| c != '\n');
            if self.next().is_none() {
                return syntax("the file ends within ( … ): a line with ) alone is missing");
            }
            let end = self.at;
            let rest = self.rest();
            if rest == ")" || rest.starts_with(")\n") {
                self.next();
                return Ok(self.text.get(start..end).unwrap_or_default().to_owned());
            }
        }
    }

    /// The text up to a character that `is_end`, with its escapes resolved, and whether there were any.
    fn unescaped(&mut self, is_end: impl Fn(char) -> bool) -> Parsed<(String, bool)> {
        let mut bytes = Vec::new();
        let mut escapes = false;
        loop {
            let part = self.word(|c| c == '\\' || is_end(c));
            bytes.extend_from_slice(part.as_bytes());
            if !self.takes('\\') {
                break;
            }
            escapes = true;
            bytes.push(match self.next() {
                Some('t') => b'\t',
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('"') => b'"',
                Some('\\') => b'\\',
                Some('x') => {
                    let digits = self.rest().get(..2).unwrap_or_default();
                    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                    let byte = u8::from_str_radix(digits, 16).ok();
                    let Some(byte) = byte.filter(|_| is_hex) else {
                        return syntax("two hexadecimal digits must follow \\x");
                    };
                    self.at += 2;
                    byte
                }
                _ => {
                    return syntax(
                        "only \\xXX, \\t, \\n, \\r, \\\" and \\\\ are escapes; single quotes take text as it is",
                    );
                }
            });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok((text, escapes)),
            Err(_) => syntax("the escapes of a text make no UTF-8"),
        }
    }

    /// A value without quotes.
    fn bare(&mut self) -> Parsed<Kind> {
        let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | ']' | '}');
        let start = self.at;
        let (text, escapes) = self.unescaped(is_end)?;
        if self.at == start {
            return syntax("a value is missing");
        }
        if text.contains(|c: char| c.is_control() || matches!(c, '"' | '\'')) && !escapes {
            return syntax("a text with quotes or control characters must be in quotes");
        }
        if escapes {
            return Ok(Kind::Text(text));
        }
        if let Some(name) = text.strip_prefix('$') {
            return self.variable(name);
        }
        Ok(plain(text)?)
    }

    /// The value of `$name`, or the bcrypt hash that it is.
    fn variable(&mut self, name: &str) -> Parsed<Kind> {
        if is_bcrypt(name) {
            return Ok(Kind::Text(format!("${name}")));
        }
        let found = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        if let Some(value) = found {
            value.is_variable.set(true);
            let (values, bytes) = value.weight();
            self.budget.values(values)?;
            self.budget.bytes(bytes)?;
            return Ok(value.kind.clone());
        }
        let unknown = || Fault::UnknownVariable {
            name: name.to_owned(),
        };
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        let text = is_name.then(|| self.sources.variable(name)).flatten();
        let text = text.ok_or_else(unknown)?;
        self.budget.bytes(text.len())?;
        // A value as in a file, whose variables can be those of the environment alone. One that names itself ends with the depth.
        self.deeper()?;
        let mut inner = Parser {
            text: text.trim_matches(is_blank),
            at: 0,
            line: self.line,
            file: Arc::clone(&self.file),
            folder: self.folder.clone(),
            sources: self.sources,
            budget: self.budget,
            scopes: vec![BTreeMap::new()],
            depth: self.depth,
        };
        let parsed = inner.value();
        let is_whole = inner.rest().trim().is_empty();
        self.depth -= 1;
        let what = match parsed {
            Ok(kind) if is_whole => return Ok(kind),
            Ok(_) => "there is more behind its value; put quotes around it",
            Err(Failure::Here(Fault::Syntax(what))) => what,
            Err(failure) => return Err(failure),
        };
        Err(Failure::Here(Fault::Variable {
            name: name.to_owned(),
            what,
        }))
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// `2a$10$…` is what is left of a bcrypt hash, which nobody has to put in quotes.
fn is_bcrypt(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next() == Some(b'2')
        && matches!(bytes.next(), Some(b'a' | b'b' | b'x' | b'y'))
        && bytes.next() == Some(b'$')
}

/// What a word without quotes is.
fn plain(text: String) -> Result<Kind, Fault> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "true" | "yes" | "on" => return Ok(Kind::Bool(true)),
        "false" | "no" | "off" => return Ok(Kind::Bool(false)),
        _ => {}
    }
    let unsigned = lower.strip_prefix('-').unwrap_or(&lower);
    let digits = unsigned.len()
        - unsigned
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let (number, suffix) = unsigned.split_at(digits);
    if number.is_empty() {
        return Ok(Kind::Text(text));
    }
    if let Some(part) = suffix.strip_prefix('.')
        && !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_digit())
    {
        return match lower.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
            _ => Err(Fault::Syntax("the number is out of range")),
        };
    }
    let Some(factor) = factor(suffix) else {
        return Ok(Kind::Text(text));
    };
    let signed = lower.get(..lower.len() - suffix.len()).unwrap_or_default();
    let value = signed.parse::<i64>().ok();
    match value.and_then(|value| value.checked_mul(factor)) {
        Some(value) => Ok(Kind::Integer(value)),
        None => Err(Fault::Syntax("the number is out of range")),
    }
}

/// What the suffix of a number multiplies it by.
fn factor(suffix: &str) -> Option<i64> {
    let mut characters = suffix.chars();
    let power = match characters.next() {
        None => return Some(1),
        Some(letter) => "kmgtpe".find(letter)? as u32 + 1,
    };
    match characters.as_str() {
        "" => Some(1000i64.pow(power)),
        "b" | "i" | "ib" => Some(1024i64.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
