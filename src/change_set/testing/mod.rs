//! What the tests of this folder share.

pub mod etcd;
pub mod random;

use super::key::{ChangeSet, ChangeSetKey, Position};
use super::memory::Own;
use super::wire::Entry;

pub fn own() -> Own {
    Own {
        namespace: "ns1".into(),
        microservice: "ms1".into(),
        version: "v1".into(),
        pod: "cnf-0".into(),
        pod_uid: "u-1".into(),
    }
}

pub const CLUSTER: u64 = 9;

/// A change set of `own()`, from `<level>/<data key>/<revision>`.
pub fn change_set(tail: &str, revision: i64) -> ChangeSet {
    let text = format!("change-set/ns1/ms1/v1/{tail}");
    ChangeSet {
        key: ChangeSetKey::parse(&text).unwrap(),
        value: format!("patch {tail}").into(),
        position: Position {
            revision,
            key: text,
        },
        cluster_id: CLUSTER,
    }
}

pub fn entry(key: &str, value: &str, mod_revision: i64) -> Entry {
    Entry {
        key: key.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
        mod_revision,
    }
}
