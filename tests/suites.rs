//! Suites of tests of NATS itself against CIM's embedded server: tests/suites/README.md. `make integration-test` runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::time::Duration;

#[path = "clients/harness.rs"]
mod harness;
#[path = "suites/rig.rs"]
mod rig;
use rig::{NATS_GO, NATS_SERVER, Suite};

#[test]
#[ignore = "integration"]
fn with_go_nats_servers_own_wire_tests_pass() {
    rig::passes(&Suite {
        name: "wire",
        module: NATS_SERVER,
        files: "proto ping verbose pedantic maxpayload auth client_auth tls monitor fanout user_authorization opts",
        exclusions: include_str!("suites/exclusions/wire.txt"),
        test_time: Duration::from_secs(30),
        time: Duration::from_secs(240),
    });
}

#[test]
#[ignore = "integration"]
fn with_go_the_tests_of_the_go_client_pass() {
    rig::passes(&Suite {
        name: "nats_go",
        module: NATS_GO,
        files: "auth basic bench conn context drain enc gob headers json nats_iter nats netchan protobuf reconnect sub norace",
        exclusions: include_str!("suites/exclusions/nats_go.txt"),
        test_time: Duration::from_secs(40),
        time: Duration::from_secs(400),
    });
}
