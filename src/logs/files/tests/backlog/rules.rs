//! What is marked, sent, and removed when.

use super::*;

#[test]
fn what_is_written_is_read_back_with_its_container_and_then_nothing_is_left() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1", b"", b"two\nlines", b"\xff"]);
    sender.write("other", &[b"o"]);
    assert!(!sender.backlog.is_empty());
    assert_eq!(sender.backlog.remaining().lines, 5);
    assert_eq!(sender.rig.metrics.remote.backlog_lines.get(), 5);
    assert!(sender.kept().contains(&"p_n_app-.mark".to_owned()));
    sender.drain();
    let payloads: Vec<&[u8]> = sender.arrived.iter().map(|line| &line.1[..]).collect();
    let want: [&[u8]; 5] = [b"1", b"", b"two\nlines", b"\xff", b"o"];
    assert_eq!(payloads, want);
    assert!(sender.backlog.is_empty());
    assert_eq!(sender.rig.metrics.remote.backlog_bytes.get(), 0);
    sender.rig.turn(false);
    assert_eq!(sender.log_files(), [] as [&str; 0]);
    assert_eq!(sender.kept(), [] as [&str; 0]);
    assert_eq!(sender.rig.removed("delivered"), 2);
    assert_eq!(sender.lost_in_all(), 0);
}

#[test]
fn a_file_that_holds_other_lines_is_not_removed_and_those_are_not_sent() {
    let mut sender = Sender::new(ROOMY);
    sender.rig.write("app", &[b"before"]);
    sender.rig.append("app", &[b"still before"]);
    sender.write("app", &[b"1"]);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["1"]);
    sender.rig.turn(false);
    assert_eq!(sender.kept(), [] as [&str; 0]);
    assert_eq!(sender.rig.read("app"), "before\nstill before\n1\n");
    // The next outage begins where the file ends.
    sender.rig.write("app", &[b"between"]);
    sender.write("app", &[b"2"]);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["2"]);
    sender.rig.turn(false);
    assert_eq!(
        sender.rig.read("app"),
        "before\nstill before\n1\nbetween\n2\n"
    );
}

#[test]
fn everything_behind_the_mark_is_sent_whatever_it_is() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    sender.rig.write("app", &[b"2"]);
    sender.append("app", &[b"3"]);
    sender.rig.append("app", &[b"4"]);
    sender.rig.settle();
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["1", "2", "3", "4"]);
}

#[test]
fn a_killed_cim_goes_on_behind_the_last_stored_position() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1", b"2", b"3\n3", b"4"]);
    sender.rig.pass(limits::BACKLOG_STORE_INTERVAL);
    assert!(sender.read(100));
    sender.deliver(2);
    // The first one is stored at once, the next ones after a while.
    sender.deliver(3);
    sender.kill();
    assert_eq!(sender.backlog.remaining().bytes, 6);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["1", "2", "3\n3", "3\n3", "4"]);

    sender.write("app", &[b"5", b"6"]);
    assert!(sender.read(100));
    sender.deliver(1);
    sender.replay.sync(sender.rig.now.instant);
    sender.kill();
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["5", "6"]);
}

#[test]
fn chunks_are_read_ahead_and_again_when_the_sink_has_lost_them() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1111", b"2222", b"3333"]);
    assert!(sender.read(6) && sender.read(6) && sender.read(6));
    assert!(!sender.read(6));
    sender.deliver(1);
    sender.in_flight.clear();
    sender.replay.rewind();
    // The file goes on growing.
    sender.write("app", &[b"4444"]);
    assert!(sender.read(6) && sender.read(6) && sender.read(6));
    assert!(!sender.read(6));
    for _ in 0..3 {
        sender.deliver(1);
    }
    assert_eq!(sender.take_arrived("app"), ["1111", "2222", "3333", "4444"]);
}

#[test]
fn a_delivery_out_of_order_or_said_twice_counts_nothing() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1111", b"2222", b"3333"]);
    assert!(sender.read(11) && sender.read(6));
    let now = sender.rig.now.instant;
    let (first, second) = (&sender.in_flight[0], &sender.in_flight[1]);
    assert_eq!(sender.replay.delivered(second, 1, now), 0);
    assert_eq!(sender.replay.delivered(first, 1, now), 1);
    assert_eq!(sender.replay.delivered(first, 1, now), 0);
    assert_eq!(sender.replay.delivered(first, 9, now), 1);
    assert_eq!(sender.replay.delivered(first, 9, now), 0);
    assert_eq!(sender.replay.delivered(second, 9, now), 1);
    assert!(sender.backlog.is_empty());
}

#[test]
fn containers_take_turns() {
    let mut sender = Sender::new(ROOMY);
    for name in ["a", "b", "c"] {
        sender.write(name, &[b"1", b"2", b"3"]);
    }
    sender.drain();
    let order: Vec<String> = sender.arrived.drain(..).map(|line| line.0).collect();
    assert_eq!(order.len(), 9);
    assert_eq!(order, ["a", "a", "a", "b", "b", "b", "c", "c", "c"]);
    sender.write("a", &[&[b'x'; 300][..]; 9]);
    sender.write("b", &[b"1"]);
    for _ in 0..4 {
        assert!(sender.read(100));
        sender.deliver(9);
    }
    assert_eq!(sender.take_arrived("b"), ["1"]);
}

#[test]
fn rotated_files_go_one_by_one_as_they_are_delivered() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 10,
        ..ROOMY
    });
    sender.write("app", &[b"11111111", b"22222222", b"33333333"]);
    assert_eq!(sender.log_files().len(), 3);
    assert!(sender.read(100));
    sender.deliver(1);
    sender.rig.turn(false);
    assert_eq!(sender.log_files().len(), 2);
    // A rotation in the middle of a file that is read.
    assert!(sender.read(100));
    sender.write("app", &[b"44444444"]);
    sender.deliver(1);
    sender.drain();
    sender.rig.turn(false);
    assert_eq!(
        sender.take_arrived("app"),
        ["11111111", "22222222", "33333333", "44444444"]
    );
    assert_eq!((sender.log_files().len(), sender.kept().len()), (0, 0));
}

#[test]
fn what_retention_takes_away_is_counted_as_lost() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 6,
        backups: 2,
        ..ROOMY
    });
    for n in 0..6 {
        sender.write("app", &[format!("{n}\n{n}").as_bytes(), b"x"]);
        sender.rig.pass(Duration::from_millis(5));
    }
    assert_eq!(sender.lost("retention"), 6);
    assert_eq!(sender.backlog.remaining().lines, 6);
    sender.drain();
    assert_eq!(
        sender.take_arrived("app"),
        ["3\n3", "x", "4\n4", "x", "5\n5", "x"]
    );
}

#[test]
fn retention_counts_what_an_earlier_run_has_left_too() {
    let limits = FileLimits {
        file_bytes: 10,
        backups: 2,
        ..ROOMY
    };
    let mut sender = Sender::new(limits);
    sender.write("app", &[b"1", b"2"]);
    sender.kill();
    sender.rig.pass(Duration::from_millis(5));
    for n in 0..3 {
        sender.write("app", &[format!("{n}........").as_bytes()]);
        sender.rig.pass(Duration::from_millis(5));
    }
    assert_eq!(sender.lost("retention"), 2);
    assert_eq!(sender.backlog.remaining().lines, 3);
}

#[test]
fn space_that_is_needed_is_taken_from_the_oldest_and_counted() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 100,
        ..ROOMY
    });
    sender.rig.disk.plan().budget = Some((sender.rig.path(), 1000));
    for _ in 0..40 {
        sender.write("app", &[&[b'x'; 49]]);
        sender.rig.pass(Duration::from_millis(5));
    }
    let left = sender.backlog.remaining().lines;
    assert!(left >= 16, "{left}");
    assert_eq!(sender.lost("retention") + left, 40);
    sender.drain();
    assert_eq!(sender.arrived.len() as u64, left);
}

#[test]
fn a_clock_that_jumps_back_does_not_change_the_order_of_the_backups() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 4,
        ..ROOMY
    });
    for n in 0..5 {
        sender.write("app", &[format!("{n}xx").as_bytes()]);
        sender.rig.now.utc -= Duration::from_secs(40 * 24 * 3600);
    }
    let files: Vec<Vec<u8>> = contents(&sender.rig.path())["p_n_app-"].clone();
    assert_eq!(files.concat(), b"0xx\n1xx\n2xx\n3xx\n4xx\n");
    sender.kill();
    sender.drain();
    assert_eq!(
        sender.take_arrived("app"),
        ["0xx", "1xx", "2xx", "3xx", "4xx"]
    );
}

#[test]
fn a_mode_without_a_sink_leaves_the_lines_in_the_files() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1", b"2\n2"]);
    assert!(sender.read(100));
    sender.backlog.forget();
    assert!(sender.backlog.is_empty());
    assert_eq!((sender.lost("mode"), sender.kept().len()), (2, 0));
    sender.deliver(2);
    assert_eq!(sender.taken_off, 0);
    sender.rig.write("app", &[b"plain"]);
    assert_eq!(sender.rig.read("app"), "1\n2\n2\nplain\n");
    // And what an earlier run has left is counted when there is time.
    sender.write("app", &[b"3", b"4\n4"]);
    sender.kill();
    sender.backlog.forget();
    assert_eq!(sender.lost("mode"), 2);
    while sender.replay.survey().unwrap() {}
    assert_eq!((sender.lost("mode"), sender.kept().len()), (4, 0));
    sender.drain();
    assert_eq!(sender.taken_off, 0);
}

#[test]
fn lines_of_two_containers_with_one_file_keep_their_names() {
    let mut sender = Sender::new(ROOMY);
    let now = sender.rig.now;
    let write = |sender: &mut Sender, name: &[u8], id: &[u8], line: &[u8]| {
        // Each is the first of its run: both have the plain file name.
        let container = Containers::new("p", "n").get(name, id, now.instant);
        assert_eq!(container.stem, "p_n_a-b-c");
        let files = &mut sender.rig.files;
        files.append(&container, [line].into_iter(), true, None, now);
        files.turn(true, now);
    };
    write(&mut sender, b"a-b", b"c", b"1");
    for kill in [false, true] {
        write(&mut sender, b"a", b"b-c", b"2");
        write(&mut sender, b"a-b", b"c", b"3");
        if kill {
            sender.rig.lines_in = sender.rig.metrics.lines_to_file.get();
            sender.kill();
        }
    }
    sender.drain();
    let arrived: Vec<(&str, &[u8])> = sender
        .arrived
        .iter()
        .map(|(name, line)| (name.as_str(), &line[..]))
        .collect();
    assert_eq!(
        arrived,
        [
            ("a-b", &b"1"[..]),
            ("a", b"2"),
            ("a-b", b"3"),
            ("a", b"2"),
            ("a-b", b"3")
        ]
    );
}

#[test]
fn a_line_of_the_largest_size_comes_whole_whatever_is_asked_for() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 50 << 20,
        ..ROOMY
    });
    let long = vec![b'x'; limits::PAYLOAD_BYTES];
    let mut broken = long.clone();
    broken[limits::PAYLOAD_BYTES / 2] = b'\n';
    sender.write("app", &[b"1", &long, b"2", &broken, b"3"]);
    sender.drain();
    let lens: Vec<usize> = sender.arrived.iter().map(|line| line.1.len()).collect();
    assert_eq!(lens, [1, long.len(), 1, long.len(), 1]);
    assert!(sender.arrived[3].1 == broken);
}

#[test]
fn a_part_of_a_line_that_a_killed_cim_left_is_not_sent() {
    let mut sender = Sender::new(ROOMY);
    sender.write("app", &[b"1"]);
    let torn = [&fs::read(sender.rig.live("app")).unwrap()[..], b"half a li"].concat();
    fs::write(sender.rig.live("app"), torn).unwrap();
    sender.kill();
    sender.kill();
    sender.write("app", &[b"2"]);
    sender.kill();
    sender.write("app", &[b"3"]);
    sender.drain();
    assert_eq!(sender.take_arrived("app"), ["1", "2", "3"]);
    sender.rig.turn(false);
    assert_eq!((sender.log_files().len(), sender.kept().len()), (0, 0));
}

#[test]
fn the_oldest_line_that_is_left_has_an_age() {
    let mut sender = Sender::new(ROOMY);
    let scrape = |sender: &Sender| {
        let text = String::from_utf8(sender.rig.metrics.render().unwrap()).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("cim_log_backlog_oldest_seconds"))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    sender.rig.now.utc = SystemTime::now() - Duration::from_secs(1000);
    sender.write("app", &[b"1"]);
    sender.rig.pass(Duration::from_secs(900));
    sender.write("app", &[b"2"]);
    assert!((999.0..1050.0).contains(&scrape(&sender)));
    assert!(sender.read(2));
    sender.deliver(1);
    assert!((99.0..150.0).contains(&scrape(&sender)));
    sender.drain();
    assert!(scrape(&sender) < f64::EPSILON);
}

#[test]
fn more_lines_with_line_ends_than_are_listed_come_as_several() {
    let mut sender = Sender::new(FileLimits {
        file_bytes: 50 << 20,
        ..ROOMY
    });
    let listed = limits::BACKLOG_WHOLE_BYTES as usize / 20;
    let lines = vec![&b"a\nb"[..]; listed + 1000];
    sender.write("app", &lines);
    assert_eq!(sender.backlog.remaining().lines, listed as u64 + 2000);
    while sender.read(256 << 10) {
        sender.deliver(usize::MAX);
    }
    assert_eq!(sender.arrived.len(), listed + 2000);
    assert!(sender.backlog.is_empty());
}

#[test]
fn beyond_the_bound_on_containers_lines_are_written_and_counted_as_lost() {
    let mut sender = Sender::new(ROOMY);
    let now = sender.rig.now;
    for n in 0..limits::BACKLOG_CONTAINERS + 3 {
        let container = Container::new(b"x", b"", format!("p_n_{n}-"));
        let files = &mut sender.rig.files;
        files.append(&container, [&b"1"[..]].into_iter(), true, None, now);
        files.turn(true, now);
    }
    assert_eq!(sender.lost("limit"), 3);
    let left = limits::BACKLOG_CONTAINERS as u64;
    assert_eq!(sender.backlog.remaining().lines, left);
    assert_eq!(sender.rig.metrics.lines_to_file.get(), left + 3);
}
