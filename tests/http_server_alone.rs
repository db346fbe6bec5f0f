//! What the thread `http-server` costs when nothing happens, and when there are no descriptors left. One test in a process of
//! its own: it counts that process's wake-ups, and takes its descriptors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "support/operations.rs"]
mod http;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use cim::http::Limits;
use http::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The status of the server's thread, kept open: it is read while no descriptor is left.
struct Status(File);

impl Status {
    fn open() -> Self {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let task = tasks
            .map(|task| task.unwrap().path())
            .find(|task| std::fs::read_to_string(task.join("comm")).unwrap() == "http-server\n");
        Self(File::open(task.unwrap().join("status")).unwrap())
    }

    /// How often the thread has gone to sleep, or was taken off the processor.
    fn switches(&self) -> u64 {
        let mut text = vec![0; 16 << 10];
        let count = self.0.read_at(&mut text, 0).unwrap();
        let text = String::from_utf8_lossy(&text[..count]);
        let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
        let counts: Vec<u64> = lines
            .map(|line| line.split_whitespace().last().unwrap().parse().unwrap())
            .collect();
        assert_eq!(counts.len(), 2);
        counts.iter().sum()
    }

    fn switches_within(&self, time: Duration) -> u64 {
        let before = self.switches();
        std::thread::sleep(time);
        self.switches() - before
    }
}

#[test]
fn sleeps_when_idle_and_does_not_spin_without_descriptors() {
    let server = Server::start(Limits::default());
    let mut idle = server.connect();
    assert_eq!(idle.ask(&get("/healthz")).status, 200);
    let status = Status::open();
    // It may still be on its way to sleep.
    let woken = status.switches_within(Duration::from_millis(700));
    assert!(woken <= 2, "woken {woken} times with nothing to do");

    let limit = Rlimit {
        current: Some(200),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    fillers.pop();
    // The client takes the last one: none is left for the server to accept with.
    let mut client = server.connect();
    client.send(get("/healthz"));
    assert!(File::open("/dev/null").is_err());
    let woken = status.switches_within(Duration::from_millis(1200));
    assert!(
        woken <= 12,
        "woken {woken} times with nothing to accept with"
    );
    assert_eq!(server.answered("200"), 1);
    drop(fillers);
    assert_eq!(
        client.reply().status,
        200,
        "once there are descriptors again"
    );
    assert_eq!(idle.ask(&get("/healthz")).status, 200);
}
