//! Who is interested in a subject.
//!
//! Subscriptions without a wildcard are found by hash; those with one are looked through one by one (a pod has few), and
//! the answer for a subject is kept until a subscription comes or goes.

use std::collections::HashMap;
use std::rc::Rc;

use super::monitor::SublistStats;
use super::subject;

/// Subjects whose answer is kept. nats-server: 1024.
const CACHED_SUBJECTS: usize = 1024;
/// Subscriptions in all kept answers together: one message may match thousands.
const CACHED_IDS: usize = 1 << 16;
/// Bytes of a subject whose answer is kept; longer ones are rare.
const CACHED_SUBJECT_BYTES: usize = 256;

/// Number of a subscription in the broker's table.
pub type SubId = usize;

/// The subscriptions that match one subject.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Each gets its copy.
    pub plain: Vec<SubId>,
    /// One member of each group gets a copy.
    pub queues: Vec<Vec<SubId>>,
}

impl Matches {
    /// Nobody is interested.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.queues.is_empty()
    }
}

#[derive(Debug)]
struct Entry {
    id: SubId,
    queue: Option<Rc<[u8]>>,
}

/// The index of all subscriptions.
#[derive(Debug, Default)]
pub struct Sublist {
    literals: HashMap<Rc<[u8]>, Vec<Entry>>,
    wildcards: Vec<(Rc<[u8]>, Entry)>,
    cache: HashMap<Rc<[u8]>, Rc<Matches>>,
    /// The last answer: a stream asks the same again and again.
    last: Option<(Rc<[u8]>, Rc<Matches>)>,
    cached_ids: usize,
    inserts: u64,
    removes: u64,
    asked: u64,
    hits: u64,
}

impl Sublist {
    /// Adds a subscription to a valid `pattern`.
    pub fn insert(&mut self, pattern: &Rc<[u8]>, queue: Option<Rc<[u8]>>, id: SubId) {
        self.forget_answers();
        self.inserts += 1;
        let entry = Entry { id, queue };
        if subject::is_literal(pattern) {
            self.literals
                .entry(pattern.clone())
                .or_default()
                .push(entry);
        } else {
            self.wildcards.push((pattern.clone(), entry));
        }
    }

    /// Removes subscription `id` to `pattern`.
    pub fn remove(&mut self, pattern: &[u8], id: SubId) {
        self.forget_answers();
        self.removes += 1;
        if let Some(entries) = self.literals.get_mut(pattern) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                self.literals.remove(pattern);
            }
        }
        if let Some(at) = self.wildcards.iter().position(|(_, entry)| entry.id == id) {
            self.wildcards.swap_remove(at);
        }
    }

    /// The subscriptions to `subject`, which must be literal to match a wildcard's place.
    pub fn matches(&mut self, subject: &[u8]) -> Rc<Matches> {
        self.asked += 1;
        if let Some((last, found)) = &self.last
            && **last == *subject
        {
            self.hits += 1;
            return Rc::clone(found);
        }
        if let Some((subject, found)) = self.cache.get_key_value(subject) {
            self.hits += 1;
            self.last = Some((Rc::clone(subject), Rc::clone(found)));
            return Rc::clone(found);
        }
        let found = Rc::new(self.find(subject));
        let ids = found.plain.len() + found.queues.iter().map(Vec::len).sum::<usize>();
        if self.cache.len() >= CACHED_SUBJECTS || self.cached_ids + ids > CACHED_IDS {
            self.forget_answers();
        }
        if subject.len() <= CACHED_SUBJECT_BYTES && ids <= CACHED_IDS {
            self.cached_ids += ids;
            self.cache.insert(subject.into(), found.clone());
        }
        found
    }

    /// What was counted since the beginning, and what is kept.
    pub fn stats(&self) -> SublistStats {
        let fanouts = self
            .cache
            .values()
            .map(|found| found.plain.len() + found.queues.len());
        let rate = |part: usize, all: u64| {
            if all == 0 {
                0.0
            } else {
                part as f64 / all as f64
            }
        };
        SublistStats {
            num_subscriptions: usize::try_from(self.inserts - self.removes).unwrap_or(usize::MAX),
            num_cache: self.cache.len(),
            num_inserts: self.inserts,
            num_removes: self.removes,
            num_matches: self.asked,
            cache_hit_rate: rate(self.hits as usize, self.asked),
            max_fanout: fanouts.clone().max().unwrap_or(0),
            avg_fanout: rate(fanouts.sum(), self.cache.len() as u64),
        }
    }

    fn forget_answers(&mut self) {
        self.last = None;
        self.cache.clear();
        self.cached_ids = 0;
    }

    fn find(&self, subject: &[u8]) -> Matches {
        let mut found = Matches::default();
        // As in nats-server, a subject with an empty token is nobody's, not even that of `>`.
        if subject.split(|&b| b == b'.').any(<[u8]>::is_empty) {
            return found;
        }
        let mut groups: HashMap<&[u8], usize> = HashMap::new();
        let literals = self.literals.get(subject).into_iter().flatten();
        let wildcards = self
            .wildcards
            .iter()
            .filter(|(pattern, _)| subject::matches(pattern, subject))
            .map(|(_, entry)| entry);
        for entry in literals.chain(wildcards) {
            match &entry.queue {
                None => found.plain.push(entry.id),
                Some(queue) => {
                    let at = *groups.entry(queue).or_insert(found.queues.len());
                    match found.queues.get_mut(at) {
                        Some(group) => group.push(entry.id),
                        None => found.queues.push(vec![entry.id]),
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(mut ids: Vec<SubId>) -> Vec<SubId> {
        ids.sort_unstable();
        ids
    }

    #[test]
    fn queue_groups_are_apart() {
        let mut list = Sublist::default();
        for (id, (pattern, queue)) in [
            ("a.b", None),
            ("a.*", Some("q")),
            ("a.b", Some("q")),
            (">", Some("r")),
            ("c", None),
        ]
        .into_iter()
        .enumerate()
        {
            list.insert(
                &Rc::from(pattern.as_bytes()),
                queue.map(|q| Rc::from(q.as_bytes())),
                id,
            );
        }
        let found = list.matches(b"a.b");
        assert_eq!(found.plain, [0]);
        assert_eq!(
            found.queues.iter().cloned().map(sorted).collect::<Vec<_>>(),
            [vec![1, 2], vec![3]]
        );
        list.remove(b"a.*", 1);
        assert_eq!(list.matches(b"a.b").queues, [vec![2], vec![3]]);
        assert!(Sublist::default().matches(b"a").is_empty());
    }

    #[test]
    fn a_subject_with_an_empty_token_is_nobodys() {
        let mut list = Sublist::default();
        for (id, pattern) in [">", "a.>", "*.*", "a"].into_iter().enumerate() {
            list.insert(&Rc::from(pattern.as_bytes()), None, id);
        }
        for subject in ["", "a.", ".a", "a..b", "."] {
            assert!(list.matches(subject.as_bytes()).is_empty(), "{subject:?}");
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_look_at_each_subscription_finds(
            script in prop::collection::vec((any::<bool>(), "[ab*]\\.[ab*]|[ab]|>|a\\.>", "[ab]\\.[ab]|[ab]"), 1..60),
        ) {
            let mut list = Sublist::default();
            let mut model: Vec<(SubId, Rc<[u8]>)> = Vec::new();
            for (id, (add, pattern, asked)) in script.into_iter().enumerate() {
                if add || model.is_empty() {
                    let pattern: Rc<[u8]> = Rc::from(pattern.as_bytes());
                    list.insert(&pattern, None, id);
                    model.push((id, pattern));
                } else {
                    let (id, pattern) = model.swap_remove(id % model.len());
                    list.remove(&pattern, id);
                }
                let expected = model.iter().filter(|(_, p)| subject::matches(p, asked.as_bytes())).map(|(id, _)| *id).collect();
                prop_assert_eq!(sorted(list.matches(asked.as_bytes()).plain.clone()), sorted(expected));
            }
        }
    }
}
