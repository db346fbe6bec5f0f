//! The daemon while the Kubernetes API server fails, hangs, refuses or comes late.
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

use serde_json::{Value, json};
use servers::kube::{Fault, Kube, golden_pod};
use servers::tmaas::Tmaas;
use support::{Cim, Options, PATIENCE, Signal, eventually};

const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const CONFIG_MAP: &str = "/api/v1/namespaces/ns1/configmaps/svctype-cim-v1-mgmt-cfg";

fn with_pod() -> Kube {
    let kube = Kube::start();
    kube.put_pod(golden_pod(
        json!({"topogw.fqdn": "topo-gw.ns1.svc.cluster.local:8080"}),
    ));
    kube
}

/// No cim.json, an empty common-infra.json.
fn options(kube: &Kube) -> Options {
    let mut options = Options::new();
    options.infra_json = Some(json!({}));
    for (name, value) in kube.env() {
        options = options.env(name, value);
    }
    options
}

fn posts(kube: &Kube) -> Vec<u16> {
    let requests = kube.requests();
    let posts = requests.iter().filter(|seen| seen.method == "POST");
    posts.map(|seen| seen.code).collect()
}

#[track_caller]
fn register(cim: &Cim, body: &Value) -> Value {
    let answer = cim.post(REGISTER, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn cim_runs_on_what_it_has_and_goes_on_when_the_server_is_back() {
    let kube = with_pod();
    kube.fault(Some(Fault::Status(503)));
    let cim = Cim::start(options(&kube));
    cim.until_part("kubernetes", "not ready", "the server fails (503)");
    assert_eq!(cim.get("/readyz").status, 200, "it is not needed");
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"useful");
    wire.ping_pong();
    let start = Instant::now();
    assert_eq!(register(&cim, &json!({}))["tmaas_annotations"], Value::Null);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    kube.fault(None);
    cim.until_part(
        "kubernetes",
        "ready",
        "the ConfigMap exists, revision \"0\"",
    );
    assert_eq!(posts(&kube), [201], "made in the background");
    assert_eq!(
        register(&cim, &json!({}))["tmaas_annotations"]["nfId"],
        "nf1"
    );
    for (verb, code) in [
        ("get", "503"),
        ("get", "200"),
        ("get", "404"),
        ("create", "201"),
    ] {
        let labels = [("verb", verb), ("code", code)];
        assert!(
            cim.metric("cim_kubernetes_requests_total", &labels) > 0.0,
            "{verb} {code}"
        );
    }
}

#[test]
fn a_frozen_server_holds_up_neither_start_nor_registration_nor_stop() {
    let kube = with_pod();
    kube.fault(Some(Fault::Freeze));
    let mut cim = Cim::start(options(&kube));
    eventually(PATIENCE, || kube.open() > 0);
    let start = Instant::now();
    register(&cim, &json!({}));
    // Until the call that is under way has had its time, and no longer.
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "{:?}",
        start.elapsed()
    );
    cim.until_part("kubernetes", "not ready", "no answer in time");
    let hangs = kube.connections();
    eventually(PATIENCE, || kube.connections() > hangs);
    let start = Instant::now();
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_config_map_that_another_pod_was_faster_to_make_counts() {
    let kube = with_pod();
    let cim = Cim::start(options(&kube));
    cim.until_part("kubernetes", "ready", "there is no ConfigMap");
    let text = json!({"cimConfig": {"cim_settings": {"enable_kpi": false}}}).to_string();
    kube.put_config_map(json!({
        "metadata": {"name": "svctype-cim-v1-mgmt-cfg", "namespace": "ns1"},
        "data": {"cim.json": text, "revision": "4"},
    }));
    register(&cim, &json!({"lmaas": {"buffer_size": 2000}}));
    assert_eq!(posts(&kube), [409]);
    assert_eq!(
        kube.log().last().unwrap(),
        &format!("GET {CONFIG_MAP} -> 200")
    );
    assert_eq!(cim.get("/metrics").status, 404, "its settings are in force");
    let (_, reason) = cim.part("kubernetes");
    assert!(reason.contains("revision \"4\""), "{reason}");
}

#[test]
fn a_config_map_whose_making_failed_is_made_in_the_background() {
    let kube = with_pod();
    let cim = Cim::start(options(&kube));
    cim.until_part("kubernetes", "ready", "there is no ConfigMap");
    kube.fault(Some(Fault::Status(500)));
    assert_eq!(
        register(&cim, &json!({"lmaas": {"buffer_size": 2000}}))["status"],
        "success"
    );
    eventually(PATIENCE, || posts(&kube).len() > 1);
    kube.fault(None);
    cim.until_part("kubernetes", "ready", "revision \"0\"");
    let made = kube.object(CONFIG_MAP).unwrap();
    let text: Value = serde_json::from_str(made["data"]["cim.json"].as_str().unwrap()).unwrap();
    assert_eq!(text["cimConfig"]["lmaas"]["buffer_size"], 2000);
}

#[test]
fn a_making_whose_answer_was_lost_is_no_second_config_map() {
    let kube = with_pod();
    let cim = Cim::start(options(&kube));
    cim.until_part("kubernetes", "ready", "there is no ConfigMap");
    kube.fault(Some(Fault::Swallow));
    register(&cim, &json!({}));
    eventually(PATIENCE, || !posts(&kube).is_empty());
    kube.fault(None);
    cim.until_part("kubernetes", "ready", "revision \"0\"");
    let codes = posts(&kube);
    assert_eq!(codes[0], 201);
    assert!(codes[1..].iter().all(|code| *code == 409), "{codes:?}");
}

#[test]
fn a_right_that_is_missing_is_said_and_the_application_registers() {
    let kube = with_pod();
    kube.forbid("get pods", true);
    let cim = Cim::start(options(&kube));
    cim.until_part(
        "kubernetes",
        "not ready",
        "give the service account's role this right",
    );
    let start = Instant::now();
    register(&cim, &json!({}));
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_pod_without_the_address_of_the_server_says_so() {
    let cim = Cim::start(Options::new());
    let (state, reason) = cim.part("kubernetes");
    assert_eq!(state, "not ready");
    assert!(reason.contains("KUBERNETES_SERVICE_HOST"), "{reason}");
    register(&cim, &json!({}));
}

#[test]
fn a_config_map_with_bad_settings_is_refused_and_exists() {
    let kube = with_pod();
    let text = json!({"cimConfig": {"lmaas": {"buffer_size": -5}}}).to_string();
    kube.put_config_map(json!({
        "metadata": {"name": "svctype-cim-v1-mgmt-cfg", "namespace": "ns1"},
        "data": {"cim.json": text, "revision": "4"},
    }));
    let cim = Cim::start(options(&kube));
    cim.until_part("kubernetes", "ready", "revision \"4\"");
    register(&cim, &json!({}));
    assert_eq!(posts(&kube), [0; 0]);
    eventually(PATIENCE, || {
        let log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        log.contains("refused: cimConfig.lmaas.buffer_size: -5 is not allowed")
    });
}

#[test]
fn tmaas_is_asked_until_it_gives_something_that_can_be_used() {
    let tmaas = Tmaas::start("not yet");
    let kube = Kube::start();
    kube.put_pod(golden_pod(
        json!({"topogw.fqdn": tmaas.address.to_string()}),
    ));
    let mut options = options(&kube);
    options.infra_json = None;
    let cim = Cim::start(options);
    cim.until_part("kubernetes", "not ready", "refused: not valid JSON");
    tmaas.answer(500, "");
    cim.until_part("kubernetes", "not ready", "status 500");
    tmaas.answer(200, r#"{"apigw_rest_fqdn": "gw:1"}"#);
    cim.until_part("kubernetes", "ready", "");
    assert_eq!(register(&cim, &json!({}))["apigw_rest_fqdn"], "gw:1");
}
