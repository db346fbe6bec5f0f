//! The first configuration (CONTRACT section 5), from the application's event `NotConfigured` to its event `Configured`.
//!
//! ```text
//! NotConfigured ──> Read ──there──> Load ──2xx──> loaded
//!                   ^ └─not there: again each second; then only what is newer than the first read counts
//!                   └────┘            └─refused connection: again with back-off; anything else: event, pod deleted
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::key::revision_number;
use super::memory::Own;
use super::wire::{Entry, Page};
use crate::backoff::Backoff;
use crate::events::own::OwnEvent;
use crate::limits::{
    APP_RETRY_FIRST, APP_RETRY_LAST, DAY_ONE_POLL, DAY_ONE_RETRY_LAST, LOAD_RETRY_TIME,
};

/// What the caller has to do, in this order.
#[derive(Clone, PartialEq, Eq)]
pub enum DayOneAction {
    /// Read [`DayOne::keys`] in one transaction; the result goes to [`DayOne::on_read`].
    Read,
    /// POST this to the application's `loadConfig`, byte for byte; the result goes to [`DayOne::on_load`].
    Load(Arc<[u8]>),
    /// Raise an event.
    Raise(OwnEvent),
    /// Delete the pod, so that it starts again.
    DeletePod,
}

/// Never the configuration: it may hold what no log line may show.
impl fmt::Debug for DayOneAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Load(value) => write!(f, "Load({} bytes)", value.len()),
            Self::Raise(event) => write!(f, "Raise({event:?})"),
            Self::DeletePod => f.write_str("DeletePod"),
        }
    }
}

/// What became of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// A 2xx status.
    Accepted,
    /// No connection: the application may not listen yet.
    Refused,
    /// Another status, a time-out, a connection that broke.
    Failed,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked for.
    Idle,
    /// A read is under way.
    Reading(Search),
    /// The next read is at this time.
    Waiting { search: Search, until: Instant },
    /// A load is under way.
    Loading(Load),
    /// The application has refused the connection.
    Pausing { load: Load, until: Instant },
    /// The application has got its configuration, or the pod is to be deleted: only a registration or `Configured` counts.
    Ended,
}

#[derive(Debug, Clone)]
struct Search {
    /// etcd's revision at the first read: what waiting accepts is newer. `None` before it.
    since: Option<i64>,
    backoff: Backoff,
}

#[derive(Clone)]
struct Load {
    value: Arc<[u8]>,
    give_up: Instant,
    backoff: Backoff,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.value.len())
    }
}

/// The procedure of the first configuration.
#[derive(Debug)]
pub struct DayOne {
    /// That of the NF's revision, when it is another one than 0, and that of revision 0.
    keys: Vec<String>,
    state: State,
    actions: VecDeque<DayOneAction>,
}

impl DayOne {
    /// Nothing is asked for. `nf_revision`: `NF_CONFIG_REVISION`.
    pub fn new(own: &Own, nf_revision: Option<&str>) -> Self {
        let key = |revision: &str| {
            let Own {
                namespace,
                microservice,
                ..
            } = own;
            format!("config/{namespace}/{microservice}/{revision}")
        };
        let nf = nf_revision.filter(|text| revision_number(text) != Some(0));
        Self {
            keys: nf.into_iter().chain(["0"]).map(key).collect(),
            state: State::Idle,
            actions: VecDeque::new(),
        }
    }

    /// What to read, one or two keys.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The event `NotConfigured`. While it is handled, and after a load, a further one says nothing new.
    pub fn on_not_configured(&mut self) {
        if matches!(self.state, State::Idle) {
            self.read(Search {
                since: None,
                backoff: Backoff::new(DAY_ONE_POLL, DAY_ONE_RETRY_LAST),
            });
        }
    }

    /// The event `Configured`: the procedure is over. A later `NotConfigured` comes from an application that has restarted.
    pub fn on_configured(&mut self) {
        self.reset();
    }

    /// The application has registered. It begins anew, unless it has asked before its `first` registration and is being
    /// served.
    pub fn on_registered(&mut self, first: bool) {
        if !first || matches!(self.state, State::Ended) {
            self.reset();
        }
    }

    fn reset(&mut self) {
        self.state = State::Idle;
        self.actions.clear();
    }

    /// What is to be done now. Results may be given at once, or later.
    pub fn take_actions(&mut self) -> VecDeque<DayOneAction> {
        mem::take(&mut self.actions)
    }

    /// When [`Self::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until, .. } | State::Pausing { until, .. } => Some(until),
            State::Idle | State::Reading(_) | State::Loading(_) | State::Ended => None,
        }
    }

    /// The result of [`DayOneAction::Read`]; `None`: etcd has not answered, or not well.
    pub fn on_read(&mut self, page: Option<Page>, now: Instant, random: u64) {
        let State::Reading(search) = &mut self.state else {
            return;
        };
        let Some(page) = page else {
            let until = now + search.backoff.next(random);
            let search = search.clone();
            self.state = State::Waiting { search, until };
            return;
        };
        search.backoff.reset();
        // A lower revision than before: another etcd, of which this is the first read.
        let since = search.since.filter(|since| *since <= page.header.revision);
        let found = self.keys.iter().enumerate().find_map(|(index, key)| {
            let mut entries = page.entries.iter();
            let entry = entries.find(|entry| entry.key == key.as_bytes())?;
            let counts = match since {
                Some(since) => entry.mod_revision > since,
                // At first only the revision that the pod started with counts: what is at 0 may be years old.
                None => index == 0,
            };
            counts.then_some(entry)
        });
        match found {
            Some(entry) => self.found(entry, now),
            None => {
                search.since = since.or(Some(page.header.revision));
                let search = search.clone();
                let until = now + DAY_ONE_POLL;
                self.state = State::Waiting { search, until };
            }
        }
    }

    /// The result of [`DayOneAction::Load`].
    pub fn on_load(&mut self, outcome: LoadOutcome, now: Instant, random: u64) {
        let State::Loading(load) = &mut self.state else {
            return;
        };
        match outcome {
            LoadOutcome::Accepted => self.state = State::Ended,
            LoadOutcome::Refused if now < load.give_up => {
                let mut load = load.clone();
                // The last try is at the end of the time.
                let until = (now + load.backoff.next(random)).min(load.give_up);
                self.state = State::Pausing { load, until };
            }
            LoadOutcome::Refused | LoadOutcome::Failed => self.fail(false),
        }
    }

    /// Time has passed: [`Self::deadline`] is reached.
    pub fn on_tick(&mut self, now: Instant) {
        match &self.state {
            State::Waiting { search, until } if now >= *until => {
                let search = search.clone();
                self.read(search);
            }
            State::Pausing { load, until } if now >= *until => {
                let load = load.clone();
                self.load(load);
            }
            _ => {}
        }
    }

    fn read(&mut self, search: Search) {
        self.state = State::Reading(search);
        self.actions.push_back(DayOneAction::Read);
    }

    fn load(&mut self, load: Load) {
        self.actions
            .push_back(DayOneAction::Load(Arc::clone(&load.value)));
        self.state = State::Loading(load);
    }

    fn found(&mut self, entry: &Entry, now: Instant) {
        if is_json_object(&entry.value) {
            self.load(Load {
                value: entry.value.as_slice().into(),
                give_up: now + LOAD_RETRY_TIME,
                backoff: Backoff::new(APP_RETRY_FIRST, APP_RETRY_LAST),
            });
        } else {
            self.fail(true);
        }
    }

    fn fail(&mut self, not_an_object: bool) {
        self.state = State::Ended;
        let event = OwnEvent::LoadConfigRequestFailure { not_an_object };
        self.actions.push_back(DayOneAction::Raise(event));
        self.actions.push_back(DayOneAction::DeletePod);
    }
}

/// `value` is one JSON object (RFC 8259: UTF-8, nothing behind it). Its content is looked at, not kept.
fn is_json_object(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| serde_json::from_str::<Object>(text).is_ok())
}

struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
#[path = "day_one_tests.rs"]
mod tests;
