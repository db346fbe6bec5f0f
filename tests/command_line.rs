//! `cim emit` and `cim tail` against a running CIM, as a user types them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::capture::Capture;
use support::cim::wait;
use support::tls::Authority;
use support::{Cim, NatsWire, Options, PATIENCE, eventually, eventually_some};

fn cim(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cim"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// Lines of standard input, for container `app`.
fn emit_lines(daemon: &Cim) -> Command {
    let mut command = cim(&["emit", "log", "--container", "app", "--server"]);
    command.arg(daemon.nats.to_string()).arg("-");
    command
}

/// Runs to the end; `input` is given on standard input.
fn run(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[test]
fn emit_publishes_its_arguments_as_one_line() {
    let daemon = Cim::start(Options::new());
    let server = daemon.nats.to_string();
    let args = [
        "emit",
        "log",
        "--container",
        "app",
        "--container-id",
        "7",
        "--server",
        &server,
    ];
    let output = run(cim(&args).args(["hello", "world"]), b"");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Exit code 0 means stored: no waiting.
    assert_eq!(daemon.lines_of("app"), [b"hello world".to_vec()]);
}

#[test]
fn emit_publishes_standard_input_line_by_line() {
    let daemon = Cim::start(Options::new().large_files());
    let mut lines: Vec<Vec<u8>> = vec![b"".to_vec(), b"\xff\x00".to_vec(), b"a\r".to_vec()];
    lines.extend((0..20_000).map(|n| format!("line {n}").into_bytes()));
    let input = lines.join(&b'\n');
    let port = daemon.nats.port().to_string();
    let output = run(
        cim(&["emit", "log", "--container", "app", "-"]).env("CIM_NATS_PORT", port),
        &input,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(daemon.lines_of("app"), lines);
}

#[test]
fn emit_sends_a_line_that_is_too_long_in_pieces() {
    let daemon = Cim::start(Options::new());
    let long = vec![b'x'; 3_000_000];
    let output = run(&mut emit_lines(&daemon), &long);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = daemon.lines_of("app");
    assert_eq!(lines.len(), 3);
    assert_eq!(lines.concat(), long);
}

#[test]
fn emit_says_when_nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(
        &mut cim(&["emit", "log", "--server", &free.to_string(), "x"]),
        b"",
    );
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&free.to_string()), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn emit_says_when_the_connection_is_lost() {
    let mut daemon = Cim::start(Options::new());
    let mut child = emit_lines(&daemon)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = Capture::start(child.stderr.take().unwrap(), false);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    eventually(PATIENCE, || daemon.text_of("app") == b"first\n");
    daemon.kill9();
    // Standard input stays open: it must not take its end to notice.
    let status = wait(&mut child, PATIENCE).expect("emit ends");
    assert_eq!(status.code(), Some(4), "{}", stderr.text());
    drop(stdin);
}

#[test]
fn emit_and_tail_get_in_where_certificates_and_a_password_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let ca = Authority::new("ca");
    for name in ["server", "client"] {
        ca.issue(dir.path(), name);
    }
    std::fs::write(file("password"), "p@ss\n").unwrap();
    let [password, ca, cert, key] = ["password", "server.ca", "client.pem", "client.key"].map(file);
    let daemon = Cim::start(
        Options::new()
            .env("CIM_NATS_TLS_CERT_FILE", file("server.pem"))
            .env("CIM_NATS_TLS_KEY_FILE", file("server.key"))
            .env("CIM_NATS_TLS_CA_FILE", &ca)
            .env("CIM_NATS_USER", "app")
            .env("CIM_NATS_PASSWORD_FILE", &password)
            .env("CIM_NATS_CONNECT_TIMEOUT", "60s"),
    );
    // On a busy machine the 2 s of a handshake may not be enough: who got no connection has sent nothing, and tries again.
    let connected = |mut command: Command| {
        eventually_some(3 * PATIENCE, || {
            let output = run(&mut command, b"");
            (output.status.code() != Some(3)).then_some(output)
        })
    };
    let files = ["--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let port = daemon.nats.port().to_string();
    let emit = |files: &[&str], line: &str| {
        let mut command = cim(&["emit", "log"]);
        command.args(files).env("CIM_NATS_PORT", &port);
        command.env("CIM_NATS_USER", "app").arg(line);
        command
    };
    // The login is CIM's own.
    let mut one = emit(&files, "one");
    one.env("CIM_NATS_PASSWORD_FILE", &password);
    let output = connected(one);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(daemon.lines_of("emit"), [b"one".to_vec()]);

    // It is in the address.
    let server = format!("tls://app:p%40ss@{}", daemon.nats);
    let args = [&["LOG", "--count", "1"], &files[..]].concat();
    let mut tail = eventually_some(3 * PATIENCE, || Tail::try_start(&server, &args).ok());
    assert!(!tail.stderr.text().contains("p%40ss"));
    let mut two = emit(&["--server", &server], "two");
    two.args(files);
    assert!(connected(two).status.success());
    assert!(
        wait(&mut tail.child, PATIENCE)
            .expect("tail ends")
            .success()
    );
    assert!(tail.stdout.wait_closed(PATIENCE));
    assert_eq!(tail.stdout.text(), "emit: two\n");

    for (files, what) in [(&files[..], "no login"), (&files[..2], "no certificate")] {
        let output = run(&mut emit(files, "three"), b"");
        assert_eq!(output.status.code(), Some(3), "{what}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("--cert-file"), "{what}: {said}");
    }
}

/// `cim tail` that has subscribed.
struct Tail {
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

impl Tail {
    #[track_caller]
    fn start(daemon: &Cim, args: &[&str]) -> Self {
        Self::try_start(&daemon.nats.to_string(), args).unwrap()
    }

    /// What it says when it ends instead.
    fn try_start(server: &str, args: &[&str]) -> Result<Self, String> {
        let mut child = cim(&["tail", "--server", server])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Capture::start(child.stdout.take().unwrap(), false);
        let stderr = Capture::start(child.stderr.take().unwrap(), false);
        let ready = stderr.wait_for(PATIENCE, |bytes| memchr::memmem::find(bytes, b"listening"));
        let tail = Self {
            child,
            stdout,
            stderr,
        };
        match ready {
            Some(_) => Ok(tail),
            None => Err(tail.stderr.text()),
        }
    }

    fn signal(&self, signal: support::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tail_prints_what_passes_at_once() {
    let daemon = Cim::start(Options::new());
    let tail = Tail::start(&daemon, &[">"]);
    let mut wire = daemon.client();
    let mut check = |subject: &str, payload: &[u8], expected: &str| {
        let seen = tail.stdout.bytes().len();
        wire.publish(subject, payload);
        let line = tail.stdout.wait_for(PATIENCE, |bytes| {
            let new = &bytes[seen..];
            new.ends_with(b"\n")
                .then(|| String::from_utf8_lossy(new).into_owned())
        });
        let line = line.unwrap_or_else(|| panic!("nothing for {subject}: {}", tail.stderr.text()));
        assert!(line.contains(expected), "{line:?}");
    };
    check(
        "LOG",
        &support::nats::log("app", "1", b"a line"),
        "app: a line",
    );
    check(
        "EVENT",
        &support::nats::event("Started"),
        "\"event_name\":\"Started\"",
    );
    check("LOG", b"no FlatBuffer", "malformed");
    check("EVENT", &[0xff; 100], "malformed");
    check("CONFIG", b"{\"a\":1}", "CONFIG: {\"a\":1}");
    check(
        "other.subject",
        b"\x1b[31m\xff",
        "other.subject: \\x1b[31m\\xff",
    );
}

#[test]
fn tail_ends_after_its_count() {
    let daemon = Cim::start(Options::new());
    let mut tail = Tail::start(&daemon, &["LOG", "--count", "2"]);
    let mut wire = daemon.client();
    for n in 0..5 {
        wire.publish_log("app", "1", format!("{n}").as_bytes());
    }
    let status = wait(&mut tail.child, PATIENCE).expect("tail ends");
    assert_eq!(status.code(), Some(0));
    assert!(tail.stdout.wait_closed(PATIENCE));
    assert_eq!(tail.stdout.text(), "app: 0\napp: 1\n");
}

#[test]
fn tail_ends_at_sigint() {
    let daemon = Cim::start(Options::new());
    let mut tail = Tail::start(&daemon, &["LOG"]);
    tail.signal(support::Signal::INT);
    let status = wait(&mut tail.child, PATIENCE).expect("tail ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn tail_ends_quietly_when_nobody_reads_it() {
    let daemon = Cim::start(Options::new());
    let server = daemon.nats.to_string();
    let mut child = cim(&["tail", "LOG", "--server", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = Capture::start(child.stderr.take().unwrap(), false);
    assert!(
        stderr
            .wait_for(PATIENCE, |bytes| memchr::memmem::find(bytes, b"listening"))
            .is_some()
    );
    drop(child.stdout.take());
    // No message passes: it notices all the same.
    let status = wait(&mut child, PATIENCE).expect("tail ends");
    assert_eq!(status.code(), Some(0), "{}", stderr.text());
    stderr.wait_closed(PATIENCE);
    assert!(!stderr.text().contains("anic"), "{}", stderr.text());
}

#[test]
fn tail_says_when_nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = run(
        &mut cim(&["tail", "LOG", "--server", &free.to_string()]),
        b"",
    );
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn check_and_help_answer() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["emit", "log", "--help"],
        &["tail", "--help"],
        &["check", "--help"],
    ] {
        let output = run(&mut cim(args), b"");
        assert!(output.status.success(), "{args:?}");
        assert!(
            output.stdout.starts_with(b"cim ") || output.stdout.len() > 100,
            "{args:?}"
        );
    }
    let output = run(&mut cim(&["no-such-command"]), b"");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_harness_waits_with_limits() {
    // Whoever reads this harness relies on it: a server that says nothing is noticed.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        stream.write_all(b"INFO {}\r\n").unwrap();
        stream
    });
    let mut wire = NatsWire::open(address);
    wire.patience = Duration::from_millis(50);
    assert_eq!(
        wire.try_line().unwrap_err().kind(),
        std::io::ErrorKind::TimedOut
    );
    drop(answer.join().unwrap());
}
