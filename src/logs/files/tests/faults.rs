//! Calls that fail, and space that ends.

use rustix::io::Errno;

use super::*;
use crate::logs::disk::testing::Fault;

const SMALL: FileLimits = FileLimits {
    file_bytes: 200,
    ..ROOMY
};

type Sent = BTreeMap<String, Vec<String>>;

/// Two containers, rotations, numbered lines of different sizes. Returns what was sent to each.
fn script(rig: &mut Rig, mut after_each: impl FnMut(&mut Rig)) -> Sent {
    let mut sent = Sent::new();
    for n in 0..24 {
        let name = if n % 3 == 0 { "b" } else { "a" };
        let lines: Vec<String> = (0..3)
            .map(|k| format!("{n:03}.{k}:{}", "x".repeat(n * 7 % 50)))
            .collect();
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        rig.append(name, &bytes);
        sent.entry(format!("p_n_{name}-"))
            .or_default()
            .extend(lines);
        if n % 2 == 0 {
            rig.settle();
        } else {
            rig.turn(false);
        }
        rig.pass(Duration::from_millis(3));
        after_each(rig);
    }
    rig.settle();
    sent
}

/// The lines in the files are lines that were sent, whole, once, in order; and as many as were counted.
fn check(rig: &Rig, sent: &Sent, what: &str) {
    let mut found = 0;
    for (stem, files) in contents(&rig.path()) {
        let mut expected = sent[&stem].iter();
        for file in files {
            let file = String::from_utf8(file).unwrap();
            assert!(
                file.is_empty() || file.ends_with('\n'),
                "{what}: torn end of {stem}"
            );
            for line in file.lines() {
                found += 1;
                assert!(
                    expected.any(|sent| sent == line),
                    "{what}: {stem}: torn, doubled or out of order: {line}"
                );
            }
        }
    }
    if rig.removed("space") == 0 {
        assert_eq!(found, rig.metrics.lines_to_file.get(), "{what}");
        assert_eq!(found + rig.dropped(), rig.lines_in, "{what}");
    }
}

const FAULTS: [Fault; 9] = [
    Fault::Short,
    Fault::Error(Errno::NOSPC),
    Fault::Error(Errno::IO),
    Fault::Error(Errno::ROFS),
    Fault::Error(Errno::ACCESS),
    Fault::Error(Errno::FBIG),
    Fault::Error(Errno::INTR),
    Fault::Torn(Errno::NOSPC),
    Fault::Torn(Errno::IO),
];

#[test]
fn any_one_call_may_fail_and_nothing_is_lost() {
    for fault in FAULTS {
        for n in 0.. {
            let mut rig = Rig::new(SMALL);
            let calls = if matches!(fault, Fault::Torn(_)) {
                3
            } else {
                1
            };
            rig.disk.plan().fault = fault;
            rig.disk.plan().fail = n..n + calls;
            let sent = script(&mut rig, |_| {});
            let what = format!("call {n} {fault:?}");
            check(&rig, &sent, &what);
            assert_eq!(rig.dropped(), 0, "{what}");
            assert_eq!(rig.failing(), 0, "{what}");
            if rig.disk.plan().calls < n {
                assert!(n > 50, "the script ran through with {n} calls");
                break;
            }
        }
    }
}

#[test]
fn every_call_may_fail_from_any_point_on_for_a_while() {
    for fault in FAULTS {
        if matches!(fault, Fault::Short | Fault::Error(Errno::INTR)) {
            continue;
        }
        for n in 0.. {
            let mut rig = Rig::new(SMALL);
            rig.disk.plan().fault = fault;
            rig.disk.plan().fail = n..u64::MAX;
            let start = rig.now.instant;
            let sent = script(&mut rig, |rig| {
                if rig.now.instant - start > limits::SINK_STALL {
                    rig.disk.repair();
                    rig.pass(limits::FILE_TRY_AGAIN);
                }
            });
            let what = format!("from call {n} on {fault:?}");
            rig.disk.repair();
            rig.pass(limits::FILE_TRY_AGAIN);
            let last = "zzz".to_owned();
            let mut sent = sent;
            for name in ["a", "b"] {
                rig.append(name, &[last.as_bytes()]);
                sent.get_mut(&format!("p_n_{name}-"))
                    .unwrap()
                    .push(last.clone());
            }
            rig.settle();
            check(&rig, &sent, &what);
            if rig.disk.plan().calls < n {
                break;
            }
        }
    }
}

#[test]
fn lines_wait_for_a_disk_that_comes_back_in_time() {
    let mut rig = Rig::new(ROOMY);
    rig.disk.break_with(Errno::ROFS);
    rig.append("app", &[b"1"]);
    rig.turn(true);
    assert!(rig.files.is_holding());
    assert_eq!(rig.failing(), 1);
    rig.pass(limits::SINK_STALL - Duration::from_millis(1));
    rig.turn(true);
    assert!(rig.files.is_holding());
    rig.disk.repair();
    rig.turn(true);
    assert!(!rig.files.is_holding());
    assert_eq!((rig.read("app").as_str(), rig.dropped()), ("1\n", 0));
    assert_eq!(rig.failing(), 0);
    assert!(rig.errors("open") >= 2);
}

#[test]
fn a_failing_disk_holds_once_then_drops_and_is_tried_once_a_second() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"0"]);
    rig.disk.break_with(Errno::IO);
    let ack = Outcome::default();
    rig.append_acked("app", &[b"1", b"2"], Some(&ack));
    rig.settle();
    assert_eq!(rig.metrics.dropped(DropReason::IoError).get(), 2);
    assert_eq!(ack.failure(), Some(Failure::NotWritten));

    let calls = rig.disk.plan().calls;
    let ack = Outcome::default();
    rig.append_acked("app", &[b"3"], Some(&ack));
    rig.turn(true);
    assert_eq!(ack.failure(), Some(Failure::NotWritten));
    assert_eq!(rig.disk.plan().calls, calls, "not tried");
    // Another container meets the same: it does not hold again.
    rig.append("other", &[b"4"]);
    rig.turn(true);
    assert!(!rig.files.is_holding());
    assert_eq!(rig.dropped(), 4);

    rig.pass(limits::FILE_TRY_AGAIN);
    rig.append("app", &[b"5"]);
    rig.turn(false);
    assert_eq!(rig.dropped(), 5);
    assert!(rig.disk.plan().calls > calls, "tried");

    rig.disk.repair();
    rig.pass(limits::FILE_TRY_AGAIN);
    let ack = Outcome::default();
    rig.append_acked("app", &[b"6"], Some(&ack));
    rig.turn(false);
    assert_eq!((rig.read("app").as_str(), ack.failure()), ("0\n6\n", None));
}

#[test]
fn the_acknowledged_line_alone_decides() {
    let limits = FileLimits {
        file_bytes: 4,
        ..ROOMY
    };
    let mut rig = Rig::new(limits);
    let (first, second) = (Outcome::default(), Outcome::default());
    rig.append_acked("app", &[b"1"], Some(&first));
    rig.append_acked("app", &[b"2", b"3"], Some(&second));
    // One file takes two lines; what comes after its write fails.
    let mut probe = Rig::new(limits);
    probe.append("app", &[b"1", b"2"]);
    probe.files.turn(true, probe.now);
    // The last calls: write, stat, and the listing of the first sweep.
    rig.disk.plan().fail = probe.disk.plan().calls - 1..u64::MAX;
    rig.settle();
    assert_eq!(rig.metrics.lines_to_file.get(), 2);
    assert_eq!(first.failure(), None);
    assert_eq!(second.failure(), Some(Failure::NotWritten));
}

#[test]
fn a_full_disk_takes_the_oldest_backups_of_all_containers() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 100,
        ..ROOMY
    });
    rig.disk.plan().budget = Some((rig.path(), 1000));
    let line: &[u8] = &[b'x'; 49];
    for n in 0..40 {
        rig.write(if n % 4 == 0 { "a" } else { "b" }, &[line]);
        rig.pass(Duration::from_millis(5));
    }
    assert_eq!(rig.dropped(), 0);
    assert!(rig.removed("space") > 5);
    let all = contents(&rig.path());
    let bytes: usize = all.values().flatten().map(Vec::len).sum();
    assert!((800..=1000).contains(&bytes), "{bytes}");
    for file in all.values().flatten() {
        assert_eq!(file.len() % 50, 0, "no torn line");
    }
}

#[test]
fn a_full_disk_without_backups_drops_and_recovers() {
    let mut rig = Rig::new(ROOMY);
    rig.disk.plan().budget = Some((rig.path(), 120));
    let line: &[u8] = &[b'x'; 49];
    rig.append("app", &[line; 3]);
    rig.settle();
    assert_eq!(rig.metrics.lines_to_file.get(), 2);
    assert_eq!(rig.metrics.dropped(DropReason::NoSpace).get(), 1);
    let len = |rig: &Rig| fs::read(rig.live("app")).unwrap().len();
    assert_eq!(len(&rig), 100, "the torn part is cut off");
    rig.disk.plan().budget = None;
    rig.pass(limits::FILE_TRY_AGAIN);
    rig.write("app", &[line]);
    assert_eq!(len(&rig), 150);
}

#[test]
fn a_file_size_limit_below_ours_rotates() {
    let mut rig = Rig::new(ROOMY);
    rig.disk.plan().file_bytes_max = 120;
    let line: &[u8] = &[b'x'; 49];
    rig.append("app", &[line; 5]);
    rig.settle();
    assert_eq!(rig.dropped(), 0);
    let files = &contents(&rig.path())["p_n_app-"];
    let lens: Vec<usize> = files.iter().map(Vec::len).collect();
    assert_eq!(lens, [100, 100, 50]);
    // A line that no file can take is dropped, the others are not.
    rig.append("app", &[&[b'y'; 200]]);
    rig.settle();
    assert_eq!(rig.metrics.dropped(DropReason::NoSpace).get(), 1);
    rig.pass(limits::FILE_TRY_AGAIN);
    rig.write("app", &[line]);
    assert_eq!(rig.dropped(), 1);
}
