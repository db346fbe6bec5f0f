//! The original's ends (`golden/9-termination`) with real signals, and where ours differs on purpose; and the ends that the original
//! does not have.
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

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde_json::{Value, json};
use servers::kube::Fault;
use servers::scene::{
    POD, Scene, events, events_since, golden_event, golden_json, golden_request, own_log, register,
    request,
};
use servers::{Behaviour, Reply, ReplyStatus};
use support::{Cim, Options, PATIENCE, Signal, eventually, faulty};

const SHUTDOWN: &str = "/api/v1/_operations/shutdown";
const UPDATE: &str = "/updateConfig";
const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
/// Well below any grace that is not to be waited for.
const SOON: Duration = Duration::from_secs(10);

/// The pod is being deleted: `remains` seconds of its grace are left. Returns when the wait for the application is to end.
fn is_deleted(scene: &Scene, remains: i64) -> DateTime<Utc> {
    let mut pod = scene.kube.object(POD).unwrap();
    let killed = (Utc::now() + TimeDelta::seconds(remains)).trunc_subsecs(0);
    let time = killed.to_rfc3339_opts(SecondsFormat::Secs, true);
    pod["metadata"]["deletionTimestamp"] = time.into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 90.into();
    scene.kube.put_pod(pod);
    killed - TimeDelta::seconds(3)
}

/// A registered application that has logged a line.
fn start(scene: &Scene) -> Cim {
    start_with(scene, scene.mounted())
}

fn start_with(scene: &Scene, options: Options) -> Cim {
    let cim = Cim::start(options);
    register(&cim);
    eventually(PATIENCE, || scene.etcd.get(COMMIT).is_some());
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"a line");
    wire.ping_pong();
    cim
}

/// Methods of the requests to Kubernetes since there were `count`, all for the pod.
#[track_caller]
fn asked_since(scene: &Scene, count: usize) -> Vec<String> {
    let requests = scene.kube.requests().split_off(count).into_iter();
    requests
        .map(|seen| {
            assert_eq!((seen.path.as_str(), seen.code), (POD, 200));
            seen.method
        })
        .collect()
}

/// Sends the sample's signal and event and waits for the end, which must be the sample's. Returns how long it took.
#[track_caller]
fn ends_as(name: &str, scene: &Scene, mut cim: Cim) -> Duration {
    let sample = golden_json(&format!("9-termination/{name}.result.json"));
    match sample["app_shutdown_status"].as_u64() {
        Some(status) => scene
            .app
            .on(SHUTDOWN, Behaviour::Answer(status.try_into().unwrap())),
        None => scene.app.on(SHUTDOWN, Behaviour::CloseBefore),
    }
    let asked = scene.kube.requests().len();
    let start = Instant::now();
    cim.signal(match sample["signal"].as_str() {
        Some("SIGINT") => Signal::INT,
        _ => Signal::TERM,
    });
    if let Some(event) = sample["app_event_one_second_later"].as_str() {
        scene.app.wait_for(SHUTDOWN, 1);
        cim.client().publish_event(event);
    }
    let status = cim.wait(Duration::from_secs(30));
    let took = start.elapsed();
    assert_eq!(
        status.code().unwrap().to_string(),
        sample["exit_code"],
        "{name}"
    );
    let requests = scene.app.requests(SHUTDOWN);
    if !sample["app_shutdown_status"].is_null() {
        assert_eq!(requests.len(), 1, "{name}");
        assert_eq!(
            request(&requests[0]),
            golden_request(&format!("9-termination/{name}"))
        );
    }
    let wanted = sample["events"].as_array().unwrap().iter().map(|event| {
        golden_event(&format!(
            "9-termination/{name}_1_{}",
            event.as_str().unwrap()
        ))
    });
    let wanted: Vec<Value> = wanted.collect();
    if !wanted.is_empty() {
        assert_eq!(events(&cim), wanted, "{name}");
    }
    let lines: &[&[u8]] = if sample["app_log_file_written"] == true {
        &[b"a line"]
    } else {
        &[]
    };
    assert_eq!(cim.lines_of("app"), lines, "{name}");
    // better: the original deletes a pod that is being deleted, and asks more often than once.
    let wanted: &[&str] = if sample["pod_already_deleted_with_grace_s"].is_null() {
        &["GET", "DELETE"]
    } else {
        &["GET"]
    };
    assert_eq!(asked_since(scene, asked), wanted, "{name}");
    took
}

#[test]
fn the_applications_event_ends_the_wait() {
    let name = "01_sigterm_pod_deleted_app_200_ShutdownSuccess";
    let scene = Scene::new();
    let cim = start(&scene);
    is_deleted(&scene, 90);
    assert!(ends_as(name, &scene, cim) < SOON);
}

#[test]
fn sigint_is_as_good_and_a_failure_of_the_application_too() {
    let name = "06_sigint_app_200_ShutdownFailure";
    let scene = Scene::new();
    let cim = start(&scene);
    is_deleted(&scene, 90);
    assert!(ends_as(name, &scene, cim) < SOON);
}

/// better: the original waits for the whole grace less 3 s (6.1 s of 9), whatever of it is over.
#[test]
fn an_application_that_agrees_and_says_no_more_is_waited_for_as_long_as_there_is_time() {
    let name = "02_sigterm_pod_deleted_app_200_no_event";
    let scene = Scene::new();
    let cim = start(&scene);
    let until = is_deleted(&scene, 5);
    let took = ends_as(name, &scene, cim);
    assert!(Utc::now() >= until && took < SOON, "{took:?}");
}

/// better: the original knows no grace here, and does not wait.
#[test]
fn a_pod_that_is_not_being_deleted_has_its_own_grace_and_is_deleted() {
    let name = "03_sigterm_pod_not_deleted_app_200";
    let scene = Scene::new();
    let mut pod = scene.kube.object(POD).unwrap();
    pod["spec"]["terminationGracePeriodSeconds"] = 4.into();
    scene.kube.put_pod(pod);
    let cim = start(&scene);
    let took = ends_as(name, &scene, cim);
    assert!(took > Duration::from_millis(900) && took < SOON, "{took:?}");
    let deleted = scene.kube.requests().pop().unwrap();
    let body: Value = serde_json::from_str(&deleted.body).unwrap();
    let uid = &scene.kube.object(POD).unwrap()["metadata"]["uid"];
    assert_eq!(
        body,
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}})
    );
}

#[test]
fn an_application_that_does_not_agree_is_not_waited_for() {
    let scene = Scene::new();
    let cim = start(&scene);
    is_deleted(&scene, 90);
    assert!(ends_as("04_sigterm_app_500", &scene, cim) < SOON);
}

/// better: the original raises no event here.
#[test]
fn an_application_that_is_not_there_is_not_waited_for() {
    let mut scene = Scene::new();
    let mut cim = start(&scene);
    is_deleted(&scene, 90);
    scene.app.refuse();
    let start = Instant::now();
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    assert!(start.elapsed() < SOON);
    let failure = golden_event("9-termination/04_sigterm_app_500_1_ApplicationShutdownInitiated");
    assert_eq!(events(&cim), [failure]);
    // One whose connection breaks off.
    let scene = Scene::new();
    let cim = self::start(&scene);
    is_deleted(&scene, 90);
    assert!(ends_as("05_sigterm_no_app", &scene, cim) < SOON);
}

#[test]
fn an_application_that_has_not_registered_is_told_too() {
    let scene = Scene::new();
    let cim = Cim::start(scene.mounted());
    eventually(PATIENCE, || {
        own_log(&cim).contains("Kubernetes says who this is")
    });
    let until = is_deleted(&scene, 5);
    let took = ends_as("07_sigterm_before_registration", &scene, cim);
    assert!(Utc::now() >= until && took < SOON, "{took:?}");
}

/// The signal was sent, the application has agreed, and CIM waits for its event.
#[track_caller]
fn waits(scene: &Scene, cim: &Cim) {
    cim.signal(Signal::TERM);
    scene.app.wait_for(SHUTDOWN, 1);
    let event = &events_since(cim, 0, 1)[0];
    assert_eq!(event["additionalInfo"][0]["value"], "success");
}

#[test]
fn while_cim_waits_all_goes_on() {
    let scene = Scene::new();
    let mut cim = start(&scene);
    scene.app.reply_with(
        cim.nats,
        Reply {
            held: true,
            ..Reply::of(ReplyStatus::Success)
        },
    );
    scene.etcd.put("change-set/ns1/ms1/v1/ms/app.json/9", "[]");
    scene.app.wait_for(UPDATE, 1);
    is_deleted(&scene, 90);
    waits(&scene, &cim);
    scene.app.release_replies();
    eventually(PATIENCE, || scene.etcd.get(COMMIT).as_deref() == Some("9"));
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"a late line");
    assert_eq!(cim.get("/healthz").status, 200);
    wire.publish_event("ShutdownSuccess");
    assert_eq!(cim.wait(SOON).code(), Some(0));
    assert_eq!(cim.lines_of("app"), [&b"a line"[..], b"a late line"]);
}

#[test]
fn what_cim_remembers_of_a_pod_in_etcd_goes_with_the_pod_and_not_before() {
    const MEMORY: &str = "cim-position/ns1/ms1/v1/cnf-0";
    for (deleted, kept) in [(true, false), (false, true)] {
        let scene = Scene::new();
        let mut cim = start(&scene);
        assert!(scene.etcd.get(MEMORY).is_some());
        if deleted {
            is_deleted(&scene, 90);
        }
        scene.app.on(SHUTDOWN, Behaviour::Answer(500));
        assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
        assert_eq!(scene.etcd.get(MEMORY).is_some(), kept);
        assert!(scene.etcd.get(COMMIT).is_some(), "commits are CMaaS's");
    }
}

#[test]
fn a_second_signal_ends_the_wait() {
    for signal in [Signal::TERM, Signal::INT] {
        let scene = Scene::new();
        let mut cim = start(&scene);
        is_deleted(&scene, 90);
        waits(&scene, &cim);
        cim.signal(signal);
        assert_eq!(cim.wait(SOON).code(), Some(0));
        assert_eq!(scene.app.requests(SHUTDOWN).len(), 1);
    }
}

#[test]
fn a_pod_that_is_not_to_be_deleted_is_not() {
    let scene = Scene::new();
    let mut cim = start_with(&scene, scene.mounted().env("CIM_DELETE_POD", "false"));
    scene.app.on(SHUTDOWN, Behaviour::Answer(503));
    let asked = scene.kube.requests().len();
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    assert_eq!(asked_since(&scene, asked), ["GET"]);
}

/// The pod may be its own successor by then: it is not deleted.
#[test]
fn an_api_server_that_hangs_holds_the_end_up_for_a_bounded_time() {
    let scene = Scene::new();
    let mut cim = start(&scene);
    scene.kube.fault(Some(Fault::Freeze));
    let asked = scene.kube.requests().len();
    let start = Instant::now();
    waits(&scene, &cim);
    cim.client().publish_event("ShutdownSuccess");
    assert_eq!(cim.wait(SOON).code(), Some(0));
    assert!(start.elapsed() < SOON);
    scene.kube.fault(None);
    assert_eq!(asked_since(&scene, asked), [""; 0]);
}

#[test]
fn an_etcd_that_hangs_holds_the_end_up_for_a_bounded_time() {
    let scene = Scene::new();
    let mut cim = start(&scene);
    is_deleted(&scene, 90);
    scene.app.on(SHUTDOWN, Behaviour::Answer(500));
    scene
        .app
        .reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    scene.app.on(UPDATE, Behaviour::Late(200));
    scene.etcd.put("change-set/ns1/ms1/v1/ms/app.json/9", "[]");
    scene.app.wait_for(UPDATE, 1);
    scene.etcd.hang(true);
    let asked = scene.etcd.requests("kv/txn");
    scene.app.release();
    eventually(PATIENCE, || scene.etcd.requests("kv/txn") > asked);
    cim.signal(Signal::TERM);
    assert_eq!(cim.wait(SOON).code(), Some(0));
}

#[test]
fn a_part_that_fails_deletes_the_pod_and_ends_cim() {
    faulty::be_cim_if_asked();
    let test = "a_part_that_fails_deletes_the_pod_and_ends_cim";
    for (setting, methods) in [("true", &["DELETE"][..]), ("false", &[])] {
        let scene = Scene::new();
        let options = scene.mounted().env("CIM_DELETE_POD", setting);
        let mut cim = start_with(&scene, faulty::options(test, options));
        let asked = scene.kube.requests().len();
        faulty::kill_thread(&cim);
        assert_eq!(cim.wait(SOON).code(), Some(70));
        assert_eq!(asked_since(&scene, asked), methods);
        assert_eq!(cim.lines_of("app"), [b"a line"]);
        // There is no time to ask the application.
        assert_eq!(scene.app.requests(SHUTDOWN).len(), 0);
    }
}

/// While CIM waits for the application, too.
#[test]
fn a_part_that_fails_during_the_wait_ends_it() {
    faulty::be_cim_if_asked();
    let test = "a_part_that_fails_during_the_wait_ends_it";
    let scene = Scene::new();
    let mut cim = start_with(&scene, faulty::options(test, scene.mounted()));
    is_deleted(&scene, 90);
    let asked = scene.kube.requests().len();
    waits(&scene, &cim);
    faulty::kill_thread(&cim);
    assert_eq!(cim.wait(SOON).code(), Some(70));
    assert_eq!(asked_since(&scene, asked), ["GET"], "it is being deleted");
}

#[test]
fn without_kubernetes_the_application_is_told_and_waited_for() {
    let scene = Scene::new();
    let mut options = Options::new().env("CIM_APP_URL", scene.app.url());
    // Without a name it is no pod.
    options.pod.clear();
    options.namespace.clear();
    let mut cim = Cim::start(options);
    let start = Instant::now();
    cim.signal(Signal::TERM);
    let event = [("event", "ApplicationShutdownInitiated")];
    eventually(PATIENCE, || {
        cim.metric("cim_own_events_total", &event) == 1.0
    });
    cim.client().publish_event("ShutdownSuccess");
    assert_eq!(cim.wait(SOON).code(), Some(0));
    assert!(start.elapsed() < SOON);
    assert_eq!(scene.app.requests(SHUTDOWN).len(), 1);
    assert_eq!(scene.kube.requests(), []);
}
