//! What `deploy/` and the Dockerfile say, tested from those very files: the manifests by a real CIM with the environment,
//! volumes, annotations and rights that they give it, alerts and dashboard against its `/metrics`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

#[path = "deploy/dashboard.rs"]
mod dashboard;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/manifest.rs"]
mod manifest;
#[path = "deploy/prometheus.rs"]
mod prometheus;
#[path = "deploy/queries.rs"]
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cim::identity::{Host, Identity};
use cim::kube::Pod;
use cim::options::{self, Given, Names};
use cim::settings::Store;
use manifest::{Workload, list, rights, with};
use serde_json::{Value, json};
use servers::kube::{Kube, Right};
use servers::{Behaviour, EtcdGateway, TestApp, free_port, loopback};
use support::{Cim, Options, PATIENCE, Signal, eventually, http};
use tempfile::TempDir;

const NAMESPACE: &str = "sample";
const POD: &str = "sample-5c689d88bb-x7v2p";
const POD_PATH: &str = "/api/v1/namespaces/sample/pods/sample-5c689d88bb-x7v2p";
/// What CIM remembers in etcd: microservice, version and pod are those of the manifest.
const MEMORY: &str = "cim-position/sample/sample/v1/sample-5c689d88bb-x7v2p";
const CONFIG_MAP: &str = "/api/v1/namespaces/sample/configmaps/sample-cim-v1-mgmt-cfg";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const SHUTDOWN: &str = "/api/v1/_operations/shutdown";
const RBAC: &str = "deploy/rbac.yaml";
const WORKLOADS: [&str; 3] = [
    "deploy/sidecar.yaml",
    "deploy/container.yaml",
    "deploy/job.yaml",
];

/// The pod of a manifest, with what surrounds it.
struct Deployed {
    workload: Workload,
    kube: Kube,
    etcd: EtcdGateway,
    app: TestApp,
    /// What the container would see as `/`.
    root: TempDir,
    metrics: SocketAddr,
}

impl Deployed {
    /// `roles`: the files with what the service account may do.
    #[track_caller]
    fn new(manifest: &str, roles: &[&str]) -> Self {
        let workload = Workload::read(manifest);
        let kube = Kube::start();
        kube.put_pod(workload.pod(POD, NAMESPACE));
        let account = workload.spec()["serviceAccountName"].as_str().unwrap();
        kube.allow_only(rights(roles, account, NAMESPACE));
        let root = tempfile::Builder::new().prefix("cim-root-").tempdir();
        let deployed = Self {
            workload,
            kube,
            etcd: EtcdGateway::start(),
            app: TestApp::start(),
            root: root.unwrap(),
            metrics: loopback(free_port()),
        };
        deployed.app.on(SHUTDOWN, Behaviour::Answer(500));
        deployed.workload.mount(deployed.root.path());
        deployed.move_surroundings();
        deployed
    }

    fn pod(&self) -> Value {
        self.kube.object(POD_PATH).unwrap()
    }

    fn below_root(&self, path: &Path) -> PathBuf {
        self.root.path().join(path.strip_prefix("/").unwrap())
    }

    /// The cluster's names as addresses of this test: etcd is here, all else nowhere.
    #[track_caller]
    fn move_surroundings(&self) {
        let path = self.root.path().join("opt/conf/static/common-infra.json");
        let infra = std::fs::read_to_string(&path).expect("common-infra.json is mounted");
        let mut infra: Value = serde_json::from_str(&infra).unwrap();
        let etcd = self.etcd.client_url();
        let etcd = etcd.trim_start_matches("http://");
        assert_eq!(infra["etcd_url"], "etcd.infra.svc.cluster.local:2379");
        infra["etcd_url"] = etcd.into();
        infra["kafka_brokers"] = json!(["127.0.0.1:1"]);
        infra["logging_svc_url"] = "127.0.0.1:1".into();
        std::fs::write(&path, infra.to_string()).unwrap();
    }

    /// The settings that the manifest gives, and those besides that bring CIM into this test.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env = self.workload.env(&self.pod());
        let given = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let resolved = options::resolve(&Given::from_environment(given));
        assert_eq!(resolved.complaint(), None);
        let paths = resolved.options.paths;
        for (name, path) in [
            ("CIM_LOG_DIR", &paths.log_dir),
            ("CIM_STATE_DIR", &paths.state_dir),
            ("CIM_CONF_FILE", &paths.files.cim),
            ("CIM_SHIPPED_CONF_FILE", &paths.files.shipped),
            ("CIM_INFRA_FILE", &paths.files.infra),
        ] {
            let path = self.below_root(path);
            env.insert(name.into(), path.to_str().unwrap().into());
        }
        env.insert("CIM_METRICS_BIND".into(), self.metrics.to_string());
        env.insert("CIM_APP_URL".into(), self.app.url());
        let account = self.kube.env();
        env.extend(account.map(|(name, value)| (name.into(), value)));
        env
    }

    fn start(&self) -> Cim {
        let env = self.env();
        let mut options = Options::new().log_dir(&env["CIM_LOG_DIR"]);
        options.pod = POD.into();
        options.namespace = NAMESPACE.into();
        for (name, value) in env {
            options = options.env(&name, value);
        }
        Cim::start(options)
    }

    /// Each probe of the manifest succeeds.
    #[track_caller]
    fn probe(&self) {
        let cim = self.workload.cim();
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|name| &cim[name]);
        for probe in probes.into_iter().filter(|probe| !probe.is_null()) {
            let get = &probe["httpGet"];
            assert_eq!(get["port"], "cim-metrics");
            let path = get["path"].as_str().unwrap();
            eventually(PATIENCE, || http::get(self.metrics, path).status == 200);
        }
    }

    /// The requests that Kubernetes has refused for want of a right.
    fn refused(&self) -> Vec<String> {
        let log = self.kube.log().into_iter();
        log.filter(|line| line.ends_with("403")).collect()
    }

    /// `verb resource` of every request.
    fn used(&self) -> BTreeSet<String> {
        let requests = self.kube.requests().into_iter();
        let used = requests.map(|seen| {
            let path = seen.path.split('?').next().unwrap();
            let parts: Vec<_> = path.rsplit('/').collect();
            match seen.method.as_str() {
                "POST" => format!("create {}", parts[0]),
                "DELETE" => format!("delete {}", parts[1]),
                _ if parts[0] == "pods" => "list pods".to_owned(),
                _ => format!("get {}", parts[1]),
            }
        });
        used.collect()
    }
}

fn granted(rights: &[Right]) -> BTreeSet<String> {
    let granted = rights.iter().map(|r| format!("{} {}", r.verb, r.resource));
    granted.collect()
}

/// Registers and logs a line, as the application of every manifest does; returns the answer to the registration.
#[track_caller]
fn work(cim: &Cim) -> Value {
    let body = br#"{"container_name":"app","container_id":"1"}"#;
    let answer = cim.post(REGISTER, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut wire = cim.client();
    wire.publish_log("app", "1", b"a line");
    wire.ping_pong();
    let file = format!("{POD}_{NAMESPACE}_app-1.log");
    let text = std::fs::read_to_string(cim.log_dir.join(file)).unwrap();
    assert_eq!(text, "a line\n");
    answer.json()
}

#[track_caller]
fn until_ready(cim: &Cim, part: &str) {
    eventually(PATIENCE, || {
        cim.get("/readyz").json()["parts"][part]["state"] == "ready"
    });
}

#[test]
fn the_native_sidecar_becomes_ready_and_reads_what_its_manifests_say() {
    let deployed = Deployed::new("deploy/sidecar.yaml", &[RBAC]);
    assert!(deployed.workload.is_native_sidecar());
    assert_eq!(deployed.workload.cim()["restartPolicy"], "Always");
    let mut cim = deployed.start();
    deployed.probe();
    until_ready(&cim, "kubernetes");
    until_ready(&cim, "etcd");
    let answer = work(&cim);
    let pod = deployed.pod();
    let annotations = &pod["metadata"]["annotations"];
    let tmaas: Value =
        serde_json::from_str(annotations["xgvela.com/tmaas"].as_str().unwrap()).unwrap();
    assert_eq!(answer["tmaas_annotations"], tmaas);
    let config = &manifest::documents("deploy/config.yaml")[1]["data"]["common-infra.json"];
    let infra: Value = serde_json::from_str(config.as_str().unwrap()).unwrap();
    for (member, value) in [
        ("apigw_rest_fqdn", &infra["apigw_rest_fqdn"]),
        ("tmaas_fqdn", &annotations["topogw.fqdn"]),
    ] {
        let (answered, given) = (answer[member].as_str(), value.as_str().unwrap());
        assert_eq!(answered, Some(given), "{member}: {answer}");
    }
    // Version and microservice stand in the key that a registration puts.
    eventually(PATIENCE, || deployed.etcd.get(MEMORY).is_some());
    // What is scraped at aligned times is on: 404 else.
    eventually(PATIENCE, || {
        http::get(deployed.metrics, "/metrics/aligned").status == 200
    });
    let log = String::from_utf8(cim.text_of("cim")).unwrap();
    assert!(!log.contains("DEBUG") && log.contains("INFO"), "{log}");
    assert!(
        deployed
            .root
            .path()
            .join("var/lib/cim")
            .read_dir()
            .unwrap()
            .next()
            .is_some()
    );

    let mut pod = deployed.pod();
    pod["metadata"]["deletionTimestamp"] = "2100-01-01T00:00:00Z".into();
    deployed.kube.put_pod(pod);
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    assert_eq!(deployed.refused(), Vec::<String>::new());
    let used = deployed.used();
    assert!(!used.contains("delete pods") && !used.contains("create configmaps"));
}

#[test]
fn the_ordinary_container_uses_each_right_of_its_role_and_no_other() {
    let deployed = Deployed::new("deploy/container.yaml", &[RBAC]);
    assert!(!deployed.workload.is_native_sidecar());
    let mut cim = deployed.start();
    deployed.probe();
    until_ready(&cim, "kubernetes");
    work(&cim);
    eventually(PATIENCE, || deployed.kube.object(CONFIG_MAP).is_some());
    // Not the pod's own end: application and sidecar start together.
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    assert_eq!(deployed.app.requests(SHUTDOWN).len(), 1);
    assert_eq!(deployed.refused(), Vec::<String>::new());
    let role = rights(&[RBAC], "cim", NAMESPACE);
    assert_eq!(deployed.used(), granted(&role), "least rights");
    assert!(role.iter().all(|right| right.namespace.is_some()));
}

#[test]
fn a_job_completes_once_its_application_is_gone() {
    let deployed = Deployed::new("deploy/job.yaml", &[RBAC]);
    assert_eq!(deployed.workload.spec()["restartPolicy"], "Never");
    let mut cim = deployed.start();
    deployed.probe();
    until_ready(&cim, "kubernetes");
    until_ready(&cim, "etcd");
    work(&cim);
    eventually(PATIENCE, || deployed.etcd.get(MEMORY).is_some());
    let gone = Instant::now();
    let status = cim.wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(0));
    // A pod that is deleted would have the Job start anew; and nobody is there to be told.
    assert_eq!(
        deployed.used(),
        granted_without(&["delete pods", "create configmaps"])
    );
    assert_eq!(deployed.app.requests(SHUTDOWN).len(), 0);
    assert_eq!(deployed.etcd.get(MEMORY), None, "nobody comes back");
    let absence = deployed.workload.env(&deployed.pod())["CIM_END_AFTER_APP"].clone();
    assert_eq!(absence, "10s");
    assert!(
        gone.elapsed() > Duration::from_secs(9),
        "{:?}",
        gone.elapsed()
    );
}

fn granted_without(without: &[&str]) -> BTreeSet<String> {
    let mut granted = granted(&rights(&[RBAC], "cim", NAMESPACE));
    for right in without {
        assert!(granted.remove(*right), "{right}");
    }
    granted
}

#[test]
fn the_optional_rights_are_those_that_their_comments_name() {
    const OPTIONAL: &str = "deploy/rbac-optional.yaml";
    let deployed = Deployed::new("deploy/sidecar.yaml", &[RBAC, OPTIONAL]);
    let conf = deployed.root.path().join("opt/conf");
    let cim_json = std::fs::read_to_string(conf.join("cim.json")).unwrap();
    let local = cim_json
        .replace("\"FILE\"", "\"TCP\"")
        .replace("daemonset\": false", "daemonset\": true");
    std::fs::write(conf.join("cim.json"), local).unwrap();
    let mut pod = deployed.pod();
    let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("topogw.fqdn").unwrap();
    deployed.kube.put_pod(pod);
    deployed.kube.put_cluster_role(json!({
        "metadata": {"name": "xgvela1-xgvela", "annotations": {"topo-gw.fqdn": "topo-gw:8080"}},
    }));
    let _cim = deployed.start();
    let both = ["get clusterroles", "list pods"];
    eventually(PATIENCE, || {
        both.iter().all(|right| deployed.used().contains(*right))
    });
    assert_eq!(deployed.refused(), Vec::<String>::new());
    let optional = granted(&rights(&[OPTIONAL], "cim", NAMESPACE));
    assert_eq!(optional, both.map(str::to_owned).into());
}

#[test]
fn every_setting_and_path_of_the_manifests_is_one_that_cim_knows() {
    let known: BTreeSet<_> = options::resolve(&Given::default())
        .shown
        .into_iter()
        .map(|setting| setting.name)
        .collect();
    for path in WORKLOADS {
        let workload = Workload::read(path);
        let env = workload.env(&workload.pod(POD, NAMESPACE));
        for name in env.keys() {
            assert!(known.contains(name), "{path}: {name}");
        }
        assert_eq!(
            (&env["K8S_POD_ID"], &env["K8S_NAMESPACE"]),
            (&POD.into(), &NAMESPACE.into())
        );
        let given = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let resolved = options::resolve(&Given::from_environment(given));
        assert_eq!(
            (resolved.complaint(), resolved.warnings),
            (None, Vec::new()),
            "{path}"
        );
        let options = resolved.options;
        assert!(!options.standalone);
        assert!(workload.is_writable(&options.paths.log_dir), "{path}");
        assert!(workload.is_writable(&options.paths.state_dir), "{path}");
        assert!(!workload.is_writable(&options.paths.files.cim), "{path}");
        // Only the addresses for the pod network are open to it, and that port is the one that is declared.
        assert!(options.nats.ip().is_loopback() && options.rest.ip().is_loopback());
        let port = with(list(&workload.cim()["ports"]), "name", "cim-metrics");
        assert_eq!(
            port["containerPort"],
            options.metrics.unwrap().port(),
            "{path}"
        );
    }
}

#[test]
fn what_cim_reads_of_the_pods_has_nothing_that_it_warns_of() {
    for path in WORKLOADS {
        let pod = Workload::read(path).pod(POD, NAMESPACE);
        let pod = Pod::parse(pod.to_string().as_bytes()).unwrap();
        assert_eq!(pod.termination_grace_seconds, Some(60), "{path}");
        let environment = Identity::resolve(&Names::default(), &Host::default()).0;
        let (identity, warnings) = environment.with_pod(&pod);
        assert_eq!(warnings, Vec::<String>::new(), "{path}");
        assert_eq!(identity.microservice.as_deref(), Some("sample"), "{path}");
        assert_eq!(identity.version, "v1", "{path}");
        let is_job = path.ends_with("job.yaml");
        assert_eq!(identity.mmaas.is_some(), !is_job, "{path}");
    }
}

#[test]
fn the_mounted_configuration_is_good_and_says_what_it_is_there_for() {
    let deployed = Deployed::new("deploy/sidecar.yaml", &[RBAC]);
    let env = deployed.env();
    let given = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let options = options::resolve(&Given::from_environment(given)).options;
    let store = Store::open(options.paths.files, options.infra);
    assert_eq!(store.refused(), Vec::<String>::new());
    assert_eq!(store.warnings(), Vec::<String>::new());
    assert!(store.is_mounted());
    assert_eq!(
        store.load().cim.lmaas.max_backup_files,
        5,
        "not the default"
    );
    // Every member stands there, so that nobody has to look for its name.
    let config = &manifest::documents("deploy/config.yaml")[0]["data"]["cim.json"];
    let config: Value = serde_json::from_str(config.as_str().unwrap()).unwrap();
    for member in store.cim_members() {
        let pointer = format!("/{}", member.name.replace('.', "/"));
        let optional = member.name.ends_with("kafka_client_id");
        assert!(optional || config.pointer(&pointer).is_some(), "{pointer}");
    }
}

#[test]
fn the_pods_have_no_more_rights_on_their_node_than_they_need() {
    for path in WORKLOADS {
        let workload = Workload::read(path);
        let pod = &workload.spec()["securityContext"];
        assert_eq!(pod["runAsNonRoot"], true, "{path}");
        assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{path}");
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": image::USER,
            "runAsGroup": image::USER,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(workload.cim()["securityContext"], expected, "{path}");
        assert_eq!(pod["fsGroup"], image::USER, "{path}");
        let resources = &workload.cim()["resources"];
        assert_eq!(
            resources["requests"],
            json!({"cpu": "50m", "memory": "48Mi"})
        );
        assert_eq!(resources["limits"], json!({"memory": "48Mi"}));
        assert!(workload.object["spec"]["template"]["spec"]["hostNetwork"].is_null());
    }
}
