//! From etcd to an ordered list of change sets: what to read or watch next, and which change sets come out of it.
//!
//! A change set is handed on once everything of its revision is known, so what is handed on never stops in the middle of a
//! transaction, and its keys come in order. After any break the watch goes on behind the last complete revision. Where that
//! is gone (compaction), where the watch is cancelled, or where etcd does not look like the one that was seen before, the
//! prefix is read, at one revision. Only what such a read says decides that etcd was replaced: a member that lags may answer a
//! watch with an old revision, never a read.
//!
//! A position counts revisions of one etcd. Without one (at the start without a memory, or in front of a replaced etcd) the
//! prefix is measured by the numbers in the keys. What a watch brings is new whatever its number.

use super::floors::{Floors, StartedWith};
use super::key::{ChangeSet, ChangeSetKey, KeyError, Position, shown_key};
use super::memory::{Memory, Own};
use super::wire::{Entry, Event, Frame, Header, Page};
use crate::limits::PREFIX_PAGE;

/// What to do next. The same step is given until its result is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read [`Own::keys`] in one transaction, and give the answer to [`Intake::on_own`].
    ReadOwn,
    /// Read [`Own::prefix`], values included, linearizable, sorted by mod_revision upwards, and give the answer to
    /// [`Intake::on_page`].
    ReadPrefix {
        /// At this revision; `None`: the present one.
        at: Option<i64>,
        /// Only keys with this mod_revision or a higher one.
        min_mod_revision: i64,
        /// Keys at most.
        limit: usize,
    },
    /// Watch [`Own::prefix`] from this revision on, with fragments, and give each frame to [`Intake::on_frame`].
    Watch {
        /// The first revision of interest.
        start_revision: i64,
    },
}

/// Why a read has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFailure {
    /// The revision to read at is compacted.
    Compacted,
    /// The answer is larger than the client takes.
    TooLarge,
    /// Anything else.
    Other,
}

/// A key below the prefix that was skipped and should be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It is no change set's.
    Malformed {
        /// The key, as a log line may show it.
        key: String,
        /// Why.
        error: KeyError,
    },
}

/// What came out of one answer or frame.
#[derive(Debug, Default)]
pub struct Output {
    /// To be handed on, in this order.
    pub change_sets: Vec<ChangeSet>,
    /// To be counted.
    pub skipped: Vec<Skipped>,
    /// This etcd is not the one that was seen before: replaced, or back at an older backup.
    pub replaced: bool,
}

/// How far everything is handed on or skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    revision: i64,
    /// Within the revision up to this key; `None`: all of it. Only a memory ends within a revision.
    key: Option<String>,
}

impl Cursor {
    fn after(revision: i64) -> Self {
        Self {
            revision,
            key: None,
        }
    }

    /// The first revision that may hold something new.
    fn next_revision(&self) -> i64 {
        self.revision + i64::from(self.key.is_none())
    }

    fn is_before(&self, revision: i64, key: &str) -> bool {
        revision > self.revision
            || revision == self.revision && self.key.as_deref().is_some_and(|done| key > done)
    }

    /// Everything up to and with `revision` is done.
    fn pass(&mut self, revision: i64) {
        if revision > self.revision || revision == self.revision && self.key.is_some() {
            *self = Self::after(revision);
        }
    }
}

#[derive(Debug)]
enum Phase {
    ReadOwn,
    ReadPrefix {
        at: Option<i64>,
        limit: usize,
        /// Where the cursor does not say what is done: the numbers that do, as they were when the read began.
        floors: Option<Floors>,
    },
    Watch,
}

/// The intake of one microservice's change sets.
#[derive(Debug)]
pub struct Intake {
    own: Own,
    prefix: String,
    started: StartedWith,
    phase: Phase,
    cursor: Cursor,
    floors: Floors,
    cluster_id: u64,
    /// The highest revision that etcd has shown.
    seen: i64,
    /// Change sets of the one revision of which more may come.
    carry: Vec<ChangeSet>,
}

impl Intake {
    /// Begins with a read of what this pod has in etcd.
    pub fn new(own: Own, started: StartedWith) -> Self {
        Self {
            prefix: own.prefix(),
            own,
            started,
            phase: Phase::ReadOwn,
            cursor: Cursor::after(0),
            floors: Floors::default(),
            cluster_id: 0,
            seen: 0,
            carry: Vec::new(),
        }
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        match self.phase {
            Phase::ReadOwn => Step::ReadOwn,
            Phase::ReadPrefix { at, limit, .. } => Step::ReadPrefix {
                at,
                min_mod_revision: self.cursor.next_revision(),
                limit,
            },
            Phase::Watch => Step::Watch {
                start_revision: self.cursor.next_revision(),
            },
        }
    }

    /// The highest revision that etcd has shown.
    pub fn revision(&self) -> i64 {
        self.seen
    }

    /// The answer to [`Step::ReadOwn`].
    pub fn on_own(&mut self, page: &Page) {
        if !matches!(self.phase, Phase::ReadOwn) {
            return;
        }
        let Header {
            cluster_id,
            revision,
        } = page.header;
        let memory = Entry::find(&page.entries, &self.own.memory_key()).and_then(Memory::parse);
        self.floors = Floors::known(&self.own, &page.entries, &self.started, memory.as_ref());
        self.cluster_id = cluster_id;
        self.seen = revision;
        let position = memory.filter(|memory| memory.holds(&self.own, cluster_id, revision));
        let floors = position.is_none().then(|| self.floors.clone());
        if let Some(Memory { position, .. }) = position {
            self.cursor = Cursor {
                revision: position.revision,
                key: Some(position.key),
            };
        }
        self.read_prefix(Some(revision), floors);
    }

    /// The answer to [`Step::ReadPrefix`].
    pub fn on_page(&mut self, page: Page) -> Output {
        let mut output = Output::default();
        let (at, limit, floors) = match &mut self.phase {
            Phase::ReadPrefix { at, limit, floors } => (*at, *limit, floors.take()),
            Phase::ReadOwn | Phase::Watch => return output,
        };
        if self.is_another(page.header) {
            // Nothing in the page can be judged by a position of another etcd.
            output.replaced = true;
            self.cluster_id = page.header.cluster_id;
            self.seen = page.header.revision;
            self.cursor = Cursor::after(0);
            self.read_prefix(None, Some(self.floors.clone()));
            return output;
        }
        self.seen = self.seen.max(page.header.revision);
        let at = at.unwrap_or(page.header.revision);
        let last = page.entries.iter().map(|entry| entry.mod_revision).max();
        // The last revision of a page that is not the last one may be cut: the next page begins with it.
        let complete = match last {
            Some(last) if page.more => last - 1,
            _ => at,
        };
        let mut found = Vec::new();
        for entry in page.entries {
            if entry.mod_revision <= complete {
                self.sort_out(entry, floors.as_ref(), &mut found, &mut output);
            }
        }
        self.hand_on(found, &mut output);
        let moved = complete >= self.cursor.next_revision();
        self.cursor.pass(complete);
        self.phase = if !page.more || last.is_none() {
            Phase::Watch
        } else {
            // A page that one transaction fills must grow to get past it; what bounds it is the client's bound on an answer.
            let limit = if moved {
                limit
            } else {
                limit.saturating_mul(2)
            };
            Phase::ReadPrefix {
                at: Some(at),
                limit,
                floors,
            }
        };
        output
    }

    /// A read was not answered, or not well. [`Self::step`] says what to try next, after a pause.
    pub fn on_read_failed(&mut self, failure: ReadFailure) {
        if let Phase::ReadPrefix { at, limit, .. } = &mut self.phase {
            match failure {
                ReadFailure::Compacted => *at = None,
                ReadFailure::TooLarge => *limit = (*limit / 2).max(1),
                ReadFailure::Other => {}
            }
        }
    }

    /// A frame of the watch. When [`Self::step`] is no [`Step::Watch`] afterwards, the watch is to be given up.
    pub fn on_frame(&mut self, frame: Frame) -> Output {
        let mut output = Output::default();
        if !matches!(self.phase, Phase::Watch) {
            return output;
        }
        let doubtful = frame.header.revision > 0 && self.is_another(frame.header);
        if frame.canceled || doubtful {
            self.carry.clear();
            self.read_prefix(None, None);
            return output;
        }
        self.seen = self.seen.max(frame.header.revision);
        let Some(last) = frame.events.iter().map(Event::revision).max() else {
            // Created, or progress. Progress moves no cursor: versions of etcd send it ahead of events.
            return output;
        };
        self.seen = self.seen.max(last);
        let complete = if frame.fragment { last - 1 } else { last };
        let mut found = std::mem::take(&mut self.carry);
        for event in frame.events {
            if let Event::Put(entry) = event {
                self.sort_out(entry, None, &mut found, &mut output);
            }
        }
        let (found, carry) = found
            .into_iter()
            .partition(|change_set| change_set.position.revision <= complete);
        self.carry = carry;
        self.hand_on(found, &mut output);
        self.cursor.pass(complete);
        output
    }

    /// The watch has ended, whyever: [`Self::step`] says from where to go on, after a pause.
    pub fn on_break(&mut self) {
        // etcd sends it again, with the rest of its revision.
        self.carry.clear();
    }

    fn is_another(&self, header: Header) -> bool {
        header.cluster_id != self.cluster_id || header.revision < self.seen
    }

    fn read_prefix(&mut self, at: Option<i64>, floors: Option<Floors>) {
        self.phase = Phase::ReadPrefix {
            at,
            limit: PREFIX_PAGE,
            floors,
        };
    }

    /// Adds `entry` to `found` when it is a new change set of this microservice and version.
    fn sort_out(
        &self,
        entry: Entry,
        floors: Option<&Floors>,
        found: &mut Vec<ChangeSet>,
        output: &mut Output,
    ) {
        if entry.mod_revision < self.cursor.next_revision() {
            return;
        }
        let key = match ChangeSetKey::parse_bytes(&entry.key) {
            Ok(key) => key,
            Err(error) => {
                output.skipped.push(Skipped::Malformed {
                    key: shown_key(&entry.key),
                    error,
                });
                return;
            }
        };
        let is_own = key.text().starts_with(&self.prefix) && key.version() == self.own.version;
        let is_new = self.cursor.is_before(entry.mod_revision, key.text())
            && floors.is_none_or(|floors| floors.is_above(&key));
        if is_own && is_new {
            found.push(ChangeSet {
                position: Position {
                    revision: entry.mod_revision,
                    key: key.text().to_owned(),
                },
                key,
                value: entry.value,
                cluster_id: self.cluster_id,
            });
        }
    }

    fn hand_on(&mut self, mut found: Vec<ChangeSet>, output: &mut Output) {
        found.sort_by(|one, other| one.position.cmp(&other.position));
        for change_set in &found {
            self.floors.pass(&change_set.key);
        }
        output.change_sets = found;
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
