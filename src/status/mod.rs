//! What `GET /status` tells: everything about this CIM that a person asks first, as one JSON document. docs/status.md has its
//! members. It holds settings, so it is for the own host alone, or for whoever has the token (`src/http/status.rs`); secrets are
//! masked where settings are read.
//!
//! Everything in it has a bound: [`crate::limits`], and what the sources themselves keep.

mod rates;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::change_set::history::History;
use crate::clock;
use crate::health::{Health, Part, Report, State};
use crate::identity::{Current, Host, Identity};
use crate::limits::{STATUS_CONTAINERS, STATUS_NAME_BYTES};
use crate::logs::board::Board;
use crate::metrics::{Metrics, ProcessUsage};
use crate::options::Names;
use crate::own_log::Recent;
use crate::settings::problem::{cut, escaped};
use crate::settings::{Shown, Store};
use rates::{Rates, Totals, dropped, each};

/// What stays as it is from the start on.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// Where the NATS server listens, or where the external ones are; without credentials.
    pub nats: String,
    /// There is no embedded NATS server.
    pub nats_external: bool,
    /// Where the operations API listens.
    pub rest: String,
    /// The log files' directory.
    pub log_dir: String,
    /// The directory of what outlives CIM.
    pub state_dir: String,
    /// Bytes that the journal of events may take.
    pub journal_bytes_max: u64,
    /// The `CIM_*` settings, secrets masked.
    pub settings: Vec<Shown>,
}

/// Where the document comes from, beside what the operations API has anyway.
pub struct Sources {
    /// Fixed.
    pub fixed: Fixed,
    /// Who this is.
    pub identity: Arc<Current>,
    /// The containers.
    pub board: Board,
    /// CIM's own log.
    pub recent: Arc<Recent>,
}

/// Nothing is known: for tests of what is beside it.
impl Default for Sources {
    fn default() -> Self {
        let (identity, _) = Identity::resolve(&Names::default(), &Host::default());
        Self {
            fixed: Fixed::default(),
            identity: Arc::new(Current::new(identity, true)),
            board: Board::default(),
            recent: Arc::default(),
        }
    }
}

/// Makes the document, and keeps what it tells of the last ten minutes.
pub struct Status {
    sources: Sources,
    started: Instant,
    started_ms: u64,
    metrics: Arc<Metrics>,
    rates: Rates,
}

/// What the document shares with other answers of the operations API.
pub struct Shared<'a> {
    /// As in `/readyz`.
    pub health: &'a Health,
    /// The settings in force.
    pub settings: &'a Store,
    /// As in the history of change sets.
    pub history: &'a Mutex<History>,
}

impl Status {
    /// Counts from `now` on.
    pub fn new(sources: Sources, metrics: Arc<Metrics>, now: Instant) -> Self {
        let now_ms = clock::now_ms();
        Self {
            sources,
            started: now,
            started_ms: now_ms,
            rates: Rates::new(Totals::read(&metrics), now, now_ms),
            metrics,
        }
    }

    /// Adds a point to the rates when it is time; returns when it is time again.
    pub fn tick(&mut self, now: Instant) -> Instant {
        if now >= self.rates.due() {
            self.rates
                .add(Totals::read(&self.metrics), now, clock::now_ms());
        }
        self.rates.due()
    }

    /// The document, without the NATS connections.
    pub fn document(&self, shared: &Shared<'_>, now: Instant) -> Value {
        let (totals, now_ms) = (Totals::read(&self.metrics), clock::now_ms());
        let parts = parts(shared.health, &self.metrics);
        let failure = shared.health.failure();
        let status = match (&failure, parts.ready) {
            (Some(_), _) => "failed",
            (None, true) => "ready",
            (None, false) => "not ready",
        };
        let history = shared.history.lock();
        let history = history.unwrap_or_else(PoisonError::into_inner);
        let change_sets = json!(history.records().collect::<Vec<_>>());
        drop(history);
        object(vec![
            ("time", json(&now_ms)),
            ("status", json(&status)),
            ("failure", json(&failure)),
            ("cim", self.cim(now)),
            ("identity", identity(&self.sources.identity.load())),
            (
                "logging_mode",
                json(&shared.settings.load().cim.lmaas.logging_mode.name()),
            ),
            ("parts", Value::Object(parts.document)),
            ("totals", totals.document()),
            ("dropped", counts(dropped(&self.metrics))),
            ("rates", self.rates.document(totals, now, now_ms)),
            ("backlogs", self.backlogs()),
            ("containers", self.containers()),
            ("change_sets", change_sets),
            (
                "event_subscriptions",
                json(&self.metrics.notifications.subscriptions.get()),
            ),
            (
                "settings",
                object(vec![
                    ("origin", json(&shared.settings.origin())),
                    ("cim", settings(&self.sources.fixed.settings)),
                    ("cim.json", settings(&shared.settings.cim_members())),
                    (
                        "common-infra.json",
                        settings(&shared.settings.infra_members()),
                    ),
                ]),
            ),
            ("log", self.log()),
        ])
    }

    fn cim(&self, now: Instant) -> Value {
        let fixed = &self.sources.fixed;
        let usage = ProcessUsage::read().unwrap_or_default();
        object(vec![
            ("name", json(&"cim")),
            ("version", json(&env!("CARGO_PKG_VERSION"))),
            ("started", json(&self.started_ms)),
            (
                "uptime_seconds",
                json(&now.saturating_duration_since(self.started).as_secs()),
            ),
            ("nats", json(&fixed.nats)),
            ("nats_external", json(&fixed.nats_external)),
            ("rest", json(&fixed.rest)),
            ("log_dir", json(&fixed.log_dir)),
            ("state_dir", json(&fixed.state_dir)),
            ("resident_bytes", json(&usage.resident_bytes)),
            ("cpu_seconds", json(&usage.cpu_seconds)),
        ])
    }

    fn backlogs(&self) -> Value {
        let (events, remote) = (&self.metrics.events, &self.metrics.remote);
        object(vec![
            (
                "journal",
                object(vec![
                    ("records", json(&events.journal_records.get())),
                    ("bytes", json(&events.journal_bytes.get())),
                    ("bytes_max", json(&self.sources.fixed.journal_bytes_max)),
                    ("oldest_seconds", json(&events.journal_oldest.seconds())),
                ]),
            ),
            (
                "log_lines",
                object(vec![
                    ("records", json(&remote.backlog_lines.get())),
                    ("bytes", json(&remote.backlog_bytes.get())),
                    ("oldest_seconds", json(&remote.backlog_oldest.seconds())),
                    (
                        "lost",
                        json(&each(&remote.backlog_lost).map(|(_, n)| n).sum::<u64>()),
                    ),
                ]),
            ),
            (
                "set_aside",
                json(&each(&events.set_aside).map(|(_, n)| n).sum::<u64>()),
            ),
        ])
    }

    fn containers(&self) -> Value {
        let (last, all) = self.sources.board.last(STATUS_CONTAINERS);
        let shown: Vec<_> = last
            .iter()
            .map(|(container, passed)| {
                object(vec![
                    ("name", json(&name(&container.name))),
                    ("id", json(&name(&container.id))),
                    ("lines", json(&passed.lines)),
                    ("last", json(&passed.last_ms)),
                    ("file", json(&format!("{}.log", container.stem))),
                    ("file_state", json(&passed.file.label())),
                    ("file_lines", json(&passed.written)),
                    ("file_bytes", json(&passed.file_bytes)),
                ])
            })
            .collect();
        object(vec![("total", json(&all)), ("shown", Value::Array(shown))])
    }

    fn log(&self) -> Value {
        let lines = self.sources.recent.lines();
        let lines = lines.iter().map(|line| {
            let split = || {
                let (level, rest) = line.strip_prefix('[')?.split_once("] : ")?;
                let (time, text) = rest.split_once(" -> [")?;
                // A line that was cut has no end.
                let text = text.strip_suffix(']').unwrap_or(text);
                Some(object(vec![
                    ("level", json(&level)),
                    ("time", json(&format!("{time}Z"))),
                    ("text", json(&text)),
                ]))
            };
            split().unwrap_or_else(|| {
                object(vec![
                    ("level", json(&"")),
                    ("time", json(&"")),
                    ("text", json(&line)),
                ])
            })
        });
        lines.collect()
    }
}

/// How CIM's parts are, as `/readyz` tells.
pub struct Parts {
    /// No part that is needed is missing.
    pub ready: bool,
    /// By name: state, whether it is needed, and why.
    pub document: Map<String, Value>,
}

/// How every part is now.
pub fn report(health: &Health, metrics: &Metrics) -> Report {
    let (state, reason) = match metrics.file_failing.get() {
        0 => (State::Ready, "log lines are written"),
        _ => (
            State::NotReady,
            "log files cannot be written (`cim status` has the last errors, `cim doctor` looks at the directory); their lines are dropped and counted, CIM tries again every second",
        ),
    };
    health.set(Part::Logs, state, reason);
    health.report()
}

/// How CIM's parts are now.
pub fn parts(health: &Health, metrics: &Metrics) -> Parts {
    let report = report(health, metrics);
    let parts = report.parts.into_iter().map(|part| {
        let value = object(vec![
            ("state", json(&part.state.label())),
            ("needed", json(&part.part.is_needed())),
            ("reason", json(&part.reason)),
        ]);
        (part.part.name().to_owned(), value)
    });
    Parts {
        ready: report.ready,
        document: parts.collect(),
    }
}

/// One function for all objects: `json!` would make the code of each anew.
fn object(members: Vec<(&str, Value)>) -> Value {
    let members = members.into_iter();
    Value::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn json(value: &(impl Serialize + ?Sized)) -> Value {
    json!(value)
}

fn identity(identity: &Identity) -> Value {
    let tmaas = identity.tmaas.clone().unwrap_or_default();
    object(vec![
        ("pod", json(&identity.pod)),
        ("namespace", json(&identity.namespace)),
        ("microservice", json(&identity.microservice)),
        ("version", json(&identity.version)),
        ("container_id", json(&identity.container_id)),
        ("standalone", json(&identity.standalone)),
        ("nf_id", json(&tmaas.nf_id)),
        ("nf_type", json(&tmaas.nf_type)),
        ("nf_service_id", json(&tmaas.nf_service_id)),
    ])
}

fn settings(settings: &[Shown]) -> Value {
    let rows = settings.iter().map(|setting| {
        object(vec![
            ("name", json(&setting.name)),
            ("value", json(&setting.value)),
            ("source", json(&setting.source.to_string())),
        ])
    });
    rows.collect()
}

/// Those that are not 0.
fn counts(counts: impl Iterator<Item = (String, u64)>) -> Value {
    let counts = counts.filter(|(_, n)| *n > 0);
    Value::Object(counts.map(|(name, n)| (name, n.into())).collect())
}

/// A name from outside, on one line.
fn name(bytes: &[u8]) -> String {
    // Some more bytes than are shown: a character has at most four.
    let head = bytes.get(..STATUS_NAME_BYTES + 4).unwrap_or(bytes);
    let text = escaped(cut(&String::from_utf8_lossy(head), STATUS_NAME_BYTES));
    match bytes.len() > STATUS_NAME_BYTES {
        true => format!("{text}…"),
        false => text,
    }
}

#[cfg(test)]
mod tests;
