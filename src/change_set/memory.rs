//! What CIM keeps in etcd of its own: the keys of this pod, and the memory of what is done.
//!
//! The memory is the value of `cim-position/<ns>/<ms>/<ver>/<pod>`,
//! `{"pod_uid":"…","cluster_id":"…","revision":N,"key":"…"}`: the position of the last change set that was dealt with. It is
//! put in the same transaction as the commit: the values `-1` and `-2` do not tell whose they are. Revision 0 and no key: the
//! application has registered, and nothing was dealt with yet.

use serde::{Deserialize, Serialize};

use super::key::{self, ChangeSet, Level, Position};
use crate::limits::MEMORY_BYTES;

/// Who this pod is, and with that which keys in etcd are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's label `microSvcName`.
    pub microservice: String,
    /// The pod's annotation `svcVersion`.
    pub version: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID: another one is another incarnation of the same name. Empty without Kubernetes.
    pub pod_uid: String,
}

impl Own {
    /// The prefix of every change set of the microservice, its last slash included: `<ms>x` is somebody else.
    pub fn prefix(&self) -> String {
        format!("change-set/{}/{}/", self.namespace, self.microservice)
    }

    /// Where the memory is.
    pub fn memory_key(&self) -> String {
        let Self {
            namespace,
            microservice,
            version,
            pod,
            ..
        } = self;
        format!("cim-position/{namespace}/{microservice}/{version}/{pod}")
    }

    /// A commit key of this pod; `cim`: that of CIM's own configuration when it has a ConfigMap.
    pub fn commit_key(&self, level: Level, cim: bool) -> String {
        let whose = [
            self.namespace.as_str(),
            self.microservice.as_str(),
            self.version.as_str(),
        ];
        key::commit_key(whose, level, cim, &self.pod)
    }

    /// Every key of this pod: the memory and the four commit keys.
    pub fn keys(&self) -> [String; 5] {
        [
            self.memory_key(),
            self.commit_key(Level::Ms, false),
            self.commit_key(Level::Nf, false),
            self.commit_key(Level::Ms, true),
            self.commit_key(Level::Nf, true),
        ]
    }

    /// The memory once `change_set` is dealt with.
    pub fn memory_of(&self, change_set: &ChangeSet) -> Memory {
        Memory {
            pod_uid: self.pod_uid.clone(),
            cluster_id: change_set.cluster_id,
            position: change_set.position.clone(),
        }
    }

    /// The memory once the application has registered, before any change set.
    pub fn memory_of_registration(&self, cluster_id: u64) -> Memory {
        Memory {
            pod_uid: self.pod_uid.clone(),
            cluster_id,
            position: Position {
                revision: 0,
                key: String::new(),
            },
        }
    }
}

/// What was dealt with last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The pod that dealt with it.
    pub pod_uid: String,
    /// The cluster whose revision the position has.
    pub cluster_id: u64,
    /// The position; of revision 0: there is none yet.
    pub position: Position,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    pod_uid: String,
    /// A text: 64 bits are more than a JSON number keeps everywhere.
    cluster_id: String,
    revision: i64,
    key: String,
}

impl Memory {
    /// Reads a value of the memory key. What is no memory is none: CIM then starts as without one.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if value.len() > MEMORY_BYTES {
            return None;
        }
        let stored: Stored = serde_json::from_slice(value).ok()?;
        if stored.revision < 0 {
            return None;
        }
        Some(Self {
            pod_uid: stored.pod_uid,
            cluster_id: stored.cluster_id.parse().ok()?,
            position: Position {
                revision: stored.revision,
                key: stored.key,
            },
        })
    }

    /// The value of the memory key. Two positions never have the same.
    pub fn value(&self) -> String {
        let stored = Stored {
            pod_uid: self.pod_uid.clone(),
            cluster_id: self.cluster_id.to_string(),
            revision: self.position.revision,
            key: self.position.key.clone(),
        };
        // Texts and a number: there is nothing that JSON could not say.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// It is of this pod, and of the etcd that has this cluster id and revision: its position counts. A lower revision
    /// means that etcd is back at an older backup.
    pub fn holds(&self, own: &Own, cluster_id: u64, revision: i64) -> bool {
        self.pod_uid == own.pod_uid
            && self.cluster_id == cluster_id
            && (1..=revision).contains(&self.position.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::own;
    use super::*;
    use crate::limits::CHANGE_SET_KEY_BYTES;

    #[test]
    fn own_keys_are_those_of_the_contract() {
        assert_eq!(own().prefix(), "change-set/ns1/ms1/");
        assert_eq!(
            own().keys(),
            [
                "cim-position/ns1/ms1/v1/cnf-0",
                "commit-config/ns1/ms1/v1/ms/cnf-0",
                "commit-config/ns1/ms1/v1/nf/cnf-0",
                "commit-config/ns1/ms1/v1/ms/cim/cnf-0",
                "commit-config/ns1/ms1/v1/nf/cim/cnf-0",
            ]
        );
    }

    #[test]
    fn the_memory_is_read_as_it_was_written() {
        for key in [
            "change-set/ns1/ms1/v1/ms/app.json/1".to_owned(),
            "\u{1}".repeat(CHANGE_SET_KEY_BYTES),
        ] {
            let memory = Memory {
                pod_uid: "u-1".into(),
                cluster_id: u64::MAX,
                position: Position { revision: 7, key },
            };
            let value = memory.value();
            assert!(value.len() <= MEMORY_BYTES);
            assert_eq!(Memory::parse(value.as_bytes()), Some(memory));
        }
    }

    #[test]
    fn the_memory_has_the_form_that_is_documented() {
        let memory = Memory {
            pod_uid: "u-1".into(),
            cluster_id: 14_841_639_068_965_178_418,
            position: Position {
                revision: 7,
                key: "k".into(),
            },
        };
        let text =
            r#"{"pod_uid":"u-1","cluster_id":"14841639068965178418","revision":7,"key":"k"}"#;
        assert_eq!(memory.value(), text);
        let later = text.replace("}", r#","added later":[1]}"#);
        assert_eq!(Memory::parse(later.as_bytes()), Some(memory));
    }

    #[test]
    fn garbage_is_no_memory() {
        let long = format!(
            r#"{{"pod_uid":"u","cluster_id":"1","revision":7,"key":"{}"}}"#,
            "k".repeat(MEMORY_BYTES)
        );
        for value in [
            "",
            "5",
            "null",
            "{}",
            "{",
            r#"{"pod_uid":"u","cluster_id":1,"revision":7,"key":"k"}"#,
            r#"{"pod_uid":"u","cluster_id":"x","revision":7,"key":"k"}"#,
            r#"{"pod_uid":"u","cluster_id":"1","revision":-1,"key":"k"}"#,
            r#"{"pod_uid":"u","cluster_id":"1","revision":1e30,"key":"k"}"#,
            r#"{"pod_uid":"u","cluster_id":"1","revision":7}"#,
            &long,
        ] {
            assert_eq!(Memory::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Memory::parse(b"\xff"), None);
    }

    #[test]
    fn a_memory_counts_for_the_same_pod_and_the_same_etcd_alone() {
        let memory = Memory {
            pod_uid: "u-1".into(),
            cluster_id: 3,
            position: Position {
                revision: 7,
                key: "k".into(),
            },
        };
        assert!(memory.holds(&own(), 3, 7));
        assert!(memory.holds(&own(), 3, 100));
        assert!(!memory.holds(&own(), 3, 6), "an older backup");
        assert!(!memory.holds(&own(), 4, 100), "another cluster");
        let other = Own {
            pod_uid: "u-2".into(),
            ..own()
        };
        assert!(!memory.holds(&other, 3, 100), "another incarnation");
    }

    #[test]
    fn a_registration_is_remembered_without_a_position() {
        let memory = own().memory_of_registration(3);
        assert_eq!(Memory::parse(memory.value().as_bytes()).unwrap(), memory);
        assert!(!memory.holds(&own(), 3, 100));
    }
}
