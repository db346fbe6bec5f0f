//! The key of a change set (CONTRACT section 4): `change-set/<ns>/<ms>/<ver>/<level>/<data key>/<revision>`.

use std::borrow::Cow;
use std::fmt;

use crate::limits::{CHANGE_SET_KEY_BYTES, SHOWN_KEY_BYTES};
use crate::settings::problem;

/// The data key of CIM's own configuration.
const SELF_DATA_KEY: &str = "cim.json";

/// Whose configuration a change set is of: the microservice's or the network function's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `ms`.
    Ms,
    /// `nf`.
    Nf,
}

impl Level {
    /// As keys write it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Nf => "nf",
        }
    }
}

/// Why a key is no change set's. Whoever reports it adds the key, by [`shown_key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Longer than [`CHANGE_SET_KEY_BYTES`].
    #[error("a change set's key has at most {CHANGE_SET_KEY_BYTES} bytes, this one {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("a change set's key is UTF-8")]
    NotUtf8,
    /// Not seven parts.
    #[error("a change set's key has 7 parts, this one {0}")]
    Parts(usize),
    /// A part without a character.
    #[error("no part of a change set's key is empty")]
    EmptyPart,
    /// The first part is another.
    #[error("a change set's key begins with change-set/")]
    Prefix,
    /// The level is another.
    #[error("the level of a change set is ms or nf")]
    Level,
    /// The last part is no decimal number of at most 64 bits.
    #[error("the revision of a change set is a decimal number below 2^64")]
    Revision,
}

/// The key of a change set, as it is written in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSetKey {
    /// Seven parts, none empty.
    text: String,
    level: Level,
    number: u64,
}

impl ChangeSetKey {
    /// Reads a key.
    ///
    /// # Errors
    /// The key breaks a rule of CONTRACT section 4.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.len() > CHANGE_SET_KEY_BYTES {
            return Err(KeyError::TooLong(text.len()));
        }
        let parts: Vec<&str> = text.split('/').collect();
        let [
            first,
            namespace,
            microservice,
            version,
            level,
            data_key,
            revision,
        ] = parts[..]
        else {
            return Err(KeyError::Parts(parts.len()));
        };
        if [namespace, microservice, version, data_key].contains(&"") {
            return Err(KeyError::EmptyPart);
        }
        if first != "change-set" {
            return Err(KeyError::Prefix);
        }
        let level = match level {
            "ms" => Level::Ms,
            "nf" => Level::Nf,
            _ => return Err(KeyError::Level),
        };
        Ok(Self {
            number: revision_number(revision).ok_or(KeyError::Revision)?,
            level,
            text: text.to_owned(),
        })
    }

    /// Reads a key as etcd has it, bytes.
    ///
    /// # Errors
    /// As [`Self::parse`], and when the bytes are not UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > CHANGE_SET_KEY_BYTES {
            return Err(KeyError::TooLong(bytes.len()));
        }
        Self::parse(std::str::from_utf8(bytes).map_err(|_| KeyError::NotUtf8)?)
    }

    fn part(&self, index: usize) -> &str {
        self.text.split('/').nth(index).unwrap_or_default()
    }

    /// The whole key.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The namespace that it is for.
    pub fn namespace(&self) -> &str {
        self.part(1)
    }

    /// The microservice that it is for.
    pub fn microservice(&self) -> &str {
        self.part(2)
    }

    /// The version of the microservice that it is for.
    pub fn version(&self) -> &str {
        self.part(3)
    }

    /// Microservice or network function.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The name of the configuration that it changes.
    pub fn data_key(&self) -> &str {
        self.part(5)
    }

    /// Its revision, as the key writes it: leading zeros stay.
    pub fn revision(&self) -> &str {
        self.part(6)
    }

    /// Its revision as a number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// It changes CIM's own configuration (kind SELF).
    pub fn is_self(&self) -> bool {
        self.data_key() == SELF_DATA_KEY
    }

    /// Where its outcome on `pod` is put. `self_with_config_map`: CIM's own configuration has a ConfigMap.
    pub fn commit_key(&self, pod: &str, self_with_config_map: bool) -> String {
        commit_key(
            [self.namespace(), self.microservice(), self.version()],
            self.level,
            self.is_self() && self_with_config_map,
            pod,
        )
    }
}

/// `commit-config/<ns>/<ms>/<ver>/<level>/<pod>`, with `cim/` before the pod when `cim`.
pub(super) fn commit_key(whose: [&str; 3], level: Level, cim: bool, pod: &str) -> String {
    let [namespace, microservice, version] = whose;
    let level = level.label();
    let cim = if cim { "cim/" } else { "" };
    format!("commit-config/{namespace}/{microservice}/{version}/{level}/{cim}{pod}")
}

/// A revision as a number: decimal digits alone, at most 64 bits.
pub(super) fn revision_number(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A key as a log line or an error may show it: control characters escaped, at most [`SHOWN_KEY_BYTES`] of it.
pub fn shown_key(key: &[u8]) -> String {
    let head = key.get(..SHOWN_KEY_BYTES).unwrap_or(key);
    let escaped = problem::escaped(&String::from_utf8_lossy(head));
    let shown = problem::cut(&escaped, SHOWN_KEY_BYTES);
    let dots = if head.len() < key.len() || shown.len() < escaped.len() {
        "…"
    } else {
        ""
    };
    format!("{shown}{dots}")
}

/// A change set's place in the one order of all change sets: etcd's. Keys of one transaction share a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// etcd's revision of the put (mod_revision).
    pub revision: i64,
    /// The whole key.
    pub key: String,
}

/// A change set, as it was put.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeSet {
    /// Its key.
    pub key: ChangeSetKey,
    /// The patch. It goes to the application as it is, but as text: see [`Self::patch`].
    pub value: Vec<u8>,
    /// Its place in the order.
    pub position: Position,
    /// The cluster whose revision the position has.
    pub cluster_id: u64,
}

impl ChangeSet {
    /// The patch as text. etcd's values are bytes and JSON cannot carry those: what is not UTF-8 becomes U+FFFD.
    pub fn patch(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

/// Never the patch: it may hold what no log line may show.
impl fmt::Debug for ChangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeSet")
            .field("position", &self.position)
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("cluster_id", &self.cluster_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_and_kept_as_written() {
        let key = ChangeSetKey::parse("change-set/ns1/ms1/v1/nf/app.json/0104").unwrap();
        assert_eq!(key.text(), "change-set/ns1/ms1/v1/nf/app.json/0104");
        assert_eq!(key.namespace(), "ns1");
        assert_eq!(key.microservice(), "ms1");
        assert_eq!(key.version(), "v1");
        assert_eq!(key.level(), Level::Nf);
        assert_eq!(key.data_key(), "app.json");
        assert_eq!(key.revision(), "0104");
        assert_eq!(key.number(), 104);
        assert!(!key.is_self());
        let key = ChangeSetKey::parse("change-set/n/m/v/ms/é \u{1}/18446744073709551615").unwrap();
        assert_eq!(
            (key.data_key(), key.number(), key.level()),
            ("é \u{1}", u64::MAX, Level::Ms)
        );
    }

    #[test]
    fn keys_that_are_no_change_sets_are_told_why() {
        let long = format!("change-set/n/m/v/ms/{}/1", "d".repeat(CHANGE_SET_KEY_BYTES));
        for (text, error) in [
            ("", KeyError::Parts(1)),
            ("change-set/ns1/ms1/v1/ms/app.json", KeyError::Parts(6)),
            ("change-set/ns1/ms1/v1/ms/a/b/1", KeyError::Parts(8)),
            ("change-set/ns1/ms1/v1/ms/app.json/1/", KeyError::Parts(8)),
            ("//////", KeyError::EmptyPart),
            ("change-set//ms1/v1/ms/app.json/1", KeyError::EmptyPart),
            ("change-set/ns1/ms1//ms/app.json/1", KeyError::EmptyPart),
            ("change-set/ns1/ms1/v1/ms//1", KeyError::EmptyPart),
            ("change-sets/ns1/ms1/v1/ms/app.json/1", KeyError::Prefix),
            ("change-set/ns1/ms1/v1/MS/app.json/1", KeyError::Level),
            ("change-set/ns1/ms1/v1//app.json/1", KeyError::Level),
            ("change-set/ns1/ms1/v1/ms/app.json/", KeyError::Revision),
            ("change-set/ns1/ms1/v1/ms/app.json/+1", KeyError::Revision),
            ("change-set/ns1/ms1/v1/ms/app.json/-1", KeyError::Revision),
            ("change-set/ns1/ms1/v1/ms/app.json/1.0", KeyError::Revision),
            ("change-set/ns1/ms1/v1/ms/app.json/ 1", KeyError::Revision),
            ("change-set/ns1/ms1/v1/ms/app.json/١", KeyError::Revision),
            (
                "change-set/ns1/ms1/v1/ms/app.json/18446744073709551616",
                KeyError::Revision,
            ),
            (&long, KeyError::TooLong(long.len())),
        ] {
            assert_eq!(ChangeSetKey::parse(text), Err(error), "{text}");
            assert_eq!(ChangeSetKey::parse_bytes(text.as_bytes()), Err(error));
        }
        assert_eq!(
            ChangeSetKey::parse_bytes(b"change-set/ns1/ms1/v1/ms/\xff/1"),
            Err(KeyError::NotUtf8)
        );
    }

    #[test]
    fn commit_keys_are_those_of_the_contract() {
        for (key, with_config_map, expected) in [
            ("ms/app.json/101", true, "commit-config/ns1/ms1/v1/ms/cnf-0"),
            (
                "nf/app.json/104",
                false,
                "commit-config/ns1/ms1/v1/nf/cnf-0",
            ),
            (
                "ms/cim.json/107",
                false,
                "commit-config/ns1/ms1/v1/ms/cnf-0",
            ),
            (
                "ms/cim.json/202",
                true,
                "commit-config/ns1/ms1/v1/ms/cim/cnf-0",
            ),
            (
                "nf/cim.json/202",
                true,
                "commit-config/ns1/ms1/v1/nf/cim/cnf-0",
            ),
        ] {
            let key = ChangeSetKey::parse(&format!("change-set/ns1/ms1/v1/{key}")).unwrap();
            assert_eq!(key.commit_key("cnf-0", with_config_map), expected);
        }
    }

    #[test]
    fn shown_keys_are_short_and_on_one_line() {
        assert_eq!(shown_key(b"change-set/a\n\xff"), "change-set/a\\n\u{fffd}");
        for key in [vec![b'x'; 1000], vec![0; 200], "é".repeat(300).into()] {
            let shown = shown_key(&key);
            assert!(shown.len() <= SHOWN_KEY_BYTES + "…".len());
            assert!(shown.ends_with('…') && !shown.contains(char::is_control));
        }
    }

    #[test]
    fn the_order_is_revision_first_and_then_the_bytes_of_the_key() {
        let at = |revision, key: &str| Position {
            revision,
            key: key.to_owned(),
        };
        assert!(at(1, "z") < at(2, "a"));
        assert!(at(2, "a/10") < at(2, "a/9") && at(2, "B") < at(2, "a"));
    }

    #[test]
    fn a_patch_is_never_shown() {
        let key = ChangeSetKey::parse("change-set/ns1/ms1/v1/ms/app.json/1").unwrap();
        let change_set = ChangeSet {
            position: Position {
                revision: 5,
                key: key.text().to_owned(),
            },
            key,
            value: b"secret\xff".to_vec(),
            cluster_id: 1,
        };
        assert!(!format!("{change_set:?}").contains("secret"));
        assert_eq!(change_set.patch(), "secret\u{fffd}");
    }
}
