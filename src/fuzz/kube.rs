//! What Kubernetes says of the pod, and patches of the configuration.

use ureq::http::uri::PathAndQuery;

use super::assert_showable;
use crate::identity::{Host, Identity};
use crate::kube::{Pod, config_map};
use crate::limits;
use crate::metrics::aligned::annotation::Wanted;
use crate::options::Names;
use crate::settings::table::MEMBERS;
use crate::settings::{CimConfig, CimDocument, Settings, Store, address};

/// Any bytes as the JSON of the pod are refused with an error that may be shown, or give an identity every part of which is
/// safe where it goes: file names, keys in etcd, URLs, JSON.
pub fn kube_pod(data: &[u8]) {
    let pod = match Pod::parse(data) {
        Ok(pod) => pod,
        Err(error) => return assert_showable(&error.to_string()),
    };
    let names = Names {
        pod: Some("cnf-0".to_owned()),
        namespace: Some("ns1".to_owned()),
        ..Names::default()
    };
    let (identity, warnings) = Identity::resolve(&names, &Host::default()).0.with_pod(&pod);
    for warning in warnings {
        assert_showable(&warning);
        assert!(warning.len() <= 1024, "{} bytes", warning.len());
    }
    assert_eq!(
        (identity.pod.as_str(), identity.namespace.as_str()),
        ("cnf-0", "ns1")
    );
    for part in [Some(&identity.version), identity.microservice.as_ref()]
        .into_iter()
        .flatten()
    {
        assert!(!part.is_empty() && !part.contains('/') && part.len() <= limits::IDENTITY_BYTES);
        assert_showable(part);
    }
    let tmaas = identity.tmaas.clone().unwrap_or_default();
    let members = [
        &tmaas.vendor_id,
        &tmaas.xgvela_id,
        &tmaas.nf_class,
        &tmaas.nf_type,
        &tmaas.nf_id,
        &tmaas.nf_service_id,
        &tmaas.nf_service_type,
    ];
    let labels = [&identity.uhn, &identity.cnfc_uuid, &identity.pod_uid];
    for text in members.into_iter().chain(labels.into_iter().flatten()) {
        assert_showable(text);
        assert!(text.len() <= limits::IDENTITY_BYTES);
    }
    if let Some(text) = &identity.mmaas {
        assert_showable(text);
        assert!(text.len() <= limits::IDENTITY_ANNOTATION_BYTES);
        match Wanted::parse(text) {
            Err(error) => assert_showable(&error.to_string()),
            Ok(Wanted::Off) => {}
            Ok(Wanted::On(plan)) => {
                assert!(plan.path.starts_with('/') && plan.path.parse::<PathAndQuery>().is_ok());
                assert!(plan.ports.len() <= limits::ALIGNED_PORTS);
                let ms = plan.interval.as_millis() as u64;
                assert!(ms >= limits::ALIGNED_INTERVAL_FIRST_MS);
                assert!(ms <= limits::ALIGNED_INTERVAL_LAST_MS);
                assert!((1..=limits::ALIGNED_SNAPSHOTS).contains(&plan.retention));
            }
        }
    }
    if let Some(fqdn) = &identity.topogw_fqdn {
        assert!(
            address::is_host(fqdn) || address::is_host_port(fqdn),
            "{fqdn}"
        );
    }
    assert_eq!(
        config_map::object(&identity, "{}").is_some(),
        config_map::name(&identity).is_some()
    );
}

/// Any bytes as a patch change nothing and give an error that may be shown, or leave a configuration that a file could have.
pub fn settings_patch(data: &[u8]) {
    let store = Store::new(Settings::default());
    let (before, document) = (store.load().clone(), store.document());
    match store.patch(data) {
        Err(error) => {
            assert_showable(&error.to_string());
            assert_eq!(*store.load(), before);
            assert_eq!(store.document(), document);
        }
        Ok(_) => {
            let after = store.document();
            let text = serde_json::to_vec(&after.raw).expect("JSON");
            assert_eq!(CimDocument::parse(&text).as_ref(), Ok(&after));
            for member in &MEMBERS {
                let value = member.get(&store.load().cim);
                let good = member.set(&mut CimConfig::default(), &value).is_ok();
                assert!(value.is_null() || good, "{}", member.path());
            }
        }
    }
}
