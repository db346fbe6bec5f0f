//! What a NATS server sends its client: bytes to operations (NATS client protocol). No socket, no state between calls.

use crate::limits::{EXTERNAL_LINE_BYTES, EXTERNAL_PAYLOAD_BYTES};

/// One operation; the slices point into the bytes that were parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// `INFO {json}`.
    Info(&'a [u8]),
    /// `MSG` or `HMSG`.
    Message(Message<'a>),
    /// `PING`, which wants a PONG.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`: the text, without quotes.
    Error(&'a [u8]),
}

/// A message for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The client's id of the subscription.
    pub sid: &'a [u8],
    /// Reply subject, empty when there is none.
    pub reply: &'a [u8],
    /// Without headers.
    pub payload: &'a [u8],
}

/// What the bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// An operation and its length in bytes.
    Op(Op<'a>, usize),
    /// Not a whole operation yet.
    More,
}

/// Why these are not a NATS server's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// No operation starts like this, or a message does not end where it should.
    #[error("the server speaks no NATS")]
    Unknown,
    /// A line that does not end.
    #[error("the server sends a line of more than {EXTERNAL_LINE_BYTES} bytes")]
    Line,
    /// No server lets anybody publish so much.
    #[error("the server sends a message of more than {EXTERNAL_PAYLOAD_BYTES} bytes")]
    Payload,
}

/// The operation at the start of `bytes`.
///
/// # Errors
/// The connection must end.
pub fn next(bytes: &[u8]) -> Result<Step<'_>, OpError> {
    let head = bytes.get(..EXTERNAL_LINE_BYTES).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', head) else {
        return match head.len() < EXTERNAL_LINE_BYTES {
            true => Ok(Step::More),
            false => Err(OpError::Line),
        };
    };
    let (line, rest) = (bytes.get(..end), bytes.get(end + 1..));
    let (line, rest) = (line.unwrap_or_default(), rest.unwrap_or_default());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let verb_end = memchr::memchr2(b' ', b'\t', line).unwrap_or(line.len());
    let (verb, args) = line.split_at_checked(verb_end).unwrap_or((line, b""));
    let args = args.trim_ascii();
    let is = |name: &[u8]| verb.eq_ignore_ascii_case(name);
    let op = if is(b"MSG") {
        return message(args, rest, end + 1, false);
    } else if is(b"HMSG") {
        return message(args, rest, end + 1, true);
    } else if is(b"PING") {
        Op::Ping
    } else if is(b"PONG") {
        Op::Pong
    } else if is(b"+OK") {
        Op::Ok
    } else if is(b"INFO") {
        Op::Info(args)
    } else if is(b"-ERR") {
        Op::Error(unquoted(args))
    } else {
        return Err(OpError::Unknown);
    };
    Ok(Step::Op(op, end + 1))
}

/// `subject sid [reply] [header bytes] bytes`, and behind the line as many bytes and a line end.
fn message<'a>(
    args: &'a [u8],
    rest: &'a [u8],
    line: usize,
    has_headers: bool,
) -> Result<Step<'a>, OpError> {
    let mut words = args
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let (_, sid) = (words.next(), words.next().ok_or(OpError::Unknown)?);
    let total = size(words.next_back())?;
    let headers = match has_headers {
        true => size(words.next_back())?,
        false => 0,
    };
    let reply = words.next().unwrap_or_default();
    if words.next().is_some() || headers > total {
        return Err(OpError::Unknown);
    }
    if total > EXTERNAL_PAYLOAD_BYTES {
        return Err(OpError::Payload);
    }
    let Some((body, behind)) = rest.split_at_checked(total) else {
        return Ok(Step::More);
    };
    match behind {
        [b'\r', b'\n', ..] => {
            let payload = body.get(headers..).unwrap_or_default();
            let message = Message {
                sid,
                reply,
                payload,
            };
            Ok(Step::Op(Op::Message(message), line + total + 2))
        }
        [] | [b'\r'] => Ok(Step::More),
        _ => Err(OpError::Unknown),
    }
}

fn size(digits: Option<&[u8]>) -> Result<usize, OpError> {
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    // Of a sign `parse` would make something.
    let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok())
        .ok_or(OpError::Unknown)
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inner = text.strip_prefix(b"'").and_then(|t| t.strip_suffix(b"'"));
    inner.unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message<'a>(sid: &'a [u8], reply: &'a [u8], payload: &'a [u8]) -> Op<'a> {
        Op::Message(Message {
            sid,
            reply,
            payload,
        })
    }

    #[test]
    fn operations_as_servers_write_them() {
        for (bytes, op) in [
            (
                &b"INFO {\"max_payload\":1}\r\n"[..],
                Op::Info(b"{\"max_payload\":1}"),
            ),
            (b"PING\r\n", Op::Ping),
            (b"pong \n", Op::Pong),
            (b"+OK\r\n", Op::Ok),
            (
                b"-ERR 'Stale Connection'\r\n",
                Op::Error(b"Stale Connection"),
            ),
            (b"-ERR it's\r\n", Op::Error(b"it's")),
            (b"MSG a.b 1 5\r\nhello\r\n", message(b"1", b"", b"hello")),
            (b"MSG\ta  12\tr 0\r\n\r\n", message(b"12", b"r", b"")),
            (
                b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
                message(b"1", b"", b"hi"),
            ),
            (
                b"HMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
                message(b"1", b"r", b""),
            ),
        ] {
            assert_eq!(next(bytes), Ok(Step::Op(op, bytes.len())), "{bytes:?}");
            for cut in 0..bytes.len() {
                assert_eq!(next(&bytes[..cut]), Ok(Step::More), "{bytes:?} to {cut}");
            }
            let more = [bytes, b"PING\r\n"].concat();
            assert_eq!(next(&more), Ok(Step::Op(op, bytes.len())));
        }
    }

    #[test]
    fn what_is_none_is_refused_before_it_is_waited_for() {
        let huge = format!("MSG a 1 {}\r\n", EXTERNAL_PAYLOAD_BYTES + 1);
        let endless = [b'x'; EXTERNAL_LINE_BYTES];
        for (bytes, error) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], OpError::Unknown),
            (b"\r\n", OpError::Unknown),
            (b"MSG a 1\r\n", OpError::Unknown),
            (b"MSG a 1 -1\r\n", OpError::Unknown),
            (b"MSG a 1 +1\r\nx\r\n", OpError::Unknown),
            (b"MSG a 1 r x 1\r\nx\r\n", OpError::Unknown),
            (b"MSG a 1 1\r\nxyz", OpError::Unknown),
            (b"HMSG a 1 3 2\r\nxx\r\n", OpError::Unknown),
            (b"MSG a 1 99999999999999999999999\r\n", OpError::Unknown),
            (huge.as_bytes(), OpError::Payload),
            (&endless, OpError::Line),
        ] {
            assert_eq!(next(bytes), Err(error), "{:?}", bytes.get(..40));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_its_bounds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Step::Op(_, len)) = next(&bytes) {
                prop_assert!(0 < len && len <= bytes.len());
            }
        }
    }
}
