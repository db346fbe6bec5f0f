//! An outage: lines go to the files until the sink is back and has caught up.

use std::time::Instant;

use crate::limits::{CATCH_UP_HOLD, CATCH_UP_PAUSE};

/// See the module.
#[derive(Debug)]
pub(super) struct Outage {
    /// When a sink is asked for.
    pub(super) try_at: Instant,
    /// It was told and counted; not so while it is only that lines of an earlier run come first.
    pub(super) is_told: bool,
    /// Nothing is taken until then: little is left to catch up with, and what comes would go behind it.
    hold_until: Option<Instant>,
}

impl Outage {
    pub(super) fn new(try_at: Instant) -> Self {
        Self {
            try_at,
            is_told: false,
            hold_until: None,
        }
    }

    /// Little is left: takes nothing for a while. A sink that does not use that time is too slow, and is given it again only later.
    pub(super) fn hold(&mut self, now: Instant) {
        if self
            .hold_until
            .is_none_or(|until| now >= until + CATCH_UP_PAUSE)
        {
            self.hold_until = Some(now + CATCH_UP_HOLD);
        }
    }

    /// Nothing is to be taken.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }
}
