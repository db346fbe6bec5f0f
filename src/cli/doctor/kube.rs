//! Kubernetes: what it tells of the pod, which CIM then uses, and what the service account may do there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Known, Out};
use crate::identity::{Identity, topogw_fqdn};
use crate::kube::{
    AddressError, Cause, Client, KubeError, Right, ServerAddress, ServiceAccount, Tmaas, config_map,
};
use crate::limits::{DOCTOR_LEARN_TIME, KUBE_CALL_TIME};
use crate::metrics::Metrics;
use crate::settings::{LoggingMode, Store};

const ROLE: &str = "bind the service account to a Role that allows it (docs/kubernetes.md, Rights)";

/// The client, or why there is none.
pub(super) fn client(known: &Known, out: &Out) -> Option<Client> {
    match &known.api {
        None => out.ok("not used: K8S_POD_ID is not set, CIM is standalone"),
        Some(Err(error @ AddressError::Missing)) => out.warning(
            format!("{error}: CIM knows nothing of its pod"),
            "run it in a pod, or without K8S_POD_ID",
        ),
        Some(Err(error)) => out.failed(
            error.to_string(),
            "put KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT right",
        ),
        Some(Ok(address)) => return connect(known, address, out),
    }
    None
}

fn connect(known: &Known, address: &ServerAddress, out: &Out) -> Option<Client> {
    let options = &known.surroundings.options;
    let account = ServiceAccount::new(&options.paths.service_account_dir);
    match Metrics::new("cim-doctor") {
        Ok(metrics) => Some(Client::new(address, account, Arc::new(metrics))),
        Err(error) => {
            out.failed(format!("the client cannot be made: {error}"), "report it");
            None
        }
    }
}

/// Asks what CIM asks: the pod, its ConfigMap, where TMaaS is, common-infra.json. What is learnt is in the surroundings afterwards.
pub(super) fn learn(known: &Known, out: &Out) {
    let Some(client) = client(known, out) else {
        return;
    };
    let until = Instant::now() + DOCTOR_LEARN_TIME;
    let time = || {
        let left = until.saturating_duration_since(Instant::now());
        left.min(KUBE_CALL_TIME)
    };
    let surroundings = &known.surroundings;
    let before = surroundings.identity.load();
    let pod = match client.get_pod(&before.namespace, &before.pod, time()) {
        Ok(pod) => pod,
        Err(error) => return bad(&error, "pods get", out),
    };
    let (identity, warnings) = before.with_pod(&pod);
    for warning in warnings {
        out.warning(warning, "put the pod's labels and annotations right");
    }
    match &identity.microservice {
        Some(microservice) => out.ok(format!(
            "pod {}/{} is there: microservice {microservice}, version {}",
            identity.namespace, identity.pod, identity.version
        )),
        None => out.failed(
            "the microservice is not known: CIM delivers no change sets",
            "give the pod the label microSvcName, or set CIM_MICROSERVICE",
        ),
    }
    surroundings.identity.store(identity);
    let identity = surroundings.identity.load();
    if let Some(name) = config_map::name(&identity) {
        read_config_map(
            &client,
            &identity,
            &name,
            &surroundings.settings,
            time(),
            out,
        );
    }
    if surroundings.settings.lacks_infra() {
        infra(known, &client, &identity, &time, out);
    }
}

fn read_config_map(
    client: &Client,
    identity: &Identity,
    name: &str,
    settings: &Store,
    time: Duration,
    out: &Out,
) {
    match client.get_config_map(&identity.namespace, name, time) {
        Ok(found) => {
            let text = config_map::cim_json(&found).map(str::as_bytes);
            match settings.put_config_map(text, config_map::revision(&found)) {
                Ok(_) => out.ok(format!("ConfigMap {name} is there")),
                Err(error) => out.failed(
                    format!("cim.json of ConfigMap {name} is refused: {error}"),
                    "put the ConfigMap right",
                ),
            }
        }
        Err(KubeError {
            cause: Cause::NotFound(_),
            ..
        }) => out.ok(format!(
            "there is no ConfigMap {name}; CIM makes it when the application registers"
        )),
        Err(error) => bad(&error, "configmaps get", out),
    }
}

/// From TMaaS, as there is no file.
fn infra(
    known: &Known,
    client: &Client,
    identity: &Identity,
    time: &dyn Fn() -> Duration,
    out: &Out,
) {
    let mut address = identity.topogw_fqdn.clone();
    if address.is_none()
        && let Some(name) = identity.cluster_role()
    {
        match client.get_cluster_role(&name, time()) {
            Ok(role) => {
                let text = role.annotations.get("topo-gw.fqdn").map(String::as_str);
                address = topogw_fqdn("annotation topo-gw.fqdn", text.unwrap_or_default())
                    .ok()
                    .flatten();
            }
            Err(error) => bad(&error, "clusterroles get", out),
        }
    }
    let Some(address) = address else {
        return out.warning(
            "no common-infra.json, and nothing says where TMaaS is",
            "mount common-infra.json, or give the pod the annotation topogw.fqdn",
        );
    };
    let text = Tmaas::default().common_infra(&address, time());
    let taken = text.map_err(|error| error.to_string()).and_then(|text| {
        let taken = known.surroundings.settings.put_infra(&text);
        taken.map_err(|error| {
            format!("common-infra.json from TMaaS at {address} is refused: {error}")
        })
    });
    match taken {
        Ok(_) => out.ok(format!("common-infra.json from TMaaS at {address}")),
        Err(error) => out.failed(error, "look at TMaaS, or mount common-infra.json"),
    }
}

fn bad(error: &KubeError, right: &str, out: &Out) {
    let text = error.to_string();
    match &error.cause {
        Cause::Forbidden(_) => out.failed(text, format!("{right}: {ROLE}")),
        Cause::NoServiceAccount(_) => out.failed(text, "mount the service account's token (automountServiceAccountToken), or set CIM_SERVICE_ACCOUNT_DIR"),
        Cause::Unauthorized(_) => out.failed(text, "mount a valid token: the pod or its service account may be gone"),
        Cause::NotFound(_) => out.failed(text, "set K8S_POD_ID and K8S_NAMESPACE from the pod's own fieldRef metadata.name and metadata.namespace"),
        Cause::Tls(_) => out.failed(text, "mount the CA of this cluster: ca.crt of the service account is another one's"),
        _ => out.failed(text, "look at network policies between this pod and the API server"),
    }
}

/// Asks the API server what the service account may do.
pub(super) fn rights(known: &Known, out: &Out) {
    known.wait();
    if !matches!(known.api, Some(Ok(_))) {
        return out.ok("not used");
    }
    let Some(client) = client(known, out) else {
        return;
    };
    let identity = known.surroundings.identity.load();
    let options = &known.surroundings.options;
    let settings = known.surroundings.settings.load();
    let namespace = Some(identity.namespace.as_str());
    let lmaas = &settings.cim.lmaas;
    let collector = lmaas.prefer_local_daemonset && lmaas.logging_mode == LoggingMode::Tcp;
    let config_map = config_map::name(&identity).is_some();
    let role = identity.topogw_fqdn.is_none() && identity.cluster_role().is_some();
    let core = |verb, resource, namespace| Right {
        verb,
        group: "",
        resource,
        namespace,
    };
    let wanted = [
        (
            true,
            true,
            core("get", "pods", namespace),
            "CIM does not learn who its pod is",
        ),
        (
            true,
            options.delete_pod,
            core("delete", "pods", namespace),
            "CIM cannot start the pod again when it ends by itself, or when the first configuration fails",
        ),
        (
            config_map,
            true,
            core("get", "configmaps", namespace),
            "CIM does not read its ConfigMap",
        ),
        (
            config_map,
            false,
            core("create", "configmaps", namespace),
            "CIM does not make its ConfigMap",
        ),
        (
            collector,
            false,
            core("list", "pods", None),
            "CIM does not find a collector in another namespace",
        ),
        (
            role,
            false,
            Right {
                verb: "get",
                group: "rbac.authorization.k8s.io",
                resource: "clusterroles",
                namespace: None,
            },
            "CIM does not learn where TMaaS is",
        ),
    ];
    let mut allowed = Vec::new();
    for (is_used, is_needed, right, without) in wanted {
        if !is_used {
            continue;
        }
        match client.may(&right, KUBE_CALL_TIME) {
            Ok(true) => allowed.push(right.to_string()),
            Ok(false) => {
                let text = format!("may not {right}: {without}");
                match is_needed {
                    true => out.failed(text, ROLE),
                    false => out.warning(text, ROLE),
                }
            }
            Err(error) => {
                return out.warning(
                    error.to_string(),
                    "see the line Kubernetes; rights cannot be asked for",
                );
            }
        }
    }
    if !allowed.is_empty() {
        out.ok(format!("may {}", allowed.join(", ")));
    }
}
