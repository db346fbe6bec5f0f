//! Who does what when etcd, the application or CIM dies at each step of a delivery: a test for each cell of the table in
//! ARCHITECTURE.md, named `<step>_and_<who>_dies`. Those about etcd are done with the real one too (`with_etcd_…`). Each ends with
//! one more change set: what had to come, and what had to be committed, is in front of that one, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use serde_json::{Value, json};
use servers::kube::golden_pod;
use servers::{Behaviour, Change, Etcd, EtcdGateway, Kube, Recorder, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, PATIENCE, eventually};

const UPDATE: &str = "/updateConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const HISTORY: &str = "/api/v1/_operations/config/history";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
const POSITION: &str = "cim-position/ns1/ms1/v1/cnf-0";
/// The change set at the end of each test.
const LAST: u64 = 900;

/// etcd, which dies and comes back with what it had.
enum Store {
    StandIn(EtcdGateway),
    Real(Etcd, Recorder),
}

impl Store {
    fn stand_in() -> Self {
        Self::StandIn(EtcdGateway::start())
    }

    fn real() -> Self {
        let etcd = Etcd::start();
        let recorder = Recorder::start(&etcd);
        Self::Real(etcd, recorder)
    }

    fn url(&self) -> String {
        match self {
            Self::StandIn(etcd) => etcd.client_url(),
            Self::Real(etcd, _) => etcd.client_url(),
        }
    }

    fn put(&self, key: &str) {
        match self {
            Self::StandIn(etcd) => etcd.put(key, "[]"),
            Self::Real(etcd, _) => etcd.put(key, "[]"),
        };
    }

    fn get(&self, key: &str) -> Option<String> {
        match self {
            Self::StandIn(etcd) => etcd.get(key),
            Self::Real(etcd, _) => etcd.get(key),
        }
    }

    fn changes(&self, prefix: &str) -> Vec<Change> {
        match self {
            Self::StandIn(etcd) => etcd.changes(prefix),
            Self::Real(etcd, recorder) => recorder.changes(etcd, prefix),
        }
    }

    /// It takes requests and answers nothing.
    fn freeze(&self) {
        match self {
            Self::StandIn(etcd) => etcd.hang(true),
            Self::Real(etcd, _) => etcd.freeze(),
        }
    }

    /// Frozen or not. The stand-in does what it had taken before, and answers nobody; the real one loses it.
    fn die(&mut self) {
        match self {
            Self::StandIn(etcd) => {
                etcd.refuse(true);
                etcd.hang(false);
            }
            Self::Real(etcd, _) => etcd.kill(),
        }
    }

    fn come_back(&mut self) {
        match self {
            Self::StandIn(etcd) => etcd.refuse(false),
            Self::Real(etcd, _) => etcd.restart(),
        }
    }
}

/// The application and CIM, with etcd and Kubernetes around them.
struct Pod {
    etcd: Store,
    app: TestApp,
    options: Options,
    cim: Cim,
    _kube: Kube,
}

impl Pod {
    /// The application has registered, answers well, and its change set 100 is committed.
    fn start(etcd: Store) -> Self {
        Self::start_with(etcd, &[])
    }

    fn start_with(etcd: Store, env: &[(&str, &str)]) -> Self {
        let pod = Self::registered(etcd, env);
        pod.deliver(100);
        pod
    }

    fn registered(etcd: Store, env: &[(&str, &str)]) -> Self {
        let (app, kube) = (TestApp::start(), Kube::start());
        kube.put_pod(golden_pod(json!({"topogw.fqdn": "topo-gw.ns1:8080"})));
        let mut options = Options::new()
            .env("CIM_ETCD_URL", etcd.url())
            .env("CIM_APP_URL", app.url())
            .env("MS_CONFIG_REVISION", "3");
        options.infra_json = Some(json!({}));
        for (name, value) in kube.env() {
            options = options.env(name, value);
        }
        for (name, value) in env {
            options = options.env(name, value);
        }
        let cim = Cim::start(options.clone());
        app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
        let answer = cim.post(REGISTER, br#"{"container_name":"app","container_id":"1"}"#);
        assert_eq!(answer.status, 200, "{}", answer.text());
        eventually(PATIENCE, || etcd.get(COMMIT).as_deref() == Some("3"));
        Self {
            etcd,
            app,
            options,
            cim,
            _kube: kube,
        }
    }

    fn put(&self, number: u64) {
        let key = format!("change-set/ns1/ms1/v1/ms/app.json/{number}");
        self.etcd.put(&key);
    }

    #[track_caller]
    fn committed(&self, value: &str) {
        eventually(PATIENCE, || self.etcd.get(COMMIT).as_deref() == Some(value));
    }

    /// A change set that goes as it should.
    #[track_caller]
    fn deliver(&self, number: u64) {
        self.put(number);
        self.committed(&number.to_string());
    }

    /// Waits until CIM's history has this of a change set.
    #[track_caller]
    fn until(&self, number: u64, what: &str) {
        eventually(PATIENCE, || {
            let history = self.cim.get(HISTORY).json();
            let records = history["change_sets"].as_array().unwrap();
            let mut of_number = records.iter().filter(|record| record["revision"] == number);
            of_number.any(|record| record[what] != Value::Null)
        });
    }

    #[track_caller]
    fn until_metric(&self, name: &str, least: f64) {
        eventually(PATIENCE, || self.cim.metric(name, &[]) >= least);
    }

    /// The application has got the POST and does not answer it until [`Pod::answer`].
    #[track_caller]
    fn put_to_a_slow_application(&self, number: u64) {
        self.app.on(UPDATE, Behaviour::Late(200));
        self.put(number);
        let before = self.app.requests(UPDATE).len();
        eventually(PATIENCE, || self.posted().last() == Some(&number));
        assert!(self.app.requests(UPDATE).len() <= before + 1);
    }

    fn answer(&self) {
        self.app.on(UPDATE, Behaviour::Answer(200));
        self.app.release();
    }

    /// The application has accepted it, and says nothing on CONFIG until `release_replies`.
    #[track_caller]
    fn put_and_be_accepted(&self, number: u64) {
        let accepted = self.cim.metric("cim_config_push_success_total", &[]);
        let held = Reply {
            held: true,
            ..Reply::of(ReplyStatus::Success)
        };
        self.app.reply_with(self.cim.nats, held);
        self.put(number);
        self.until_metric("cim_config_push_success_total", accepted + 1.0);
    }

    /// The application replies to what comes from now on, and to what it has held back.
    fn reply(&self) {
        let reply = Reply::of(ReplyStatus::Success);
        self.app.reply_with(self.cim.nats, reply);
        self.app.release_replies();
    }

    /// The application replies, and CIM knows it.
    #[track_caller]
    fn be_answered(&self, number: u64) {
        self.reply();
        self.until(number, "answered");
    }

    fn kill_cim(&mut self) {
        self.cim.kill9();
        // What the application has not said yet it says to nobody.
        self.app.reply_nothing();
        self.app.on(UPDATE, Behaviour::Late(200));
        self.app.release();
    }

    /// A CIM in the same pod. The application goes on; it does not register again.
    fn start_cim(&mut self) {
        self.cim = Cim::start(self.options.clone());
        self.reply();
    }

    /// As [`Pod::start_cim`], and CIM delivers `number` first.
    #[track_caller]
    fn start_cim_that_delivers(&mut self, number: u64) {
        let before = self.posted().len();
        self.start_cim();
        eventually(PATIENCE, || self.posted().len() > before);
        assert_eq!(self.posted()[before..], [number]);
        self.answer();
    }

    /// The numbers of the change sets that the application got.
    fn posted(&self) -> Vec<u64> {
        let requests = self.app.requests(UPDATE);
        let number = |body: Value| body["revision"].as_str().unwrap().parse().unwrap();
        requests
            .iter()
            .map(|request| number(request.json()))
            .collect()
    }

    /// After one more change set, that is what was delivered since number 100, and committed.
    #[track_caller]
    fn ends_with(self, posted: &[u64], commits: &[&str]) {
        self.deliver(LAST);
        self.has_had([&[100], posted].concat(), &[&["100"], commits].concat());
    }

    #[track_caller]
    fn has_had(&self, mut posted: Vec<u64>, commits: &[&str]) {
        posted.push(LAST);
        assert_eq!(self.posted(), posted, "delivered");
        let last = LAST.to_string();
        let commits = [&["3"], commits, &[last.as_str()]].concat();
        let changes = self.etcd.changes(COMMIT);
        let values: Vec<_> = changes
            .iter()
            .map(|change| change.value.as_deref())
            .collect();
        let commits: Vec<_> = commits.into_iter().map(Some).collect();
        assert_eq!(values, commits, "committed");
        // With each commit the position, in the order of the change sets.
        let positions = self.etcd.changes(POSITION);
        let revisions = |changes: &[Change]| -> Vec<i64> {
            changes.iter().map(|change| change.revision).collect()
        };
        let first = positions.len() - (changes.len() - 1);
        assert_eq!(revisions(&positions[first..]), revisions(&changes[1..]));
        posted.dedup();
        let done = |change: &Change| -> u64 {
            let value: Value = serde_json::from_str(change.value.as_ref().unwrap()).unwrap();
            let (_, number) = value["key"].as_str().unwrap().rsplit_once('/').unwrap();
            number.parse().unwrap()
        };
        let done: Vec<u64> = positions[first..].iter().map(done).collect();
        assert_eq!(done, posted, "positions");
    }
}

/// The cells of the column "etcd dies", for either etcd.
mod etcd_dies {
    use super::*;

    pub fn put_not_yet_seen(etcd: Store) {
        let mut pod = Pod::start(etcd);
        match &pod.etcd {
            // Its watches say nothing any more.
            Store::StandIn(etcd) => etcd.hang(true),
            Store::Real(..) => pod.cim.signal(support::Signal::STOP),
        }
        pod.put(101);
        pod.etcd.die();
        pod.cim.signal(support::Signal::CONT);
        pod.etcd.come_back();
        pod.committed("101");
        pod.ends_with(&[101], &["101"]);
    }

    pub fn seen_and_waits(etcd: Store) {
        let mut pod = Pod::start(etcd);
        pod.put_to_a_slow_application(101);
        pod.put(102);
        pod.until(102, "seen");
        pod.etcd.die();
        pod.answer();
        pod.until_metric("cim_commit_config_push_failure_total", 1.0);
        assert_eq!(
            pod.posted(),
            [100, 101],
            "the commit before it is not taken"
        );
        pod.etcd.come_back();
        pod.committed("102");
        pod.ends_with(&[101, 102], &["101", "102"]);
    }

    pub fn post_under_way(etcd: Store) {
        let mut pod = Pod::start(etcd);
        pod.put_to_a_slow_application(101);
        pod.etcd.die();
        pod.answer();
        pod.until_metric("cim_commit_config_push_failure_total", 1.0);
        pod.etcd.come_back();
        pod.committed("101");
        pod.ends_with(&[101], &["101"]);
    }

    pub fn accepted(etcd: Store) {
        let mut pod = Pod::start(etcd);
        pod.put_and_be_accepted(101);
        pod.etcd.die();
        pod.be_answered(101);
        pod.until_metric("cim_commit_config_push_failure_total", 1.0);
        pod.etcd.come_back();
        pod.committed("101");
        pod.ends_with(&[101], &["101"]);
    }

    pub fn answered(etcd: Store) {
        let mut pod = Pod::start(etcd);
        pod.put_and_be_accepted(101);
        pod.put(102);
        pod.until(102, "seen");
        pod.etcd.freeze();
        pod.be_answered(101);
        pod.etcd.die();
        pod.until_metric("cim_commit_config_push_failure_total", 1.0);
        assert_eq!(
            pod.posted(),
            [100, 101],
            "the commit before it is not taken"
        );
        pod.etcd.come_back();
        pod.committed("102");
        pod.ends_with(&[101, 102], &["101", "102"]);
    }

    pub fn committed(etcd: Store) {
        let mut pod = Pod::start(etcd);
        pod.etcd.die();
        pod.etcd.come_back();
        pod.deliver(101);
        pod.ends_with(&[101], &["101"]);
    }
}

#[test]
fn put_not_yet_seen_and_etcd_dies() {
    etcd_dies::put_not_yet_seen(Store::stand_in());
}

#[test]
fn seen_and_waits_behind_another_and_etcd_dies() {
    etcd_dies::seen_and_waits(Store::stand_in());
}

#[test]
fn post_under_way_and_etcd_dies() {
    etcd_dies::post_under_way(Store::stand_in());
}

#[test]
fn accepted_without_an_answer_yet_and_etcd_dies() {
    etcd_dies::accepted(Store::stand_in());
}

#[test]
fn answered_and_not_committed_and_etcd_dies() {
    etcd_dies::answered(Store::stand_in());
}

#[test]
fn committed_and_etcd_dies() {
    etcd_dies::committed(Store::stand_in());
}

#[test]
#[ignore = "integration"]
fn with_etcd_put_not_yet_seen_and_etcd_dies() {
    etcd_dies::put_not_yet_seen(Store::real());
}

#[test]
#[ignore = "integration"]
fn with_etcd_seen_and_waits_behind_another_and_etcd_dies() {
    etcd_dies::seen_and_waits(Store::real());
}

#[test]
#[ignore = "integration"]
fn with_etcd_post_under_way_and_etcd_dies() {
    etcd_dies::post_under_way(Store::real());
}

#[test]
#[ignore = "integration"]
fn with_etcd_accepted_without_an_answer_yet_and_etcd_dies() {
    etcd_dies::accepted(Store::real());
}

#[test]
#[ignore = "integration"]
fn with_etcd_answered_and_not_committed_and_etcd_dies() {
    etcd_dies::answered(Store::real());
}

#[test]
#[ignore = "integration"]
fn with_etcd_committed_and_etcd_dies() {
    etcd_dies::committed(Store::real());
}

/// The time-out of an answer that nobody gives.
const SHORT: &[(&str, &str)] = &[("CIM_CONFIG_REPLY_TIMEOUT", "1s")];

#[test]
fn put_not_yet_seen_and_the_application_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.app.refuse();
    pod.put(101);
    pod.until(101, "sent");
    pod.app.restart();
    pod.committed("101");
    pod.ends_with(&[101], &["101"]);
}

#[test]
fn seen_and_waits_behind_another_and_the_application_dies() {
    let mut pod = Pod::start_with(Store::stand_in(), SHORT);
    pod.put_and_be_accepted(101);
    pod.put(102);
    pod.until(102, "seen");
    pod.app.refuse();
    pod.app
        .reply_with(pod.cim.nats, Reply::of(ReplyStatus::Success));
    pod.committed("-1");
    pod.until(102, "sent");
    pod.app.restart();
    pod.committed("102");
    pod.ends_with(&[101, 102], &["-1", "102"]);
}

#[test]
fn post_under_way_and_the_application_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.app.on(UPDATE, Behaviour::CloseAfter);
    pod.put(101);
    pod.committed("-1");
    pod.app.refuse();
    pod.app.on(UPDATE, Behaviour::Answer(200));
    pod.app.restart();
    pod.ends_with(&[101], &["-1"]);
}

#[test]
fn accepted_without_an_answer_yet_and_the_application_dies() {
    let mut pod = Pod::start_with(Store::stand_in(), SHORT);
    pod.put_and_be_accepted(101);
    pod.app.refuse();
    pod.committed("-1");
    pod.app
        .reply_with(pod.cim.nats, Reply::of(ReplyStatus::Success));
    pod.app.restart();
    pod.ends_with(&[101], &["-1"]);
}

#[test]
fn answered_and_not_committed_and_the_application_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.put_and_be_accepted(101);
    pod.etcd.die();
    pod.be_answered(101);
    pod.app.refuse();
    pod.etcd.come_back();
    pod.committed("101");
    pod.app.restart();
    pod.ends_with(&[101], &["101"]);
}

#[test]
fn committed_and_the_application_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.deliver(101);
    pod.app.refuse();
    pod.app.restart();
    pod.ends_with(&[101], &["101"]);
}

#[test]
fn put_not_yet_seen_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.etcd.freeze();
    pod.put(101);
    pod.kill_cim();
    pod.etcd.die();
    pod.etcd.come_back();
    pod.start_cim_that_delivers(101);
    pod.committed("101");
    pod.ends_with(&[101], &["101"]);
}

#[test]
fn seen_and_waits_behind_another_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.put_to_a_slow_application(101);
    pod.put(102);
    pod.until(102, "seen");
    pod.kill_cim();
    pod.start_cim_that_delivers(101);
    pod.committed("102");
    pod.ends_with(&[101, 101, 102], &["101", "102"]);
}

#[test]
fn post_under_way_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.put_to_a_slow_application(101);
    pod.kill_cim();
    pod.start_cim_that_delivers(101);
    pod.committed("101");
    pod.ends_with(&[101, 101], &["101"]);
}

#[test]
fn accepted_without_an_answer_yet_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.put_and_be_accepted(101);
    pod.kill_cim();
    pod.start_cim_that_delivers(101);
    pod.committed("101");
    pod.ends_with(&[101, 101], &["101"]);
}

#[test]
fn answered_and_not_committed_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.put_and_be_accepted(101);
    pod.etcd.die();
    pod.be_answered(101);
    pod.kill_cim();
    pod.etcd.come_back();
    pod.start_cim_that_delivers(101);
    pod.committed("101");
    pod.ends_with(&[101, 101], &["101"]);
}

#[test]
fn committed_and_cim_dies() {
    let mut pod = Pod::start(Store::stand_in());
    pod.deliver(101);
    pod.kill_cim();
    pod.put(102);
    pod.start_cim_that_delivers(102);
    pod.committed("102");
    pod.ends_with(&[101, 102], &["101", "102"]);
}

/// The application has registered, and need not do it again because CIM was killed before anything was ever committed.
#[test]
fn cim_dies_before_the_first_change_set() {
    let mut pod = Pod::registered(Store::stand_in(), &[]);
    pod.kill_cim();
    pod.put(101);
    pod.start_cim_that_delivers(101);
    pod.committed("101");
    pod.deliver(LAST);
    pod.has_had(vec![101], &["101"]);
}
