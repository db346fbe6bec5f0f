//! A server as a process of its own, which a test can kill, stop, freeze and thaw.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PATIENCE, eventually, forks};

/// Bytes of a server's log that are shown when a test fails.
const SHOWN_BYTES: usize = 8 << 10;

/// A server that is a process: it can be treated as one.
macro_rules! is_a_process {
    ($server:ty) => {
        impl std::ops::Deref for $server {
            type Target = Process;

            fn deref(&self) -> &Process {
                &self.process
            }
        }

        impl std::ops::DerefMut for $server {
            fn deref_mut(&mut self) -> &mut Process {
                &mut self.process
            }
        }
    };
}
pub(super) use is_a_process;

/// A server, or what is left of it; killed with its owner, which shows its log when the test fails.
pub struct Process {
    name: &'static str,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet; what it says is added to the file `log`.
    pub fn new(name: &'static str, log: PathBuf) -> Self {
        Self {
            name,
            log,
            child: None,
        }
    }

    /// Starts it.
    pub fn start(&mut self, command: &mut Command) {
        self.kill();
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.unwrap();
        let streams = command.stdin(Stdio::null());
        let child = forks::spawn(streams.stdout(log.try_clone().unwrap()).stderr(log));
        self.child = Some(child.unwrap_or_else(|error| {
            panic!(
                "{} is missing ({error}): `make integration-test` says how to get it, or goes without",
                self.name
            )
        }));
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        eventually(PATIENCE, || self.has_ended());
        self.child = None;
    }

    /// It keeps its sockets, takes connections into its backlog, and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually(PATIENCE, || self.state() == "T");
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
        eventually(PATIENCE, || self.state() != "T");
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The letter of its state in `/proc`.
    fn state(&self) -> String {
        let pid = self.pid().as_raw_nonzero();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields[..1].to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read(&self.log).unwrap_or_default();
            let shown = &log[log.len().saturating_sub(SHOWN_BYTES)..];
            eprintln!("-- {} --\n{}", self.name, String::from_utf8_lossy(shown));
        }
    }
}
