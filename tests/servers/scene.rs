//! What surrounds the pod of the golden samples: Kubernetes, etcd and the application, as stand-ins.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::kube::{Kube, golden_pod};
use super::{EtcdGateway, TestApp};
use crate::support::{Cim, Options, PATIENCE, eventually_some};

/// Kubernetes' path of the pod.
pub const POD: &str = "/api/v1/namespaces/ns1/pods/cnf-0";
/// CIM's container in the samples.
const CONTAINER: &str = "0123456789ab";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";

/// A sample, such as `5-config/01_ms_success.request.raw`.
#[track_caller]
pub fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
pub fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

/// An event of the samples, without its time; the container is CIM's own (some samples have none).
#[track_caller]
pub fn golden_event(name: &str) -> Value {
    let mut event = golden_json(&format!("{name}.value.raw"));
    event["eventTime"].take();
    event["containerId"] = CONTAINER.into();
    event
}

/// A request of the samples: its line, content type and body.
#[track_caller]
pub fn golden_request(name: &str) -> (String, String, Vec<u8>) {
    let raw = golden(&format!("{name}.request.raw"));
    let end = memchr::memmem::find(&raw, b"\r\n\r\n").unwrap();
    let head = String::from_utf8(raw[..end].to_vec()).unwrap();
    let content_type = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: "));
    let line = head.lines().next().unwrap().to_owned();
    (
        line,
        content_type.unwrap().to_owned(),
        raw[end + 4..].to_vec(),
    )
}

/// The same of a request that the application got over HTTP/1.1.
#[track_caller]
pub fn request(got: &super::app::Request) -> (String, String, Vec<u8>) {
    let line = format!("{} {} HTTP/1.1", got.method, got.path);
    let content_type = got.header("content-type").expect("a content type");
    (line, content_type.to_owned(), got.body.clone())
}

/// See the module.
pub struct Scene {
    pub kube: Kube,
    pub etcd: EtcdGateway,
    pub app: TestApp,
}

impl Scene {
    pub fn new() -> Self {
        let kube = Kube::start();
        kube.put_pod(golden_pod(
            json!({"topogw.fqdn": "topo-gw.ns1.svc.cluster.local:8080"}),
        ));
        Self {
            kube,
            etcd: EtcdGateway::start(),
            app: TestApp::start(),
        }
    }

    /// Without cim.json.
    pub fn options(&self) -> Options {
        let mut options = Options::new()
            .env("CIM_ETCD_URL", self.etcd.client_url())
            .env("CIM_APP_URL", self.app.url())
            .env("MS_CONFIG_REVISION", "3")
            .env("NF_CONFIG_REVISION", "2")
            .env("K8S_CONTAINER_ID", CONTAINER);
        options.infra_json = Some(json!({}));
        for (name, value) in self.kube.env() {
            options = options.env(name, value);
        }
        options
    }

    /// With a mounted cim.json.
    pub fn mounted(&self) -> Options {
        self.options().cim("lmaas.max_age", 7)
    }

    /// The commit keys as the samples have them: key and value, line by line.
    pub fn commit_keys(&self) -> String {
        let mut keys: Vec<_> = self
            .etcd
            .changes("commit-config/")
            .into_iter()
            .map(|change| change.key)
            .collect();
        keys.sort();
        keys.dedup();
        let line = |key: String| format!("{key}\n{}\n", self.etcd.get(&key).unwrap_or_default());
        keys.into_iter().map(line).collect()
    }
}

/// The application registers.
#[track_caller]
pub fn register(cim: &Cim) {
    let body = br#"{"container_name":"app","container_id":"1"}"#;
    let answer = cim.post(REGISTER, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The files of CIM's own log so far.
pub fn own_log(cim: &Cim) -> String {
    String::from_utf8_lossy(&cim.text_of("cim")).into_owned()
}

/// The events that CIM has raised, as its event file has them (there is no Kafka), without their times.
pub fn events(cim: &Cim) -> Vec<Value> {
    // There is none as long as nothing was written.
    let files = std::fs::read_dir(&cim.log_dir).into_iter().flatten();
    let mut paths: Vec<_> = files
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    paths.sort();
    let text: String = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("the event file"))
        .collect();
    let event = |text| {
        let mut event: Value = serde_json::from_str(text).expect("an event is JSON");
        assert!(event["eventTime"].take().is_i64());
        // Those of the application say more of their source.
        let is_own = event["sourceHeaders"].get("vendorId").is_none();
        is_own.then_some(event)
    };
    text.lines().filter_map(event).collect()
}

/// Waits until CIM has raised more than `before` events and as many as `count`, and returns those.
#[track_caller]
pub fn events_since(cim: &Cim, before: usize, count: usize) -> Vec<Value> {
    eventually_some(PATIENCE, || {
        let mut events = events(cim);
        (events.len() >= before + count).then(|| events.split_off(before))
    })
}
