//! How CIM is doing: what `/healthz` and `/readyz` tell.
//!
//! The set of parts is fixed by [`Part`], and each reason has a bound, so the whole has one too. Whoever owns a part says how it
//! is; nobody asks it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::HEALTH_REASON_BYTES;
use crate::settings::problem;

/// A part of CIM that can be ready or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The NATS server, or the connection to an external one.
    Nats,
    /// Log lines find their way to where the mode in force says.
    Logs,
    /// The operations API.
    Http,
    /// etcd is watched.
    Etcd,
    /// The application has registered.
    Application,
    /// Kubernetes has told who this pod is, and whether its ConfigMap exists.
    Kubernetes,
    /// Events reach Kafka.
    Kafka,
    /// Log lines reach the remote sink that the mode names.
    Collector,
    /// Records of topic FMAASEVENTS reach the application.
    Notifications,
    /// The application's metrics are scraped at aligned times.
    AlignedMetrics,
}

impl Part {
    /// Every part, in the order in which it is shown.
    pub const ALL: [Self; 10] = [
        Self::Nats,
        Self::Logs,
        Self::Http,
        Self::Etcd,
        Self::Application,
        Self::Kubernetes,
        Self::Kafka,
        Self::Collector,
        Self::Notifications,
        Self::AlignedMetrics,
    ];

    /// Its name in `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Logs => "logs",
            Self::Http => "http",
            Self::Etcd => "etcd",
            Self::Application => "application",
            Self::Kubernetes => "kubernetes",
            Self::Kafka => "kafka",
            Self::Collector => "collector",
            Self::Notifications => "notifications",
            Self::AlignedMetrics => "aligned_metrics",
        }
    }

    /// What is said of it before its owner has said anything.
    fn at_start(self) -> &'static str {
        match self {
            Self::Nats => {
                "the NATS server is not connected yet, or does not listen yet: CIM is starting"
            }
            Self::Logs => "log lines are not written yet: CIM is starting",
            Self::Http => "the operations API does not listen yet: CIM is starting",
            Self::Etcd => "etcd is not asked for change sets yet: CIM is starting; they wait there",
            Self::Application => {
                "the application has not registered since CIM started (POST /api/v1/_operations/xgvela/register); before its first registration change sets wait in etcd"
            }
            Self::Kubernetes => {
                "Kubernetes has not said yet who this pod is; CIM asks until it does, with the environment's names meanwhile"
            }
            Self::Kafka => {
                "where events go is not chosen yet: CIM is starting; they wait in the journal"
            }
            Self::Collector => "where log lines go is not chosen yet: CIM is starting; they wait",
            Self::Notifications => {
                "the event subscriptions are not looked at yet: CIM is starting; records wait in Kafka"
            }
            Self::AlignedMetrics => {
                "the pod's annotation is not looked at yet: CIM is starting; nothing is scraped meanwhile"
            }
        }
    }

    /// CIM is not ready without it. The application registers when it likes, and a pod whose readiness waited for that
    /// would hide an application that never does. A log disk that is full, an API server or a broker that does not answer, is an
    /// alert, not a reason to take the application out of service.
    pub fn is_needed(self) -> bool {
        match self {
            Self::Nats | Self::Http => true,
            Self::Logs
            | Self::Etcd
            | Self::Application
            | Self::Kubernetes
            | Self::Kafka
            | Self::Collector
            | Self::Notifications
            | Self::AlignedMetrics => false,
        }
    }
}

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works.
    Ready,
    /// It does not, or not yet.
    NotReady,
    /// It is switched off by the configuration; readiness does without it.
    Disabled,
}

impl State {
    /// Its name in `/readyz`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Disabled => "disabled",
        }
    }
}

/// One part and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReport {
    /// Which.
    pub part: Part,
    /// How.
    pub state: State,
    /// Why; at most [`HEALTH_REASON_BYTES`], and never a secret.
    pub reason: String,
}

/// All parts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// No part that is needed is [`State::NotReady`].
    pub ready: bool,
    /// In the order of [`Part::ALL`].
    pub parts: Vec<PartReport>,
}

/// The health of CIM, shared by all threads.
#[derive(Debug)]
pub struct Health {
    parts: Mutex<Vec<PartReport>>,
    failure: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Every part not ready.
    pub fn new() -> Self {
        let parts = Part::ALL.map(|part| PartReport {
            part,
            state: State::NotReady,
            reason: part.at_start().into(),
        });
        Self {
            parts: Mutex::new(parts.into()),
            failure: Mutex::new(None),
        }
    }

    /// Says how `part` is, and why. A long reason is cut.
    pub fn set(&self, part: Part, state: State, reason: &str) {
        let mut parts = lock(&self.parts);
        if let Some(known) = parts.iter_mut().find(|known| known.part == part) {
            known.state = state;
            known.reason = cut(reason);
        }
    }

    /// Says that `part` does not work: what is missing and on what, and what happens next or is to be done; see [`reason`].
    pub fn not_ready(&self, part: Part, why: &str, next: &str) {
        self.set(part, State::NotReady, &reason(why, next));
    }

    /// How every part is.
    pub fn report(&self) -> Report {
        let parts = lock(&self.parts).clone();
        Report {
            ready: !parts
                .iter()
                .any(|p| p.part.is_needed() && p.state == State::NotReady),
            parts,
        }
    }

    /// CIM cannot go on: a thread has ended unasked. The first reason is kept.
    pub fn fail(&self, reason: &str) {
        lock(&self.failure).get_or_insert_with(|| cut(reason));
    }

    /// Why CIM cannot go on; `None` while all threads live.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }
}

/// A thread that panicked while it held the lock has left a whole value: each is replaced, never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a part does not work, and what happens next or is to be done. Of the two a long `why` is cut.
pub fn reason(why: &str, next: &str) -> String {
    let room = HEALTH_REASON_BYTES.saturating_sub(next.len() + 2);
    format!("{}; {next}", problem::cut(why.trim_end(), room))
}

fn cut(reason: &str) -> String {
    problem::cut(reason, HEALTH_REASON_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(health: &Health) -> bool {
        health.report().ready
    }

    #[test]
    fn ready_once_every_needed_part_is() {
        let health = Health::new();
        assert!(!ready(&health));
        health.set(Part::Nats, State::Ready, "");
        assert!(!ready(&health));
        health.set(Part::Http, State::Disabled, "no port");
        assert!(
            ready(&health),
            "neither a disabled nor an unneeded part counts"
        );
        health.set(Part::Logs, State::NotReady, "disk full");
        assert!(
            ready(&health),
            "a full disk takes no application out of service"
        );
        health.set(Part::Nats, State::NotReady, "gone");
        assert!(!ready(&health));
        assert_eq!(
            health.report().parts.get(1).unwrap(),
            &PartReport {
                part: Part::Logs,
                state: State::NotReady,
                reason: "disk full".into()
            }
        );
    }

    #[test]
    fn every_part_is_reported_under_its_own_name() {
        let report = Health::new().report();
        let names: Vec<_> = report.parts.iter().map(|p| p.part.name()).collect();
        assert_eq!(
            names,
            [
                "nats",
                "logs",
                "http",
                "etcd",
                "application",
                "kubernetes",
                "kafka",
                "collector",
                "notifications",
                "aligned_metrics"
            ]
        );
    }

    #[test]
    fn the_first_failure_is_kept() {
        let health = Health::new();
        assert_eq!(health.failure(), None);
        health.fail("thread file-writer panicked");
        health.fail("thread nats-server ended");
        assert_eq!(health.failure().unwrap(), "thread file-writer panicked");
    }

    #[test]
    fn every_part_says_from_the_start_what_is_missing_and_what_is_next() {
        for part in Health::new().report().parts {
            let reason = &part.reason;
            assert!(reason.contains([';', ':']) && reason.len() > 40, "{reason}");
            let registers = reason.contains(crate::registration::PATH);
            assert_eq!(registers, part.part == Part::Application, "{reason}");
        }
        let health = Health::new();
        let long = "x".repeat(HEALTH_REASON_BYTES);
        health.not_ready(Part::Nats, &long, "CIM tries again");
        let report = health.report();
        let reason = &report.parts.first().unwrap().reason;
        assert_eq!(reason.len(), HEALTH_REASON_BYTES);
        assert!(reason.ends_with("x; CIM tries again"), "{reason}");
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let health = Health::new();
        health.set(Part::Nats, State::Ready, &format!("a{}", "é".repeat(400)));
        let report = health.report();
        let reason = &report.parts.first().unwrap().reason;
        assert_eq!(reason.len(), HEALTH_REASON_BYTES - 1);
        assert!(reason.ends_with('é'));
    }
}
