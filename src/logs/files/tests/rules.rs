//! When lines are written, rotation, backups.

use super::*;

#[test]
fn lines_are_bytes() {
    let mut rig = Rig::new(ROOMY);
    let large = vec![b'x'; 1 << 20];
    rig.write(
        "app",
        &[b"", b"two\nlines\n", b"\xff\xfe\0", b"plain", &large],
    );
    let files = &contents(&rig.path())["p_n_app-"];
    assert_eq!(files[0], b"\ntwo\nlines\n\n\xff\xfe\0\nplain\n");
    assert_eq!(files[1], [&large[..], b"\n"].concat());
}

#[test]
fn a_line_is_written_when_it_is_old_enough_or_the_buffer_full() {
    let mut rig = Rig::new(ROOMY);
    rig.append("app", &[b"a"]);
    rig.turn(false);
    assert_eq!(rig.files.lines(), 1);
    assert_eq!(
        rig.files.deadline(),
        Some(rig.now.instant + limits::LINE_AGE)
    );
    rig.pass(limits::LINE_AGE);
    rig.turn(false);
    assert_eq!(rig.files.lines(), 0);
    assert_eq!(rig.read("app"), "a\n");
    let idle = rig.files.deadline().unwrap() - rig.now.instant;
    assert!(
        idle > Duration::from_secs(50),
        "no wake-ups at idle: {idle:?}"
    );

    rig.append("app", &[&[b'x'; 999]]);
    rig.turn(false);
    assert_eq!(rig.files.lines(), 0);
}

#[test]
fn one_line_due_makes_all_due() {
    let mut rig = Rig::new(ROOMY);
    rig.append("a", &[b"old"]);
    rig.pass(limits::LINE_AGE);
    rig.append("b", &[b"new"]);
    rig.turn(false);
    assert_eq!(rig.files.lines(), 0);
}

#[test]
fn many_lines_make_few_large_writes() {
    let mut rig = Rig::new(ROOMY);
    let line: &[u8] = &[b'x'; 255];
    for _ in 0..40 {
        rig.append("app", &[line; 100]);
    }
    rig.turn(true);
    let writes = rig.disk.plan().writes.clone();
    assert_eq!(writes.iter().sum::<usize>(), 40 * 100 * 256);
    assert!(writes.len() <= 5, "{writes:?}");
}

#[test]
fn memory_is_given_back() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[&vec![b'x'; 1 << 20]]);
    assert!(rig.files.entries[0].file.memory() <= 2 * limits::FILE_BUFFER_BYTES);
    rig.append("app", &[b"slow"]);
    rig.pass(limits::LINE_AGE);
    rig.turn(false);
    assert!(rig.files.entries[0].file.memory() <= 2 * ROOMY.buffer_bytes);
    for n in 0..60 {
        rig.write(&n.to_string(), &[&[b'x'; 200_000]]);
    }
    let memory: usize = rig.files.entries.iter().map(|e| e.file.memory()).sum();
    assert!(memory <= limits::ALL_FILE_BUFFER_BYTES + 2 * limits::FILE_BUFFER_BYTES);
    rig.pass(limits::LOG_FILE_IDLE);
    rig.turn(false);
    assert_eq!(rig.files.entries.len(), 0);
}

#[test]
fn open_files_are_bounded() {
    let mut rig = Rig::new(ROOMY);
    let open = |rig: &Rig| {
        rig.files
            .entries
            .iter()
            .filter(|e| e.file.is_open())
            .count()
    };
    for round in 0..3 {
        for n in 0..100 {
            rig.append(&n.to_string(), &[round.to_string().as_bytes()]);
            if n % 7 == round {
                rig.turn(true);
                assert!(open(&rig) <= limits::OPEN_LOG_FILES);
            }
        }
    }
    rig.turn(true);
    assert!(open(&rig) <= limits::OPEN_LOG_FILES);
    for n in 0..100 {
        assert_eq!(rig.read(&n.to_string()), "0\n1\n2\n");
    }
}

#[test]
fn a_full_file_is_renamed_after_the_time() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 10,
        ..ROOMY
    });
    rig.write("app", &[b"1234", b"5678", b"9"]);
    let backup = rig.path().join("p_n_app--2026-11-23T00-25-57.315.log_bkp");
    assert_eq!(fs::read(&backup).unwrap(), b"1234\n5678\n");
    assert_eq!(rig.read("app"), "9\n");
    // The same millisecond again: the next one.
    rig.write("app", &[b"123456789", b"x"]);
    let next = rig.path().join("p_n_app--2026-11-23T00-25-57.316.log_bkp");
    assert_eq!(fs::read(next).unwrap(), b"9\n");
    assert_eq!(rig.metrics.file_rotations.get(), 3);
}

#[test]
fn a_line_larger_than_a_file_has_one_of_its_own() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 4,
        ..ROOMY
    });
    rig.write("app", &[b"1", b"123456789", b"2"]);
    let files = &contents(&rig.path())["p_n_app-"];
    assert_eq!(*files, [&b"1\n"[..], b"123456789\n", b"2\n"]);
}

#[test]
fn a_size_limit_that_shrinks_takes_effect_at_the_next_line() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"0123456789"]);
    rig.files.set_limits(FileLimits {
        file_bytes: 5,
        ..ROOMY
    });
    rig.write("app", &[b"a"]);
    assert_eq!(contents(&rig.path())["p_n_app-"].len(), 2);
}

#[test]
fn what_is_in_the_file_at_the_start_counts() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 10,
        ..ROOMY
    });
    rig.write("app", &[b"1234567"]);
    rig.restart();
    rig.write("app", &[b"123"]);
    let files = &contents(&rig.path())["p_n_app-"];
    assert_eq!(*files, [&b"1234567\n"[..], b"123\n"]);
}

#[test]
fn a_torn_last_line_is_ended_first() {
    let mut rig = Rig::new(ROOMY);
    fs::create_dir(rig.path()).unwrap();
    fs::write(rig.live("app"), b"whole\nto").unwrap();
    rig.write("app", &[b"next"]);
    assert_eq!(rig.read("app"), "whole\nto\nnext\n");
}

#[test]
fn backups_beyond_the_count_go_oldest_first() {
    let limits = FileLimits {
        file_bytes: 2,
        backups: 2,
        ..ROOMY
    };
    let mut rig = Rig::new(limits);
    rig.write("app", &[b"1", b"2", b"3", b"4", b"5"]);
    let files = &contents(&rig.path())["p_n_app-"];
    assert_eq!(*files, [&b"3\n"[..], b"4\n", b"5\n"]);
    assert_eq!(rig.removed("count"), 2);
    // Fewer: at once, not at the next rotation.
    rig.files.set_limits(FileLimits {
        backups: 1,
        ..limits
    });
    rig.turn(false);
    assert_eq!(contents(&rig.path())["p_n_app-"].len(), 2);
}

#[test]
fn backups_grow_too_old_for_all_containers_of_the_pod_and_only_those() {
    let mut rig = Rig::new(ROOMY);
    fs::create_dir(rig.path()).unwrap();
    rig.now.utc = at("2026-11-23T00-00-00.000");
    for name in [
        "p_n_gone-1-2026-11-15T23-59-59.999.log_bkp",
        "p_n_gone-1-2026-11-16T00-00-00.000.log_bkp",
        "p_n_gone-1-2026-11-16T00-02-00.000.log_bkp",
        "p_n_gone-1-2026-11-15T23-59-59.99.log_bkp",
        "p_nn_gone-1-2026-11-15T23-59-59.999.log_bkp",
        "q_n_gone-1-2026-11-15T23-59-59.999.log_bkp",
        "p_n_gone-1.log",
    ] {
        fs::write(rig.path().join(name), b"x").unwrap();
    }
    let count = |rig: &Rig| fs::read_dir(rig.path()).unwrap().count();
    rig.turn(false);
    assert_eq!(count(&rig), 6);
    rig.pass(Duration::from_millis(1));
    rig.turn(false);
    assert_eq!(count(&rig), 6);
    rig.pass(limits::BACKUP_SWEEP);
    rig.turn(false);
    assert_eq!(count(&rig), 5);
    assert_eq!(rig.removed("age"), 2);
}

#[test]
fn the_clock_may_step_back_without_disorder() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 2,
        ..ROOMY
    });
    rig.write("app", &[b"1", b"2"]);
    rig.now.utc -= Duration::from_secs(3600);
    rig.write("app", &[b"3"]);
    rig.restart();
    rig.now.utc -= Duration::from_secs(3600);
    rig.write("app", &[b"4"]);
    let files = &contents(&rig.path())["p_n_app-"];
    assert_eq!(*files, [&b"1\n"[..], b"2\n", b"3\n", b"4\n"]);
}

#[test]
fn whose_backup_it_is_does_not_depend_on_how_a_stem_ends() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 2,
        backups: 1,
        ..ROOMY
    });
    // The name of the second makes its file look like a backup of the first.
    rig.write("a", &[b"1", b"2"]);
    rig.write("a--2026-11-23T00-25-57.315", &[b"1", b"2", b"3", b"4"]);
    rig.write("a", &[b"3"]);
    let files = contents(&rig.path());
    assert_eq!(files["p_n_a-"], [b"2\n", b"3\n"]);
    assert_eq!(files["p_n_a--2026-11-23T00-25-57.315-"], [b"3\n", b"4\n"]);
}

#[test]
fn a_container_that_came_back_has_the_same_file() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"1"]);
    rig.containers = Containers::new("p", "n");
    rig.write("app", &[b"2"]);
    assert_eq!(rig.read("app"), "1\n2\n");
    assert_eq!(rig.files.entries.len(), 1);
}
