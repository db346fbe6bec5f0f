//! Series about what CIM stores and delivers: events with their journal, log lines on remote sinks with their backlog.
//!
//! At every moment of quiet: events stored = delivered + set aside + in the journal; log lines in = to standard output + to remote sinks
//! + set aside + dropped + to files - retransmitted.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use super::Maker;
use crate::clock;

/// Events on their way from EVENT to their topic.
pub struct EventMetrics {
    /// Events in the journal, delivered neither nor set aside.
    pub journal_records: IntGauge,
    /// Bytes of the journal's files.
    pub journal_bytes: IntGauge,
    /// Age of the oldest event in the journal.
    pub journal_oldest: Age,
    /// Failed operations on the journal's files, by operation.
    pub journal_errors: IntCounterVec,
    /// Pieces of the journal that could not be read at the start, by kind: `torn_tail`, `bad_record`, `bad_segment`.
    pub journal_damage: IntCounterVec,
    /// Times a publisher of events had to wait because the journal was full.
    pub journal_full: IntCounter,
    /// Events that are stored, those found at the start included.
    pub stored: IntCounter,
    /// Verified events that were not stored, by reason: `stop`, `too_large`.
    pub dropped: IntCounterVec,
    /// Events handed to a sink, by sink: `kafka`, `file`.
    pub sent: IntCounterVec,
    /// Events that a sink has taken, by sink.
    pub delivered: IntCounterVec,
    /// Events handed to a sink once more, by sink.
    pub retried: IntCounterVec,
    /// Kafka producers replaced, by topic and reason.
    pub producers_replaced: IntCounterVec,
    /// Records that Kafka will never take, by topic and reason.
    pub set_aside: IntCounterVec,
}

/// Log lines on remote sinks.
pub struct RemoteMetrics {
    /// Lines handed to a sink, by sink: `tcp`, `kafka`.
    pub sent: IntCounterVec,
    /// `Total_msg_sent_to_tcp`: lines that the collector's side has acknowledged.
    pub to_tcp: IntCounter,
    /// Lines that Kafka has acknowledged.
    pub to_kafka: IntCounter,
    /// Lines of the files that a sink has taken, by sink; they count in `to_tcp` and `to_kafka` too.
    pub retransmitted: IntCounterVec,
    /// Lines handed to a sink that went to the files after all, by sink.
    pub handed_back: IntCounterVec,
    /// `tcp_disconnect_count`: connections to the collector that ended unasked.
    pub tcp_disconnects: IntCounter,
    /// Times a sink was given up for a while, by sink.
    pub outages: IntCounterVec,
    /// Lines in the files that are still to be sent.
    pub backlog_lines: IntGauge,
    /// Bytes of those lines.
    pub backlog_bytes: IntGauge,
    /// Age of the oldest of them.
    pub backlog_oldest: Age,
    /// Lines in the files that will not be sent, by reason: `retention`, `removed`, `mode`, `limit`.
    pub backlog_lost: IntCounterVec,
}

/// How long ago something was, in seconds; 0 when there is nothing.
pub struct Age {
    gauge: Gauge,
    /// Milliseconds since the epoch; 0: nothing.
    since_ms: AtomicU64,
}

impl Age {
    fn new(r: &Maker<'_>, name: &str, help: &str) -> Result<Self, prometheus::Error> {
        Ok(Self {
            gauge: r.register(Gauge::with_opts(r.opts(name, help))?)?,
            since_ms: AtomicU64::new(0),
        })
    }

    /// It was then, in milliseconds since the epoch; `None`: there is nothing.
    pub fn set(&self, since_ms: Option<u64>) {
        self.since_ms
            .store(since_ms.unwrap_or(0), Ordering::Relaxed);
    }

    /// Seconds; `None`: there is nothing.
    pub fn seconds(&self) -> Option<f64> {
        let since = self.since_ms.load(Ordering::Relaxed);
        let age_ms = clock::now_ms().saturating_sub(since);
        (since > 0).then_some(age_ms as f64 / 1000.0)
    }

    /// Sets the gauge to what it is now.
    pub(super) fn look(&self) {
        self.gauge.set(self.seconds().unwrap_or(0.0));
    }
}

impl EventMetrics {
    pub(super) fn new(r: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            journal_records: r.gauge("cim_journal_records", "Events that wait in the journal.")?,
            journal_bytes: r.gauge("cim_journal_bytes", "Bytes of the journal's files.")?,
            journal_oldest: Age::new(
                r,
                "cim_journal_oldest_seconds",
                "Age of the oldest event in the journal.",
            )?,
            journal_errors: r.counters(
                "cim_journal_errors_total",
                "Failed operations on the journal's files.",
                "operation",
            )?,
            journal_damage: r.counters(
                "cim_journal_damage_total",
                "Pieces of the journal that could not be read at the start.",
                "kind",
            )?,
            journal_full: r.counter(
                "cim_journal_full_total",
                "Times publishers of events had to wait because the journal was full.",
            )?,
            stored: r.counter(
                "cim_events_stored_total",
                "Events stored in the journal, those found there at the start included.",
            )?,
            dropped: r.counters(
                "cim_events_dropped_total",
                "Events that were not stored: too large, or the journal could not take them before CIM ended.",
                "reason",
            )?,
            sent: r.counters("cim_events_sent_total", "Events handed to a sink.", "sink")?,
            delivered: r.counters(
                "cim_events_delivered_total",
                "Events that a sink has taken.",
                "sink",
            )?,
            retried: r.counters(
                "cim_events_retried_total",
                "Events handed to a sink once more.",
                "sink",
            )?,
            producers_replaced: r.register(IntCounterVec::new(
                r.opts(
                    "cim_kafka_producers_replaced_total",
                    "Kafka producers replaced by a new one.",
                ),
                &["topic", "reason"],
            )?)?,
            set_aside: r.register(IntCounterVec::new(
                r.opts(
                    "cim_set_aside_total",
                    "Records that Kafka will never take, kept in the state directory.",
                ),
                &["topic", "reason"],
            )?)?,
        })
    }

    /// Sets what depends on the time of the scrape.
    pub(super) fn age(&self) {
        self.journal_oldest.look();
    }
}

impl RemoteMetrics {
    pub(super) fn new(r: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent: r.counters(
                "cim_log_lines_sent_total",
                "Log lines handed to a remote sink.",
                "sink",
            )?,
            to_tcp: r.counter(
                "Total_msg_sent_to_tcp",
                "Log lines that the TCP collector's side has acknowledged.",
            )?,
            to_kafka: r.counter(
                "cim_log_lines_kafka_total",
                "Log lines that Kafka has acknowledged.",
            )?,
            retransmitted: r.counters(
                "cim_log_lines_retransmitted_total",
                "Log lines from the files that a remote sink has taken.",
                "sink",
            )?,
            handed_back: r.counters(
                "cim_log_lines_handed_back_total",
                "Log lines handed to a remote sink that went to the files after all.",
                "sink",
            )?,
            tcp_disconnects: r.counter(
                "tcp_disconnect_count",
                "Connections to the TCP collector that ended unasked.",
            )?,
            outages: r.counters(
                "cim_log_sink_outages_total",
                "Times a remote sink was given up for a while.",
                "sink",
            )?,
            backlog_lines: r.gauge(
                "cim_log_backlog_lines",
                "Log lines in the files that are still to be sent.",
            )?,
            backlog_bytes: r.gauge(
                "cim_log_backlog_bytes",
                "Bytes of the log lines in the files that are still to be sent.",
            )?,
            backlog_oldest: Age::new(
                r,
                "cim_log_backlog_oldest_seconds",
                "Age of the oldest log line in the files that is still to be sent.",
            )?,
            backlog_lost: r.counters(
                "cim_log_backlog_lost_total",
                "Log lines in the files that will not be sent.",
                "reason",
            )?,
        })
    }

    /// Sets what depends on the time of the scrape.
    pub(super) fn age(&self) {
        self.backlog_oldest.look();
    }
}
