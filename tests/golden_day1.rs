//! The original's first configurations (`golden/7-day1`) through the whole daemon, and where ours differs on purpose. That an
//! application which refuses connections (04) has 10 s: `an_application_that_does_not_listen_yet_is_tried_for_a_bounded_time`.
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

use serde_json::Value;
use servers::kube::Fault;
use servers::scene::{
    POD, Scene, events, events_since, golden, golden_event, golden_json, golden_request, own_log,
    register, request,
};
use servers::{Behaviour, Reply, ReplyStatus};
use support::{Cim, NatsWire, PATIENCE, eventually};

const LOAD: &str = "/api/v1/_operations/loadConfig";
const AT_2: &str = "config/ns1/ms1/2";
const AT_0: &str = "config/ns1/ms1/0";

fn value() -> String {
    String::from_utf8(golden("7-day1/01_config_ns1_ms1_2.value.raw")).unwrap()
}

/// Publishes the captured event.
fn tell(wire: &mut NatsWire, event: &str) {
    wire.publish("EVENT", &golden(&format!("7-day1/event_{event}.fb")));
}

/// A registered application.
fn start(scene: &Scene) -> (Cim, NatsWire) {
    let cim = Cim::start(scene.mounted());
    register(&cim);
    let wire = cim.client();
    (cim, wire)
}

/// CIM has asked etcd for the first configuration, and it was not there.
#[track_caller]
fn until_asked(scene: &Scene) {
    // Those of the start have come and gone once the commit keys are there.
    eventually(PATIENCE, || !scene.commit_keys().is_empty());
    let asked = scene.etcd.requests("kv/txn");
    eventually(PATIENCE, || scene.etcd.requests("kv/txn") > asked + 1);
}

/// The deletions of the pod, which must be as the sample's.
#[track_caller]
fn deletions(scene: &Scene, sample: &str) -> usize {
    let golden = golden_json(&format!("7-day1/{sample}_kube_requests.json"));
    let requests = scene.kube.requests();
    let deletions = requests.iter().filter(|seen| seen.method == "DELETE");
    deletions
        .map(|seen| {
            let mut body: Value = serde_json::from_str(&seen.body).unwrap();
            // better: not its successor of the same name.
            let uid = body
                .as_object_mut()
                .unwrap()
                .remove("preconditions")
                .unwrap();
            assert_eq!(
                uid["uid"],
                scene.kube.object(POD).unwrap()["metadata"]["uid"]
            );
            let wanted: Value = serde_json::from_str(golden[0]["body"].as_str().unwrap()).unwrap();
            assert_eq!(
                (&seen.path, seen.code, body),
                (&POD.to_owned(), 200, wanted)
            );
        })
        .count()
}

#[test]
fn the_application_gets_its_first_configuration_byte_for_byte() {
    let scene = Scene::new();
    scene.etcd.put(AT_2, &value());
    let (_cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    let got = scene.app.wait_for(LOAD, 1).remove(0);
    let (line, content_type, mut body) = golden_request("7-day1/01_loadConfig");
    // better: the original sorts it and writes 12345678901234567890 as a double.
    assert_ne!(body, value().into_bytes());
    body = value().into_bytes();
    assert_eq!(request(&got), (line, content_type, body));
}

/// Runs a load that fails; the event and the deletion must be the sample's.
#[track_caller]
fn fails(sample: &str, value: &str, status: u16, deleted_as: &str) {
    let scene = Scene::new();
    scene.app.on(LOAD, Behaviour::Answer(status));
    scene.etcd.put(AT_2, value);
    let (cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    let event = golden_event(&format!("7-day1/{sample}_1_LoadConfigRequestFailure"));
    assert_eq!(events_since(&cim, 0, 1), [event]);
    eventually(PATIENCE, || deletions(&scene, deleted_as) == 1);
    // It is over: asked again, CIM does nothing more.
    tell(&mut wire, "NotConfigured");
    wire.publish_event("something else");
    eventually(PATIENCE, || {
        cim.metric("cim_nats_EVENT_message_count", &[]) == 3.0
    });
    assert_eq!((events(&cim).len(), deletions(&scene, deleted_as)), (1, 1));
    let posted = usize::from(value.starts_with('{'));
    assert_eq!(scene.app.requests(LOAD).len(), posted);
}

#[test]
fn a_load_that_is_refused_deletes_the_pod() {
    fails("02_refused_load", &value(), 500, "02_refused_load");
    fails("02b_load_answer_404", &value(), 404, "02b_load_answer_404");
}

/// better: the original takes an answer of 302 for a success (its Kubernetes requests are none).
#[test]
fn only_a_2xx_is_a_success() {
    assert_eq!(
        golden_json("7-day1/02c_load_answer_302_kube_requests.json"),
        Value::Array(vec![])
    );
    fails("02_refused_load", &value(), 302, "02_refused_load");
}

#[test]
fn what_is_no_object_is_not_posted_and_deletes_the_pod() {
    fails("03_value_not_object", "[1,2]", 200, "03_value_not_object");
}

/// As long as it takes: an application without its configuration is of no use.
#[test]
fn a_deletion_that_fails_is_tried_again() {
    let scene = Scene::new();
    scene.app.on(LOAD, Behaviour::Answer(500));
    scene.etcd.put(AT_2, &value());
    let (cim, mut wire) = start(&scene);
    scene.kube.fault(Some(Fault::Status(503)));
    tell(&mut wire, "NotConfigured");
    let labels = [("verb", "delete"), ("code", "503")];
    eventually(PATIENCE, || {
        cim.metric("cim_kubernetes_requests_total", &labels) >= 1.0
    });
    assert!(scene.kube.object(POD).unwrap()["metadata"]["deletionTimestamp"].is_null());
    scene.kube.fault(None);
    eventually(PATIENCE, || {
        !scene.kube.object(POD).unwrap()["metadata"]["deletionTimestamp"].is_null()
    });
}

#[test]
fn an_application_that_listens_late_gets_its_first_configuration() {
    let mut scene = Scene::new();
    scene.etcd.put(AT_2, &value());
    let (cim, mut wire) = start(&scene);
    scene.app.refuse();
    tell(&mut wire, "NotConfigured");
    let tries = || {
        own_log(&cim)
            .matches("first configuration: no connection")
            .count()
    };
    eventually(PATIENCE, || tries() >= 2);
    scene.app.restart();
    scene.app.wait_for(LOAD, 1);
    let loaded = [("result", "loaded")];
    eventually(PATIENCE, || cim.metric("cim_day_one_total", &loaded) == 1.0);
    assert_eq!((events(&cim), deletions(&scene, "04_no_app")), (vec![], 0));
}

#[test]
fn what_is_put_at_revision_0_later_is_found_within_about_a_second() {
    let scene = Scene::new();
    // Older than the question: it may be years old.
    scene.etcd.put(AT_0, r#"{"old":"1"}"#);
    let (_cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    until_asked(&scene);
    let (line, content_type, body) = golden_request("7-day1/05_loadConfig_after_put_of_revision_0");
    scene.etcd.put(AT_0, std::str::from_utf8(&body).unwrap());
    let put = Instant::now();
    let got = scene.app.wait_for(LOAD, 1).remove(0);
    assert_eq!(request(&got), (line, content_type, body));
    let took = got.at.saturating_duration_since(put);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn configured_ends_it_and_a_later_question_begins_anew() {
    let scene = Scene::new();
    let (_cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    until_asked(&scene);
    tell(&mut wire, "Configured");
    scene.etcd.put(AT_0, r#"{"never":"posted"}"#);
    scene.etcd.put(AT_2, r#"{"n":"1"}"#);
    // Twice: one question, one load.
    tell(&mut wire, "NotConfigured");
    tell(&mut wire, "NotConfigured");
    scene.app.wait_for(LOAD, 1);
    tell(&mut wire, "NotConfigured");
    tell(&mut wire, "Configured");
    scene.etcd.put(AT_2, r#"{"n":"2"}"#);
    tell(&mut wire, "NotConfigured");
    let bodies: Vec<_> = scene
        .app
        .wait_for(LOAD, 2)
        .iter()
        .map(|got| got.body.clone())
        .collect();
    assert_eq!(
        bodies,
        [r#"{"n":"1"}"#, r#"{"n":"2"}"#].map(|text| text.as_bytes().to_vec())
    );
}

#[test]
fn a_registration_resets_it() {
    let scene = Scene::new();
    scene.etcd.put(AT_2, r#"{"n":"1"}"#);
    let (cim, mut wire) = start(&scene);
    for count in 1..=3 {
        tell(&mut wire, "NotConfigured");
        scene.app.wait_for(LOAD, count);
        let loaded = || cim.metric("cim_day_one_total", &[("result", "loaded")]);
        eventually(PATIENCE, || loaded() == count as f64);
        // The application has restarted.
        register(&cim);
    }
}

#[test]
fn a_question_after_a_registration_counts_though_both_come_during_a_call() {
    let scene = Scene::new();
    scene.etcd.put(AT_2, &value());
    let (cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    scene.app.wait_for(LOAD, 1);
    scene.app.on("/updateConfig", Behaviour::Late(200));
    scene.etcd.put("change-set/ns1/ms1/v1/ms/app.json/9", "[]");
    scene.app.wait_for("/updateConfig", 1);
    register(&cim);
    tell(&mut wire, "NotConfigured");
    eventually(PATIENCE, || {
        cim.metric("cim_nats_EVENT_message_count", &[]) == 2.0
    });
    scene.app.release();
    scene.app.wait_for(LOAD, 2);
}

/// better: what the application publishes before its registration is lost in the original.
#[test]
fn a_question_from_before_the_registration_is_answered_once() {
    let scene = Scene::new();
    scene.etcd.put(AT_2, &value());
    let cim = Cim::start(scene.mounted());
    let mut wire = cim.client();
    tell(&mut wire, "NotConfigured");
    scene.app.wait_for(LOAD, 1);
    register(&cim);
    scene
        .app
        .reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    scene.etcd.put("change-set/ns1/ms1/v1/ms/app.json/9", "[]");
    scene.app.wait_for("/updateConfig", 1);
    assert_eq!(scene.app.requests(LOAD).len(), 1);
}

/// So is one from before Kubernetes has told whose configuration that is.
#[test]
fn a_question_from_before_kubernetes_answers_is_not_lost() {
    let scene = Scene::new();
    scene.kube.fault(Some(Fault::Status(503)));
    scene.etcd.put(AT_2, &value());
    let (cim, mut wire) = start(&scene);
    tell(&mut wire, "NotConfigured");
    eventually(PATIENCE, || {
        cim.metric("cim_nats_EVENT_message_count", &[]) == 1.0
    });
    scene.kube.fault(None);
    scene.app.wait_for(LOAD, 1);
}
