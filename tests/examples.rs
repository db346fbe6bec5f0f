//! `make demo` with each of the sample applications in examples/: it goes through, or says what did not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "clients/harness.rs"]
mod harness;
use harness::{run, venv};

#[test]
#[ignore = "integration"]
fn with_etcd_the_demo_goes_through() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "sample"]);
    build.arg("--target-dir").arg(target());
    run(build.current_dir(root()));
    demo(&target().join("debug/sample"), None);
}

#[test]
#[ignore = "integration"]
fn with_go_and_with_etcd_the_demo_goes_through() {
    let program = tmp().join("sample-go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".");
    run(build.current_dir(root().join("examples/go")));
    demo(&program, None);
}

#[test]
#[ignore = "integration"]
fn with_python_with_kafka_and_with_etcd_the_demo_goes_through() {
    let source = root().join("examples/python");
    let python = venv(
        &tmp().join("sample-python"),
        &source.join("requirements.txt"),
    );
    let jars = target().join("tools/kafka-4.1.0");
    // One program, as the demo wants it.
    let start = tmp().join("sample-python.sh");
    let line = format!(
        "exec '{}' -B '{}/app.py'",
        python.display(),
        source.display()
    );
    std::fs::write(&start, format!("#!/bin/sh\n{line}\n")).unwrap();
    run(Command::new("chmod").arg("+x").arg(&start));
    demo(&start, Some(&jars));
}

fn demo(application: &Path, kafka: Option<&Path>) {
    let mut demo = Command::new(root().join("examples/demo.sh"));
    demo.arg(env!("CARGO_BIN_EXE_cim")).arg(application);
    let said = run(demo.args(kafka));
    let said = String::from_utf8(said).unwrap();
    for wanted in [
        "hello number 2",
        "good morning",
        "change set \"1\": success",
        "\"outcome\":\"success\"",
        "\"eventName\":\"ConfigChanged\"",
        "cim_journal_records{pod=",
        "both ended with 0",
        "shutting down",
    ] {
        assert!(said.contains(wanted), "no {wanted} in\n{said}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn target() -> PathBuf {
    tmp().parent().unwrap().to_owned()
}
