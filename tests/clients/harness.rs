//! What the tests with other people's programs need: the daemon on free ports, and a child's lines with a deadline.
#![allow(dead_code)] // each test file uses a part of it

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Time for anything that must happen on this machine, however busy it is.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Time for an orderly stop when everything is stored. Below CIM's own bound of 20 s: a stop that takes that long waited for
/// something that did not come.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A child process whose standard output is read line by line.
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    /// Starts `command`; its standard error is this test's.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let lines = lines(child.stdout.take().unwrap());
        let stdin = child.stdin.take();
        Self {
            name: name.into(),
            child,
            stdin,
            lines,
        }
    }

    /// The next line of standard output, `None` when it has ended.
    pub fn line(&self, limit: Duration) -> Option<String> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} printed nothing for {limit:?}", self.name)
            }
        }
    }

    /// Writes one line to its standard input.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{} did not end within {limit:?}",
                self.name
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // No error matters any more: it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a child's output, as they come; ends with it.
pub fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        let output = BufReader::new(output);
        for line in output.split(b'\n').map_while(Result::ok) {
            if send
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    lines
}

/// CIM, standalone, with its files in a directory of its own.
pub struct Daemon {
    program: Program,
    /// Port of the NATS server.
    pub nats_port: u16,
    /// Port of the operations API.
    pub http_port: u16,
}

impl Daemon {
    /// Starts CIM on the given NATS port (0: a free one) and any free HTTP port.
    pub fn start(dir: &Path, nats_port: u16) -> Self {
        Self::start_with(dir, nats_port, &[])
    }

    /// As [`Self::start`], with further environment.
    pub fn start_with(dir: &Path, nats_port: u16, settings: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cim"));
        command
            .env_clear()
            .env("CIM_NATS_PORT", nats_port.to_string())
            .env("CIM_REST_PORT", "0")
            .env("CIM_LOG_DIR", dir)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .current_dir(dir);
        let program = Program::start("cim", &mut command);
        let first = program
            .line(LIMIT)
            .expect("cim ended before its first line");
        let port = |before: &str| -> u16 {
            first
                .split_once(before)
                .and_then(|(_, rest)| rest.split(',').next())
                .and_then(|port| port.parse().ok())
                .unwrap_or_else(|| panic!("no \"{before}PORT\" in the first line: {first}"))
        };
        Self {
            nats_port: port("NATS on 127.0.0.1:"),
            http_port: port("HTTP on 127.0.0.1:"),
            program,
        }
    }

    /// SIGTERM, and the orderly end that must follow.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.program.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.program.wait(STOP_LIMIT);
        assert!(
            status.success(),
            "cim after SIGTERM: {status}; it said: {:#?}",
            self.program.lines.try_iter().collect::<Vec<_>>()
        );
    }

    /// The body of a GET on the operations API, which must be a 200.
    pub fn get(&self, path: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.expect("an HTTP header") + 4);
        let head = String::from_utf8(answer).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "GET {path}: {head}");
        body
    }
}

/// The log file of a container, which must be there once.
pub fn log_file(dir: &Path, container: &str, id: &str) -> PathBuf {
    let tail = format!("_{container}-{id}.log");
    let found: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(&tail))
        .collect();
    assert_eq!(
        found.len(),
        1,
        "files ending in {tail} in {}: {found:?}",
        dir.display()
    );
    found[0].clone()
}

/// Runs a tool to its end; its output is shown when it fails.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "{} is missing: `make integration-test` says how to get it, or goes without",
            command.get_program().to_string_lossy()
        ),
        Err(error) => panic!("{command:?}: {error}"),
    };
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The Python of a virtual environment in `dir` that has what the file `wanted` (requirements.txt) says.
pub fn venv(dir: &Path, wanted: &Path) -> PathBuf {
    let (python, installed) = (dir.join("bin/python"), dir.join("installed.txt"));
    if fs::read(&installed).ok() != fs::read(wanted).ok() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(dir));
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(wanted));
        fs::copy(wanted, &installed).unwrap();
    }
    python
}

/// CIM's NATS server behind nats-server's flags: the example beside this test, or the program `FRONT`.
pub fn front() -> PathBuf {
    if let Some(front) = std::env::var_os("FRONT") {
        return front.into();
    }
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "nats-server"]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    run(build.current_dir(env!("CARGO_MANIFEST_DIR")));
    profile.join("examples/nats-server")
}
