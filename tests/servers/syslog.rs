//! A real log collector: rsyslog as it is in Debian, unprivileged, taking lines over TCP on a free port and writing each as it came
//! to a file. As every syslog it passes over empty lines.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::process::{Process, is_a_process};
use super::{free_port, loopback};
use crate::support::{LOOK, PATIENCE, eventually};

/// Tries with other ports when somebody else takes one.
const TRIES: usize = 5;

/// A running rsyslog; killed with its owner.
pub struct Syslog {
    process: Process,
    dir: TempDir,
    port: u16,
}

is_a_process!(Syslog);

impl Syslog {
    /// Starts it and waits until it takes connections.
    pub fn start() -> Self {
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix("cim-syslog-").tempdir();
            let dir = dir.unwrap();
            let mut syslog = Self {
                process: Process::new("rsyslog", dir.path().join("log")),
                dir,
                port: free_port(),
            };
            fs::write(syslog.file("conf"), syslog.conf()).unwrap();
            syslog.spawn();
            if syslog.answers() {
                return syslog;
            }
        }
        panic!("rsyslog did not start {TRIES} times");
    }

    /// Where it takes lines.
    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// Starts it again on the same port and with the same file. Waits until it takes connections.
    pub fn restart(&mut self) {
        self.spawn();
        assert!(self.answers(), "rsyslog did not start again");
    }

    /// The lines that it has written, without their line ends.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let text = fs::read(self.file("lines")).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| line[..line.len() - 1].to_vec()).collect()
    }

    /// Waits for so many lines; the limit is on the time without a new one.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Vec<u8>> {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let size = fs::metadata(self.file("lines")).map_or(0, |file| file.len());
            if size > known {
                (known, since) = (size, Instant::now());
                let lines = self.lines();
                if lines.len() >= count {
                    return lines;
                }
            }
            assert!(since.elapsed() < PATIENCE, "{} lines", self.lines().len());
            thread::sleep(LOOK);
        }
    }

    /// RainerScript. Nothing waits in memory: what is read is written before more is read.
    fn conf(&self) -> String {
        let Self { port, .. } = self;
        let [dir, lines] = [self.dir.path().to_owned(), self.file("lines")];
        let (dir, lines) = (dir.display(), lines.display());
        format!(
            r#"global(workDirectory="{dir}" maxMessageSize="8m" parser.escapeControlCharactersOnReceive="off")
main_queue(queue.type="Direct")
module(load="imptcp")
template(name="raw" type="string" string="%rawmsg%\n")
ruleset(name="lines" queue.type="Direct") {{
  action(type="omfile" file="{lines}" template="raw" flushOnTXEnd="on")
}}
input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="lines" supportOctetCountedFraming="off")
"#
        )
    }

    fn spawn(&mut self) {
        // Of a process that was killed.
        let _ = fs::remove_file(self.file("pid"));
        let installed = Installed::find();
        let mut command = Command::new(installed.program);
        command
            .env_clear()
            .env("LD_LIBRARY_PATH", &installed.libraries)
            .arg("-n")
            .arg("-f")
            .arg(self.file("conf"))
            .arg("-i")
            .arg(self.file("pid"))
            .arg("-M")
            .arg(installed.libraries.join("rsyslog"));
        self.process.start(&mut command);
    }

    /// Waits until it takes connections; false when it ends instead.
    fn answers(&mut self) -> bool {
        let address = self.address();
        let mut ended = false;
        eventually(PATIENCE, || {
            ended = self.process.has_ended();
            ended || TcpStream::connect(address).is_ok()
        });
        !ended
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Where tests/tools.sh has unpacked it, or where Debian installs it.
struct Installed {
    program: PathBuf,
    /// Has a folder `rsyslog` of modules.
    libraries: PathBuf,
}

impl Installed {
    fn find() -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        for root in [target.join("tools"), PathBuf::from("/")] {
            let program = root.join("usr/sbin/rsyslogd");
            let folders = fs::read_dir(root.join("usr/lib")).into_iter().flatten();
            let mut folders = folders.map(|entry| entry.unwrap().path());
            let libraries = folders.find(|folder| folder.join("rsyslog/imptcp.so").exists());
            if let Some(libraries) = libraries.filter(|_| program.exists()) {
                return Self { program, libraries };
            }
        }
        panic!("rsyslog is missing: `make integration-test` gets it, or goes without collector");
    }
}
