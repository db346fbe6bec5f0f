//! The public NATS clients, unchanged, against the daemon: tests/clients/README.md. `make integration-test` runs them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "clients/harness.rs"]
mod harness;
mod support;
use harness::{Daemon, LIMIT, Program, log_file, run, venv};
use support::tls::Authority;

/// What each program checks, in its order.
const CHECKS: [&str; 19] = [
    "publish_subscribe",
    "wildcards",
    "request_reply",
    "no_responders",
    "queue_groups",
    "headers",
    "no_headers_peer",
    "max_payload",
    "unsubscribe",
    "unsubscribe_max",
    "drain",
    "flush",
    "no_echo",
    "verbose",
    "many",
    "reconnect",
    "log_to_subscribers",
    "log_flush",
    "log_ack",
];
/// Lines that `log_flush` publishes.
const LOG_LINES: u32 = 20_000;
const CONTAINER_ID: &str = "0123456789ab";

#[test]
#[ignore = "integration"]
fn with_go_the_stock_client_works() {
    let program = built().join("nats-go");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source("go")));
    works("clients-go", &mut Command::new(&program));
    works_over_tls("clients-go", &mut Command::new(program));
}

#[test]
#[ignore = "integration"]
fn with_python_the_stock_client_works() {
    let wanted = source("python").join("requirements.txt");
    let python = venv(&built().join("python"), &wanted);
    let command = || {
        let mut command = Command::new(&python);
        // No __pycache__ beside the sources.
        command.arg("-B").arg(source("python").join("checks.py"));
        command
    };
    works("clients-py", &mut command());
    works_over_tls("clients-py", &mut command());
}

#[test]
#[ignore = "integration"]
fn with_java_the_stock_client_works() {
    let out = built().join("java");
    run(Command::new("mvn")
        .args([
            "--quiet",
            "--batch-mode",
            "compile",
            "dependency:copy-dependencies",
        ])
        .arg(format!("-Dout={}", out.display()))
        .current_dir(source("java")));
    let classes = format!("{0}/classes:{0}/libs/*", out.display());
    works(
        "clients-java",
        Command::new("java").args(["-cp", &classes, "Clients"]),
    );
}

/// The folder of one client's program.
fn source(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(client)
}

/// Where the programs are built.
fn built() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs the program against a daemon of its own and answers its requests; every check must be there and pass.
fn works(container: &str, command: &mut Command) {
    works_with(container, command, &[]);
}

/// As [`works`], with TLS and certificates on both sides.
fn works_over_tls(container: &str, command: &mut Command) {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    ca.issue(dir.path(), "server");
    ca.issue(dir.path(), "client");
    let file = |name: &str| dir.path().join(name);
    command
        .env("NATS_CA", file("client.ca"))
        .env("NATS_CERT", file("client.pem"))
        .env("NATS_KEY", file("client.key"));
    let settings = [
        ("CIM_NATS_TLS_CERT_FILE", file("server.pem")),
        ("CIM_NATS_TLS_KEY_FILE", file("server.key")),
        ("CIM_NATS_TLS_CA_FILE", file("server.ca")),
    ];
    works_with(container, command, &settings);
}

fn works_with(container: &str, command: &mut Command, settings: &[(&str, PathBuf)]) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(dir.path(), 0, settings);
    let port = daemon.nats_port;
    let mut daemon = Some(daemon);
    let mut client = Program::start(container, command.arg(format!("127.0.0.1:{port}")));
    let mut passed = Vec::new();
    let mut failed = Vec::new();
    while let Some(line) = client.line(4 * LIMIT) {
        match line.split_once(' ') {
            Some(("ok", name)) => {
                if name == "log_flush" {
                    every_line_is_stored(dir.path(), container);
                }
                passed.push(name.to_owned());
            }
            Some(("control", what)) => {
                match what {
                    "stop" => daemon.take().expect("a running daemon").stop(),
                    "start" => daemon = Some(Daemon::start_with(dir.path(), port, settings)),
                    _ => panic!("the program asks for {what:?}"),
                }
                client.tell("done");
            }
            _ => failed.push(line),
        }
    }
    let status = client.wait(LIMIT);
    assert_eq!(failed, Vec::<String>::new(), "{container}");
    assert_eq!(passed, CHECKS, "{container}");
    assert!(status.success(), "{container}: {status}");
    daemon.expect("a running daemon").stop();
}

/// The file has the lines of `log_flush`, each once, in order, byte for byte.
fn every_line_is_stored(dir: &Path, container: &str) {
    let file = log_file(dir, container, CONTAINER_ID);
    let text = fs::read(&file).unwrap();
    let mut lines = text.split(|&byte| byte == b'\n');
    for n in 0..LOG_LINES {
        let mut wanted = format!("line {n:05} é ").into_bytes();
        wanted.push(0xff);
        let got = lines.next().unwrap_or_default();
        assert!(
            got == wanted,
            "line {n} is \"{}\" in {}",
            got.escape_ascii(),
            file.display()
        );
    }
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [b""],
        "after the last line of {}",
        file.display()
    );
}
