//! Somebody else changes the log directory.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_deleted_file_is_made_again_and_gets_the_lines_of_that_write() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"1"]);
    fs::remove_file(rig.live("app")).unwrap();
    rig.write("app", &[b"2", b"3"]);
    assert_eq!(rig.read("app"), "2\n3\n");
    assert_eq!(rig.metrics.lines_to_file.get(), 3);
}

#[test]
fn a_deleted_directory_is_made_again() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"1"]);
    fs::remove_dir_all(rig.path()).unwrap();
    rig.write("app", &[b"2"]);
    assert_eq!(rig.read("app"), "2\n");
}

#[test]
fn a_moved_file_keeps_what_it_has_got() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"1"]);
    let moved = rig.path().join("elsewhere");
    fs::rename(rig.live("app"), &moved).unwrap();
    rig.write("app", &[b"2"]);
    rig.write("app", &[b"3"]);
    assert_eq!(fs::read(moved).unwrap(), b"1\n2\n");
    assert_eq!(rig.read("app"), "3\n");
}

#[test]
fn a_replaced_file_is_gone_on_with() {
    let mut rig = Rig::new(ROOMY);
    rig.write("app", &[b"1"]);
    fs::remove_file(rig.live("app")).unwrap();
    fs::write(rig.live("app"), "other\n").unwrap();
    rig.write("app", &[b"2"]);
    assert_eq!(rig.read("app"), "other\n2\n");
}

#[test]
fn a_truncated_file_has_the_room_that_it_has() {
    let mut rig = Rig::new(FileLimits {
        file_bytes: 10,
        ..ROOMY
    });
    rig.write("app", &[b"123456"]);
    fs::write(rig.live("app"), b"").unwrap();
    rig.write("app", &[b"d"]);
    rig.write("app", &[b"1234567"]);
    assert_eq!(rig.read("app"), "d\n1234567\n");
}

#[test]
fn nothing_is_written_through_a_link() {
    let mut rig = Rig::new(ROOMY);
    fs::create_dir(rig.path()).unwrap();
    let target = rig.dir.path().join("target");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, rig.live("app")).unwrap();
    rig.append("app", &[b"1"]);
    rig.settle();
    assert_eq!(fs::read(&target).unwrap(), b"untouched");
    assert_eq!(rig.metrics.dropped(DropReason::IoError).get(), 1);
    // Others are not touched by that.
    rig.write("other", &[b"2"]);
    assert_eq!(rig.read("other"), "2\n");
    assert_eq!(rig.failing(), 1);
    fs::remove_file(rig.live("app")).unwrap();
    rig.pass(limits::FILE_TRY_AGAIN);
    rig.write("app", &[b"3"]);
    assert_eq!(rig.read("app"), "3\n");
    assert_eq!(rig.failing(), 0);
}

#[test]
fn a_directory_or_a_pipe_in_place_of_the_file_is_an_error() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let mut rig = Rig::new(ROOMY);
    fs::create_dir_all(rig.live("dir")).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, rig.live("pipe"), FileType::Fifo, mode, 0).unwrap();
    rig.append("dir", &[b"1"]);
    rig.append("pipe", &[b"1"]);
    rig.settle();
    assert_eq!(rig.dropped(), 2);
}

#[test]
fn a_file_that_is_removed_again_and_again_does_not_hold_for_ever() {
    let mut rig = Rig::new(ROOMY);
    rig.disk.plan().vanish = true;
    rig.append("app", &[b"1"]);
    rig.turn(true);
    assert!(rig.files.is_holding());
    rig.settle();
    assert_eq!(rig.dropped(), 1);
}
