//! The original's own events, and the definitions that CIM ships.

use serde_json::Value;

use super::*;
use crate::identity::TmaasAnnotation;

/// The pod of the golden samples.
fn identity() -> Identity {
    Identity {
        pod: "cnf-0".into(),
        namespace: "ns1".into(),
        microservice: Some("ms1".into()),
        version: "v1".into(),
        container_id: "0123456789ab".into(),
        standalone: false,
        tmaas: Some(TmaasAnnotation {
            nf_id: "nf1".into(),
            nf_type: "nft".into(),
            ..TmaasAnnotation::default()
        }),
        nf_prefix: "ns1".into(),
        ..crate::identity::Identity::resolve(&Default::default(), &Default::default()).0
    }
}

fn key(name: &str) -> String {
    format!("commit-config/ns1/ms1/v1/{name}")
}

/// Every event once, the last of each two with the other face that it has.
fn all() -> Vec<OwnEvent> {
    let commit_key = key("ms/cnf-0");
    let error = "refused".to_owned();
    vec![
        OwnEvent::ConnectEtcdFailure {
            error: error.clone(),
        },
        OwnEvent::ConfigUpdateSuccess {
            commit_key: commit_key.clone(),
        },
        OwnEvent::ConfigUpdateUnused,
        OwnEvent::ConfigUpdateFailure,
        OwnEvent::CommitConfigSuccess {
            commit_key: commit_key.clone(),
        },
        OwnEvent::CommitConfigFailure { commit_key, error },
        OwnEvent::LoadConfigRequestFailure {
            not_an_object: false,
        },
        OwnEvent::LoadConfigRequestFailure {
            not_an_object: true,
        },
        OwnEvent::ApplicationShutdownInitiated {
            success: true,
            signal: "terminated",
        },
        OwnEvent::ApplicationShutdownInitiated {
            success: false,
            signal: "interrupt",
        },
    ]
}

macro_rules! golden {
    ($file:literal) => {
        include_str!(concat!("../../../tests/golden/", $file, ".value.raw"))
    };
}

#[test]
fn every_event_has_the_bytes_of_the_original() {
    let success = |name: &str| OwnEvent::ConfigUpdateSuccess {
        commit_key: key(name),
    };
    let committed = |name: &str| OwnEvent::CommitConfigSuccess {
        commit_key: key(name),
    };
    let load = |not_an_object| OwnEvent::LoadConfigRequestFailure { not_an_object };
    let shutdown = |success, signal| OwnEvent::ApplicationShutdownInitiated { success, signal };
    for (event, golden) in [
        (
            success("ms/cnf-0"),
            golden!("6-own-events/01_ms_success_1_CimConfigUpdateSuccess"),
        ),
        (
            committed("ms/cnf-0"),
            golden!("6-own-events/01_ms_success_2_CimCommitConfigSuccess"),
        ),
        (
            OwnEvent::ConfigUpdateFailure,
            golden!("6-own-events/02_ms_failure_1_CimConfigUpdateFailure"),
        ),
        (
            committed("ms/cnf-0"),
            golden!("6-own-events/02_ms_failure_2_CimCommitConfigSuccess"),
        ),
        (
            OwnEvent::ConfigUpdateUnused,
            golden!("6-own-events/03_ms_unused_1_CimConfigUpdateUnused"),
        ),
        (
            committed("ms/cnf-0"),
            golden!("6-own-events/03_ms_unused_2_CimCommitConfigSuccess"),
        ),
        (
            success("nf/cnf-0"),
            golden!("6-own-events/04_nf_success_1_CimConfigUpdateSuccess"),
        ),
        (
            committed("nf/cnf-0"),
            golden!("6-own-events/04_nf_success_2_CimCommitConfigSuccess"),
        ),
        (
            success("ms/cnf-0"),
            golden!("6-own-events/07_self_log_level_without_configmap_1_CimConfigUpdateSuccess"),
        ),
        (
            committed("ms/cnf-0"),
            golden!("6-own-events/07_self_log_level_without_configmap_2_CimCommitConfigSuccess"),
        ),
        (
            OwnEvent::ConfigUpdateFailure,
            golden!("6-own-events/08_self_bad_patch_1_CimConfigUpdateFailure"),
        ),
        (
            committed("ms/cnf-0"),
            golden!("6-own-events/08_self_bad_patch_2_CimCommitConfigSuccess"),
        ),
        (
            success("ms/cim/cnf-0"),
            golden!("6-own-events/10_self_log_level_with_configmap_1_CimConfigUpdateSuccess"),
        ),
        (
            committed("ms/cim/cnf-0"),
            golden!("6-own-events/10_self_log_level_with_configmap_2_CimCommitConfigSuccess"),
        ),
        (
            load(false),
            golden!("7-day1/02_refused_load_1_LoadConfigRequestFailure"),
        ),
        (
            load(false),
            golden!("7-day1/02b_load_answer_404_1_LoadConfigRequestFailure"),
        ),
        (
            load(true),
            golden!("7-day1/03_value_not_object_1_LoadConfigRequestFailure"),
        ),
        (
            load(false),
            golden!("7-day1/04_no_app_1_LoadConfigRequestFailure"),
        ),
        (
            shutdown(true, "terminated"),
            golden!(
                "9-termination/01_sigterm_pod_deleted_app_200_ShutdownSuccess_1_ApplicationShutdownInitiated"
            ),
        ),
        (
            shutdown(true, "terminated"),
            golden!(
                "9-termination/02_sigterm_pod_deleted_app_200_no_event_1_ApplicationShutdownInitiated"
            ),
        ),
        (
            shutdown(true, "terminated"),
            golden!(
                "9-termination/03_sigterm_pod_not_deleted_app_200_1_ApplicationShutdownInitiated"
            ),
        ),
        (
            shutdown(false, "terminated"),
            golden!("9-termination/04_sigterm_app_500_1_ApplicationShutdownInitiated"),
        ),
        (
            shutdown(true, "interrupt"),
            golden!(
                "9-termination/06_sigint_app_200_ShutdownFailure_1_ApplicationShutdownInitiated"
            ),
        ),
        (
            shutdown(true, "terminated"),
            golden!("9-termination/07_sigterm_before_registration_1_ApplicationShutdownInitiated"),
        ),
    ] {
        let parsed: Value = serde_json::from_str(golden).unwrap();
        let mut identity = identity();
        identity.container_id = parsed["containerId"].as_str().unwrap().to_owned();
        let json = event.json(&identity, parsed["eventTime"].as_i64().unwrap());
        assert_eq!(String::from_utf8(json).unwrap(), golden);
    }
    let golden_key = include_str!(
        "../../../tests/golden/6-own-events/01_ms_success_1_CimConfigUpdateSuccess.key.raw"
    );
    assert_eq!(KEY, golden_key);
}

#[test]
fn events_of_which_the_original_left_no_bytes_follow_the_table_of_the_contract() {
    let rest = r#""sourceHeaders":{"podId":"cnf-0","microservice":"ms1","nf":"nf1","nfPrefix":"ns1","nfType":"nft","svcVersion":"v1"},"containerId":"0123456789ab"}"#;
    for (event, expected) in [
        (
            OwnEvent::ConnectEtcdFailure {
                error: "no <answer>".into(),
            },
            r#"{"eventName":"CimConnectEtcdFailure","eventTime":-1,"managedObject":[{"name":"Description","value":"Connect Etcd Failure"},{"name":"STATUS","value":"Failure"}],"additionalInfo":[{"name":"Error","value":"no \u003canswer\u003e"}],"#,
        ),
        (
            OwnEvent::CommitConfigFailure {
                commit_key: key("ms/cnf-0"),
                error: "denied".into(),
            },
            r#"{"eventName":"CimCommitConfigFailure","eventTime":-1,"managedObject":[{"name":"Update_Etcd_Commit_Status","value":"FAIL"},{"name":"Commit_Keys","value":"commit-config/ns1/ms1/v1/ms/cnf-0"}],"additionalInfo":[{"name":"Error","value":"denied"}],"#,
        ),
    ] {
        let json = String::from_utf8(event.json(&identity(), -1)).unwrap();
        assert_eq!(json, format!("{expected}{rest}"));
    }
}

#[test]
fn without_kubernetes_what_is_not_known_is_empty() {
    let identity = Identity {
        microservice: None,
        tmaas: None,
        ..identity()
    };
    let json = OwnEvent::ConfigUpdateUnused.json(&identity, 1);
    let headers = &serde_json::from_slice::<Value>(&json).unwrap()["sourceHeaders"];
    for name in ["microservice", "nf", "nfType"] {
        assert_eq!(headers[name], "");
    }
    assert_eq!(headers["podId"], "cnf-0");
}

#[test]
fn a_long_text_is_cut_so_that_the_event_fits_a_line_of_the_log() {
    let error = "é".repeat(OWN_EVENT_TEXT_BYTES);
    let json = OwnEvent::ConnectEtcdFailure { error }.json(&identity(), 1);
    assert!(json.len() < crate::limits::OWN_LOG_LINE_BYTES / 2);
    let parsed: Value = serde_json::from_slice(&json).unwrap();
    let shown = parsed["additionalInfo"][0]["value"].as_str().unwrap();
    assert_eq!(shown, "é".repeat(OWN_EVENT_TEXT_BYTES / 2));
}

#[test]
fn every_event_is_defined_and_every_definition_is_whole() {
    let text = include_str!("../../../deploy/eventdef-cim.json");
    let definitions: Value = serde_json::from_str(text).unwrap();
    let definitions = definitions["events"].as_object().unwrap();
    for event in all() {
        assert!(definitions.contains_key(event.name()), "{}", event.name());
    }
    for (name, definition) in definitions {
        let members: Vec<_> = definition.as_object().unwrap().keys().collect();
        let expected = [
            "eventType",
            "perceivedSeverity",
            "probableCause",
            "specificProblem",
            "rootCauseIndicator",
            "trendIndication",
            "correlatedNotifications",
            "additionalText",
            "proposedRepairAction",
        ];
        assert_eq!(members, expected, "{name}");
        for filled in ["eventType", "perceivedSeverity", "probableCause"] {
            assert_ne!(definition[filled], "", "{name} {filled}");
        }
    }
}

#[test]
fn an_event_raised_before_kubernetes_answered_gets_the_headers_later() {
    let bare = Identity {
        container_id: "0123456789ab".into(),
        ..Identity::resolve(&Default::default(), &Default::default()).0
    };
    let hostile = r#"a","sourceHeaders":{"podId":"x"},"containerId":"y""#;
    let mut odd = identity();
    odd.pod = hostile.into();
    odd.container_id = hostile.into();
    for event in all().into_iter().chain([OwnEvent::ConnectEtcdFailure {
        error: hostile.to_owned(),
    }]) {
        for (from, to) in [
            (&bare, identity()),
            (&odd, identity()),
            (&bare, odd.clone()),
        ] {
            let to = Identity {
                container_id: from.container_id.clone(),
                ..to
            };
            let mut out = Vec::new();
            with_headers(&event.json(from, 5), &to, &mut out);
            assert_eq!(out, event.json(&to, 5));
        }
    }
    let mut out = Vec::new();
    with_headers(b"{}", &identity(), &mut out);
    assert_eq!(out, b"{}");
}
