//! The log collector of the own node (CONTRACT section 6, `prefer_local_daemonset`): the pod of its daemon set that runs there.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::client::Client;
use super::error::{Cause, KubeError};
use super::model::Pod;

/// The label that Fluent Bit's daemon set puts on its pods.
const LABEL: &str = "k8s-app=fluent-bit";

/// The address of the collector on `node`, within `time`. It may be in any namespace; without the right to list those of all,
/// the own one is looked through.
///
/// # Errors
/// See [`Cause`]. [`Cause::Forbidden`]: the own namespace has none, and the others may not be looked at.
pub fn local_collector(
    client: &Client,
    namespace: &str,
    node: &str,
    time: Duration,
) -> Result<Option<IpAddr>, KubeError> {
    let until = Instant::now() + time;
    let here = format!("spec.nodeName={node}");
    let list = |namespace| {
        let left = until.saturating_duration_since(Instant::now());
        client.list_pods(namespace, Some(LABEL), Some(&here), left)
    };
    match list(None) {
        Err(error) if matches!(error.cause, Cause::Forbidden(_)) => {
            let found = choose(&list(Some(namespace))?);
            found.map_or(Err(error), |ip| Ok(Some(ip)))
        }
        pods => Ok(choose(&pods?)),
    }
}

/// The first by name of those that can take lines: more than one is an upgrade, or somebody else's.
fn choose(pods: &[Pod]) -> Option<IpAddr> {
    let usable = pods
        .iter()
        .filter(|pod| pod.is_ready && pod.deletion_timestamp.is_none());
    let usable = usable.filter_map(|pod| Some((&pod.name, pod.ip.as_deref()?.parse().ok()?)));
    usable.min_by_key(|(name, _)| *name).map(|(_, ip)| ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: Option<&str>) -> Pod {
        Pod {
            name: Some(name.to_owned()),
            ip: ip.map(str::to_owned),
            is_ready: true,
            ..Pod::default()
        }
    }

    #[test]
    fn only_a_pod_that_can_take_lines_is_chosen() {
        let starting = Pod {
            is_ready: false,
            ..pod("a", Some("10.0.0.1"))
        };
        let ending = Pod {
            deletion_timestamp: Some(chrono::DateTime::UNIX_EPOCH),
            ..pod("b", Some("10.0.0.2"))
        };
        let nowhere = pod("c", None);
        let nonsense = pod("d", Some("collector:24224"));
        let mut pods = vec![starting, ending, nowhere, nonsense];
        assert_eq!(choose(&pods), None);
        pods.push(pod("f", Some("10.0.0.6")));
        pods.push(pod("e", Some("fd00::5")));
        assert_eq!(choose(&pods), Some("fd00::5".parse().unwrap()));
    }
}
