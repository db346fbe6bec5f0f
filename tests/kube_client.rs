//! The client of the Kubernetes API against a stand-in over HTTPS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cim::kube::{
    Cause, Client, Created, Deleted, KubeError, Recovery, ServerAddress, ServiceAccount,
};
use cim::metrics::Metrics;
use serde_json::json;
use servers::kube::{Fault, Kube, golden_pod, nowhere};
use support::{PATIENCE, eventually};

/// A call that should be answered has so long; the machine may be busy.
const TIME: Duration = PATIENCE;

fn client_to(address: std::net::SocketAddr, kube: &Kube) -> (Client, Arc<Metrics>) {
    let host = address.ip().to_string();
    let port = address.port().to_string();
    let address = ServerAddress::new(Some(&host), Some(&port)).unwrap();
    let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
    let account = ServiceAccount::new(kube.service_account());
    (
        Client::new(&address, account, Arc::clone(&metrics)),
        metrics,
    )
}

fn client(kube: &Kube) -> Client {
    client_to(kube.address, kube).0
}

fn with_pod() -> Kube {
    let kube = Kube::start();
    kube.put_pod(golden_pod(json!({})));
    kube
}

#[track_caller]
fn cause<T: std::fmt::Debug>(result: Result<T, KubeError>) -> Cause {
    result.unwrap_err().cause
}

#[test]
fn a_pod_is_read_and_deleted() {
    let kube = with_pod();
    let client = client(&kube);
    let pod = client.get_pod("ns1", "cnf-0", TIME).unwrap();
    assert_eq!(pod.label("microSvcName"), Some("ms1"));
    assert_eq!(pod.deletion_grace_seconds, None);
    let uid = pod.uid.as_deref();
    assert_eq!(
        client.delete_pod("ns1", "cnf-0", None, TIME).unwrap(),
        Deleted::Accepted
    );
    assert_eq!(
        kube.requests()[1].body,
        r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#
    );
    let pod = client.get_pod("ns1", "cnf-0", TIME).unwrap();
    assert_eq!(pod.deletion_grace_seconds, Some(30));
    assert!(pod.deletion_timestamp.is_some());
    assert_eq!(
        client.delete_pod("ns1", "cnf-0", uid, TIME).unwrap(),
        Deleted::Accepted
    );
    let other = client.delete_pod("ns1", "cnf-0", Some("another"), TIME);
    assert_eq!(
        other.unwrap(),
        Deleted::Gone,
        "the pod that was meant is gone"
    );
    kube.remove("/api/v1/namespaces/ns1/pods/cnf-0");
    assert_eq!(
        client.delete_pod("ns1", "cnf-0", uid, TIME).unwrap(),
        Deleted::Gone
    );
    assert_eq!(kube.connections(), 1, "one socket for all calls");
}

#[test]
fn a_list_is_read_page_by_page() {
    let kube = Kube::start();
    for n in 0..120 {
        let mut pod = golden_pod(json!({}));
        pod["metadata"]["name"] = format!("fluent-{n:03}").into();
        pod["metadata"]["labels"] =
            json!({"k8s-app": if n % 2 == 0 { "fluent-bit" } else { "other" }});
        pod["spec"]["nodeName"] = format!("node{}", n % 4).into();
        kube.put_pod(pod);
    }
    let client = client(&kube);
    let all = client.list_pods(Some("ns1"), None, None, TIME).unwrap();
    assert_eq!(all.len(), 120);
    assert_eq!(all[119].name.as_deref(), Some("fluent-119"));
    assert_eq!(kube.requests().len(), 3);
    let here = client.list_pods(
        Some("ns1"),
        Some("k8s-app=fluent-bit"),
        Some("spec.nodeName=node2"),
        TIME,
    );
    let here = here.unwrap();
    assert_eq!(here.len(), 30);
    assert!(
        here.iter()
            .all(|pod| pod.node_name.as_deref() == Some("node2"))
    );
    let path = &kube.requests()[3].path;
    assert!(
        path.ends_with(
            "/pods?limit=50&labelSelector=k8s-app%3Dfluent-bit&fieldSelector=spec.nodeName%3Dnode2"
        ),
        "{path}"
    );
    assert!(
        client
            .list_pods(Some("ns2"), None, None, TIME)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_config_map_is_made_once() {
    let kube = Kube::start();
    let client = client(&kube);
    assert!(matches!(
        cause(client.get_config_map("ns1", "c", TIME)),
        Cause::NotFound(_)
    ));
    let object = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "c", "namespace": "ns1"}, "data": {"revision": "0"},
    });
    assert_eq!(
        client.create_config_map("ns1", &object, TIME).unwrap(),
        Created::New
    );
    assert_eq!(
        client.create_config_map("ns1", &object, TIME).unwrap(),
        Created::Existed
    );
    let read = client.get_config_map("ns1", "c", TIME).unwrap();
    assert_eq!(read.data["revision"], "0");
    let bad = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "No_Name"}, "data": {}});
    let error = client.create_config_map("ns1", &bad, TIME).unwrap_err();
    assert_eq!(error.recovery(), Recovery::Never, "{error}");
}

#[test]
fn a_cluster_role_is_read() {
    let kube = Kube::start();
    kube.put_cluster_role(
        json!({"metadata": {"name": "x-xgvela", "annotations": {"topo-gw.fqdn": "t:1"}}}),
    );
    let role = client(&kube).get_cluster_role("x-xgvela", TIME).unwrap();
    assert_eq!(role.annotations["topo-gw.fqdn"], "t:1");
}

#[test]
fn a_name_from_outside_cannot_leave_its_place_in_the_path() {
    let kube = Kube::start();
    let error = client(&kube)
        .get_pod("ns1", "../configmaps/c?x=y", TIME)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::NotFound(_)), "{error}");
    assert_eq!(
        kube.log(),
        ["GET /api/v1/namespaces/ns1/pods/..%2Fconfigmaps%2Fc%3Fx%3Dy -> 404"]
    );
}

#[test]
fn a_token_that_has_expired_is_read_again_once_the_kubelet_has_swapped_it() {
    let kube = with_pod();
    let client = client(&kube);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    kube.expect_token("token-2");
    assert!(servers::kube::is_linked(
        &kube.service_account().join("token")
    ));
    let error = client.get_pod("ns1", "cnf-0", TIME).unwrap_err();
    assert!(matches!(error.cause, Cause::Unauthorized(_)), "{error}");
    assert_eq!(error.recovery(), Recovery::Again);
    assert!(!error.to_string().contains("token-1"), "{error}");
    kube.write_token("token-2\n");
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    kube.expect_token("token-3");
    kube.remove("/api/v1/namespaces/ns1/pods/cnf-0");
    let gone = client.get_pod("ns1", "cnf-0", TIME);
    assert!(
        matches!(cause(gone), Cause::Unauthorized(_)),
        "of a pod that is gone too"
    );
}

#[test]
fn a_ca_that_was_rotated_is_read_again_after_the_first_failure() {
    let kube = with_pod();
    let client = client(&kube);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    client.rest();
    let new = kube.rotate_ca(false);
    let error = client.get_pod("ns1", "cnf-0", TIME).unwrap_err();
    assert!(matches!(error.cause, Cause::Tls(_)), "{error}");
    let both = std::fs::read_to_string(kube.service_account().join("ca.crt")).unwrap() + &new;
    kube.write_ca(&both);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
}

#[test]
fn a_server_of_another_ca_gets_no_token() {
    let (kube, impostor) = (with_pod(), with_pod());
    let (client, _) = client_to(impostor.address, &kube);
    assert!(matches!(
        cause(client.get_pod("ns1", "cnf-0", TIME)),
        Cause::Tls(_)
    ));
    assert!(impostor.requests().is_empty());
}

#[test]
fn without_a_service_account_nothing_is_sent() {
    let kube = with_pod();
    let (client, metrics) = client_to(kube.address, &kube);
    for file in ["token", "ca.crt"] {
        std::fs::rename(
            kube.service_account().join(file),
            kube.service_account().join("away"),
        )
        .unwrap();
        let error = client.get_pod("ns1", "cnf-0", TIME).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("{file} does not exist")),
            "{error}"
        );
        assert_eq!(error.recovery(), Recovery::Slowly);
        std::fs::rename(
            kube.service_account().join("away"),
            kube.service_account().join(file),
        )
        .unwrap();
    }
    assert_eq!(kube.connections(), 0);
    let counted = metrics
        .kubernetes_requests
        .with_label_values(&["get", "no_service_account"]);
    assert_eq!(counted.get(), 2);
}

#[test]
fn a_right_that_is_missing_is_named() {
    let kube = with_pod();
    kube.forbid("delete pods", true);
    let error = client(&kube)
        .delete_pod("ns1", "cnf-0", None, TIME)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot delete pod ns1/cnf-0: not allowed (403)"),
        "{text}"
    );
    assert!(text.contains("cannot delete resource \"pods\""), "{text}");
    assert_eq!(error.recovery(), Recovery::Slowly);
}

#[test]
fn every_fault_of_the_server_is_told_apart_and_counted() {
    let kube = with_pod();
    let (client, metrics) = client_to(kube.address, &kube);
    let big = vec![b' '; cim::limits::KUBE_ANSWER_BYTES as usize + 1];
    for (fault, code, recovery) in [
        (Fault::Status(500), "500", Recovery::Again),
        (Fault::Status(503), "503", Recovery::Again),
        (
            Fault::Busy(3),
            "429",
            Recovery::AgainAfter(Duration::from_secs(3)),
        ),
        (Fault::Status(302), "5xx", Recovery::Again),
        (Fault::Body(b"<html>".to_vec()), "answer", Recovery::Slowly),
        (Fault::Body(big), "answer", Recovery::Slowly),
        (Fault::Swallow, "unreachable", Recovery::Again),
        (Fault::Refuse, "unreachable", Recovery::Again),
    ] {
        kube.fault(Some(fault.clone()));
        // A socket that was kept would not be refused.
        client.rest();
        let error = client.get_pod("ns1", "cnf-0", TIME).unwrap_err();
        assert_eq!(
            (error.cause.code(), error.recovery()),
            (code, recovery),
            "{error}"
        );
        assert!(error.to_string().len() < 600, "{error}");
    }
    kube.fault(None);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    for (code, count) in [("5xx", 1), ("answer", 2), ("unreachable", 2), ("200", 1)] {
        let counted = metrics
            .kubernetes_requests
            .with_label_values(&["get", code]);
        assert_eq!(counted.get(), count, "{code}");
    }
    let (nobody, _) = client_to(nowhere(), &kube);
    assert!(matches!(
        cause(nobody.get_pod("ns1", "cnf-0", TIME)),
        Cause::Unreachable(_)
    ));
}

#[test]
fn a_frozen_server_costs_the_time_of_the_call() {
    let kube = with_pod();
    let client = client(&kube);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    kube.fault(Some(Fault::Freeze));
    // Once on the socket that is kept, once in the handshake of a new one.
    for _ in 0..2 {
        let start = Instant::now();
        let error = client
            .get_pod("ns1", "cnf-0", Duration::from_millis(300))
            .unwrap_err();
        assert!(matches!(error.cause, Cause::TimedOut), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        client.rest();
    }
}

#[test]
fn a_call_to_a_frozen_server_ends_when_the_client_is_closed() {
    let kube = with_pod();
    kube.fault(Some(Fault::Freeze));
    let client = client(&kube);
    let closer = client.closer();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let result = client.get_pod("ns1", "cnf-0", Duration::from_secs(60));
            (cause(result), Instant::now())
        });
        eventually(PATIENCE, || kube.open() > 0);
        let closed = Instant::now();
        closer.close();
        let (cause, ended) = call.join().unwrap();
        assert!(matches!(cause, Cause::Closed), "{cause}");
        assert!(
            ended - closed < Duration::from_secs(1),
            "{:?}",
            ended - closed
        );
    });
    assert!(matches!(
        cause(client.get_pod("ns1", "cnf-0", TIME)),
        Cause::Closed
    ));
}

#[test]
fn no_socket_is_kept_while_the_client_rests() {
    let kube = with_pod();
    let client = client(&kube);
    client.get_pod("ns1", "cnf-0", TIME).unwrap();
    assert_eq!(kube.open(), 1);
    client.rest();
    eventually(PATIENCE, || kube.open() == 0);
}
