//! CIM with one fault, in the test's own binary: a series whose collection panics, so that the thread `http-server` dies of
//! `GET /metrics`.
//!
//! ```text
//! #[test]
//! fn a_test() {
//!     faulty::be_cim_if_asked();
//!     let cim = Cim::start(faulty::options("a_test", Options::new()));
//!     faulty::kill_thread(&cim);
//! ```

use std::io::Write;
use std::net::TcpStream;

use cim::cli::{Action, Exit, parse, start::Start};
use cim::daemon::{Daemon, End};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::{Cim, Options};

/// Set for the process that is CIM.
const IS_CIM: &str = "CIM_TEST_FAULTY";

struct Faulty(prometheus::IntGauge);

impl Collector for Faulty {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        panic!("on purpose")
    }
}

/// Does not return in the process that [`options`] started.
pub fn be_cim_if_asked() {
    let Some(log_dir) = std::env::var_os(IS_CIM).and_then(|_| std::env::var_os("CIM_LOG_DIR"))
    else {
        return;
    };
    let Ok(Action::Run(given)) = parse(["cim", "run"].map(Into::into)) else {
        panic!("not a command");
    };
    let start = Start::prepare(&given).unwrap();
    let gauge = prometheus::IntGauge::new("faulty", "Faulty.").unwrap();
    start.metrics.register(Box::new(Faulty(gauge))).unwrap();
    let daemon = Daemon::start(start).unwrap();
    println!(
        "\ncim test: NATS on {}, HTTP on {}, logs in {}",
        daemon.nats,
        daemon.rest,
        log_dir.display()
    );
    std::process::exit(match daemon.run() {
        End::InOrder => Exit::Done,
        End::Failed => Exit::Broken,
    } as i32);
}

/// To start CIM in the binary of this `test`, which calls [`be_cim_if_asked`] first.
pub fn options(test: &str, options: Options) -> Options {
    let options = Options {
        binary: std::env::current_exe().unwrap(),
        ..options
    };
    options
        .arg("--nocapture")
        .arg("--exact")
        .arg(test)
        .env(IS_CIM, "1")
}

/// Makes the thread die; nobody waits for the answer.
pub fn kill_thread(cim: &Cim) {
    let mut stream = TcpStream::connect(cim.http).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
}
