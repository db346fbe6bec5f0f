//! Somebody else changes the files of a backlog, or its marks.

use super::*;

fn mark(sender: &Sender) -> PathBuf {
    let dir = sender.rig.dir.path();
    dir.join("state/backlog/p_n_app-.mark")
}

#[test]
fn a_removed_file_costs_its_lines_and_what_comes_after_is_sent() {
    for kill in [false, true] {
        let mut sender = Sender::new(ROOMY);
        sender.write("app", &[b"1", b"2"]);
        fs::remove_file(sender.rig.live("app")).unwrap();
        if kill {
            sender.kill();
        }
        sender.write("app", &[b"3"]);
        sender.drain();
        assert_eq!(sender.take_arrived("app"), ["3"], "{kill}");
        // After a restart it is only known that there were some.
        assert_eq!(sender.lost("removed"), if kill { 1 } else { 2 });
        sender.rig.turn(false);
        assert_eq!((sender.log_files().len(), sender.kept().len()), (0, 0));
    }
}

#[test]
fn a_file_that_was_cut_costs_its_lines() {
    for kill in [false, true] {
        let mut sender = Sender::new(ROOMY);
        sender.write("app", &[b"1", b"2", b"3"]);
        assert!(sender.read(2));
        sender.deliver(1);
        fs::write(sender.rig.live("app"), "").unwrap();
        if kill {
            sender.kill();
        }
        assert!(!sender.read(100), "{kill}");
        assert!(sender.lost("removed") > 0);
        sender.write("app", &[b"4"]);
        sender.drain();
        assert_eq!(sender.take_arrived("app"), ["1", "4"]);
        sender.rig.turn(false);
        assert_eq!((sender.log_files().len(), sender.kept().len()), (0, 0));
    }
}

#[test]
fn a_file_that_is_cut_before_the_next_write_is_noticed_by_the_writer() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1", b"2", b"3"]);
    fs::write(sender.rig.live("app"), "").unwrap();
    sender.write("app", &[b"4\n4", b"5"]);
    assert_eq!(sender.lost("removed"), 3);
    sender.drain();
    // The list of whole lines is given up with the rest.
    assert_eq!(sender.take_arrived("app"), ["4", "4", "5"]);
}

#[test]
fn lines_that_somebody_else_adds_cost_none_of_ours() {
    use std::io::Write;
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    let add = |sender: &Sender| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.append(true).open(sender.rig.live("app")).unwrap();
        file.write_all(b"foreign\n").unwrap();
    };
    add(&sender);
    sender.write("app", &[b"2"]);
    sender.write("app", &[b"3"]);
    sender.drain();
    let arrived = sender.take_arrived("app");
    let ours: Vec<&String> = arrived.iter().filter(|line| *line != "foreign").collect();
    assert_eq!(ours, ["1", "2", "3"]);
    // A file that holds what is not ours stays.
    add(&sender);
    sender.rig.turn(false);
    assert_eq!((sender.log_files().len(), sender.kept().len()), (1, 0));
}

#[test]
fn a_file_that_is_moved_away_costs_its_lines() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    fs::rename(sender.rig.live("app"), sender.rig.path().join("elsewhere")).unwrap();
    sender.write("app", &[b"2"]);
    sender.drain();
    assert_eq!(sender.lost_in_all() + sender.taken_off, 2);
    sender.write("app", &[b"3"]);
    sender.drain();
    assert_eq!(sender.take_arrived("app").last().unwrap(), "3");
}

#[test]
fn a_bad_mark_is_put_aside_and_its_lines_stay_in_the_file() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    let bytes = fs::read(mark(&sender)).unwrap();
    fs::write(mark(&sender), &bytes[..bytes.len() - 3]).unwrap();
    sender.kill();
    assert_eq!(sender.rig.errors("mark"), 1);
    assert!(sender.backlog.is_empty());
    assert_eq!(sender.kept(), ["p_n_app-.bad"]);
    sender.write("app", &[b"2"]);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["2"]);
    assert_eq!(sender.rig.read("app"), "1\n2\n");
}

#[test]
fn marks_of_another_pod_are_left_alone() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    let other = sender.rig.dir.path().join("state/backlog/q_n_app-.mark");
    fs::write(&other, "whatever").unwrap();
    sender.kill();
    sender.drain();
    sender.rig.turn(false);
    assert_eq!(sender.kept(), ["q_n_app-.mark"]);
    assert_eq!(sender.rig.errors("mark"), 0);
}

#[test]
fn a_directory_that_cannot_be_read_costs_the_marks_not_the_start() {
    let mut sender = Sender::new(ROOMY);
    let state = sender.rig.dir.path().join("state");
    fs::write(&state, "a file").unwrap();
    sender.kill();
    sender.write("app", &[b"1"]);
    assert!(sender.rig.errors("mark") > 0);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["1"]);
}

#[test]
fn a_removed_or_broken_list_only_splits_lines() {
    for bytes in [None, Some(&b"nonsense"[..]), Some(&[0xff; 40])] {
        let mut sender = Sender::new(ROOMY);
        sender.write("app", &[b"1\n1", b"2", b"3\n3"]);
        let kept = sender.kept();
        let list = kept.iter().find(|name| name.ends_with(".whole")).unwrap();
        let list = sender.rig.dir.path().join("state/backlog").join(list);
        match bytes {
            Some(bytes) => fs::write(list, bytes).unwrap(),
            None => fs::remove_file(list).unwrap(),
        }
        sender.kill();
        sender.write("app", &[b"4\n4"]);
        sender.drain();
        assert_eq!(
            sender.take_arrived("app"),
            ["1", "1", "2", "3", "3", "4\n4"],
            "{bytes:?}"
        );
        assert!(sender.backlog.is_empty());
    }
}
