//! The operations API of the running daemon: registration, metrics, health (CONTRACT 3 and 9).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use support::{Cim, Options, PATIENCE, eventually};

const REGISTER: &str = "/api/v1/_operations/xgvela/register";
const APP: &[u8] = br#"{"container_name":"app","container_id":"0123456789ab"}"#;

#[test]
fn an_application_registers_again_and_again() {
    let cim = Cim::start(Options::new());
    let first = cim.post(REGISTER, APP);
    assert_eq!(first.status, 200);
    assert_eq!(first.header("content-type"), Some("application/json"));
    let json = first.json();
    assert_eq!(json["status"], "success");
    assert_eq!(json["apigw_rest_uri_prefix"], "/restconf/tailf/query");
    assert_eq!(json["apigw_auth_type"], "Basic");
    assert_eq!(json["topo_engine_fqdn"], "tmaas.ns1.svc.cluster.local:8080");
    assert_eq!(cim.post(REGISTER, APP).json(), json);
    assert_eq!(cim.metric("cim_registrations_total", &[]), 2.0);
}

#[test]
fn a_bad_registration_is_refused_with_the_reason() {
    let cim = Cim::start(Options::new());
    for body in [&b""[..], b"{", b"[]", b"\xff", br#"{"container_name":7}"#] {
        let answer = cim.post(REGISTER, body);
        assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(body));
        let json = answer.json();
        assert_eq!(json["status"], "failure");
        assert!(
            json["err_msg"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert!(json["tmaas_annotations"].is_null());
    }
    assert_eq!(cim.post(REGISTER, APP).status, 200);
}

#[test]
fn mandatory_fields_are_asked_for_when_told_so() {
    let cim = Cim::start(Options::new().env("CTR_FIELDS_MANDATORY", "true"));
    for body in [
        &b"{}"[..],
        br#"{"container_name":"","container_id":""}"#,
        br#"{"container_name":"app"}"#,
    ] {
        assert_eq!(
            cim.post(REGISTER, body).status,
            400,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    assert_eq!(cim.post(REGISTER, APP).status, 200);
}

#[test]
fn metrics_move_with_the_messages() {
    let cim = Cim::start(Options::new().cim("cim_settings.cim_file_log", false));
    let mut wire = cim.client();
    let before = cim.metric("Total_msg_count", &[]);
    for _ in 0..10 {
        wire.publish_log("app", "1", b"0123456789");
    }
    wire.publish_event("Event");
    wire.publish("CONFIG", b"{}");
    wire.ping_pong();
    let pod: &[(&str, &str)] = &[("pod", "cnf-0")];
    assert_eq!(cim.metric("cim_nats_LOG_message_count", pod), 10.0);
    assert_eq!(cim.metric("cim_nats_LOG_message_size_count", pod), 10.0);
    eventually(PATIENCE, || {
        cim.metric("cim_nats_EVENT_message_count", pod) == 1.0
    });
    eventually(PATIENCE, || {
        cim.metric("cim_nats_CONFIG_message_count", pod) == 1.0
    });
    assert_eq!(cim.metric("Total_msg_count", pod) - before, 10.0);
    assert!(cim.metric("Total_msg_write_to_file", pod) >= 10.0);
    assert!(cim.metric("cim_total_bytes_counter", pod) > 100.0);
    assert!(cim.metric("process_resident_memory_bytes", &[]) > 0.0);
    assert_eq!(cim.metric("cim_nats_connections", pod), 1.0);
}

#[test]
fn health_and_readiness() {
    let cim = Cim::start(Options::new());
    assert_eq!(cim.get("/healthz").status, 200);
    eventually(PATIENCE, || cim.get("/readyz").status == 200);
    let json = cim.get("/readyz").json();
    assert_eq!(json["status"], "ready");
    for part in ["nats", "logs", "http"] {
        assert_eq!(json["parts"][part]["state"], "ready", "{json}");
    }
    assert_eq!(json["parts"]["application"]["state"], "not ready");
    eventually(PATIENCE, || {
        cim.get("/readyz").json()["parts"]["collector"]["state"] == "disabled"
    });
    cim.post(REGISTER, APP);
    let json = cim.get("/readyz").json();
    assert_eq!(json["parts"]["application"]["state"], "ready", "{json}");
}

#[test]
fn what_does_not_work_is_told_with_its_address_and_what_is_next() {
    let nowhere = "127.0.0.1:1";
    let options = Options::new()
        .mode("TCP", "text")
        .infra("logging_svc_url", nowhere)
        .env("CIM_ETCD_URL", nowhere)
        .env("CIM_KAFKA_BROKERS", nowhere)
        .env("CIM_MICROSERVICE", "ms1");
    let cim = Cim::start(options);
    for (part, words) in [
        ("etcd", nowhere),
        ("kafka", "Kafka at 127.0.0.1:1 does not take events"),
        ("collector", nowhere),
        ("kubernetes", "KUBERNETES_SERVICE_HOST"),
        ("application", REGISTER),
    ] {
        // An outage of Kafka is one after some seconds.
        cim.until_part(part, "not ready", words);
        let (_, reason) = cim.part(part);
        let (_, next) = reason.split_once("; ").expect(&reason);
        assert!(next.len() > 20, "{part}: {reason}");
    }
    assert_eq!(cim.get("/readyz").status, 200, "none of them is needed");
}

#[test]
fn unknown_paths_and_methods_are_answered_in_json() {
    let cim = Cim::start(Options::new());
    let answer = cim.get("/nowhere");
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].is_string());
    let answer = cim.get(REGISTER);
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(cim.post("/metrics", b"").status, 405);
}

#[test]
fn own_log_lines_are_in_the_contracts_form() {
    let cim = Cim::start(Options::new());
    drop(cim.client());
    let lines = || cim.lines_of("cim");
    eventually(PATIENCE, || !lines().is_empty());
    for line in lines() {
        let line = String::from_utf8(line).expect("UTF-8");
        // [LEVEL] : 2006-01-02T15:04:05.000000000 -> [text]
        let (level, rest) = line.split_once(" : ").unwrap_or_else(|| panic!("{line:?}"));
        assert!(level.starts_with('[') && level.ends_with(']'), "{line:?}");
        let (time, text) = rest
            .split_once(" -> ")
            .unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(
            time.len(),
            "2006-01-02T15:04:05.000000000".len(),
            "{line:?}"
        );
        assert!(text.starts_with('[') && text.ends_with(']'), "{line:?}");
    }
}
