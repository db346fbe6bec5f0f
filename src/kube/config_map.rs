//! CIM's own ConfigMap, `<nfServiceType>-cim-<ver>-mgmt-cfg`: what it is called, what it says, and how it is made
//! (CONTRACT sections 1 and 3).

use serde::Serialize;
use serde_json::{Value, json};

use super::model::ConfigMap;
use crate::identity::{Identity, TmaasAnnotation};
use crate::limits;
use crate::settings::yang;

/// The revision of a ConfigMap that CIM has made.
pub const FIRST_REVISION: &str = "0";

/// Its name; `None` when the pod's annotation gives no `nfServiceType`.
pub fn name(identity: &Identity) -> Option<String> {
    let service_type = service_type(identity)?;
    Some(format!("{service_type}-cim-{}-mgmt-cfg", identity.version))
}

fn service_type(identity: &Identity) -> Option<&str> {
    let service_type = identity.tmaas.as_ref()?.nf_service_type.as_str();
    Some(service_type).filter(|service_type| !service_type.is_empty())
}

/// The text of its cim.json.
pub fn cim_json(config_map: &ConfigMap) -> Option<&str> {
    config_map.data.get("cim.json").map(String::as_str)
}

/// Its revision; empty when it has none that could be the value of a commit.
pub fn revision(config_map: &ConfigMap) -> &str {
    let revision = config_map.data.get("revision").map(|text| text.trim());
    let good = |text: &&str| {
        text.len() <= limits::IDENTITY_BYTES && text.bytes().all(|b| b.is_ascii_graphic())
    };
    revision.filter(good).unwrap_or_default()
}

/// The text of `document` as the original writes cim.json: indented by one space.
pub fn cim_json_text(document: &Value) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    // A JSON value can be written into memory; were it otherwise, the shorter form is as good.
    match document.serialize(&mut writer) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => document.to_string(),
    }
}

/// The object to make, with `cim_json` as its configuration; `None` when it would have no name.
pub fn object(identity: &Identity, cim_json: &str) -> Option<Value> {
    let name = name(identity)?;
    let service_type = service_type(identity)?;
    let tmaas = identity.tmaas.as_ref()?;
    let microservice = identity.microservice.as_deref().unwrap_or_default();
    Some(json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": identity.namespace,
            "creationTimestamp": null,
            "labels": { "microSvcName": service_type },
            "annotations": {
                "configMgmt": "enabled",
                "nwFnPrefix": identity.namespace,
                "svcVersion": identity.version,
                "xgvela.com/tmaas": annotation(tmaas).to_string(),
            },
        },
        "data": {
            "__CFG_TYPE": "mgmt-cfg",
            "cim.json": cim_json,
            "cim.yang": yang::module(&tmaas.nf_id, microservice),
            "revision": FIRST_REVISION,
            "updatePolicy.json": json!({ "cim": "Dynamic" }).to_string(),
        },
    }))
}

/// Members in the order of their names, as the original writes a map.
fn annotation(tmaas: &TmaasAnnotation) -> Value {
    json!({
        "nfClass": tmaas.nf_class,
        "nfId": tmaas.nf_id,
        "nfServiceId": tmaas.nf_service_id,
        "nfServiceType": tmaas.nf_service_type,
        "nfType": tmaas.nf_type,
        "vendorId": tmaas.vendor_id,
        "xgvelaId": tmaas.xgvela_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Host;
    use crate::options::Names;

    fn identity(service_type: &str) -> Identity {
        let names = Names {
            pod: Some("cnf-0".to_owned()),
            namespace: Some("ns1".to_owned()),
            microservice: Some("ms1".to_owned()),
            version: Some("v1".to_owned()),
            ..Names::default()
        };
        Identity {
            tmaas: Some(TmaasAnnotation {
                vendor_id: "v1".to_owned(),
                xgvela_id: "xgvela1".to_owned(),
                nf_class: "nfc".to_owned(),
                nf_type: "nft".to_owned(),
                nf_id: "nf1".to_owned(),
                nf_service_id: "svc1".to_owned(),
                nf_service_type: service_type.to_owned(),
            }),
            ..Identity::resolve(&names, &Host::default()).0
        }
    }

    fn golden() -> Value {
        let path = "tests/golden/3-registration/08_configmap_post.pretty.json";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn golden_08_gives_the_object_of_the_original_but_for_the_module() {
        let mut golden = golden();
        let text = golden["data"]["cim.json"].as_str().unwrap().to_owned();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(cim_json_text(&document), text, "byte for byte");
        let object = object(&identity("svctype"), &text).unwrap();
        golden["data"]["cim.yang"] = yang::module("nf1", "ms1").into();
        assert_eq!(object, golden);
    }

    #[test]
    fn without_a_service_type_there_is_no_config_map() {
        for identity in [
            identity(""),
            Identity {
                tmaas: None,
                ..identity("x")
            },
        ] {
            assert_eq!(name(&identity), None);
            assert_eq!(object(&identity, "{}"), None);
        }
    }

    #[test]
    fn a_revision_is_one_word() {
        for (text, expected) in [
            ("7", "7"),
            (" 7\n", "7"),
            ("a b", ""),
            ("a\nb", ""),
            ("", ""),
        ] {
            let mut config_map = ConfigMap::default();
            config_map
                .data
                .insert("revision".to_owned(), text.to_owned());
            assert_eq!(revision(&config_map), expected);
        }
        assert_eq!(revision(&ConfigMap::default()), "");
    }
}
