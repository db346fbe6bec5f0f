//! DESIGN 4: a dying thread is never silent. This test binary is CIM with one fault: a series whose collection panics, so
//! that the thread `http-server` dies of `GET /metrics`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use cim::cli::{Action, Exit, parse, start::Start};
use cim::daemon::{Daemon, End};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use support::capture::Capture;
use support::load::{check_in_order, line};
use support::nats::{log, publish};
use support::{NatsWire, PATIENCE, cim as process, logs};

/// Set for the process that is CIM.
const IS_CIM: &str = "CIM_TEST_DYING_THREAD";
const LINES: u64 = 2000;

struct Faulty(prometheus::IntGauge);

impl Collector for Faulty {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        panic!("on purpose")
    }
}

fn be_cim() -> ! {
    let Ok(Action::Run(given)) = parse(["cim", "run"].map(Into::into)) else {
        panic!("not a command");
    };
    let start = Start::prepare(&given).unwrap();
    let gauge = prometheus::IntGauge::new("faulty", "Faulty.").unwrap();
    start.metrics.register(Box::new(Faulty(gauge))).unwrap();
    let daemon = Daemon::start(start).unwrap();
    println!(
        "\ncim test: NATS on {}, HTTP on {}, logs in .",
        daemon.nats, daemon.rest
    );
    std::process::exit(match daemon.run() {
        End::InOrder => Exit::Done,
        End::Failed => Exit::Broken,
    } as i32);
}

#[test]
fn a_dying_thread_is_never_silent_and_ends_cim_in_order() {
    if std::env::var_os(IS_CIM).is_some() {
        be_cim();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--nocapture", "--exact"])
        .arg("a_dying_thread_is_never_silent_and_ends_cim_in_order")
        .env(IS_CIM, "1")
        .env("K8S_POD_ID", "cnf-0")
        .env("K8S_NAMESPACE", "ns1")
        .env("CIM_NATS_PORT", "0")
        .env("CIM_REST_PORT", "0")
        .env("CIM_LOG_DIR", dir.path())
        .env("CIM_CONF_FILE", dir.path().join("cim.json"))
        .env("CIM_SHIPPED_CONF_FILE", dir.path().join("shipped.json"))
        .env("CIM_INFRA_FILE", dir.path().join("infra.json"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = Capture::start(child.stdout.take().unwrap(), false);
    let stderr = Capture::start(child.stderr.take().unwrap(), false);
    let addresses = stdout.wait_for(PATIENCE, |bytes| {
        let whole = memchr::memrchr(b'\n', bytes)?;
        let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
        text.lines().find_map(process::addresses)
    });
    let Some((nats, http, _)) = addresses else {
        panic!("not started: {} {}", stdout.text(), stderr.text());
    };
    let mut wire = NatsWire::connect(nats);
    for number in 0..LINES {
        let payload = log("app", "1", &line(0, number));
        wire.send(&publish("LOG", None, &payload));
    }
    let mut stream = std::net::TcpStream::connect(http).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let status = process::wait(&mut child, Duration::from_secs(10));
    if status.is_none() {
        child.kill().unwrap();
    }
    stderr.wait_closed(PATIENCE);
    let said = stderr.text();
    assert_eq!(status.and_then(|status| status.code()), Some(70), "{said}");
    assert!(said.contains("on purpose"), "{said}");
    assert!(
        said.contains("thread http-server has ended unasked"),
        "{said}"
    );
    wire.expect_closed();
    let lines = logs::lines(&logs::text(&logs::files(dir.path(), "cnf-0_ns1_app-")));
    assert_eq!(check_in_order(&lines, 1), [LINES]);
}
