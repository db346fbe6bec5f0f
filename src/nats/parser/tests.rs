//! Tests of the parser: tables with every cut of the input, and properties.

use super::*;
use proptest::prelude::*;

const LIMITS: ParseLimits = ParseLimits {
    control_line_bytes: 64,
    payload_bytes: 100,
};

/// Everything in `input`, as text, up to the error that ends the connection; the input comes in pieces of `step` bytes.
fn parse_in_steps(input: &[u8], step: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    for piece in input.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match next_op(&buffer, &LIMITS) {
                Ok(Step::More(needed)) => {
                    assert!(
                        needed > buffer.len(),
                        "{needed} bytes wanted, {} there",
                        buffer.len()
                    );
                    break;
                }
                Ok(Step::Op(op, used)) => {
                    out.push(show(&op));
                    buffer.drain(..used);
                }
                Err(error) => {
                    out.push(format!("error: {error}"));
                    return out;
                }
            }
        }
    }
    if !buffer.is_empty() {
        out.push("more".into());
    }
    out
}

fn show(op: &Op<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match op {
        Op::Connect(arg) => format!("CONNECT {}", text(arg)),
        Op::Ping => "PING".into(),
        Op::Pong => "PONG".into(),
        Op::Ok => "+OK".into(),
        Op::Error(arg) => format!("-ERR {}", text(arg)),
        Op::Info(arg) => format!("INFO {}", text(arg)),
        Op::Publish(p) => {
            let header = p.header_len.map_or_else(String::new, |len| {
                format!(" header={}", text(&p.body[..len]))
            });
            format!(
                "PUB {} reply={}{header} payload={}",
                text(p.subject),
                text(p.reply),
                text(p.payload())
            )
        }
        Op::Subscribe {
            subject,
            queue,
            sid,
        } => {
            format!(
                "SUB {} queue={} sid={}",
                text(subject),
                queue.map_or("-".into(), text),
                text(sid)
            )
        }
        Op::Unsubscribe { sid, max } => format!("UNSUB {} max={max:?}", text(sid)),
    }
}

/// Every cut of `input` must give the same operations.
#[track_caller]
fn check(input: &[u8], expected: &[&str]) {
    for step in [1, 2, 3, 7, input.len().max(1)] {
        assert_eq!(
            parse_in_steps(input, step),
            expected,
            "in steps of {step}: {}",
            input.escape_ascii()
        );
    }
}

#[test]
fn operations() {
    check(b"PING\r\n", &["PING"]);
    check(b"ping\r\nPiNg\nPONG\r\n", &["PING", "PING", "PONG"]);
    check(b"PING with words\r\n", &["PING"]);
    check(b"+OK\r\n+ok\r\n", &["+OK", "+OK"]);
    check(
        b"CONNECT {\"verbose\":false}\r\n",
        &["CONNECT {\"verbose\":false}"],
    );
    check(b"connect   {}\r\n", &["CONNECT {}"]);
    check(b"CONNECT{}\r\n", &["CONNECT {}"]);
    check(b"INFO {}\r\n", &["INFO {}"]);
    check(b"-ERR 'Stale Connection'\r\n", &["-ERR 'Stale Connection'"]);
    check(b"PUB a 2\r\nhi\r\n", &["PUB a reply= payload=hi"]);
    check(b"pub\ta \t b  2 \r\nhi\r\n", &["PUB a reply=b payload=hi"]);
    check(
        b"PUB a 0\r\n\r\nPING\r\n",
        &["PUB a reply= payload=", "PING"],
    );
    check(b"PUB a 2\nhi\r\n", &["PUB a reply= payload=hi"]);
    check(
        b"PUB a 6\r\n\r\nPI\r\n\r\n",
        &["PUB a reply= payload=\r\nPI\r\n"],
    );
    check(
        b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        &["PUB a reply= header=NATS/1.0\r\n\r\n payload=hi"],
    );
    check(
        b"hpub a r 0 2\r\nhi\r\n",
        &["PUB a reply=r header= payload=hi"],
    );
    check(b"SUB a 1\r\n", &["SUB a queue=- sid=1"]);
    check(b"sub a.> q 1\r\n", &["SUB a.> queue=q sid=1"]);
    check(
        b"UNSUB 1\r\nunsub 1 5\r\nUNSUB 1 x\r\n",
        &[
            "UNSUB 1 max=None",
            "UNSUB 1 max=Some(5)",
            "UNSUB 1 max=None",
        ],
    );
    check(b"PUB a 002\r\nhi\r\n", &["PUB a reply= payload=hi"]);
    // The first byte of arguments never ends the line.
    check(b"SUB \na 1\r\n", &["SUB a queue=- sid=1"]);
    check(b"PUB \na 0\r\n\r\n", &["PUB \na reply= payload="]);
    check(b"CONNECT\n{}\n", &["CONNECT \n{}"]);
    check(b"SUB \n", &["more"]);
}

#[test]
fn half_an_operation_waits_for_more() {
    for input in [
        &b"P"[..],
        b"PU",
        b"PUB",
        b"PUB ",
        b"PUB a 2",
        b"PUB a 2\r",
        b"PUB a 2\r\nh",
        b"PUB a 2\r\nhi",
        b"PUB a 2\r\nhi\r",
        b"SU",
        b"CONNECT {",
    ] {
        check(input, &["more"]);
    }
    assert_eq!(
        next_op(b"PUB a 90\r\nhi", &LIMITS),
        Ok(Step::More(102)),
        "a message says how much it needs"
    );
}

#[test]
fn what_is_not_nats_is_refused_at_its_first_wrong_byte() {
    let unknown = "error: unknown protocol operation";
    for input in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"X",
        b"\r\n",
        b" PING\r\n",
        b"PX",
        b"PUX",
        b"PUBX",
        b"PUB\r\n",
        b"SUBX a 1\r\n",
        b"MSG a 1 2\r\nhi\r\n",
        b"-ERR\r\n",
        b"\x16\x03\x01",
        b"PUB a 2\r\nhiX",
        b"PUB a 2\r\nhi\rX",
        b"PUB a 2\r\nhi\n",
    ] {
        check(input, &[unknown]);
    }
}

#[test]
fn arguments() {
    for (input, verb) in [
        (&b"PUB a\r\n"[..], "PUB"),
        (b"PUB a b c 2\r\n", "PUB"),
        (b"PUB a b c d e f 2\r\n", "PUB"),
        (b"PUB a x\r\n", "PUB"),
        (b"PUB a -1\r\n", "PUB"),
        (b"PUB a 1234567890\r\n", "PUB"),
        (b"HPUB a 2\r\n", "HPUB"),
        (b"HPUB a 3 2\r\n", "HPUB"),
        (b"HPUB a x 2\r\n", "HPUB"),
        (b"SUB a\r\n", "SUB"),
        (b"SUB a b c d\r\n", "SUB"),
        (b"UNSUB \r\n", "UNSUB"),
        (b"UNSUB a b c\r\n", "UNSUB"),
    ] {
        check(input, &[&format!("error: bad arguments of {verb}")]);
    }
}

#[test]
fn limits_hold_for_half_a_line_too() {
    let line = |n: usize| [b"SUB ", &vec![b'a'; n - 2][..], b" 1"].concat();
    check(
        &[&line(64)[..], b"\r\n"].concat(),
        &[&format!("SUB {} queue=- sid=1", "a".repeat(62))],
    );
    let over = "error: a control line of more than 64 bytes";
    check(&[&line(65)[..], b"\r\n"].concat(), &[over]);
    check(&line(80), &[over]);
    check(&[b"SUB", &vec![b' '; 200][..]].concat(), &[over]);
    check(&[b"PING", &vec![b'x'; 200][..]].concat(), &[over]);
    check(
        b"PUB a 101\r\n",
        &["error: a payload of 101 bytes, 100 are allowed"],
    );
    check(
        b"HPUB a 1 101\r\n",
        &["error: a payload of 101 bytes, 100 are allowed"],
    );
}

#[test]
fn a_whole_line_of_hpub_is_known_without_its_payload() {
    for (input, expected) in [
        (&b"HPUB a 1 2\r\n"[..], true),
        (b"hpub nonsense\nrest", true),
        (b"HPUB a 1 2\r", false),
        (b"HPUB", false),
        (b"PUB a 2\r\n", false),
        (b"", false),
    ] {
        assert_eq!(
            announces_headers(input, &LIMITS),
            expected,
            "{}",
            input.escape_ascii()
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_cut_give_the_same_and_never_panic(
        input in prop::collection::vec(prop::sample::select(&b"PUBHSUNICOG+-ER \t\r\n0123a.*>{}\x00\xff"[..]), 0..200),
        step in 1usize..20,
    ) {
        prop_assert_eq!(parse_in_steps(&input, step), parse_in_steps(&input, input.len().max(1)));
    }

    #[test]
    fn any_message_comes_through_in_any_cut(
        subject in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}",
        reply in prop::option::of("[a-z]{1,8}"),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        step in 1usize..20,
    ) {
        let reply_word = reply.as_ref().map_or(String::new(), |r| format!("{r} "));
        let mut input = format!("PUB {subject} {reply_word}{}\r\n", payload.len()).into_bytes();
        input.extend_from_slice(&payload);
        input.extend_from_slice(b"\r\n");
        let expected = show(&Op::Publish(Publish {
            subject: subject.as_bytes(), reply: reply.as_deref().unwrap_or("").as_bytes(), header_len: None, body: &payload, body_start: 0,
        }));
        prop_assert_eq!(parse_in_steps(&input, step), vec![expected]);
    }
}
