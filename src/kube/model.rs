//! Objects of the Kubernetes API, as far as CIM reads them. Whatever else an answer has is passed over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{Cause, excerpt};

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.name`.
    pub name: Option<String>,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `status.podIP`.
    pub ip: Option<String>,
    /// `status.phase` is `Running`, and of `status.conditions` `Ready` is not denied.
    pub is_ready: bool,
    /// `metadata.deletionTimestamp`: when the grace of a pod that is being deleted ends.
    pub deletion_timestamp: Option<DateTime<Utc>>,
    /// `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_seconds: Option<i64>,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace_seconds: Option<i64>,
}

impl Pod {
    /// Reads the JSON of a pod.
    ///
    /// # Errors
    /// No JSON, or another kind of object.
    pub fn parse(json: &[u8]) -> Result<Self, Cause> {
        parse::<RawPod>(json).map(Self::from)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }
}

/// One page of a list of pods.
#[derive(Debug)]
pub(super) struct PodPage {
    pub pods: Vec<Pod>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

impl PodPage {
    pub fn parse(json: &[u8]) -> Result<Self, Cause> {
        let list: RawList = parse(json)?;
        let next = list.metadata.and_then(|metadata| metadata.next);
        Ok(Self {
            pods: list
                .items
                .unwrap_or_default()
                .into_iter()
                .map(Pod::from)
                .collect(),
            next: next.filter(|next| !next.is_empty()),
        })
    }
}

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// `data`.
    pub data: BTreeMap<String, String>,
}

impl ConfigMap {
    /// Reads the JSON of a ConfigMap.
    ///
    /// # Errors
    /// No JSON, or another kind of object.
    pub fn parse(json: &[u8]) -> Result<Self, Cause> {
        #[derive(Deserialize)]
        struct Raw {
            data: Option<BTreeMap<String, String>>,
        }
        let raw: Raw = parse(json)?;
        Ok(Self {
            data: raw.data.unwrap_or_default(),
        })
    }
}

/// A ClusterRole; its rules do not concern CIM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterRole {
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl ClusterRole {
    /// Reads the JSON of a ClusterRole.
    ///
    /// # Errors
    /// No JSON, or another kind of object.
    pub fn parse(json: &[u8]) -> Result<Self, Cause> {
        let raw: RawPod = parse(json)?;
        Ok(Self {
            annotations: Pod::from(raw).annotations,
        })
    }
}

/// What a SelfSubjectAccessReview answers.
pub(super) fn allowed(json: &[u8]) -> Result<bool, Cause> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        allowed: bool,
    }
    let review: Review = parse(json)?;
    Ok(review.status.allowed)
}

#[derive(Deserialize)]
struct RawPod {
    metadata: Option<RawMetadata>,
    spec: Option<RawSpec>,
    status: Option<RawStatus>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: Option<String>,
    uid: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    node_name: Option<String>,
    termination_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
struct RawStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    conditions: Option<Vec<RawCondition>>,
}

#[derive(Deserialize)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
}

impl RawStatus {
    fn is_ready(&self) -> bool {
        let mut conditions = self.conditions.iter().flatten();
        let ready = conditions.find(|condition| condition.kind.as_deref() == Some("Ready"));
        self.phase.as_deref() == Some("Running")
            && ready.is_none_or(|condition| condition.status.as_deref() == Some("True"))
    }
}

#[derive(Deserialize)]
struct RawList {
    items: Option<Vec<RawPod>>,
    metadata: Option<RawListMetadata>,
}

#[derive(Deserialize)]
struct RawListMetadata {
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl From<RawPod> for Pod {
    fn from(raw: RawPod) -> Self {
        let metadata = raw.metadata.unwrap_or_default();
        let spec = raw.spec.unwrap_or_default();
        let status = raw.status.unwrap_or_default();
        let time = metadata.deletion_timestamp.as_deref();
        let time = time.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        Self {
            name: metadata.name,
            uid: metadata.uid,
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            node_name: spec.node_name,
            is_ready: status.is_ready(),
            ip: status.pod_ip,
            deletion_timestamp: time.map(|time| time.to_utc()),
            deletion_grace_seconds: metadata.deletion_grace_period_seconds,
            termination_grace_seconds: spec.termination_grace_period_seconds,
        }
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Cause> {
    serde_json::from_slice(json).map_err(|error| Cause::Answer(excerpt(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_being_deleted() {
        let json = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"cnf-0","uid":"u-1","labels":{"a":"b"},
            "annotations":{"c":"d"},"deletionTimestamp":"2026-11-23T00:25:57Z","deletionGracePeriodSeconds":9,"managedFields":[{}]},
            "spec":{"nodeName":"n1","terminationGracePeriodSeconds":30,"containers":[]},"status":{"podIP":"10.1.2.3","phase":"Running"}}"#;
        let pod = Pod::parse(json).unwrap();
        assert_eq!(
            (pod.label("a"), pod.annotation("c")),
            (Some("b"), Some("d"))
        );
        let time = pod.deletion_timestamp.unwrap().timestamp();
        let grace = (pod.deletion_grace_seconds, pod.termination_grace_seconds);
        assert_eq!((time, grace), (1_795_393_557, (Some(9), Some(30))));
        let texts = [&pod.name, &pod.uid, &pod.node_name, &pod.ip].map(|text| text.as_deref());
        assert_eq!(
            texts,
            [Some("cnf-0"), Some("u-1"), Some("n1"), Some("10.1.2.3")]
        );
    }

    #[test]
    fn a_pod_is_ready_when_it_runs_and_nothing_says_otherwise() {
        let ready = |status: &str| {
            let json = format!(r#"{{"status":{status}}}"#);
            Pod::parse(json.as_bytes()).unwrap().is_ready
        };
        for (status, expected) in [
            (r#"{"phase":"Running"}"#, true),
            (r#"{"phase":"Pending"}"#, false),
            (r#"{"phase":"Succeeded"}"#, false),
            (
                r#"{"conditions":[{"type":"Ready","status":"True"}]}"#,
                false,
            ),
            (r#"{"phase":"Running","conditions":null}"#, true),
            (
                r#"{"phase":"Running","conditions":[{"type":"PodScheduled","status":"False"},{"type":"Ready","status":"True"}]}"#,
                true,
            ),
            (
                r#"{"phase":"Running","conditions":[{"type":"Ready","status":"False"}]}"#,
                false,
            ),
            (
                r#"{"phase":"Running","conditions":[{"type":"Ready"}]}"#,
                false,
            ),
        ] {
            assert_eq!(ready(status), expected, "{status}");
        }
    }

    #[test]
    fn what_is_missing_null_or_no_time_is_nothing() {
        for json in [
            "{}",
            r#"{"metadata":null,"spec":null,"status":null}"#,
            r#"{"metadata":{"uid":null,"labels":null,"deletionTimestamp":"soon"},"spec":{},"status":{}}"#,
        ] {
            assert_eq!(Pod::parse(json.as_bytes()).unwrap(), Pod::default());
        }
        assert_eq!(ConfigMap::parse(b"{}").unwrap(), ConfigMap::default());
        assert_eq!(ClusterRole::parse(b"{}").unwrap(), ClusterRole::default());
        let page = PodPage::parse(br#"{"items":null,"metadata":{"continue":""}}"#).unwrap();
        assert!(page.pods.is_empty() && page.next.is_none());
    }

    #[test]
    fn another_kind_of_answer_is_an_error() {
        let deep = "[".repeat(100_000);
        for json in [
            "",
            "[]",
            "\"x\"",
            r#"{"metadata":5}"#,
            r#"{"metadata":{"labels":[]}}"#,
            &deep,
        ] {
            assert!(
                matches!(Pod::parse(json.as_bytes()), Err(Cause::Answer(_))),
                "{json}"
            );
        }
    }
}
