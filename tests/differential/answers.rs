//! What a client got, in a form in which two servers can be compared: what differs by nature is left out or made the same.

use serde_json::Value;

use super::play::{Outcome, Record};
use super::session::{Session, escaped};
use super::stream::shares_groups;

/// Members of INFO that must be the same; the others are ids, ports, versions of Go and what this server has no use for (`xkey`, `git_commit`).
const INFO: [&str; 9] = [
    "version",
    "proto",
    "headers",
    "auth_required",
    "tls_required",
    "tls_verify",
    "tls_available",
    "max_payload",
    "client_ip",
];

/// One thing that a server tells a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Frame {
    /// A line, and what it is for a reader.
    Line(String),
    /// Everything but the subscription; then that.
    Message(Vec<u8>, Vec<u8>),
    /// What is none of these, up to the end.
    Rest(Vec<u8>),
}

/// The answers are the same.
pub fn are_same(session: &Session, real: &Record, ours: &Record) -> bool {
    let cut = |client: usize, frames: &[Frame]| {
        real.reset[client] && matches!(frames.last(), Some(Frame::Rest(_)))
    };
    let reset = &real.reset;
    let (mut real, mut ours) = (Answers::of(session, real), Answers::of(session, ours));
    for client in 0..reset.len() {
        // nats-server loses what is on its way to a client when it closes a connection without having read all.
        if cut(client, &real.clients[client]) {
            real.clients[client].pop();
            ours.clients[client].truncate(real.clients[client].len());
            real.messages.clear();
            ours.messages.clear();
        }
    }
    real == ours
}

/// A server's answers.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    outcomes: Vec<Outcome>,
    ended: Vec<bool>,
    clients: Vec<Vec<Frame>>,
    /// Messages of all clients without their subscriptions, where queue groups choose.
    messages: Vec<Vec<u8>>,
}

impl Answers {
    fn of(session: &Session, record: &Record) -> Self {
        let mut clients: Vec<Vec<Frame>> = record.got.iter().map(|got| frames(got)).collect();
        for client in &mut clients {
            normalise(client);
        }
        let mut messages = Vec::new();
        if shares_groups(session) {
            for client in &mut clients {
                client.retain(|frame| match frame {
                    Frame::Message(message, _) => {
                        messages.push(message.clone());
                        false
                    }
                    Frame::Line(_) | Frame::Rest(_) => true,
                });
            }
            messages.sort_unstable();
        }
        Self {
            outcomes: record.outcomes.clone(),
            ended: record.ended.clone(),
            clients,
            messages,
        }
    }
}

/// Splits off one line, without its CR LF.
fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

fn frames(got: &[u8]) -> Vec<Frame> {
    let mut rest = got;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        match frame(rest, frames.is_empty()) {
            Some((frame, behind)) => {
                frames.extend(frame);
                rest = behind;
            }
            None => {
                frames.push(Frame::Rest(rest.to_vec()));
                break;
            }
        }
    }
    frames
}

/// The first frame, if it is one to compare, and what is behind it.
fn frame(bytes: &[u8], is_first: bool) -> Option<(Option<Frame>, &[u8])> {
    // A subject may begin with the line feed behind a verb, or have some in it: a message's line ends where its numbers end.
    if bytes.starts_with(b"MSG ") || bytes.starts_with(b"HMSG ") {
        return message(bytes);
    }
    let (line, rest) = cut_line(bytes)?;
    if line == b"PING" {
        // When the server wants to know the way there and back is its own affair.
        return Some((None, rest));
    }
    if let Some(json) = line.strip_prefix(b"INFO ") {
        let info: Value = serde_json::from_slice(json).ok()?;
        if info["connect_info"] == true {
            // It tells of the client's account, and accounts are nats-server's alone.
            return Some((None, rest));
        }
        let members: Vec<String> = INFO
            .iter()
            .map(|&name| format!("{name}={}", info[name]))
            .collect();
        let name = if is_first { "INFO" } else { "another INFO" };
        let text = format!("{name} {}", members.join(" "));
        return Some((Some(Frame::Line(text)), rest));
    }
    Some((Some(Frame::Line(escaped(line))), rest))
}

fn message(bytes: &[u8]) -> Option<(Option<Frame>, &[u8])> {
    let (line, rest) = cut_line(bytes)?;
    let has_headers = line.starts_with(b"H");
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    // Sizes are repeated as the publisher wrote them by nats-server, zeros in front and all.
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<usize>().ok();
    let (size, words) = words.split_last()?;
    let size = number(size)?;
    let (header, words) = if has_headers {
        let (header, words) = words.split_last()?;
        (Some(number(header)?), words)
    } else {
        (None, words)
    };
    let [verb, subject, sid, reply @ ..] = words else {
        return None;
    };
    let body = rest.get(..size)?;
    let rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    // Several subscriptions of the requester may fit the reply subject: which one gets the news is chance.
    if subject.starts_with(b"$SYS.") {
        // Events about accounts, which nats-server alone has.
        return Some((None, rest));
    }
    let is_no_responders = body.starts_with(b"NATS/1.0 503\r\nNats-Subject: ");
    let sid = if is_no_responders { b"any" } else { *sid };
    let mut text = [*verb, b" ", subject, b" "].concat();
    for word in reply {
        text.extend_from_slice(word);
        text.push(b' ');
    }
    text.extend_from_slice(format!("{header:?} {size} ").as_bytes());
    text.extend_from_slice(body);
    Some((Some(Frame::Message(text, sid.to_vec())), rest))
}

fn normalise(frames: &mut Vec<Frame>) {
    // nats-server looks at the subject of a publish when its line is there, and again when the payload comes in a second read; CIM once, when
    // the payload is there.
    let invalid = Frame::Line("-ERR 'Invalid Publish Subject'".to_owned());
    frames.dedup_by(|a, b| a == b && *a == invalid);
    let last = Frame::Line("-ERR 'Unknown Protocol Operation'".to_owned());
    let ends = frames.last() == Some(&last);
    let at = frames.len() - usize::from(ends);
    if at > 0 && frames[at - 1] == invalid {
        frames.remove(at - 1);
    }
    // A message goes to several subscriptions of one client in any order.
    let same = |a: &Frame, b: &Frame| match (a, b) {
        (Frame::Message(a, _), Frame::Message(b, _)) => a == b,
        _ => false,
    };
    for run in frames.chunk_by_mut(same) {
        run.sort_unstable();
    }
}

/// What somebody who looks into a difference wants to see.
pub fn report(session: &Session, real: &Record, ours: &Record) -> String {
    let mut text = String::new();
    let is_same = |a: &str, b: &str| if a == b { "same" } else { "DIFFERENT" };
    for (name, record) in [("nats-server", real), ("ours", ours)] {
        text.push_str(&format!(
            "{name}: {:?} {:?}\n",
            record.outcomes, record.ended
        ));
    }
    for client in 0..session.clients() {
        let show = |record: &Record| {
            let mut frames = frames(&record.got[client]);
            normalise(&mut frames);
            let lines = frames.iter().map(|frame| match frame {
                Frame::Line(line) => format!("    {line}\n"),
                Frame::Message(message, sid) => {
                    format!("    {} to {}\n", escaped(message), escaped(sid))
                }
                Frame::Rest(rest) => format!("    ... {}\n", escaped(rest)),
            });
            lines.collect::<String>()
        };
        let (real, ours) = (show(real), show(ours));
        let verdict = is_same(&real, &ours);
        text.push_str(&format!(
            "client {}: {verdict}\n  nats-server\n{real}",
            client + 1
        ));
        if real != ours {
            text.push_str(&format!("  ours\n{ours}"));
        }
    }
    text
}

#[test]
fn what_differs_by_nature_is_the_same() {
    let session = Session::parse("@ plain\n1: PING\\r\\n");
    let record = |got: &[u8], is_reset| Record {
        outcomes: vec![Outcome::Seen],
        got: vec![got.to_vec()],
        ended: vec![true],
        reset: vec![is_reset],
    };
    let same = |a: &[u8], b: &[u8]| are_same(&session, &record(a, false), &record(b, false));
    assert!(same(
        b"INFO {\"server_id\":\"A\",\"proto\":1}\r\nPING\r\nMSG a 1 02\r\nab\r\nMSG a 2 02\r\nab\r\nPONG\r\n",
        b"INFO {\"server_id\":\"B\",\"proto\":1}\r\nMSG a 2 2\r\nab\r\nMSG a 1 2\r\nab\r\nPONG\r\n",
    ));
    for other in [
        &b"MSG a 1 2\r\nab\r\nMSG b 2 2\r\nab\r\n"[..],
        b"MSG a 1 2\r\nab\r\nMSG a 2 2\r\nac\r\n",
        b"MSG a 1 2\r\nab\r\n",
        b"MSG a 1 2\r\nab\r\nMSG a 2 2\r\nab",
        b"MSG a 1 r 2\r\nab\r\nMSG a 2 2\r\nab\r\n",
    ] {
        assert!(!same(b"MSG a 1 2\r\nab\r\nMSG a 2 2\r\nab\r\n", other));
    }
    assert!(!same(b"INFO {\"proto\":1}\r\n", b"INFO {\"proto\":0}\r\n"));
    let (cut, whole) = (
        &b"PONG\r\nMSG a 1 2\r\na"[..],
        b"PONG\r\nMSG a 1 2\r\nab\r\n",
    );
    for (is_reset, ours) in [(true, &whole[..]), (false, whole), (true, b"+OK\r\n")] {
        let are_same = are_same(&session, &record(cut, is_reset), &record(ours, false));
        assert_eq!(are_same, is_reset && ours == whole);
    }
}
