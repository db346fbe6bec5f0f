//! Series about configuration: change sets, the first configuration, etcd.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge};

use super::Maker;
use crate::clock;

/// Seconds: from half a millisecond (loopback) to the application's longest answer.
const LATENCY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0, 120.0,
];

/// See the module.
pub struct ConfigMetrics {
    /// Change sets that were to be delivered to the application.
    pub push_attempts: IntCounter,
    /// Change sets that the application did not accept.
    pub push_failures: IntCounter,
    /// Change sets that the application accepted.
    pub push_successes: IntCounter,
    /// Answers of the application that belong to a change set.
    pub answers: IntCounter,
    /// Change sets that took effect, CIM's own included.
    pub successes: IntCounter,
    /// Change sets that did not, CIM's own included.
    pub failures: IntCounter,
    /// Change sets that the application had no use for.
    pub unused: IntCounter,
    /// Tries to put a commit that etcd did not take.
    pub commit_failures: IntCounter,
    /// Change sets dealt with, by outcome.
    pub change_sets: IntCounterVec,
    /// Changes and answers that were passed over, by reason: `malformed_key`, `foreign_answer`.
    pub skipped: IntCounterVec,
    /// Seconds from a change set's arrival to the application's acceptance.
    pub delivery: Histogram,
    /// Seconds from the application's answer to etcd's acceptance of the commit.
    pub commit: Histogram,
    /// First configurations handled, by result.
    pub day_one: IntCounterVec,
    /// Highest revision of etcd that is known.
    pub revision: IntGauge,
    /// Ends of the watch, by reason.
    pub watch_ends: IntCounterVec,
    progress_age: Gauge,
    /// Milliseconds since the epoch; 0: none yet.
    progress_ms: AtomicU64,
}

impl ConfigMetrics {
    pub(super) fn new(r: &Maker<'_>) -> Result<Self, prometheus::Error> {
        let latency = |name: &str, help: &str| {
            let opts = HistogramOpts::new(name, help)
                .const_label("pod", r.pod)
                .buckets(LATENCY_BUCKETS.to_vec());
            r.register(Histogram::with_opts(opts)?)
        };
        Ok(Self {
            push_attempts: r.counter(
                "cim_config_push_attempt_total",
                "Change sets that were to be delivered to the application.",
            )?,
            push_failures: r.counter(
                "cim_config_push_failure_total",
                "Change sets that the application did not accept.",
            )?,
            push_successes: r.counter(
                "cim_config_push_success_total",
                "Change sets that the application accepted.",
            )?,
            answers: r.counter(
                "cim_config_resp_received_total",
                "Answers of the application to change sets.",
            )?,
            successes: r.counter(
                "cim_config_resp_success_total",
                "Change sets that took effect, CIM's own included.",
            )?,
            failures: r.counter(
                "cim_config_resp_failure_total",
                "Change sets that did not take effect, CIM's own included.",
            )?,
            unused: r.counter(
                "cim_config_resp_unused_total",
                "Change sets that the application had no use for.",
            )?,
            commit_failures: r.counter(
                "cim_commit_config_push_failure_total",
                "Tries to put a commit that etcd did not take.",
            )?,
            change_sets: r.counters(
                "cim_change_sets_total",
                "Change sets dealt with.",
                "outcome",
            )?,
            skipped: r.counters(
                "cim_config_skipped_total",
                "Keys in etcd and answers that were passed over.",
                "reason",
            )?,
            delivery: latency(
                "cim_change_set_delivery_seconds",
                "From a change set's arrival to the application's acceptance.",
            )?,
            commit: latency(
                "cim_change_set_commit_seconds",
                "From the application's answer to etcd's acceptance of the commit.",
            )?,
            day_one: r.counters(
                "cim_day_one_total",
                "First configurations handled.",
                "result",
            )?,
            revision: r.gauge(
                "cim_etcd_revision",
                "Highest revision of etcd that is known.",
            )?,
            watch_ends: r.counters(
                "cim_etcd_watch_ends_total",
                "Ends of the watch; reason limit is the planned one.",
                "reason",
            )?,
            progress_age: r.register(Gauge::with_opts(r.opts(
                "cim_etcd_watch_progress_age_seconds",
                "Seconds since etcd last said how far it is; 0 before the first time.",
            ))?)?,
            progress_ms: AtomicU64::new(0),
        })
    }

    /// etcd has said how far it is.
    pub fn progress(&self, revision: i64) {
        self.revision.set(revision);
        self.progress_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    /// Sets what depends on the time of the scrape.
    pub(super) fn age(&self) {
        let at = self.progress_ms.load(Ordering::Relaxed);
        if at > 0 {
            let age_ms = clock::now_ms().saturating_sub(at);
            self.progress_age.set(age_ms as f64 / 1000.0);
        }
    }
}
