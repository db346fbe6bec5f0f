//! The client of etcd against a stand-in, and against servers that are slow, broken, rude or gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use cim::etcd::*;
use cim::limits;
use cim::secret::Secret;
use servers::{EtcdGateway, free_port, loopback};
use support::PATIENCE;

/// Deadlines far below [`PATIENCE`], and so far apart that one is not taken for another.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    call: Duration::from_secs(1),
    stream: Duration::from_secs(2),
};

fn config(endpoints: &[&str]) -> Config {
    Config {
        endpoints: endpoints.iter().map(|&e| e.to_owned()).collect(),
        timeouts: TIMEOUTS,
        ..Config::default()
    }
}

fn client(endpoint: &str) -> Client {
    Client::new(config(&[endpoint])).unwrap()
}

fn from(prefix: &str, start_revision: i64) -> WatchRequest {
    WatchRequest {
        prefix: prefix.into(),
        start_revision,
    }
}

/// What a peer does with one connection: it has the head of the request, says something, and closes.
type Script = fn(&str, &mut TcpStream);
/// What a peer does, and whether the error is the one for it.
type Case = (Script, fn(&EtcdError) -> bool);

/// A server that treats its connections as the scripts say, one after the other, and then is gone. The heads and bodies of the
/// requests arrive on the receiver.
fn peer(scripts: Vec<Script>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    thread::spawn(move || {
        for script in scripts {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut request).unwrap(), 0, "{request}");
            }
            let length = request
                .to_ascii_lowercase()
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| {
                    rest.split("\r\n").next().unwrap().parse().unwrap()
                });
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.push_str(std::str::from_utf8(&body).unwrap());
            let _ = sender.send(request.clone());
            script(&request, &mut stream);
        }
    });
    (url, requests)
}

fn say(stream: &mut TcpStream, text: &str) {
    // The client may have gone.
    let _ = stream.write_all(text.as_bytes());
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    say(
        stream,
        &format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    );
}

/// Stays until the client goes.
fn wait_for_the_end(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}

fn put(client: &mut Client) -> Result<PutAnswer, EtcdError> {
    client.put(b"key", b"value")
}

#[test]
fn keys_are_read_written_and_deleted() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd.client_url());
    let header = client.put(b"a/1", b"one").unwrap().header;
    assert_eq!(header.revision, 2);
    assert_ne!(header.cluster_id, 0);
    client.put(b"a/2", b"two").unwrap();
    client.put(b"a/1", b"three").unwrap();
    client.put(b"b", b"other").unwrap();

    let all = client.range(&Range::prefix("a/")).unwrap();
    let shown: Vec<_> = all
        .kvs
        .iter()
        .map(|kv| {
            (
                &*kv.key,
                &*kv.value,
                kv.mod_revision,
                kv.create_revision,
                kv.version,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (&b"a/1"[..], &b"three"[..], 4, 2, 2),
            (b"a/2", b"two", 3, 3, 1)
        ]
    );
    assert_eq!((all.more, all.count, all.header.revision), (false, 2, 5));

    let keys = |range: Range| -> Vec<String> {
        let answer = etcd_range(&etcd, &range);
        let text = |kv: &KeyValue| String::from_utf8(kv.key.clone()).unwrap();
        answer.kvs.iter().map(text).collect()
    };
    let oldest_first = Range {
        oldest_first: true,
        ..Range::prefix("a/")
    };
    assert_eq!(keys(oldest_first), ["a/2", "a/1"]);
    let before = Range {
        revision: 2,
        ..Range::prefix("a/")
    };
    assert_eq!(keys(before), ["a/1"]);
    let newer = Range {
        min_mod_revision: 4,
        ..Range::prefix("a/")
    };
    assert_eq!(keys(newer), ["a/1"]);
    let first = Range {
        limit: 1,
        keys_only: true,
        ..Range::prefix("a/")
    };
    let answer = etcd_range(&etcd, &first);
    assert!(answer.more && answer.kvs[0].value.is_empty());

    assert_eq!(client.delete(b"a/1").unwrap().deleted, 1);
    assert_eq!(client.delete(b"a/1").unwrap().deleted, 0);
    assert!(client.range(&Range::key("a/1")).unwrap().kvs.is_empty());
    assert_eq!(client.status().unwrap().leader, 1);
}

fn etcd_range(etcd: &EtcdGateway, range: &Range) -> RangeAnswer {
    client(&etcd.client_url()).range(range).unwrap()
}

#[test]
fn a_transaction_that_is_repeated_puts_once() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd.client_url());
    let put = |key: &str, value: &str| Operation::Put {
        key: key.into(),
        value: value.into(),
    };
    let txn = Txn {
        compare: vec![Compare {
            key: b"memory".into(),
            is: Condition::Value(b"5".into()),
        }],
        success: vec![Operation::Range(Range::key("commit"))],
        failure: vec![put("commit", "7"), put("memory", "5")],
    };
    let first = client.txn(&txn).unwrap();
    assert!(!first.succeeded);
    assert_eq!(first.responses.len(), 2);
    let second = client.txn(&txn).unwrap();
    assert!(second.succeeded);
    match &second.responses[..] {
        [TxnResponse::Range(range)] => assert_eq!(range.kvs[0].value, b"7"),
        other => panic!("{other:?}"),
    }
    assert_eq!(etcd.changes("commit").len(), 1);
    assert_eq!(
        etcd.changes("commit")[0].revision,
        etcd.changes("memory")[0].revision
    );
}

#[test]
fn a_watch_tells_history_then_what_happens_and_no_other_keys() {
    let etcd = EtcdGateway::start();
    let first = etcd.put("a/1", "one");
    etcd.put("b", "other");
    etcd.delete("a/1");
    let mut client = client(&etcd.client_url());
    let mut stream = client.watch(&from("a/", first)).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);
    let history = stream.next_frame().unwrap().unwrap().events;
    let kinds: Vec<_> = history
        .iter()
        .map(|e| (e.kind, e.kv.mod_revision))
        .collect();
    assert_eq!(
        kinds,
        [
            (EventKind::Put, first),
            (EventKind::Delete, etcd.revision())
        ]
    );
    etcd.put("b", "more");
    etcd.notify_progress();
    let progress = stream.next_frame().unwrap().unwrap();
    assert!(progress.events.is_empty());
    assert_eq!(progress.header.revision, etcd.revision());
    etcd.put_all(&[("a/2", "x"), ("a/3", "y")]);
    let frame = stream.next_frame().unwrap().unwrap();
    assert_eq!(frame.events.len(), 2);
    assert_eq!(frame.events[1].kv.value, b"y");
    etcd.cut_watches();
    let error = stream.next_frame().unwrap_err();
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
}

#[test]
fn a_compacted_revision_is_told() {
    let etcd = EtcdGateway::start();
    for value in ["1", "2", "3"] {
        etcd.put("a", value);
    }
    let revision = etcd.revision();
    etcd.compact(revision);
    let mut client = client(&etcd.client_url());
    let mut stream = client.watch(&from("a", 2)).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);
    let error = stream.next_frame().unwrap().unwrap().cancellation(2);
    match error.unwrap() {
        EtcdError::Compacted {
            requested: 2,
            compact_revision,
        } => assert_eq!(compact_revision, revision),
        other => panic!("{other:?}"),
    }
    let old = Range {
        revision: 2,
        ..Range::key("a")
    };
    let error = client.range(&old).unwrap_err();
    assert!(
        matches!(error, EtcdError::Compacted { requested: 2, .. }),
        "{error:?}"
    );
    assert_eq!(error.recovery(), Recovery::Reread);
}

#[test]
fn permission_denied_is_final() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd.client_url());
    etcd.deny_puts(true);
    let error = put(&mut client).unwrap_err();
    assert!(
        matches!(error, EtcdError::Refused { code: 7, .. }),
        "{error:?}"
    );
    assert_eq!(error.recovery(), Recovery::GiveUp);
    etcd.deny_puts(false);
    put(&mut client).unwrap();
}

#[test]
fn calls_share_a_connection() {
    let etcd = EtcdGateway::start();
    // By name, which has other addresses too.
    let mut client = client(&etcd.client_url().replace("127.0.0.1", "localhost"));
    for _ in 0..20 {
        put(&mut client).unwrap();
    }
    assert_eq!(etcd.connections(), 1);
    // A refusal comes with a body too; after it the connection goes on.
    etcd.deny_puts(true);
    put(&mut client).unwrap_err();
    etcd.deny_puts(false);
    put(&mut client).unwrap();
    assert_eq!(etcd.connections(), 1);
}

#[test]
fn a_server_that_is_gone_or_silent_is_known_in_time_and_used_again_afterwards() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd.client_url());
    put(&mut client).unwrap();

    etcd.refuse(true);
    let error = put(&mut client).unwrap_err();
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
    etcd.refuse(false);
    put(&mut client).unwrap();

    etcd.hang(true);
    let start = Instant::now();
    let error = put(&mut client).unwrap_err();
    assert!(matches!(error, EtcdError::TimedOut { .. }), "{error:?}");
    let error = client.watch(&from("a", 0)).unwrap_err();
    assert!(matches!(error, EtcdError::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < 5 * TIMEOUTS.call, "{:?}", start.elapsed());
    assert!(error.to_string().contains(&etcd.client_url()), "{error}");
    etcd.hang(false);
    put(&mut client).unwrap();
}

#[test]
fn a_stream_ends_quietly_after_its_time() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd.client_url());
    let mut stream = client.watch(&from("a", 0)).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);
    let start = Instant::now();
    assert_eq!(stream.next_frame().unwrap(), None);
    assert!(start.elapsed() > TIMEOUTS.stream / 2);
    assert_eq!(stream.next_frame().unwrap(), None);
}

#[test]
fn closing_ends_what_is_blocked_and_what_comes_later() {
    let etcd = EtcdGateway::start();
    let long = Timeouts {
        connect: PATIENCE,
        call: PATIENCE,
        stream: PATIENCE,
    };
    let client = || {
        Client::new(Config {
            timeouts: long,
            ..config(&[&etcd.client_url()])
        })
        .unwrap()
    };
    let mut watching = client();
    let mut stream = watching.watch(&from("a", 0)).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);
    let mut calling = client();
    put(&mut calling).unwrap();
    let closers = [watching.closer(), calling.closer()];
    etcd.hang(true);
    let before = etcd.requests("kv/put");
    let (sender, ended) = channel();
    let watch_ended = sender.clone();
    let watcher = thread::spawn(move || {
        let error = stream.next_frame().unwrap_err();
        watch_ended.send(Instant::now()).unwrap();
        (error, stream)
    });
    let caller = thread::spawn(move || {
        let error = put(&mut calling).unwrap_err();
        sender.send(Instant::now()).unwrap();
        (error, calling)
    });
    support::eventually(PATIENCE, || etcd.requests("kv/put") > before);
    let start = Instant::now();
    for closer in &closers {
        closer.close();
    }
    for _ in 0..2 {
        let end = ended.recv_timeout(PATIENCE).unwrap();
        assert!(end.duration_since(start) < Duration::from_secs(1));
    }
    let (error, mut stream) = watcher.join().unwrap();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
    assert_eq!(error.recovery(), Recovery::Stop);
    let (error, mut calling) = caller.join().unwrap();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
    let error = stream.next_frame().unwrap_err();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
    let error = put(&mut calling).unwrap_err();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
    let error = watching.watch(&from("a", 0)).unwrap_err();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
}

#[test]
fn dead_endpoints_are_passed_over_and_the_good_one_is_kept() {
    let etcd = EtcdGateway::start();
    let dead = || format!("127.0.0.1:{}", free_port());
    let good = etcd.client_url();
    let all = [&dead(), &dead(), good.as_str(), &dead()];
    let mut client = Client::new(config(&all)).unwrap();
    put(&mut client).unwrap();
    assert_eq!(client.endpoint(), good);
    client.watch(&from("a", 0)).unwrap();
    assert_eq!(client.endpoint(), good);

    let dead = [dead(), dead()];
    let mut client = Client::new(config(&[&dead[0], &dead[1]])).unwrap();
    let error = put(&mut client).unwrap_err();
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains(&dead[1]), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn an_endpoint_that_fails_after_it_has_the_request_is_left_but_the_request_is_not_repeated() {
    let etcd = EtcdGateway::start();
    let bad: [Script; 3] = [
        |_, stream| {
            answer(
                stream,
                503,
                r#"{"code":14,"message":"etcdserver: no leader"}"#,
            )
        },
        |_, _| {},
        |_, stream| answer(stream, 200, "<html>"),
    ];
    for script in bad {
        let (url, requests) = peer(vec![script]);
        let mut client = Client::new(config(&[&url, &etcd.client_url()])).unwrap();
        let error = put(&mut client).unwrap_err();
        assert_eq!(error.recovery(), Recovery::Retry, "{error:?}");
        assert!(error.to_string().contains(&url), "{error}");
        assert_eq!(client.endpoint(), etcd.client_url());
        put(&mut client).unwrap();
        assert_eq!(requests.iter().count(), 1);
    }
}

#[test]
fn a_token_that_is_not_known_any_more_is_renewed_once() {
    const AUTHENTICATED: Script =
        |_, stream| answer(stream, 200, r#"{"header":{},"token":"new.1"}"#);
    const REFUSED: Script = |_, stream| {
        answer(
            stream,
            401,
            r#"{"error":"x","message":"etcdserver: invalid auth token","code":16}"#,
        );
    };
    let user = |url: &str| Config {
        user: Some(("cim".to_owned(), Secret::new("s3cret"))),
        ..config(&[url])
    };
    let (url, requests) = peer(vec![
        AUTHENTICATED,
        REFUSED,
        AUTHENTICATED,
        |request, stream| {
            assert!(
                request
                    .to_ascii_lowercase()
                    .contains("authorization: new.1\r\n")
            );
            answer(stream, 200, "{}");
        },
    ]);
    put(&mut Client::new(user(&url)).unwrap()).unwrap();
    let requests: Vec<_> = requests.iter().collect();
    assert_eq!(requests.len(), 4);
    assert!(requests[0].ends_with(r#"{"name":"cim","password":"s3cret"}"#));

    // A watch is refused by its first frame.
    let (url, _requests) = peer(vec![
        AUTHENTICATED,
        |_, stream| {
            answer(
                stream,
                200,
                "{\"result\":{\"created\":true,\"canceled\":true,\"cancel_reason\":\"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token\"}}\n",
            );
        },
        AUTHENTICATED,
        |_, stream| answer(stream, 200, "{\"result\":{\"created\":true}}\n"),
    ]);
    let mut client = Client::new(user(&url)).unwrap();
    let mut stream = client.watch(&from("a", 0)).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);

    // Not for ever.
    let (url, requests) = peer(vec![AUTHENTICATED, REFUSED, AUTHENTICATED, REFUSED]);
    let error = put(&mut Client::new(user(&url)).unwrap()).unwrap_err();
    assert!(
        matches!(error, EtcdError::Unauthenticated { .. }),
        "{error:?}"
    );
    assert_eq!(requests.iter().count(), 4);
    assert!(!format!("{error:?}").contains("new.1"));
}

#[test]
fn an_etcd_without_authentication_takes_a_client_with_a_user() {
    let (url, requests) = peer(vec![
        |_, stream| {
            answer(
                stream,
                412,
                r#"{"error":"x","message":"etcdserver: authentication is not enabled","code":9}"#,
            );
        },
        |request, stream| {
            assert!(!request.to_ascii_lowercase().contains("authorization"));
            answer(stream, 200, "{}");
        },
        |_, stream| answer(stream, 200, "{}"),
    ]);
    let mut client = Client::new(Config {
        user: Some(("cim".to_owned(), Secret::new("s3cret"))),
        ..config(&[&url])
    })
    .unwrap();
    put(&mut client).unwrap();
    put(&mut client).unwrap();
    assert_eq!(requests.iter().count(), 3);
}

#[test]
fn a_wrong_password_is_told_without_it() {
    let (url, _requests) = peer(vec![|_, stream| {
        answer(
            stream,
            400,
            r#"{"message":"etcdserver: authentication failed, invalid user ID or password","code":3}"#,
        );
    }]);
    let mut client = Client::new(Config {
        user: Some(("cim".to_owned(), Secret::new("s3cret"))),
        ..config(&[&url])
    })
    .unwrap();
    let error = put(&mut client).unwrap_err();
    assert!(
        matches!(error, EtcdError::Unauthenticated { .. }),
        "{error:?}"
    );
    assert!(!format!("{error:?} {client:?}").contains("s3cret"));
}

#[test]
fn answers_that_are_none_are_told_apart() {
    let cases: [Case; 9] = [
        (|_, _| {}, |e| matches!(e, EtcdError::Unreachable { .. })),
        (
            |_, stream| say(stream, "SSH-2.0-OpenSSH\r\n\r\n"),
            |e| matches!(e, EtcdError::Malformed { .. }),
        ),
        (
            |_, stream| answer(stream, 200, "<html>"),
            |e| matches!(e, EtcdError::Malformed { .. }),
        ),
        (
            |_, stream| say(stream, "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n{"),
            |e| matches!(e, EtcdError::Unreachable { .. }),
        ),
        (
            |_, stream| {
                say(
                    stream,
                    "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                )
            },
            |e| matches!(e, EtcdError::Malformed { .. }),
        ),
        (
            |_, stream| {
                say(stream, "HTTP/1.1 200 X\r\nX: ");
                say(stream, &"x".repeat(limits::ETCD_BUFFER_BYTES));
                wait_for_the_end(stream);
            },
            |e| matches!(e, EtcdError::Malformed { .. }),
        ),
        (
            // Slow, and never done.
            |_, stream| {
                say(stream, "HTTP/1.1 200 X\r\n");
                while stream.write_all(b"X: y\r\n").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            },
            |e| matches!(e, EtcdError::TimedOut { .. }),
        ),
        (
            |_, stream| answer(stream, 302, ""),
            |e| matches!(e, EtcdError::NotEtcd { .. }),
        ),
        (
            |_, stream| {
                say(
                    stream,
                    "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                );
                let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
                while stream.write_all(chunk.as_bytes()).is_ok() {}
            },
            |e| matches!(e, EtcdError::TooLarge { .. }),
        ),
    ];
    for (n, (script, is_expected)) in cases.into_iter().enumerate() {
        let (url, _requests) = peer(vec![script]);
        let error = put(&mut client(&url)).unwrap_err();
        assert!(is_expected(&error), "case {n}: {error:?}");
        assert!(!error.to_string().chars().any(char::is_control));
    }
}

#[test]
fn streams_that_are_none_are_told_apart() {
    const HEAD: &str =
        "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n{\"result\":{\"created\":true}}\n";
    let cases: [Case; 5] = [
        (
            |_, stream| say(stream, HEAD),
            |e| matches!(e, EtcdError::Unreachable { .. }),
        ),
        (
            |_, stream| say(stream, &format!("{HEAD}{{\"result\":{{}}}}")),
            |e| matches!(e, EtcdError::Unreachable { .. }),
        ),
        (
            |_, stream| say(stream, &format!("{HEAD}garbage\n")),
            |e| matches!(e, EtcdError::Malformed { .. }),
        ),
        (
            |_, stream| {
                say(
                    stream,
                    &format!(
                        "{HEAD}{{\"error\":{{\"grpc_code\":14,\"http_code\":503,\"message\":\"etcdserver: no leader\"}}}}\n"
                    ),
                );
            },
            |e| matches!(e, EtcdError::Unavailable { .. }),
        ),
        (
            |_, stream| {
                say(stream, HEAD);
                while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            },
            |e| matches!(e, EtcdError::TooLarge { .. }),
        ),
    ];
    for (n, (script, is_expected)) in cases.into_iter().enumerate() {
        let (url, _requests) = peer(vec![script]);
        let mut client = client(&url);
        let mut stream = client.watch(&from("a", 0)).unwrap();
        assert!(stream.next_frame().unwrap().unwrap().created);
        let error = stream.next_frame().unwrap_err();
        assert!(is_expected(&error), "case {n}: {error:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (pair(), pair());
    std::fs::write(path("cert"), own.cert.pem()).unwrap();
    std::fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("other key"), other.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("text"), "none").unwrap();
    let tls = |ca: Option<&str>, cert: Option<&str>, key: Option<&str>| {
        Client::new(Config {
            tls: Tls {
                ca_file: ca.map(path),
                cert_file: cert.map(path),
                key_file: key.map(path),
            },
            ..config(&["https://localhost:1"])
        })
        .map(drop)
        .map_err(|error| {
            assert_eq!(error.recovery(), Recovery::Stop);
            error.to_string()
        })
    };
    tls(Some("cert"), Some("cert"), Some("key")).unwrap();
    for (ca, cert, key, expected) in [
        (None, Some("cert"), None, "go together"),
        (None, None, Some("key"), "go together"),
        (
            None,
            Some("cert"),
            Some("other key"),
            "cannot be used together",
        ),
        (None, Some("cert"), Some("cert"), "no usable private key"),
        (None, Some("key"), Some("key"), "no usable certificate"),
        (Some("text"), None, None, "no usable certificate"),
        (Some("missing"), None, None, "does not exist"),
    ] {
        let error = tls(ca, cert, key).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    for bad in [&[][..], &["etcd"], &["http://u:p@h:1"], &["ftp://h:1"]] {
        let error = Client::new(config(bad)).unwrap_err();
        assert!(matches!(error, EtcdError::Config(_)), "{error:?}");
        assert!(!error.to_string().contains("u:p"), "{error}");
    }
}
