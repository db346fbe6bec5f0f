//! What etcd answers, as far as change sets need it: plain values, so that nothing here depends on the client.

/// The header of every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which cluster.
    pub cluster_id: u64,
    /// Its revision at the time; 0 where etcd leaves it out (a watch that it cancels).
    pub revision: i64,
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The revision of its last put.
    pub mod_revision: i64,
}

impl Entry {
    /// The value of `key` among `entries`.
    pub(super) fn find<'a>(entries: &'a [Self], key: &str) -> Option<&'a [u8]> {
        let entry = entries.iter().find(|entry| entry.key == key.as_bytes());
        entry.map(|entry| entry.value.as_slice())
    }
}

/// The answer to one read: some keys at one revision.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    /// The header.
    pub header: Header,
    /// The keys that are there.
    pub entries: Vec<Entry>,
    /// There are more than were asked for (etcd's `more`).
    pub more: bool,
}

/// What happened to a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// It was put.
    Put(Entry),
    /// It was deleted, or its lease has expired.
    Delete {
        /// The key.
        key: Vec<u8>,
        /// The revision of the deletion.
        mod_revision: i64,
    },
}

impl Event {
    /// The revision of which it is a part.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}

/// One message of a watch.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    /// etcd has ended the watch; that a revision is compacted is one reason of several.
    pub canceled: bool,
    /// More events of the same revision may follow in the next frame.
    pub fragment: bool,
    /// In the order of their revisions.
    pub events: Vec<Event>,
}
