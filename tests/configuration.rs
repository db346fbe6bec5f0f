//! Change sets through the whole daemon: from etcd to the application and back (CONTRACT section 4), with stand-ins for etcd and
//! the application.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use servers::{Behaviour, EtcdGateway, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, PATIENCE, eventually};

const UPDATE: &str = "/updateConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";

fn options(etcd: &EtcdGateway, app: &TestApp) -> Options {
    Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1")
        .env("CIM_SERVICE_VERSION", "v1")
        .env("MS_CONFIG_REVISION", "3")
        .env("NF_CONFIG_REVISION", "2")
}

#[track_caller]
fn register(cim: &Cim) {
    let answer = cim.post(REGISTER, br#"{"container_name":"app","container_id":"1"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn key(number: u64) -> String {
    format!("change-set/ns1/ms1/v1/ms/app.json/{number}")
}

#[track_caller]
fn committed(etcd: &EtcdGateway, value: &str) {
    eventually(PATIENCE, || etcd.get(COMMIT).as_deref() == Some(value));
}

#[test]
fn a_change_set_goes_to_the_application_and_its_outcome_into_etcd() {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    let cim = Cim::start(options(&etcd, &app));
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    etcd.put(&key(101), "[]");
    register(&cim);
    committed(&etcd, "101");
    let request = app.wait_for(UPDATE, 1).remove(0).json();
    assert_eq!(request["change-set-key"], key(101));
    assert_eq!(etcd.get("commit-config/ns1/ms1/v1/nf/cnf-0").unwrap(), "2");
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Unused));
    etcd.put(&key(102), "[]");
    committed(&etcd, "-2");
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Failure));
    etcd.put(&key(103), "[]");
    committed(&etcd, "-1");
    app.on(UPDATE, Behaviour::Answer(500));
    etcd.put(&key(104), "[]");
    let changes = || etcd.changes(COMMIT).len();
    eventually(PATIENCE, || changes() == 5);
    assert_eq!(etcd.get(COMMIT).unwrap(), "-1");
    let history = cim.get("/api/v1/_operations/config/history").json();
    let outcomes: Vec<_> = history["change_sets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["outcome"].as_str().unwrap_or("-").to_owned())
        .collect();
    assert_eq!(outcomes[..3], ["success", "unused", "failure"]);
}
