//! Prometheus's own checker reads `/metrics`. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fs::{self, File};
use std::process::Command;

#[path = "clients/harness.rs"]
mod harness;
use harness::Daemon;

/// Names that CONTRACT section 9 fixes and that break Prometheus's conventions for names. No other may.
const FIXED_BY_CONTRACT: [&str; 10] = [
    "Total_msg_count",
    "Total_msg_sent_to_tcp",
    "Total_msg_write_to_file",
    "cim_nats_CONFIG_message_count",
    "cim_nats_EVENT_message_count",
    "cim_nats_LOG_message_count",
    "cim_nats_TEST_message_count",
    "cim_total_bytes_counter",
    "cim_total_messages_counter",
    "tcp_disconnect_count",
];

#[test]
#[ignore = "integration"]
fn with_promtool_the_metrics_have_no_fault_but_the_contracts_names() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), 0);
    let metrics = dir.path().join("metrics.txt");
    fs::write(&metrics, daemon.get("/metrics")).unwrap();
    let output = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(File::open(&metrics).unwrap())
        .output()
        .expect("promtool is missing: `make integration-test` says how to get it, or goes without");
    let faults = String::from_utf8(output.stderr).unwrap();
    // Each line is a name and what is wrong with it; what cannot be read at all is a line too, and exits 1.
    let other: Vec<&str> = faults
        .lines()
        .filter(|fault| !FIXED_BY_CONTRACT.contains(&fault.split(' ').next().unwrap_or_default()))
        .collect();
    assert_eq!(other, Vec::<&str>::new());
    // 3: only names. The contract's are always there.
    assert_eq!(output.status.code(), Some(3), "{faults}");
    assert!(faults.contains("Total_msg_count"), "{faults}");
    daemon.stop();
}
