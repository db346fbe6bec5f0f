//! What the outcome of a change set must be, worked out apart from the machine: from what the models did to it.

use std::time::Instant;

use super::super::answer::Status;
use super::super::delivery::{Finished, PostOutcome};
use super::super::key::ChangeSet;
use super::super::outcome::Outcome;
use crate::events::own::OwnEvent;
use crate::limits::{APP_RETRY_TIME, CONFIG_REPLY_TIME, UPDATE_CONFIG_TIME};

/// One delivery, as it is seen from outside.
pub struct Oracle {
    pub change_set: ChangeSet,
    first_post: Instant,
    early: Option<Status>,
    /// The POST is under way.
    pub posting: bool,
    accepted: Option<Instant>,
    /// The value of the commit, once it cannot change any more.
    decided: Option<String>,
    events: Vec<OwnEvent>,
    pub commit_refused: bool,
}

impl Oracle {
    pub fn new(change_set: ChangeSet, now: Instant) -> Self {
        Self {
            change_set,
            first_post: now,
            early: None,
            posting: true,
            accepted: None,
            decided: None,
            events: Vec::new(),
            commit_refused: false,
        }
    }

    fn decide(&mut self, value: &str) {
        self.decided.get_or_insert_with(|| value.to_owned());
    }

    fn decide_by(&mut self, status: Status) {
        let revision = self.change_set.key.revision().to_owned();
        self.decide(match status {
            Status::Success => &revision,
            Status::Unused => "-2",
            Status::Failure => "-1",
        });
    }

    /// Time has passed, before anything else happens.
    pub fn on_time(&mut self, now: Instant) {
        if self
            .accepted
            .is_some_and(|at| now >= at + CONFIG_REPLY_TIME)
        {
            self.decide("-1");
        }
    }

    pub fn on_answer(&mut self, status: Status) {
        if self.posting {
            self.early.get_or_insert(status);
        } else {
            self.decide_by(status);
        }
    }

    pub fn on_post(&mut self, outcome: PostOutcome, now: Instant) {
        self.posting = false;
        match (self.early, outcome) {
            (Some(status), _) => self.decide_by(status),
            (None, PostOutcome::Accepted) => self.accepted = Some(now),
            (None, PostOutcome::Refused) if now < self.first_post + APP_RETRY_TIME => {}
            (None, _) => self.decide("-1"),
        }
    }

    pub fn on_self(&mut self, applied: bool) {
        self.decide_by(if applied {
            Status::Success
        } else {
            Status::Failure
        });
    }

    /// An answer has come while the POST is under way.
    pub fn is_early(&self) -> bool {
        self.posting && self.early.is_some()
    }

    pub fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    #[track_caller]
    pub fn assert_commits(&self, value: &str) {
        assert_eq!(self.decided.as_deref(), Some(value), "{self:?}");
    }

    pub fn on_event(&mut self, event: OwnEvent) {
        self.events.push(event);
    }

    #[track_caller]
    pub fn assert_finished(&self, finished: &Finished) {
        assert_eq!(*finished.change_set, self.change_set);
        let value = self.decided.as_deref().expect("an outcome");
        let mut events = self.events.iter();
        let first = match value {
            "-1" => matches!(events.next(), Some(OwnEvent::ConfigUpdateFailure)),
            "-2" => matches!(events.next(), Some(OwnEvent::ConfigUpdateUnused)),
            _ => matches!(events.next(), Some(OwnEvent::ConfigUpdateSuccess { .. })),
        };
        assert!(first, "{value}: {self:?}");
        let rest: Vec<_> = events.collect();
        if finished.outcome == Outcome::Superseded {
            assert!(self.commit_refused, "{self:?}");
            assert!(matches!(rest[..], [OwnEvent::CommitConfigFailure { .. }]));
            return;
        }
        let (last, failures) = rest.split_last().expect("an event of the commit");
        assert!(matches!(last, OwnEvent::CommitConfigSuccess { .. }));
        assert!(failures.len() <= 1, "{self:?}");
        let failures_alone = failures
            .iter()
            .all(|event| matches!(event, OwnEvent::CommitConfigFailure { .. }));
        assert!(failures_alone, "{self:?}");
        let succeeded = matches!(finished.outcome, Outcome::Success | Outcome::SelfApplied);
        assert_eq!(succeeded, !value.starts_with('-'));
        assert_eq!(finished.outcome == Outcome::Unused, value == "-2");
        let latest = finished.sent + UPDATE_CONFIG_TIME + CONFIG_REPLY_TIME;
        assert!(finished.decided <= latest, "{self:?}");
    }
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} decided {:?}, events {:?}",
            self.change_set.position.key, self.decided, self.events
        )
    }
}
