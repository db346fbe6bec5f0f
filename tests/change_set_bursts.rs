//! Many change sets at once, with a real etcd: a burst from many connections, and an application that is slow while etcd fills up.
//! `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use servers::{Etcd, Recorder, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, eventually};

const UPDATE: &str = "/updateConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
/// What CIM may take at most in the build that ships; the debug build, which is tested, gets twice that.
const PEAK_KIB: u64 = 32 << 10;
/// How long a burst may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An application that answers well, and CIM before an empty etcd.
fn start() -> (Etcd, Recorder, TestApp, Cim) {
    let (etcd, app) = (Etcd::start(), TestApp::start());
    let recorder = Recorder::start(&etcd);
    let options = Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1")
        .env("CIM_SERVICE_VERSION", "v1");
    let cim = Cim::start(options);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    let registered = cim.post(REGISTER, br#"{"container_name":"app","container_id":"1"}"#);
    assert_eq!(registered.status, 200);
    (etcd, recorder, app, cim)
}

/// Puts change sets with these numbers from so many connections at once; their keys by revision.
fn put(
    etcd: &Etcd,
    numbers: Range<usize>,
    connections: usize,
    value: &[u8],
) -> BTreeMap<i64, String> {
    let one = |n: usize| {
        let key = format!("change-set/ns1/ms1/v1/ms/app.json/{n}");
        (etcd.put(&key, value), key)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|first| {
                let (one, numbers) = (&one, numbers.clone());
                scope.spawn(move || {
                    let of_thread = numbers.skip(first).step_by(connections);
                    of_thread.map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        let puts = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        puts.collect()
    })
}

/// Waits until all are committed, and checks that each came once, in order, and has one commit.
#[track_caller]
fn all_came_in_order(
    etcd: &Etcd,
    recorder: &Recorder,
    app: &TestApp,
    keys: &BTreeMap<i64, String>,
) {
    let number = |key: &String| key.rsplit_once('/').unwrap().1.to_owned();
    let last = number(keys.last_key_value().unwrap().1);
    eventually(PATIENCE, || etcd.get(COMMIT).as_ref() == Some(&last));
    let requests = app.requests(UPDATE);
    let came: Vec<_> = requests
        .iter()
        .map(|request| request.change_set_key())
        .collect();
    assert!(came.iter().eq(keys.values()), "{came:?}");
    let commits = recorder.changes(etcd, "commit-config/");
    let committed: Vec<_> = commits
        .into_iter()
        .map(|commit| (commit.key, commit.value.unwrap()))
        .collect();
    let expected: Vec<_> = keys
        .values()
        .map(|key| (COMMIT.to_owned(), number(key)))
        .collect();
    assert_eq!(committed, expected);
}

/// Says what it took, and is within the bound.
fn memory(what: &str, cim: &Cim, start: Instant) -> u64 {
    let (peak, took) = (cim.usage().peak_kib, start.elapsed());
    eprintln!("{what}: {took:?}, at most {peak} KiB of memory");
    let builds = if cfg!(debug_assertions) { 2 } else { 1 };
    assert!(peak < builds * PEAK_KIB, "{peak} KiB");
    peak
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_burst_of_change_sets_comes_in_order_and_is_committed() {
    let (etcd, recorder, app, cim) = start();
    let start = Instant::now();
    let keys = put(&etcd, 0..1000, 16, b"[]");
    memory("1,000 change sets are put", &cim, start);
    all_came_in_order(&etcd, &recorder, &app, &keys);
    memory("1,000 change sets are committed", &cim, start);
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_slow_application_does_not_make_the_intake_grow() {
    const COUNT: usize = 400;
    let value = [b'x'; 64 << 10];
    let (etcd, recorder, app, cim) = start();
    let held = Reply {
        held: true,
        ..Reply::of(ReplyStatus::Success)
    };
    app.reply_with(cim.nats, held);
    let start = Instant::now();
    // What CIM takes in without waiting: the one in flight, those in the channel, the watch's next ones.
    let mut keys = put(&etcd, 0..16, 1, &value);
    app.wait_for(UPDATE, 1);
    let few = memory("16 change sets of 64 KiB wait", &cim, start);
    keys.append(&mut put(&etcd, 16..COUNT, 2, &value));
    let many = memory("400 change sets of 64 KiB wait", &cim, start);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    app.release_replies();
    all_came_in_order(&etcd, &recorder, &app, &keys);
    let all = memory("400 change sets of 64 KiB are committed", &cim, start);
    // Half of what was put: a frame of the watch is large once much waits, at most 4 MiB and what it is decoded to.
    let bound = (COUNT / 2 * 64) as u64;
    assert!(many.max(all) < few + bound, "{few}, {many}, {all} KiB");
}
