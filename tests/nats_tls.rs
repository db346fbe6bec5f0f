//! TLS for NATS clients: the daemon with certificates of all kinds, and clients that do not keep to the rules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};
use support::tls::{Authority, TlsWire, client_config, client_config_of, plain, rest_of};
use support::{Cim, Options, PATIENCE, Signal, eventually, nats};

const FAILED: &str = "TLS Handshake Failure";

/// CIM with the certificate `name` of `dir`.
fn options(dir: &Path, name: &str) -> Options {
    let file = |extension: &str| dir.join(format!("{name}.{extension}"));
    Options::new()
        .env("CIM_NATS_TLS_CERT_FILE", file("pem"))
        .env("CIM_NATS_TLS_KEY_FILE", file("key"))
}

fn start(dir: &Path) -> Cim {
    Authority::new("ca").issue(dir, "server");
    Cim::start(options(dir, "server"))
}

fn closed(cim: &Cim, reason: &str) -> f64 {
    cim.metric("cim_nats_connections_closed_total", &[("reason", reason)])
}

/// The NATS server serves others as if nothing had happened.
#[track_caller]
fn serves(cim: &Cim, dir: &Path) {
    let config = client_config(dir, "server.ca", None);
    TlsWire::connect(cim.nats, &config).unwrap().ping_pong();
}

#[test]
fn clients_of_both_versions_publish_subscribe_and_have_their_lines_stored() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    for (version, of) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = client_config_of(dir.path(), "server.ca", None, &[version]);
        let mut subscriber = TlsWire::connect(cim.nats, &config).unwrap();
        let mut publisher = TlsWire::connect(cim.nats, &config).unwrap();
        assert_eq!(publisher.version(), of);
        subscriber.send(b"SUB x.* 1\r\n");
        subscriber.ping_pong();
        for size in [0, 1, 16 << 10, (16 << 10) + 1, 1 << 20] {
            let payload = vec![b'a' + (size % 26) as u8; size];
            publisher.send(&nats::publish("x.y", None, &payload));
            subscriber.expect(&format!("MSG x.y 1 {size}"));
            let got = subscriber.bytes(size + 2);
            assert!(got[..size] == payload && got.ends_with(b"\r\n"), "{size}");
        }
        let container = format!("{of:?}").to_lowercase();
        let lines = (0..500).flat_map(|n| {
            let line = format!("line {n}");
            nats::publish("LOG", None, &nats::log(&container, "1", line.as_bytes()))
        });
        publisher.send(&lines.collect::<Vec<_>>());
        publisher.ping_pong();
        assert_eq!(cim.lines_of(&container).len(), 500);
    }
}

#[test]
fn a_client_refuses_a_server_whose_certificate_is_not_good() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    ca.issue_with(dir.path(), "expired", |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    ca.issue_with(dir.path(), "elsewhere", |params| {
        let name = "example.com".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    });
    Authority::new("other").issue(dir.path(), "stranger");
    ca.issue(dir.path(), "good");
    for name in ["expired", "elsewhere", "stranger"] {
        let cim = Cim::start(options(dir.path(), name));
        let config = client_config(dir.path(), "good.ca", None);
        let error = TlsWire::connect(cim.nats, &config).err().expect(name);
        assert!(error.to_string().contains("certificate"), "{name}: {error}");
        eventually(PATIENCE, || closed(&cim, FAILED) == 1.0);
    }
}

#[test]
fn with_authorities_a_client_needs_a_certificate_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    ca.issue(dir.path(), "server");
    ca.issue(dir.path(), "client");
    ca.issue_with(dir.path(), "expired", |params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    Authority::new("other").issue(dir.path(), "stranger");
    let authorities = dir.path().join("server.ca");
    let cim = Cim::start(options(dir.path(), "server").env("CIM_NATS_TLS_CA_FILE", authorities));
    let (_, info) = plain(cim.nats);
    assert!(info.contains("\"tls_verify\":true"), "{info}");
    eventually(PATIENCE, || closed(&cim, FAILED) == 1.0);
    let mut failed = 1.0;
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for name in [None, Some("stranger"), Some("expired")] {
            let config = client_config_of(dir.path(), "server.ca", name, versions);
            let error = TlsWire::connect(cim.nats, &config).err().expect("refused");
            failed += 1.0;
            eventually(PATIENCE, || closed(&cim, FAILED) == failed);
            // In 1.3 the client hears of it behind its own part, and may have sent CONNECT into a closed connection.
            let text = error.to_string();
            let said = ["alert", "reset", "broken pipe", "Broken pipe"];
            assert!(
                said.iter().any(|part| text.contains(part)),
                "{name:?}: {text}"
            );
        }
        let config = client_config_of(dir.path(), "server.ca", Some("client"), versions);
        TlsWire::connect(cim.nats, &config).unwrap().ping_pong();
    }
}

#[test]
fn what_is_not_tls_is_closed_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let inputs: [&[u8]; 5] = [
        b"CONNECT {}\r\nPING\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 100],
        &[0x80, 0x2e, 1, 3, 1],
        &[0xff],
    ];
    for (n, input) in inputs.iter().enumerate() {
        let (mut stream, _) = plain(cim.nats);
        stream.write_all(input).unwrap();
        assert_eq!(rest_of(&mut stream), b"", "{n}");
        eventually(PATIENCE, || closed(&cim, FAILED) == (n + 1) as f64);
    }
    // Garbage that looks like TLS gets what TLS says to it.
    let (mut stream, _) = plain(cim.nats);
    stream
        .write_all(b"\x16\x03\x01\x00\x08\x01\x00\x00\x04aaaa")
        .unwrap();
    let answer = rest_of(&mut stream);
    assert!(answer.starts_with(&[0x15, 3]), "an alert: {answer:?}");
    // The client goes away.
    drop(plain(cim.nats));
    eventually(PATIENCE, || closed(&cim, FAILED) == 7.0);
    serves(&cim, dir.path());
}

#[test]
fn a_handshake_that_does_not_come_or_stops_is_given_its_time_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let hello = client_hello(dir.path());
    let start = Instant::now();
    let mut streams: Vec<_> = [0, 1, 4, 6, hello.len() - 1, hello.len()]
        .into_iter()
        .map(|count| {
            let (mut stream, _) = plain(cim.nats);
            stream.write_all(&hello[..count]).unwrap();
            stream
        })
        .collect();
    serves(&cim, dir.path());
    for stream in &mut streams {
        rest_of(stream);
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(1900), "{waited:?}");
    }
    eventually(PATIENCE, || closed(&cim, FAILED) == 6.0);
    serves(&cim, dir.path());
}

/// What a client begins its handshake with.
fn client_hello(dir: &Path) -> Vec<u8> {
    let config = client_config(dir, "server.ca", None);
    let name = "127.0.0.1".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// A stream that lets one byte through at a time.
struct Dribble(std::net::TcpStream);

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Each byte is a segment of its own.
        self.0.write(&bytes[..1])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_may_come_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    for version in [&TLS12, &TLS13] {
        let config = client_config_of(dir.path(), "server.ca", None, &[version]);
        let name = "127.0.0.1".try_into().unwrap();
        let client = rustls::ClientConnection::new(config, name).unwrap();
        let (stream, _) = plain(cim.nats);
        let mut tls = rustls::StreamOwned::new(client, Dribble(stream));
        let input = b"CONNECT {\"verbose\":false}\r\nPUB x 3\r\nabc\r\nPING\r\n";
        tls.write_all(input).unwrap();
        let mut answer = [0; 6];
        tls.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"PONG\r\n");
    }
}

#[test]
fn bytes_that_are_changed_on_their_way_end_the_connection_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let config = client_config(dir.path(), "server.ca", None);
    let mut wire = TlsWire::connect(cim.nats, &config).unwrap();
    let mut other = TlsWire::connect(cim.nats, &config).unwrap();
    wire.tls.conn.writer().write_all(b"PING\r\n").unwrap();
    let mut record = Vec::new();
    wire.tls.conn.write_tls(&mut record).unwrap();
    let last = record.len() - 1;
    record[last] ^= 1;
    wire.tls.sock.write_all(&record).unwrap();
    let (said, _) = wire.rest();
    assert_eq!(said, "");
    eventually(PATIENCE, || closed(&cim, "Read Error") == 1.0);
    other.ping_pong();
}

#[test]
fn who_ends_its_side_gets_its_pong_and_a_goodbye() {
    let dir = tempfile::tempdir().unwrap();
    let mut cim = start(dir.path());
    let config = client_config(dir.path(), "server.ca", None);
    for (container, says_goodbye) in [("said", true), ("silent", false)] {
        let mut wire = TlsWire::connect(cim.nats, &config).unwrap();
        let line = nats::publish("LOG", None, &nats::log(container, "1", b"last"));
        wire.send(&[&line[..], b"PING\r\n"].concat());
        if says_goodbye {
            wire.close_notify();
        } else {
            wire.shut();
        }
        wire.expect("PONG");
        assert_eq!(wire.rest(), (String::new(), true), "{container}");
        assert_eq!(cim.lines_of(container).len(), 1);
    }
    // CIM's own end is said too.
    let mut wire = TlsWire::connect(cim.nats, &config).unwrap();
    cim.stop(Signal::TERM);
    assert_eq!(wire.rest(), (String::new(), true));
}

#[test]
fn a_subscriber_over_tls_that_does_not_read_is_cut_off_and_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let config = client_config(dir.path(), "server.ca", None);
    let mut slow: Vec<_> = (0..4)
        .map(|_| TlsWire::connect(cim.nats, &config).unwrap())
        .collect();
    for wire in &mut slow {
        wire.send(b"SUB big 1\r\n");
        wire.ping_pong();
    }
    let mut publisher = TlsWire::connect(cim.nats, &config).unwrap();
    let message = nats::publish("big", None, &vec![b'x'; 256 << 10]);
    for _ in 0..200 {
        publisher.send(&message);
    }
    publisher.ping_pong();
    eventually(PATIENCE, || {
        cim.metric("cim_nats_slow_consumers_total", &[]) == 4.0
    });
    // Twice what may wait for all clients, and what CIM takes itself: this is a build for tests.
    let peak = cim.usage().peak_kib;
    assert!(peak < 96 << 10, "{peak} KiB");
}

#[test]
fn a_slow_reader_over_tls_gets_every_byte() {
    const MESSAGES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let config = client_config(dir.path(), "server.ca", None);
    let mut reader = TlsWire::connect(cim.nats, &config).unwrap();
    reader.send(b"SUB s 1\r\n");
    reader.ping_pong();
    let mut publisher = TlsWire::connect(cim.nats, &config).unwrap();
    for n in 0..MESSAGES {
        let payload = format!("{n:05}").repeat(200);
        publisher.send(&nats::publish("s", None, payload.as_bytes()));
    }
    publisher.ping_pong();
    for n in 0..MESSAGES {
        reader.expect("MSG s 1 1000");
        assert_eq!(
            reader.bytes(1002),
            format!("{}\r\n", format!("{n:05}").repeat(200)).as_bytes()
        );
    }
}

#[test]
fn over_tls_pong_means_stored_under_load_too() {
    const PUBLISHERS: usize = 4;
    const ROUNDS: usize = 40;
    const LINES: usize = 250;
    let dir = tempfile::tempdir().unwrap();
    Authority::new("ca").issue(dir.path(), "server");
    let mut cim = Cim::start(options(dir.path(), "server").large_files());
    let config = client_config(dir.path(), "server.ca", None);
    let to = cim.nats;
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut wire = TlsWire::connect(to, &config).unwrap();
                for round in 0..ROUNDS {
                    let lines = (0..LINES).flat_map(|n| {
                        let line = format!("{publisher} {}", round * LINES + n);
                        nats::publish("LOG", None, &nats::log("many", "1", line.as_bytes()))
                    });
                    wire.send(&lines.collect::<Vec<_>>());
                    wire.ping_pong();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    cim.kill9();
    assert_eq!(cim.lines_of("many").len(), PUBLISHERS * ROUNDS * LINES);
}

#[test]
fn many_handshakes_at_one_time_all_come_to_their_end() {
    const CLIENTS: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let config = client_config(dir.path(), "server.ca", None);
    let (barrier, to) = (Arc::new(Barrier::new(CLIENTS)), cim.nats);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (config, barrier) = (Arc::clone(&config), Arc::clone(&barrier));
            thread::spawn(move || {
                let (stream, _) = plain(to);
                barrier.wait();
                TlsWire::shake(stream, &config).map(drop)
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap().expect("a handshake");
    }
    assert_eq!(closed(&cim, FAILED), 0.0);
}

#[test]
fn half_handshakes_hold_up_others_for_no_longer_than_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let hello = client_hello(dir.path());
    let count = cim::limits::TLS_HANDSHAKES;
    let half: Vec<_> = (0..count)
        .map(|_| {
            let (mut stream, _) = plain(cim.nats);
            stream.write_all(&hello[..hello.len() - 1]).unwrap();
            stream
        })
        .collect();
    // A client's own time runs while it waits, so a try or two may come too early.
    let config = client_config(dir.path(), "server.ca", None);
    eventually(PATIENCE, || TlsWire::connect(cim.nats, &config).is_ok());
    eventually(PATIENCE, || closed(&cim, FAILED) >= 1.0);
    drop(half);
}

#[test]
fn certificates_are_read_again_for_connections_to_come() {
    let dir = tempfile::tempdir().unwrap();
    let cim = start(dir.path());
    let first = client_config(dir.path(), "server.ca", None);
    let mut wire = TlsWire::connect(cim.nats, &first).unwrap();
    let said = |text: &str| {
        eventually(PATIENCE, || {
            let own = cim.text_of("cim");
            memchr::memmem::find(&own, text.as_bytes()).is_some()
        });
    };
    std::fs::write(dir.path().join("server.key"), "").unwrap();
    cim.signal(Signal::HUP);
    said("no usable private key in PEM form; the old ones stay in force");
    TlsWire::connect(cim.nats, &first).unwrap();
    Authority::new("next").issue(dir.path(), "server");
    cim.signal(Signal::HUP);
    said("certificates of the NATS server read again");
    assert!(TlsWire::connect(cim.nats, &first).is_err());
    serves(&cim, dir.path());
    wire.ping_pong();
}

#[test]
fn files_that_cannot_be_used_are_told_by_check_and_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    Authority::new("ca").issue(dir.path(), "server");
    Authority::new("ca").issue(dir.path(), "other");
    let file = |name: &str| dir.path().join(name).into_os_string();
    let (cert, key, ca) = (
        "CIM_NATS_TLS_CERT_FILE",
        "CIM_NATS_TLS_KEY_FILE",
        "CIM_NATS_TLS_CA_FILE",
    );
    for (files, expected) in [
        (
            vec![(cert, "server.pem")],
            "together with CIM_NATS_TLS_KEY_FILE",
        ),
        (
            vec![(ca, "server.ca")],
            "together with CIM_NATS_TLS_CERT_FILE",
        ),
        (
            vec![(cert, "none"), (key, "server.key")],
            "none: the file does not exist",
        ),
        (
            vec![(cert, "server.pem"), (key, "other.key")],
            "cannot be used together",
        ),
        (
            vec![(cert, "server.pem"), (key, "server.key"), (ca, "other.key")],
            "other.key: no usable certificate",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_cim"))
            .arg("check")
            .env_clear()
            .envs(files.iter().map(|(name, value)| (name, file(value))))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{text}");
        let all = files.iter().fold(Options::new(), |options, (name, value)| {
            options.env(name, file(value))
        });
        let failed = Cim::try_start(all).err().expect("it must not start");
        assert_eq!(failed.status.unwrap().code(), Some(2));
        assert!(failed.stderr.contains(expected), "{}", failed.stderr);
    }
}
