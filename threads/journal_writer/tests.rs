//! The thread with real channels and real files.

use crossbeam_channel::{bounded, unbounded};
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::events::journal::{Fsync, JournalLimits, JournalReader, open_with};
use crate::logs::disk::testing::TestDisk;
use crate::tap::{Batch, Span};
use crate::threads::testing::eventually;

struct Rig {
    dir: TempDir,
    disk: TestDisk,
    batches: Option<Sender<Batch>>,
    raised: Option<Sender<RaisedEvent>>,
    stop: Option<Sender<Infallible>>,
    reader: JournalReader<TestDisk>,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    thread: JoinHandle<()>,
}

const ROOMY: JournalLimits = JournalLimits {
    bytes_max: 1 << 20,
    segment_bytes: 4096,
    fsync: Fsync::Never,
};
/// Some 30 small events.
const TIGHT: JournalLimits = JournalLimits {
    bytes_max: 1200,
    segment_bytes: 400,
    fsync: Fsync::Never,
};

impl Rig {
    fn new(limits: JournalLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = TestDisk::new();
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let (journal, reader) = open_with(disk.clone(), dir.path(), limits, &metrics).unwrap();
        let progress = Progress::new(|| {});
        let (batches, batches_in) = bounded(limits::JOURNAL_BATCHES);
        let (raised, raised_in) = bounded(limits::OWN_EVENTS);
        let (stop, stop_in) = bounded(0);
        let thread = JournalThread {
            batches: batches_in,
            raised: raised_in,
            stop: stop_in,
            journal,
            progress: Arc::clone(&progress),
            metrics: Arc::clone(&metrics),
        }
        .spawn(&unbounded().0)
        .unwrap();
        Self {
            dir,
            disk,
            batches: Some(batches),
            raised: Some(raised),
            stop: Some(stop),
            reader,
            progress,
            metrics,
            thread,
        }
    }

    fn send(&self, batch: Batch) {
        self.batches.as_ref().unwrap().send(batch).unwrap();
    }

    fn raise(&self, value: &str) {
        let event = RaisedEvent {
            key: "EVENT",
            value: value.into(),
        };
        self.raised.as_ref().unwrap().send(event).unwrap();
    }

    fn done(&self, seq: u64) {
        eventually(|| self.progress.done_on(Lane::Journal) >= seq);
    }

    /// What can be read now.
    fn read(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(record) = self.reader.next().unwrap() {
            all.push(String::from_utf8(record.payload).unwrap());
        }
        all
    }

    /// Reads and acknowledges until `count` events were read.
    fn drain(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        let start = Instant::now();
        while all.len() < count {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", all.len());
            let mut last = 0;
            while let Some(record) = self.reader.next().unwrap() {
                last = record.seq;
                all.push(String::from_utf8(record.payload).unwrap());
            }
            self.reader.ack(last).unwrap();
            let _ = self.reader.fresh().recv_timeout(Duration::from_millis(10));
        }
        all
    }

    fn close(&mut self) {
        self.batches = None;
        self.raised = None;
        self.stop = None;
    }

    fn given_up(&self) -> u64 {
        let dropped = &self.metrics.events.dropped;
        dropped.with_label_values(&["stop"]).get()
    }
}

fn batch(seq: u64, events: &[&str]) -> Batch {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for event in events {
        spans.push(Span {
            start: buffer.len() as u32,
            len: event.len() as u32,
        });
        buffer.extend_from_slice(event.as_bytes());
    }
    Batch {
        seq,
        buffer: buffer.into(),
        spans,
        flush: false,
        ack: None,
        acks: Vec::new(),
    }
}

#[test]
fn done_means_that_the_events_are_stored_and_the_reader_is_woken() {
    let mut rig = Rig::new(ROOMY);
    for seq in 1..=50 {
        let (a, b) = (format!("{seq}a"), format!("{seq}b"));
        rig.send(batch(seq, &[&a, &b]));
        let woken = rig.reader.fresh().recv_timeout(Duration::from_secs(20));
        assert_eq!(woken, Ok(()));
        rig.done(seq);
        assert_eq!(rig.read(), [a, b]);
    }
    assert_eq!(rig.metrics.events.stored.get(), 100);
    assert_eq!(rig.metrics.events.journal_records.get(), 100);
}

#[test]
fn a_batch_without_events_is_done_too() {
    let rig = Rig::new(ROOMY);
    rig.send(batch(7, &[]));
    rig.done(7);
}

#[test]
fn raised_events_are_stored_as_such() {
    let mut rig = Rig::new(ROOMY);
    rig.raise("{}");
    eventually(|| rig.metrics.events.journal_records.get() == 1);
    let record = rig.reader.next().unwrap().unwrap();
    assert_eq!(
        (record.kind, record.payload),
        (Kind::Raised, b"{}".to_vec())
    );
}

#[test]
fn when_the_senders_are_gone_everything_is_stored() {
    let mut rig = Rig::new(ROOMY);
    for seq in 1..=200 {
        rig.send(batch(seq, &[&seq.to_string()]));
    }
    rig.raise("{}");
    rig.close();
    rig.thread.join().unwrap();
    assert_eq!(rig.metrics.events.journal_records.get(), 201);
    assert_eq!(rig.progress.done_on(Lane::Journal), 200);
}

#[test]
fn a_full_journal_holds_the_sender_back_and_loses_nothing() {
    let mut rig = Rig::new(TIGHT);
    let count = 400;
    let names: Vec<String> = (0..count).map(|n| format!("event {n}")).collect();
    let sender = rig.batches.clone().unwrap();
    let mut sent = 0;
    // Until nothing more is taken.
    while sender
        .send_timeout(
            batch(sent + 1, &[&names[sent as usize]]),
            Duration::from_millis(300),
        )
        .is_ok()
    {
        sent += 1;
        assert!(sent < count, "nobody was held back");
    }
    assert!(rig.metrics.events.journal_full.get() == 1);
    let stored = rig.progress.done_on(Lane::Journal);
    assert!(stored > 10 && stored < sent, "{stored} of {sent} are done");
    assert_eq!(rig.metrics.events.journal_records.get() as u64, stored);
    // While it is full, raising is no wait.
    rig.raise("{\"raised\":1}");
    let rest = names.clone();
    let feeder = std::thread::spawn(move || {
        for n in sent..count {
            sender.send(batch(n + 1, &[&rest[n as usize]])).unwrap();
        }
    });
    let mut got = rig.drain(count as usize + 1);
    feeder.join().unwrap();
    let at = got.iter().position(|event| event.starts_with('{')).unwrap();
    assert!(
        at < sent as usize + 2 * limits::JOURNAL_BATCHES,
        "starved: {at}"
    );
    got.remove(at);
    assert_eq!(got, names);
    rig.done(count);
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing() {
    let mut rig = Rig::new(ROOMY);
    rig.send(batch(1, &["1"]));
    rig.done(1);
    rig.disk.break_with(Errno::NOSPC);
    rig.send(batch(2, &["2"]));
    let errors = || {
        let errors = &rig.metrics.events.journal_errors;
        errors.with_label_values(&["write"]).get()
    };
    eventually(|| errors() >= 3);
    rig.send(batch(3, &["3"]));
    assert_eq!(rig.progress.done_on(Lane::Journal), 1);
    rig.disk.repair();
    rig.done(3);
    assert_eq!(rig.read(), ["1", "2", "3"]);
}

#[test]
fn a_journal_that_stays_full_is_given_up_after_the_stop_and_nothing_is_acknowledged() {
    let mut rig = Rig::new(TIGHT);
    let ack = Outcome::default();
    for seq in 1..=limits::JOURNAL_BATCHES as u64 {
        rig.send(batch(seq, &["some event"; 5]));
    }
    eventually(|| rig.metrics.events.journal_full.get() == 1);
    let mut last = batch(100, &["the last event"]);
    last.acks.push((0, ack.clone()));
    rig.send(last);
    let start = Instant::now();
    rig.close();
    rig.thread.join().unwrap();
    let took = start.elapsed();
    assert!(took >= limits::JOURNAL_STOP_TIME && took < limits::JOURNAL_STOP_TIME * 3);
    let stored = rig.metrics.events.journal_records.get() as u64;
    assert_eq!(
        stored
            + rig
                .metrics
                .events
                .dropped
                .with_label_values(&["stop"])
                .get(),
        81
    );
    assert_eq!(ack.failure(), Some(Failure::NotWritten));
    assert!(rig.progress.done_on(Lane::Journal) < 100);
}

#[test]
fn a_disk_that_stays_away_ends_with_the_stop_too() {
    let mut rig = Rig::new(ROOMY);
    rig.disk.break_with(Errno::IO);
    let ack = Outcome::default();
    let mut first = batch(1, &["1", "2"]);
    first.acks.push((1, ack.clone()));
    rig.send(first);
    rig.close();
    let (metrics, thread) = (Arc::clone(&rig.metrics), rig.thread);
    thread.join().unwrap();
    let dropped = metrics.events.dropped.with_label_values(&["stop"]).get();
    assert_eq!((dropped, metrics.events.stored.get()), (2, 0));
    assert_eq!(ack.failure(), Some(Failure::NotWritten));
    drop(rig.dir);
}

#[test]
fn an_event_that_no_journal_takes_is_counted_and_the_next_one_stored() {
    let mut rig = Rig::new(JournalLimits::new(8 << 20, Fsync::Never));
    let ack = Outcome::default();
    let large = "x".repeat(limits::JOURNAL_RECORD_BYTES + 1);
    let mut both = batch(1, &[&large, "next"]);
    both.acks.push((0, ack.clone()));
    rig.send(both);
    rig.done(1);
    assert_eq!(rig.read(), ["next"]);
    assert_eq!(ack.failure(), Some(Failure::NotWritten));
    let dropped = &rig.metrics.events.dropped;
    assert_eq!(dropped.with_label_values(&["too_large"]).get(), 1);
    assert_eq!(rig.given_up(), 0);
}

#[test]
fn what_is_idle_is_synced_once_a_second() {
    let rig = Rig::new(JournalLimits {
        fsync: Fsync::Interval,
        ..ROOMY
    });
    rig.send(batch(1, &["1"]));
    rig.done(1);
    let calls = rig.disk.plan().calls;
    eventually(|| rig.disk.plan().calls == calls + 2);
}
