//! A CIM as `make run` starts it, and the commands that a reader types beside it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, kill_process};

use crate::support::capture::Capture;
use crate::support::{PATIENCE, Signal, cim, eventually_some, http};

const CIM: &str = env!("CARGO_BIN_EXE_cim");

pub struct Standalone {
    pub child: Child,
    pub dir: tempfile::TempDir,
    pub nats: SocketAddr,
    pub http: SocketAddr,
    pub first_line: String,
    /// What stands in the documents, and what it is here.
    instead: Vec<(String, String)>,
    exports: String,
}

impl Standalone {
    /// On free ports and with its files in a directory of its own; `instead` is replaced in each command.
    pub fn start(settings: &[(String, String)], instead: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = command(CIM, dir.path())
            .env("CIM_NATS_PORT", "0")
            .env("CIM_REST_PORT", "0")
            // Where nobody listens, unless the test says otherwise.
            .env("CIM_APP_URL", "http://127.0.0.1:1")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut first_line)
            .unwrap();
        let (nats, http, _) = cim::addresses(first_line.trim_end()).expect("the first line");
        let mut instead: Vec<_> = instead
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.clone()))
            .collect();
        instead.push(("localhost:4222".into(), nats.to_string()));
        instead.push(("127.0.0.1:4222".into(), nats.to_string()));
        Self {
            child,
            dir,
            nats,
            http,
            first_line,
            instead,
            exports: String::new(),
        }
    }

    /// What a command of the documents is here.
    pub fn here(&self, text: &str) -> String {
        let replace = |text: String, (from, to): &(String, String)| text.replace(from, to);
        self.instead.iter().fold(text.to_owned(), replace)
    }

    /// Runs one command of the documents to its end, which must be a good one, and returns what it printed.
    pub fn run(&mut self, line: &str) -> String {
        if line.starts_with("export ") {
            self.exports += &self.here(line);
            self.exports.push('\n');
            return String::new();
        }
        // `cim` is a function here.
        if line.starts_with("alias cim=") {
            return String::new();
        }
        if let Some(request) = line.strip_prefix("curl -s ") {
            return self.curl(request);
        }
        // What CIM writes is there soon, as it is for somebody who types.
        if ["cat ", "tail "]
            .iter()
            .any(|reads| line.starts_with(reads))
        {
            return eventually_some(PATIENCE, || {
                let output = self.shell(line, b"");
                let text = String::from_utf8(output.stdout).unwrap();
                (output.status.success() && !text.is_empty()).then_some(text)
            });
        }
        if line.contains("--watch") || line.starts_with("cim tail ") {
            return self.watch(line);
        }
        good(line, &self.shell(line, b""))
    }

    fn script(&self, line: &str) -> Command {
        let script = format!("cim() {{ \"$CIM\" \"$@\"; }}\n{}{line}", self.exports);
        let mut shell = command("bash", self.dir.path());
        shell
            .args(["-ec", &script])
            .env("CIM", CIM)
            .env("CIM_NATS_PORT", self.nats.port().to_string())
            .env("CIM_REST_PORT", self.http.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        shell
    }

    fn shell(&self, line: &str, input: &[u8]) -> Output {
        let mut child = self.script(&self.here(line)).spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// `curl -s` without curl: no test needs it to be there.
    fn curl(&self, request: &str) -> String {
        let (request, filter) = match request.split_once(" | ") {
            Some((request, filter)) => (request, Some(filter)),
            None => (request, None),
        };
        let (url, data) = match request.split_once(" -d ") {
            Some((url, data)) => (url, Some(data.trim().trim_matches('\''))),
            None => (request, None),
        };
        let path = url.trim().trim_matches('\'');
        let path = path.strip_prefix("localhost:6060").expect(request);
        let answer = match data {
            Some(data) => http::post(self.http, path, data.as_bytes()),
            None => http::get(self.http, path),
        };
        assert_eq!(answer.status / 100, 2, "{request}: {}", answer.text());
        match filter {
            Some(filter) => good(request, &self.shell(filter, &answer.body)),
            None => answer.text(),
        }
    }

    /// A command that goes on until it is told to end: until it has printed something.
    fn watch(&self, line: &str) -> String {
        let line = line.strip_prefix("cim ").expect("a command of CIM");
        let mut child = self
            .script(&format!("exec \"$CIM\" {line}"))
            .spawn()
            .unwrap();
        let stdout = Capture::start(child.stdout.take().unwrap(), false);
        let text = eventually_some(PATIENCE, || {
            good("a line", &self.shell("cim emit log 'ERROR: a line'", b""));
            good("an event", &self.shell("cim emit event LinkUp", b""));
            let text = stdout.text();
            (!text.is_empty()).then_some(text)
        });
        let _ = kill_process(Pid::from_child(&child), Signal::INT);
        let status = cim::wait(&mut child, PATIENCE).expect("an end");
        // 0 once its work is done; else SIGINT's own.
        assert!([Some(0), None].contains(&status.code()), "{line}: {status}");
        text
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command printed that ended well.
fn good(line: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{line}: {}\n{out}\n{errors}",
        output.status
    );
    out
}

/// A program with nothing of this process's environment but its path.
pub fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}
