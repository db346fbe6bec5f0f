//! What a stream of a client's bytes is, as far as that decides whether the answer to it can be compared.

use super::session::Session;

/// A line of a stream, or what it ends with.
struct Line<'a> {
    verb: Vec<u8>,
    /// Blanks behind the verb.
    blanks: usize,
    /// What is behind them, with the line's end.
    arguments: &'a [u8],
    is_whole: bool,
    /// Behind the line, and the payload if it announces one.
    rest: &'a [u8],
}

/// The first operation in `bytes`, which are not empty; `None` when it is none.
fn line(bytes: &[u8]) -> Option<Line<'_>> {
    let is_name = |b: &&u8| b.is_ascii_alphabetic() || matches!(b, b'+' | b'-');
    let verb: Vec<u8> = bytes
        .iter()
        .take_while(is_name)
        .map(u8::to_ascii_uppercase)
        .collect();
    let name = [
        &b"CONNECT"[..],
        b"PING",
        b"PONG",
        b"PUB",
        b"HPUB",
        b"SUB",
        b"UNSUB",
        b"INFO",
        b"+OK",
        b"-ERR",
    ]
    .into_iter()
    .find(|name| verb.starts_with(name))?;
    let behind = &bytes[name.len()..];
    let blanks = behind
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    let arguments = &behind[blanks..];
    // The first byte of arguments never ends the line.
    let bare = matches!(name, b"PING" | b"PONG" | b"+OK");
    let from = usize::from(!bare).min(arguments.len());
    let end = arguments[from..]
        .iter()
        .position(|&b| b == b'\n')
        .map(|at| from + at + 1);
    let (arguments, mut rest) = arguments.split_at(end.unwrap_or(arguments.len()));
    if matches!(name, b"PUB" | b"HPUB") && end.is_some() {
        let text = String::from_utf8_lossy(arguments);
        let size = text
            .split_whitespace()
            .last()
            .and_then(|size| size.parse::<usize>().ok());
        let behind = size.and_then(|size| rest.get(size..)).unwrap_or_default();
        // A payload that does not end there ends the connection.
        rest = behind.strip_prefix(b"\r\n").unwrap_or_default();
    }
    Some(Line {
        verb: name.to_vec(),
        blanks,
        arguments,
        is_whole: end.is_some(),
        rest,
    })
}

/// `bytes` end with `-ERR`, which closes the connection.
pub fn ends_with_error(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(line) = line(rest) else {
            return false;
        };
        if line.verb == b"-ERR" && line.blanks > 0 && line.is_whole {
            return line.rest.is_empty();
        }
        rest = line.rest;
    }
    false
}

/// The answer of nats-server depends on where the stream is cut, or on chance:
///
/// * A CR inside a line takes one byte off the line's end, unless the line comes in two reads.
/// * What comes behind `-ERR` is dealt with if it is in the same read.
///
/// * Of a client that becomes another user, some of the permissions of the first one stay in force.
/// * `HMSG` from a client is a message without a subject.
///
/// Or CIM's differs for a reason:
///
/// * Lines without arguments, and blanks before arguments, are limited too, since they are kept until the line is whole.
/// * Half a surrogate pair in a text of CONNECT is no JSON, and -0 is no whole number.
pub fn is_arbitrary(session: &Session) -> bool {
    let limit = session.config.control_line() - 64;
    (0..session.clients()).any(|client| {
        let mut bytes = Vec::new();
        let mut over = false;
        for step in session.stream(client) {
            if over {
                return true;
            }
            bytes.extend_from_slice(&step.bytes);
            over = ends_with_error(&step.bytes);
            if !over {
                bytes.extend_from_slice(b"PUB _b.0.0123456789abcdef 0\r\n\r\n");
            }
        }
        if users(&bytes) > 1 {
            return true;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some(line) = line(rest) else {
                return rest.len() > 1 && rest[..2].eq_ignore_ascii_case(b"HM");
            };
            let text = line.arguments;
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let is_bare = matches!(&line.verb[..], b"PING" | b"PONG" | b"+OK");
            let half = |window: &[u8]| window.eq_ignore_ascii_case(b"\\ud");
            let minus_nought = |window: &[u8]| window == b"-0";
            if text.windows(3).any(half)
                || (line.verb == b"CONNECT" && text.windows(2).any(minus_nought))
                || (!is_bare && text.contains(&b'\r'))
                || line.blanks > limit
                || (is_bare && text.len() > limit)
                || (line.verb == b"-ERR"
                    && line.blanks > 0
                    && line.is_whole
                    && !line.rest.is_empty())
            {
                return true;
            }
            rest = line.rest;
        }
        false
    })
}

/// As how many users a client connects.
fn users(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let names = text.split("\"user\":").skip(1);
    let mut names: Vec<&str> = names
        .map(|rest| rest.split([',', '}']).next().unwrap_or_default())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// Queue groups of more than one subscription: which member gets a message is chance.
pub fn shares_groups(session: &Session) -> bool {
    let mut groups = Vec::new();
    for client in 0..session.clients() {
        let bytes: Vec<u8> = session
            .stream(client)
            .flat_map(|step| step.bytes.clone())
            .collect();
        for line in bytes.split(|&b| b == b'\n') {
            let line = String::from_utf8_lossy(line).to_uppercase();
            let Some((_, arguments)) = line.split_once("SUB") else {
                continue;
            };
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            if let [_, queue, _] = arguments[..] {
                groups.push(queue.to_owned());
            }
        }
    }
    let all = groups.len();
    groups.sort_unstable();
    groups.dedup();
    groups.len() < all
}
