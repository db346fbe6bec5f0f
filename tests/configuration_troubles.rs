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

use serde_json::json;
use servers::kube::{Fault, Kube, golden_pod};
use servers::{Behaviour, EtcdGateway, TestApp};
use support::{Cim, Options, PATIENCE, eventually};

const UPDATE: &str = "/updateConfig";
const LOAD: &str = "/api/v1/_operations/loadConfig";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";

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
