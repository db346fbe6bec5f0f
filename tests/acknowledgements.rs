//! DESIGN 3: PONG means stored, its place among other answers, and acknowledgements by reply subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::nats::{event, log};
use support::{Cim, NatsWire, Options, Random};

const ID: &str = "0123456789ab";

#[test]
fn a_connection_that_published_nothing_is_answered_at_once() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let mut took: Vec<_> = (0..100).map(|_| wire.ping_pong()).collect();
    took.sort();
    eprintln!(
        "PING to PONG: median {:?}, longest {:?}",
        took[50], took[99]
    );
    assert!(took[50] < Duration::from_millis(50));
}

#[test]
fn a_flush_after_every_line_is_prompt() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let mut took: Vec<_> = (0..200)
        .map(|n| {
            wire.publish_log("app", ID, format!("{n}").as_bytes());
            wire.ping_pong()
        })
        .collect();
    took.sort();
    eprintln!(
        "line and flush: median {:?}, longest {:?}",
        took[100], took[199]
    );
    assert!(took[100] < Duration::from_millis(50));
    assert_eq!(cim.lines_of("app").len(), 200);
}

#[test]
fn each_ping_has_its_pong() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(support::nats::publish(
            "LOG",
            None,
            &log("app", ID, format!("{n}").as_bytes()),
        ));
        bytes.extend_from_slice(b"PING\r\nPING\r\n");
    }
    wire.send(&bytes);
    for _ in 0..200 {
        wire.expect("PONG");
    }
    assert_eq!(cim.lines_of("app").len(), 100);
}

#[test]
fn pong_keeps_its_place_among_errors_and_messages() {
    let cim = Cim::start(Options::new());
    let mut wire = NatsWire::open(cim.nats);
    wire.send(b"CONNECT {\"verbose\":false,\"pedantic\":true}\r\nPING\r\n");
    wire.expect("PONG");
    wire.subscribe("own", "7");
    // The line holds the first PONG up. Messages and errors behind it may overtake it, as they do on another connection;
    // a PONG never overtakes what was before its PING.
    let line = support::nats::publish("LOG", None, &log("app", ID, b"line"));
    wire.send(
        &[
            &line[..],
            b"PING\r\nPUB own 1\r\na\r\nPING\r\nPUB bad..subject 1\r\nb\r\nPING\r\n",
        ]
        .concat(),
    );
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let line = wire.line();
        if line.starts_with("MSG") {
            assert_eq!(wire.line(), "a");
        }
        seen.push(line.split(' ').next().unwrap().to_owned());
    }
    let place = |verb: &str| seen.iter().position(|line| line == verb).unwrap();
    let pongs: Vec<_> = (0..5).filter(|&at| seen[at] == "PONG").collect();
    assert_eq!(pongs.len(), 3, "{seen:?}");
    assert!(
        place("MSG") < pongs[1] && place("-ERR") < pongs[2],
        "{seen:?}"
    );
}

#[test]
fn ok_of_a_verbose_client_comes_before_the_pong() {
    let cim = Cim::start(Options::new());
    let mut wire = NatsWire::open(cim.nats);
    wire.send(b"CONNECT {\"verbose\":true}\r\n");
    wire.expect("+OK");
    let line = support::nats::publish("LOG", None, &log("app", ID, b"line"));
    wire.send(&[&line[..], b"PING\r\n"].concat());
    wire.expect("+OK");
    wire.expect("PONG");
    assert_eq!(cim.lines_of("app"), [b"line".to_vec()]);
}

#[track_caller]
fn acknowledgement(wire: &mut NatsWire) -> Value {
    let message = wire.delivered();
    serde_json::from_slice(&message.payload).expect("an acknowledgement in JSON")
}

#[test]
fn a_publish_with_a_reply_subject_is_acknowledged_once_stored() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    wire.subscribe("acks", "1");
    let mut last = 0;
    for n in 0..20 {
        let line = format!("line {n}");
        wire.publish_with_reply("LOG", "acks", &log("app", ID, line.as_bytes()));
        let ack = acknowledgement(&mut wire);
        assert_eq!(ack["stream"], "LOG");
        let seq = ack["seq"].as_u64().expect("seq");
        assert!(seq > last, "{seq} after {last}");
        last = seq;
        assert!(cim.text_of("app").ends_with(format!("{line}\n").as_bytes()));
    }
    for _ in 0..20 {
        wire.publish_with_reply("EVENT", "acks", &event("Event"));
        let ack = acknowledgement(&mut wire);
        assert_eq!(ack["stream"], "EVENT");
        assert!(ack["seq"].is_u64());
    }
}

#[test]
fn acknowledgements_of_a_burst_all_come() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    wire.subscribe("acks.*", "1");
    let mut random = Random::new("acknowledgements_of_a_burst_all_come");
    let mut bytes = Vec::new();
    let mut wanted = Vec::new();
    for n in 0..1000 {
        let payload = log("app", ID, format!("{n}").as_bytes());
        if random.below(2) == 0 {
            let reply = format!("acks.{n}");
            bytes.extend(support::nats::publish("LOG", Some(&reply), &payload));
            wanted.push(reply);
        } else {
            bytes.extend(support::nats::publish("LOG", None, &payload));
        }
    }
    wire.send(&bytes);
    let mut got: Vec<_> = wanted.iter().map(|_| wire.delivered().subject).collect();
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted);
    wire.ping_pong();
    assert_eq!(cim.lines_of("app").len(), 1000);
}

#[test]
fn a_malformed_message_with_a_reply_subject_is_answered_with_an_error() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    wire.subscribe("acks", "1");
    for subject in ["LOG", "EVENT"] {
        wire.publish_with_reply(subject, "acks", b"no FlatBuffer");
        let answer = acknowledgement(&mut wire);
        assert!(answer["error"].is_object(), "{subject}: {answer}");
    }
}

#[test]
fn subscribers_of_log_get_their_copies() {
    let cim = Cim::start(Options::new());
    let mut subscriber = cim.client();
    subscriber.subscribe("LOG", "1");
    subscriber.subscribe(">", "2");
    subscriber.ping_pong();
    let mut wire = cim.client();
    let payload = log("app", ID, b"both");
    wire.publish("LOG", &payload);
    wire.ping_pong();
    let sids = [0, 1].map(|_| {
        let message = subscriber.delivered();
        assert_eq!(
            (message.subject.as_str(), &message.payload),
            ("LOG", &payload)
        );
        message.sid
    });
    assert!(sids.contains(&"1".to_owned()) && sids.contains(&"2".to_owned()));
    assert_eq!(cim.lines_of("app"), [b"both".to_vec()]);
}

#[test]
fn a_ping_that_overtakes_its_clients_own_buffer_is_answered_behind_it() {
    let mut cim = Cim::start(Options::new());
    let mut wire = NatsWire::open(cim.nats);
    wire.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"python3\"}\r\nPING\r\n");
    wire.expect("PONG");
    let mut lines = Vec::new();
    for n in 0..100 {
        lines.extend(support::nats::publish(
            "LOG",
            None,
            &log("app", ID, format!("{n}").as_bytes()),
        ));
    }
    // As nats.py does it, the PING first; in one write, so that the test does not depend on how fast the machine is.
    wire.send(&[b"PING\r\n", &lines[..]].concat());
    wire.expect("PONG");
    cim.kill9();
    assert_eq!(cim.lines_of("app").len(), 100);
}
