//! Answers to subscriptions that wait until it is known where they begin: what comes behind the answer is delivered then.

use std::time::Instant;

use crate::http::{Replier, Response};
use crate::limits::{SUBSCRIPTION_ANSWER_TIME, SUBSCRIPTION_CHANGES};

/// The answers, in the order in which they are due.
#[derive(Default)]
pub(super) struct Answers(Vec<(Instant, Replier, Response)>);

impl Answers {
    /// One that may wait. When too many do, it does not.
    pub(super) fn take(&mut self, answer: Option<(Replier, Response)>, now: Instant) {
        let Some((replier, response)) = answer else {
            return;
        };
        if self.0.len() < SUBSCRIPTION_CHANGES {
            let due = now + SUBSCRIPTION_ANSWER_TIME;
            self.0.push((due, replier, response));
        } else {
            replier.send(response);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(due, ..)| *due)
    }

    /// Gives those whose time is right.
    pub(super) fn give(&mut self, is_right: impl Fn(Instant) -> bool) {
        let all = self.0.extract_if(.., |(due, ..)| is_right(*due));
        for (_, replier, response) in all {
            replier.send(response);
        }
    }
}
