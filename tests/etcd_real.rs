//! The client of etcd against the real one. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::thread;
use std::time::{Duration, Instant};

use cim::etcd::*;
use cim::limits;
use cim::secret::Secret;
use serde_json::json;
use servers::{Etcd, EtcdOptions, Recorder};
use support::tls::Authority;
use support::{PATIENCE, eventually_some};

/// As in the daemon, but for a stream that outlives a test on a busy machine.
const TIMEOUTS: Timeouts = Timeouts {
    connect: limits::ETCD_CONNECT_TIME,
    call: limits::ETCD_CALL_TIME,
    stream: PATIENCE.saturating_mul(6),
};
/// A stream whose end a test waits for.
const SHORT_STREAM: Duration = Duration::from_secs(4);

fn config(etcd: &Etcd) -> Config {
    Config {
        endpoints: vec![etcd.client_url()],
        timeouts: TIMEOUTS,
        ..Config::default()
    }
}

fn client(etcd: &Etcd) -> Client {
    Client::new(config(etcd)).unwrap()
}

fn watch(client: &mut Client, prefix: &str, start_revision: i64) -> WatchStream {
    let request = WatchRequest {
        prefix: prefix.into(),
        start_revision,
    };
    let mut stream = client.watch(&request).unwrap();
    assert!(stream.next_frame().unwrap().unwrap().created);
    stream
}

/// The keys and revisions of the next events.
fn events(stream: &mut WatchStream, count: usize) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    while all.len() < count {
        let frame = stream.next_frame().unwrap().expect("the stream goes on");
        let events = frame.events.into_iter();
        all.extend(events.map(|e| (String::from_utf8(e.kv.key).unwrap(), e.kv.mod_revision)));
    }
    all
}

#[test]
#[ignore = "integration"]
fn with_etcd_keys_and_transactions_are_as_in_the_stand_in() {
    let etcd = Etcd::start();
    let recorder = Recorder::start(&etcd);
    let mut client = client(&etcd);
    let binary: Vec<u8> = (0..=255).collect();
    let revision = client.put(b"a/1", &binary).unwrap().header.revision;
    client.put(b"a/2", b"two").unwrap();
    client.put(b"a/1", b"three").unwrap();
    client.put(b"b", b"other").unwrap();
    let answer = client.range(&Range::prefix("a/")).unwrap();
    assert_eq!((answer.kvs.len(), answer.count, answer.more), (2, 2, false));
    assert_eq!(answer.kvs[0].version, 2);
    let before = Range {
        revision,
        ..Range::prefix("a/")
    };
    assert_eq!(client.range(&before).unwrap().kvs[0].value, binary);
    let oldest = Range {
        oldest_first: true,
        min_mod_revision: revision + 1,
        limit: 1,
        keys_only: true,
        ..Range::prefix("a/")
    };
    let answer = client.range(&oldest).unwrap();
    assert_eq!(answer.kvs[0].key, b"a/2");
    assert!(answer.more && answer.kvs[0].value.is_empty());
    let future = Range {
        revision: revision + 1000,
        ..Range::key("a/1")
    };
    let error = client.range(&future).unwrap_err();
    assert_eq!(error.recovery(), Recovery::Reread, "{error}");

    let put = |key: &str, value: &str| Operation::Put {
        key: key.into(),
        value: value.into(),
    };
    let compare = |key: &str, is| Compare {
        key: key.into(),
        is,
    };
    let txn = Txn {
        compare: vec![compare("memory", Condition::Value(b"5".into()))],
        success: vec![Operation::Range(Range::key("commit"))],
        failure: vec![put("commit", "7"), put("memory", "5")],
    };
    let first = client.txn(&txn).unwrap();
    assert!(!first.succeeded && first.responses.len() == 2);
    let second = client.txn(&txn).unwrap();
    assert!(second.succeeded);
    assert!(matches!(&second.responses[..], [TxnResponse::Range(r)] if r.kvs[0].value == b"7"));
    let conditions = Txn {
        compare: vec![
            compare("none", Condition::Version(0)),
            compare("none", Condition::ModRevision(0)),
            compare("commit", Condition::ModRevision(first.header.revision)),
        ],
        success: vec![Operation::Delete { key: b"b".into() }],
        failure: vec![],
    };
    let answer = client.txn(&conditions).unwrap();
    assert!(matches!(&answer.responses[..], [TxnResponse::Delete(d)] if d.deleted == 1));

    let twice = Txn {
        success: vec![put("a", "1"), put("a", "2")],
        ..Txn::default()
    };
    let error = client.txn(&twice).unwrap_err();
    assert!(
        matches!(error, EtcdError::Refused { code: 3, .. }),
        "{error:?}"
    );
    let status = client.status().unwrap();
    assert!(status.leader > 0 && status.version.starts_with("3."));

    let commits = recorder.changes(&etcd, "commit");
    assert_eq!(commits.len(), 1);
    assert_eq!(commits[0].value.as_deref(), Some("7"));
    assert_eq!(recorder.changes(&etcd, "b").last().unwrap().value, None);
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_value_of_the_largest_size_is_read_and_watched() {
    let etcd = Etcd::start();
    let mut client = client(&etcd);
    // etcd's limit is on the whole request.
    let value = vec![0xff; (3 << 19) - 1024];
    let mut stream = watch(&mut client, "a", 0);
    client.put(b"a", &value).unwrap();
    assert_eq!(client.range(&Range::key("a")).unwrap().kvs[0].value, value);
    assert_eq!(events(&mut stream, 1).len(), 1);
    let error = client.put(b"a", &vec![0; 4 << 20]).unwrap_err();
    assert_eq!(error.recovery(), Recovery::GiveUp, "{error:?}");
    client.put(b"a/2", &value).unwrap();
    client.put(b"a/3", &value).unwrap();
    let error = client.range(&Range::prefix("a")).unwrap_err();
    assert!(matches!(error, EtcdError::TooLarge { .. }), "{error:?}");
    // History of more than one frame may have.
    let mut stream = watch(&mut client, "a", 2);
    assert_eq!(events(&mut stream, 3).len(), 3);
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_watch_resumes_where_it_was_after_a_restart() {
    let mut etcd = Etcd::start();
    let mut client = client(&etcd);
    let mut stream = watch(&mut client, "a/", 0);
    let first = etcd.put("a/1", "x");
    etcd.put("b", "x");
    assert_eq!(events(&mut stream, 1), [("a/1".to_owned(), first)]);
    etcd.kill();
    let error = loop {
        match stream.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended quietly"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
    let error = client.status().unwrap_err();
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
    etcd.restart();
    let second = etcd.put("a/2", "x");
    let mut stream = watch(&mut client, "a/", first + 1);
    assert_eq!(events(&mut stream, 1), [("a/2".to_owned(), second)]);
    client.put(b"a/3", b"x").unwrap();
    assert_eq!(events(&mut stream, 1)[0].0, "a/3");
    etcd.stop();
    etcd.restart();
    assert_eq!(client.range(&Range::prefix("a/")).unwrap().count, 3);
}

#[test]
#[ignore = "integration"]
fn with_etcd_compaction_and_the_end_of_a_lease_are_told() {
    let etcd = Etcd::start();
    let lease = etcd.grant_lease(600);
    let first = etcd.put_with_lease("a/1", "x", lease);
    let mut client = client(&etcd);
    assert_eq!(
        client.range(&Range::key("a/1")).unwrap().kvs[0].lease,
        lease
    );
    let mut stream = watch(&mut client, "a/", 0);
    etcd.revoke_lease(lease);
    let frame = stream.next_frame().unwrap().unwrap();
    assert_eq!(frame.events[0].kind, EventKind::Delete);
    for n in 0..5 {
        etcd.put("a/2", n.to_string());
    }
    let oldest = etcd.revision();
    etcd.compact(oldest);
    let mut stream = watch(&mut client, "a/", first);
    let frame = stream.next_frame().unwrap().unwrap();
    match frame.cancellation(first).unwrap() {
        EtcdError::Compacted {
            requested,
            compact_revision,
        } => assert_eq!((requested, compact_revision), (first, oldest)),
        other => panic!("{other:?}"),
    }
    let old = Range {
        revision: first,
        ..Range::key("a/1")
    };
    let error = client.range(&old).unwrap_err();
    assert!(matches!(error, EtcdError::Compacted { .. }), "{error:?}");
    // The oldest revision that is kept can be watched from.
    let mut stream = watch(&mut client, "a/", oldest);
    assert_eq!(events(&mut stream, 1), [("a/2".to_owned(), oldest)]);
}

#[test]
#[ignore = "integration"]
fn with_etcd_frozen_everything_ends_in_time() {
    let etcd = Etcd::start();
    let mut client = Client::new(Config {
        timeouts: Timeouts {
            stream: SHORT_STREAM,
            ..TIMEOUTS
        },
        ..config(&etcd)
    })
    .unwrap();
    client.put(b"a", b"x").unwrap();
    let mut stream = watch(&mut client, "a", 0);
    etcd.freeze();
    let start = Instant::now();
    let error = client.put(b"a", b"x").unwrap_err();
    assert!(matches!(error, EtcdError::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < 2 * TIMEOUTS.call);
    // Nothing tells that the stream is dead, but it is not used for ever.
    assert_eq!(stream.next_frame().unwrap(), None);
    let request = WatchRequest {
        prefix: b"a".into(),
        start_revision: 0,
    };
    let error = client.watch(&request).unwrap_err();
    assert!(matches!(error, EtcdError::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < 2 * (2 * TIMEOUTS.call + SHORT_STREAM));
    etcd.thaw();
    client.put(b"a", b"x").unwrap();
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_token_that_vanished_is_renewed() {
    let mut etcd = Etcd::start();
    for (path, body) in [
        ("auth/user/add", json!({"name": "root", "password": "pw"})),
        ("auth/role/add", json!({"name": "root"})),
        ("auth/user/grant", json!({"user": "root", "role": "root"})),
        (
            "auth/user/add",
            json!({"name": "cim", "password": "s3cret"}),
        ),
        ("auth/role/add", json!({"name": "a"})),
        ("auth/user/grant", json!({"user": "cim", "role": "a"})),
        (
            "auth/role/grant",
            json!({"name": "a", "perm": {"permType": "READWRITE", "key": "YQ==", "range_end": "Yg=="}}),
        ),
    ] {
        etcd.call(path, &body);
    }
    let with_password = |password: &str| {
        Client::new(Config {
            user: Some(("cim".to_owned(), Secret::new(password))),
            ..config(&etcd)
        })
        .unwrap()
    };
    let mut known = with_password("s3cret");
    let mut wrong = with_password("guess");
    let mut nobody = client(&etcd);
    // Without authentication anybody may.
    known.put(b"a", b"x").unwrap();
    etcd.call("auth/enable", &json!({}));
    known.put(b"a", b"x").unwrap();
    events(&mut watch(&mut known, "a", 2), 1);
    let error = known.put(b"x", b"x").unwrap_err();
    assert!(
        matches!(error, EtcdError::Refused { code: 7, .. }),
        "{error:?}"
    );
    let request = WatchRequest {
        prefix: b"x".into(),
        start_revision: 0,
    };
    let frame = known.watch(&request).unwrap().next_frame().unwrap();
    let error = frame.unwrap().cancellation(0).unwrap();
    assert!(error.to_string().contains("permission denied"), "{error}");
    for client in [&mut wrong, &mut nobody] {
        let error = client.put(b"a", b"x").unwrap_err();
        assert!(
            matches!(error, EtcdError::Unauthenticated { .. }),
            "{error:?}"
        );
        assert!(!error.to_string().contains("guess"));
    }

    // Simple tokens are in etcd's memory alone.
    etcd.restart();
    known.put(b"a", b"x").unwrap();
    etcd.restart();
    events(&mut watch(&mut known, "a", 2), 1);
}

#[test]
#[ignore = "integration"]
fn with_etcd_over_tls_both_sides_show_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("etcd-ca");
    ca.issue(dir.path(), "server");
    ca.issue(dir.path(), "client");
    Authority::new("other-ca").issue(dir.path(), "stranger");
    let file = |name: &str| dir.path().join(name);
    let argument = |name: &str, value: &str| format!("--{name}={}", file(value).display());
    let etcd = Etcd::start_with(EtcdOptions {
        arguments: vec![
            argument("cert-file", "server.pem"),
            argument("key-file", "server.key"),
            argument("trusted-ca-file", "server.ca"),
            "--client-cert-auth".to_owned(),
        ],
        tls: true,
    });
    let with = |ca: &str, name: Option<&str>| {
        let own = |extension: &str| name.map(|name| file(&format!("{name}.{extension}")));
        Client::new(Config {
            endpoints: vec![etcd.tls_url()],
            tls: Tls {
                ca_file: Some(file(ca)),
                cert_file: own("pem"),
                key_file: own("key"),
            },
            ..config(&etcd)
        })
        .unwrap()
    };
    let mut client = with("server.ca", Some("client"));
    client.put(b"a", b"x").unwrap();
    events(&mut watch(&mut client, "a", 2), 1);
    let closer = client.closer();
    let mut stream = watch(&mut client, "a", 0);
    let blocked = thread::spawn(move || stream.next_frame().unwrap_err());
    closer.close();
    let error = blocked.join().unwrap();
    assert!(matches!(error, EtcdError::Closed), "{error:?}");
    for (ca, name) in [
        ("server.ca", None),
        ("server.ca", Some("stranger")),
        ("stranger.ca", Some("client")),
    ] {
        let error = with(ca, name).put(b"a", b"x").unwrap_err();
        assert_eq!(
            error.recovery(),
            Recovery::Retry,
            "{ca} {name:?}: {error:?}"
        );
        assert!(
            matches!(error, EtcdError::Unreachable { .. }),
            "{ca} {name:?}: {error:?}"
        );
    }
    let roots = Client::new(Config {
        endpoints: vec![etcd.tls_url()],
        ..config(&etcd)
    });
    roots.unwrap().put(b"a", b"x").unwrap_err();
}

/// Times are printed, not judged: the machine may be busy.
#[test]
#[ignore = "integration"]
fn with_etcd_a_put_costs_little_more_than_etcds_own() {
    const PUTS: usize = 300;
    let etcd = Etcd::start();
    let mut client = client(&etcd);
    let mut stream = watch(&mut client, "a", 0);
    let (sender, seen) = std::sync::mpsc::channel();
    let watcher = thread::spawn(move || {
        let mut all = 0;
        while all < PUTS {
            all += events(&mut stream, 1).len();
            sender.send(Instant::now()).unwrap();
        }
    });
    let mut puts = Vec::new();
    let mut watches = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..PUTS {
        let start = Instant::now();
        client.put(b"a", b"x").unwrap();
        puts.push(start.elapsed());
        let event = eventually_some(PATIENCE, || seen.try_recv().ok());
        watches.push(event.duration_since(start));
        let start = Instant::now();
        etcd.put("b", "x");
        connections.push(start.elapsed());
    }
    watcher.join().unwrap();
    for (what, mut times) in [
        ("put of the client", puts),
        ("put to event", watches),
        ("put on a connection of its own", connections),
    ] {
        times.sort();
        let at = |part: usize| times[times.len() * part / 100];
        println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
    }
}
