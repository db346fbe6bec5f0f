//! An external NATS server in the place of the embedded one (`CIM_NATS_URL`): everything behind it behaves the same. The external server is
//! another CIM's, or (for `with_go`) nats-server itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

#[path = "nats_external/alone.rs"]
mod alone;
#[path = "nats_external/nats_server.rs"]
mod nats_server;
#[path = "nats_external/tls.rs"]
mod tls;

use support::load::line;
use support::nats::event;
use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually, free_port};

pub const ID: &str = "0123456789ab";

/// The other CIM, whose server is used, on a free port or on this one.
pub fn server(port: u16) -> Options {
    Options::new().env("CIM_NATS_PORT", port.to_string())
}

pub fn client_of(url: &str) -> Options {
    Options::new().env("CIM_NATS_URL", url)
}

fn is_ready(cim: &Cim) -> bool {
    cim.get("/readyz").text().contains("connected to nats://")
}

#[track_caller]
pub fn ready(cim: &Cim) {
    eventually(PATIENCE, || is_ready(cim));
}

fn count(cim: &Cim, subject: &str) -> f64 {
    cim.metric(&format!("cim_nats_{subject}_message_size_count"), &[])
}

/// Publishes lines with these numbers, and waits until the server has them.
fn publish_lines(wire: &mut NatsWire, numbers: std::ops::Range<u64>) {
    for number in numbers {
        wire.publish_log("app", ID, &line(0, number));
    }
    wire.ping_pong();
}

#[track_caller]
pub fn has_lines(cim: &Cim, numbers: std::ops::Range<u64>) {
    let expected: Vec<_> = numbers.map(|number| line(0, number)).collect();
    eventually(PATIENCE, || cim.lines_so_far("app").len() >= expected.len());
    assert!(cim.lines_of("app") == expected);
}

#[test]
fn lines_events_and_answers_arrive_as_with_the_embedded_server() {
    let server = Cim::start(server(0));
    let url = format!("nats://{}", server.nats);
    let mut cim = Cim::start(client_of(&url));
    let first = String::from_utf8_lossy(&cim.stdout.bytes()).into_owned();
    assert!(first.contains(&format!("NATS on {url}, ")), "{first}");
    ready(&cim);
    assert_eq!(cim.get("/varz").status, 404);
    assert!(cim.get("/connz").text().contains("CIM_NATS_URL"));
    let mut wire = cim.client();
    publish_lines(&mut wire, 0..1000);
    for n in 0..20 {
        wire.publish_event(&format!("E{n}"));
    }
    wire.publish("EVENT", b"none");
    wire.publish(
        "CONFIG",
        br#"{"change-set-key":"k","revision":"1","status":"success"}"#,
    );
    wire.ping_pong();
    has_lines(&cim, 0..1000);
    eventually(PATIENCE, || {
        cim.metric("cim_events_stored_total", &[]) == 20.0
    });
    eventually(PATIENCE, || {
        cim.metric("cim_malformed_messages_total", &[("subject", "EVENT")]) == 1.0
    });
    eventually(PATIENCE, || count(&cim, "CONFIG") == 1.0);
    eventually(PATIENCE, || count(&cim, "TEST") == 1.0);
    // What the server has got before the end is stored.
    publish_lines(&mut wire, 1000..3000);
    assert!(cim.stop(Signal::TERM).success());
    has_lines(&cim, 0..3000);
}

#[test]
fn what_wants_an_acknowledgement_gets_one_once_it_is_stored() {
    let server = Cim::start(server(0));
    let mut wire = server.client();
    wire.subscribe("ack", "1");
    // The server is a CIM too: its own numbers are ahead.
    for n in 1..=3 {
        wire.publish_with_reply("EVENT", "ack", &event("before"));
        let text = format!(r#"{{"stream":"EVENT","seq":{n}}}"#);
        assert_eq!(wire.delivered().payload, text.as_bytes());
    }
    let cim = Cim::start(client_of(&format!("nats://{}", server.nats)));
    ready(&cim);
    wire.publish_with_reply("EVENT", "ack", &event("E"));
    let mut acks = [wire.delivered().payload, wire.delivered().payload];
    acks.sort();
    let expected = [1, 4].map(|n| format!(r#"{{"stream":"EVENT","seq":{n}}}"#).into_bytes());
    assert_eq!(acks, expected);
    assert_eq!(cim.metric("cim_events_stored_total", &[]), 1.0);
    wire.publish_with_reply("LOG", "ack", b"no flatbuffer");
    for _ in 0..2 {
        let text = String::from_utf8(wire.delivered().payload).unwrap();
        assert!(text.contains(r#""code":400"#), "{text}");
    }
}

#[test]
fn a_server_that_comes_late_and_one_that_comes_back_are_found() {
    let port = free_port();
    let url = format!("nats://127.0.0.1:{port}");
    let cim = Cim::start(client_of(&url));
    eventually(PATIENCE, || {
        cim.get("/readyz")
            .text()
            .contains(&format!("no NATS server at {url}"))
    });
    assert_eq!(cim.get("/readyz").status, 503);
    let mut first = Cim::start(server(port));
    ready(&cim);
    publish_lines(&mut cim.client(), 0..100);
    has_lines(&cim, 0..100);
    first.kill9();
    eventually(PATIENCE, || !is_ready(&cim));
    assert_eq!(cim.get("/readyz").status, 503);
    let mut second = Cim::start(server(port));
    ready(&cim);
    publish_lines(&mut cim.client(), 100..200);
    has_lines(&cim, 0..200);
    assert!(second.stop(Signal::TERM).success());
    eventually(PATIENCE, || {
        cim.metric("cim_nats_external_connections_lost_total", &[]) == 2.0
    });
    // One of the two.
    let cim = Cim::start(client_of(&format!("nats://127.0.0.1:1,{url}")));
    let _third = Cim::start(server(port));
    ready(&cim);
}

#[test]
fn a_server_that_does_not_let_cim_subscribe_is_told_in_readyz() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.conf");
    let text = "authorization { users: [ {user: cim, password: p, permissions: {subscribe: {deny: EVENT}}} ] }";
    std::fs::write(&users, text).unwrap();
    let server = Cim::start(server(0).env("CIM_NATS_AUTH_FILE", &users));
    let cim = Cim::start(client_of(&format!("nats://cim:p@{}", server.nats)));
    eventually(PATIENCE, || count(&cim, "TEST") == 1.0);
    let answer = cim.get("/readyz");
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(
        text.contains("Permissions Violation for Subscription to"),
        "{text}"
    );
    assert_eq!(cim.metric("cim_nats_permission_violations_total", &[]), 1.0);
}

#[test]
fn credentials_are_used_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "hunter2,%").unwrap();
    let options = server(0)
        .env("CIM_NATS_USER", "cim")
        .env("CIM_NATS_PASSWORD_FILE", &path);
    let server = Cim::start(options);
    let good = client_of(&format!("nats://cim:hunter2%2C%25@{}", server.nats));
    let mut good = Cim::start(good);
    ready(&good);
    let mut bad = Cim::start(client_of(&format!("nats://cim:hunter2@{}", server.nats)));
    eventually(PATIENCE, || {
        bad.get("/readyz")
            .text()
            .contains("Authorization Violation")
    });
    for cim in [&mut good, &mut bad] {
        let page = cim.get("/readyz").text();
        assert!(cim.stop(Signal::TERM).success());
        let own = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        for text in [page, own, cim.stdout.text(), cim.stderr.text()] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        assert!(cim.stdout.text().contains("nats://***@"));
    }
}
