//! Calls of the disk that fail.

use super::*;

const FAULTS: [Fault; 6] = [
    Fault::Short,
    Fault::Error(Errno::NOSPC),
    Fault::Error(Errno::IO),
    Fault::Error(Errno::INTR),
    Fault::Torn(Errno::NOSPC),
    Fault::Torn(Errno::IO),
];

/// What somebody was promised.
#[derive(Default)]
struct Told {
    /// Every record up to this one is stored.
    committed: u64,
    /// Every record up to this one is delivered, and the journal was told.
    acked: u64,
    /// The last one that came out.
    seen: u64,
}

/// Opens, then appends, commits, reads and acknowledges by turns, trying again what fails; rewinds where a sink would.
fn script(rig: &mut Rig, what: &str) -> Told {
    let mut told = Told::default();
    let mut tries = 0;
    let mut again = |what: &str| {
        tries += 1;
        assert!(tries < 50, "{what}: it never works again");
    };
    while let Err(error) = rig.try_open() {
        assert!(matches!(error, OpenError::Directory { .. }), "{error}");
        again(what);
    }
    for turn in 0..12 {
        for _ in 0..5 {
            while let Err(error) = rig.try_append() {
                assert!(matches!(error, AppendError::Disk(_)), "{what}: {error}");
                again(what);
            }
        }
        rig.now += Duration::from_millis(300);
        while rig.try_commit().is_err() {
            again(what);
        }
        told.committed = rig.appended;
        if turn == 7 {
            rig.reader().rewind();
            told.seen = told.acked;
        }
        loop {
            match rig.reader().next() {
                Ok(Some(record)) => {
                    assert_eq!(record.seq, told.seen + 1, "{what}");
                    assert_eq!(record.payload, payload(record.seq), "{what}");
                    told.seen = record.seq;
                }
                Ok(None) => break,
                Err(_) => again(what),
            }
        }
        assert_eq!(told.seen, told.committed, "{what}");
        if turn % 2 == 0 {
            told.acked = told.seen - 3;
            // A position that was not stored is stored with the next one.
            let _ = rig.reader().ack(told.acked);
        }
    }
    while rig.reader().ack(told.acked).is_err() {
        again(what);
    }
    told
}

/// What is there after a kill.
fn check(rig: &mut Rig, told: &Told, what: &str) {
    rig.disk.repair();
    rig.open();
    assert_eq!(
        rig.rest(),
        (told.acked + 1..=told.committed).collect::<Vec<_>>(),
        "{what}"
    );
    let kinds = ["torn_tail", "bad_record", "bad_segment"];
    assert_eq!(kinds.map(|kind| rig.damage(kind)), [0; 3], "{what}");
    assert_eq!(rig.lost(), 0, "{what}");
}

fn unopened(fsync: Fsync) -> Rig {
    Rig {
        dir: tempfile::tempdir().unwrap(),
        disk: TestDisk::new(),
        limits: JournalLimits { fsync, ..SMALL },
        metrics: Arc::new(Metrics::new("p").unwrap()),
        ends: None,
        now: Instant::now(),
        appended: 0,
    }
}

#[test]
fn any_one_call_may_fail_and_nothing_is_lost_torn_or_doubled() {
    let every = FAULTS.as_slice();
    let some = &[Fault::Error(Errno::IO), Fault::Torn(Errno::NOSPC)];
    for (fsync, faults) in [
        (Fsync::Never, every),
        (Fsync::Interval, some),
        (Fsync::Always, some),
    ] {
        for &fault in faults {
            let calls = 1 + 2 * u64::from(matches!(fault, Fault::Torn(_)));
            for n in 0.. {
                let mut rig = unopened(fsync);
                rig.disk.plan().fault = fault;
                rig.disk.plan().fail = n..n + calls;
                let what = format!("{fsync:?}, call {n}, {fault:?}");
                let told = script(&mut rig, &what);
                let ran = rig.disk.plan().calls;
                check(&mut rig, &told, &what);
                if ran < n {
                    assert!(n > 40, "the script ran through with {n} calls");
                    break;
                }
            }
        }
    }
}

#[test]
fn any_one_call_of_a_start_may_fail_and_nothing_is_lost() {
    for fault in FAULTS {
        for n in 0.. {
            let mut rig = Rig::new(SMALL);
            rig.fill(47);
            rig.rest();
            rig.reader().ack(20).unwrap();
            rig.ends = None;
            let calls = rig.disk.plan().calls;
            rig.disk.plan().fault = fault;
            rig.disk.plan().fail = calls + n..calls + n + 1;
            let what = format!("call {n}, {fault:?}");
            if rig.try_open().is_err() {
                // Making or listing the directory: the second start works.
                rig.open();
            }
            let ran = rig.disk.plan().calls - calls;
            rig.disk.repair();
            let mut got = Vec::new();
            while let Some(record) = rig.reader().next().unwrap() {
                assert_eq!(record.payload, payload(record.seq), "{what}");
                got.push(record.seq);
            }
            let first = got.first().copied().unwrap();
            assert!(first <= 21, "{what}: {got:?}");
            assert_eq!(got, (first..=47).collect::<Vec<_>>(), "{what}");
            let next = rig.writer().append(Kind::Event, b"x", 1).unwrap();
            assert!(next > 47, "{what}");
            rig.try_commit().unwrap();
            assert_eq!(rig.reader().next().unwrap().unwrap().seq, next, "{what}");
            rig.reader().ack(next).unwrap();
            assert_eq!(rig.depth(), 0, "{what}");
            if ran <= n {
                assert!(n > 10, "{n} calls");
                break;
            }
        }
    }
}

#[test]
fn a_kill_after_any_failed_write_leaves_all_that_was_committed() {
    for fault in [
        Fault::Short,
        Fault::Torn(Errno::NOSPC),
        Fault::Torn(Errno::IO),
    ] {
        for n in 0..60 {
            let mut rig = Rig::new(SMALL);
            rig.fill(7);
            let calls = rig.disk.plan().calls;
            rig.disk.plan().fault = fault;
            rig.disk.plan().fail = calls + n..u64::MAX;
            let mut committed = 7;
            for _ in 0..30 {
                if rig.try_append().is_err() {
                    break;
                }
                if rig.try_commit().is_ok() {
                    committed = rig.appended;
                }
            }
            rig.disk.repair();
            rig.open();
            let rest = rig.rest();
            assert!(rest.len() as u64 >= committed, "{fault:?} {n}");
            assert_eq!(rest, (1..=rest.len() as u64).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_full_disk_keeps_what_was_appended_and_goes_on_when_it_has_space() {
    let mut rig = Rig::new(SMALL);
    rig.fill(5);
    rig.disk.plan().budget = Some((rig.path(), 900));
    let mut appended = 5;
    while rig.try_append().is_ok() {
        appended += 1;
        let _ = rig.try_commit();
        assert!(appended < 100);
    }
    assert!(rig.writer().uncommitted() > 0);
    let errors = &rig.metrics.events.journal_errors;
    assert!(errors.with_label_values(&["write"]).get() > 0);
    rig.disk.plan().budget = None;
    rig.try_commit().unwrap();
    rig.fill(5);
    assert_eq!(rig.rest(), (1..=appended + 5).collect::<Vec<_>>());
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    let mut rig = Rig::new(JournalLimits {
        fsync: Fsync::Always,
        ..SMALL
    });
    rig.fill(1);
    rig.try_append().unwrap();
    let calls = rig.disk.plan().calls;
    rig.disk.plan().fail = calls + 1..calls + 2;
    assert!(rig.try_commit().is_err());
    assert_eq!(rig.reader().next().unwrap().map(|r| r.seq), Some(1));
    assert_eq!(rig.reader().next().unwrap(), None, "not committed");
    let written = rig.disk.plan().writes.clone();
    rig.try_commit().unwrap();
    let again = rig.disk.plan().writes.clone();
    assert_eq!(again.last(), written.last());
    assert_eq!(again.len(), written.len() + 1);
    assert_eq!(rig.rest(), [2]);
}

#[test]
fn a_segment_that_cannot_be_removed_is_removed_later() {
    let mut rig = Rig::new(JournalLimits {
        bytes_max: 1500,
        ..SMALL
    });
    while rig.try_append().is_ok() {}
    rig.try_commit().unwrap();
    let last = *rig.rest().last().unwrap();
    rig.disk.break_with(Errno::ACCESS);
    assert!(rig.reader().ack(last).is_err());
    assert!(rig.segments().len() > 1);
    assert!(matches!(rig.try_append(), Err(AppendError::Disk(_))));
    rig.disk.repair();
    rig.fill(3);
    assert!(rig.segments().len() <= 2);
}

#[test]
fn a_segment_that_the_disk_does_not_give_back_is_passed_over_and_kept() {
    let mut rig = Rig::new(SMALL);
    rig.fill(30);
    let first = rig.segments()[0].clone();
    let calls = rig.disk.plan().calls;
    rig.disk.plan().fail = calls..calls + u64::from(limits::JOURNAL_READ_TRIES);
    let mut failures = 0;
    let rest = loop {
        match rig.reader().next() {
            Err(_) => failures += 1,
            Ok(record) => {
                let mut rest = vec![record.unwrap().seq];
                rest.extend(rig.rest());
                break rest;
            }
        }
    };
    assert_eq!(failures, limits::JOURNAL_READ_TRIES - 1);
    assert!(rest[0] > 5 && rest.last() == Some(&30));
    assert_eq!(rig.lost(), rest[0] - 1);
    assert_eq!(rig.damage("bad_segment"), 1);
    rig.reader().ack(30).unwrap();
    assert_eq!(rig.depth(), 0);
    assert!(!first.exists());
    assert!(rig.path().join("unreadable.seg").exists());
}
