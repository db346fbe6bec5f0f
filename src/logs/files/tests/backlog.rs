//! Lines that are still to be sent: the log files, the marks and the replay on a real directory.

use std::collections::VecDeque;

use super::*;
use crate::logs::backlog::{Backlog, Replay, StoredChunk};

mod faults;
mod model;
mod outside;
mod rules;

/// The log files with a backlog, and somebody who sends it.
struct Sender {
    rig: Rig,
    /// The disk of the marks.
    marks: TestDisk,
    backlog: Arc<Backlog>,
    replay: Replay,
    /// Given out, not delivered.
    in_flight: VecDeque<StoredChunk>,
    /// Delivered: container and payload.
    arrived: Vec<(String, Vec<u8>)>,
    /// What the replay said it took off the backlog.
    taken_off: u64,
}

fn open(rig: &mut Rig, marks: &TestDisk) -> (Arc<Backlog>, Replay) {
    let backlog = Backlog::open(
        Box::new(marks.clone()),
        &rig.dir.path().join("state"),
        rig.path(),
        "p_n_",
        Arc::clone(&rig.metrics),
    );
    rig.files = Rig::files(&rig.dir, &rig.disk, rig.limits, &rig.metrics)
        .with_backlog(Arc::clone(&backlog));
    let replay = Replay::new(Arc::clone(&backlog), || {});
    (backlog, replay)
}

impl Sender {
    fn new(limits: FileLimits) -> Self {
        let mut rig = Rig::new(limits);
        let marks = TestDisk::new();
        let (backlog, replay) = open(&mut rig, &marks);
        Self {
            rig,
            marks,
            backlog,
            replay,
            in_flight: VecDeque::new(),
            arrived: Vec::new(),
            taken_off: 0,
        }
    }

    /// CIM is killed and starts again: nothing is written or stored before. The disks work again.
    fn kill(&mut self) {
        let waiting = self.rig.files.lines() as u64;
        self.rig.lines_in -= waiting;
        self.in_flight.clear();
        self.rig.disk.repair();
        self.marks.repair();
        self.rig.containers = Containers::new("p", "n");
        (self.backlog, self.replay) = open(&mut self.rig, &self.marks);
    }

    /// Lines that are to be sent.
    fn append(&mut self, name: &str, lines: &[&[u8]]) {
        let container = self.container(name);
        self.rig.lines_in += lines.len() as u64;
        let (lines, now) = (lines.iter().copied(), self.rig.now);
        self.rig.files.append(&container, lines, true, None, now);
        self.rig.conserved();
    }

    fn container(&mut self, name: &str) -> Arc<Container> {
        let now = self.rig.now.instant;
        self.rig.containers.get(name.as_bytes(), b"", now)
    }

    /// Lines that are to be sent, and all of them written.
    fn write(&mut self, name: &str, lines: &[&[u8]]) {
        self.append(name, lines);
        self.rig.settle();
    }

    /// Reads the next chunk.
    fn read(&mut self, bytes: usize) -> bool {
        match self.replay.next_chunk(bytes).unwrap() {
            Some(chunk) => self.in_flight.push_back(chunk),
            None => return false,
        }
        true
    }

    /// The oldest chunk in flight arrives, or its first `lines` lines.
    fn deliver(&mut self, lines: usize) {
        let Some(chunk) = self.in_flight.pop_front() else {
            return;
        };
        let all = chunk.lines.spans.len();
        let now = self.rig.now.instant;
        let taken = self.replay.delivered(&chunk, lines, now);
        self.taken_off += taken;
        // Those that are lost meanwhile count as lost, although they have arrived.
        let first = lines.min(all) - taken as usize;
        for (container, lines) in chunk.lines.runs() {
            let name = String::from_utf8(container.name.to_vec()).unwrap();
            let lines = lines.skip(first).take(taken as usize);
            self.arrived
                .extend(lines.map(|line| (name.clone(), line.to_vec())));
        }
        if lines < all {
            self.in_flight.push_front(chunk);
        }
    }

    /// Everything that is there is sent.
    fn drain(&mut self) {
        while self.replay.survey().unwrap() {}
        self.in_flight.clear();
        self.replay.rewind();
        while self.read(100) {
            self.deliver(usize::MAX);
        }
    }

    /// The payloads that have arrived of `name`, since the last call.
    fn take_arrived(&mut self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.arrived.retain(|(of, payload)| {
            if of == name {
                found.push(String::from_utf8(payload.clone()).unwrap());
            }
            of != name
        });
        found
    }

    fn lost(&self, reason: &str) -> u64 {
        let lost = &self.rig.metrics.remote.backlog_lost;
        lost.with_label_values(&[reason]).get()
    }

    fn lost_in_all(&self) -> u64 {
        ["retention", "removed", "mode", "limit"]
            .iter()
            .map(|reason| self.lost(reason))
            .sum()
    }

    /// Names in the directory of the marks.
    fn kept(&self) -> Vec<String> {
        names(&self.rig.dir.path().join("state/backlog"))
    }

    fn log_files(&self) -> Vec<String> {
        names(&self.rig.path())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
