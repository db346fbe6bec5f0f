//! Bytes to NATS operations: no socket, no state between calls.
//!
//! [`next_op`] looks at the start of a buffer and answers with one operation and its length, with "more bytes", or with
//! the error that ends the connection. It takes any cut of the stream, and refuses a wrong byte as soon as it is there,
//! as nats-server does; the control-line limit holds for half a line too.

use super::CloseReason;

/// One operation of a client; the slices point into the buffer that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// `CONNECT {json}`.
    Connect(&'a [u8]),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `PUB` or `HPUB`.
    Publish(Publish<'a>),
    /// `SUB subject [queue] sid`.
    Subscribe {
        /// Subject, with wildcards.
        subject: &'a [u8],
        /// Queue group.
        queue: Option<&'a [u8]>,
        /// The client's own id of the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB sid [max]`.
    Unsubscribe {
        /// The client's own id of the subscription.
        sid: &'a [u8],
        /// Messages, counted from the subscription's start, after which it ends; none or 0: at once.
        max: Option<u64>,
    },
    /// `+OK`, which a client has no reason to send.
    Ok,
    /// `-ERR`: the client gives up.
    Error(&'a [u8]),
    /// `INFO {json}`, which a client has no reason to send.
    Info(&'a [u8]),
}

/// A message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Subject, not yet validated.
    pub subject: &'a [u8],
    /// Reply subject, empty when there is none.
    pub reply: &'a [u8],
    /// `HPUB`: length of the headers at the start of `body`.
    pub header_len: Option<usize>,
    /// Headers (if any) and payload.
    pub body: &'a [u8],
    /// Where `body` starts in the parsed buffer.
    pub body_start: usize,
}

impl<'a> Publish<'a> {
    /// The message without its headers.
    pub fn payload(&self) -> &'a [u8] {
        self.body
            .get(self.header_len.unwrap_or(0)..)
            .unwrap_or_default()
    }
}

/// What the start of a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// An operation and its length in bytes.
    Op(Op<'a>, usize),
    /// Not a whole operation yet; it needs this many bytes in all, as far as that is known.
    More(usize),
}

/// Why the bytes end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No NATS operation starts like this, or a message does not end where it should.
    #[error("unknown protocol operation")]
    UnknownOperation,
    /// The line is longer than the limit.
    #[error("a control line of more than {limit} bytes")]
    ControlLine {
        /// Bytes allowed.
        limit: usize,
    },
    /// The announced payload is larger than the limit.
    #[error("a payload of {size} bytes, {limit} are allowed")]
    Payload {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The number or form of the arguments is wrong.
    #[error("bad arguments of {0}")]
    Arguments(&'static str),
}

impl ParseError {
    /// What the client is told before the connection ends.
    pub fn error_text(self) -> Option<&'static str> {
        match self {
            Self::UnknownOperation => Some("Unknown Protocol Operation"),
            Self::Arguments(_) => None,
            Self::ControlLine { .. } | Self::Payload { .. } => self.reason().error_text(),
        }
    }

    /// Why the connection ends.
    pub fn reason(self) -> CloseReason {
        match self {
            Self::UnknownOperation | Self::Arguments(_) => CloseReason::ProtocolViolation,
            Self::ControlLine { .. } => CloseReason::MaxControlLineExceeded,
            Self::Payload { .. } => CloseReason::MaxPayloadExceeded,
        }
    }
}

/// The limits that the parser keeps.
#[derive(Debug, Clone, Copy)]
pub struct ParseLimits {
    /// Bytes of the arguments of an operation.
    pub control_line_bytes: usize,
    /// Bytes of headers and payload.
    pub payload_bytes: usize,
}

/// nats-server reads sizes of up to 9 digits; a longer one is a bad argument.
const SIZE_DIGITS: usize = 9;

/// The operation at the start of `buf`.
///
/// # Errors
/// Bytes that no cut of a valid stream could hold; the connection must end.
#[inline]
pub fn next_op<'a>(buf: &'a [u8], limits: &ParseLimits) -> Result<Step<'a>, ParseError> {
    if let Some(step) = plain_publish(buf, limits) {
        return Ok(step);
    }
    let Some(&first) = buf.first() else {
        return Ok(Step::More(1));
    };
    match first.to_ascii_uppercase() {
        b'P' => match buf.get(1).map(u8::to_ascii_uppercase) {
            None => Ok(Step::More(2)),
            Some(b'U') => match verb(buf, b"PUB")? {
                Some(at) => blank_then(buf, at, |at| publish(buf, at, false, limits)),
                None => Ok(Step::More(4)),
            },
            Some(b'I') => bare(buf, b"PING", Op::Ping, limits),
            Some(b'O') => bare(buf, b"PONG", Op::Pong, limits),
            Some(_) => Err(ParseError::UnknownOperation),
        },
        b'H' => match verb(buf, b"HPUB")? {
            Some(at) => blank_then(buf, at, |at| publish(buf, at, true, limits)),
            None => Ok(Step::More(5)),
        },
        b'S' => match verb(buf, b"SUB")? {
            Some(at) => blank_then(buf, at, |at| with_line(buf, at, limits, subscribe)),
            None => Ok(Step::More(4)),
        },
        b'U' => match verb(buf, b"UNSUB")? {
            Some(at) => blank_then(buf, at, |at| with_line(buf, at, limits, unsubscribe)),
            None => Ok(Step::More(6)),
        },
        b'C' => match verb(buf, b"CONNECT")? {
            Some(at) => with_line(buf, at, limits, |arg| Ok(Op::Connect(arg))),
            None => Ok(Step::More(8)),
        },
        b'I' => match verb(buf, b"INFO")? {
            Some(at) => with_line(buf, at, limits, |arg| Ok(Op::Info(arg))),
            None => Ok(Step::More(5)),
        },
        b'+' => bare(buf, b"+OK", Op::Ok, limits),
        b'-' => match verb(buf, b"-ERR")? {
            Some(at) => blank_then(buf, at, |at| {
                with_line(buf, at, limits, |arg| Ok(Op::Error(arg)))
            }),
            None => Ok(Step::More(5)),
        },
        _ => Err(ParseError::UnknownOperation),
    }
}

/// `PUB subject size` as clients write it, whole and without a reply: nearly all there is to parse. Whatever else `buf`
/// holds is left to the thorough way.
#[inline]
fn plain_publish<'a>(buf: &'a [u8], limits: &ParseLimits) -> Option<Step<'a>> {
    let rest = buf.strip_prefix(b"PUB ")?;
    let subject_len = rest.iter().position(|&b| b <= b' ')?;
    let (subject, rest) = rest.split_at_checked(subject_len)?;
    let mut rest = rest.strip_prefix(b" ")?;
    let (mut total, mut digits) = (0, 0);
    while let [digit @ b'0'..=b'9', more @ ..] = rest {
        total = total * 10 + usize::from(digit - b'0');
        digits += 1;
        if digits > SIZE_DIGITS {
            return None;
        }
        rest = more;
    }
    let rest = rest.strip_prefix(b"\r\n")?;
    let (body, end) = rest.split_at_checked(total)?;
    let is_plain = subject_len > 0
        && digits > 0
        && total <= limits.payload_bytes
        && subject_len + digits < limits.control_line_bytes
        && end.starts_with(b"\r\n");
    let body_start = buf.len() - rest.len();
    let message = Publish {
        subject,
        reply: &[],
        header_len: None,
        body,
        body_start,
    };
    is_plain.then_some(Step::Op(Op::Publish(message), body_start + total + 2))
}

/// The index after `name` when `buf` starts with it in any case, `None` when `buf` is a part of it.
fn verb(buf: &[u8], name: &[u8]) -> Result<Option<usize>, ParseError> {
    let known = buf.len().min(name.len());
    if !buf.iter().zip(name).all(|(a, b)| a.eq_ignore_ascii_case(b)) {
        return Err(ParseError::UnknownOperation);
    }
    Ok((known == name.len()).then_some(name.len()))
}

/// Requires a blank at `at`, which a publish, a subscription and its end, and an error have after their name.
fn blank_then<'a>(
    buf: &'a [u8],
    at: usize,
    then: impl FnOnce(usize) -> Result<Step<'a>, ParseError>,
) -> Result<Step<'a>, ParseError> {
    match buf.get(at) {
        None => Ok(Step::More(at + 1)),
        Some(b' ' | b'\t') => then(at + 1),
        Some(_) => Err(ParseError::UnknownOperation),
    }
}

/// An operation without arguments. Whatever follows its name on the line is passed over, as in nats-server.
fn bare<'a>(
    buf: &'a [u8],
    name: &[u8],
    op: Op<'a>,
    limits: &ParseLimits,
) -> Result<Step<'a>, ParseError> {
    match verb(buf, name)? {
        Some(at) => with_line_from(buf, at, 0, limits, |_| Ok(op)),
        None => Ok(Step::More(name.len() + 1)),
    }
}

/// The arguments from `at` to the line end, blanks before them left out, and the index after the line end. As in nats-server the first byte
/// of arguments never ends the line; `first` is 1 where there must be some.
fn line<'a>(
    buf: &'a [u8],
    at: usize,
    first: usize,
    limits: &ParseLimits,
) -> Result<Result<(&'a [u8], usize), usize>, ParseError> {
    let rest = buf.get(at..).unwrap_or_default();
    let blanks = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    // Blanks are not limited in nats-server; here they must fit the line too, since they are kept until it is whole.
    let limit = ParseError::ControlLine {
        limit: limits.control_line_bytes,
    };
    if blanks > limits.control_line_bytes {
        return Err(limit);
    }
    let window = rest
        .get(..limits.control_line_bytes + blanks + 2)
        .unwrap_or(rest);
    let from = blanks + first;
    let end = memchr::memchr(b'\n', window.get(from..).unwrap_or_default());
    let Some(end) = end.map(|end| from + end) else {
        if rest.len() - blanks > limits.control_line_bytes + 1 {
            return Err(limit);
        }
        return Ok(Err(buf.len() + 1));
    };
    let mut arg = rest.get(blanks.min(end)..end).unwrap_or_default();
    if arg.last() == Some(&b'\r') {
        arg = arg.get(..arg.len() - 1).unwrap_or_default();
    }
    if arg.len() > limits.control_line_bytes {
        return Err(limit);
    }
    Ok(Ok((arg, at + end + 1)))
}

fn with_line<'a>(
    buf: &'a [u8],
    at: usize,
    limits: &ParseLimits,
    op: impl FnOnce(&'a [u8]) -> Result<Op<'a>, ParseError>,
) -> Result<Step<'a>, ParseError> {
    with_line_from(buf, at, 1, limits, op)
}

fn with_line_from<'a>(
    buf: &'a [u8],
    at: usize,
    first: usize,
    limits: &ParseLimits,
    op: impl FnOnce(&'a [u8]) -> Result<Op<'a>, ParseError>,
) -> Result<Step<'a>, ParseError> {
    Ok(match line(buf, at, first, limits)? {
        Ok((arg, used)) => Step::Op(op(arg)?, used),
        Err(more) => Step::More(more),
    })
}

/// The arguments of a line, up to four; `None` when there are more.
fn words(arg: &[u8], is_blank: impl Fn(&u8) -> bool) -> Option<([&[u8]; 4], usize)> {
    let mut out: [&[u8]; 4] = [&[]; 4];
    let mut count = 0;
    for word in arg.split(is_blank).filter(|word| !word.is_empty()) {
        *out.get_mut(count)? = word;
        count += 1;
    }
    Some((out, count))
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Within the arguments of a subscription and its end, where nats-server does not care.
fn is_blank_or_end(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether `buf` starts with the whole line of an `HPUB`, right or wrong.
pub fn announces_headers(buf: &[u8], limits: &ParseLimits) -> bool {
    let is_verb = matches!(buf.first(), Some(b'H' | b'h'));
    match is_verb.then(|| verb(buf, b"HPUB")) {
        Some(Ok(Some(at))) => {
            buf.get(at).is_some_and(is_blank) && matches!(line(buf, at + 1, 1, limits), Ok(Ok(_)))
        }
        _ => false,
    }
}

/// A size of up to nine digits.
fn size(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > SIZE_DIGITS {
        return None;
    }
    digits.iter().try_fold(0usize, |n, digit| {
        digit
            .is_ascii_digit()
            .then(|| n * 10 + usize::from(digit - b'0'))
    })
}

#[inline]
fn publish<'a>(
    buf: &'a [u8],
    at: usize,
    headers: bool,
    limits: &ParseLimits,
) -> Result<Step<'a>, ParseError> {
    let (arg, body_start) = match line(buf, at, 1, limits)? {
        Ok(found) => found,
        Err(more) => return Ok(Step::More(more)),
    };
    let bad = ParseError::Arguments(if headers { "HPUB" } else { "PUB" });
    let (subject, reply, header_len, total) = match (words(arg, is_blank).ok_or(bad)?, headers) {
        (([subject, total, ..], 2), false) => (subject, &[][..], None, total),
        (([subject, reply, total, _], 3), false) => (subject, reply, None, total),
        (([subject, header, total, _], 3), true) => {
            (subject, &[][..], Some(size(header).ok_or(bad)?), total)
        }
        (([subject, reply, header, total], 4), true) => {
            (subject, reply, Some(size(header).ok_or(bad)?), total)
        }
        _ => return Err(bad),
    };
    let total = size(total).ok_or(bad)?;
    if header_len.is_some_and(|len| len > total) {
        return Err(bad);
    }
    if total > limits.payload_bytes {
        return Err(ParseError::Payload {
            size: total,
            limit: limits.payload_bytes,
        });
    }
    let end = body_start + total;
    match buf.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => {}
        [] | [b'\r'] => return Ok(Step::More(end + 2)),
        _ => return Err(ParseError::UnknownOperation),
    }
    let body = buf.get(body_start..end).unwrap_or_default();
    Ok(Step::Op(
        Op::Publish(Publish {
            subject,
            reply,
            header_len,
            body,
            body_start,
        }),
        end + 2,
    ))
}

fn subscribe(arg: &[u8]) -> Result<Op<'_>, ParseError> {
    match words(arg, is_blank_or_end) {
        Some(([subject, sid, ..], 2)) => Ok(Op::Subscribe {
            subject,
            queue: None,
            sid,
        }),
        Some(([subject, queue, sid, _], 3)) => Ok(Op::Subscribe {
            subject,
            queue: Some(queue),
            sid,
        }),
        _ => Err(ParseError::Arguments("SUB")),
    }
}

fn unsubscribe(arg: &[u8]) -> Result<Op<'_>, ParseError> {
    match words(arg, is_blank_or_end) {
        Some(([sid, ..], 1)) => Ok(Op::Unsubscribe { sid, max: None }),
        // A bad number ends the subscription at once, as in nats-server.
        Some(([sid, max, ..], 2)) => Ok(Op::Unsubscribe {
            sid,
            max: size(max).map(|n| n as u64),
        }),
        _ => Err(ParseError::Arguments("UNSUB")),
    }
}

#[cfg(test)]
mod tests;
