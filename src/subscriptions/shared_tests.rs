//! What is left after a restart, a kill, a failing disk or damage.

use std::fs;
use std::ops::Range;

use rustix::io::Errno;
use serde_json::json;

use super::*;
use crate::logs::disk::testing::{Fault, TestDisk};
use crate::subscriptions::Decision;

fn event(name: &str) -> Filter {
    Filter::parse(json!({"localEventName": [name]}).to_string().as_bytes()).unwrap()
}

/// A state directory.
struct State(tempfile::TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("subscriptions.json")
    }

    /// Opened again, and nothing is wrong.
    fn open(&self) -> Subscriptions {
        let disk = Box::new(TestDisk::new());
        let (subscriptions, problem) = Subscriptions::open_on(disk, self.path());
        assert!(problem.is_none(), "{problem:?}");
        subscriptions
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// All that there is to know.
fn seen(subscriptions: &Subscriptions) -> Registry {
    subscriptions.lock().registry.clone()
}

fn joined() -> Position {
    Position {
        ends: Some([(0, 17)].into()),
        joined: true,
    }
}

#[test]
fn everything_survives_a_restart() {
    let state = State::new();
    let (subscriptions, _) = Subscriptions::open(state.path());
    assert_eq!((subscriptions.era(), subscriptions.count()), (None, 0));
    assert!(!subscriptions.were_used());
    assert!(state.names().is_empty(), "nothing to store yet");
    let first = subscriptions.add(event("E1")).unwrap();
    let second = subscriptions.add(event("E2")).unwrap();
    assert_eq!((first.begins_era, second.begins_era), (true, false));
    let era = subscriptions.era().unwrap();
    subscriptions.set_position(era, joined()).unwrap();
    subscriptions.replace(&first.id, event("E3")).unwrap();
    assert_eq!(state.names(), ["subscriptions.json"]);

    let again = state.open();
    assert_eq!(seen(&again), seen(&subscriptions));
    assert_eq!(again.era(), Some(era));
    assert_eq!(again.position(era), Some(joined()));
    assert_eq!(again.get(&first.id), Some(event("E3")));
    let all = [(first.id, event("E3")), (second.id, event("E2"))];
    assert_eq!(again.all(), all.into());
    let record = |name: &'static str| [("localEventName", Some(name.as_bytes()))].into_iter();
    assert_eq!(again.matcher().decide(record("E3")), Decision::Deliver);
    assert_eq!(again.matcher().decide(record("E1")), Decision::NoMatch);
}

#[test]
fn another_era_has_another_number_and_knows_nothing_of_the_one_before() {
    let state = State::new();
    let mut eras = Vec::new();
    for _ in 0..3 {
        // With a restart in between, which also remembers that there were some.
        let subscriptions = state.open();
        assert_eq!(subscriptions.were_used(), !eras.is_empty());
        let added = subscriptions.add(event("E")).unwrap();
        let era = subscriptions.era().unwrap();
        assert_eq!(subscriptions.position(era), Some(Position::default()));
        subscriptions.set_position(era, joined()).unwrap();
        subscriptions.remove(&added.id).unwrap();
        assert_eq!(subscriptions.era(), None);
        assert_eq!(subscriptions.position(era), None);
        eras.push(era);
    }
    assert_eq!(eras, [1, 2, 3]);
}

#[test]
fn a_position_of_an_era_that_is_over_has_no_effect() {
    let state = State::new();
    let subscriptions = state.open();
    let id = subscriptions.add(event("E")).unwrap().id;
    let over = subscriptions.era().unwrap();
    subscriptions.remove(&id).unwrap();
    subscriptions.set_position(over, joined()).unwrap();
    subscriptions.add(event("E")).unwrap();
    subscriptions.set_position(over, joined()).unwrap();
    let era = subscriptions.era().unwrap();
    assert_eq!(subscriptions.position(era), Some(Position::default()));
    assert_eq!(seen(&state.open()), seen(&subscriptions));
}

#[test]
fn a_position_that_says_nothing_new_is_not_written() {
    let state = State::new();
    let disk = TestDisk::new();
    let (subscriptions, _) = Subscriptions::open_on(Box::new(disk.clone()), state.path());
    subscriptions.add(event("E")).unwrap();
    let calls = || disk.plan().calls;
    subscriptions.set_position(1, joined()).unwrap();
    let before = calls();
    subscriptions.set_position(1, joined()).unwrap();
    assert_eq!(calls(), before);
}

/// Everything that changes the file. The answers: whether it was done.
fn script(subscriptions: &Subscriptions) -> Vec<bool> {
    let mut done = Vec::new();
    let mut ids = Vec::new();
    for name in ["E1", "E2"] {
        let added = subscriptions.add(event(name));
        done.push(added.is_ok());
        ids.extend(added.map(|added| added.id));
    }
    let era = subscriptions.era().unwrap_or_default();
    done.push(subscriptions.set_position(era, joined()).is_ok());
    for id in &ids {
        done.push(subscriptions.replace(id, event("E3")).is_ok());
        done.push(subscriptions.remove(id).is_ok());
    }
    done.push(subscriptions.add(event("E4")).is_ok());
    done
}

/// Runs the script on a disk of which some calls fail; then the process is killed and another one starts.
fn check_fault(fail: Range<u64>, fault: Fault) -> u64 {
    let state = State::new();
    let disk = TestDisk::new();
    {
        let mut plan = disk.plan();
        plan.fail = fail.clone();
        plan.fault = fault;
    }
    let (subscriptions, _) = Subscriptions::open_on(Box::new(disk.clone()), state.path());
    script(&subscriptions);
    let context = format!("{fail:?} {fault:?}");
    let again = state.open();
    assert_eq!(seen(&again), seen(&subscriptions), "{context}");
    assert_eq!(again.era(), subscriptions.era(), "{context}");
    // And it works on, whatever was left lying about.
    again.add(event("E5")).unwrap();
    assert_eq!(seen(&state.open()), seen(&again), "{context}");
    assert_eq!(state.names(), ["subscriptions.json"], "{context}");
    disk.plan().calls
}

#[test]
fn what_was_answered_is_stored_whichever_call_fails_and_whenever_it_is_killed() {
    let whole = check_fault(0..0, Fault::Error(Errno::IO));
    assert!(whole > 20, "{whole} calls");
    for fault in [Fault::Error(Errno::NOSPC), Fault::Torn(Errno::IO)] {
        for call in 0..whole {
            check_fault(call..call + 1, fault);
            // From there on nothing works: as a kill at that moment.
            check_fault(call..u64::MAX, fault);
        }
    }
}

#[test]
fn the_new_file_is_synced_before_it_has_its_name_and_the_directory_after() {
    // Opening reads; a change writes, syncs, renames, and syncs the directory, which not every file system can.
    for (call, is_done) in [(1, false), (2, false), (3, false), (4, true), (5, true)] {
        let state = State::new();
        let disk = TestDisk::new();
        disk.plan().fail = call..call + 1;
        let (subscriptions, _) = Subscriptions::open_on(Box::new(disk.clone()), state.path());
        assert_eq!(subscriptions.add(event("E")).is_ok(), is_done, "{call}");
        let names: &[_] = if is_done {
            &["subscriptions.json"]
        } else {
            &[]
        };
        assert_eq!(state.names(), names, "{call}");
        if is_done {
            assert_eq!(disk.plan().calls, 5);
        }
    }
}

#[test]
fn a_disk_that_takes_nothing_refuses_changes_and_keeps_what_was() {
    let state = State::new();
    let disk = TestDisk::new();
    let (subscriptions, _) = Subscriptions::open_on(Box::new(disk.clone()), state.path());
    let id = subscriptions.add(event("E1")).unwrap().id;
    let before = seen(&subscriptions);
    disk.break_with(Errno::NOSPC);
    let is_store = |result| matches!(result, Err(ChangeError::Store(StoreError::Disk { .. })));
    assert!(is_store(subscriptions.add(event("E2")).map(drop)));
    assert!(is_store(subscriptions.replace(&id, event("E2"))));
    assert!(is_store(subscriptions.remove(&id)));
    assert!(subscriptions.set_position(1, joined()).is_err());
    assert_eq!(seen(&subscriptions), before);
    let record = [("localEventName", Some(&b"E1"[..]))];
    let decision = subscriptions.matcher().decide(record.into_iter());
    assert_eq!(decision, Decision::Deliver);
    disk.repair();
    subscriptions.remove(&id).unwrap();
    assert_eq!(seen(&state.open()), seen(&subscriptions));
}

#[test]
fn a_kill_between_the_new_file_and_its_name_leaves_the_old_one() {
    let state = State::new();
    state.open().add(event("E1")).unwrap();
    let before = fs::read(state.path()).unwrap();
    let new = with_suffix(&state.path(), ".tmp");
    // Half a file, and a whole one of which nobody was told.
    for left in [&b"{\"version\":1,\"era\":9"[..], &before] {
        fs::write(&new, left).unwrap();
        let again = state.open();
        assert_eq!((again.count(), again.era()), (1, Some(1)));
        assert_eq!(fs::read(state.path()).unwrap(), before);
    }
    state.open().add(event("E2")).unwrap();
    assert_eq!(state.names(), ["subscriptions.json"]);
    assert_eq!(state.open().count(), 2);
}

/// What is at the path is put aside, and CIM begins anew.
#[track_caller]
fn check_damage(state: &State, problem: &str) {
    let (subscriptions, error) = Subscriptions::open(state.path());
    let error = error.unwrap();
    let text = error.to_string();
    assert!(text.contains(problem), "{text}");
    assert!(text.ends_with(".damaged"), "{text}");
    assert_eq!((subscriptions.count(), subscriptions.era()), (0, None));
    assert!(subscriptions.were_used(), "by whoever has left the file");
    let added = subscriptions.add(event("E")).unwrap();
    assert_eq!(state.names().len(), 2);
    let again = state.open();
    assert_eq!(again.get(&added.id), Some(event("E")));
}

#[test]
fn a_damaged_file_is_put_aside() {
    for (bytes, problem) in [
        (&b""[..], "not the JSON"),
        (b"\0\0\0\0", "not the JSON"),
        (b"{\"version\":7}", "version 7"),
        (
            br#"{"version":1,"era":1,"position":{"ends":null,"joined":false},"subscriptions":[{"id":"1","filter":{"localEventName":["E"]}}]}"#,
            "its id cannot be",
        ),
    ] {
        let state = State::new();
        fs::write(state.path(), bytes).unwrap();
        check_damage(&state, problem);
        let aside = with_suffix(&state.path(), ".damaged");
        assert_eq!(fs::read(aside).unwrap(), bytes, "kept for people");
    }
}

#[test]
fn what_is_no_file_or_too_large_is_put_aside() {
    let state = State::new();
    fs::create_dir(state.path()).unwrap();
    check_damage(&state, "not a regular file");
    let state = State::new();
    let large = fs::File::create(state.path()).unwrap();
    large.set_len(SUBSCRIPTIONS_FILE_BYTES + 1).unwrap();
    check_damage(&state, "too large");
    // A link is nobody's business, and what it leads to is not touched.
    let state = State::new();
    let elsewhere = State::new();
    fs::write(elsewhere.path(), "precious").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), state.path()).unwrap();
    check_damage(&state, "");
    assert_eq!(fs::read(elsewhere.path()).unwrap(), b"precious");
}

#[test]
fn a_damaged_file_that_cannot_be_put_aside_is_no_reason_not_to_start() {
    let state = State::new();
    fs::write(state.path(), "{").unwrap();
    let in_the_way = with_suffix(&state.path(), ".damaged");
    fs::create_dir(&in_the_way).unwrap();
    let (subscriptions, error) = Subscriptions::open(state.path());
    let text = error.unwrap().to_string();
    assert!(text.contains("cannot be put aside"), "{text}");
    subscriptions.add(event("E")).unwrap();
    assert_eq!(state.open().count(), 1);
}

#[test]
fn a_position_that_could_not_be_read_again_is_refused() {
    let state = State::new();
    let subscriptions = state.open();
    subscriptions.add(event("E")).unwrap();
    let ends = (0..200_000)
        .map(|partition| (partition, i64::MAX))
        .collect();
    let position = Position {
        ends: Some(ends),
        joined: false,
    };
    let error = subscriptions.set_position(1, position).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge(_)), "{error}");
    assert_eq!(seen(&state.open()), seen(&subscriptions));
}

#[test]
fn the_file_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let state = State::new();
    let (subscriptions, _) = Subscriptions::open(state.path());
    subscriptions.add(event("E")).unwrap();
    let mode = fs::metadata(state.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
