//! Whether a record of topic FMAASEVENTS is wanted: decided on its headers alone, without memory of its own.
//!
//! Each subscription is a bit. A value that some subscriptions give for a field leads to the set of them, so that a record costs one
//! look-up for each of its headers, however many subscriptions there are.

use std::collections::HashMap;

use super::Filter;
use crate::limits::SUBSCRIPTIONS;

/// Headers that decide, in the order of [`Filter::fields`].
const HEADERS: [&str; 4] = [
    "localEventName",
    "nfNamingCode",
    "nfcNamingCode",
    "localNfID",
];
/// Header of a record that was sent before.
const REPLAY: &str = "replay";

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// At least one subscription wants it.
    Deliver,
    /// None does.
    NoMatch,
    /// `replay=true`: nobody gets it.
    Replay,
}

const WORDS: usize = SUBSCRIPTIONS.div_ceil(64);

/// A set of subscriptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set([u64; WORDS]);

impl Set {
    fn insert(&mut self, subscription: usize) {
        if let Some(word) = self.0.get_mut(subscription / 64) {
            *word |= 1 << (subscription % 64);
        }
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }

    fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= b);
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// One field.
#[derive(Debug, Default)]
struct Field {
    /// The subscriptions that a value satisfies.
    by_value: HashMap<Box<[u8]>, Set>,
    /// Those that do not give the field.
    indifferent: Set,
}

/// The subscriptions in force, for records to be compared with.
#[derive(Debug, Default)]
pub struct Matcher {
    fields: [Field; 4],
}

impl Matcher {
    /// Of at most [`SUBSCRIPTIONS`] filters.
    pub(super) fn new<'a>(filters: impl Iterator<Item = &'a Filter>) -> Self {
        let mut matcher = Self::default();
        for (subscription, filter) in filters.take(SUBSCRIPTIONS).enumerate() {
            for (field, values) in matcher.fields.iter_mut().zip(filter.fields()) {
                if values.is_empty() {
                    field.indifferent.insert(subscription);
                }
                for value in values {
                    let satisfied = field.by_value.entry(value.as_bytes().into()).or_default();
                    satisfied.insert(subscription);
                }
            }
        }
        matcher
    }

    /// What becomes of a record with these headers. OR within a field, AND across the fields that a subscription gives; values are
    /// compared byte by byte. A header that is missing or null is no value; one that comes several times has several values.
    pub fn decide<'a>(
        &self,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Decision {
        let mut satisfied = self.fields.each_ref().map(|field| field.indifferent);
        let mut is_replay = false;
        for (name, value) in headers {
            let Some(value) = value else { continue };
            is_replay |= name == REPLAY && value == b"true";
            let fields = HEADERS.iter().zip(&self.fields).zip(&mut satisfied);
            for ((header, field), satisfied) in fields {
                if *header == name
                    && let Some(more) = field.by_value.get(value)
                {
                    satisfied.add(more);
                }
            }
        }
        let [mut wanted, rest @ ..] = satisfied;
        rest.iter().for_each(|field| wanted.keep(field));
        match (is_replay, wanted.is_empty()) {
            (true, _) => Decision::Replay,
            (false, true) => Decision::NoMatch,
            (false, false) => Decision::Deliver,
        }
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
