//! Change sets and the first configuration when things come late, come in an unlucky moment, or change while CIM runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use servers::kube::{Fault, Kube, golden_pod};
use servers::{Behaviour, EtcdGateway, Reply, ReplyStatus, TestApp};
use support::{Cim, Options, PATIENCE, Signal, eventually};

const UPDATE: &str = "/updateConfig";
const LOAD: &str = "/api/v1/_operations/loadConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";

fn options(app: &TestApp) -> Options {
    Options::new()
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1")
        .env("CIM_SERVICE_VERSION", "v1")
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
fn an_application_that_asks_before_kubernetes_has_answered_gets_its_first_configuration() {
    let (etcd, app, kube) = (EtcdGateway::start(), TestApp::start(), Kube::start());
    etcd.put("config/ns1/ms1/2", r#"{"app.json":"{}"}"#);
    kube.put_pod(golden_pod(json!({})));
    kube.fault(Some(Fault::Status(503)));
    let mut options = Options::new()
        .env("CIM_APP_URL", app.url())
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("NF_CONFIG_REVISION", "2");
    for (name, value) in kube.env() {
        options = options.env(name, value);
    }
    let cim = Cim::start(options);
    eventually(PATIENCE, || !kube.requests().is_empty());
    register(&cim);
    let mut wire = cim.client();
    wire.publish_event("NotConfigured");
    wire.ping_pong();
    kube.fault(None);
    let load = app.wait_for(LOAD, 1).remove(0);
    assert_eq!(load.body, br#"{"app.json":"{}"}"#);
}

#[test]
fn an_application_that_starts_again_during_a_call_gets_its_first_configuration_again() {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    etcd.put("config/ns1/ms1/2", r#"{"app.json":"{}"}"#);
    let cim = Cim::start(options(&app).env("CIM_ETCD_URL", etcd.client_url()));
    register(&cim);
    let mut wire = cim.client();
    wire.publish_event("NotConfigured");
    app.wait_for(LOAD, 1);
    app.on(UPDATE, Behaviour::Late(200));
    etcd.put(&key(1), "[]");
    app.wait_for(UPDATE, 1);
    // Both wait for the end of the call.
    register(&cim);
    wire.publish_event("NotConfigured");
    wire.ping_pong();
    app.release();
    app.wait_for(LOAD, 2);
}

#[test]
fn another_etcd_is_taken_at_once_when_sighup_says_so() {
    let (old, new, app) = (EtcdGateway::start(), EtcdGateway::start(), TestApp::start());
    let options = options(&app).infra("etcd_url", old.client_url());
    let cim = Cim::start(options);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    register(&cim);
    old.put(&key(1), "[]");
    committed(&old, "1");
    // One is in flight meanwhile: it is neither repeated nor lost.
    app.on(UPDATE, Behaviour::Late(200));
    old.put(&key(2), "[]");
    app.wait_for(UPDATE, 2);
    new.replace_cluster();
    new.put(&key(3), "[]");
    cim.write_infra_json(&json!({"etcd_url": new.client_url()}));
    let start = Instant::now();
    cim.signal(Signal::HUP);
    eventually(PATIENCE, || new.requests("watch") > 0);
    assert!(start.elapsed() < Duration::from_secs(10));
    app.on(UPDATE, Behaviour::Answer(200));
    app.release();
    committed(&new, "3");
    let keys: Vec<_> = app
        .requests(UPDATE)
        .iter()
        .map(|request| request.change_set_key())
        .collect();
    assert_eq!(keys, [key(1), key(2), key(3)]);
    let values: Vec<_> = new
        .changes(COMMIT)
        .into_iter()
        .filter_map(|change| change.value)
        .collect();
    assert_eq!(values, ["2", "3"]);
}

#[test]
fn several_etcds_that_take_turns_behind_one_address_are_not_asked_without_a_pause() {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    etcd.many_clusters(true);
    let cim = Cim::start(options(&app).env("CIM_ETCD_URL", etcd.client_url()));
    let start = Instant::now();
    eventually(PATIENCE, || etcd.requests("kv/range") >= 5);
    // Pauses of at least 50, 100, 200 and 400 ms.
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
    etcd.many_clusters(false);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    register(&cim);
    etcd.put(&key(1), "[]");
    committed(&etcd, "1");
}

#[test]
fn an_application_that_has_registered_gets_its_change_sets_after_a_restart_of_cim() {
    let (etcd, app, kube) = (EtcdGateway::start(), TestApp::start(), Kube::start());
    kube.put_pod(golden_pod(json!({})));
    let mut options = Options::new()
        .env("CIM_APP_URL", app.url())
        .env("CIM_ETCD_URL", etcd.client_url());
    for (name, value) in kube.env() {
        options = options.env(name, value);
    }
    let mut cim = Cim::start(options.clone());
    register(&cim);
    let memory = || etcd.get("cim-position/ns1/ms1/v1/cnf-0");
    eventually(PATIENCE, || memory().is_some());
    // Nothing was delivered yet, and the application does not register again because CIM was killed.
    cim.kill9();
    etcd.put(&key(1), "[]");
    let cim = Cim::start(options);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    committed(&etcd, "1");
    assert_eq!(app.requests(UPDATE).len(), 1);
}

#[test]
fn an_etcd_that_gives_no_right_to_the_memory_key_still_gets_its_change_sets_committed() {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    etcd.deny_prefix("cim-position/");
    let options = options(&app)
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("MS_CONFIG_REVISION", "3");
    let cim = Cim::start(options);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    etcd.put(&key(3), "[]");
    register(&cim);
    committed(&etcd, "3");
    etcd.put(&key(4), "[]");
    committed(&etcd, "4");
    assert_eq!(app.requests(UPDATE).len(), 1);
}
