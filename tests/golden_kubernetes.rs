//! The original's registrations against Kubernetes and TMaaS (`golden/3-registration`, 08 to 22), with the whole daemon and a stand-in
//! for the API server.
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
use servers::kube::{Kube, golden_pod};
use servers::tmaas::Tmaas;
use support::{Cim, Options, PATIENCE, Signal, eventually, http};

const POD: &str = "GET /api/v1/namespaces/ns1/pods/cnf-0 -> 200";
const CONFIG_MAP: &str = "/api/v1/namespaces/ns1/configmaps/svctype-cim-v1-mgmt-cfg";

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/3-registration");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

/// The body of a captured message.
fn body(raw: &[u8]) -> String {
    let text = String::from_utf8(raw.to_vec()).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The pod of the samples, whose API gateway has what the original has built in.
struct Scene {
    kube: Kube,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(annotations: Value) -> Self {
        let kube = Kube::start();
        kube.put_pod(golden_pod(annotations));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "admin").unwrap();
        Self { kube, dir }
    }

    fn options(&self) -> Options {
        let path = |name: &str| self.dir.path().join(name);
        let mut options = Options::new()
            .env("CIM_APIGW_USERNAME", "admin")
            .env("CIM_APIGW_PASSWORD_FILE", path("password"))
            .env("CIM_SHIPPED_CONF_FILE", path("shipped.json"));
        for (name, value) in self.kube.env() {
            options = options.env(name, value);
        }
        options
    }
}

/// Sends the captured request; the answer must have the captured status.
#[track_caller]
fn register(cim: &Cim, name: &str) -> http::Answer {
    let request = String::from_utf8(sample(&format!("{name}.request.raw"))).unwrap();
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let answer = http::raw(cim.http, request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

#[test]
fn without_file_and_config_map_the_registration_makes_the_config_map() {
    let scene = Scene::new(json!({}));
    // The sample's shipped file keeps 20 backups.
    let mut shipped = support::options::default_cim_json();
    shipped["cimConfig"]["lmaas"]["max_backup_files"] = 20.into();
    std::fs::write(scene.dir.path().join("shipped.json"), shipped.to_string()).unwrap();
    let mut options = scene.options();
    options.infra_json = Some(json!({}));
    let mut cim = Cim::start(options);

    // At once: the answer waits until Kubernetes has told who the pod is, and until the ConfigMap is there.
    let name = "08_success_with_overrides_creates_configmap";
    let answer = register(&cim, name);
    assert_eq!(
        answer.text(),
        body(&sample(&format!("{name}.response.raw")))
    );
    let requests = scene.kube.requests();
    let post: Vec<_> = requests.iter().filter(|r| r.method == "POST").collect();
    assert_eq!(post.len(), 1);
    let line = String::from_utf8(sample("08_configmap_post.request_line.txt")).unwrap();
    assert_eq!(format!("POST {}", post[0].path), line.trim_end());
    assert_eq!(post[0].code, 201);
    let mut ours: Value = serde_json::from_str(&post[0].body).unwrap();
    let golden: Value = serde_json::from_slice(&sample("08_configmap_post.body.raw")).unwrap();
    let module = ours["data"]["cim.yang"].take();
    ours["data"]["cim.yang"] = golden["data"]["cim.yang"].clone();
    assert_eq!(ours, golden);
    assert!(
        module
            .as_str()
            .unwrap()
            .starts_with("module xgvela-nf1-ms1-cim-config {")
    );

    // Once: the ConfigMap exists now, and its settings win over those of a further registration.
    let again = register(&cim, "02c_again_with_overrides_ignored");
    assert_eq!(again.text(), answer.text());
    let config_map = scene
        .kube
        .log()
        .into_iter()
        .filter(|line| line.contains("configmaps"));
    assert_eq!(
        config_map.collect::<Vec<_>>(),
        [
            format!("GET {CONFIG_MAP} -> 404"),
            "POST /api/v1/namespaces/ns1/configmaps -> 201".to_owned(),
        ]
    );
    assert_eq!(cim.stop(Signal::TERM).code(), Some(0));
    let log = String::from_utf8(cim.text_of("cim")).unwrap();
    assert!(
        log.contains("the ConfigMap wins over the settings of the registration"),
        "{log}"
    );
}

#[test]
fn a_config_map_that_exists_is_the_configuration() {
    let scene = Scene::new(json!({"topogw.fqdn": "topo-gw.ns1.svc.cluster.local:8080"}));
    let cim_json = json!({"cimConfig": {"cim_settings": {"enable_kpi": false}}}).to_string();
    scene.kube.put_config_map(json!({
        "metadata": {"name": "svctype-cim-v1-mgmt-cfg", "namespace": "ns1"},
        "data": {"cim.json": cim_json, "revision": "7"},
    }));
    let mut options = scene.options();
    options.infra_json = Some(json!({}));
    let cim = Cim::start(options);
    let name = "09_success_configmap_exists";
    let answer = register(&cim, name);
    assert_eq!(
        answer.text(),
        body(&sample(&format!("{name}.response.raw")))
    );
    let wanted = [POD.to_owned(), format!("GET {CONFIG_MAP} -> 200")];
    assert_eq!(scene.kube.log(), wanted);
    assert_eq!(
        cim.get("/metrics").status,
        404,
        "what it says is in force: no metrics"
    );
    let part = &cim.get("/readyz").json()["parts"]["kubernetes"];
    assert_eq!(part["state"], "ready");
    assert!(
        part["reason"].as_str().unwrap().contains("revision \"7\""),
        "{part}"
    );
}

#[test]
fn with_a_mounted_file_the_config_map_is_looked_for_and_not_made() {
    let scene = Scene::new(json!({"topogw.fqdn": "topo-gw.ns1.svc.cluster.local:8080"}));
    let options = scene
        .options()
        .cim("lmaas.max_age", 3)
        .infra("log_format", "json");
    let cim = Cim::start(options);
    let answer = register(&cim, "01_success");
    assert_eq!(answer.text(), body(&sample("01_success.response.raw")));
    let wanted = [POD.to_owned(), format!("GET {CONFIG_MAP} -> 404")];
    assert_eq!(scene.kube.log(), wanted);
}

#[test]
fn common_infra_comes_from_tmaas_where_there_is_no_file() {
    let infra = json!({
        "apigw_rest_fqdn": "cmaas.ns1.svc.cluster.local:8008",
        "topoengine_fqdn": "tmaas.ns1.svc.cluster.local:8080",
    });
    let tmaas = Tmaas::start(&infra.to_string());
    let scene = Scene::new(json!({"topogw.fqdn": tmaas.address.to_string()}));
    let cim = Cim::start(scene.options().cim("lmaas.max_age", 3));
    let answer = register(&cim, "21_success_common_infra_from_tmaas");
    let golden = body(&sample("21_success_common_infra_from_tmaas.response.raw"));
    let topogw = "topo-gw.xgvela-ns.svc.cluster.local:8080";
    assert_eq!(
        answer.text(),
        golden.replace(topogw, &tmaas.address.to_string())
    );
    let golden = String::from_utf8(sample("20_common_infra_from_tmaas.request.raw")).unwrap();
    let requests = tmaas.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].lines().next(), golden.lines().next());
    let host = format!("host: {}", tmaas.address);
    assert!(
        requests[0].to_ascii_lowercase().contains(&host),
        "{}",
        requests[0]
    );
}

#[test]
fn the_cluster_role_says_where_tmaas_is_when_the_pod_does_not() {
    let tmaas = Tmaas::start(r#"{"apigw_rest_fqdn": "gw:1"}"#);
    let scene = Scene::new(json!({}));
    scene.kube.put_cluster_role(json!({
        "metadata": {"name": "xgvela1-xgvela", "annotations": {"topo-gw.fqdn": tmaas.address.to_string()}},
    }));
    let cim = Cim::start(scene.options().cim("lmaas.max_age", 3));
    let answer = register(&cim, "01_success").json();
    assert_eq!(answer["tmaas_fqdn"], tmaas.address.to_string());
    assert_eq!(answer["apigw_rest_fqdn"], "gw:1");
}

/// better: the original ends (`22_without_tmaas_annotation.result.json`).
#[test]
fn without_the_annotation_the_environment_names_the_network_function() {
    let scene = Scene::new(json!({"xgvela.com/tmaas": ""}));
    let options = scene
        .options()
        .infra("log_format", "json")
        .env("NF", "nf-env")
        .env("NF_TYPE", "type-env");
    let mut cim = Cim::start(options);
    let answer = register(&cim, "01_success").json();
    assert_eq!(answer["tmaas_annotations"]["nfId"], "nf-env");
    assert_eq!(answer["tmaas_annotations"]["nfType"], "type-env");
    assert_eq!(
        scene.kube.log(),
        [POD],
        "without nfServiceType there is no ConfigMap"
    );
    eventually(PATIENCE, || {
        String::from_utf8_lossy(&cim.text_of("cim")).contains("gives no nfServiceType")
    });
    assert!(cim.is_alive());
}
