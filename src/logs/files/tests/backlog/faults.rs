//! Calls on the marks, and on the log files, that fail.

use rustix::io::Errno;

use super::*;
use crate::logs::disk::testing::Fault;

const SMALL: FileLimits = FileLimits {
    file_bytes: 100,
    ..ROOMY
};

/// Two containers, rotations, line ends inside, half of it delivered at once. Returns what was sent to each.
fn script(sender: &mut Sender) -> BTreeMap<String, Vec<String>> {
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for n in 0..8 {
        let name = if n % 3 == 0 { "b" } else { "a" };
        let lines: Vec<String> = (0..3)
            .map(|k| format!("{n:03}.{k}:{}", if k == 1 { "x\ny" } else { "zzz" }))
            .collect();
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        sender.write(name, &bytes);
        sent.entry(name.to_owned()).or_default().extend(lines);
        sender.rig.pass(limits::FILE_TRY_AGAIN / 2);
        if n % 2 == 0 && sender.read(60) {
            sender.deliver(2);
            sender.in_flight.clear();
            sender.replay.rewind();
        }
    }
    sent
}

const FAULTS: [Fault; 2] = [Fault::Error(Errno::ACCESS), Fault::Torn(Errno::NOSPC)];

/// What has arrived is what was sent, in order; lines with line ends may have become several.
fn check(sender: &mut Sender, sent: &BTreeMap<String, Vec<String>>, what: &str) {
    for (name, sent) in sent {
        let pieces = |lines: &[String]| -> Vec<String> {
            let pieces = lines.iter().flat_map(|line| line.split('\n'));
            pieces.map(str::to_owned).collect()
        };
        let arrived = sender.take_arrived(name);
        assert_eq!(pieces(&arrived), pieces(sent), "{what}: {name}");
    }
    sender.rig.turn(false);
    assert!(sender.backlog.is_empty());
}

#[test]
fn any_one_call_on_the_marks_may_fail_and_every_line_arrives_once_in_order() {
    for fault in FAULTS {
        for n in 0.. {
            let mut sender = Sender::new(SMALL);
            sender.marks.plan().fault = fault;
            let calls = sender.marks.plan().calls;
            sender.marks.plan().fail = calls + n..calls + n + 1;
            let what = format!("call {n} {fault:?}");
            let sent = script(&mut sender);
            assert_eq!(sender.rig.dropped(), 0, "{what}");
            sender.drain();
            check(&mut sender, &sent, &what);
            assert_eq!(sender.lost_in_all(), 0, "{what}");
            if sender.marks.plan().calls <= calls + n {
                assert!(n > 20, "the script ran through with {n} calls");
                break;
            }
            // A torn write into a directory that is not there yet has not begun.
            let errors = sender.rig.errors("mark");
            assert!(
                errors == 1 || matches!(fault, Fault::Torn(_)) && errors == 0,
                "{what}"
            );
        }
    }
}

#[test]
fn marks_that_can_never_be_stored_keep_nothing_from_being_written_and_sent() {
    for fault in FAULTS {
        let mut sender = Sender::new(SMALL);
        sender.marks.plan().fault = fault;
        sender.marks.plan().fail = 0..u64::MAX;
        let sent = script(&mut sender);
        assert_eq!(sender.rig.dropped(), 0);
        assert!(sender.rig.errors("mark") > 2);
        sender.drain();
        check(&mut sender, &sent, &format!("{fault:?}"));
    }
}

#[test]
fn a_kill_at_any_call_on_the_marks_loses_no_line() {
    // The disk of the marks stops at a call, as a kill does, and so does everything else soon after.
    for n in 0.. {
        let mut sender = Sender::new(SMALL);
        sender.write("a", &[b"first"]);
        let calls = sender.marks.plan().calls;
        sender.marks.plan().fail = calls + n..u64::MAX;
        let mut sent = vec!["first".to_owned()];
        let mut stopped = false;
        for k in 0..12 {
            let line = format!("{k:03}:x\ny {}", "z".repeat(20));
            let read = sender.read(40);
            if read {
                sender.deliver(1);
                sender.rig.pass(limits::BACKLOG_STORE_INTERVAL);
            }
            sender.in_flight.clear();
            sender.replay.rewind();
            if sender.marks.plan().calls > calls + n {
                stopped = true;
                break;
            }
            sender.write("a", &[line.as_bytes()]);
            // Killed in the middle of it, nobody was told that the line is stored.
            if sender.marks.plan().calls > calls + n {
                stopped = true;
                break;
            }
            sent.push(line);
        }
        sender.kill();
        sender.drain();
        let arrived = sender.take_arrived("a");
        let text = arrived.join("\n");
        for line in &sent {
            assert!(text.contains(line.as_str()), "call {n}: {line} in {text}");
        }
        if !stopped {
            assert!(n > 20, "{n}");
            break;
        }
    }
}

#[test]
fn any_one_call_on_the_log_files_may_fail_and_every_line_arrives_once_in_order() {
    for fault in [
        Fault::Short,
        Fault::Error(Errno::IO),
        Fault::Torn(Errno::NOSPC),
    ] {
        for n in 0.. {
            let calls = if matches!(fault, Fault::Torn(_)) {
                3
            } else {
                1
            };
            let mut sender = Sender::new(SMALL);
            sender.rig.disk.plan().fault = fault;
            sender.rig.disk.plan().fail = n..n + calls;
            let what = format!("call {n} {fault:?}");
            let sent = script(&mut sender);
            assert_eq!(sender.rig.dropped(), 0, "{what}");
            sender.rig.disk.repair();
            sender.drain();
            // No space: a backup went instead of a line.
            let lost = sender.lost_in_all();
            if lost == 0 {
                check(&mut sender, &sent, &what);
            }
            assert!(lost == 0 || fault == Fault::Torn(Errno::NOSPC), "{what}");
            if sender.rig.disk.plan().calls < n {
                assert!(n > 30, "the script ran through with {n} calls");
                break;
            }
        }
    }
}
