//! The journal as a whole: a rig that appends numbered payloads and sees what comes out.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::logs::disk::testing::{Fault, TestDisk};

mod broken;
mod faults;
mod model;
mod rules;

type Ends = (JournalWriter<TestDisk>, JournalReader<TestDisk>);

/// Some ten records a segment.
const SMALL: JournalLimits = JournalLimits {
    bytes_max: 1 << 20,
    segment_bytes: 600,
    fsync: Fsync::Never,
};

struct Rig {
    dir: TempDir,
    disk: TestDisk,
    limits: JournalLimits,
    metrics: Arc<Metrics>,
    ends: Option<Ends>,
    now: Instant,
    /// Payloads appended so far.
    appended: u64,
}

/// The payload of record `n`: its number, and as many dots as make sizes differ.
fn payload(n: u64) -> Vec<u8> {
    let mut text = format!("{n}:").into_bytes();
    text.resize(text.len() + (n * 7 % 40) as usize, b'.');
    text
}

impl Rig {
    fn new(limits: JournalLimits) -> Self {
        let mut rig = Self {
            dir: tempfile::tempdir().unwrap(),
            disk: TestDisk::new(),
            limits,
            metrics: Arc::new(Metrics::new("p").unwrap()),
            ends: None,
            now: Instant::now(),
            appended: 0,
        };
        rig.open();
        rig
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn try_open(&mut self) -> Result<(), OpenError> {
        // Dropping does no more than kill -9 does: see `a_copy_of_the_directory_at_any_moment_has_all_that_was_committed`.
        self.ends = None;
        self.metrics = Arc::new(Metrics::new("p").unwrap());
        let ends = open_with(self.disk.clone(), &self.path(), self.limits, &self.metrics)?;
        self.ends = Some(ends);
        Ok(())
    }

    fn open(&mut self) {
        self.try_open().unwrap();
    }

    fn writer(&mut self) -> &mut JournalWriter<TestDisk> {
        &mut self.ends.as_mut().unwrap().0
    }

    fn reader(&mut self) -> &mut JournalReader<TestDisk> {
        &mut self.ends.as_mut().unwrap().1
    }

    fn try_append(&mut self) -> Result<u64, AppendError> {
        let (n, now_ms) = (self.appended + 1, 1_000_000 + self.appended);
        let seq = self.writer().append(Kind::Event, &payload(n), now_ms)?;
        self.appended += 1;
        Ok(seq)
    }

    fn try_commit(&mut self) -> Result<(), JournalError> {
        let now = self.now;
        self.writer().commit(now)
    }

    /// Appends and commits records, all of them.
    fn fill(&mut self, count: u64) {
        for _ in 0..count {
            self.try_append().unwrap();
        }
        self.try_commit().unwrap();
    }

    /// All that comes out now, checked to be what went in under its number when `seq` is that number.
    fn rest(&mut self) -> Vec<u64> {
        let mut seqs = Vec::new();
        while let Some(record) = self.reader().next().unwrap() {
            assert_eq!(record.payload, payload(record.seq), "record {}", record.seq);
            assert_eq!(record.time_ms, 999_999 + record.seq);
            seqs.push(record.seq);
        }
        seqs
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments_in(&self.path())
    }

    fn damage(&self, kind: &str) -> u64 {
        let damage = &self.metrics.events.journal_damage;
        damage.with_label_values(&[kind]).get()
    }

    fn lost(&self) -> u64 {
        let aside = &self.metrics.events.set_aside;
        aside.with_label_values(&["EVENT", "damaged"]).get()
    }

    fn depth(&self) -> i64 {
        self.metrics.events.journal_records.get()
    }
}

fn segments_in(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> = files
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .is_some_and(|n| n.ends_with(".seg") && n.len() > 20)
        })
        .collect();
    found.sort();
    found
}
