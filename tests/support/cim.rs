//! A running CIM.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::capture::Capture;
use super::{Answer, LOOK, NatsWire, Options, PATIENCE, eventually, http, logs, metrics, proc};

/// Bytes of the output that are shown when a test fails.
const SHOWN_BYTES: usize = 16 << 10;

/// A running CIM; ended with its owner, which shows its output when the test fails.
pub struct Cim {
    child: Child,
    pub nats: SocketAddr,
    pub http: SocketAddr,
    pub log_dir: PathBuf,
    pub stdout: Capture,
    pub stderr: Capture,
    /// From just before the process was made to the line that says where it listens.
    pub first_line_after: Duration,
    /// Just before the process was made.
    pub started: Instant,
    pub options: Options,
    dir: TempDir,
}

/// A CIM that ended before it said where it listens.
#[derive(Debug)]
pub struct NotStarted {
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Cim {
    /// Starts CIM and waits until it says where it listens.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        match Self::try_start(options) {
            Ok(cim) => cim,
            Err(failed) => panic!(
                "CIM did not start ({:?})\n-- stdout --\n{}\n-- stderr --\n{}",
                failed.status, failed.stdout, failed.stderr
            ),
        }
    }

    /// As [`Cim::start`]; one that ends instead is an answer too.
    pub fn try_start(options: Options) -> Result<Self, NotStarted> {
        let dir = tempfile::Builder::new()
            .prefix("cim-test-")
            .tempdir()
            .unwrap();
        write_json(&dir.path().join("cim.json"), options.cim_json.as_ref());
        write_json(
            &dir.path().join("common-infra.json"),
            options.infra_json.as_ref(),
        );
        let own_logs = dir.path().join("logs");
        let log_dir = options.log_dir.clone().unwrap_or(own_logs);
        let mut command = command(&options, dir.path(), &log_dir);
        let started = Instant::now();
        let mut child = super::forks::spawn(&mut command).expect("the binary can be run");
        let stdout = Capture::start(child.stdout.take().unwrap(), options.hold_stdout);
        let stderr = Capture::start(child.stderr.take().unwrap(), false);
        let first = stdout.wait_for(PATIENCE, |bytes| {
            let whole = memchr::memrchr(b'\n', bytes)?;
            String::from_utf8_lossy(&bytes[..whole])
                .lines()
                .find_map(addresses)
        });
        let first_line_after = started.elapsed();
        let Some((nats, http, log_dir)) = first else {
            stdout.release();
            let status = wait(&mut child, Duration::from_secs(5));
            let _ = child.kill();
            let _ = child.wait();
            stderr.wait_closed(PATIENCE);
            return Err(NotStarted {
                status,
                stdout: stdout.text(),
                stderr: stderr.text(),
            });
        };
        Ok(Self {
            child,
            nats,
            http,
            log_dir,
            stdout,
            stderr,
            first_line_after,
            started,
            options,
            dir,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of cim.json, common-infra.json and the log files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A stock client's connection: CONNECT and PING are done.
    #[track_caller]
    pub fn client(&self) -> NatsWire {
        NatsWire::connect(self.nats)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.http, path)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        http::post(self.http, path, body)
    }

    /// The text of `GET /metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The sum of the samples called `name` that carry all of `labels`; 0 when there is none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(&self.metrics(), name, labels)
    }

    /// State and reason of a part in `/readyz`.
    #[track_caller]
    pub fn part(&self, name: &str) -> (String, String) {
        let part = self.get("/readyz").json()["parts"][name].clone();
        let text = |name: &str| part[name].as_str().unwrap().to_owned();
        (text("state"), text("reason"))
    }

    /// Waits until this part is in this state and its reason has these words.
    #[track_caller]
    pub fn until_part(&self, name: &str, state: &str, words: &str) {
        eventually(PATIENCE, || {
            let (is, reason) = self.part(name);
            is == state && reason.contains(words)
        });
    }

    /// The log files of `container` in order of time: backups, then the live one.
    pub fn files_of(&self, container: &str) -> Vec<PathBuf> {
        let (pod, namespace) = (&self.options.pod, &self.options.namespace);
        logs::files(&self.log_dir, &format!("{pod}_{namespace}_{container}-"))
    }

    /// The bytes of the log files of `container`.
    pub fn text_of(&self, container: &str) -> Vec<u8> {
        logs::text(&self.files_of(container))
    }

    /// The lines in the log files of `container`; each must be complete.
    #[track_caller]
    pub fn lines_of(&self, container: &str) -> Vec<Vec<u8>> {
        logs::lines(&self.text_of(container))
    }

    /// The lines in the log files of `container` so far, without one that is just being written.
    pub fn lines_so_far(&self, container: &str) -> Vec<Vec<u8>> {
        logs::lines_and_torn(&self.text_of(container)).0
    }

    /// Replaces cim.json; CIM reads it at SIGHUP.
    pub fn write_cim_json(&self, json: &Value) {
        write_json(&self.dir.path().join("cim.json"), Some(json));
    }

    /// Replaces common-infra.json; CIM reads it at SIGHUP.
    pub fn write_infra_json(&self, json: &Value) {
        write_json(&self.dir.path().join("common-infra.json"), Some(json));
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Sends `signal` and waits for the end.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait(Duration::from_secs(30))
    }

    /// Waits for the end and for the rest of the output.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let Some(status) = wait(&mut self.child, limit) else {
            panic!("CIM has not ended within {limit:?}");
        };
        self.stdout.release();
        self.stdout.wait_closed(PATIENCE);
        self.stderr.wait_closed(PATIENCE);
        status
    }

    /// Ends CIM in the middle of whatever it does.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// CIM is running.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time and memory of the process.
    pub fn usage(&self) -> proc::Usage {
        proc::usage(self.pid()).expect("the process is there")
    }
}

impl Drop for Cim {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- cim {} ended before: {ended:?}", self.child.id());
            for (name, capture) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                capture.release();
                capture.wait_closed(Duration::from_secs(2));
                let bytes = capture.bytes();
                let from = bytes.len().saturating_sub(SHOWN_BYTES);
                eprintln!(
                    "-- cim {name} --\n{}",
                    String::from_utf8_lossy(&bytes[from..])
                );
            }
            let own = self.text_of("cim");
            let from = own.len().saturating_sub(SHOWN_BYTES);
            eprintln!(
                "-- cim's own log --\n{}",
                String::from_utf8_lossy(&own[from..])
            );
        }
    }
}

/// The command that starts CIM with `options` in `dir`.
pub fn command(options: &Options, dir: &Path, log_dir: &Path) -> Command {
    let mut command = match &options.before {
        None => Command::new(&options.binary),
        Some(before) => {
            let mut shell = Command::new("/bin/sh");
            shell
                .arg("-c")
                .arg(format!("{before}\nexec \"$0\" \"$@\""))
                .arg(&options.binary);
            shell
        }
    };
    command
        .args(&options.args)
        .env_clear()
        .env("K8S_POD_ID", &options.pod)
        .env("K8S_NAMESPACE", &options.namespace)
        .env("CIM_NATS_PORT", "0")
        .env("CIM_REST_PORT", "0")
        .env("CIM_LOG_DIR", log_dir)
        .env("CIM_STATE_DIR", dir.join("state"))
        .env("CIM_CONF_FILE", dir.join("cim.json"))
        .env("CIM_SHIPPED_CONF_FILE", dir.join("shipped-cim.json"))
        .env("CIM_INFRA_FILE", dir.join("common-infra.json"))
        .env("CIM_SERVICE_ACCOUNT_DIR", dir.join("serviceaccount"))
        // Where nobody listens: the port of an application that is not there must not be somebody else's.
        .env("CIM_APP_URL", "http://127.0.0.1:1")
        .env("RUST_BACKTRACE", "1")
        .envs(options.env.iter().map(|(name, value)| (name, value)))
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Waits at most `limit` for the end of `child`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// `cim <version>: NATS on <address or URL>, HTTP on <address>, logs in <dir>`.
pub fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr, PathBuf)> {
    let (_, rest) = line.strip_prefix("cim ")?.split_once(": NATS on ")?;
    let (nats, rest) = rest.split_once(", HTTP on ")?;
    let (http, dir) = rest.split_once(", logs in ")?;
    // Of several external servers, the first.
    let nats = nats.split(',').next()?.rsplit(['/', '@']).next()?;
    Some((nats.parse().ok()?, http.parse().ok()?, PathBuf::from(dir)))
}

/// Writes the file whole, as a mounted config map changes: a new file takes the old one's name.
fn write_json(path: &Path, json: Option<&Value>) {
    if let Some(json) = json {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(json).unwrap()).unwrap();
        std::fs::rename(&new, path).unwrap();
    }
}
