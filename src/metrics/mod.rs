//! The series of `GET /metrics` (CONTRACT section 9), and CIM's own.
//!
//! Counters are moved once a batch, never once a message: whoever owns a hot loop counts in local variables.

use std::cell::RefCell;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

use crate::health::{PartReport, State};

/// Bytes: the bounds of every message size histogram (20 linear buckets, the last one being +Inf).
fn size_buckets() -> Vec<f64> {
    (0..20).map(|n| f64::from(n) * 500.0).collect()
}

/// The registry and every series that CIM moves.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    /// Messages on LOG, EVENT and CONFIG.
    pub total_messages: IntCounter,
    /// Bytes of those messages.
    pub total_bytes: IntCounter,
    /// Bytes of the last message.
    pub packet_size: IntGauge,
    /// CONFIG.
    pub config: SubjectMetrics,
    /// EVENT.
    pub event: SubjectMetrics,
    /// LOG.
    pub log: SubjectMetrics,
    /// TEST.
    pub test: SubjectMetrics,
    /// `cim_nats_EVENT_latency`, milliseconds from the event's time to its arrival.
    pub event_latency: Gauge,
    /// `Total_msg_count`: log lines that entered the log pipeline.
    pub lines_in: IntCounter,
    /// `Total_msg_write_to_file`: log lines written to a file.
    pub lines_to_file: IntCounter,
    /// Log lines written to standard output.
    pub lines_to_stdout: IntCounter,
    /// Log lines that were not written, by reason ([`DropReason`]).
    lines_dropped: IntCounterVec,
    /// Lines of CIM's own log that were not taken, by reason.
    pub own_lines_dropped: IntCounterVec,
    /// Copies for stdout given up in mode FILEANDSTDOUT (the file has them).
    pub stdout_copies_dropped: IntCounter,
    /// Failed operations on log files, by operation.
    pub file_errors: IntCounterVec,
    /// Log files rotated.
    pub file_rotations: IntCounter,
    /// Log file backups removed, by reason: `count`, `age`, `space`.
    pub backups_removed: IntCounterVec,
    /// 1 while log files cannot be written.
    pub file_failing: IntGauge,
    /// Messages not understood, by subject.
    pub malformed: IntCounterVec,
    /// NATS connections open.
    pub nats_connections: IntGauge,
    /// NATS connections accepted.
    pub nats_connections_total: IntCounter,
    /// NATS connections closed, by reason.
    pub nats_closed: IntCounterVec,
    /// NATS subscriptions.
    pub nats_subscriptions: IntGauge,
    /// Messages from NATS clients.
    pub nats_in_messages: IntCounter,
    /// Payload bytes from NATS clients.
    pub nats_in_bytes: IntCounter,
    /// Messages to NATS clients.
    pub nats_out_messages: IntCounter,
    /// Payload bytes to NATS clients.
    pub nats_out_bytes: IntCounter,
    /// NATS clients cut off as slow consumers.
    pub nats_slow_consumers: IntCounter,
    /// Publishes and subscriptions that a NATS client had no right to.
    pub nats_violations: IntCounter,
    /// Times a connection was held back because a channel of the data path was full.
    pub nats_held_back: IntCounter,
    /// Messages of an external NATS server that were lost because CIM had no room for them, by subject.
    pub external_dropped: IntCounterVec,
    /// Connections to an external NATS server that broke or did not answer any more.
    pub external_lost: IntCounter,
    /// HTTP requests answered, by status code.
    pub http_requests: IntCounterVec,
    /// HTTP connections closed before their request was complete, by reason.
    pub http_aborted: IntCounterVec,
    /// Registrations of the application that were accepted.
    pub registrations: IntCounter,
    /// How each part of CIM is, by part: [`Metrics::set_parts`].
    pub part_ready: IntGaugeVec,
    /// Re-reads of the configuration, by result.
    pub config_reloads: IntCounterVec,
    /// Events that CIM raised itself, by name.
    pub own_events: IntCounterVec,
    /// Events of CIM's own that were dropped because their queue was full.
    pub own_events_dropped: IntCounter,
    /// Change sets, the first configuration, etcd.
    pub changes: ConfigMetrics,
    /// Events on their way to their topic.
    pub events: EventMetrics,
    /// Log lines on remote sinks.
    pub remote: RemoteMetrics,
    /// Event subscriptions.
    pub notifications: NotificationMetrics,
    /// Scrapes at aligned times.
    pub aligned: AlignedMetrics,
    /// Calls to the Kubernetes API, by verb and by status code or kind of failure.
    pub kubernetes_requests: IntCounterVec,
}

/// The series that each subject has.
pub struct SubjectMetrics {
    /// `cim_nats_S_message_count`.
    pub count: IntCounter,
    /// `cim_nats_S_message_size`.
    pub size: Histogram,
}

/// Why a log line was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Not a valid FlatBuffers `LogMessage`.
    Malformed,
    /// The file could not be written: no space, or over the file size limit.
    NoSpace,
    /// The file could not be written: any other error.
    IoError,
    /// The file writer stood still.
    Stalled,
}

impl DropReason {
    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoSpace => "no_space",
            Self::IoError => "io_error",
            Self::Stalled => "stalled",
        }
    }

    const ALL: [Self; 4] = [Self::Malformed, Self::NoSpace, Self::IoError, Self::Stalled];
}

impl Metrics {
    /// Registers every series, with the label `pod` on each.
    ///
    /// # Errors
    /// A name that is declared twice or is not a valid metric name: a mistake in this file.
    pub fn new(pod: &str) -> Result<Self, prometheus::Error> {
        let r = Maker {
            registry: Registry::new(),
            names: RefCell::default(),
            pod,
        };
        let metrics = Self {
            total_messages: r.counter("cim_total_messages_counter", "Messages received on LOG, EVENT and CONFIG.")?,
            total_bytes: r.counter("cim_total_bytes_counter", "Bytes of the messages received on LOG, EVENT and CONFIG.")?,
            packet_size: r.gauge("cim_packet_size", "Bytes of the last message received.")?,
            config: r.subject("CONFIG")?,
            event: r.subject("EVENT")?,
            log: r.subject("LOG")?,
            test: r.subject("TEST")?,
            event_latency: r.register(Gauge::with_opts(
                r.opts("cim_nats_EVENT_latency", "Milliseconds from an event's own time to its arrival."),
            )?)?,
            lines_in: r.counter("Total_msg_count", "Log lines that entered the log pipeline, CIM's own included.")?,
            lines_to_file: r.counter("Total_msg_write_to_file", "Log lines written to a log file.")?,
            lines_to_stdout: r.counter("cim_log_lines_stdout_total", "Log lines written to standard output.")?,
            lines_dropped: r.counters("cim_log_lines_dropped_total", "Log lines that were not written.", "reason")?,
            own_lines_dropped: r.counters("cim_own_log_lines_dropped_total", "Lines of CIM's own log that were not taken.", "reason")?,
            stdout_copies_dropped: r.counter(
                "cim_log_stdout_copies_dropped_total",
                "Copies for standard output given up in mode FILEANDSTDOUT; the file has the lines.",
            )?,
            file_errors: r.counters("cim_log_file_errors_total", "Failed operations on log files.", "operation")?,
            file_rotations: r.counter("cim_log_file_rotations_total", "Log files rotated.")?,
            backups_removed: r.counters("cim_log_file_backups_removed_total", "Log file backups removed.", "reason")?,
            file_failing: r.gauge("cim_log_file_failing", "1 while log files cannot be written.")?,
            malformed: r.counters("cim_malformed_messages_total", "Messages that could not be read.", "subject")?,
            nats_connections: r.gauge("cim_nats_connections", "Open NATS connections.")?,
            nats_connections_total: r.counter("cim_nats_connections_total", "NATS connections accepted.")?,
            nats_closed: r.counters("cim_nats_connections_closed_total", "NATS connections closed.", "reason")?,
            nats_subscriptions: r.gauge("cim_nats_subscriptions", "NATS subscriptions.")?,
            nats_in_messages: r.counter("cim_nats_in_messages_total", "Messages from NATS clients.")?,
            nats_in_bytes: r.counter("cim_nats_in_bytes_total", "Payload bytes from NATS clients.")?,
            nats_out_messages: r.counter("cim_nats_out_messages_total", "Messages to NATS clients.")?,
            nats_out_bytes: r.counter("cim_nats_out_bytes_total", "Payload bytes to NATS clients.")?,
            nats_slow_consumers: r.counter("cim_nats_slow_consumers_total", "NATS clients cut off because they did not read.")?,
            nats_violations: r.counter("cim_nats_permission_violations_total", "Publishes and subscriptions that a NATS client had no right to.")?,
            nats_held_back: r.counter(
                "cim_nats_held_back_total",
                "Times a publisher was held back because the data path behind it was full.",
            )?,
            external_dropped: r.counters("cim_nats_external_dropped_total", "Messages of an external NATS server that were lost for want of room.", "subject")?,
            external_lost: r.counter("cim_nats_external_connections_lost_total", "Connections to an external NATS server that broke or did not answer any more.")?,
            http_requests: r.counters("cim_http_requests_total", "HTTP requests answered.", "code")?,
            http_aborted: r.counters("cim_http_aborted_total", "HTTP connections closed in the middle of a request.", "reason")?,
            registrations: r.counter("cim_registrations_total", "Registrations of the application that were accepted.")?,
            part_ready: r.register(IntGaugeVec::new(
                r.opts("cim_part_ready", "1 when a part of CIM is ready, 0 when it is not; none when it is switched off."),
                &["part"],
            )?)?,
            config_reloads: r.counters("cim_config_reloads_total", "Re-reads of the configuration files.", "result")?,
            own_events: r.counters("cim_own_events_total", "Events that CIM raised itself.", "event")?,
            own_events_dropped: r.counter("cim_own_events_dropped_total", "Events of CIM's own that were dropped because their queue was full.")?,
            changes: ConfigMetrics::new(&r)?,
            events: EventMetrics::new(&r)?,
            remote: RemoteMetrics::new(&r)?,
            notifications: NotificationMetrics::new(&r)?,
            aligned: AlignedMetrics::new(&r)?,
            kubernetes_requests: r.register(IntCounterVec::new(
                r.opts("cim_kubernetes_requests_total", "Calls to the Kubernetes API."),
                &["verb", "code"],
            )?)?,
            names: r.names.into_inner(),
            registry: r.registry,
        };
        for reason in DropReason::ALL {
            metrics.dropped(reason).inc_by(0);
        }
        #[cfg(target_os = "linux")]
        metrics.register(Box::new(process::Process))?;
        Ok(metrics)
    }

    /// Log lines that were not written for `reason`.
    pub fn dropped(&self, reason: DropReason) -> IntCounter {
        self.lines_dropped.with_label_values(&[reason.label()])
    }

    /// What `/readyz` says, as series.
    pub fn set_parts(&self, parts: &[PartReport]) {
        for part in parts {
            let label = [part.part.name()];
            let gauge = |value| self.part_ready.with_label_values(&label).set(value);
            match part.state {
                State::Ready => gauge(1),
                State::NotReady => gauge(0),
                // That there is none is no mistake.
                State::Disabled => drop(self.part_ready.remove_label_values(&label)),
            }
        }
    }

    /// Log lines that were not written, by reason.
    pub(crate) fn lines_dropped(&self) -> &IntCounterVec {
        &self.lines_dropped
    }

    /// Log lines that were not written, over all reasons.
    pub fn dropped_total(&self) -> u64 {
        DropReason::ALL
            .iter()
            .map(|&reason| self.dropped(reason).get())
            .sum()
    }

    /// The name of every series that is declared, those without a value yet too; not those about the process.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Adds a collector of its own to what `/metrics` shows.
    ///
    /// # Errors
    /// A series of this name is there already.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// Every series in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// A series that cannot be written, for instance one without a value.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.changes.age();
        self.events.age();
        self.remote.age();
        let mut text = Vec::with_capacity(32 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

struct Maker<'a> {
    registry: Registry,
    names: RefCell<Vec<String>>,
    pod: &'a str,
}

impl Maker<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_label("pod", self.pod)
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        collector: C,
    ) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(collector.clone()))?;
        let names = collector
            .desc()
            .into_iter()
            .map(|desc| desc.fq_name.clone());
        self.names.borrow_mut().extend(names);
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::with_opts(self.opts(name, help))?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::with_opts(self.opts(name, help))?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(self.opts(name, help), &[label])?)
    }

    fn subject(&self, subject: &str) -> Result<SubjectMetrics, prometheus::Error> {
        let opts = HistogramOpts::new(
            format!("cim_nats_{subject}_message_size"),
            format!("Bytes of a message on {subject}."),
        )
        .const_label("pod", self.pod)
        .buckets(size_buckets());
        Ok(SubjectMetrics {
            count: self.counter(
                &format!("cim_nats_{subject}_message_count"),
                &format!("Messages received on {subject}."),
            )?,
            size: self.register(Histogram::with_opts(opts)?)?,
        })
    }
}

pub mod aligned;
mod config;
mod delivery;
mod process;
mod runtime;

pub use config::ConfigMetrics;
pub use delivery::{Age, EventMetrics, RemoteMetrics};
pub use process::ProcessUsage;
pub use runtime::{AlignedMetrics, NotificationMetrics};
