//! The log collector and the application: a connection that is closed at once, nothing is sent.

use super::{Known, Out};
use crate::app::Target;
use crate::chain::chain;
use crate::kube::{Client, local_collector};
use crate::limits::{DOCTOR_CONNECT_TIME, KUBE_CALL_TIME};
use crate::logs::remote::tail::Legacy;
use crate::logs::remote::tcp::TcpSink;
use crate::logs::remote::wanted::Wanted;
use crate::resolver::CachingResolver;
use crate::settings::address::host_port;

const ADDRESS: &str = "set logging_svc_url in common-infra.json";

pub(super) fn collector(known: &Known, out: &Out) {
    known.wait();
    let settings = known.surroundings.settings.load();
    let (service, local_port) = match Wanted::of(&settings) {
        Some(Wanted::Tcp {
            service,
            local_port,
        }) => (service, local_port),
        Some(Wanted::Kafka { .. }) => return out.ok("not used: log lines go to Kafka"),
        None => return out.ok("not used: logging_mode is not TCP"),
    };
    if let Some(port) = local_port
        && let Some(address) = of_this_node(known, &port, out)
    {
        return reach(&address, out);
    }
    match service {
        Some(address) => reach(&address, out),
        None => out.failed("logging_mode is TCP, and no collector is named", ADDRESS),
    }
}

/// The collector's address on this node; without one the service is used, which is said.
fn of_this_node(known: &Known, port: &str, out: &Out) -> Option<String> {
    if !matches!(known.api, Some(Ok(_))) {
        out.warning(
            "prefer_local_daemonset, and there is no Kubernetes to ask: logging_svc_url is used",
            "switch it off, or run CIM in a pod",
        );
        return None;
    }
    let client: Client = super::kube::client(known, out)?;
    let identity = known.surroundings.identity.load();
    let found = client
        .get_pod(&identity.namespace, &identity.pod, KUBE_CALL_TIME)
        .and_then(|pod| match pod.node_name {
            Some(node) => local_collector(&client, &identity.namespace, &node, KUBE_CALL_TIME),
            None => Ok(None),
        });
    match found {
        Ok(Some(ip)) => return Some(host_port(ip, port)),
        Ok(None) => out.warning(
            "no pod labelled k8s-app=fluent-bit is ready on this node: logging_svc_url is used",
            "look at the collector's daemon set, or switch prefer_local_daemonset off",
        ),
        Err(error) => out.warning(
            format!("{error}: logging_svc_url is used"),
            "see the lines about Kubernetes",
        ),
    }
    None
}

fn reach(address: &str, out: &Out) {
    let connected = TcpSink::connect(&CachingResolver::default(), address, &Legacy::default());
    match connected {
        Ok(sink) => out.ok(format!("{address}: takes connections ({})", sink.peer())),
        Err(error) => out.failed(
            chain(&error),
            "until then log lines go to files; put logging_svc_url in common-infra.json right if it is another one",
        ),
    }
}

pub(super) fn application(known: &Known, out: &Out) {
    known.wait();
    let target = known.surroundings.application();
    let Target { url, http2 } = &target;
    let host = url.trim_start_matches("http://");
    let address = match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => format!("{host}:80"),
    };
    let version = if *http2 { "HTTP/2" } else { "HTTP/1.1" };
    match super::stores::connect(&address, DOCTOR_CONNECT_TIME) {
        Ok(()) => out.ok(format!("{url}: takes connections; change sets go there by {version}")),
        Err(error) => out.warning(
            format!("{url}: no connection: {error}"),
            "start the application, or set app_settings.app_port in cim.json, or CIM_APP_URL; without change sets it need not listen",
        ),
    }
}
