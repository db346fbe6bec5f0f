//! The command `cim` as a process: exit codes, and what goes to which stream.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::path::Path;
use std::process::{Command, Output};

fn cim(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cim"))
        .current_dir(dir)
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, on_stdout: &str, on_stderr: &str) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    for (text, expected) in [(&out, on_stdout), (&err, on_stderr)] {
        assert!(text.contains(expected), "{expected} in {text}");
        assert_eq!(text.is_empty(), expected.is_empty(), "{text}");
    }
}

#[test]
fn help_version_and_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let cim = |args: &[&str]| cim(dir.path(), args, &[]);
    expect(&cim(&["--help"]), 0, "Exit codes", "");
    expect(&cim(&["run", "--help"]), 0, "--read-coalesce-us", "");
    expect(
        &cim(&["--version"]),
        0,
        concat!("cim ", env!("CARGO_PKG_VERSION")),
        "",
    );
    expect(&cim(&["--bogus"]), 2, "", "unexpected argument '--bogus'");
    expect(&cim(&["bogus"]), 2, "", "unrecognized subcommand 'bogus'");
}

#[test]
fn a_setting_that_cannot_be_used_keeps_cim_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let bad = [("CIM_NATS_PING_MAX", "0"), ("CIM_REST_BIND", "nowhere")];
    let output = cim(dir.path(), &[], &bad);
    expect(&output, 2, "", "CIM_NATS_PING_MAX: \"0\" is not allowed");
    expect(&output, 2, "", "CIM_REST_BIND: \"nowhere\" is not allowed");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[test]
fn check_ends_with_1_on_an_error_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    expect(&cim(dir.path(), &["check"], &[]), 0, "All good.", "");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was made"
    );
    let text = r#"{"cimConfig":{"lmaas":{"flush_timeout":31}}}"#;
    std::fs::write(dir.path().join("cim.json"), text).unwrap();
    let output = cim(dir.path(), &["check", "--conf-file", "cim.json"], &[]);
    expect(
        &output,
        1,
        "cim.json: cimConfig.lmaas.flush_timeout: 31 is not allowed",
        "",
    );
    let output = cim(dir.path(), &["check", "--conf-file", "slip.json"], &[]);
    expect(&output, 0, "CIM_CONF_FILE: slip.json does not exist", "");
    let output = cim(
        dir.path(),
        &["check"],
        &[("CIM_NATS_PORT", "tcp://10.0.0.1:4222")],
    );
    expect(
        &output,
        0,
        "CIM_NATS_PORT: \"tcp://10.0.0.1:4222\" is not a port",
        "",
    );
}
