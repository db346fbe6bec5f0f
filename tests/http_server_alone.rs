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

/// What the server's thread has cost. The files are kept open: they are read while no descriptor is left.
struct Cost {
    status: File,
    stat: File,
}

impl Cost {
    fn open() -> Self {
        let mut tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let task = tasks.find_map(|task| {
            let task = task.unwrap().path();
            let name = std::fs::read_to_string(task.join("comm")).unwrap();
            (name == "http-server\n").then_some(task)
        });
        let open = |name| File::open(task.as_ref().unwrap().join(name)).unwrap();
        Self {
            status: open("status"),
            stat: open("stat"),
        }
    }

    /// How often the thread has gone to sleep, and its processor time in ticks (10 ms).
    fn sum(&self) -> (u64, u64) {
        let status = read(&self.status);
        let sleeps = status
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        let stat = read(&self.stat);
        // proc_pid_stat(5): utime and stime are the 12th and 13th after the name.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
        let ticks = fields
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        (sleeps.unwrap().trim().parse().unwrap(), ticks)
    }

    fn within(&self, time: Duration) -> (u64, u64) {
        let before = self.sum();
        std::thread::sleep(time);
        let after = self.sum();
        (after.0 - before.0, after.1 - before.1)
    }
}

fn read(file: &File) -> String {
    let mut text = vec![0; 16 << 10];
    let count = file.read_at(&mut text, 0).unwrap();
    String::from_utf8_lossy(&text[..count]).into_owned()
}

#[test]
fn sleeps_when_idle_and_does_not_spin_without_descriptors() {
    let server = Server::start(Limits::default());
    let mut idle = server.connect();
    assert_eq!(idle.ask(&get("/healthz")).status, 200);
    let cost = Cost::open();
    // It may still be on its way to sleep.
    let (sleeps, ticks) = cost.within(Duration::from_millis(700));
    assert!(sleeps <= 2 && ticks <= 1, "{sleeps} sleeps, {ticks} ticks");

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
    let (sleeps, ticks) = cost.within(Duration::from_millis(1200));
    assert!(sleeps <= 6 && ticks <= 5, "{sleeps} sleeps, {ticks} ticks");
    assert_eq!(server.answered("200"), 1);
    drop(fillers);
    assert_eq!(
        client.reply().status,
        200,
        "once there are descriptors again"
    );
    assert_eq!(idle.ask(&get("/healthz")).status, 200);
}
