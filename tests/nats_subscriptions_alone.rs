//! The thread `nats-subscriptions` with the test in the place of the NATS server and of the writers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::limits::{LINE_BATCHES, LOG_BATCHES, OWN_LOG_LINES, SINK_STALL};
use cim::logs::batch::LineBatch;
use cim::logs::container::Containers;
use cim::metrics::{DropReason, Metrics};
use cim::own_log::OwnLine;
use cim::progress::{Lane, Progress};
use cim::set_aside::SetAside;
use cim::settings::{LoggingMode, Settings, Store};
use cim::tap::{Batch, Control, ControlBatch, Span};
use cim::threads::nats_subscriptions::NatsSubscriptions;
use cim::threads::spawn::NOTICES;
use cim::wire::encode_log;
use crossbeam_channel::{Receiver, Sender, bounded};
use flatbuffers::FlatBufferBuilder;

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    log: Sender<Batch>,
    events: Sender<Batch>,
    control: Sender<ControlBatch>,
    own: Option<Sender<OwnLine>>,
    file: Receiver<LineBatch>,
    stdout: Receiver<LineBatch>,
    remote: Receiver<LineBatch>,
    journal: Receiver<Batch>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    settings: Arc<Store>,
    log_progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    seq: u64,
    _thread: JoinHandle<()>,
    /// The thread's directory in `/proc`.
    task: PathBuf,
}

impl Rig {
    fn start() -> Self {
        let (log, log_in) = bounded(LOG_BATCHES);
        let (events, events_in) = bounded(1);
        let (control, control_in) = bounded(1);
        let (own, own_in) = bounded(OWN_LOG_LINES);
        let (file_out, file) = bounded(LINE_BATCHES);
        let (stdout_out, stdout) = bounded(LINE_BATCHES);
        let (remote_out, remote) = bounded(LINE_BATCHES);
        let (journal_out, journal) = bounded(1);
        let settings = Arc::new(Store::new(Settings::default()));
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let log_progress = Progress::new(|| {});
        let event_progress = Progress::new(|| {});
        let control_progress = Progress::new(|| {});
        let one = STARTS.lock().unwrap_or_else(PoisonError::into_inner);
        let before = threads();
        let thread = NatsSubscriptions {
            log: log_in,
            events: events_in,
            control: control_in,
            own: own_in,
            file: file_out,
            stdout: stdout_out,
            remote: remote_out,
            journal: journal_out,
            // Nobody is there for configuration.
            answers: bounded(1).0,
            signals: bounded(1).0,
            shutdown: bounded(1).0,
            set_aside: Arc::new(SetAside::new("/dev/null".into(), 0)),
            containers: Containers::new("p", "n"),
            own_id: String::new(),
            settings: Arc::clone(&settings),
            log_progress: Arc::clone(&log_progress),
            event_progress: Arc::clone(&event_progress),
            control_progress: Arc::clone(&control_progress),
            metrics: Arc::clone(&metrics),
        }
        .spawn(&bounded(NOTICES).0)
        .unwrap();
        let new = || threads().difference(&before).next().cloned();
        eventually(|| new().is_some());
        let task = new().unwrap();
        drop(one);
        Self {
            log,
            events,
            control,
            own: Some(own),
            file,
            stdout,
            remote,
            journal,
            event_progress,
            control_progress,
            settings,
            log_progress,
            metrics,
            seq: 0,
            _thread: thread,
            task,
        }
    }

    fn mode(&self, mode: LoggingMode) {
        let mut settings = Settings::clone(&self.settings.load());
        settings.cim.lmaas.logging_mode = mode;
        self.settings.replace(settings);
    }

    /// One line in a batch of its own.
    fn line(&mut self) {
        let mut builder = FlatBufferBuilder::new();
        encode_log(b"app", b"1", b"x", &mut builder);
        let data = builder.finished_data().to_vec();
        self.seq += 1;
        let batch = Batch {
            seq: self.seq,
            spans: vec![Span {
                start: 0,
                len: data.len() as u32,
            }],
            buffer: data.into(),
            flush: false,
            ack: None,
            acks: Vec::new(),
        };
        self.log.send_timeout(batch, PATIENCE).unwrap();
    }

    fn lane(&self, lane: Lane) -> &Receiver<LineBatch> {
        match lane {
            Lane::Stdout => &self.stdout,
            Lane::Remote => &self.remote,
            _ => &self.file,
        }
    }

    fn dropped(&self) -> u64 {
        self.metrics.dropped(DropReason::Stalled).get()
    }

    /// The file's writer takes nothing, and is given up.
    fn stall_the_file(&mut self) {
        for _ in 0..=LINE_BATCHES {
            self.line();
        }
        let start = Instant::now();
        while self.dropped() == 0 {
            assert!(start.elapsed() < SINK_STALL + PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One rig starts at a time, so that its thread is the one that was not there before.
static STARTS: Mutex<()> = Mutex::new(());

/// The threads of this name, those of other tests too.
fn threads() -> HashSet<PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let tasks = tasks.filter_map(|task| Some(task.ok()?.path()));
    let is_one = |task: &PathBuf| {
        // One that has ended meanwhile has none.
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        name == "nats-subscript\n"
    };
    tasks.filter(is_one).collect()
}

/// Processor time of a thread, in ticks (10 ms).
fn ticks(thread: &Path) -> u64 {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
    // proc_pid_stat(5): utime and stime are the 12th and 13th after the name.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    fields
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum()
}

#[test]
fn lines_wait_until_the_lanes_of_the_mode_before_are_empty() {
    use LoggingMode::{File, FileAndStdout, Kafka, Stdout, Tcp};
    let mut rig = Rig::start();
    let mut seq = 0;
    for (mode, lanes) in [
        (Stdout, &[Lane::Stdout][..]),
        (File, &[Lane::File]),
        (Tcp, &[Lane::Remote]),
        (FileAndStdout, &[Lane::File, Lane::Stdout]),
        (Kafka, &[Lane::Remote]),
        (Stdout, &[Lane::Stdout]),
    ] {
        rig.mode(mode);
        let before = rig.log_progress.stored();
        assert_eq!(before, seq, "all that was sent is stored");
        for _ in 0..2 {
            rig.line();
            seq += 1;
            for lane in lanes {
                let batch = rig.lane(*lane).recv_timeout(PATIENCE).unwrap();
                assert_eq!((batch.lane, batch.seq), (*lane, seq));
            }
        }
        // The next mode has other lanes, and nothing may go there yet.
        let is_remote = lanes == [Lane::Remote];
        rig.mode(if is_remote { File } else { Tcp });
        rig.line();
        seq += 1;
        std::thread::sleep(Duration::from_millis(20));
        let all = [&rig.file, &rig.stdout, &rig.remote];
        assert!(all.iter().all(|lane| lane.is_empty()), "{mode:?}");
        for lane in lanes {
            rig.log_progress.done(*lane, seq - 1);
        }
        let next = if is_remote { Lane::File } else { Lane::Remote };
        let batch = rig.lane(next).recv_timeout(PATIENCE).unwrap();
        assert_eq!(batch.seq, seq);
        rig.log_progress.done(next, seq);
        eventually(|| rig.log_progress.stored() == seq);
    }
}

#[test]
fn kafka_and_tcp_are_one_lane() {
    let mut rig = Rig::start();
    for (n, mode) in [(1, LoggingMode::Tcp), (2, LoggingMode::Kafka)] {
        rig.mode(mode);
        rig.line();
        assert_eq!(rig.remote.recv_timeout(PATIENCE).unwrap().seq, n);
    }
}

#[test]
fn a_journal_without_room_holds_up_neither_lines_nor_answers() {
    let mut rig = Rig::start();
    let mut builder = FlatBufferBuilder::new();
    let event = cim::wire::EventFields {
        event_name: b"e",
        ..Default::default()
    };
    cim::wire::encode_event(&event, &mut builder);
    let data = builder.finished_data().to_vec();
    for seq in 1..=3 {
        let batch = Batch {
            seq,
            spans: vec![Span {
                start: 0,
                len: data.len() as u32,
            }],
            buffer: data.clone().into(),
            flush: false,
            ack: None,
            acks: Vec::new(),
        };
        rig.events.send_timeout(batch, PATIENCE).unwrap();
    }
    // One in the journal's channel, one at the thread, one in front of it.
    eventually(|| rig.journal.is_full() && rig.events.is_full());
    let batch = ControlBatch {
        seq: 1,
        buffer: vec![].into(),
        messages: vec![(Control::Test, Span { start: 0, len: 0 })],
    };
    rig.control.send_timeout(batch, PATIENCE).unwrap();
    eventually(|| rig.control_progress.stored() == 1);
    rig.line();
    assert_eq!(rig.file.recv_timeout(PATIENCE).unwrap().seq, 1);
    for seq in 1..=3 {
        assert_eq!(rig.journal.recv_timeout(PATIENCE).unwrap().seq, seq);
        rig.event_progress.done(Lane::Journal, seq);
    }
    eventually(|| rig.event_progress.stored() == 3);
}

#[test]
fn a_stalled_file_costs_no_line_that_goes_to_stdout() {
    let mut rig = Rig::start();
    rig.stall_the_file();
    rig.mode(LoggingMode::Stdout);
    let dropped = rig.dropped();
    // Standard output is slower than the publisher, which is no fault.
    let lines = 5 * LINE_BATCHES;
    let (mut sent, mut got) = (0, 0);
    while got < lines {
        if sent < lines && !rig.log.is_full() {
            rig.line();
            sent += 1;
        } else if let Ok(batch) = rig.stdout.recv_timeout(Duration::from_secs(3)) {
            got += batch.lines.spans.len();
        } else {
            let dropped = rig.dropped() - dropped;
            panic!("{got} of {lines} lines on standard output, {dropped} dropped");
        }
    }
    assert_eq!(rig.dropped(), dropped);
    assert!(rig.file.is_full());
}

#[test]
fn without_an_own_log_it_sleeps() {
    let mut rig = Rig::start();
    rig.own = None;
    let before = ticks(&rig.task);
    std::thread::sleep(Duration::from_millis(500));
    let ticks = ticks(&rig.task) - before;
    assert!(ticks < 10, "{ticks} ticks of 10 ms in 500 ms");
}
