//! Requests out of a stream of bytes, however they are cut or joined.
//!
//! Memory is taken as bytes arrive, never on a client's word, and stays under
//! `head_bytes + HTTP_READ_BYTES + body_bytes` (doubled at the worst by the growth of a buffer).

use super::chunked::Chunked;
use super::request::split_target;
use super::{Limits, Method, Request, Version};
use crate::limits::{HTTP_HEADERS, HTTP_READ_BYTES};
use crate::secret::Secret;

/// Why a request cannot be read. After it nothing more can be read from the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not HTTP.
    #[error("the request cannot be read: {0} is malformed")]
    Malformed(&'static str),
    /// HTTP, but contradictory or incomplete.
    #[error("the request is refused: {0}")]
    Refused(&'static str),
    /// Request line and header over the limit.
    #[error("the request line and header are over {limit} bytes")]
    HeadTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// More than [`HTTP_HEADERS`] header lines.
    #[error("the request has more than {HTTP_HEADERS} header lines")]
    TooManyHeaders,
    /// Body over the limit, by its declared size or as it came.
    #[error("the request body is over {limit} bytes")]
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// Chunk extensions and trailers over the limit.
    #[error("the chunk extensions and trailers of the request are too long")]
    ExtrasTooLarge,
    /// A transfer coding other than `chunked`.
    #[error("the only transfer coding understood is chunked")]
    TransferCoding,
    /// `Expect` asks for something else than `100-continue`.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    #[error("the only versions spoken are HTTP/1.1 and HTTP/1.0")]
    Version,
}

impl RequestError {
    /// The status code of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Refused(_) => 400,
            Self::BodyTooLarge { .. } => 413,
            Self::Expectation => 417,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders | Self::ExtrasTooLarge => 431,
            Self::TransferCoding => 501,
            Self::Version => 505,
        }
    }
}

impl From<httparse::Error> for RequestError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::Malformed("a header name"),
            httparse::Error::HeaderValue => Self::Malformed("a header value"),
            httparse::Error::NewLine => Self::Malformed("the end of a line"),
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::Version => Self::Version,
            httparse::Error::Token | httparse::Error::Status => Self::Malformed("the request line"),
        }
    }
}

/// What [`RequestReader::step`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// The client waits for `100 Continue` before it sends the body.
    Continue,
    /// A complete request.
    Request(Request),
}

/// How a body ends.
#[derive(Debug)]
enum Framing {
    /// After so many more bytes.
    Length(usize),
    Chunked(Chunked),
}

/// A request whose body is not complete.
#[derive(Debug)]
struct Unfinished {
    request: Request,
    framing: Framing,
}

/// Reads one connection's requests, one after the other.
#[derive(Debug)]
pub struct RequestReader {
    limits: Limits,
    /// Bytes not used yet. Before the end of a head it is kept whole; what follows is used at once.
    buf: Vec<u8>,
    /// Bytes of `buf` that are whole lines of the head and were parsed without reaching its end.
    tried: usize,
    unfinished: Option<Unfinished>,
}

impl RequestReader {
    /// A reader at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buf: Vec::new(),
            tried: 0,
            unfinished: None,
        }
    }

    /// Bytes that [`RequestReader::feed`] would take now. Not 0 after [`Step::More`].
    pub fn room(&self) -> usize {
        (self.limits.head_bytes + HTTP_READ_BYTES).saturating_sub(self.buf.len())
    }

    /// Takes bytes, [`RequestReader::room`] at most, and gives how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.get(..self.room()).unwrap_or(bytes);
        self.buf.extend_from_slice(taken);
        taken.len()
    }

    /// A request has begun and is not complete.
    pub fn mid_request(&self) -> bool {
        !self.buf.is_empty() || self.unfinished.is_some()
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        let body = self.unfinished.as_ref();
        self.buf.len() + body.map_or(0, |u| u.request.body.len())
    }

    /// Goes on with the bytes fed.
    ///
    /// # Errors
    /// The request cannot be read; the connection must be closed once that was answered.
    pub fn step(&mut self) -> Result<Step, RequestError> {
        let mut unfinished = match self.unfinished.take() {
            Some(unfinished) => unfinished,
            None => {
                let Some((unfinished, wants_continue)) = self.head()? else {
                    return Ok(Step::More);
                };
                if wants_continue && self.buf.is_empty() && !unfinished.is_empty() {
                    self.unfinished = Some(unfinished);
                    return Ok(Step::Continue);
                }
                unfinished
            }
        };
        let (used, done) = unfinished.take(&self.buf, self.limits.body_bytes)?;
        self.buf.drain(..used);
        if self.buf.is_empty() {
            self.buf = Vec::new();
        }
        if done {
            return Ok(Step::Request(unfinished.request));
        }
        self.unfinished = Some(unfinished);
        Ok(Step::More)
    }

    /// A complete head, and whether its sender waits for `100 Continue`.
    fn head(&mut self) -> Result<Option<(Unfinished, bool)>, RequestError> {
        if self.tried == 0 {
            // RFC 9112, 2.2: empty lines before a request are skipped.
            let empty = self.buf.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
            let empty = empty.count();
            self.buf.drain(..empty);
            match self.buf.first() {
                None => self.buf = Vec::new(),
                // A TLS client and the like are told at once.
                Some(byte) if !byte.is_ascii_graphic() => {
                    return Err(RequestError::Malformed("the request line"));
                }
                Some(_) => {}
            }
        }
        let limit = self.limits.head_bytes;
        let untried = self.buf.get(self.tried..).unwrap_or_default();
        // Only a new line's end can complete the head: not every byte is worth a parse.
        let head = match memchr::memrchr(b'\n', untried) {
            Some(at) => {
                self.tried += at + 1;
                // Whole lines alone, so that the verdict does not depend on how the input was cut.
                let lines = self.buf.get(..self.tried).unwrap_or_default();
                parse(lines, &self.limits)?
            }
            None => None,
        };
        match head {
            Some(head) if head.bytes <= limit => {
                self.buf.drain(..head.bytes);
                self.tried = 0;
                Ok(Some((head.unfinished, head.wants_continue)))
            }
            None if self.buf.len() < limit => Ok(None),
            _ => Err(RequestError::HeadTooLarge { limit }),
        }
    }
}

impl Unfinished {
    fn is_empty(&self) -> bool {
        matches!(self.framing, Framing::Length(0))
    }

    /// Takes what `input` has of the body. Gives the bytes used, and whether the body is complete.
    fn take(&mut self, input: &[u8], limit: usize) -> Result<(usize, bool), RequestError> {
        let body = &mut self.request.body;
        match &mut self.framing {
            Framing::Length(rest) => {
                let taken = input.get(..*rest).unwrap_or(input);
                body.extend_from_slice(taken);
                *rest -= taken.len();
                Ok((taken.len(), *rest == 0))
            }
            Framing::Chunked(chunked) => chunked.decode(input, body, limit),
        }
    }
}

struct Head {
    bytes: usize,
    unfinished: Unfinished,
    wants_continue: bool,
}

/// The head that `buf` begins with, when it is complete.
fn parse(buf: &[u8], limits: &Limits) -> Result<Option<Head>, RequestError> {
    let mut lines = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let mut parsed = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(bytes) = parsed.parse(buf)? else {
        return Ok(None);
    };
    let version = match parsed.version {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    };
    let mut fields = Fields::default();
    for line in parsed.headers.iter() {
        fields.add(line.name, line.value)?;
    }
    if version == Version::Http11 && fields.host.is_none() {
        return Err(RequestError::Refused("HTTP/1.1 needs a Host"));
    }
    let framing = fields.framing(version, limits)?;
    let (path, query) = split_target(parsed.path.unwrap_or_default());
    let keep_alive = match version {
        Version::Http10 => fields.keep_alive && !fields.close,
        Version::Http11 => !fields.close,
    };
    Ok(Some(Head {
        bytes,
        wants_continue: fields.wants_continue && version == Version::Http11,
        unfinished: Unfinished {
            framing,
            request: Request {
                method: Method::from_name(parsed.method.unwrap_or_default()),
                path,
                query,
                host: fields.host,
                origin: fields.origin,
                authorization: fields.authorization,
                body: Vec::new(),
                keep_alive,
                version,
            },
        },
    }))
}

/// The header lines that matter here.
#[derive(Default)]
struct Fields {
    host: Option<String>,
    origin: Option<String>,
    authorization: Option<Secret>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    wants_continue: bool,
}

impl Fields {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), RequestError> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("host") {
            if self.host.is_some() {
                return Err(RequestError::Refused("it has more than one Host"));
            }
            self.host = Some(text(value, "Host")?.to_owned());
        } else if is("origin") {
            self.origin = Some(text(value, "Origin")?.to_owned());
        } else if is("authorization") {
            self.authorization = Some(Secret::new(text(value, "Authorization")?));
        } else if is("content-length") {
            let length = parse_length(value)?;
            if self.length.is_some_and(|other| other != length) {
                return Err(RequestError::Refused("its Content-Lengths differ"));
            }
            self.length = Some(length);
        } else if is("transfer-encoding") {
            for coding in tokens(text(value, "Transfer-Encoding")?) {
                if !coding.eq_ignore_ascii_case("chunked") {
                    return Err(RequestError::TransferCoding);
                }
                if self.chunked {
                    return Err(RequestError::Refused("it is chunked twice"));
                }
                self.chunked = true;
            }
        } else if is("connection") {
            for option in tokens(text(value, "Connection")?) {
                self.close |= option.eq_ignore_ascii_case("close");
                self.keep_alive |= option.eq_ignore_ascii_case("keep-alive");
            }
        } else if is("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(RequestError::Expectation);
            }
            self.wants_continue = true;
        }
        Ok(())
    }

    /// How the body ends (RFC 9112, 6.3). What a proxy could read in two ways is refused.
    fn framing(&self, version: Version, limits: &Limits) -> Result<Framing, RequestError> {
        if self.chunked {
            if self.length.is_some() {
                return Err(RequestError::Refused(
                    "it has both a Content-Length and a Transfer-Encoding",
                ));
            }
            if version == Version::Http10 {
                return Err(RequestError::Refused("HTTP/1.0 has no Transfer-Encoding"));
            }
            return Ok(Framing::Chunked(Chunked::new(limits.head_bytes)));
        }
        let limit = limits.body_bytes;
        let length = usize::try_from(self.length.unwrap_or(0)).unwrap_or(usize::MAX);
        if length > limit {
            return Err(RequestError::BodyTooLarge { limit });
        }
        Ok(Framing::Length(length))
    }
}

/// Digits only; a number too large for the type is as good as the largest.
fn parse_length(value: &[u8]) -> Result<u64, RequestError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(RequestError::Malformed("Content-Length"));
    }
    Ok(value.iter().fold(0, |sum: u64, digit| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        sum.saturating_mul(10).saturating_add(digit)
    }))
}

fn text<'a>(value: &'a [u8], what: &'static str) -> Result<&'a str, RequestError> {
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => Ok(text.trim()),
        _ => Err(RequestError::Malformed(what)),
    }
}

fn tokens(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|t| !t.is_empty())
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
