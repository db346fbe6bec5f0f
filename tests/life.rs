//! DESIGN 4: start, stop, small; issue 3, item 8.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually, settled};

/// What a busy machine may add to a figure of 100 ms: the test is for the order of magnitude, the bench for the figure.
const BUSY: u32 = 20;

#[test]
fn it_listens_within_100_ms() {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let cim = Cim::start(Options::new());
        let _wire = NatsWire::open(cim.nats);
        best = best.min(cim.started.elapsed());
        assert_eq!(cim.get("/metrics").status, 200);
    }
    eprintln!("exec to INFO: {best:?} (best of 5)");
    assert!(best < Duration::from_millis(100) * BUSY, "{best:?}");
}

#[test]
fn it_is_useful_without_its_surroundings() {
    // Addresses where nobody answers: 192.0.2.0/24 is for documentation.
    let options = Options::new()
        .infra("etcd_url", "192.0.2.1:2379")
        .infra("kafka_brokers", serde_json::json!(["192.0.2.2:9092"]))
        .infra("logging_svc_url", "192.0.2.3:24224");
    let cim = Cim::start(options);
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"useful");
    wire.ping_pong();
    let took = cim.started.elapsed();
    eprintln!("exec to a stored line: {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(cim.lines_of("app"), [b"useful".to_vec()]);
}

#[test]
fn sigterm_and_sigint_end_it_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut cim = Cim::start(Options::new());
        let wire = cim.client();
        let start = Instant::now();
        let status = cim.stop(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{signal:?} took {:?}",
            start.elapsed()
        );
        drop(wire);
    }
}

#[test]
fn a_second_signal_does_not_cut_the_orderly_stop() {
    let mut cim = Cim::start(Options::new().large_files());
    let load = support::Load::start(cim.nats, "app", 0, Some(20));
    eventually(PATIENCE, || load.acknowledged() > 2000);
    let sent = load.sent();
    cim.signal(Signal::TERM);
    cim.signal(Signal::TERM);
    let status = cim.wait(Duration::from_secs(30));
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert!(support::load::check_in_order(&cim.lines_of("app"), 1)[0] >= sent);
    load.stop();
}

#[test]
fn sigterm_is_heard_behind_a_storm_of_sighups() {
    let mut cim = Cim::start(Options::new());
    for _ in 0..20 {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            cim.signal(Signal::HUP);
        }
    }
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
}

#[test]
fn two_on_one_port_the_second_says_so() {
    let first = Cim::start(Options::new());
    let options = Options::new().env("CIM_NATS_PORT", first.nats.port().to_string());
    let Err(second) = Cim::try_start(options) else {
        panic!("two listen on {}", first.nats);
    };
    assert_ne!(second.status.and_then(|status| status.code()), Some(0));
    let port = first.nats.port().to_string();
    assert!(second.stderr.contains(&port), "{}", second.stderr);
}

#[test]
fn the_first_line_says_where_it_listens() {
    let cim = Cim::start(Options::new());
    let text = cim.stdout.text();
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "cim {version}: NATS on {}, HTTP on {}, logs in {}\n",
        cim.nats,
        cim.http,
        cim.log_dir.display()
    );
    assert!(text.starts_with(&expected), "{text:?}");
    assert!(cim.nats.ip().is_loopback() && cim.http.ip().is_loopback());
}

#[test]
fn a_bad_setting_is_refused_or_said_and_never_ends_it_silently() {
    let cim = Cim::start(Options::new().cim("lmaas.buffer_size", -5));
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"runs on the default");
    wire.ping_pong();
    let said = || {
        let own = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        own + &cim.stdout.text() + &cim.stderr.text()
    };
    eventually(PATIENCE, || {
        let said = said();
        said.contains("buffer_size") && said.contains("-5") && said.contains("1000")
    });
}

#[test]
fn at_idle_it_is_small_and_does_next_to_nothing() {
    let cim = Cim::start(Options::new());
    drop(cim.client());
    let rss = settled(PATIENCE, Duration::from_millis(500), || cim.usage().rss_kib);
    eprintln!(
        "resident at idle: {rss} KiB, {} threads",
        cim.usage().threads
    );
    if !cfg!(debug_assertions) {
        assert!(rss <= 12 << 10, "{rss} KiB");
    }
    // Wake-ups, from the kernel's count of voluntary context switches over all threads.
    let switches = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", cim.pid())).unwrap();
        tasks
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
            .filter_map(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    };
    let (before, start) = (switches(), Instant::now());
    eventually(PATIENCE, || start.elapsed() >= Duration::from_secs(3));
    let a_second = (switches() - before) as f64 / start.elapsed().as_secs_f64();
    eprintln!("wake-ups at idle: {a_second:.1} a second");
    assert!(a_second < 20.0, "{a_second:.1} wake-ups a second");
}

#[test]
#[ignore = "integration"]
fn memory_stays_bounded_under_load() {
    let cim = Cim::start(Options::new().large_files());
    let loads = [0, 1, 2, 3].map(|n| support::Load::start(cim.nats, "app", n, Some(50)));
    eventually(Duration::from_secs(120), || {
        loads.iter().map(|load| load.sent()).sum::<u64>() > 1_000_000
    });
    let peak = cim.usage().peak_kib;
    eprintln!("peak under load: {peak} KiB");
    for load in loads {
        load.stop();
    }
    if !cfg!(debug_assertions) {
        assert!(peak <= 32 << 10, "{peak} KiB");
    }
}

#[test]
fn clients_find_it_again_after_a_restart() {
    let mut first = Cim::start(Options::new());
    let port = first.nats.port();
    let mut wire = first.client();
    wire.publish_log("app", "1", b"one");
    wire.ping_pong();
    first.kill9();
    wire.expect_closed();
    // The same port at once: no waiting for the old connections' TIME_WAIT.
    let second = Cim::start(
        Options::new()
            .env("CIM_NATS_PORT", port.to_string())
            .log_dir(&first.log_dir),
    );
    let mut wire = second.client();
    wire.publish_log("app", "1", b"two");
    wire.ping_pong();
    assert_eq!(second.lines_of("app"), [b"one".to_vec(), b"two".to_vec()]);
}
