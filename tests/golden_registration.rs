//! The original's own registrations (`golden/3-registration`), through reader, routes and writer, without a socket.
//!
//! Where CONTRACT section 3 wants a difference, the test that shows it says so. The bodies are compared byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use cim::health::Health;
use cim::http::{
    Access, Answer, EventSubscriptions, Handler, Limits, Monitor, Operations, RequestReader, Scope,
    Step, Wake,
};
use cim::metrics::Metrics;
use cim::metrics::aligned::exporter::Exporter;
use cim::nats::monitor::Asker;
use cim::registration::{Application, Facts, Overrides, Registrar};
use cim::settings::{Settings, Store};
use cim::status::{Sources, Status};
use cim::subscriptions::Subscriptions;
use serde_json::{Value, json};

struct Recorder {
    facts: Facts,
    overrides: Vec<Overrides>,
}

impl Registrar for Recorder {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn accept(&mut self, _: &Application, overrides: Overrides) -> Result<(), String> {
        self.overrides.push(overrides);
        Ok(())
    }
}

/// The pod of the golden samples; the API gateway's user and password are what the original has built in.
fn facts() -> Facts {
    let annotation = r#"{"vendorId":"v1","xgvelaId":"xgvela1","nfClass":"nfc","nfType":"nft","nfId":"nf1","nfServiceId":"svc1","nfServiceType":"svctype"}"#;
    Facts {
        namespace: "ns1".into(),
        tmaas_annotations: Some(serde_json::from_str(annotation).unwrap()),
        apigw_username: "admin".into(),
        apigw_password: "admin".into(),
        ..Facts::default()
    }
}

fn operations(facts: Facts) -> Operations<Recorder> {
    let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
    Operations {
        subscriptions: EventSubscriptions::new(
            Subscriptions::open("/nowhere/subscriptions.json".into())
                .0
                .into(),
            crossbeam_channel::bounded(1).0,
            Arc::clone(&metrics),
        ),
        status: Status::new(Sources::default(), Arc::clone(&metrics), Instant::now()),
        metrics: Arc::clone(&metrics),
        aligned: Arc::new(Exporter::new(metrics)),
        settings: Arc::new(Store::new(Settings::default())),
        health: Arc::new(Health::new()),
        history: Default::default(),
        monitor: Monitor::new(
            Some(Asker::new(crossbeam_channel::bounded(1).0, || {})),
            Access::Open,
        ),
        registrar: Recorder {
            facts,
            overrides: Vec::new(),
        },
    }
}

/// An HTTP answer in parts.
struct Parts {
    status: String,
    head: String,
    body: String,
}

impl Parts {
    fn of(raw: &[u8]) -> Self {
        let text = String::from_utf8(raw.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (status, head) = head.split_once("\r\n").unwrap();
        Self {
            status: status.to_owned(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn sample(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/3-registration");
    std::fs::read(format!("{folder}/{name}")).unwrap()
}

/// The original's answer and ours to the request `name`.
fn both(name: &str, operations: &mut Operations<Recorder>) -> (Parts, Parts) {
    let mut reader = RequestReader::new(Limits::default());
    reader.feed(&sample(&format!("{name}.request.raw")));
    let Step::Request(request) = reader.step().unwrap() else {
        panic!("{name}: not a whole request");
    };
    let Answer::Now(response) = operations.answer(Scope::All, &request, &Wake::new(|| {})) else {
        panic!("{name}: later");
    };
    let ours = response.encode(false, request.keep_alive, SystemTime::now());
    let golden = sample(&format!("{name}.response.raw"));
    (Parts::of(&golden), Parts::of(&ours))
}

fn check_same(name: &str, operations: &mut Operations<Recorder>) {
    let (golden, ours) = both(name, operations);
    assert_eq!(ours.status, golden.status, "{name}");
    assert_eq!(ours.body, golden.body, "{name}");
    assert_eq!(
        ours.header("Content-Length"),
        golden.header("Content-Length"),
        "{name}"
    );
    // better: application/json; the original says text/plain.
    assert_eq!(
        golden.header("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(ours.header("Content-Type"), Some("application/json"));
}

#[test]
fn accepted() {
    let mut operations = operations(facts());
    for name in [
        "01_success",
        "02_again",
        "02b_empty_object",
        "02c_again_with_overrides_ignored",
        "08_success_with_overrides_creates_configmap",
        "09_success_configmap_exists",
    ] {
        check_same(name, &mut operations);
    }
    assert_eq!(operations.metrics.registrations.get(), 6);
}

#[test]
fn overrides_are_handed_on_as_the_original_got_them() {
    let mut operations = operations(facts());
    check_same(
        "08_success_with_overrides_creates_configmap",
        &mut operations,
    );
    let overrides = operations.registrar.overrides.pop().unwrap();
    assert_eq!(
        Value::from(overrides.lmaas),
        json!({"max_file_size_in_mb": 20, "max_backup_files": 0, "max_age": -1, "buffer_size": 2000, "flush_timeout": 6, "logging_mode": ""})
    );
    assert_eq!(
        Value::from(overrides.app_settings),
        json!({"app_port": 9996, "http2_enabled": false})
    );
}

#[test]
fn refused() {
    let mut optional = operations(facts());
    for name in ["03_invalid_json", "04_empty_body", "05b_wrong_type"] {
        check_same(name, &mut optional);
    }
    let mut mandatory = operations(Facts {
        container_fields_mandatory: true,
        ..facts()
    });
    for name in [
        "06_ctr_fields_mandatory_blank",
        "07_ctr_fields_mandatory_missing",
    ] {
        check_same(name, &mut mandatory);
    }
    check_same("01_success", &mut mandatory);
    assert_eq!(optional.registrar.overrides, []);
}

/// better: the API gateway's user and password come from the configuration, and are empty without.
#[test]
fn no_built_in_credentials() {
    let mut operations = operations(Facts {
        apigw_username: String::new(),
        apigw_password: String::new(),
        ..facts()
    });
    let (golden, ours) = both("01_success", &mut operations);
    let mut wanted = golden.json();
    wanted["apigw_username"] = "".into();
    wanted["apigw_password"] = "".into();
    assert_eq!(
        ours.json().to_string(),
        wanted.to_string(),
        "members in the same order"
    );
}

/// better: a wrong method is told in JSON, with `Allow`; the original's answer is empty.
#[test]
fn get_instead_of_post() {
    let (golden, ours) = both("05_get_instead_of_post", &mut operations(facts()));
    assert_eq!(ours.status, golden.status);
    assert_eq!(golden.body, "");
    assert!(ours.json()["error"].is_string());
    assert_eq!(ours.header("Allow"), Some("POST"));
}

/// With the annotation `topogw.fqdn`, and the two other addresses from the common-infra.json that TMaaS gave.
#[test]
fn common_infra_from_tmaas() {
    let topogw = "topo-gw.xgvela-ns.svc.cluster.local:8080";
    let mut given = operations(Facts {
        topogw_fqdn: Some(topogw.into()),
        apigw_rest_fqdn: Some("cmaas.ns1.svc.cluster.local:8008".into()),
        topoengine_fqdn: Some("tmaas.ns1.svc.cluster.local:8080".into()),
        ..facts()
    });
    check_same("21_success_common_infra_from_tmaas", &mut given);
    // Without them the defaults lie in the namespace of TMaaS, not of the pod (CONTRACT section 3).
    let mut defaults = operations(Facts {
        topogw_fqdn: Some(topogw.into()),
        ..facts()
    });
    let (golden, ours) = both("21_success_common_infra_from_tmaas", &mut defaults);
    let mut wanted = golden.json();
    wanted["apigw_rest_fqdn"] = "cmaas.xgvela-ns.svc.cluster.local:8008".into();
    wanted["topo_engine_fqdn"] = "tmaas.xgvela-ns.svc.cluster.local:8080".into();
    assert_eq!(ours.json(), wanted);
}

/// better: a pod without TMaaS annotation is no reason to end, and the member is `null`.
#[test]
fn without_tmaas_annotation() {
    let mut operations = operations(Facts {
        tmaas_annotations: None,
        ..facts()
    });
    let (golden, ours) = both("01_success", &mut operations);
    let mut wanted = golden.json();
    wanted["tmaas_annotations"] = Value::Null;
    assert_eq!(ours.json().to_string(), wanted.to_string());
}
