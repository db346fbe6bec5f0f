//! The client of the application's HTTP side, against an application: both protocols, and everything that may go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::io::{Cursor, Read, Write};
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use cim::app::{
    AppAnswer, AppClient, AppError, LOAD_CONFIG, SHUTDOWN, Target, UPDATE_CONFIG, body,
};
use cim::limits::{APP_ANSWER_BYTES, APP_HEAD_BYTES, APP_IDLE_TIME};
use serde_json::{Value, json};
use servers::h2c::{H2Connection, H2Request, PREFACE};
use servers::{Behaviour, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, PATIENCE, eventually};

const BODY: &[u8] = b"{}";

/// A client of one application.
struct Client {
    client: AppClient,
    target: Target,
}

impl Client {
    fn of(app: &TestApp, http2: bool) -> Self {
        Self {
            client: AppClient::new(),
            target: Target {
                url: app.url(),
                http2,
            },
        }
    }

    fn post_within(
        &mut self,
        path: &str,
        body: &[u8],
        time: Duration,
    ) -> Result<AppAnswer, AppError> {
        self.client.post(&self.target, path, body, time)
    }

    fn post(&mut self, body: &[u8]) -> Result<AppAnswer, AppError> {
        self.post_within(UPDATE_CONFIG, body, PATIENCE)
    }

    #[track_caller]
    fn status(&mut self, body: &[u8]) -> u16 {
        self.post(body).unwrap().status
    }
}

/// Runs `test` over HTTP/1.1 and over HTTP/2.
fn both(test: impl Fn(bool)) {
    test(false);
    test(true);
}

macro_rules! golden {
    ($file:literal) => {
        &include_bytes!(concat!("golden/", $file))[..]
    };
}

/// Request line, content type, content length and body of the original's request.
fn essence(request: &[u8]) -> (String, String, String, Vec<u8>) {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    (
        head.lines().next().unwrap().to_owned(),
        header("Content-Type:"),
        header("Content-Length:"),
        body.as_bytes().to_vec(),
    )
}

#[test]
fn requests_are_those_of_the_original() {
    let app = TestApp::start();
    let mut client = Client::of(&app, false);
    let patch = br#"[{"op":"replace","path":"/a/b","value":"x <&> \u00e9 \"q\""}]"#;
    let patch = String::from_utf8_lossy(patch).replace("\\u00e9", "é");
    let key = "change-set/ns1/ms1/v1/ms/app.json/101";
    let update = body::update_config(key, "app.json", patch.as_bytes(), "101");
    for (path, body, golden) in [
        (
            UPDATE_CONFIG,
            &update[..],
            golden!("5-config/01_ms_success.request.raw"),
        ),
        (
            LOAD_CONFIG,
            br#"{"app.json":"{}"}"#,
            golden!("7-day1/05_loadConfig_after_put_of_revision_0.request.raw"),
        ),
        (
            SHUTDOWN,
            b"",
            golden!("9-termination/04_sigterm_app_500.request.raw"),
        ),
    ] {
        client.post_within(path, body, PATIENCE).unwrap();
        let request = app.requests(path).remove(0);
        let sent = [request.head, request.body].concat();
        let sent = String::from_utf8(sent).unwrap();
        // Names of header fields have no case.
        let sent = sent.replace("content-type:", "Content-Type:");
        let sent = sent.replace("content-length:", "Content-Length:");
        assert_eq!(essence(sent.as_bytes()), essence(golden));
    }
}

/// A stream that says what it says, and takes anything.
struct Played(Cursor<Vec<u8>>);

impl Read for Played {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Played {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn requests_over_http_2_are_those_of_the_original() {
    let bytes = golden!("5-config/11_http2_enabled_client_bytes.bin");
    let frames = bytes.strip_prefix(PREFACE).unwrap().to_vec();
    let mut played = Played(Cursor::new(frames));
    let original: H2Request = H2Connection::default()
        .request(&mut played)
        .unwrap()
        .unwrap();

    let app = TestApp::start();
    let mut client = Client::of(&app, true);
    let update = body::update_config(
        "change-set/ns1/ms1/v1/ms/app.json/401",
        "app.json",
        b"[]",
        "401",
    );
    assert_eq!(client.status(&update), 200);
    let request = app.requests(UPDATE_CONFIG).remove(0);
    assert_eq!(request.body, original.body);
    for name in [
        ":method",
        ":path",
        ":scheme",
        "content-type",
        "content-length",
    ] {
        let field = original.headers.iter().find(|(n, _)| n == name);
        assert_eq!(
            request.header(name),
            Some(field.unwrap().1.as_str()),
            "{name}"
        );
    }
    assert_eq!(request.header("expect"), None);
}

#[test]
fn a_connection_over_http_1_1_serves_many_requests() {
    both(|http2| {
        let app = TestApp::start();
        let mut client = Client::of(&app, http2);
        for n in 0..50 {
            let status = if n % 2 == 0 { 200 } else { 500 };
            app.on(UPDATE_CONFIG, Behaviour::Text(status, vec![b'x'; n * 100]));
            assert_eq!(client.status(BODY), status);
        }
        assert_eq!(app.requests(UPDATE_CONFIG).len(), 50);
        // Over HTTP/2 each request has its own: see src/app/h2c.rs.
        assert_eq!(app.accepted(), if http2 { 50 } else { 1 });
    });
}

#[test]
fn a_connection_that_was_idle_for_long_is_not_used_again() {
    let app = TestApp::start();
    let mut client = Client::of(&app, false);
    assert_eq!(client.status(BODY), 200);
    // What is tested is that this time passes.
    std::thread::sleep(APP_IDLE_TIME + Duration::from_millis(10));
    assert_eq!(client.status(BODY), 200);
    assert_eq!(app.accepted(), 2);
}

#[test]
fn no_socket_is_left_behind_whatever_is_answered() {
    both(|http2| {
        let app = TestApp::start();
        let mut client = Client::of(&app, http2);
        for n in 0..200 {
            let behaviour = match n % 5 {
                0 => Behaviour::Answer(200),
                1 => Behaviour::Text(200, vec![b'x'; 60_000]),
                2 => Behaviour::Text(404, b"no".to_vec()),
                3 => Behaviour::Answer(302),
                _ => Behaviour::CloseAfter,
            };
            let breaks = matches!(behaviour, Behaviour::CloseAfter);
            app.on(UPDATE_CONFIG, behaviour);
            assert_eq!(client.post(&[b'1'; 1000]).is_err(), breaks);
        }
        assert_eq!(
            app.requests(UPDATE_CONFIG).len(),
            200,
            "none was sent twice"
        );
        // Only the broken ones are replaced.
        assert_eq!(app.accepted(), if http2 { 200 } else { 40 });
        eventually(PATIENCE, || app.open() <= 1);
        drop(client);
        eventually(PATIENCE, || app.open() == 0);
    });
}

#[test]
fn a_long_text_is_cut_and_its_connection_closed() {
    let app = TestApp::start();
    let mut client = Client::of(&app, false);
    for (bytes, kept) in [
        (APP_ANSWER_BYTES, true),
        (APP_ANSWER_BYTES + 1, false),
        (50 << 20, false),
    ] {
        app.on(UPDATE_CONFIG, Behaviour::Text(200, vec![b'x'; bytes]));
        let answer = client.post(BODY).unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text.starts_with("xxx") && answer.text.len() <= 256);
        eventually(PATIENCE, || app.open() == usize::from(kept));
    }
    app.on(UPDATE_CONFIG, Behaviour::Text(201, vec![b'x'; 500_000]));
    let answer = Client::of(&app, true).post(BODY).unwrap();
    assert_eq!(answer.status, 201);
    assert!(answer.text.starts_with("xxx") && answer.text.len() <= 256);
}

#[test]
fn an_application_that_was_started_anew_is_no_failure() {
    both(|http2| {
        let mut app = TestApp::start();
        let mut client = Client::of(&app, http2);
        for n in 1..=20 {
            assert_eq!(client.status(BODY), 200);
            assert_eq!(app.requests(UPDATE_CONFIG).len(), n);
            app.restart();
        }
        app.refuse();
        let error = client.post(BODY).unwrap_err();
        assert!(matches!(error, AppError::Refused { .. }), "{error:?}");
        assert!(!error.may_have_been_handled());
        app.restart();
        assert_eq!(client.status(BODY), 200);
    });
}

#[test]
fn a_connection_that_breaks_is_an_error_and_nothing_is_sent_twice() {
    both(|http2| {
        for body in [BODY, b""] {
            for behaviour in [Behaviour::CloseAfter, Behaviour::CloseBefore] {
                for used_before in [false, true] {
                    let app = TestApp::start();
                    let mut client = Client::of(&app, http2);
                    if used_before {
                        client.post_within("/before", BODY, PATIENCE).unwrap();
                    }
                    app.on(UPDATE_CONFIG, behaviour.clone());
                    let error = client.post(body).unwrap_err();
                    let what = format!("{http2} {body:?} {behaviour:?} {used_before}: {error:?}");
                    assert!(matches!(error, AppError::Broken { .. }), "{what}");
                    assert!(error.may_have_been_handled(), "{what}");
                    assert_eq!(app.requests(UPDATE_CONFIG).len(), 1, "{what}");
                    app.on(UPDATE_CONFIG, Behaviour::Answer(204));
                    assert_eq!(client.status(body), 204, "{what}");
                }
            }
        }
    });
}

#[test]
fn what_is_no_answer_is_an_error() {
    let app = TestApp::start();
    let long = format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
        "x".repeat(2 * APP_HEAD_BYTES)
    );
    let mut client = Client::of(&app, false);
    for bytes in [&b"hello\r\n\r\n"[..], b"SSH-2.0-x\r\n", long.as_bytes()] {
        app.on(UPDATE_CONFIG, Behaviour::Raw(bytes.to_vec()));
        let error = client
            .post_within(UPDATE_CONFIG, BODY, Duration::from_secs(3))
            .unwrap_err();
        assert!(error.may_have_been_handled(), "{error:?}");
    }
    eventually(PATIENCE, || app.open() == 0);
    // HTTP/2 towards an application that only speaks HTTP/1.1.
    let app = TestApp::start();
    app.on(
        UPDATE_CONFIG,
        Behaviour::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    );
    let error = Client::of(&app, true).post(BODY).unwrap_err();
    assert!(matches!(error, AppError::Broken { .. }), "{error:?}");
}

#[test]
fn no_answer_in_time_is_a_time_out() {
    both(|http2| {
        let app = TestApp::start();
        let mut client = Client::of(&app, http2);
        app.on(UPDATE_CONFIG, Behaviour::Never);
        let (start, time) = (Instant::now(), Duration::from_millis(300));
        let error = client.post_within(UPDATE_CONFIG, BODY, time).unwrap_err();
        assert!(start.elapsed() >= time && start.elapsed() < PATIENCE);
        assert!(
            matches!(error, AppError::TimedOut { sent: true, .. }),
            "{error:?}"
        );
        assert!(error.may_have_been_handled());
        let error = client
            .post_within(UPDATE_CONFIG, BODY, Duration::ZERO)
            .unwrap_err();
        assert!(
            matches!(error, AppError::TimedOut { sent: false, .. }),
            "{error:?}"
        );
        app.on(UPDATE_CONFIG, Behaviour::Late(201));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                app.wait_for(UPDATE_CONFIG, 2);
                app.release();
            });
            assert_eq!(client.status(BODY), 201);
        });
    });
}

#[test]
fn a_status_counts_though_its_text_never_ends() {
    let app = TestApp::start();
    let mut client = Client::of(&app, false);
    for (bytes, text) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"[..],
            "abc",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "abc",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            "",
        ),
    ] {
        app.on(UPDATE_CONFIG, Behaviour::Raw(bytes.to_vec()));
        let start = Instant::now();
        let answer = client
            .post_within(UPDATE_CONFIG, BODY, 2 * PATIENCE)
            .unwrap();
        assert!(start.elapsed() < PATIENCE);
        assert_eq!((answer.status, answer.text.as_str()), (200, text));
        eventually(PATIENCE, || app.open() == 0);
    }
    // HEADERS with `:status` 200 and DATA, neither of them the last frame of stream 1.
    let frames = b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03200\0\0\x03\0\0\0\0\0\x01abc";
    app.on(UPDATE_CONFIG, Behaviour::Raw(frames.to_vec()));
    let start = Instant::now();
    let mut client = Client::of(&app, true);
    let answer = client
        .post_within(UPDATE_CONFIG, BODY, 2 * PATIENCE)
        .unwrap();
    assert!(start.elapsed() < PATIENCE);
    assert_eq!((answer.status, answer.text.as_str()), (200, "abc"));
}

#[test]
fn a_redirect_is_an_answer() {
    let app = TestApp::start();
    let answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    app.on(UPDATE_CONFIG, Behaviour::Raw(answer.to_vec()));
    let mut client = Client::of(&app, false);
    assert_eq!(client.status(BODY), 302);
    assert_eq!(client.status(BODY), 302);
    assert_eq!((app.requests("/elsewhere").len(), app.accepted()), (0, 1));
}

#[test]
fn a_stop_ends_a_call_under_way_and_all_later_ones() {
    both(|http2| {
        for behaviour in [Behaviour::Never, Behaviour::Raw(b"HTTP/1.1 200".to_vec())] {
            if http2 && !matches!(behaviour, Behaviour::Never) {
                continue;
            }
            let app = TestApp::start();
            app.on(UPDATE_CONFIG, behaviour);
            let mut client = Client::of(&app, http2);
            let stop = client.client.stop_handle();
            let stopped = std::thread::scope(|scope| {
                let stopped = scope.spawn(|| {
                    app.wait_for(UPDATE_CONFIG, 1);
                    stop.stop();
                    Instant::now()
                });
                let error = client
                    .post_within(UPDATE_CONFIG, BODY, 3 * PATIENCE)
                    .unwrap_err();
                assert!(
                    matches!(error, AppError::Stopped { sent: true }),
                    "{error:?}"
                );
                stopped.join().unwrap()
            });
            assert!(stopped.elapsed() < PATIENCE / 2, "{:?}", stopped.elapsed());
            let error = client.post(BODY).unwrap_err();
            assert!(
                matches!(error, AppError::Stopped { sent: false }),
                "{error:?}"
            );
            assert_eq!(app.requests(UPDATE_CONFIG).len(), 1);
        }
    });
}

#[test]
fn a_large_change_set_arrives_whole() {
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| b'a' + (n % 23) as u8).collect();
    both(|http2| {
        let app = TestApp::start();
        let mut client = Client::of(&app, http2);
        for _ in 0..2 {
            assert_eq!(client.status(&large), 200);
        }
        for request in app.requests(UPDATE_CONFIG) {
            assert!(request.body == large);
            assert_eq!(request.header("expect"), None);
        }
        assert_eq!(app.accepted(), if http2 { 2 } else { 1 });
    });
}

#[test]
fn localhost_is_both_loopback_addresses() {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    // A machine may be without IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    for address in addresses {
        let app = TestApp::start_on(address);
        both(|http2| {
            let mut client = Client::of(&app, http2);
            assert_eq!(client.status(BODY), 200);
            client.target.url = format!("http://localhost:{}", app.port());
            assert_eq!(client.status(BODY), 200);
        });
    }
}

#[test]
fn proxies_of_the_environment_mean_nothing() {
    const CHILD: &str = "CIM_TEST_PROXIED";
    const NAMES: [&str; 6] = [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    if std::env::var_os(CHILD).is_some() {
        let app = TestApp::start();
        both(|http2| {
            let mut client = Client::of(&app, http2);
            assert_eq!(client.status(BODY), 200);
            client.target.url = format!("http://localhost:{}", app.port());
            assert_eq!(client.status(BODY), 200);
        });
        return;
    }
    let proxy = TestApp::start();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxies_of_the_environment_mean_nothing"]);
    child
        .env(CHILD, "1")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    child.envs(NAMES.map(|name| (name, proxy.url())));
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(proxy.accepted(), 0);
}

#[test]
fn the_test_application_replies_as_it_is_told() {
    let cim = Cim::start(Options::new());
    let mut listener = cim.client();
    listener.subscribe("CONFIG", "1");
    listener.ping_pong();
    let app = TestApp::start();
    let mut client = Client::of(&app, false);
    let mut replied = |reply: Reply, release: bool| -> Value {
        app.reply_with(cim.nats, reply);
        let update = body::update_config("change-set/a/b/c/ms/app.json/7", "app.json", b"[]", "7");
        assert_eq!(client.status(&update), 200);
        if release {
            app.release_replies();
        }
        serde_json::from_slice(&listener.delivered().payload).unwrap()
    };
    let success = Reply::of(ReplyStatus::Success);
    let expected = json!({
        "change-set-key": "change-set/a/b/c/ms/app.json/7", "revision": "7", "status": "success", "remarks": ""
    });
    assert_eq!(replied(success.clone(), false), expected);
    let held = Reply {
        held: true,
        ..success.clone()
    };
    assert_eq!(replied(held, true), expected);
    let other = Reply {
        first: true,
        number: true,
        key: Some("other".into()),
        ..Reply::of(ReplyStatus::Unused)
    };
    let other = replied(other, false);
    assert_eq!(
        (&other["revision"], &other["status"]),
        (&json!(7), &json!("unused"))
    );
    assert_eq!(other["change-set-key"], "other");
    // Who refuses a change set says nothing more about it.
    app.on(UPDATE_CONFIG, Behaviour::Answer(500));
    app.reply_with(cim.nats, success);
    assert_eq!(client.status(BODY), 500);
    app.reply_nothing();
    listener.publish("CONFIG", b"last");
    assert_eq!(listener.delivered().payload, b"last");
}
