//! CONTRACT 6: the modes FILE, STDOUT and FILEANDSTDOUT in both formats, and their change at run time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use serde_json::{Value, json};
use support::load::check_in_order;
use support::options::default_cim_json;
use support::{Cim, Load, NatsWire, Options, PATIENCE, Signal, eventually};

const ID: &str = "0123456789ab";
const LINES: [&[u8]; 3] = [
    b"hello golden line 1",
    b"bytes \xff\xfe\x80 not utf-8 \xc3",
    "html <&> \"q\" \u{e9} \u{2028} tab\t".as_bytes(),
];

fn publish_all(wire: &mut NatsWire) {
    for line in LINES {
        wire.publish_log("app", ID, line);
    }
    wire.ping_pong();
}

/// The log lines of `app` on standard output in JSON; CIM's first line and its own log are left out.
fn json_lines(cim: &Cim) -> Vec<Value> {
    let lines = cim.stdout.lines();
    let json = lines
        .iter()
        .filter_map(|line| serde_json::from_slice(line).ok());
    json.filter(|json: &Value| json["container_name"] == "app")
        .collect()
}

/// The lines of `app` on standard output as text.
fn text_lines(cim: &Cim) -> Vec<Vec<u8>> {
    let mut lines = cim.stdout.lines();
    lines.retain(|line| LINES.contains(&line.as_slice()));
    lines
}

fn expected_json() -> Vec<Value> {
    LINES
        .iter()
        .map(|line| {
            // Each bad byte becomes U+FFFD of its own, as in Go.
            let mut log = String::new();
            for chunk in line.utf8_chunks() {
                log.push_str(chunk.valid());
                log.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
            }
            json!({
                "container_name": "app", "log": log,
                "kubernetes": {"namespace_name": "ns1", "pod_name": "cnf-0"}
            })
        })
        .collect()
}

#[test]
fn mode_file_writes_the_bytes_and_nothing_to_stdout() {
    let cim = Cim::start(Options::new().mode("FILE", "json"));
    publish_all(&mut cim.client());
    assert_eq!(cim.lines_of("app"), LINES);
    assert!(json_lines(&cim).is_empty() && text_lines(&cim).is_empty());
}

#[test]
fn mode_stdout_in_json() {
    let cim = Cim::start(Options::new().mode("STDOUT", "json"));
    publish_all(&mut cim.client());
    eventually(PATIENCE, || json_lines(&cim).len() >= 3);
    assert_eq!(json_lines(&cim), expected_json());
    assert!(cim.files_of("app").is_empty());
}

#[test]
fn mode_stdout_in_text() {
    let cim = Cim::start(Options::new().mode("STDOUT", "text"));
    publish_all(&mut cim.client());
    eventually(PATIENCE, || text_lines(&cim).len() >= 3);
    assert_eq!(text_lines(&cim), LINES);
    assert!(cim.files_of("app").is_empty());
}

#[test]
fn mode_file_and_stdout_in_json() {
    let cim = Cim::start(Options::new().mode("FILEANDSTDOUT", "json"));
    publish_all(&mut cim.client());
    assert_eq!(cim.lines_of("app"), LINES);
    eventually(PATIENCE, || json_lines(&cim).len() >= 3);
    assert_eq!(json_lines(&cim), expected_json());
}

#[test]
fn mode_file_and_stdout_in_text() {
    let cim = Cim::start(Options::new().mode("FILEANDSTDOUT", "text"));
    publish_all(&mut cim.client());
    assert_eq!(cim.lines_of("app"), LINES);
    eventually(PATIENCE, || text_lines(&cim).len() >= 3);
    assert_eq!(text_lines(&cim), LINES);
}

#[test]
fn modes_without_their_sink_write_to_the_file() {
    for mode in ["TCP", "KAFKA"] {
        let cim = Cim::start(Options::new().mode(mode, "json"));
        publish_all(&mut cim.client());
        assert_eq!(cim.lines_of("app"), LINES, "{mode}");
    }
}

#[test]
fn sighup_changes_the_mode_without_losing_a_line() {
    let options = Options::new().mode("FILE", "text").large_files();
    let cim = Cim::start(options);
    let load = Load::start(cim.nats, "app", 0, Some(10));
    let set_mode = |mode: &str| {
        let reloads = cim.metric("cim_config_reloads_total", &[]);
        let mut json = default_cim_json();
        let lmaas = &mut json["cimConfig"]["lmaas"];
        lmaas["logging_mode"] = mode.into();
        lmaas["max_file_size_in_mb"] = 50.into();
        lmaas["max_backup_files"] = 20.into();
        cim.write_cim_json(&json);
        cim.signal(Signal::HUP);
        eventually(PATIENCE, || {
            cim.metric("cim_config_reloads_total", &[]) > reloads
        });
        // Some lines in each mode.
        let sent = load.sent();
        eventually(PATIENCE, || load.acknowledged() > sent + 500);
    };
    for mode in ["STDOUT", "FILE", "FILEANDSTDOUT", "STDOUT", "FILE"] {
        set_mode(mode);
    }
    let sent = load.stop();
    // A line of FILEANDSTDOUT is in both places; each must be somewhere.
    let ours = || {
        let stdout = cim.stdout.lines();
        let mut all: Vec<_> = stdout
            .into_iter()
            .filter(|line| line.starts_with(b"c000 n"))
            .collect();
        all.extend(cim.lines_of("app"));
        all.sort();
        all.dedup();
        all
    };
    eventually(PATIENCE, || ours().len() as u64 == sent);
    assert_eq!(check_in_order(&ours(), 1), [sent]);
    assert_eq!(cim.metric("cim_log_lines_dropped_total", &[]), 0.0);
}

#[test]
fn sighup_changes_the_file_limits_without_losing_a_line() {
    let cim = Cim::start(Options::new().large_files());
    let load = Load::start(cim.nats, "app", 0, Some(10));
    eventually(PATIENCE, || load.acknowledged() > 10_000);
    let mut json = default_cim_json();
    json["cimConfig"]["lmaas"]["max_file_size_in_mb"] = 1.into();
    json["cimConfig"]["lmaas"]["max_backup_files"] = 20.into();
    cim.write_cim_json(&json);
    cim.signal(Signal::HUP);
    eventually(PATIENCE, || cim.files_of("app").len() >= 4);
    let sent = load.stop();
    let is_all_there =
        || cim.files_of("app").len() > 20 || cim.lines_of("app").len() as u64 >= sent;
    eventually(PATIENCE, is_all_there);
    if cim.files_of("app").len() <= 20 {
        assert_eq!(check_in_order(&cim.lines_of("app"), 1), [sent]);
    }
}

#[test]
fn sighup_with_a_bad_file_changes_nothing() {
    let mut cim = Cim::start(Options::new());
    let failed = || cim.metric("cim_config_reloads_total", &[]);
    let before = failed();
    let mut json = default_cim_json();
    json["cimConfig"]["lmaas"]["buffer_size"] = (-5).into();
    json["cimConfig"]["lmaas"]["logging_mode"] = "STDOUT".into();
    cim.write_cim_json(&json);
    cim.signal(Signal::HUP);
    eventually(PATIENCE, || failed() > before);
    publish_all(&mut cim.client());
    assert_eq!(cim.lines_of("app"), LINES, "still in mode FILE");
    assert!(cim.is_alive());
}
