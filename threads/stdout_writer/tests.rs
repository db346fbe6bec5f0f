//! The thread with real channels and pipes.

use std::fs::File;
use std::io::Read;

use crossbeam_channel::bounded;

use super::*;
use crate::logs::batch::testing::batch;
use crate::logs::container::{Container, Containers};
use crate::settings::{LogFormat, Settings};
use crate::threads::testing::eventually;

struct Rig {
    batches: Sender<LineBatch>,
    files: Option<Receiver<LineBatch>>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    app: Arc<Container>,
    thread: JoinHandle<()>,
}

fn rig(out: OwnedFd, stall: Duration, format: LogFormat) -> Rig {
    let (send, batches) = bounded(64);
    let (to_files, files) = bounded(1024);
    let mut settings = Settings::default();
    settings.infra.log_format = format;
    let progress = Progress::new(|| {});
    let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
    let thread = StdoutWriter {
        batches,
        files: to_files,
        out,
        stall,
        form: LineForm::new("cnf-0", "ns1"),
        settings: Arc::new(Store::new(settings)),
        progress: Arc::clone(&progress),
        metrics: Arc::clone(&metrics),
    }
    .spawn(&crossbeam_channel::bounded(crate::threads::spawn::NOTICES).0)
    .unwrap();
    Rig {
        batches: send,
        files: Some(files),
        progress,
        metrics,
        app: Containers::new("cnf-0", "ns1").get(b"app", b"1", Instant::now()),
        thread,
    }
}

fn pipe() -> (File, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), writer.into())
}

impl Rig {
    fn send(&self, seq: u64, copy: bool, lines: &[Vec<u8>]) {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (&self.app, line.as_slice()))
            .collect();
        let mut batch = batch(Lane::Stdout, seq, true, &lines);
        batch.copy = copy;
        self.batches.send(batch).unwrap();
    }

    fn done(&self, seq: u64) {
        eventually(|| self.progress.done_on(Lane::Stdout) >= seq);
    }

    /// The next batch handed over, and its lines.
    fn handed(&self) -> (u64, Vec<Vec<u8>>) {
        let files = self.files.as_ref().unwrap();
        let batch = files.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(batch.lane, Lane::Stdout);
        let lines = batch.lines.runs().flat_map(|(_, lines)| lines);
        (batch.seq, lines.map(<[u8]>::to_vec).collect())
    }
}

/// `count` lines of `len` bytes, all different.
fn numbered(from: usize, count: usize, len: usize) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|n: usize| {
            let mut line = n.to_string();
            line.push_str(&".".repeat(len - line.len()));
            line.into_bytes()
        })
        .collect()
}

/// Reads `count` lines.
fn read_lines(reader: &mut File, count: usize) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut block = [0; 4096];
    while lines.len() <= count {
        let n = reader.read(&mut block).unwrap();
        assert!(n > 0, "ended after {} lines", lines.len() - 1);
        for &byte in &block[..n] {
            match byte {
                b'\n' => lines.push(Vec::new()),
                byte => lines.last_mut().unwrap().push(byte),
            }
        }
    }
    assert_eq!(lines.pop(), Some(Vec::new()), "a part of a line");
    assert_eq!(lines.len(), count);
    lines
}

fn golden(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/8-logs");
    std::fs::read(format!("{dir}/{name}")).unwrap()
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn the_bytes_are_those_of_the_original() {
    let mut lines: Vec<_> = golden("stdout_text.stdout.raw")
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    lines.pop();
    for (format, name) in [
        (LogFormat::Json, "stdout_json.stdout.raw"),
        (LogFormat::Text, "stdout_text.stdout.raw"),
    ] {
        let (mut reader, writer) = pipe();
        let rig = rig(writer, LONG, format);
        rig.send(1, false, &lines);
        rig.done(1);
        assert_eq!(rig.metrics.lines_to_stdout.get(), 3);
        drop(rig.batches);
        rig.thread.join().unwrap();
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap();
        assert_eq!(out, golden(name));
    }
}

#[test]
fn more_than_a_pipe_holds_gets_through_to_a_reader() {
    let (mut reader, writer) = pipe();
    let rig = rig(writer, LONG, LogFormat::Text);
    let lines = [numbered(0, 3000, 100), numbered(3000, 20, 20_000)].concat();
    rig.send(1, false, &lines);
    assert!(read_lines(&mut reader, lines.len()) == lines);
    rig.done(1);
    assert_eq!(rig.metrics.lines_to_stdout.get(), lines.len() as u64);
}

#[test]
fn a_regular_file_takes_everything() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = OwnedFd::from(file.reopen().unwrap());
    let rig = rig(out, LONG, LogFormat::Text);
    let lines = numbered(0, 3000, 100);
    rig.send(1, false, &lines);
    rig.done(1);
    let mut reader = file.reopen().unwrap();
    assert!(read_lines(&mut reader, lines.len()) == lines);
}

#[test]
fn what_a_stalled_reader_does_not_take_goes_to_the_file_once_and_in_order() {
    let (mut reader, writer) = pipe();
    let rig = rig(writer, SHORT, LogFormat::Text);
    let lines = numbered(0, 5000, 100);
    rig.send(1, false, &lines);
    let (seq, rest) = rig.handed();
    assert_eq!(seq, 1);
    let out = lines.len() - rest.len();
    assert!(out > 0 && !rest.is_empty());
    assert!(rest == lines[out..]);
    assert_eq!(rig.metrics.lines_to_stdout.get(), out as u64);
    assert_eq!(
        rig.progress.done_on(Lane::Stdout),
        0,
        "the file writer says so"
    );

    // The reader is back, but the file writer has not stored yet: no overtaking. A marker keeps its place too.
    assert!(read_lines(&mut reader, out) == lines[..out]);
    std::thread::sleep(limits::STDOUT_TRY_AGAIN);
    rig.send(2, false, &numbered(5000, 1, 100));
    assert_eq!(rig.handed(), (2, numbered(5000, 1, 100)));
    rig.send(3, false, &[]);
    assert_eq!(rig.handed(), (3, vec![]));
    assert_eq!(rig.progress.done_on(Lane::Stdout), 0);

    rig.progress.done(Lane::Stdout, 3);
    rig.send(4, false, &numbered(5001, 1, 100));
    rig.done(4);
    assert!(read_lines(&mut reader, 1) == numbered(5001, 1, 100));
}

#[test]
fn a_long_line_that_an_outage_cuts_is_whole_on_stdout_in_the_end() {
    let (mut reader, writer) = pipe();
    let rig = rig(writer, SHORT, LogFormat::Text);
    let lines = numbered(0, 2, 100_000);
    rig.send(1, false, &lines);
    assert_eq!(rig.handed(), (1, lines.clone()));
    rig.progress.done(Lane::Stdout, 1);
    // Room for what comes is made by reading on.
    let reading = std::thread::spawn(move || read_lines(&mut reader, 2));
    let files = rig.files.as_ref().unwrap();
    for seq in 2.. {
        rig.send(seq, false, &numbered(9, 1, 10));
        eventually(|| rig.progress.done_on(Lane::Stdout) >= seq || !files.is_empty());
        if rig.progress.done_on(Lane::Stdout) >= seq {
            break;
        }
        let (handed, _) = rig.handed();
        rig.progress.done(Lane::Stdout, handed);
        std::thread::sleep(SHORT);
    }
    let read = reading.join().unwrap();
    assert!(read == [lines[0].clone(), numbered(9, 1, 10).remove(0)]);
    assert_eq!(rig.metrics.lines_to_stdout.get(), 1);
}

#[test]
fn copies_are_dropped_and_counted() {
    let (_reader, writer) = pipe();
    let rig = rig(writer, SHORT, LogFormat::Text);
    rig.send(1, true, &numbered(0, 5000, 100));
    rig.send(2, true, &numbered(0, 10, 100));
    rig.done(2);
    let (out, dropped) = (
        rig.metrics.lines_to_stdout.get(),
        rig.metrics.stdout_copies_dropped.get(),
    );
    assert_eq!(out + dropped, 5010);
    assert!(out > 0 && dropped > 10);
    assert!(rig.files.as_ref().unwrap().is_empty());
}

#[test]
fn a_copy_keeps_its_place_behind_lines_handed_over() {
    let (_reader, writer) = pipe();
    let rig = rig(writer, SHORT, LogFormat::Text);
    rig.send(1, false, &numbered(0, 5000, 100));
    assert_eq!(rig.handed().0, 1);
    rig.send(2, true, &numbered(0, 10, 100));
    assert_eq!(rig.handed(), (2, vec![]));
    assert_eq!(rig.metrics.stdout_copies_dropped.get(), 10);
    assert_eq!(rig.progress.done_on(Lane::Stdout), 0);
}

#[test]
fn a_reader_that_is_gone_sends_lines_to_the_file() {
    let (reader, writer) = pipe();
    let rig = rig(writer, LONG, LogFormat::Text);
    drop(reader);
    let lines = numbered(0, 10, 10);
    rig.send(1, false, &lines);
    assert_eq!(rig.handed(), (1, lines));
}

#[test]
fn lines_that_nobody_takes_are_counted() {
    let (reader, writer) = pipe();
    let mut rig = rig(writer, LONG, LogFormat::Text);
    drop(reader);
    rig.files = None;
    rig.send(1, false, &numbered(0, 10, 10));
    rig.done(1);
    assert_eq!(rig.metrics.dropped(DropReason::Stalled).get(), 10);
}
