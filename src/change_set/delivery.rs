//! One change set after the other: to the application or to CIM itself, and its outcome into etcd (CONTRACT section 4).
//!
//! ```text
//! taken ──> Post ──accepted──> answer on CONFIG, at most CONFIG_REPLY_TIME ──┐
//!            ^ └─refused: again with back-off, at most APP_RETRY_TIME │
//!            └───────────┘      anything else: -1 at once ────────────┼──> events, Commit ──taken──> Finished
//!       └──> ApplySelf ───────────────────────────────────────────────┘           ^ └─not taken: again with back-off
//!                                                                                 └────────┘
//! ```
//!
//! An answer for the change set in flight counts whatever becomes of the POST: who answers has handled it. Nothing else is
//! delivered before etcd has taken the commit, but for one case: etcd can be reached, refuses, and a newer change set waits.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{ConfigAnswer, Status};
use super::key::ChangeSet;
use super::memory::Own;
use super::outcome::Outcome;
use crate::backoff::Backoff;
use crate::events::own::OwnEvent;
use crate::limits::{
    APP_RETRY_FIRST, APP_RETRY_LAST, APP_RETRY_TIME, COMMIT_REFUSED_TIME, COMMIT_RETRY_FIRST,
    COMMIT_RETRY_LAST,
};

/// What became of a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostOutcome {
    /// A status below 400.
    Accepted,
    /// A status of 400 or above.
    Rejected {
        /// The status.
        status: u16,
    },
    /// No connection: the application has seen nothing.
    Refused,
    /// A time-out, or a connection that broke: the application may have seen it.
    Failed,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is in etcd, by this transaction or one before it.
    Taken,
    /// etcd cannot be reached, or could not answer: it may have been taken.
    Unreachable {
        /// What failed, for the event.
        error: String,
    },
    /// etcd has answered that it does not take it.
    Refused {
        /// What failed, for the event.
        error: String,
    },
}

/// The transaction that commits: unless `memory_key` has exactly `memory_value`, and unless it has changed since it was seen last, put
/// both keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Where the outcome is put.
    pub commit_key: String,
    /// The revision, `-2` (unused) or `-1`.
    pub value: String,
    /// Where the position is put.
    pub memory_key: String,
    /// The position.
    pub memory_value: String,
}

/// What the caller has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// POST it to the application; the result goes to [`Delivery::on_post`].
    Post(Arc<ChangeSet>),
    /// Apply it to CIM's own configuration; the result goes to [`Delivery::on_self`].
    ApplySelf(Arc<ChangeSet>),
    /// Put it into etcd; the result goes to [`Delivery::on_commit`].
    Commit(Commit),
    /// Raise an event.
    Raise(OwnEvent),
    /// A change set is dealt with.
    Finished(Finished),
}

/// A change set that is dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub change_set: Arc<ChangeSet>,
    /// How it ended.
    pub outcome: Outcome,
    /// When the machine took it.
    pub taken: Instant,
    /// When it was last sent to the application, or applied.
    pub sent: Instant,
    /// When its outcome was known.
    pub decided: Instant,
    /// When etcd had taken the commit, or it was given up.
    pub ended: Instant,
}

/// What an answer on CONFIG was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The outcome of the change set in flight.
    Counts {
        /// It names another revision than the key, whose own is committed: worth a warning.
        another_revision: bool,
    },
    /// For another key, or for one whose outcome is known already. Skipped.
    Foreign,
}

/// The change set in flight.
#[derive(Debug)]
struct Current {
    change_set: Arc<ChangeSet>,
    taken: Instant,
    sent: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The POST is under way.
    Posting {
        refused: Refusals,
        early: Option<Status>,
    },
    /// The application has refused the connection.
    Pausing { refused: Refusals, until: Instant },
    /// The application has it.
    Awaiting { until: Instant },
    /// CIM applies it.
    Applying,
    /// The outcome is known.
    Committing(Committing),
}

#[derive(Debug, Clone)]
struct Refusals {
    give_up: Instant,
    backoff: Backoff,
}

#[derive(Debug)]
struct Committing {
    commit: Commit,
    outcome: Outcome,
    decided: Instant,
    backoff: Backoff,
    /// When to try again; `None`: a try is under way.
    again: Option<Instant>,
    refused_since: Option<Instant>,
    failure_raised: bool,
}

impl Committing {
    fn may_be_superseded(&self, now: Instant) -> bool {
        self.refused_since.is_some_and(|since| {
            self.again.is_some() && now.saturating_duration_since(since) >= COMMIT_REFUSED_TIME
        })
    }
}

/// The delivery of one microservice's change sets.
#[derive(Debug)]
pub struct Delivery {
    own: Own,
    memory_key: String,
    reply_time: Duration,
    self_with_config_map: bool,
    registered: bool,
    current: Option<Current>,
    /// Waits while the commit before it is refused.
    next: Option<Arc<ChangeSet>>,
    actions: VecDeque<Action>,
}

impl Delivery {
    /// Nothing in flight. `reply_time`: see [`crate::limits::CONFIG_REPLY_TIME`].
    pub fn new(own: Own, reply_time: Duration) -> Self {
        Self {
            memory_key: own.memory_key(),
            own,
            reply_time,
            self_with_config_map: false,
            registered: false,
            current: None,
            next: None,
            actions: VecDeque::new(),
        }
    }

    /// CIM's own configuration has a ConfigMap, or has none: where changes to it are committed from now on.
    pub fn set_self_with_config_map(&mut self, exists: bool) {
        self.self_with_config_map = exists;
    }

    /// The application has registered: change sets may be delivered.
    pub fn on_registered(&mut self) {
        self.registered = true;
    }

    /// What is to be done now. Results may be given at once, or later.
    pub fn take_actions(&mut self) -> VecDeque<Action> {
        mem::take(&mut self.actions)
    }

    /// The change set in flight.
    pub fn in_flight(&self) -> Option<&ChangeSet> {
        self.current.as_ref().map(|current| &*current.change_set)
    }

    /// An outcome is known, and not committed yet.
    pub fn has_commit(&self) -> bool {
        let stage = self.current.as_ref().map(|current| &current.stage);
        matches!(stage, Some(Stage::Committing(_)))
    }

    /// When [`Self::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.current.as_ref()?.stage {
            Stage::Pausing { until, .. } | Stage::Awaiting { until } => Some(*until),
            Stage::Committing(committing) => committing.again,
            Stage::Posting { .. } | Stage::Applying => None,
        }
    }

    /// [`Self::take`] has room for a change set.
    pub fn wants_change_set(&self) -> bool {
        if !self.registered || self.next.is_some() {
            return false;
        }
        match &self.current {
            None => true,
            Some(Current {
                stage: Stage::Committing(committing),
                ..
            }) => committing.refused_since.is_some(),
            Some(_) => false,
        }
    }

    /// The next change set.
    ///
    /// # Errors
    /// None is wanted: it is given back.
    pub fn take(&mut self, change_set: ChangeSet, now: Instant) -> Result<(), ChangeSet> {
        if !self.wants_change_set() {
            return Err(change_set);
        }
        self.next = Some(Arc::new(change_set));
        self.go_on(now);
        Ok(())
    }

    /// The result of [`Action::Post`]. Answers that came while it was under way are to be given before it.
    pub fn on_post(&mut self, outcome: PostOutcome, now: Instant, random: u64) {
        let Some(current) = &mut self.current else {
            return;
        };
        let Stage::Posting { refused, early } = &mut current.stage else {
            return;
        };
        let answered = early.map(Outcome::of_answer);
        match (answered, outcome) {
            (Some(answered), _) => self.decide(answered, now),
            (None, PostOutcome::Accepted) => {
                current.stage = Stage::Awaiting {
                    until: now + self.reply_time,
                };
            }
            (None, PostOutcome::Rejected { .. }) => self.decide(Outcome::Rejected, now),
            (None, PostOutcome::Failed) => self.decide(Outcome::Broken, now),
            (None, PostOutcome::Refused) if now >= refused.give_up => {
                self.decide(Outcome::Unreachable, now);
            }
            (None, PostOutcome::Refused) => {
                let mut refused = refused.clone();
                // The last try is at the end of the time.
                let until = (now + refused.backoff.next(random)).min(refused.give_up);
                current.stage = Stage::Pausing { refused, until };
            }
        }
    }

    /// An answer on CONFIG.
    pub fn on_answer(&mut self, answer: &ConfigAnswer, now: Instant) -> Heard {
        let Some(current) = &mut self.current else {
            return Heard::Foreign;
        };
        let key = &current.change_set.key;
        if !answer.is_for(key) {
            return Heard::Foreign;
        }
        let heard = Heard::Counts {
            another_revision: answer.names_another_revision(key),
        };
        match &mut current.stage {
            // The POST is waited for: until its end the application is not free for the next one.
            Stage::Posting { early, .. } if early.is_none() => *early = Some(answer.status),
            Stage::Pausing { .. } | Stage::Awaiting { .. } => {
                self.decide(Outcome::of_answer(answer.status), now);
            }
            Stage::Posting { .. } | Stage::Applying | Stage::Committing(_) => {
                return Heard::Foreign;
            }
        }
        heard
    }

    /// The result of [`Action::ApplySelf`].
    pub fn on_self(&mut self, applied: bool, now: Instant) {
        let applying = self.current.as_ref().map(|current| &current.stage);
        if matches!(applying, Some(Stage::Applying)) {
            let outcome = if applied {
                Outcome::SelfApplied
            } else {
                Outcome::SelfRefused
            };
            self.decide(outcome, now);
        }
    }

    /// The result of [`Action::Commit`].
    pub fn on_commit(&mut self, outcome: CommitOutcome, now: Instant, random: u64) {
        let Some(Current {
            stage: Stage::Committing(committing),
            ..
        }) = &mut self.current
        else {
            return;
        };
        if committing.again.is_some() {
            return;
        }
        let error = match outcome {
            CommitOutcome::Taken => {
                let commit_key = committing.commit.commit_key.clone();
                let outcome = committing.outcome;
                self.actions
                    .push_back(Action::Raise(OwnEvent::CommitConfigSuccess { commit_key }));
                self.finish(outcome, now);
                return self.go_on(now);
            }
            CommitOutcome::Refused { error } => {
                committing.refused_since.get_or_insert(now);
                error
            }
            CommitOutcome::Unreachable { error } => {
                committing.refused_since = None;
                error
            }
        };
        committing.again = Some(now + committing.backoff.next(random));
        if !mem::replace(&mut committing.failure_raised, true) {
            let commit_key = committing.commit.commit_key.clone();
            self.actions
                .push_back(Action::Raise(OwnEvent::CommitConfigFailure {
                    commit_key,
                    error,
                }));
        }
        self.go_on(now);
    }

    /// Time has passed: [`Self::deadline`] is reached.
    pub fn on_tick(&mut self, now: Instant) {
        let Some(current) = &mut self.current else {
            return;
        };
        match &mut current.stage {
            Stage::Pausing { until, refused } if now >= *until => {
                let refused = refused.clone();
                self.post(refused, now);
            }
            Stage::Awaiting { until } if now >= *until => self.decide(Outcome::NoAnswer, now),
            Stage::Committing(committing) if committing.again.is_some_and(|at| now >= at) => {
                committing.again = None;
                self.actions
                    .push_back(Action::Commit(committing.commit.clone()));
            }
            _ => {}
        }
    }

    /// Begins with the change set that waits, once nothing is in flight or what is may be superseded.
    fn go_on(&mut self, now: Instant) {
        if self.next.is_none() {
            return;
        }
        match &self.current {
            None => {}
            Some(Current {
                stage: Stage::Committing(committing),
                ..
            }) if committing.may_be_superseded(now) => self.finish(Outcome::Superseded, now),
            Some(_) => return,
        }
        let Some(change_set) = self.next.take() else {
            return;
        };
        let is_self = change_set.key.is_self();
        self.current = Some(Current {
            change_set: Arc::clone(&change_set),
            taken: now,
            sent: now,
            stage: Stage::Applying,
        });
        if is_self {
            self.actions.push_back(Action::ApplySelf(change_set));
        } else {
            let refused = Refusals {
                give_up: now + APP_RETRY_TIME,
                backoff: Backoff::new(APP_RETRY_FIRST, APP_RETRY_LAST),
            };
            self.post(refused, now);
        }
    }

    fn post(&mut self, refused: Refusals, now: Instant) {
        if let Some(current) = &mut self.current {
            current.sent = now;
            current.stage = Stage::Posting {
                refused,
                early: None,
            };
            let change_set = Arc::clone(&current.change_set);
            self.actions.push_back(Action::Post(change_set));
        }
    }

    /// The outcome is known: events, and the first try of the commit.
    fn decide(&mut self, outcome: Outcome, now: Instant) {
        let Some(current) = &mut self.current else {
            return;
        };
        let key = &current.change_set.key;
        let commit_key = key.commit_key(&self.own.pod, self.self_with_config_map);
        let (value, event) = match outcome {
            Outcome::Success | Outcome::SelfApplied => {
                let commit_key = commit_key.clone();
                let event = OwnEvent::ConfigUpdateSuccess { commit_key };
                (key.revision(), event)
            }
            Outcome::Unused => ("-2", OwnEvent::ConfigUpdateUnused),
            _ => ("-1", OwnEvent::ConfigUpdateFailure),
        };
        let commit = Commit {
            commit_key,
            value: value.to_owned(),
            memory_key: self.memory_key.clone(),
            memory_value: self.own.memory_of(&current.change_set).value(),
        };
        current.stage = Stage::Committing(Committing {
            commit: commit.clone(),
            outcome,
            decided: now,
            backoff: Backoff::new(COMMIT_RETRY_FIRST, COMMIT_RETRY_LAST),
            again: None,
            refused_since: None,
            failure_raised: false,
        });
        self.actions.push_back(Action::Raise(event));
        self.actions.push_back(Action::Commit(commit));
    }

    fn finish(&mut self, outcome: Outcome, now: Instant) {
        let Some(current) = self.current.take() else {
            return;
        };
        let decided = match &current.stage {
            Stage::Committing(committing) => committing.decided,
            _ => now,
        };
        self.actions.push_back(Action::Finished(Finished {
            change_set: current.change_set,
            outcome,
            taken: current.taken,
            sent: current.sent,
            decided,
            ended: now,
        }));
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
