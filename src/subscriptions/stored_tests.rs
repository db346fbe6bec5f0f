//! The file's content: what is written is read back, anything else is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits::{SUBSCRIPTION_VALUE_BYTES, SUBSCRIPTION_VALUES, SUBSCRIPTIONS_FILE_BYTES};

const GOOD: &str = r#"{"version":1,"era":3,"position":{"ends":{"0":17,"11":0},"joined":true},"subscriptions":[{"id":"897631","filter":{"localEventName":["E1","E2"]}},{"id":"360022","filter":{"localEventName":["E3"],"nfNamingCode":["n1"],"nfcNamingCode":["c1"],"localNfId":["l1"]}}]}
"#;

fn good() -> Registry {
    decode(GOOD.as_bytes()).unwrap()
}

/// Why the file is refused after `change`.
fn refused(change: impl FnOnce(&mut Value)) -> StoredError {
    let mut value: Value = serde_json::from_str(GOOD).unwrap();
    change(&mut value);
    decode(value.to_string().as_bytes()).unwrap_err()
}

#[test]
fn the_format_is_as_it_is_described() {
    let registry = good();
    assert_eq!(registry.era(), Some(3));
    assert_eq!(registry.position.ends, Some([(0, 17), (11, 0)].into()));
    let ids: Vec<_> = registry.subscriptions.iter().map(|s| &*s.id).collect();
    assert_eq!(ids, ["897631", "360022"], "oldest first");
    assert_eq!(encode(&registry).unwrap(), GOOD.as_bytes());
    let empty = r#"{"version":1,"era":0,"position":{"ends":null,"joined":false},"subscriptions":[]}
"#;
    assert_eq!(encode(&Registry::default()).unwrap(), empty.as_bytes());
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    // Without its last byte, a line end, it still says all.
    for at in 0..GOOD.len() - 1 {
        assert!(decode(&GOOD.as_bytes()[..at]).is_err(), "cut at {at}");
    }
    for more in ["x", "\0", "{}"] {
        assert!(decode([GOOD, more].concat().as_bytes()).is_err());
    }
    assert!(decode(&vec![0; GOOD.len()]).is_err(), "zeros");
}

#[test]
fn what_cannot_be_is_refused() {
    let is_value = |what, change: fn(&mut Value)| {
        assert_eq!(refused(change), StoredError::Value(what));
    };
    is_value("id", |v| v["subscriptions"][0]["id"] = "360022".into());
    is_value("id", |v| v["subscriptions"][0]["id"] = "1".into());
    is_value("id", |v| v["subscriptions"][0]["id"] = "../etc".into());
    is_value("era", |v| v["era"] = 0.into());
    is_value("era", |v| v["era"] = u64::MAX.into());
    is_value("position", |v| v["subscriptions"] = json!([]));
    is_value("filter", |v| {
        v["subscriptions"][0]["filter"]["localEventName"] = json!([]);
    });
    is_value("filter", |v| {
        let long = "x".repeat(SUBSCRIPTION_VALUE_BYTES + 1);
        v["subscriptions"][0]["filter"]["nfNamingCode"] = json!([long]);
    });
    is_value("filter", |v| {
        let many = vec!["x"; SUBSCRIPTION_VALUES + 1];
        v["subscriptions"][0]["filter"]["nfNamingCode"] = json!(many);
    });
    is_value("number of subscriptions", |v| {
        let one = v["subscriptions"][0].clone();
        v["subscriptions"] = vec![one; SUBSCRIPTIONS + 1].into();
    });
    is_value("filter", |v| {
        let values = vec!["x".repeat(SUBSCRIPTION_VALUE_BYTES); SUBSCRIPTION_VALUES];
        let entry = |n: u32| json!({"id": n.to_string(), "filter": {"localEventName": values}});
        v["subscriptions"] = (100_000..100_017).map(entry).collect();
    });
    let is_json = |change: fn(&mut Value)| {
        assert!(matches!(refused(change), StoredError::Json(_)));
    };
    is_json(|v| v["more"] = 1.into());
    is_json(|v| v["era"] = (-1).into());
    is_json(|v| v["position"]["ends"] = json!({"zero": 1}));
    is_json(|v| v["position"]["ends"] = json!({"0": 0.5}));
    is_json(|v| v["subscriptions"][0]["filter"]["replay"] = json!(["x"]));
    is_json(|v| v["subscriptions"][0]["id"] = 897631.into());
    is_json(|v| drop(v.as_object_mut().unwrap().remove("position")));
}

#[test]
fn a_later_version_is_called_so() {
    let error = refused(|v| {
        v["version"] = 2.into();
        v["groups"] = json!([]);
    });
    assert_eq!(
        error.to_string(),
        "it has version 2, this CIM reads version 1"
    );
}

#[test]
fn the_most_that_is_accepted_can_be_stored() {
    let mut registry = Registry::default();
    // Each of these bytes takes six in JSON.
    let values = |bytes: usize| vec!["\u{1}".repeat(bytes); SUBSCRIPTION_VALUES];
    let filter = |bytes: usize| {
        let body = json!({"localEventName": values(bytes), "nfNamingCode": values(bytes), "nfcNamingCode": values(bytes), "localNfId": values(bytes)});
        Filter::parse(body.to_string().as_bytes()).unwrap()
    };
    // 1 byte for each value of each, and the rest wherever it goes.
    while registry.subscriptions.len() < SUBSCRIPTIONS - 3 {
        registry.add(filter(1), 0).unwrap();
    }
    while registry
        .add(filter(256), 0)
        .is_ok_and(|added| added.replaced.is_none())
    {}
    registry.position.ends = Some((0..10_000).map(|p| (p, i64::MAX)).collect());
    let bytes = encode(&registry).unwrap();
    assert!(bytes.len() > 1 << 20, "{} bytes", bytes.len());
    assert!(bytes.len() as u64 <= SUBSCRIPTIONS_FILE_BYTES);
    assert_eq!(decode(&bytes), Ok(registry));
}

proptest! {
    #[test]
    fn any_texts_and_positions_are_read_back(
        names in proptest::collection::vec("\\PC{1,8}", 1..4),
        others in proptest::collection::vec(".{1,8}", 0..4),
        ends: Option<std::collections::BTreeMap<i32, i64>>,
        joined: bool,
        randoms: [u64; 3],
    ) {
        let body = json!({"localEventName": names, "nfNamingCode": others});
        let filter = Filter::parse(body.to_string().as_bytes()).unwrap();
        let mut registry = Registry::default();
        for random in randoms {
            registry.add(filter.clone(), random).unwrap();
        }
        registry.position = Position { ends, joined };
        prop_assert_eq!(decode(&encode(&registry).unwrap()), Ok(registry));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0..GOOD.len(), bit in 0..8u8) {
        prop_assert!(decode(&bytes).is_err());
        let mut changed = GOOD.as_bytes().to_vec();
        changed[at] ^= 1 << bit;
        if let Ok(registry) = decode(&changed) {
            prop_assert_eq!(decode(&encode(&registry).unwrap()), Ok(registry));
        }
    }
}
