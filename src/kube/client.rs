//! The calls to the API server: the only file here, besides `tmaas.rs`, that sends anything. One call at a time; the socket is kept
//! for the next one until [`Client::rest`].

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::Body;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};

use super::address::ServerAddress;
use super::agent::{self, Agents, Closer};
use super::error::{Cause, KubeError};
use super::model::{self, ClusterRole, ConfigMap, Pod, PodPage};
use super::service_account::ServiceAccount;
use crate::limits::{KUBE_ANSWER_BYTES, KUBE_PAGE_PODS, KUBE_PAGES};
use crate::metrics::Metrics;

/// A client of the API server, in the name of the pod's service account.
pub struct Client {
    /// `https://host:port`.
    server: String,
    account: ServiceAccount,
    agents: Agents,
    metrics: Arc<Metrics>,
}

/// What became of a pod that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// Its grace has begun.
    Accepted,
    /// There was none, or only another one of the same name.
    Gone,
}

/// What became of an object that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New,
    /// There was one of this name already.
    Existed,
}

/// Something that a service account may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right<'a> {
    /// `get`, `list`, …
    pub verb: &'a str,
    /// The API group; empty: the core.
    pub group: &'a str,
    /// In the plural.
    pub resource: &'a str,
    /// `None`: in all of them.
    pub namespace: Option<&'a str>,
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.namespace {
            Some(_) => Ok(()),
            None if self.group.is_empty() => f.write_str(" in all namespaces"),
            None => Ok(()),
        }
    }
}

/// One call: its verb is the label of the metric and the first word of its error.
struct Call<'a> {
    verb: &'static str,
    /// `pod ns1/cnf-0`.
    what: String,
    path: String,
    body: Option<&'a Value>,
    time: Duration,
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(server: &ServerAddress, account: ServiceAccount, metrics: Arc<Metrics>) -> Self {
        Self {
            server: format!("https://{server}"),
            account,
            agents: Agents::default(),
            metrics,
        }
    }

    /// What ends the call that is under way, from another thread.
    pub fn closer(&self) -> Closer {
        self.agents.closer()
    }

    /// Closes the idle socket; for whoever will not call for a while. The next call reads the CA again.
    pub fn rest(&self) {
        self.agents.rest();
    }

    /// Reads a pod, within `time`.
    ///
    /// # Errors
    /// See [`Cause`].
    pub fn get_pod(&self, namespace: &str, name: &str, time: Duration) -> Result<Pod, KubeError> {
        self.run(
            Call {
                verb: "get",
                what: format!("pod {namespace}/{name}"),
                path: format!("{}/{}", pods(namespace), encoded(name)),
                body: None,
                time,
            },
            Pod::parse,
        )
    }

    /// Reads the pods that both selectors name, of one namespace or of all, at most [`KUBE_PAGES`] pages within `time`.
    ///
    /// # Errors
    /// See [`Cause`]. [`Cause::Gone`]: the list became too old between two pages; ask again.
    pub fn list_pods(
        &self,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
        time: Duration,
    ) -> Result<Vec<Pod>, KubeError> {
        let until = Instant::now() + time;
        let (what, path) = match namespace {
            Some(namespace) => (format!("pods of {namespace}"), pods(namespace)),
            None => (
                "pods of all namespaces".to_owned(),
                "/api/v1/pods".to_owned(),
            ),
        };
        let mut path = format!("{path}?limit={KUBE_PAGE_PODS}");
        for (name, selector) in [("labelSelector", labels), ("fieldSelector", fields)] {
            if let Some(selector) = selector {
                // Writing into a String does not fail.
                let _ = write!(path, "&{name}={}", encoded(selector));
            }
        }
        let mut all: Vec<Pod> = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..KUBE_PAGES {
            let page = self.run(
                Call {
                    verb: "list",
                    what: what.clone(),
                    path: match &next {
                        None => path.clone(),
                        Some(next) => format!("{path}&continue={}", encoded(next)),
                    },
                    body: None,
                    time: until.saturating_duration_since(Instant::now()),
                },
                PodPage::parse,
            )?;
            all.extend(page.pods);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// Deletes a pod with its own grace, within `time`; with `uid` only the one that has it.
    ///
    /// # Errors
    /// See [`Cause`]; that there is none (any more) is [`Deleted::Gone`].
    pub fn delete_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
        time: Duration,
    ) -> Result<Deleted, KubeError> {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let (Some(uid), Value::Object(options)) = (uid, &mut options) {
            options.insert("preconditions".to_owned(), json!({ "uid": uid }));
        }
        let deleted = self.run(
            Call {
                verb: "delete",
                what: format!("pod {namespace}/{name}"),
                path: format!("{}/{}", pods(namespace), encoded(name)),
                body: Some(&options),
                time,
            },
            |_| Ok(Deleted::Accepted),
        );
        match deleted {
            Err(KubeError {
                cause: Cause::NotFound(_) | Cause::Conflict(_) | Cause::Gone(_),
                ..
            }) => Ok(Deleted::Gone),
            other => other,
        }
    }

    /// Reads a ConfigMap, within `time`.
    ///
    /// # Errors
    /// See [`Cause`].
    pub fn get_config_map(
        &self,
        namespace: &str,
        name: &str,
        time: Duration,
    ) -> Result<ConfigMap, KubeError> {
        self.run(
            Call {
                verb: "get",
                what: format!("config map {namespace}/{name}"),
                path: format!("{}/{}", config_maps(namespace), encoded(name)),
                body: None,
                time,
            },
            ConfigMap::parse,
        )
    }

    /// Makes a ConfigMap, within `time`.
    ///
    /// # Errors
    /// See [`Cause`]; that there is one already is [`Created::Existed`].
    pub fn create_config_map(
        &self,
        namespace: &str,
        config_map: &Value,
        time: Duration,
    ) -> Result<Created, KubeError> {
        let created = self.run(
            Call {
                verb: "create",
                what: format!("config map in {namespace}"),
                path: config_maps(namespace),
                body: Some(config_map),
                time,
            },
            |_| Ok(Created::New),
        );
        match created {
            Err(KubeError {
                cause: Cause::Conflict(_),
                ..
            }) => Ok(Created::Existed),
            other => other,
        }
    }

    /// Reads a ClusterRole, within `time`.
    ///
    /// # Errors
    /// See [`Cause`].
    pub fn get_cluster_role(&self, name: &str, time: Duration) -> Result<ClusterRole, KubeError> {
        let name_encoded = encoded(name);
        self.run(
            Call {
                verb: "get",
                what: format!("cluster role {name}"),
                path: format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name_encoded}"),
                body: None,
                time,
            },
            ClusterRole::parse,
        )
    }

    /// Whether the service account has a right: a SelfSubjectAccessReview, which changes nothing.
    ///
    /// # Errors
    /// See [`Cause`].
    pub fn may(&self, right: &Right<'_>, time: Duration) -> Result<bool, KubeError> {
        let review = json!({
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"resourceAttributes": {
                "namespace": right.namespace.unwrap_or_default(),
                "verb": right.verb,
                "group": right.group,
                "resource": right.resource,
            }},
        });
        self.run(
            Call {
                verb: "create",
                what: format!("self subject access review ({right})"),
                path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
                body: Some(&review),
                time,
            },
            model::allowed,
        )
    }

    fn run<T>(
        &self,
        call: Call<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, Cause>,
    ) -> Result<T, KubeError> {
        let result = self.answer(&call).and_then(|(code, body)| {
            let value = read(&body)?;
            Ok((code, value))
        });
        let (code, result) = match result {
            Ok((code, value)) => (code, Ok(value)),
            Err(cause) => (cause.code(), Err(cause)),
        };
        let labels = [call.verb, code];
        self.metrics
            .kubernetes_requests
            .with_label_values(&labels)
            .inc();
        result.map_err(|cause| KubeError {
            action: format!("{} {}", call.verb, call.what),
            cause,
        })
    }

    fn answer(&self, call: &Call<'_>) -> Result<(&'static str, Vec<u8>), Cause> {
        // Each time anew: the kubelet swaps it long before it expires.
        let token = self.account.token()?;
        let agent = self.agents.get(|| self.agent())?;
        let result = self.send(&agent, call, token.reveal());
        if self.agents.is_closed() {
            return Err(Cause::Closed);
        }
        // With a new agent the next call reads the CA again.
        if matches!(result, Err(Cause::Tls(_))) {
            self.agents.rest();
        }
        result
    }

    fn agent(&self) -> Result<Agent, Cause> {
        let roots = RootCerts::new_with_certs(&self.account.roots()?);
        let tls = TlsConfig::builder().root_certs(roots).build();
        Ok(agent::agent(
            agent::config().https_only(true).tls_config(tls),
        ))
    }

    fn send(
        &self,
        agent: &Agent,
        call: &Call<'_>,
        token: &str,
    ) -> Result<(&'static str, Vec<u8>), Cause> {
        let uri = format!("{}{}", self.server, call.path);
        let bearer = format!("Bearer {token}");
        let time = Some(call.time);
        let mut response = match (call.verb, call.body) {
            (_, None) => {
                let request = agent.get(&uri).header("Authorization", &bearer);
                request.config().timeout_global(time).build().call()?
            }
            (verb, Some(body)) => {
                let request = match verb {
                    "delete" => agent.delete(&uri).force_send_body(),
                    _ => agent.post(&uri),
                };
                let request = request
                    .header("Authorization", &bearer)
                    .content_type("application/json");
                let request = request.config().timeout_global(time).build();
                request.send(body.to_string())?
            }
        };
        let status = response.status().as_u16();
        let retry_after = header(&response, "retry-after");
        let body = response.body_mut().with_config().limit(KUBE_ANSWER_BYTES);
        let body = body.read_to_vec()?;
        match status {
            200 => Ok(("200", body)),
            201 => Ok(("201", body)),
            202 => Ok(("202", body)),
            _ => Err(Cause::of_status(status, retry_after.as_deref(), &body)),
        }
    }
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/pods", encoded(namespace))
}

fn config_maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/configmaps", encoded(namespace))
}

/// `text` as one segment of a path, or as the value of a query: all but unreserved characters percent-encoded (RFC 3986, 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_segment() {
        assert_eq!(encoded("cnf-0.a_b~"), "cnf-0.a_b~");
        assert_eq!(encoded("a/../b?c#d e%é"), "a%2F..%2Fb%3Fc%23d%20e%25%C3%A9");
    }
}
