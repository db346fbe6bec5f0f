//! DESIGN 4, untrusted input: whatever comes to the NATS port, CIM goes on, and nothing outside is touched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::{Duration, Instant};

use support::nats::{event, log, publish};
use support::{Cim, NatsWire, Options, PATIENCE, eventually};

const ID: &str = "0123456789ab";

/// CIM is there, and a line still gets into its file.
#[track_caller]
fn check_works(cim: &mut Cim) {
    assert!(cim.is_alive());
    let mut wire = cim.client();
    let line = format!("it works {:?}", Instant::now());
    wire.publish_log("check", ID, line.as_bytes());
    wire.ping_pong();
    assert!(
        cim.text_of("check")
            .ends_with(format!("{line}\n").as_bytes())
    );
    assert_eq!(cim.get("/healthz").status, 200);
}

/// What ended the original (REFERENCE), and more.
fn malformed() -> Vec<Vec<u8>> {
    let valid = [log("app", ID, b"a line"), event("Event")];
    let mut buffers = vec![
        vec![],
        vec![0],
        b"this is text".to_vec(),
        vec![0xff; 64],
        vec![0; 64],
        // A vtable before the buffer; one that is longer than the buffer.
        vec![4, 0, 0, 0, 100, 0, 0, 0],
        vec![8, 0, 0, 0, 0xff, 0xff, 4, 0, 4, 0, 0, 0],
        b"{}".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        br#"{"change-set-key":"short","revision":"1","status":"success"}"#.to_vec(),
        br#"{"change-set-key":7,"revision":{},"status":[]}"#.to_vec(),
        b"{\"change-set-key\":\"\xff\"}".to_vec(),
    ];
    for buffer in valid {
        for at in (0..buffer.len() - 4).step_by(4) {
            let mut bad = buffer.clone();
            bad[at..at + 4].copy_from_slice(&[0xff; 4]);
            buffers.push(bad);
            buffers.push(buffer[..at].to_vec());
        }
    }
    buffers
}

#[test]
fn malformed_messages_are_counted_and_end_nothing() {
    let mut cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let buffers = malformed();
    for subject in ["LOG", "EVENT", "CONFIG", "TEST"] {
        for buffer in &buffers {
            wire.publish(subject, buffer);
        }
        wire.ping_pong();
    }
    check_works(&mut cim);
    // The first seven are malformed on any of the two.
    for subject in ["LOG", "EVENT"] {
        let counted = cim.metric("cim_malformed_messages_total", &[("subject", subject)]);
        assert!(counted >= 7.0, "{subject}: {counted}");
    }
}

#[test]
fn names_from_outside_stay_in_the_log_directory() {
    let mut cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let long = "n".repeat(5000);
    let names = [
        "../../escape",
        "..",
        ".",
        "",
        "/",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "-",
        "cim",
        "%2e%2e",
        " ",
        "\u{1f4a9}",
        &long,
    ];
    for name in names {
        wire.publish_log(name, ID, name.as_bytes());
        wire.publish_log("app", name, name.as_bytes());
    }
    wire.publish("LOG", &raw_log(b"\xff\xfe", b"\xff", b"not UTF-8"));
    wire.ping_pong();
    check_works(&mut cim);
    let above: Vec<_> = std::fs::read_dir(cim.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["logs", "state", "cim.json", "common-infra.json"].contains(&name.as_str()))
        .collect();
    assert_eq!(above, Vec::<String>::new());
    let mut text = Vec::new();
    for entry in std::fs::read_dir(&cim.log_dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        if name.starts_with(".cim") {
            continue;
        }
        assert!(entry.file_type().unwrap().is_file(), "{name:?}");
        assert!(
            name.starts_with("cnf-0_ns1_") && !name.chars().any(char::is_control),
            "{name:?}"
        );
        text.extend(std::fs::read(entry.path()).unwrap());
    }
    assert!(memchr::memmem::find(&text, b"../../escape\n").is_some());
    assert!(memchr::memmem::find(&text, long.as_bytes()).is_some());
}

fn raw_log(container: &[u8], id: &[u8], line: &[u8]) -> Vec<u8> {
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    cim::wire::encode_log(container, id, line, &mut builder);
    builder.finished_data().to_vec()
}

#[test]
fn different_names_never_share_a_file_unnoticed() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    let names = ["a/b", "a%2Fb", "a_b", "a-b", "a%2fb"];
    for name in names {
        wire.publish_log(name, ID, name.as_bytes());
    }
    // The boundary between name and id.
    wire.publish_log("x-y", "z", b"x-y,z");
    wire.publish_log("x", "y-z", b"x,y-z");
    wire.ping_pong();
    let files = cim.files_of("");
    let all: Vec<_> = std::fs::read_dir(&cim.log_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .filter(|path| !path.to_string_lossy().contains("_cim-"))
        .collect();
    assert_eq!(all.len(), names.len() + 2, "{files:?}");
}

#[test]
fn the_number_of_containers_is_bounded() {
    let mut cim = Cim::start(Options::new());
    let mut wire = cim.client();
    // Known before the places are taken: later ones share a file.
    check_works(&mut cim);
    for n in 0..2000 {
        wire.publish_log(&format!("c{n}"), ID, b"x");
    }
    wire.ping_pong();
    assert!(!cim.lines_of("%overflow").is_empty());
    assert!(cim.is_alive());
    let files = std::fs::read_dir(&cim.log_dir).unwrap().count();
    assert!(files < 600, "{files} files");
    let open = std::fs::read_dir(format!("/proc/{}/fd", cim.pid()))
        .unwrap()
        .count();
    assert!(open < 200, "{open} descriptors");
}

#[test]
fn any_bytes_on_the_nats_port_end_at_most_their_own_connection() {
    let mut cim = Cim::start(Options::new());
    let long = vec![b'x'; 100_000];
    let cases: [&[u8]; 14] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PUB\r\n",
        b"PUB LOG\r\n",
        b"PUB LOG -1\r\n",
        b"PUB LOG 99999999999999999999\r\n",
        b"PUB LOG 1048577\r\n",
        b"HPUB LOG 10 5\r\n",
        b"SUB\r\n",
        b"UNSUB\r\n",
        b"CONNECT {\r\n",
        b"MSG a 1 1\r\nx\r\n",
        &long,
    ];
    for bytes in cases {
        let mut wire = NatsWire::open(cim.nats);
        let _ = wire.try_send(bytes);
        wire.end_sending();
        let said = wire.expect_closed();
        eprintln!(
            "{:?}: {said:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
    }
    check_works(&mut cim);
}

#[test]
fn half_open_commands_hold_nobody_up() {
    let mut cim = Cim::start(Options::new());
    let mut halves = Vec::new();
    for half in [
        "P",
        "PU",
        "PUB LOG",
        "PUB LOG 100\r\nabc",
        "CONNECT {\"a\":",
        "SUB a",
        "PING\r",
    ] {
        for _ in 0..5 {
            let mut wire = NatsWire::open(cim.nats);
            wire.send(half.as_bytes());
            halves.push(wire);
        }
    }
    check_works(&mut cim);
    for wire in &halves {
        wire.end_sending();
    }
    for wire in &mut halves {
        wire.expect_closed();
    }
    check_works(&mut cim);
}

#[test]
fn many_half_sent_payloads_do_not_take_all_memory() {
    let mut cim = Cim::start(Options::new());
    let mut wires = Vec::new();
    let payload = vec![b'x'; (1 << 20) - 1];
    for _ in 0..100 {
        let Ok(mut wire) = NatsWire::try_open(cim.nats) else {
            continue;
        };
        // One byte less than announced. Some are cut off before they have sent it all.
        let _ = wire.try_send(b"PUB LOG 1048576\r\n");
        wire.stream()
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let _ = wire.try_send(&payload);
        wires.push(wire);
    }
    check_works(&mut cim);
    let peak = cim.usage().peak_kib / 1024;
    eprintln!("peak {peak} MiB");
    assert!(peak < 64, "{peak} MiB for 100 MiB of half-sent payloads");
}

#[test]
fn a_slow_consumer_is_cut_off_and_the_publisher_goes_on() {
    let mut cim = Cim::start(Options::new());
    let mut slow = cim.client();
    slow.subscribe("flood", "1");
    slow.ping_pong();
    let mut publisher = cim.client();
    let block = publish("flood", None, &vec![b'x'; 100_000]);
    let cut = || cim.metric("cim_nats_slow_consumers_total", &[]);
    let start = Instant::now();
    let mut sent = 0;
    while cut() < 1.0 {
        assert!(start.elapsed() < PATIENCE, "not cut off after {sent} MB");
        for _ in 0..10 {
            publisher.send(&block);
        }
        sent += 1;
        let took = publisher.ping_pong();
        assert!(
            took < Duration::from_secs(2),
            "the publisher waited {took:?}"
        );
    }
    slow.expect_closed();
    check_works(&mut cim);
}

#[test]
fn thousands_of_connects_leave_nothing_behind() {
    let mut cim = Cim::start(Options::new());
    cim.client().ping_pong();
    let open = || cim.metric("cim_nats_connections", &[]);
    for n in 0..3000 {
        // A port that is used up, or a full backlog, is the machine's limit and not CIM's.
        match NatsWire::try_open(cim.nats) {
            Ok(mut wire) if n % 3 == 0 => {
                let _ = wire.try_send(b"CONNECT {}\r\nSUB > 1\r\nPING\r\n");
            }
            Ok(_) => {}
            Err(error) => panic!("connect {n}: {error}"),
        }
    }
    eventually(PATIENCE, || open() == 0.0);
    eventually(PATIENCE, || {
        cim.metric("cim_nats_subscriptions", &[]) <= 4.0
    });
    check_works(&mut cim);
}

#[test]
fn one_connection_too_many_is_refused_with_its_reason() {
    let mut cim = Cim::start(Options::new());
    let mut wires = Vec::new();
    let refused = loop {
        match NatsWire::try_open(cim.nats) {
            Ok(mut wire) => {
                if wire.try_send(b"PING\r\n").is_err() {
                    break wire.expect_closed();
                }
                match wire.try_line() {
                    Ok(line) if line == "PONG" => wires.push(wire),
                    Ok(line) => break line,
                    Err(_) => break String::new(),
                }
            }
            Err(error) => break error.to_string(),
        }
        assert!(wires.len() < 5000, "no limit");
    };
    eprintln!("{} connections, then {refused:?}", wires.len());
    assert!(
        refused.contains("maximum connections exceeded"),
        "{refused:?}"
    );
    wires.truncate(10);
    eventually(PATIENCE, || {
        NatsWire::try_open(cim.nats).is_ok_and(|mut wire| {
            wire.try_send(b"PING\r\n").is_ok() && wire.try_line().is_ok_and(|line| line == "PONG")
        })
    });
    check_works(&mut cim);
}

#[test]
fn a_stuck_http_client_holds_nobody_up() {
    use std::io::Write;
    let mut cim = Cim::start(Options::new());
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let mut stream = std::net::TcpStream::connect(cim.http).unwrap();
        let _ = stream.write_all(b"GET /metr");
        stuck.push(stream);
    }
    let start = Instant::now();
    check_works(&mut cim);
    assert!(start.elapsed() < Duration::from_secs(5));
}
