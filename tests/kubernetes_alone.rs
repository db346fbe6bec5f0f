//! The thread `kubernetes` alone: what it learns, what it is told to do, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::health::{Health, Part, State};
use cim::identity::{Current, Host, Identity};
use cim::kube::{Cause, Client, Command, Deleted, KubeError, ServerAddress, ServiceAccount, Tmaas};
use cim::limits::KUBE_COMMANDS;
use cim::metrics::Metrics;
use cim::options::Names;
use cim::own_log::OwnLog;
use cim::settings::{LogLevel, Settings, Store};
use cim::threads::kubernetes::{Kubernetes, Stopper};
use cim::threads::spawn::NOTICES;
use crossbeam_channel::{Sender, bounded};
use serde_json::{Value, json};
use servers::kube::{Fault, Kube, golden_pod};
use support::{PATIENCE, eventually};

/// The process has one log.
fn own_log() -> Arc<OwnLog> {
    static LOG: OnceLock<Arc<OwnLog>> = OnceLock::new();
    let start = || Arc::new(OwnLog::start(LogLevel::Exception, None).unwrap());
    Arc::clone(LOG.get_or_init(start))
}

struct Running {
    identity: Arc<Current>,
    settings: Arc<Store>,
    health: Arc<Health>,
    changes: Arc<AtomicUsize>,
    commands: Sender<Command>,
    stopper: Option<Stopper>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(kube: &Kube) -> Self {
        let names = Names {
            pod: Some("cnf-0".to_owned()),
            namespace: Some("ns1".to_owned()),
            ..Names::default()
        };
        let environment = Identity::resolve(&names, &Host::default()).0;
        let identity = Arc::new(Current::new(environment.clone(), false));
        let settings = Arc::new(Store::new(Settings::default()));
        let health = Arc::new(Health::new());
        let changes = Arc::new(AtomicUsize::new(0));
        let (commands, commands_in) = bounded(KUBE_COMMANDS);
        let host = kube.address.ip().to_string();
        let port = kube.address.port().to_string();
        let thread = Kubernetes {
            client: Client::new(
                &ServerAddress::new(Some(&host), Some(&port)).unwrap(),
                ServiceAccount::new(kube.service_account()),
                Arc::new(Metrics::new("cnf-0").unwrap()),
            ),
            tmaas: Tmaas::default(),
            environment,
            identity: Arc::clone(&identity),
            settings: Arc::clone(&settings),
            own_log: own_log(),
            health: Arc::clone(&health),
            commands: commands_in,
            changed: {
                let changes = Arc::clone(&changes);
                Box::new(move || {
                    changes.fetch_add(1, Ordering::SeqCst);
                })
            },
        };
        let (thread, stopper) = thread.spawn(commands.clone(), &bounded(NOTICES).0).unwrap();
        Self {
            identity,
            settings,
            health,
            changes,
            commands,
            stopper: Some(stopper),
            thread,
        }
    }

    fn is_ready(&self) -> bool {
        let report = self.health.report();
        let mut parts = report.parts.iter();
        parts.any(|part| part.part == Part::Kubernetes && part.state == State::Ready)
    }

    /// Stops the thread, which must end soon.
    #[track_caller]
    fn stop(mut self) {
        let start = Instant::now();
        self.stopper = None;
        // A thread that missed the stop would be waited for in vain.
        eventually(PATIENCE, || self.thread.is_finished());
        self.thread.join().unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }
}

/// A pod whose common-infra.json nobody has: the annotations name no TMaaS.
fn with_pod() -> Kube {
    let kube = Kube::start();
    let tmaas = r#"{"nfId":"nf1","nfServiceType":"svctype"}"#;
    kube.put_pod(golden_pod(json!({"xgvela.com/tmaas": tmaas})));
    kube
}

#[test]
fn it_learns_tells_of_it_and_keeps_no_socket() {
    let kube = with_pod();
    kube.put_config_map(json!({
        "metadata": {"name": "svctype-cim-v1-mgmt-cfg", "namespace": "ns1"},
        "data": {"cim.json": r#"{"cimConfig":{"lmaas":{"max_age":3}}}"#, "revision": "2"},
    }));
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    assert!(running.identity.is_settled());
    let identity = running.identity.load();
    assert_eq!(identity.microservice.as_deref(), Some("ms1"));
    assert_eq!(running.settings.load().cim.lmaas.max_age, 3);
    assert_eq!(running.settings.config_map().as_deref(), Some("2"));
    assert_eq!(
        running.changes.load(Ordering::SeqCst),
        3,
        "identity, settings, and that nothing more is to be expected"
    );
    eventually(PATIENCE, || kube.open() == 0);
    running.stop();
}

#[test]
fn a_config_map_that_may_not_be_read_holds_nothing_up() {
    let kube = with_pod();
    kube.forbid("get configmaps", true);
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.identity.is_settled());
    let requests = kube.requests().into_iter();
    let reads = requests.filter(|seen| seen.path.contains("configmaps"));
    assert_eq!(reads.count(), 1);
    running.stop();
}

#[test]
fn a_pod_that_is_to_start_again_is_deleted_as_soon_as_kubernetes_lets_it() {
    let kube = with_pod();
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    let delete = |kube: &Kube| {
        let requests = kube.requests().into_iter();
        let deletes = requests.filter(|seen| seen.method == "DELETE");
        deletes.map(|seen| seen.code).collect::<Vec<_>>()
    };
    kube.fault(Some(Fault::Status(503)));
    let reason = "a test";
    running
        .commands
        .send(Command::RestartPod { reason })
        .unwrap();
    eventually(PATIENCE, || delete(&kube).len() > 1);
    kube.fault(None);
    eventually(PATIENCE, || delete(&kube).last() == Some(&200));
    let tries = delete(&kube).len();
    running.stop();
    assert_eq!(delete(&kube).len(), tries, "once is enough");
}

#[test]
fn it_reads_and_deletes_the_pod_when_told() {
    let kube = with_pod();
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    let (reply, pod) = bounded(1);
    let time = PATIENCE;
    running
        .commands
        .send(Command::GetPod { time, reply })
        .unwrap();
    let pod = pod.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(pod.deletion_timestamp, None);
    let (reply, deleted) = bounded(1);
    let reason = "a test".to_owned();
    let command = Command::DeletePod {
        reason,
        time,
        reply,
    };
    running.commands.send(command).unwrap();
    let deleted = deleted.recv_timeout(PATIENCE).unwrap();
    assert_eq!(deleted.unwrap(), Deleted::Accepted);
    let body = &kube.requests().pop().unwrap().body;
    let uid = running.identity.load().pod_uid.clone().unwrap();
    assert!(
        body.contains(&uid),
        "only the own pod, not one of the same name: {body}"
    );
    running.stop();
}

/// The pod of a collector's daemon set on `node`.
fn collector(namespace: &str, node: &str, ip: &str, phase: &str) -> Value {
    let mut pod = golden_pod(json!({}));
    pod["metadata"]["name"] = format!("fluent-bit-{node}").into();
    pod["metadata"]["namespace"] = namespace.into();
    pod["metadata"]["labels"] = json!({"k8s-app": "fluent-bit"});
    pod["spec"]["nodeName"] = node.into();
    pod["status"] = json!({"phase": phase, "podIP": ip});
    pod
}

/// What the thread says about the collector of its node.
#[track_caller]
fn local_collector(running: &Running, time: Duration) -> Result<Option<IpAddr>, KubeError> {
    let (reply, found) = bounded(1);
    let command = Command::LocalCollector { time, reply };
    running.commands.send(command).unwrap();
    found.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn it_finds_the_log_collector_of_its_own_node_in_any_namespace() {
    let kube = with_pod();
    kube.put_pod(collector("logging", "node2", "10.0.0.2", "Running"));
    let running = Running::start(&kube);
    let found = |running| local_collector(running, PATIENCE).unwrap();
    assert_eq!(found(&running), None, "it runs on another node");
    kube.put_pod(collector("logging", "node1", "10.0.0.1", "Pending"));
    assert_eq!(found(&running), None, "it does not run yet");
    kube.put_pod(collector("logging", "node1", "10.0.0.1", "Running"));
    assert_eq!(found(&running), Some([10, 0, 0, 1].into()));
    let mut ending = collector("logging", "node1", "10.0.0.1", "Running");
    ending["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z".into();
    kube.put_pod(ending);
    assert_eq!(found(&running), None, "it ends");
    eventually(PATIENCE, || running.is_ready());
    let requests = kube.requests();
    let reads = requests.iter().filter(|seen| seen.path.ends_with("/cnf-0"));
    assert!(reads.count() <= 2, "the node is asked for once");
    running.stop();
}

#[test]
fn without_the_right_to_look_elsewhere_the_own_namespace_is_looked_through() {
    let kube = with_pod();
    kube.forbid("list all pods", true);
    kube.put_pod(collector("logging", "node1", "10.0.0.1", "Running"));
    let running = Running::start(&kube);
    let refused = local_collector(&running, PATIENCE).unwrap_err();
    assert!(matches!(refused.cause, Cause::Forbidden(_)), "{refused}");
    assert!(refused.to_string().contains("all namespaces"), "{refused}");
    kube.put_pod(collector("ns1", "node1", "10.0.0.9", "Running"));
    let found = local_collector(&running, PATIENCE).unwrap();
    assert_eq!(found, Some([10, 0, 0, 9].into()));
    running.stop();
}

#[test]
fn a_collector_that_is_not_found_in_time_is_said() {
    let kube = with_pod();
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    kube.fault(Some(Fault::Freeze));
    let error = local_collector(&running, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error.cause, Cause::TimedOut), "{error}");
    running.stop();
}

#[test]
fn it_ends_within_a_second_although_a_call_hangs() {
    let kube = with_pod();
    kube.fault(Some(Fault::Freeze));
    let running = Running::start(&kube);
    eventually(PATIENCE, || kube.open() > 0);
    running.stop();
}

#[test]
fn it_ends_although_another_command_is_before_the_stop() {
    let kube = with_pod();
    let running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    kube.fault(Some(Fault::Freeze));
    let before = kube.connections();
    let mut pods = Vec::new();
    // The second one is there when the first one is done, so the stop is too when the second one is.
    for time in [Duration::from_millis(200), PATIENCE] {
        let (reply, pod) = bounded(1);
        let command = Command::GetPod { time, reply };
        running.commands.send(command).unwrap();
        pods.push(pod);
    }
    eventually(PATIENCE, || kube.connections() == before + 2);
    running.stop();
    let causes = pods
        .iter()
        .map(|pod| pod.recv().unwrap().unwrap_err().cause);
    let causes: Vec<Cause> = causes.collect();
    assert!(
        matches!(causes[..], [Cause::TimedOut, Cause::Closed]),
        "{causes:?}"
    );
}

#[test]
fn it_ends_although_nobody_has_room_to_tell_it() {
    let kube = with_pod();
    kube.fault(Some(Fault::Freeze));
    let running = Running::start(&kube);
    eventually(PATIENCE, || kube.open() > 0);
    let mut pods = Vec::new();
    for _ in 0..KUBE_COMMANDS {
        let (reply, pod) = bounded(1);
        let time = Duration::from_secs(60);
        running
            .commands
            .try_send(Command::GetPod { time, reply })
            .unwrap();
        pods.push(pod);
    }
    running.stop();
    for pod in pods {
        // Refused at once, or never taken.
        if let Ok(pod) = pod.recv() {
            assert!(matches!(pod.unwrap_err().cause, Cause::Closed));
        }
    }
}

#[test]
fn it_ends_when_nobody_is_left_to_command_it() {
    let kube = with_pod();
    let mut running = Running::start(&kube);
    eventually(PATIENCE, || running.is_ready());
    running.stopper = None;
    drop(running.commands);
    running.thread.join().unwrap();
}
