//! What the pod's labels and annotations say (CONTRACT section 1). Whoever deploys the pod writes them: they are bounded, and
//! what cannot be used is left out with a warning.

use serde_json::Value;

use super::text::{bounded_text, is_key_part};
use super::{Identity, TmaasAnnotation};
use crate::kube::Pod;
use crate::limits;
use crate::settings::address;
use crate::settings::problem;

/// The annotation with the network function.
const TMAAS: &str = "xgvela.com/tmaas";
/// The annotation for clock-aligned metrics.
const MMAAS: &str = "xgvela.com/mmaas";

impl Identity {
    /// This identity, which the environment gave, with what `pod` says; and what could not be used.
    pub fn with_pod(&self, pod: &Pod) -> (Self, Vec<String>) {
        let mut reading = Reading {
            pod,
            warnings: Vec::new(),
        };
        let mut identity = self.clone();
        if let Some(uid) = reading.uid() {
            identity.pod_uid = Some(uid);
        }
        if let Some(microservice) =
            reading.key_part("label", "microSvcName", pod.label("microSvcName"))
        {
            identity.microservice = Some(microservice);
        }
        if let Some(version) =
            reading.key_part("annotation", "svcVersion", pod.annotation("svcVersion"))
        {
            identity.version = version;
        }
        identity.uhn = pod.label("uhn").map(bounded_text);
        identity.cnfc_uuid = pod.label("cnfc_uuid").map(bounded_text);
        identity.mmaas = reading.mmaas();
        if let Some(fqdn) = pod.annotation("topogw.fqdn") {
            identity.topogw_fqdn = reading.checked(topogw_fqdn("annotation topogw.fqdn", fqdn));
        }
        if let Some(tmaas) = reading.tmaas() {
            identity.tmaas = Some(tmaas);
            identity.nf_prefix.clone_from(&identity.namespace);
        }
        (identity, reading.warnings)
    }
}

/// The address of TMaaS as `what` gives it, `None` when it is blank.
///
/// # Errors
/// No `host` or `host:port`, as text.
pub fn topogw_fqdn(what: &str, text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if address::is_host(text) || address::is_host_port(text) {
        return Ok(Some(text.to_owned()));
    }
    let value = problem::shown(text);
    Err(format!(
        "{what}: {value} is neither host nor host:port; it is not used"
    ))
}

struct Reading<'a> {
    pod: &'a Pod,
    warnings: Vec<String>,
}

impl Reading<'_> {
    fn checked<T>(&mut self, result: Result<Option<T>, String>) -> Option<T> {
        result.unwrap_or_else(|warning| {
            self.warnings.push(warning);
            None
        })
    }

    fn uid(&mut self) -> Option<String> {
        let uid = self.pod.uid.as_deref().filter(|uid| !uid.is_empty())?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if uid.len() > limits::IDENTITY_BYTES || !uid.bytes().all(good) {
            let uid = problem::shown(uid);
            self.warnings
                .push(format!("the pod's UID {uid} is no UID; it is not used"));
            return None;
        }
        Some(uid.to_owned())
    }

    fn key_part(&mut self, kind: &str, name: &str, value: Option<&str>) -> Option<String> {
        let value = value.filter(|value| !value.is_empty())?;
        if !is_key_part(value) {
            let value = problem::shown(value);
            self.warnings.push(format!(
                "{kind} {name}: {value} cannot be part of a key in etcd; it is not used"
            ));
            return None;
        }
        Some(value.to_owned())
    }

    /// JSON: a control character in it can only be white space.
    fn mmaas(&mut self) -> Option<String> {
        let text = self.annotation(MMAAS)?;
        Some(text.replace(char::is_control, " "))
    }

    fn tmaas(&mut self) -> Option<TmaasAnnotation> {
        let text = self.annotation(TMAAS)?;
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            self.warnings.push(format!(
                "annotation {TMAAS} is no JSON object; NF and NF_TYPE of the environment are used"
            ));
            return None;
        };
        let text = |name: &str| {
            let value = members.get(name).and_then(Value::as_str);
            bounded_text(value.unwrap_or_default())
        };
        Some(TmaasAnnotation {
            vendor_id: text("vendorId"),
            xgvela_id: text("xgvelaId"),
            nf_class: text("nfClass"),
            nf_type: text("nfType"),
            nf_id: text("nfId"),
            nf_service_id: text("nfServiceId"),
            nf_service_type: text("nfServiceType"),
        })
    }

    /// An annotation that is there, not blank, and not too long.
    fn annotation(&mut self, name: &str) -> Option<&str> {
        let text = self.pod.annotation(name).map(str::trim)?;
        if text.len() > limits::IDENTITY_ANNOTATION_BYTES {
            self.warnings.push(format!(
                "annotation {name} is longer than {} bytes; it is not used",
                limits::IDENTITY_ANNOTATION_BYTES
            ));
            return None;
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Host;
    use super::*;
    use crate::options::Names;
    use serde_json::json;

    fn base() -> Identity {
        let names = Names {
            pod: Some("cnf-0".to_owned()),
            namespace: Some("ns1".to_owned()),
            nf: Some("env-nf".to_owned()),
            nf_prefix: Some("env-prefix".to_owned()),
            microservice: Some("env-ms".to_owned()),
            version: Some("env-v".to_owned()),
            ..Names::default()
        };
        Identity::resolve(&names, &Host::default()).0
    }

    fn pod(metadata: Value) -> Pod {
        Pod::parse(json!({"metadata": metadata}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn labels_and_annotations_win_over_the_environment() {
        let tmaas = r#"{"vendorId":"v1","xgvelaId":"xgvela1","nfClass":"nfc","nfType":"nft","nfId":"nf1","nfServiceId":"svc1","nfServiceType":"svctype","other":[1]}"#;
        let pod = pod(json!({
            "uid": "0a1b-2c",
            "labels": {"microSvcName": "ms1", "uhn": "u1", "cnfc_uuid": "c1"},
            "annotations": {
                "svcVersion": "v1", "xgvela.com/tmaas": tmaas, "xgvela.com/mmaas": "{\n\"scrape\":\"true\"}",
                "topogw.fqdn": "topo-gw.xgvela-ns.svc.cluster.local:8080",
            },
        }));
        let (identity, warnings) = base().with_pod(&pod);
        assert_eq!(warnings, [""; 0]);
        let expected = Identity {
            pod_uid: Some("0a1b-2c".to_owned()),
            microservice: Some("ms1".to_owned()),
            version: "v1".to_owned(),
            uhn: Some("u1".to_owned()),
            cnfc_uuid: Some("c1".to_owned()),
            mmaas: Some("{ \"scrape\":\"true\"}".to_owned()),
            topogw_fqdn: Some("topo-gw.xgvela-ns.svc.cluster.local:8080".to_owned()),
            nf_prefix: "ns1".to_owned(),
            tmaas: Some(TmaasAnnotation {
                vendor_id: "v1".to_owned(),
                xgvela_id: "xgvela1".to_owned(),
                nf_class: "nfc".to_owned(),
                nf_type: "nft".to_owned(),
                nf_id: "nf1".to_owned(),
                nf_service_id: "svc1".to_owned(),
                nf_service_type: "svctype".to_owned(),
            }),
            ..base()
        };
        assert_eq!(identity, expected);
    }

    #[test]
    fn a_pod_that_says_nothing_leaves_what_the_environment_says() {
        for metadata in [
            json!({}),
            json!(null),
            json!({"uid": "", "labels": null, "annotations": {"xgvela.com/tmaas": " ", "topogw.fqdn": ""}}),
            json!({"labels": {"microSvcName": ""}, "annotations": {"svcVersion": ""}}),
        ] {
            assert_eq!(base().with_pod(&pod(metadata)), (base(), Vec::new()));
        }
    }

    #[test]
    fn what_cannot_be_used_is_left_out_with_a_warning() {
        let long = "x".repeat(limits::IDENTITY_ANNOTATION_BYTES + 1);
        for metadata in [
            json!({"labels": {"microSvcName": "a/b"}}),
            json!({"labels": {"microSvcName": "a\nb"}}),
            json!({"labels": {"microSvcName": "x".repeat(254)}}),
            json!({"annotations": {"svcVersion": "v/1"}}),
            json!({"annotations": {"xgvela.com/tmaas": "{"}}),
            json!({"annotations": {"xgvela.com/tmaas": "[]"}}),
            json!({"annotations": {"xgvela.com/tmaas": long}}),
            json!({"annotations": {"xgvela.com/mmaas": long}}),
            json!({"annotations": {"topogw.fqdn": "http://a/b"}}),
            json!({"annotations": {"topogw.fqdn": "a b"}}),
            json!({"uid": "a\"b"}),
        ] {
            let (identity, warnings) = base().with_pod(&pod(metadata.clone()));
            assert_eq!(identity, base(), "{metadata}");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(!warnings[0].contains('\n') && warnings[0].len() < 300);
        }
    }
}
