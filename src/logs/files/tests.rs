//! The log files on a real directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::logs::backups::Backup;
use crate::logs::container::Containers;
use crate::logs::disk::testing::TestDisk;
use crate::metrics::DropReason;

mod backlog;
mod faults;
mod model;
mod outside;
mod rules;

/// What lies in a directory: for each stem its files, oldest first, the live one last.
fn contents(dir: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut files: BTreeMap<String, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let (stem, ms) = match Backup::parse(&name) {
            Some(backup) => (backup.stem, backup.ms),
            None => (name.strip_suffix(".log").unwrap().to_owned(), i64::MAX),
        };
        let bytes = fs::read(entry.path()).unwrap();
        files.entry(stem).or_default().push((ms, bytes));
    }
    let sorted = |mut files: Vec<(i64, Vec<u8>)>| {
        files.sort();
        files.into_iter().map(|(_, bytes)| bytes).collect()
    };
    files
        .into_iter()
        .map(|(stem, files)| (stem, sorted(files)))
        .collect()
}

struct Rig {
    dir: TempDir,
    disk: TestDisk,
    files: LogFiles<TestDisk>,
    containers: Containers,
    metrics: Arc<Metrics>,
    limits: FileLimits,
    now: Now,
    lines_in: u64,
}

impl Rig {
    fn new(limits: FileLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = TestDisk::new();
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let files = Self::files(&dir, &disk, limits, &metrics);
        Self {
            dir,
            disk,
            files,
            containers: Containers::new("p", "n"),
            metrics,
            limits,
            now: Now {
                instant: Instant::now(),
                // 2026-11-23T00:25:57.315
                utc: UNIX_EPOCH + Duration::from_millis(1_795_393_557_315),
            },
            lines_in: 0,
        }
    }

    fn files(
        dir: &TempDir,
        disk: &TestDisk,
        limits: FileLimits,
        metrics: &Arc<Metrics>,
    ) -> LogFiles<TestDisk> {
        LogFiles::new(
            disk.clone(),
            dir.path().join("logs"),
            "p_n_".into(),
            limits,
            Arc::clone(metrics),
        )
    }

    /// CIM ends and starts again.
    fn restart(&mut self) {
        self.settle();
        self.files = Self::files(&self.dir, &self.disk, self.limits, &self.metrics);
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn live(&self, name: &str) -> PathBuf {
        self.path().join(format!("p_n_{name}-.log"))
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.live(name)).unwrap()).unwrap()
    }

    fn append(&mut self, name: &str, lines: &[&[u8]]) {
        self.append_acked(name, lines, None);
    }

    fn append_acked(&mut self, name: &str, lines: &[&[u8]], ack: Option<&Outcome>) {
        let container = self.containers.get(name.as_bytes(), b"", self.now.instant);
        self.lines_in += lines.len() as u64;
        self.files
            .append(&container, lines.iter().copied(), false, ack, self.now);
        self.conserved();
    }

    /// Lines in, and all of them written.
    fn write(&mut self, name: &str, lines: &[&[u8]]) {
        self.append(name, lines);
        self.turn(true);
    }

    fn turn(&mut self, flush: bool) {
        self.files.turn(flush, self.now);
        self.conserved();
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.utc += time;
    }

    /// What the thread does at the end of a turn.
    fn settle(&mut self) {
        self.turn(true);
        let start = self.now.instant;
        while self.files.is_holding() {
            self.pass(limits::FILE_RETRY_LAST);
            self.turn(true);
            let held = self.now.instant - start;
            assert!(held <= 2 * limits::SINK_STALL, "held for {held:?}");
        }
        assert_eq!(self.files.lines(), 0);
    }

    fn dropped(&self) -> u64 {
        self.metrics.dropped_total()
    }

    #[track_caller]
    fn conserved(&self) {
        assert_eq!(
            self.lines_in,
            self.metrics.lines_to_file.get() + self.dropped() + self.files.lines() as u64
        );
    }

    fn failing(&self) -> i64 {
        self.metrics.file_failing.get()
    }

    fn errors(&self, operation: &str) -> u64 {
        let errors = &self.metrics.file_errors;
        errors.with_label_values(&[operation]).get()
    }

    fn removed(&self, reason: &str) -> u64 {
        let removed = &self.metrics.backups_removed;
        removed.with_label_values(&[reason]).get()
    }
}

const ROOMY: FileLimits = FileLimits {
    file_bytes: 1 << 20,
    backups: 1000,
    age: Duration::from_secs(7 * 24 * 3600),
    buffer_bytes: 1000,
    line_age: limits::LINE_AGE,
};

fn at(text: &str) -> SystemTime {
    let name = format!("x-{text}.log_bkp");
    UNIX_EPOCH + Duration::from_millis(Backup::parse(&name).unwrap().ms as u64)
}
