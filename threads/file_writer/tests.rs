//! The thread with real channels and real files.

use std::fs;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::logs::backlog::{Backlog, Replay};
use crate::logs::batch::testing::batch;
use crate::logs::container::{Container, Containers};
use crate::logs::disk::testing::TestDisk;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::tap::{Failure, Outcome};
use crate::threads::testing::eventually;

struct Rig {
    dir: TempDir,
    disk: TestDisk,
    batches: Option<Sender<LineBatch>>,
    commands: Sender<FileCommand>,
    backlog: Arc<Backlog>,
    settings: Arc<Store>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    thread: JoinHandle<()>,
    app: Arc<Container>,
}

impl Rig {
    fn new(stall: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = TestDisk::new();
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let settings = Arc::new(Store::new(Settings::default()));
        let progress = Progress::new(|| {});
        let files = LogFiles::new(
            disk.clone(),
            dir.path().into(),
            "p_n_".into(),
            FileLimits::from(&settings.load().cim.lmaas),
            Arc::clone(&metrics),
        );
        let backlog = Backlog::open(
            Box::new(RealDisk),
            &dir.path().join("state"),
            dir.path().into(),
            "p_n_",
            Arc::clone(&metrics),
        );
        let (send, batches) = bounded(limits::LINE_BATCHES);
        let (commands, command) = bounded(1);
        let thread = FileWriter {
            batches,
            commands: command,
            files: files.with_stall(stall).with_backlog(Arc::clone(&backlog)),
            settings: Arc::clone(&settings),
            progress: Arc::clone(&progress),
        }
        .spawn(&crossbeam_channel::bounded(crate::threads::spawn::NOTICES).0)
        .unwrap();
        Self {
            app: Containers::new("p", "n").get(b"app", b"1", Instant::now()),
            batches: Some(send),
            commands,
            backlog,
            dir,
            disk,
            settings,
            progress,
            metrics,
            thread,
        }
    }

    fn send(&self, lane: Lane, seq: u64, flush: bool, lines: &[&[u8]]) {
        let lines: Vec<_> = lines.iter().map(|line| (&self.app, *line)).collect();
        let sender = self.batches.as_ref().unwrap();
        sender.send(batch(lane, seq, flush, &lines)).unwrap();
    }

    fn done(&self, lane: Lane, seq: u64) {
        eventually(|| self.progress.done_on(lane) >= seq);
    }

    fn read(&self) -> String {
        fs::read_to_string(self.dir.path().join("p_n_app-1.log")).unwrap()
    }

    /// No sender is left: the thread writes what it has, and ends.
    fn end(mut self) -> (TempDir, Arc<Metrics>) {
        self.batches = None;
        self.thread.join().unwrap();
        (self.dir, self.metrics)
    }
}

#[test]
fn done_means_that_the_lines_are_in_the_file() {
    let rig = Rig::new(limits::SINK_STALL);
    for seq in 1..=50 {
        rig.send(Lane::File, seq, true, &[seq.to_string().as_bytes()]);
        rig.done(Lane::File, seq);
        assert!(rig.read().ends_with(&format!("{seq}\n")));
    }
    assert_eq!(rig.progress.done_on(Lane::Stdout), 0);
}

#[test]
fn a_line_that_nobody_waits_for_is_written_soon_too() {
    let rig = Rig::new(limits::SINK_STALL);
    rig.send(Lane::File, 1, false, &[b"a"]);
    rig.done(Lane::File, 1);
    assert_eq!(rig.read(), "a\n");
}

#[test]
fn each_lane_has_its_own_progress_and_markers_count() {
    let rig = Rig::new(limits::SINK_STALL);
    rig.send(Lane::Stdout, 7, false, &[b"overflow"]);
    rig.send(Lane::File, 9, true, &[]);
    rig.done(Lane::File, 9);
    rig.done(Lane::Stdout, 7);
    assert_eq!(rig.progress.done_on(Lane::Stdout), 7);
    assert_eq!(rig.read(), "overflow\n");
}

#[test]
fn a_batch_of_several_containers_is_done_when_all_are_written() {
    let rig = Rig::new(limits::SINK_STALL);
    let mut containers = Containers::new("p", "n");
    let other = containers.get(b"other", b"", Instant::now());
    let lines: [(&Arc<Container>, &[u8]); 3] = [(&rig.app, b"1"), (&other, b"2"), (&rig.app, b"3")];
    let sender = rig.batches.as_ref().unwrap();
    sender.send(batch(Lane::File, 1, true, &lines)).unwrap();
    rig.done(Lane::File, 1);
    assert_eq!(rig.read(), "1\n3\n");
    let other = rig.dir.path().join("p_n_other-.log");
    assert_eq!(fs::read(other).unwrap(), b"2\n");
}

#[test]
fn when_the_senders_are_gone_everything_is_written() {
    let rig = Rig::new(limits::SINK_STALL);
    let lines: Vec<Vec<u8>> = (0..10_000)
        .map(|n: u32| n.to_string().into_bytes())
        .collect();
    for (seq, lines) in lines.chunks(100).enumerate() {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        rig.send(Lane::File, seq as u64 + 1, false, &lines);
    }
    let (dir, metrics) = rig.end();
    let mut want = lines.join(&b'\n');
    want.push(b'\n');
    assert!(fs::read(dir.path().join("p_n_app-1.log")).unwrap() == want);
    assert_eq!(metrics.lines_to_file.get(), 10_000);
}

#[test]
fn nothing_is_done_while_lines_wait_for_the_disk_and_none_is_lost() {
    let rig = Rig::new(Duration::from_secs(600));
    rig.disk.break_with(Errno::IO);
    rig.send(Lane::File, 1, true, &[b"1"]);
    eventually(|| rig.metrics.file_failing.get() == 1);
    rig.send(Lane::File, 2, true, &[b"2"]);
    assert_eq!(rig.progress.done_on(Lane::File), 0);
    rig.disk.repair();
    rig.done(Lane::File, 2);
    assert_eq!(rig.read(), "1\n2\n");
}

#[test]
fn a_disk_that_stays_away_costs_lines_and_their_publisher_is_told() {
    let rig = Rig::new(Duration::from_millis(20));
    rig.disk.break_with(Errno::NOSPC);
    let ack = Outcome::default();
    let mut lost = batch(Lane::File, 1, true, &[(&rig.app, b"1"), (&rig.app, b"2")]);
    Arc::get_mut(&mut lost.lines).unwrap().ack = Some(ack.clone());
    rig.batches.as_ref().unwrap().send(lost).unwrap();
    rig.done(Lane::File, 1);
    assert_eq!(ack.failure(), Some(Failure::NotWritten));
    let (_dir, metrics) = rig.end();
    assert_eq!(
        (metrics.dropped_total(), metrics.lines_to_file.get()),
        (2, 0)
    );
}

#[test]
fn a_changed_limit_takes_effect_at_once() {
    let rig = Rig::new(limits::SINK_STALL);
    let large = vec![b'x'; 700 << 10];
    rig.send(Lane::File, 1, true, &[&large, &large]);
    rig.done(Lane::File, 1);
    assert_eq!(rig.metrics.file_rotations.get(), 0);
    let mut settings = Settings::default();
    settings.cim.lmaas.max_file_size_in_mb = 1;
    rig.settings.replace(settings);
    rig.send(Lane::File, 2, true, &[b"next"]);
    rig.done(Lane::File, 2);
    assert_eq!(rig.metrics.file_rotations.get(), 1);
    assert_eq!(rig.read(), "next\n");
}

/// Sends lines of the backlog as fast as they come while the file writer rotates and removes files, and at the end there is nothing left: what
/// `log_sender` relies on when it goes back to its sink.
#[test]
fn caught_up_is_certain_while_lines_still_come() {
    const BATCHES: u64 = 400;
    let rig = Rig::new(limits::SINK_STALL);
    let mut settings = Settings::default();
    settings.cim.lmaas.max_file_size_in_mb = 1;
    rig.settings.replace(settings);
    let commands = rig.commands.clone();
    let mut replay = Replay::new(Arc::clone(&rig.backlog), move || {
        // One that waits says the same.
        let _ = commands.try_send(FileCommand::RemoveDelivered);
    });
    let (mut sent, mut arrived, mut caught_up) = (0, 0u64, 0);
    let start = Instant::now();
    // What is stored is looked at first: the other way round both can be said of different lines.
    while sent < BATCHES || rig.progress.done_on(Lane::Remote) < sent || !rig.backlog.is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{arrived} lines arrived"
        );
        if sent < BATCHES {
            sent += 1;
            let line = |n: u64| format!("{:08}{}", n, "\n".repeat((n % 5) as usize)).repeat(100);
            let lines: Vec<String> = (0..10).map(|k| line((sent - 1) * 10 + k)).collect();
            let lines: Vec<_> = lines
                .iter()
                .map(|line| (&rig.app, line.as_bytes()))
                .collect();
            let mut batch = batch(Lane::Remote, sent, sent % 3 == 0, &lines);
            batch.backlog = true;
            rig.batches.as_ref().unwrap().send(batch).unwrap();
        }
        while let Some(chunk) = replay.next_chunk(64 << 10).unwrap() {
            for (_, lines) in chunk.lines.runs() {
                for line in lines {
                    assert_eq!(&line[..8], format!("{arrived:08}").as_bytes());
                    assert_eq!(line.len() as u64, 100 * (8 + arrived % 5));
                    arrived += 1;
                }
            }
            let lines = chunk.lines.spans.len();
            assert_eq!(
                replay.delivered(&chunk, lines, Instant::now()),
                lines as u64
            );
        }
        let stored = rig.progress.done_on(Lane::Remote) >= sent;
        if stored && rig.backlog.is_empty() {
            // In this order both are true of the same lines.
            assert_eq!(arrived, sent * 10);
            caught_up += 1;
        }
    }
    assert_eq!(arrived, BATCHES * 10);
    assert!(caught_up > 0);
    let marks = rig.dir.path().join("state/backlog");
    eventually(|| fs::read_dir(&marks).unwrap().count() == 0);
    assert!(!rig.dir.path().join("p_n_app-1.log").exists());
    let (dir, metrics) = rig.end();
    assert_eq!(metrics.lines_to_file.get(), BATCHES * 10);
    assert_eq!(metrics.remote.backlog_lines.get(), 0);
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["state"]);
}
