//! The thread `nats-subscriptions` with the test in the place of the NATS server and of the writers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::limits::{EVENT_BATCHES, LINE_BATCHES, LOG_BATCHES, OWN_LOG_LINES, SINK_STALL};
use cim::logs::batch::LineBatch;
use cim::logs::container::Containers;
use cim::metrics::{DropReason, Metrics};
use cim::own_log::OwnLine;
use cim::progress::{Lane, Progress};
use cim::settings::{LoggingMode, Settings, Store};
use cim::tap::{EventBatch, LogBatch, Span};
use cim::threads::nats_subscriptions::NatsSubscriptions;
use cim::threads::spawn::NOTICES;
use cim::wire::encode_log;
use crossbeam_channel::{Receiver, Sender, bounded, never};
use flatbuffers::FlatBufferBuilder;

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    log: Sender<LogBatch>,
    /// Kept open.
    _events: Sender<EventBatch>,
    own: Option<Sender<OwnLine>>,
    file: Receiver<LineBatch>,
    stdout: Receiver<LineBatch>,
    settings: Arc<Store>,
    log_progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    seq: u64,
    _thread: JoinHandle<()>,
}

impl Rig {
    fn start() -> Self {
        let (log, log_in) = bounded(LOG_BATCHES);
        let (events, events_in) = bounded(EVENT_BATCHES);
        let (own, own_in) = bounded(OWN_LOG_LINES);
        let (file_out, file) = bounded(LINE_BATCHES);
        let (stdout_out, stdout) = bounded(LINE_BATCHES);
        let settings = Arc::new(Store::new(Settings::default()));
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let log_progress = Progress::new(|| {});
        let thread = NatsSubscriptions {
            log: log_in,
            events: events_in,
            own: own_in,
            file: file_out,
            stdout: stdout_out,
            // Nobody is there for configuration.
            answers: bounded(1).0,
            signals: bounded(1).0,
            shutdown: bounded(1).0,
            raised: never(),
            containers: Containers::new("p", "n"),
            own_id: String::new(),
            settings: Arc::clone(&settings),
            log_progress: Arc::clone(&log_progress),
            event_progress: Progress::new(|| {}),
            metrics: Arc::clone(&metrics),
        }
        .spawn(&bounded(NOTICES).0)
        .unwrap();
        Self {
            log,
            _events: events,
            own: Some(own),
            file,
            stdout,
            settings,
            log_progress,
            metrics,
            seq: 0,
            _thread: thread,
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
        let batch = LogBatch {
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

/// Processor time of the threads of this name, in ticks (10 ms).
fn ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        (name == "nats-subscript\n").then(|| std::fs::read_to_string(task.join("stat")).unwrap())
    });
    stats
        .map(|stat| {
            // proc_pid_stat(5): utime and stime are the 12th and 13th after the name.
            let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
            fields
                .take(2)
                .map(|field| field.parse::<u64>().unwrap())
                .sum::<u64>()
        })
        .sum()
}

#[test]
fn lines_do_not_overtake_those_that_stdout_may_hand_to_the_file() {
    let mut rig = Rig::start();
    rig.mode(LoggingMode::Stdout);
    rig.line();
    assert_eq!(rig.stdout.recv_timeout(PATIENCE).unwrap().seq, 1);
    rig.mode(LoggingMode::File);
    rig.line();
    assert_eq!(rig.stdout.recv_timeout(PATIENCE).unwrap().seq, 2);
    rig.log_progress.done(Lane::Stdout, 2);
    rig.line();
    assert_eq!(rig.file.recv_timeout(PATIENCE).unwrap().seq, 3);
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
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    let ticks = ticks() - before;
    assert!(ticks < 10, "{ticks} ticks of 10 ms in 500 ms");
}
