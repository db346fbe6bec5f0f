//! DESIGN 4: a dying thread is never silent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use support::load::{check_in_order, line};
use support::nats::{log, publish};
use support::{Cim, NatsWire, Options, faulty};

const LINES: u64 = 2000;

#[test]
fn a_dying_thread_is_never_silent_and_ends_cim_in_order() {
    faulty::be_cim_if_asked();
    let test = "a_dying_thread_is_never_silent_and_ends_cim_in_order";
    let mut cim = Cim::start(faulty::options(test, Options::new()));
    let mut wire = NatsWire::connect(cim.nats);
    for number in 0..LINES {
        let payload = log("app", "1", &line(0, number));
        wire.send(&publish("LOG", None, &payload));
    }
    faulty::kill_thread(&cim);
    let status = cim.wait(Duration::from_secs(10));
    let said = cim.stderr.text();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("on purpose"), "{said}");
    assert!(
        said.contains("thread http-server has ended unasked"),
        "{said}"
    );
    wire.expect_closed();
    assert_eq!(check_in_order(&cim.lines_of("app"), 1), [LINES]);
}
