//! Random schedules of the whole daemon with a real etcd: puts of every kind, leases that end, compaction, an etcd that is killed or
//! frozen, a CIM that is killed, an application that restarts and answers in every way. In the end everything is up, and what the
//! application got and what etcd was told must be the change sets in etcd's order. `make integration-test` runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use servers::app::Request;
use servers::kube::golden_pod;
use servers::{Behaviour, Etcd, Kube, Recorder, Reply, ReplyStatus, TestApp, base64, number};
use support::{Cim, Options, PATIENCE, Random, eventually};

const UPDATE: &str = "/updateConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const POSITION: &str = "cim-position/ns1/ms1/v1/cnf-0";
/// Schedules, and how many of them at a time: they mostly wait.
const SCHEDULES: u64 = 20;
const AT_A_TIME: usize = 5;
const STEPS: usize = 45;
/// Change sets in one schedule that the application never answers: each takes the time-out.
const NEVER_ANSWERED: usize = 2;
/// Of the debug build, which is twice as large as the one that ships; that has 32 MiB.
const PEAK_KIB: u64 = 64 << 10;

/// What becomes of a change set; its data key says so, and the application does it.
const WAYS: [(&str, &str); 8] = [
    // The second is what is committed; empty: the revision.
    ("success", ""),
    ("failure", "-1"),
    ("unused", "-2"),
    ("rejected", "-1"),
    ("early", ""),
    ("foreign", ""),
    ("number", ""),
    ("never", "-1"),
];

/// The application: see [`WAYS`].
fn script(change_set: &Value) -> (Behaviour, Vec<Reply>) {
    let accepted = Behaviour::Answer(200);
    let success = Reply::of(ReplyStatus::Success);
    let foreign = || Reply {
        key: Some("change-set/ns1/ms1/v1/ms/success/1".into()),
        ..Reply::of(ReplyStatus::Failure)
    };
    let early = Reply {
        first: true,
        ..success.clone()
    };
    match change_set["data-key"].as_str().unwrap() {
        "success" => (accepted, vec![success]),
        "failure" => (accepted, vec![Reply::of(ReplyStatus::Failure)]),
        "unused" => (accepted, vec![Reply::of(ReplyStatus::Unused)]),
        "rejected" => (Behaviour::Answer(500), Vec::new()),
        "early" => (accepted, vec![early]),
        "foreign" => (accepted, vec![foreign(), success, foreign()]),
        "number" => {
            let number = true;
            (accepted, vec![Reply { number, ..success }])
        }
        "never" => (accepted, Vec::new()),
        other => panic!("a change set with data key {other} is not for the application"),
    }
}

/// A change set that was put, and is for this CIM.
#[derive(Debug, Clone)]
struct Expected {
    key: String,
    level: &'static str,
    is_self: bool,
    value: String,
}

struct Schedule {
    random: Random,
    etcd: Etcd,
    recorder: Recorder,
    app: TestApp,
    kube: Option<Kube>,
    options: Options,
    cim: Cim,
    /// By position.
    expected: BTreeMap<(i64, String), Expected>,
    /// Keys with a lease, and where they are.
    leases: Vec<(i64, (i64, String))>,
    number: u64,
    nevers: usize,
    compacted: i64,
    /// When CIM was started again.
    restarts: Vec<Instant>,
    /// Change sets that may have been under way while the application died.
    cut: BTreeSet<String>,
    app_deaths: usize,
    peak_kib: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random::of(seed);
        // The first numbers of seeds that are alike are alike.
        for _ in 0..8 {
            random.below(2);
        }
        let etcd = Etcd::start();
        let recorder = Recorder::start(&etcd);
        let app = TestApp::start();
        app.follow(script);
        let kube = (random.below(2) == 0).then(|| {
            let kube = Kube::start();
            kube.put_pod(golden_pod(json!({"topogw.fqdn": "topo-gw.ns1:8080"})));
            kube
        });
        let mut options = Options::new()
            .env("CIM_ETCD_URL", etcd.client_url())
            .env("CIM_APP_URL", app.url())
            .env("CIM_CONFIG_REPLY_TIMEOUT", "1s");
        if let Some(kube) = &kube {
            options.infra_json = Some(json!({}));
            for (name, value) in kube.env() {
                options = options.env(name, value);
            }
        } else {
            options = options
                .env("CIM_MICROSERVICE", "ms1")
                .env("CIM_SERVICE_VERSION", "v1");
        }
        let cim = Cim::start(options.clone());
        let schedule = Self {
            random,
            etcd,
            recorder,
            app,
            kube,
            options,
            cim,
            expected: BTreeMap::new(),
            leases: Vec::new(),
            number: 100,
            nevers: 0,
            compacted: 0,
            restarts: Vec::new(),
            cut: BTreeSet::new(),
            app_deaths: 0,
            peak_kib: 0,
        };
        schedule.cim_is_there();
        schedule.register();
        if schedule.kube.is_some() {
            // From here on CIM needs no other registration.
            eventually(PATIENCE, || schedule.etcd.get(POSITION).is_some());
        }
        schedule
    }

    fn register(&self) {
        let body = br#"{"container_name":"app","container_id":"1"}"#;
        assert_eq!(self.cim.post(REGISTER, body).status, 200);
    }

    fn cim_is_there(&self) {
        self.app.script_replies_to(Some(self.cim.nats));
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..40 => {
                let puts = [self.change_set()];
                self.put(&puts, 0);
            }
            40..53 => {
                let puts: Vec<_> = (0..2 + self.random.below(5))
                    .map(|_| self.change_set())
                    .collect();
                self.put(&puts, 0);
            }
            53..61 => {
                let puts = [self.change_set()];
                let lease = self.etcd.grant_lease(600);
                self.put(&puts, lease);
            }
            61..69 => self.put_something_else(),
            69..75 => self.end_leases(),
            75..80 => self.compact(),
            80..85 => {
                self.etcd.kill();
                self.meanwhile();
                self.etcd.restart();
            }
            85..90 => {
                self.etcd.freeze();
                self.meanwhile();
                self.etcd.thaw();
            }
            90..95 => self.restart_cim(),
            _ => self.restart_app(),
        }
    }

    /// While etcd is away.
    fn meanwhile(&mut self) {
        match self.random.below(4) {
            // With Kubernetes it needs etcd for nothing but change sets; without, for the registration neither.
            0 => self.restart_cim(),
            1 => self.restart_app(),
            _ => self.outage(),
        }
    }

    /// How long something is broken; nothing waits for it.
    fn outage(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(300)));
    }

    /// A change set for this CIM, and its value.
    fn change_set(&mut self) -> (Expected, String) {
        self.number += 1;
        let number = self.number;
        let level = ["ms", "nf"][self.random.below(2) as usize];
        let key = |data| format!("change-set/ns1/ms1/v1/{level}/{data}/{number}");
        let committed = |value: &str| match value {
            "" => number.to_string(),
            value => value.to_owned(),
        };
        if self.random.below(8) == 0 {
            let days = 1 + self.random.below(45);
            let patch =
                json!([{"op": "replace", "path": "/cimConfig/lmaas/max_age", "value": days}]);
            let expected = Expected {
                key: key("cim.json"),
                level,
                is_self: true,
                value: committed(if days <= 30 { "" } else { "-1" }),
            };
            return (expected, patch.to_string());
        }
        let mut way = self.random.below(WAYS.len() as u64 + 4) as usize;
        let is_never = |way: usize| WAYS.get(way).is_some_and(|(name, _)| *name == "never");
        if is_never(way) {
            self.nevers += 1;
            if self.nevers > NEVER_ANSWERED {
                way = 0;
            }
        }
        // Success is more frequent.
        let (name, value) = WAYS.get(way).unwrap_or(&WAYS[0]);
        let expected = Expected {
            key: key(name),
            level,
            is_self: false,
            value: committed(value),
        };
        (expected, "x".repeat(self.random.below(2000) as usize))
    }

    /// One transaction.
    fn put(&mut self, puts: &[(Expected, String)], lease: i64) {
        let steps: Vec<_> = puts
            .iter()
            .map(|(put, value)| {
                let lease = lease.to_string();
                json!({"request_put": {"key": base64(&put.key), "value": base64(value), "lease": lease}})
            })
            .collect();
        let answer = self.etcd.call("kv/txn", &json!({"success": steps}));
        let revision = number(&answer["header"]["revision"]);
        for (put, _) in puts {
            let position = (revision, put.key.clone());
            if lease != 0 {
                self.leases.push((lease, position.clone()));
            }
            self.expected.insert(position, put.clone());
        }
    }

    /// Keys beside those of this CIM, which it must not mind.
    fn put_something_else(&mut self) {
        let number = self.number;
        let key = match self.random.below(6) {
            0 => format!("change-set/ns1/ms1x/v1/ms/success/{number}"),
            1 => format!("change-set/ns1/ms1/v2/ms/success/{number}"),
            2 => "change-set/ns1/ms1/v1".to_owned(),
            3 => "change-set/ns1/ms1/v1/ms/success/latest".to_owned(),
            4 => format!("change-set/ns1/ms1/v1/ms/success/{number}/more"),
            _ => format!("change-set/ns1/ms1/v1/xx/success/{number}"),
        };
        self.etcd.put(&key, "[]");
    }

    /// Where CIM is.
    fn position(&self) -> Option<(i64, String)> {
        position(&self.etcd.get(POSITION)?)
    }

    /// The leases of what is delivered end, as in production after three minutes.
    fn end_leases(&mut self) {
        let done = self.position();
        let leases = std::mem::take(&mut self.leases);
        for (lease, position) in leases {
            if done.as_ref().is_some_and(|done| *done >= position) {
                self.etcd.revoke_lease(lease);
            } else {
                self.leases.push((lease, position));
            }
        }
    }

    fn compact(&mut self) {
        let revision = self.etcd.revision();
        // Not before it is recorded.
        self.recorder.changes(&self.etcd, POSITION);
        if revision > self.compacted {
            self.etcd.compact(revision);
            self.compacted = revision;
        }
    }

    fn restart_cim(&mut self) {
        self.peak_kib = self.peak_kib.max(self.cim.usage().peak_kib);
        // Replies wait for the next one.
        self.app.script_replies_to(None);
        self.cim.kill9();
        self.restarts.push(Instant::now());
        self.cim = Cim::start(self.options.clone());
        self.cim_is_there();
        if self.kube.is_none() {
            self.register();
        }
    }

    fn restart_app(&mut self) {
        let before = self.app.requests(UPDATE).len();
        self.app.refuse();
        self.app_deaths += 1;
        let requests = self.app.requests(UPDATE);
        let under_way = &requests[before.saturating_sub(1)..];
        self.cut
            .extend(under_way.iter().map(Request::change_set_key));
        self.outage();
        self.app.restart();
    }

    /// Runs, heals, and checks; says how it went.
    fn run(mut self) -> String {
        for _ in 0..STEPS {
            self.step();
        }
        let last = [self.change_set()];
        self.put(&last, 0);
        let end = self.expected.last_key_value().unwrap().0.clone();
        eventually(3 * PATIENCE, || self.position().as_ref() == Some(&end));
        self.peak_kib = self.peak_kib.max(self.cim.usage().peak_kib);
        self.check_deliveries();
        self.check_commits();
        assert!(self.peak_kib < PEAK_KIB, "{} KiB", self.peak_kib);
        format!(
            "{} change sets, {} deliveries, {} deaths of CIM, {} of the application, at most {} KiB",
            self.expected.len(),
            self.app.requests(UPDATE).len(),
            self.restarts.len(),
            self.app_deaths,
            self.peak_kib
        )
    }

    /// In order, without gap, and without repeat but for one at each death of CIM. A change set on its way to an application
    /// that dies may have been lost with it.
    fn check_deliveries(&self) {
        let requests = self.app.requests(UPDATE);
        let mut deliveries = requests.iter().peekable();
        let mut restarts = self.restarts.iter().peekable();
        let mut lost = 0;
        for expected in self.expected.values().filter(|expected| !expected.is_self) {
            if deliveries
                .next_if(|request| request.change_set_key() == expected.key)
                .is_none()
            {
                lost += 1;
                assert!(lost <= self.app_deaths, "{} is missing", expected.key);
                continue;
            }
            while let Some(again) =
                deliveries.next_if(|request| request.change_set_key() == expected.key)
            {
                let restart = restarts.next_if(|at| **at < again.at);
                assert!(restart.is_some(), "{} came again", expected.key);
            }
            if let Some(request) = deliveries.peek() {
                // Each restart explains repeats of one change set alone.
                while restarts.next_if(|at| **at < request.at).is_some() {}
            }
        }
        let rest: Vec<_> = deliveries.map(Request::change_set_key).collect();
        assert_eq!(rest, [""; 0], "out of order");
    }

    /// Each change set has one commit, in order, together with its position.
    fn check_commits(&self) {
        let positions = self.recorder.changes(&self.etcd, "cim-position/");
        let mut commits = self.recorder.changes(&self.etcd, "commit-config/");
        let done: Vec<_> = positions
            .iter()
            .filter_map(|change| Some((change.revision, position(change.value.as_ref()?)?)))
            .collect();
        let in_order: Vec<_> = done.iter().map(|(_, position)| position).collect();
        let expected: Vec<_> = self.expected.keys().collect();
        assert_eq!(in_order, expected, "positions");
        let delivered: BTreeSet<_> = self
            .app
            .requests(UPDATE)
            .iter()
            .map(Request::change_set_key)
            .collect();
        for (revision, position) in &done {
            let expected = &self.expected[position];
            let index = commits
                .iter()
                .position(|commit| commit.revision == *revision)
                .unwrap_or_else(|| panic!("{} has no commit", expected.key));
            let commit = commits.remove(index);
            let kind = if expected.is_self && self.kube.is_some() {
                "cim/"
            } else {
                ""
            };
            let commit_key = format!("commit-config/ns1/ms1/v1/{}/{kind}cnf-0", expected.level);
            assert_eq!(commit.key, commit_key, "{}", expected.key);
            let value = commit.value.unwrap();
            // Nobody knows how far an application came that died.
            let was_cut = self.cut.contains(&expected.key) || !delivered.contains(&expected.key);
            let may_fail = was_cut && !expected.is_self && value == "-1";
            assert!(
                value == expected.value || may_fail,
                "{} is committed with {value} instead of {}",
                expected.key,
                expected.value
            );
        }
        // What the pod started with.
        commits.retain(|commit| !(commit.key.contains("/ms/cim/") && self.kube.is_some()));
        assert_eq!(commits, [], "commits of nothing");
    }
}

/// What a value of the memory key says; `None`: nothing was dealt with yet.
fn position(value: &str) -> Option<(i64, String)> {
    let value: Value = serde_json::from_str(value).unwrap();
    let revision = number(&value["revision"]);
    (revision > 0).then(|| (revision, value["key"].as_str().unwrap().to_owned()))
}

#[test]
#[ignore = "integration"]
fn with_etcd_random_schedules_deliver_in_order_and_commit_once() {
    let given = std::env::var("CIM_TEST_SEED").ok();
    let seeds: Vec<u64> = match given.and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let base = now.as_micros() as u64 & !1;
            (0..SCHEDULES).map(|n| base + 2 * n).collect()
        }
    };
    let waiting = Mutex::new(seeds.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(seed) = waiting.lock().unwrap().next() else {
                        return;
                    };
                    let start = Instant::now();
                    let result = catch_unwind(AssertUnwindSafe(|| Schedule::new(seed).run()));
                    match result {
                        Ok(how) => eprintln!("seed {seed}: {how}, {:?}", start.elapsed()),
                        Err(panic) => {
                            eprintln!("CIM_TEST_SEED={seed} failed");
                            resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
}
