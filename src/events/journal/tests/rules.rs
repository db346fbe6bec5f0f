//! What the journal promises, one test a promise.

use super::*;

#[test]
fn records_come_out_as_they_went_in_once_they_are_committed() {
    let mut rig = Rig::new(SMALL);
    assert_eq!(rig.reader().next().unwrap(), None);
    rig.try_append().unwrap();
    assert_eq!(rig.reader().next().unwrap(), None);
    rig.try_commit().unwrap();
    let record = rig.reader().next().unwrap().unwrap();
    assert_eq!((record.seq, record.kind), (1, Kind::Event));
    rig.writer().append(Kind::Raised, b"{}", 5).unwrap();
    rig.try_commit().unwrap();
    let record = rig.reader().next().unwrap().unwrap();
    let want = Record {
        seq: 2,
        time_ms: 5,
        kind: Kind::Raised,
        payload: b"{}".to_vec(),
    };
    assert_eq!(record, want);
    assert_eq!(rig.reader().next().unwrap(), None);
}

#[test]
fn a_rewind_begins_behind_the_last_acknowledged_record() {
    let mut rig = Rig::new(SMALL);
    rig.fill(50);
    for acked in [0, 1, 7, 8, 30, 50] {
        rig.reader().rewind();
        let rest = rig.rest();
        assert_eq!(rest.first().copied().unwrap_or(51), {
            let before: u64 = 50 - rest.len() as u64;
            before + 1
        });
        rig.reader().ack(acked).unwrap();
        rig.reader().rewind();
        assert_eq!(rig.rest(), (acked + 1..=50).collect::<Vec<_>>());
    }
}

#[test]
fn after_a_restart_all_that_was_not_acknowledged_comes_again_and_numbers_go_on() {
    let mut rig = Rig::new(SMALL);
    for acked in [0, 3, 25, 26, 60, 100] {
        while rig.appended < 100 && rig.appended < acked + 40 {
            rig.fill(1);
        }
        rig.rest();
        rig.reader().ack(acked).unwrap();
        rig.open();
        let waiting = rig.appended - acked;
        assert_eq!(rig.depth() as u64, waiting);
        assert_eq!(rig.metrics.events.stored.get(), waiting);
        assert_eq!(rig.rest(), (acked + 1..=rig.appended).collect::<Vec<_>>());
    }
    assert_eq!(rig.try_append().unwrap(), 101);
    rig.try_commit().unwrap();
    assert_eq!(rig.rest(), [101]);
}

#[test]
fn a_segment_goes_when_all_of_it_is_acknowledged_and_it_is_not_the_last() {
    let mut rig = Rig::new(SMALL);
    rig.fill(100);
    let all = rig.segments().len();
    assert!(all > 5);
    rig.rest();
    rig.reader().ack(1).unwrap();
    assert_eq!(rig.segments().len(), all);
    rig.reader().ack(50).unwrap();
    let some = rig.segments().len();
    assert!(some < all && some > 1, "{some} of {all}");
    rig.reader().ack(100).unwrap();
    assert_eq!(rig.segments().len(), 1);
    let bytes: u64 = rig
        .segments()
        .iter()
        .map(|s| fs::metadata(s).unwrap().len())
        .sum();
    assert_eq!(rig.metrics.events.journal_bytes.get() as u64, bytes);
    assert_eq!(rig.depth(), 0);
    rig.fill(100);
    assert_eq!(rig.rest(), (101..=200).collect::<Vec<_>>());
}

#[test]
fn a_full_journal_says_so_stays_within_its_size_and_has_room_again_after_an_acknowledgement() {
    let limits = JournalLimits {
        bytes_max: 3000,
        ..SMALL
    };
    let mut rig = Rig::new(limits);
    for round in 0..20 {
        loop {
            match rig.try_append() {
                Ok(_) => {}
                Err(AppendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        rig.try_commit().unwrap();
        let bytes: u64 = rig
            .segments()
            .iter()
            .map(|s| fs::metadata(s).unwrap().len())
            .sum();
        assert!(bytes <= 3000 && bytes > 2000, "{bytes}");
        if round % 3 == 0 {
            rig.open();
        }
        assert!(matches!(rig.try_append(), Err(AppendError::Full)));
        assert!(rig.writer().room().try_recv().is_err());
        let rest = rig.rest();
        rig.reader().ack(rest[rest.len() / 2]).unwrap();
        assert_eq!(rig.writer().room().try_recv(), Ok(()));
        rig.try_append().unwrap();
        rig.reader().rewind();
    }
    assert!(rig.appended > 300);
}

#[test]
fn a_record_of_the_largest_size_fits_and_a_larger_one_is_refused() {
    let mut rig = Rig::new(JournalLimits::new(8 << 20, Fsync::Never));
    let largest = vec![b'x'; limits::JOURNAL_RECORD_BYTES];
    for seq in 1..=20 {
        assert_eq!(rig.writer().append(Kind::Event, &largest, 1).unwrap(), seq);
        rig.try_commit().unwrap();
        assert_eq!(rig.reader().next().unwrap().unwrap().payload, largest);
        rig.reader().ack(seq).unwrap();
    }
    let error = rig
        .writer()
        .append(Kind::Event, &[&largest[..], b"x"].concat(), 1);
    assert!(matches!(error, Err(AppendError::TooLarge { .. })));
    assert_eq!(rig.segments().len(), 1);
    assert!(rig.disk.plan().writes.iter().all(|&bytes| bytes < 2 << 20));
}

#[test]
fn one_commit_is_one_write_of_the_segment() {
    let mut rig = Rig::new(JournalLimits::new(8 << 20, Fsync::Never));
    rig.fill(1);
    rig.disk.plan().writes.clear();
    let calls = rig.disk.plan().calls;
    rig.fill(1000);
    assert_eq!(rig.disk.plan().writes.len(), 1);
    assert_eq!(rig.disk.plan().calls, calls + 1);
    rig.try_commit().unwrap();
    assert_eq!(rig.disk.plan().calls, calls + 1);
}

#[test]
fn much_that_is_appended_without_a_commit_does_not_stay_in_memory() {
    let mut rig = Rig::new(JournalLimits::new(64 << 20, Fsync::Never));
    let kib = [0; 1024];
    for _ in 0..20_000 {
        rig.writer().append(Kind::Event, &kib, 1).unwrap();
    }
    assert!(rig.writer().uncommitted() <= limits::JOURNAL_BUFFER_BYTES as u64 / 1024);
    rig.try_commit().unwrap();
    assert_eq!(rig.writer().uncommitted(), 0);
    assert_eq!(rig.depth(), 20_000);
}

#[test]
fn a_second_owner_is_told_who_the_first_one_is_and_what_to_do() {
    let rig = Rig::new(SMALL);
    let metrics = Arc::new(Metrics::new("p").unwrap());
    let error = open(&rig.path(), SMALL, &metrics).err().unwrap();
    let text = error.to_string();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{text}"
    );
    for word in [
        "in use",
        &format!("process {}", std::process::id()),
        "CIM_STATE_DIR",
    ] {
        assert!(text.contains(word), "{text}");
    }
    drop(rig);
}

#[test]
fn each_end_alone_keeps_the_directory() {
    let mut rig = Rig::new(SMALL);
    for keep_writer in [true, false] {
        let (writer, reader) = rig.ends.take().unwrap();
        let kept: Box<dyn std::any::Any> = if keep_writer {
            drop(reader);
            Box::new(writer)
        } else {
            drop(writer);
            Box::new(reader)
        };
        assert!(matches!(rig.try_open(), Err(OpenError::InUse { .. })));
        drop(kept);
        rig.open();
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let metrics = Arc::new(Metrics::new("p").unwrap());
    for path in [file.clone(), file.join("below")] {
        let error = open(&path, SMALL, &metrics).err().unwrap();
        assert!(matches!(error, OpenError::Directory { .. }));
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn the_ends_wake_each_other_and_notice_when_one_is_gone() {
    let mut rig = Rig::new(SMALL);
    assert!(rig.reader().fresh().try_recv().is_err());
    rig.fill(3);
    rig.fill(3);
    assert_eq!(rig.reader().fresh().try_recv(), Ok(()));
    assert!(rig.reader().fresh().try_recv().is_err(), "one wake-up");
    let (writer, reader) = rig.ends.take().unwrap();
    drop(writer);
    assert_eq!(
        reader.fresh().try_recv(),
        Err(crossbeam_channel::TryRecvError::Disconnected)
    );
}

#[test]
fn syncs_are_those_of_the_policy() {
    // Calls of a commit of one record into a segment that is open: the write, and what syncs.
    for (fsync, first, second) in [
        (Fsync::Never, 0, 0),
        (Fsync::Always, 1, 1),
        (Fsync::Interval, 0, 1),
    ] {
        let mut rig = Rig::new(JournalLimits { fsync, ..SMALL });
        rig.fill(1);
        rig.now += Duration::from_secs(2);
        rig.try_commit().unwrap();
        for (wait, syncs) in [(0, first), (500, first), (1100, second)] {
            rig.try_append().unwrap();
            let calls = rig.disk.plan().calls;
            rig.now += Duration::from_millis(wait);
            rig.try_commit().unwrap();
            assert_eq!(rig.disk.plan().calls - calls, 1 + syncs, "{fsync:?} {wait}");
        }
        assert_eq!(
            rig.writer().deadline(),
            None,
            "{fsync:?}: nothing is unsynced"
        );
    }
}

#[test]
fn an_idle_journal_is_synced_too() {
    let mut rig = Rig::new(JournalLimits {
        fsync: Fsync::Interval,
        ..SMALL
    });
    rig.fill(1);
    let deadline = rig.writer().deadline().unwrap();
    assert!(deadline <= rig.now + limits::JOURNAL_SYNC);
    rig.now = deadline;
    let calls = rig.disk.plan().calls;
    rig.try_commit().unwrap();
    // The segment and, as it is new, the directory.
    assert_eq!(rig.disk.plan().calls, calls + 2);
    assert_eq!(rig.writer().deadline(), None);
}

#[test]
fn the_age_of_the_oldest_is_that_of_the_first_that_is_not_acknowledged() {
    let age = |rig: &Rig| {
        let text = String::from_utf8(rig.metrics.render().unwrap()).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("cim_journal_oldest_seconds{"));
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let mut rig = Rig::new(SMALL);
    assert_eq!(age(&rig), 0.0);
    let now = crate::clock::now_ms();
    for seconds in [100, 50, 10] {
        rig.writer()
            .append(Kind::Event, b"x", now - seconds * 1000)
            .unwrap();
    }
    rig.try_commit().unwrap();
    let near = |rig: &Rig, seconds: f64| (age(rig) - seconds).abs() < 5.0;
    assert!(near(&rig, 100.0), "{}", age(&rig));
    while rig.reader().next().unwrap().is_some() {}
    rig.reader().ack(1).unwrap();
    assert!(near(&rig, 50.0), "{}", age(&rig));
    rig.open();
    assert!(near(&rig, 50.0), "{}", age(&rig));
    while rig.reader().next().unwrap().is_some() {}
    rig.reader().ack(3).unwrap();
    assert_eq!(age(&rig), 0.0);
}

#[test]
fn a_copy_of_the_directory_at_any_moment_has_all_that_was_committed() {
    let mut rig = Rig::new(SMALL);
    let mut acked = 0;
    for step in 0..60 {
        for _ in 0..step % 5 {
            rig.try_append().unwrap();
        }
        if step % 3 != 0 {
            rig.try_commit().unwrap();
        }
        if step % 4 == 0 {
            let last = rig.rest().last().copied().unwrap_or(acked + 3);
            acked = last.saturating_sub(3).max(acked);
            rig.reader().ack(acked).unwrap();
        }
        let committed = rig.appended - rig.writer().uncommitted();
        let copy = Rig {
            dir: tempfile::tempdir().unwrap(),
            disk: TestDisk::new(),
            limits: SMALL,
            metrics: Arc::clone(&rig.metrics),
            ends: None,
            now: rig.now,
            appended: 0,
        };
        fs::create_dir(copy.path()).unwrap();
        for file in fs::read_dir(rig.path()).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
        }
        let mut copy = copy;
        copy.open();
        assert_eq!(
            copy.rest(),
            (acked + 1..=committed).collect::<Vec<_>>(),
            "step {step}"
        );
    }
    assert!(acked > 50);
}

#[test]
fn a_journal_that_was_opened_with_a_smaller_size_is_full_until_it_is_drained() {
    let mut rig = Rig::new(SMALL);
    rig.fill(100);
    rig.limits.bytes_max = 1500;
    rig.open();
    assert!(matches!(rig.try_append(), Err(AppendError::Full)));
    assert_eq!(rig.rest().len(), 100);
    rig.reader().ack(100).unwrap();
    rig.fill(1);
}
