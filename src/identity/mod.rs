//! Who this sidecar is: pod, namespace, microservice, network function, own container (CONTRACT section 1). From the
//! environment at the start; from the pod's labels and annotations once Kubernetes has told them.
//!
//! ```text
//! container_id.rs   from /proc       pod.rs   from labels and annotations       text.rs   what is safe       current.rs   shared
//! ```

mod container_id;
mod current;
mod pod;
mod text;

use std::path::Path;

use serde::Serialize;

use crate::limits;
use crate::options::{Names, Options};
use crate::settings::{file, problem};
pub use container_id::in_cgroup;
pub use current::Current;
pub use pod::topogw_fqdn;
use text::{bounded_text, is_key_part, safe_name};

/// The id when no other is known.
pub const UNKNOWN_CONTAINER_ID: &str = "0000";
/// The namespace when CIM runs standalone.
const STANDALONE_NAMESPACE: &str = "standalone";
/// The microservice when CIM runs standalone.
const STANDALONE_MICROSERVICE: &str = "app";
/// The namespace of a pod that was not told its own: that of Kubernetes for whoever names none.
const DEFAULT_NAMESPACE: &str = "default";
/// The version when the pod has no annotation `svcVersion`.
const DEFAULT_VERSION: &str = "v0";

/// Who this sidecar is. Every text is bounded ([`limits::IDENTITY_BYTES`]) and without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pod's name. ASCII letters, digits, `-`, `_` and `.` alone, not `.` or `..`: it becomes part of file names.
    pub pod: String,
    /// The pod's namespace; characters as in `pod`.
    pub namespace: String,
    /// The pod's UID; ASCII letters, digits and `-` alone. `None` until Kubernetes has told it.
    pub pod_uid: Option<String>,
    /// The pod's label `microSvcName`, else `CIM_MICROSERVICE`. Part of keys in etcd: not empty, no `/`.
    pub microservice: Option<String>,
    /// The pod's annotation `svcVersion`, else `CIM_SERVICE_VERSION`. Part of keys in etcd: not empty, no `/`.
    pub version: String,
    /// The id of CIM's own container; characters as in `pod`.
    pub container_id: String,
    /// Not in a pod: made up from the host name.
    pub standalone: bool,
    /// The annotation `xgvela.com/tmaas`; else what `NF` and `NF_TYPE` say, the other members empty; `None` without any.
    pub tmaas: Option<TmaasAnnotation>,
    /// The namespace; without the annotation `xgvela.com/tmaas` what `NF_PREFIX` says.
    pub nf_prefix: String,
    /// The annotation `topogw.fqdn`, else what the ClusterRole says: `host` or `host:port`.
    pub topogw_fqdn: Option<String>,
    /// The label `uhn`.
    pub uhn: Option<String>,
    /// The label `cnfc_uuid`.
    pub cnfc_uuid: Option<String>,
    /// The text of the annotation `xgvela.com/mmaas`, at most [`limits::IDENTITY_ANNOTATION_BYTES`].
    pub mmaas: Option<String>,
}

/// The pod annotation `xgvela.com/tmaas`, members as it writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct TmaasAnnotation {
    pub vendor_id: String,
    pub xgvela_id: String,
    pub nf_class: String,
    pub nf_type: String,
    pub nf_id: String,
    pub nf_service_id: String,
    pub nf_service_type: String,
}

/// What the machine says about where CIM runs.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The host name.
    pub name: String,
    /// The text of /proc/self/cgroup.
    pub cgroup: String,
    /// The text of /proc/1/cpuset.
    pub cpuset: String,
}

impl Host {
    /// Reads it; what cannot be read is empty.
    pub fn read() -> Self {
        let text = |path: &str| {
            let bytes = file::read(Path::new(path), limits::PROC_FILE_BYTES);
            let bytes = bytes.ok().flatten().unwrap_or_default();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        Self {
            name: text("/proc/sys/kernel/hostname"),
            cgroup: text("/proc/self/cgroup"),
            cpuset: text("/proc/1/cpuset"),
        }
    }
}

impl Identity {
    /// The ClusterRole that says where TMaaS is.
    pub fn cluster_role(&self) -> Option<String> {
        let xgvela_id = self.tmaas.as_ref()?.xgvela_id.as_str();
        (!xgvela_id.is_empty()).then(|| format!("{xgvela_id}-xgvela"))
    }

    /// Who this process is, and what had to be changed or made up for it.
    pub fn of_process(options: &Options) -> (Self, Vec<String>) {
        Self::resolve(&options.names, &Host::read())
    }

    /// As [`Identity::of_process`], from these names and this host.
    pub fn resolve(names: &Names, host: &Host) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut safe = |name: &str, value: &str| {
            let safe = safe_name(value);
            if safe != value {
                let value = problem::shown(value);
                warnings.push(format!(
                    "{name}: {value} cannot be used as a name; {safe} is used"
                ));
            }
            safe
        };
        let standalone = names.pod.is_none();
        let pod = match &names.pod {
            Some(pod) => safe("K8S_POD_ID", pod),
            None => safe_name(
                Some(host.name.as_str())
                    .filter(|n| !n.is_empty())
                    .unwrap_or("localhost"),
            ),
        };
        let namespace = match (&names.namespace, standalone) {
            (Some(namespace), _) => safe("K8S_NAMESPACE", namespace),
            (None, true) => STANDALONE_NAMESPACE.to_owned(),
            (None, false) => DEFAULT_NAMESPACE.to_owned(),
        };
        let container_id = match &names.container_id {
            Some(id) => safe("K8S_CONTAINER_ID", id),
            None => in_cgroup(&host.cgroup)
                .or_else(|| in_cgroup(&host.cpuset))
                .unwrap_or(UNKNOWN_CONTAINER_ID)
                .to_owned(),
        };
        if names.namespace.is_none() && !standalone {
            let warning =
                format!("K8S_NAMESPACE is missing beside K8S_POD_ID; {DEFAULT_NAMESPACE} is used");
            warnings.push(warning);
        }
        let mut text = |name: &str, value: &Option<String>| {
            let value = value.as_deref()?;
            let bounded = bounded_text(value);
            if bounded != value {
                warnings.push(format!(
                    "{name} is longer than {} bytes and cut",
                    limits::IDENTITY_BYTES
                ));
            }
            Some(bounded)
        };
        let nf = text("NF", &names.nf);
        let nf_type = text("NF_TYPE", &names.nf_type);
        let nf_prefix = text("NF_PREFIX", &names.nf_prefix);
        let mut key_part = |name: &str, value: &Option<String>| {
            let value = value.as_deref()?;
            if !is_key_part(value) {
                let value = problem::shown(value);
                warnings.push(format!(
                    "{name}: {value} cannot be part of a key in etcd; it is not used"
                ));
                return None;
            }
            Some(value.to_owned())
        };
        let microservice = key_part("CIM_MICROSERVICE", &names.microservice)
            .or_else(|| standalone.then(|| STANDALONE_MICROSERVICE.to_owned()));
        let version = key_part("CIM_SERVICE_VERSION", &names.version);
        let tmaas = (nf.is_some() || nf_type.is_some()).then(|| TmaasAnnotation {
            nf_id: nf.unwrap_or_default(),
            nf_type: nf_type.unwrap_or_default(),
            ..TmaasAnnotation::default()
        });
        let identity = Self {
            nf_prefix: nf_prefix.unwrap_or_else(|| namespace.clone()),
            pod,
            namespace,
            pod_uid: None,
            microservice,
            version: version.unwrap_or_else(|| DEFAULT_VERSION.to_owned()),
            container_id,
            standalone,
            tmaas,
            topogw_fqdn: None,
            uhn: None,
            cnfc_uuid: None,
            mmaas: None,
        };
        (identity, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn names(pod: Option<&str>, namespace: Option<&str>) -> Names {
        Names {
            pod: pod.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..Names::default()
        }
    }

    #[test]
    fn a_pod_has_its_names_and_standalone_is_named_after_the_host() {
        let host = Host {
            name: "box.example".to_owned(),
            ..Host::default()
        };
        for (pod, namespace, expected, warnings) in [
            (Some("cnf-0"), Some("ns1"), ("cnf-0", "ns1"), 0),
            (Some("cnf-0"), None, ("cnf-0", "default"), 1),
            (None, None, ("box.example", "standalone"), 0),
            (None, Some("ns1"), ("box.example", "ns1"), 0),
            (Some("../../etc"), Some(".."), ("..-..-etc", "--"), 2),
            (Some("a b\u{e9}"), Some("n"), ("a-b-", "n"), 1),
        ] {
            let (identity, warned) = Identity::resolve(&names(pod, namespace), &host);
            let got = (identity.pod.as_str(), identity.namespace.as_str());
            assert_eq!(got, expected);
            assert_eq!(warned.len(), warnings, "{warned:?}");
            assert_eq!(identity.standalone, pod.is_none());
            assert_eq!(identity.nf_prefix, identity.namespace);
            assert_eq!(identity.version, "v0");
            let microservice = identity.microservice.as_deref();
            assert_eq!(microservice, pod.is_none().then_some("app"));
        }
        let long = "x".repeat(10_000);
        let (identity, _) = Identity::resolve(&names(Some(&long), Some("n")), &host);
        assert_eq!(identity.pod.len(), limits::IDENTITY_BYTES);
        let (identity, _) = Identity::resolve(&names(None, None), &Host::default());
        assert_eq!(identity.pod, "localhost");
    }

    #[test]
    fn the_container_id_is_looked_for_in_order() {
        let (cgroup, cpuset) = (
            format!("0::/docker/{ID}"),
            format!("/docker/{}", ID.replace('0', "1")),
        );
        for (given, cgroup, cpuset, expected) in [
            (Some("given"), cgroup.as_str(), "", "given"),
            (None, &cgroup, &cpuset, ID),
            (None, "0::/", &cpuset, &cpuset[8..]),
            (None, "0::/", "/", "0000"),
        ] {
            let names = Names {
                container_id: given.map(str::to_owned),
                ..Names::default()
            };
            let host = Host {
                cgroup: cgroup.to_owned(),
                cpuset: cpuset.to_owned(),
                ..Host::default()
            };
            assert_eq!(Identity::resolve(&names, &host).0.container_id, expected);
        }
    }

    #[test]
    fn without_an_annotation_the_network_function_comes_from_the_environment() {
        let names = Names {
            nf: Some("nf1".to_owned()),
            nf_type: Some("é".repeat(200)),
            nf_prefix: Some("pre".to_owned()),
            ..names(Some("p"), Some("n"))
        };
        let (identity, warnings) = Identity::resolve(&names, &Host::default());
        let tmaas = identity.tmaas.unwrap();
        assert_eq!(
            (tmaas.nf_id.as_str(), identity.nf_prefix.as_str()),
            ("nf1", "pre")
        );
        assert_eq!(tmaas.nf_type, "é".repeat(126));
        assert_eq!(warnings.len(), 1);
        let json = serde_json::to_string(&TmaasAnnotation::default()).unwrap();
        assert_eq!(
            json,
            r#"{"vendorId":"","xgvelaId":"","nfClass":"","nfType":"","nfId":"","nfServiceId":"","nfServiceType":""}"#
        );
    }

    #[test]
    fn the_environment_names_the_microservice_unless_that_would_break_a_key() {
        for (microservice, version, expected, warned) in [
            ("ms1", "v1", (Some("ms1"), "v1"), 0),
            ("a/b", "v/1", (None, "v0"), 2),
            ("a\nb", "", (None, "v0"), 2),
        ] {
            let names = Names {
                microservice: Some(microservice.to_owned()),
                version: Some(version.to_owned()),
                ..names(Some("p"), Some("n"))
            };
            let (identity, warnings) = Identity::resolve(&names, &Host::default());
            let got = (identity.microservice.as_deref(), identity.version.as_str());
            assert_eq!(got, expected);
            assert_eq!(warnings.len(), warned, "{warnings:?}");
        }
    }

    #[test]
    fn the_host_is_read_without_harm() {
        let host = Host::read();
        assert!(!host.name.contains('\n'));
        assert!(!Identity::resolve(&Names::default(), &host).0.pod.is_empty());
    }
}
