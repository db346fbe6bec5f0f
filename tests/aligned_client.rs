//! The client of the application's ports, against ports that answer well, badly, slowly and too much.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cim::chain::chain;
use cim::limits::{ALIGNED_BODIES_BYTES, EXPOSITION_BYTES};
use cim::metrics::aligned::Format;
use cim::metrics::aligned::annotation::{Plan, Scheme};
use cim::metrics::aligned::client::{Client, Room};
use cim::metrics::aligned::scrape_error::ScrapeError;
use servers::{Behaviour, Endpoint, TestApp, free_port};
use support::{PATIENCE, eventually};

const TEXT: &str = "sample 1\n";

fn client(scheme: Scheme) -> Client {
    Client::new(&Plan {
        path: "/metrics?of=all".into(),
        ports: Vec::new(),
        scheme,
        interval: Duration::from_secs(1),
        retention: 1,
    })
}

fn get(port: u16) -> Result<Vec<u8>, ScrapeError> {
    let scraped = client(Scheme::Http).get(port, PATIENCE, &Room::default())?;
    Ok(scraped.text)
}

/// An application that behaves so.
fn app(behaviour: Behaviour) -> TestApp {
    let app = TestApp::start();
    app.on("/metrics?of=all", behaviour);
    app
}

/// A port that says this to whatever comes, and closes.
fn saying(text: String) -> Endpoint {
    Endpoint::start(move |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(text.as_bytes());
    })
}

#[test]
fn a_port_is_asked_once_for_the_text_format_and_the_connection_is_closed() {
    let app = app(Behaviour::Text(200, TEXT.into()));
    assert_eq!(get(app.port()).unwrap(), TEXT.as_bytes());
    let requests = app.requests("/metrics?of=all");
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(request.method, "GET");
    let host = format!("localhost:{}", app.port());
    assert_eq!(request.header("host"), Some(host.as_str()));
    assert_eq!(request.header("connection"), Some("close"));
    assert_eq!(
        request.header("accept-encoding"),
        None,
        "nothing compressed"
    );
    let accept = request.header("accept").unwrap();
    assert!(accept.contains("text/plain;version=0.0.4"), "{accept}");
    eventually(PATIENCE, || app.open() == 0);
}

#[test]
fn an_answer_in_chunks_is_put_together() {
    let raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsamp\r\n5;x=y\r\nle 1\n\r\n0\r\n\r\n";
    let app = app(Behaviour::Raw(raw.to_vec()));
    assert_eq!(get(app.port()).unwrap(), TEXT.as_bytes());
}

#[test]
fn the_content_type_says_how_the_text_is_meant() {
    for (content_type, format) in [
        ("text/plain; version=0.0.4", Format::Text),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics,
        ),
    ] {
        let endpoint = saying(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n{TEXT}"
        ));
        let room = Room::default();
        let scraped = client(Scheme::Http).get(endpoint.port(), PATIENCE, &room);
        assert_eq!(scraped.unwrap().format, format);
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let raw = format!("HTTP/1.0 200 OK\r\n\r\n{TEXT}");
    let endpoint = saying(raw);
    assert_eq!(get(endpoint.port()).unwrap(), TEXT.as_bytes());
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let raw = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n9\r\n{TEXT}\r\n");
        let endpoint = saying(raw);
        let error = get(endpoint.port()).unwrap_err();
        assert!(
            matches!(error, ScrapeError::Broken { .. }),
            "{head}: {error:?}"
        );
    }
}

#[test]
fn a_certificate_that_nobody_knows_does_not_matter_on_loopback() {
    let endpoint = Endpoint::https(TEXT);
    let client = client(Scheme::Https);
    let room = Room::default();
    assert_eq!(
        client.get(endpoint.port(), PATIENCE, &room).unwrap().text,
        TEXT.as_bytes()
    );
    // The other scheme is no answer, either way round.
    assert!(get(endpoint.port()).is_err());
    let plain = saying("HTTP/1.1 400 Bad Request\r\n\r\n".into());
    let error = client.get(plain.port(), PATIENCE, &room).unwrap_err();
    assert!(matches!(error, ScrapeError::Broken { .. }), "{error:?}");
}

#[test]
fn only_200_is_an_answer() {
    for status in [204, 301, 302, 401, 404, 500, 503] {
        let app = app(Behaviour::Text(status, TEXT.into()));
        let error = get(app.port()).unwrap_err();
        assert!(
            matches!(error, ScrapeError::Status(s) if s == status),
            "{error:?}"
        );
    }
    let elsewhere = app(Behaviour::Text(200, TEXT.into()));
    let to = elsewhere.port();
    let raw = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://localhost:{to}/\r\nContent-Length: 0\r\n\r\n"
    );
    let app = app(Behaviour::Raw(raw.into()));
    assert!(matches!(
        get(app.port()).unwrap_err(),
        ScrapeError::Status(302)
    ));
    assert_eq!(elsewhere.accepted(), 0, "no redirect is followed");
}

#[test]
fn what_is_no_http_is_no_answer() {
    for raw in [
        &b"sample 1\n\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"\0\0\r\n\r\n",
    ] {
        let app = app(Behaviour::Raw(raw.to_vec()));
        let error = get(app.port()).unwrap_err();
        assert!(matches!(error, ScrapeError::Broken { .. }), "{error:?}");
    }
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let app = app(Behaviour::Raw(head.into()));
    assert!(get(app.port()).is_err());
}

#[test]
fn nobody_there_is_told_as_that() {
    let error = get(free_port()).unwrap_err();
    assert!(
        matches!(error, ScrapeError::NoConnection { .. }),
        "{error:?}"
    );
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}

#[test]
fn a_port_that_hangs_is_left_in_time() {
    let time = Duration::from_millis(300);
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsam".to_vec();
    for behaviour in [Behaviour::Never, Behaviour::Raw(half)] {
        let app = app(behaviour);
        let start = Instant::now();
        let error = client(Scheme::Http)
            .get(app.port(), time, &Room::default())
            .unwrap_err();
        assert!(
            matches!(error, ScrapeError::TimedOut(after) if after == time),
            "{error:?}"
        );
        assert!((time..PATIENCE).contains(&start.elapsed()));
    }
}

#[test]
fn of_an_answer_without_end_a_bounded_part_is_read() {
    let (endpoint, sent) = Endpoint::endless(1 << 30);
    let error = get(endpoint.port()).unwrap_err();
    assert!(matches!(error, ScrapeError::TooLarge), "{error:?}");
    drop(endpoint);
    // What is more lay in the kernel's buffers.
    let sent = sent.load(Ordering::SeqCst) as usize;
    assert!(sent < 4 * EXPOSITION_BYTES, "{sent} bytes were sent");
}

#[test]
fn the_answers_of_all_ports_have_one_bound() {
    let bytes = EXPOSITION_BYTES as u64;
    let (endpoint, _) = Endpoint::endless(bytes);
    let (client, room) = (client(Scheme::Http), Room::default());
    for _ in 0..ALIGNED_BODIES_BYTES / EXPOSITION_BYTES {
        let scraped = client.get(endpoint.port(), PATIENCE, &room).unwrap();
        assert_eq!(scraped.text.len(), EXPOSITION_BYTES);
    }
    let error = client.get(endpoint.port(), PATIENCE, &room).unwrap_err();
    assert!(matches!(error, ScrapeError::NoRoom), "{error:?}");
}

#[test]
fn a_call_under_way_is_cut_off_and_no_later_one_begins() {
    let app = app(Behaviour::Never);
    let client = client(Scheme::Http);
    let closer = client.closer();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.get(app.port(), PATIENCE, &Room::default()));
        app.wait_for("/metrics?of=all", 1);
        let start = Instant::now();
        closer.close();
        call.join().unwrap().unwrap_err();
        assert!(start.elapsed() < PATIENCE / 4);
    });
    client
        .get(app.port(), PATIENCE, &Room::default())
        .unwrap_err();
    assert_eq!(app.requests("/metrics?of=all").len(), 1);
}
