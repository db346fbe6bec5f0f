//! `make bench`: how long a change set takes from etcd to the application and back, beside what a bare watch of the same etcd
//! sees in the same run; and a burst of change sets.
//!
//! It starts a real etcd, the release binary of CIM and a small application, and prints a table and one JSON line for each row. It
//! fails on a change set that is lost, doubled or out of order, never on a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "../servers/mod.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use servers::{Etcd, Recorder, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, eventually};

const UPDATE: &str = "/updateConfig";
const PREFIX: &str = "change-set/ns1/ms1/";
const COMMITS: &str = "commit-config/";
/// How long a row may take: far more than it does.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures the way of change sets.
#[derive(Debug, Parser)]
#[command(
    name = "configuration",
    bin_name = "cargo bench --bench configuration --"
)]
struct Arguments {
    /// Change sets of the row latency, one after the other
    #[arg(long, default_value_t = 500)]
    change_sets: usize,
    /// Change sets of the row burst, put by 16 clients at once
    #[arg(long, default_value_t = 1000)]
    burst: usize,
    /// Runs of each row
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// A real etcd, watched by nobody but the recorder and CIM, and a registered application that answers each change set at once.
struct Rig {
    etcd: Etcd,
    recorder: Recorder,
    app: TestApp,
    cim: Cim,
}

impl Rig {
    fn start() -> Self {
        let etcd = Etcd::start();
        let recorder = Recorder::start(&etcd);
        let app = TestApp::start();
        let options = Options::new()
            .env("CIM_ETCD_URL", etcd.client_url())
            .env("CIM_APP_URL", app.url())
            .env("CIM_MICROSERVICE", "ms1");
        let cim = Cim::start(options);
        app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
        let answer = cim.post("/api/v1/_operations/xgvela/register", b"{}");
        assert_eq!(answer.status, 200);
        Self {
            etcd,
            recorder,
            app,
            cim,
        }
    }

    fn commits(&self) -> usize {
        self.recorder.seen(COMMITS).len()
    }

    /// The keys that the application got, against those that etcd has: missing or doubled, and out of order.
    fn faults(&self) -> (usize, usize) {
        let got: Vec<_> = self
            .app
            .requests(UPDATE)
            .iter()
            .map(|request| request.change_set_key())
            .collect();
        let put: Vec<_> = self.recorder.changes(&self.etcd, PREFIX);
        let place: HashMap<_, _> = put.iter().enumerate().map(|(n, c)| (&c.key, n)).collect();
        let places: Vec<_> = got.iter().map(|key| place[key]).collect();
        let mut different: Vec<_> = places.clone();
        different.sort_unstable();
        different.dedup();
        let wrong = put.len().abs_diff(different.len()) + got.len().abs_diff(different.len());
        let reordered = places.windows(2).filter(|pair| pair[0] > pair[1]).count();
        (wrong, reordered)
    }
}

fn key(number: usize) -> String {
    format!("{PREFIX}v0/ms/app.json/{number}")
}

#[derive(Clone, Copy)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    /// In milliseconds.
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<_> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| {
            let value = ms[(ms.len() * percent / 100).min(ms.len() - 1)];
            (value * 100.0).round() / 100.0
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }

    fn show(self, what: &str) {
        println!("{what:<38} {:>8.2} {:>8.2}", self.p50, self.p99);
    }

    fn json(self) -> serde_json::Value {
        json!({"p50_ms": self.p50, "p99_ms": self.p99})
    }
}

/// One change set after the other: put, POST, answer, commit. True when none is missing.
fn latency(count: usize) -> bool {
    let rig = Rig::start();
    let warm_up = 20;
    let mut puts = Vec::new();
    for number in 0..warm_up + count {
        let begin = Instant::now();
        rig.etcd
            .put(&key(number), r#"[{"op":"replace","path":"/a","value":1}]"#);
        puts.push((begin, begin.elapsed()));
        eventually(LIMIT, || rig.commits() > number);
    }
    let posts = rig.app.requests(UPDATE);
    let watched = rig.recorder.seen(PREFIX);
    let commits = rig.recorder.seen(COMMITS);
    let each = || warm_up..warm_up + count;
    let put = Percentiles::of(each().map(|n| puts[n].1));
    let watch = Percentiles::of(each().map(|n| watched[n].1 - puts[n].0));
    let post = Percentiles::of(each().map(|n| posts[n].at - puts[n].0));
    // The application answers when it has the whole request, on the connection that it has.
    let commit = Percentiles::of(each().map(|n| commits[n].1 - posts[n].at));
    let (wrong, reordered) = rig.faults();
    let usage = rig.cim.usage();
    println!("{:<38} {:>8} {:>8}", "milliseconds", "p50", "p99");
    put.show("etcd's own put");
    watch.show("put to a bare watch of the gateway");
    post.show("put to POST at the application");
    commit.show("POST and answer to visible commit");
    let above = post.p99 - watch.p99;
    println!(
        "{count} change sets, {wrong} wrong, {reordered} reordered; p99 of the POST is {above:.2} ms above the bare watch; peak {:.1} MiB",
        usage.peak_kib as f64 / 1024.0
    );
    println!(
        "{}",
        json!({
            "row": "change-set-latency", "change_sets": count, "wrong": wrong, "reordered": reordered,
            "put": put.json(), "bare_watch": watch.json(), "put_to_post": post.json(), "post_to_commit": commit.json(),
            "peak_kib": usage.peak_kib,
        })
    );
    (wrong, reordered) == (0, 0)
}

/// Many at once. True when all came in order, each once.
fn burst(count: usize) -> bool {
    let rig = Rig::start();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let etcd = &rig.etcd;
            scope.spawn(move || {
                for number in (client..count).step_by(16) {
                    etcd.put(&key(number), r#"[{"op":"replace","path":"/a","value":1}]"#);
                }
            });
        }
    });
    let put_in = begin.elapsed();
    eventually(LIMIT, || rig.commits() >= count);
    let took = begin.elapsed();
    let (wrong, reordered) = rig.faults();
    let usage = rig.cim.usage();
    println!(
        "burst of {count} by 16 clients: put in {put_in:.2?}, all committed in {took:.2?}; {wrong} wrong, {reordered} reordered; peak {:.1} MiB, CPU {:.2?}",
        usage.peak_kib as f64 / 1024.0,
        usage.cpu
    );
    println!(
        "{}",
        json!({
            "row": "change-set-burst", "change_sets": count, "wrong": wrong, "reordered": reordered,
            "put_s": put_in.as_secs_f64(), "committed_s": took.as_secs_f64(), "peak_kib": usage.peak_kib,
            "cpu_s": usage.cpu.as_secs_f64(),
        })
    );
    (wrong, reordered) == (0, 0)
}

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let mut good = true;
    for _ in 0..arguments.repeat {
        good &= latency(arguments.change_sets);
        good &= burst(arguments.burst);
    }
    std::process::ExitCode::from(u8::from(!good))
}
