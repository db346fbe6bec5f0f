//! The keys of the stand-in for etcd: every change with its revision, so that any state that was can be read again.

use std::collections::BTreeMap;

/// A key was put, or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Changes of one transaction share a revision.
    pub revision: i64,
    pub key: String,
    /// `None`: deleted.
    pub value: Option<String>,
}

impl Change {
    /// What the keys are after it.
    pub fn happen_to<'a>(&'a self, keys: &mut BTreeMap<&'a str, Entry>) {
        let Some(value) = &self.value else {
            keys.remove(self.key.as_str());
            return;
        };
        let before = keys.get(self.key.as_str());
        let entry = Entry {
            value: value.clone(),
            mod_revision: self.revision,
            create_revision: before.map_or(self.revision, |entry| entry.create_revision),
            version: before.map_or(1, |entry| entry.version + 1),
        };
        keys.insert(&self.key, entry);
    }
}

/// A key at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    pub mod_revision: i64,
    pub create_revision: i64,
    pub version: i64,
}

/// Every change since the first revision, which is 2 as in etcd: an empty store is at 1.
#[derive(Debug)]
pub struct Store {
    pub revision: i64,
    /// States before this one cannot be read, nor watched from.
    pub compacted: i64,
    pub changes: Vec<Change>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            changes: Vec::new(),
        }
    }
}

impl Store {
    /// The keys at a revision.
    pub fn at(&self, revision: i64) -> BTreeMap<&str, Entry> {
        let mut keys: BTreeMap<&str, Entry> = BTreeMap::new();
        for change in &self.changes {
            if change.revision > revision {
                break;
            }
            change.happen_to(&mut keys);
        }
        keys
    }

    pub fn get(&self, key: &str) -> Option<Entry> {
        self.at(self.revision).remove(key)
    }

    /// Changes keys at one new revision: the value, or `None` to delete. Deletions of keys that are not there do nothing.
    pub fn apply(&mut self, changes: Vec<(String, Option<String>)>) -> i64 {
        let now = self.at(self.revision);
        let changes: Vec<_> = changes
            .into_iter()
            .filter(|(key, value)| value.is_some() || now.contains_key(key.as_str()))
            .collect();
        if !changes.is_empty() {
            self.revision += 1;
        }
        let revision = self.revision;
        self.changes
            .extend(changes.into_iter().map(|(key, value)| Change {
                revision,
                key,
                value,
            }));
        revision
    }
}
