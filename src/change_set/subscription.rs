//! The puts at subscription time (CONTRACT section 4): at the first registration, CIM says in etcd which configuration the
//! pod started with; and in its memory that the application has registered, for a CIM that is killed and comes back.

use super::floors::{StartedWith, committed_number};
use super::key::{Level, revision_number};
use super::memory::{Memory, Own};
use super::wire::{Entry, Page};

/// A key to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What to put, given what [`Own::keys`] hold.
///
/// A commit key is never moved backwards: when this very pod has a memory in this etcd, everything that exists was put by it,
/// and stays. Else an existing number stays unless it is lower than what the pod started with.
pub fn puts(own: &Own, found: &Page, started: &StartedWith) -> Vec<Put> {
    let is_ours = has_memory(own, found);
    [
        (Level::Ms, false, &started.ms),
        (Level::Nf, false, &started.nf),
        (Level::Ms, true, &started.config_map),
    ]
    .into_iter()
    .filter_map(|(level, cim, revision)| {
        let value = revision.as_ref()?;
        let key = own.commit_key(level, cim);
        let stays = Entry::find(&found.entries, &key).is_some_and(|existing| {
            is_ours || committed_number(existing).is_some_and(|n| Some(n) >= revision_number(value))
        });
        (!stays).then(|| Put {
            key,
            value: value.clone(),
        })
    })
    .collect()
}

/// The memory to put at a registration, given what [`Own::keys`] hold; `None` when this very pod has one. Without a UID nobody
/// would know later whether it is the same pod.
pub fn registration(own: &Own, found: &Page) -> Option<Put> {
    let is_needed = !own.pod_uid.is_empty() && !resumes(own, found);
    is_needed.then(|| Put {
        key: own.memory_key(),
        value: own.memory_of_registration(found.header.cluster_id).value(),
    })
}

/// Given what [`Own::keys`] hold: the application of this very pod has registered before. Whatever etcd that was in.
pub fn resumes(own: &Own, found: &Page) -> bool {
    !own.pod_uid.is_empty() && memory(own, found).is_some_and(|m| m.pod_uid == own.pod_uid)
}

/// The memory in `found` is of this pod and of this etcd.
fn has_memory(own: &Own, found: &Page) -> bool {
    let header = found.header;
    memory(own, found).is_some_and(|m| m.holds(own, header.cluster_id, header.revision))
}

fn memory(own: &Own, found: &Page) -> Option<Memory> {
    Entry::find(&found.entries, &own.memory_key()).and_then(Memory::parse)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CLUSTER, entry, own};
    use super::super::wire::Header;
    use super::*;

    fn puts_given(existing: &[(&str, &str)], started: [Option<&str>; 3]) -> Vec<(String, String)> {
        let [ms, nf, config_map] = started.map(|text| text.map(str::to_owned));
        let entries = existing
            .iter()
            .map(|(key, value)| entry(key, value, 5))
            .collect();
        let page = Page {
            header: Header {
                cluster_id: CLUSTER,
                revision: 50,
            },
            entries,
            more: false,
        };
        let started = StartedWith { ms, nf, config_map };
        let puts = puts(&own(), &page, &started);
        puts.into_iter().map(|put| (put.key, put.value)).collect()
    }

    const MS: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
    const NF: &str = "commit-config/ns1/ms1/v1/nf/cnf-0";
    const CIM: &str = "commit-config/ns1/ms1/v1/ms/cim/cnf-0";
    const MEMORY: &str = "cim-position/ns1/ms1/v1/cnf-0";

    #[test]
    fn what_the_pod_started_with_is_put_where_nothing_is() {
        let put = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            puts_given(&[], [Some("3"), Some("2"), Some("7")]),
            [put(MS, "3"), put(NF, "2"), put(CIM, "7")]
        );
        assert_eq!(puts_given(&[], [None, Some("2"), None]), [put(NF, "2")]);
        assert_eq!(puts_given(&[], [None, None, Some("0")]), [put(CIM, "0")]);
        assert_eq!(puts_given(&[], [None; 3]), []);
    }

    #[test]
    fn a_commit_key_never_moves_backwards() {
        let ours = r#"{"pod_uid":"u-1","cluster_id":"9","revision":50,"key":"k"}"#;
        let other_pod = ours.replace("u-1", "u-2");
        let other_cluster = ours.replace("\"9\"", "\"8\"");
        let older_backup = ours.replace("50", "51");
        for (existing, memory, new, put) in [
            // Without a memory, numbers are compared.
            (Some("2"), None, "3", true),
            (Some("3"), None, "3", false),
            (Some("10"), None, "9", false),
            (Some("9"), None, "10", true),
            (Some("-1"), None, "3", true),
            (Some("-2"), None, "0", true),
            (Some(""), None, "3", true),
            (Some("latest"), None, "3", true),
            (Some("3"), None, "latest", false),
            (Some("-1"), None, "latest", true),
            (None, None, "latest", true),
            // With our own, everything that exists stays.
            (Some("-1"), Some(ours), "3", false),
            (Some("2"), Some(ours), "3", false),
            (None, Some(ours), "3", true),
            // Somebody else's memory, or one of another etcd, says nothing.
            (Some("-1"), Some(&other_pod), "3", true),
            (Some("4"), Some(&other_pod), "3", false),
            (Some("-1"), Some(&other_cluster), "3", true),
            (Some("-1"), Some(&older_backup), "3", true),
            (Some("-1"), Some("garbage"), "3", true),
        ] {
            let found: Vec<_> = [(MS, existing), (MEMORY, memory)]
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect();
            let expected: &[(String, String)] = if put {
                &[(MS.to_owned(), new.to_owned())]
            } else {
                &[]
            };
            assert_eq!(
                puts_given(&found, [Some(new), None, None]),
                expected,
                "{existing:?} {memory:?} {new}"
            );
        }
    }
    #[test]
    fn a_registration_is_put_once_for_each_pod() {
        let found = |memory: Option<&str>| Page {
            header: Header {
                cluster_id: CLUSTER,
                revision: 50,
            },
            entries: memory
                .map(|value| entry(MEMORY, value, 5))
                .into_iter()
                .collect(),
            more: false,
        };
        let ours = own().memory_of_registration(CLUSTER).value();
        let delivered = ours.replace("\"revision\":0", "\"revision\":7");
        let in_another_etcd = own().memory_of_registration(CLUSTER + 1).value();
        let other_pod = ours.replace("u-1", "u-2");
        for (memory, resumed) in [
            (None, false),
            (Some(other_pod.as_str()), false),
            (Some("garbage"), false),
            (Some(&ours), true),
            (Some(&delivered), true),
            (Some(&in_another_etcd), true),
        ] {
            let found = found(memory);
            let put = registration(&own(), &found);
            assert_eq!(resumes(&own(), &found), resumed, "{memory:?}");
            assert_eq!(put.map(|put| put.value), (!resumed).then(|| ours.clone()));
            let nameless = Own {
                pod_uid: String::new(),
                ..own()
            };
            assert_eq!(registration(&nameless, &found), None);
            assert!(!resumes(&nameless, &found));
        }
    }
}
