//! A model of etcd: keys with all their revisions, compaction, watches in fragments. As unkind as the real one may be:
//! puts of one transaction come in any order, and so do keys of one revision in a sorted read.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use super::super::intake::ReadFailure;
use super::super::wire::{Entry, Event, Frame, Header, Page};
use super::random::Random;

#[derive(Clone)]
pub struct Etcd {
    pub cluster_id: u64,
    /// What happened at each revision; the first is 1, an empty one.
    log: Vec<Vec<Event>>,
    /// Every key now.
    keys: BTreeMap<Vec<u8>, Entry>,
    compacted: i64,
}

impl Etcd {
    pub fn new(cluster_id: u64) -> Self {
        Self {
            cluster_id,
            log: vec![Vec::new(), Vec::new()],
            keys: BTreeMap::new(),
            compacted: 0,
        }
    }

    pub fn revision(&self) -> i64 {
        self.log.len() as i64 - 1
    }

    pub fn header(&self) -> Header {
        Header {
            cluster_id: self.cluster_id,
            revision: self.revision(),
        }
    }

    /// Puts in one transaction; the answer is its revision.
    pub fn put(&mut self, puts: &[(&str, &str)]) -> i64 {
        let mod_revision = self.revision() + 1;
        let event =
            |(key, value): &(&str, &str)| Event::Put(super::entry(key, value, mod_revision));
        self.happens(puts.iter().map(event).collect());
        mod_revision
    }

    pub fn delete(&mut self, key: &str) {
        let mod_revision = self.revision() + 1;
        let key = key.as_bytes().to_vec();
        self.happens(vec![Event::Delete { key, mod_revision }]);
    }

    fn happens(&mut self, events: Vec<Event>) {
        replay(&mut self.keys, &events);
        self.log.push(events);
    }

    /// Forgets what was before `revision`.
    pub fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
    }

    /// Every key at a revision.
    fn at(&self, revision: i64) -> Cow<'_, BTreeMap<Vec<u8>, Entry>> {
        if revision == self.revision() {
            return Cow::Borrowed(&self.keys);
        }
        let mut keys = BTreeMap::new();
        for events in &self.log[..=revision as usize] {
            replay(&mut keys, events);
        }
        Cow::Owned(keys)
    }

    pub fn value(&self, key: &str) -> Option<String> {
        let entry = self.keys.get(key.as_bytes())?;
        Some(String::from_utf8(entry.value.clone()).unwrap())
    }

    /// These keys, now.
    pub fn read(&self, keys: &[String]) -> Page {
        let found = keys.iter().filter_map(|key| self.keys.get(key.as_bytes()));
        Page {
            header: self.header(),
            entries: found.cloned().collect(),
            more: false,
        }
    }

    /// A prefix, sorted by mod_revision.
    pub fn read_prefix(
        &self,
        prefix: &str,
        at: Option<i64>,
        min_mod_revision: i64,
        limit: usize,
    ) -> Result<Page, ReadFailure> {
        let at = at.unwrap_or(self.revision());
        if at < self.compacted {
            return Err(ReadFailure::Compacted);
        }
        if at > self.revision() {
            return Err(ReadFailure::Other);
        }
        let mut entries: Vec<Entry> = self
            .at(at)
            .values()
            .filter(|e| e.key.starts_with(prefix.as_bytes()) && e.mod_revision >= min_mod_revision)
            .cloned()
            .collect();
        // Of one revision: against the order of the keys.
        entries.reverse();
        entries.sort_by_key(|entry| entry.mod_revision);
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page {
            header: self.header(),
            entries,
            more,
        })
    }

    pub fn watch(&self, prefix: &str, start_revision: i64) -> Stream {
        Stream {
            prefix: prefix.as_bytes().to_vec(),
            next: start_revision,
            created: false,
            fragments: VecDeque::new(),
        }
    }
}

fn replay(keys: &mut BTreeMap<Vec<u8>, Entry>, events: &[Event]) {
    for event in events {
        match event {
            Event::Put(entry) => drop(keys.insert(entry.key.clone(), entry.clone())),
            Event::Delete { key, .. } => drop(keys.remove(key)),
        }
    }
}

/// A watch that is open.
pub struct Stream {
    prefix: Vec<u8>,
    next: i64,
    created: bool,
    fragments: VecDeque<Frame>,
}

impl Stream {
    /// The next frame, if there is one.
    pub fn frame(&mut self, etcd: &Etcd, random: &mut Random) -> Option<Frame> {
        let frame = |events, fragment| Frame {
            header: etcd.header(),
            canceled: false,
            fragment,
            events,
        };
        if let Some(fragment) = self.fragments.pop_front() {
            return Some(fragment);
        }
        if !self.created {
            self.created = true;
            return Some(frame(Vec::new(), false));
        }
        if self.next <= etcd.compacted && self.next <= etcd.revision() {
            return Some(Frame {
                header: Header {
                    revision: 0,
                    ..etcd.header()
                },
                canceled: true,
                ..frame(Vec::new(), false)
            });
        }
        let last = etcd.revision().min(self.next + random.below(8) as i64);
        if last < self.next {
            return random.chance(5).then(|| frame(Vec::new(), false));
        }
        let events: Vec<Event> = etcd.log[self.next as usize..=last as usize]
            .iter()
            .flatten()
            .filter(|event| match event {
                Event::Put(entry) => entry.key.starts_with(&self.prefix),
                Event::Delete { key, .. } => key.starts_with(&self.prefix),
            })
            .cloned()
            .collect();
        self.next = last + 1;
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let size = if random.chance(50) {
                rest.len()
            } else {
                1 + random.below(rest.len())
            };
            let (events, others) = rest.split_at(size);
            rest = others;
            self.fragments
                .push_back(frame(events.to_vec(), !rest.is_empty()));
        }
        self.fragments.pop_front()
    }
}
