//! Series about what the application uses at run time: event subscriptions, and its own metrics scraped at aligned times.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Maker;

/// Records of topic FMAASEVENTS on their way to EVENT-NOTIFICATION. At every moment of quiet: consumed = delivered + skipped.
pub struct NotificationMetrics {
    /// Event subscriptions of the application.
    pub subscriptions: IntGauge,
    /// Records read.
    pub consumed: IntCounter,
    /// Records that every subscriber of EVENT-NOTIFICATION has been sent.
    pub delivered: IntCounter,
    /// Records that are not delivered, by reason: `no_match`, `replay`, `too_large`.
    pub skipped: IntCounterVec,
    /// Partitions assigned or revoked by the consumer group's coordinator, by what: `assigned`, `revoked`.
    pub rebalances: IntCounterVec,
    /// Kafka consumers replaced by a new one, by reason.
    pub consumers_replaced: IntCounterVec,
}

/// Scrapes of the application at multiples of an interval.
pub struct AlignedMetrics {
    /// Scrapes of one port, by result: `success`, `failure`.
    pub scrapes: IntCounterVec,
    /// Aligned times without a scrape: the one before took too long, or the clock has jumped.
    pub missed: IntCounter,
    /// Snapshots that wait to be handed out.
    pub snapshots: IntGauge,
    /// Snapshots that were never handed out, by reason: `retention`, `bytes`.
    pub dropped: IntCounterVec,
}

impl NotificationMetrics {
    pub(super) fn new(r: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            subscriptions: r.gauge(
                "cim_event_subscriptions",
                "Event subscriptions of the application.",
            )?,
            consumed: r.counter(
                "cim_notifications_consumed_total",
                "Records read from FMAASEVENTS.",
            )?,
            delivered: r.counter(
                "cim_notifications_delivered_total",
                "Records that every subscriber of EVENT-NOTIFICATION has been sent.",
            )?,
            skipped: r.counters(
                "cim_notifications_skipped_total",
                "Records of FMAASEVENTS that are not delivered.",
                "reason",
            )?,
            rebalances: r.counters(
                "cim_kafka_rebalances_total",
                "Partitions of FMAASEVENTS assigned to or revoked from this consumer.",
                "change",
            )?,
            consumers_replaced: r.counters(
                "cim_kafka_consumers_replaced_total",
                "Kafka consumers replaced by a new one.",
                "reason",
            )?,
        })
    }
}

impl AlignedMetrics {
    pub(super) fn new(r: &Maker<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            scrapes: r.counters(
                "cim_aligned_scrapes_total",
                "Scrapes of a port at an aligned time.",
                "result",
            )?,
            missed: r.counter(
                "cim_aligned_missed_total",
                "Aligned times without a scrape: the one before took too long, or the clock has jumped.",
            )?,
            snapshots: r.gauge(
                "cim_aligned_snapshots",
                "Snapshots that wait to be handed out.",
            )?,
            dropped: r.counters(
                "cim_aligned_snapshots_dropped_total",
                "Snapshots that were never handed out.",
                "reason",
            )?,
        })
    }
}
