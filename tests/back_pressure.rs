//! DESIGN 3 and 4: back-pressure, not loss; and every line is accounted for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use support::disk::{Mount, ballast};
use support::load::{check_in_order, line};
use support::nats::{event, log, publish};
use support::pod::wait_for_conservation;
use support::{Cim, Load, NatsWire, Options, PATIENCE, eventually, settled};

const APP: &str = "app";
const ID: &str = "0123456789ab";
/// A PING on a connection of its own is answered in microseconds; a busy machine is given this.
const PROMPT: Duration = Duration::from_secs(1);
/// The publisher counts as held back when it got nowhere for this long.
const HELD: Duration = Duration::from_millis(500);

/// Everybody but the publisher who is held back is served.
#[track_caller]
fn check_others_are_served(cim: &Cim) {
    let mut other = cim.client();
    for _ in 0..5 {
        let took = other.ping_pong();
        assert!(took < PROMPT, "PING took {took:?}");
    }
    let before = cim.metric("cim_nats_EVENT_message_count", &[]);
    for n in 0..20 {
        other.publish_event(&format!("Event{n}"));
    }
    other.publish("CONFIG", b"{}");
    let took = other.ping_pong();
    assert!(took < PROMPT, "PING after EVENT took {took:?}");
    let after = cim.metric("cim_nats_EVENT_message_count", &[]);
    assert_eq!(after - before, 20.0);
    assert!(cim.get("/healthz").status == 200);
}

fn held_back(load: &Load) -> u64 {
    settled(PATIENCE, HELD, || load.sent())
}

#[test]
fn a_stalled_stdout_holds_its_publisher_back_and_nobody_else() {
    let options = Options::new()
        .mode("STDOUT", "text")
        .cim("cim_settings.cim_file_log", false)
        .hold_stdout();
    let cim = Cim::start(options);
    let load = Load::start(cim.nats, APP, 0, None);
    let sent = held_back(&load);
    assert!(sent > 0);
    assert!(cim.metric("cim_nats_held_back_total", &[]) > 0.0);
    check_others_are_served(&cim);
    cim.stdout.release();
    eventually(PATIENCE, || load.sent() > sent);
    let sent = load.stop();
    cim.client().ping_pong();
    wait_for_conservation(&cim);
    // In time: all on standard output. The machine was slow: the rest is in the file, none is lost.
    let to_file = cim.lines_of(APP).len() as u64;
    let ours = || {
        let lines = cim.stdout.lines();
        lines
            .iter()
            .filter(|line| line.starts_with(b"c000 n"))
            .count() as u64
    };
    eventually(PATIENCE, || ours() + to_file == sent);
}

#[test]
#[ignore = "integration"]
fn a_stdout_that_stays_stalled_overflows_to_the_file() {
    let options = Options::new()
        .mode("STDOUT", "text")
        .large_files()
        .cim("cim_settings.cim_file_log", false)
        .hold_stdout();
    let cim = Cim::start(options);
    let load = Load::start(cim.nats, APP, 0, None);
    let held = held_back(&load);
    check_others_are_served(&cim);
    // Longer than the bound (5 s): the lines take the way to the file, and the publisher goes on.
    eventually(PATIENCE, || load.sent() > held + 10_000);
    let sent = load.stop();
    eventually(PATIENCE, || !cim.files_of(APP).is_empty());
    cim.stdout.release();
    wait_for_conservation(&cim);
    eventually(PATIENCE, || {
        let lines = cim.stdout.lines();
        let ours = lines.iter().filter(|line| line.starts_with(b"c000 n"));
        let mut all: Vec<_> = ours.cloned().chain(cim.lines_of(APP)).collect();
        all.sort();
        all.len() as u64 == sent && check_in_order(&all, 1) == [sent]
    });
}

#[test]
#[ignore = "integration"]
fn a_stalled_log_disk_holds_its_publisher_back_and_nobody_else() {
    let Some(disk) = Mount::ext4(256) else { return };
    let cim = Cim::start(Options::new().large_files().log_dir(disk.path()));
    let mut first = cim.client();
    first.publish_log(APP, ID, b"before");
    first.ping_pong();
    let Some(frozen) = disk.freeze() else { return };
    let load = Load::start(cim.nats, "load", 0, None);
    let sent = held_back(&load);
    assert!(sent > 0);
    check_others_are_served(&cim);
    drop(frozen);
    eventually(PATIENCE, || load.sent() > sent);
    let sent = load.stop();
    cim.client().ping_pong();
    wait_for_conservation(&cim);
    let written = cim.lines_of("load").len() as u64;
    let dropped = cim.metric("cim_log_lines_dropped_total", &[("reason", "stalled")]);
    eprintln!("{sent} sent, {written} written, {dropped} dropped");
    assert_eq!(written + dropped as u64, sent);
    if dropped == 0.0 {
        check_in_order(&cim.lines_of("load"), 1);
    }
}

#[test]
#[ignore = "integration"]
fn a_log_disk_that_stays_stalled_costs_counted_lines_and_no_events() {
    let Some(disk) = Mount::ext4(256) else { return };
    let cim = Cim::start(Options::new().large_files().log_dir(disk.path()));
    let mut first = cim.client();
    first.publish_log(APP, ID, b"before");
    first.ping_pong();
    let Some(frozen) = disk.freeze() else { return };
    let load = Load::start(cim.nats, "load", 0, None);
    let stalled = || cim.metric("cim_log_lines_dropped_total", &[("reason", "stalled")]);
    eventually(PATIENCE, || stalled() > 0.0);
    check_others_are_served(&cim);
    drop(frozen);
    load.stop();
    eventually(PATIENCE, || {
        first.publish_log(APP, ID, b"after");
        first.ping_pong();
        cim.text_of(APP).ends_with(b"after\n")
    });
    wait_for_conservation(&cim);
}

/// Publishes `lines` lines and waits until all are stored or dropped.
fn publish_lines(wire: &mut NatsWire, lines: u64) {
    for first in (0..lines).step_by(100) {
        let block: Vec<u8> = (first..lines.min(first + 100))
            .flat_map(|number| publish("LOG", None, &log(APP, ID, &line(0, number))))
            .collect();
        wire.send(&block);
    }
    wire.ping_pong();
}

#[test]
fn a_file_size_limit_ends_nothing_and_every_line_is_counted() {
    // 512 or 1024 bytes a block, as the shell likes: less than a log file in either case.
    let mut cim = Cim::start(Options::new().before("ulimit -f 400"));
    let mut wire = cim.client();
    publish_lines(&mut wire, 10_000);
    wait_for_conservation(&cim);
    assert!(cim.is_alive());
    check_others_are_served(&cim);
    let written = cim.lines_of(APP).len() as f64;
    let dropped = cim.metric("cim_log_lines_dropped_total", &[]);
    eprintln!("{written} written, {dropped} dropped");
    assert_eq!(written + dropped, 10_000.0);
}

#[test]
#[ignore = "integration"]
fn a_full_disk_costs_the_oldest_backups_first() {
    let Some(disk) = Mount::tmpfs(4096) else {
        return;
    };
    let options = Options::new()
        .cim("lmaas.max_file_size_in_mb", 1)
        .log_dir(disk.path());
    let cim = Cim::start(options);
    let mut wire = cim.client();
    // 8 MB of lines on 4 MB: the newest stay, the oldest backups go.
    publish_lines(&mut wire, 40_000);
    wait_for_conservation(&cim);
    assert!(cim.metric("cim_log_file_backups_removed_total", &[("reason", "space")]) > 0.0);
    let lines = cim.lines_of(APP);
    assert_eq!(support::load::parse(lines.last().unwrap()).1, 39_999);
}

#[test]
#[ignore = "integration"]
fn a_disk_that_others_filled_costs_counted_lines_and_recovers() {
    let Some(disk) = Mount::tmpfs(4096) else {
        return;
    };
    let mut cim = Cim::start(Options::new().log_dir(disk.path()));
    let mut wire = cim.client();
    publish_lines(&mut wire, 100);
    // Somebody else takes all there is.
    let file = disk.path().join("ballast");
    ballast(&file, 8 << 20);
    publish_lines(&mut wire, 20_000);
    wait_for_conservation(&cim);
    assert!(cim.is_alive());
    assert!(cim.metric("cim_log_lines_dropped_total", &[("reason", "no_space")]) > 0.0);
    check_others_are_served(&cim);
    // Space again: it recovers by itself.
    std::fs::remove_file(&file).unwrap();
    eventually(PATIENCE, || {
        wire.publish_log(APP, ID, b"space again");
        wire.ping_pong();
        cim.text_of(APP).ends_with(b"space again\n")
    });
    wait_for_conservation(&cim);
}

#[test]
fn a_log_directory_that_cannot_be_used_drops_counted_lines_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    let mut cim = Cim::start(Options::new().log_dir(&logs));
    let mut wire = cim.client();
    publish_lines(&mut wire, 100);
    // A file where the directory was: root is held up by it as well, unlike by permissions.
    std::fs::rename(&logs, dir.path().join("moved")).unwrap();
    std::fs::write(&logs, b"not a directory").unwrap();
    let dropped = || cim.metric("cim_log_lines_dropped_total", &[]);
    eventually(PATIENCE, || {
        wire.publish_log("other", ID, b"nowhere to go");
        wire.ping_pong();
        dropped() > 0.0
    });
    check_others_are_served(&cim);
    std::fs::remove_file(&logs).unwrap();
    eventually(PATIENCE, || {
        wire.publish_log("other", ID, b"somewhere again");
        wire.ping_pong();
        cim.text_of("other").ends_with(b"somewhere again\n")
    });
    wait_for_conservation(&cim);
    assert!(cim.is_alive());
}

#[test]
fn lines_in_are_lines_written_and_dropped() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    for n in 0..500 {
        wire.publish_log(APP, ID, format!("line {n}").as_bytes());
        if n % 5 == 0 {
            wire.publish("LOG", b"no FlatBuffer");
        }
        if n % 7 == 0 {
            wire.publish("EVENT", &event("Event"));
        }
    }
    wire.ping_pong();
    wait_for_conservation(&cim);
    assert_eq!(
        cim.metric("cim_log_lines_dropped_total", &[("reason", "malformed")]),
        100.0
    );
    assert_eq!(cim.lines_of(APP).len(), 500);
    assert_eq!(cim.metric("cim_nats_EVENT_message_count", &[]), 72.0);
}
