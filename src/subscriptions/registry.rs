//! The subscriptions, their bounds and their era. No file, no clock, no randomness.

use super::{ChangeError, Filter, Position};
use crate::limits::{SUBSCRIPTIONS, SUBSCRIPTIONS_BYTES};

/// Ids are six digits, the first one not 0, as the original's.
const FIRST_ID: u64 = 100_000;
/// Ids that there are.
const IDS: u64 = 900_000;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// See [`is_id`].
    pub id: String,
    /// What it wants.
    pub filter: Filter,
}

/// What [`Registry::add`] has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The new id.
    pub id: String,
    /// It is the only subscription.
    pub begins_era: bool,
    /// The id of an older subscription that wanted the same and is gone.
    pub replaced: Option<String>,
}

/// All subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// The number of this era, or of the last one; 0: there was none.
    pub(super) last_era: u64,
    /// Of this era; at its beginning in between.
    pub(super) position: Position,
    /// Oldest first.
    pub(super) subscriptions: Vec<Subscription>,
}

/// Six digits, the first one not 0.
pub(super) fn is_id(text: &str) -> bool {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.len() == 6 && digits && !text.starts_with('0')
}

impl Registry {
    /// The number of this era.
    pub fn era(&self) -> Option<u64> {
        (!self.subscriptions.is_empty()).then_some(self.last_era)
    }

    /// The one with this id.
    pub fn get(&self, id: &str) -> Option<&Filter> {
        let found = self.subscriptions.iter().find(|s| s.id == id)?;
        Some(&found.filter)
    }

    /// Adds a subscription, with an id chosen by `random`. At the bound the oldest one that wants the same gives way: an application
    /// that subscribes anew each time it starts can go on doing so.
    ///
    /// # Errors
    /// [`ChangeError::Full`]. What is left then is not to be used.
    pub fn add(&mut self, filter: Filter, random: u64) -> Result<Added, ChangeError> {
        let mut replaced = None;
        if !self.has_room(filter.bytes(), 1) {
            let mut all = self.subscriptions.iter();
            let same = all.position(|s| s.filter.is_same(&filter));
            replaced = Some(self.subscriptions.remove(same.ok_or(ChangeError::Full)?).id);
            if !self.has_room(filter.bytes(), 1) {
                return Err(ChangeError::Full);
            }
        }
        let begins_era = self.subscriptions.is_empty() && replaced.is_none();
        if begins_era {
            self.last_era += 1;
            self.position = Position::default();
        }
        let id = self.free_id(random).ok_or(ChangeError::Full)?;
        self.subscriptions.push(Subscription {
            id: id.clone(),
            filter,
        });
        Ok(Added {
            id,
            begins_era,
            replaced,
        })
    }

    /// Replaces what a subscription wants.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::Full`].
    pub fn replace(&mut self, id: &str, filter: Filter) -> Result<(), ChangeError> {
        let old = self.get(id).ok_or(ChangeError::Unknown)?.bytes();
        if filter.bytes() > old && !self.has_room(filter.bytes() - old, 0) {
            return Err(ChangeError::Full);
        }
        let found = self.subscriptions.iter_mut().find(|s| s.id == id);
        found.ok_or(ChangeError::Unknown)?.filter = filter;
        Ok(())
    }

    /// Removes a subscription; with the last one the era ends.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`].
    pub fn remove(&mut self, id: &str) -> Result<(), ChangeError> {
        let mut all = self.subscriptions.iter();
        let at = all.position(|s| s.id == id).ok_or(ChangeError::Unknown)?;
        self.subscriptions.remove(at);
        if self.subscriptions.is_empty() {
            self.position = Position::default();
        }
        Ok(())
    }

    fn has_room(&self, bytes: usize, subscriptions: usize) -> bool {
        let taken: usize = self.subscriptions.iter().map(|s| s.filter.bytes()).sum();
        taken + bytes <= SUBSCRIPTIONS_BYTES
            && self.subscriptions.len() + subscriptions <= SUBSCRIPTIONS
    }

    /// An id that nobody has: at or behind the one that `random` leads to.
    fn free_id(&self, random: u64) -> Option<String> {
        let first = random % IDS;
        // One more than can be taken.
        (first..=first + SUBSCRIPTIONS as u64)
            .map(|id| (FIRST_ID + id % IDS).to_string())
            .find(|id| self.get(id).is_none())
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
