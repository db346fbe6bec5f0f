//! EVENT, CONFIG and TEST: verified, counted, and given to who handles them.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::chain::chain;
use crate::change_set::answer::ConfigAnswer;
use crate::clock;
use crate::events::AppSignal;
use crate::events::record::TOPIC;
use crate::limits::{MALFORMED_KEPT, MALFORMED_KEPT_BYTES, SAY_AGAIN};
use crate::metrics::{Metrics, SubjectMetrics};
use crate::set_aside::SetAside;
use crate::settings::problem;
use crate::tap::{Batch, Control, ControlBatch, Failure};
use crate::wire::Event;

pub(super) struct Messages {
    /// To `config_delivery`: the application's answers.
    pub(super) answers: Sender<ConfigAnswer>,
    /// To `config_delivery`: what the application tells by its events.
    pub(super) signals: Sender<AppSignal>,
    /// To the daemon: the application has shut itself down.
    pub(super) shutdown: Sender<AppSignal>,
    /// Keeps events that are none.
    pub(super) set_aside: Arc<SetAside>,
    /// How many were kept of late: since when.
    pub(super) kept: (Instant, u32),
    pub(super) metrics: Arc<Metrics>,
}

impl Messages {
    /// What of `batch` is to be stored.
    pub(super) fn events(&mut self, mut batch: Batch) -> Batch {
        let buffer = batch.buffer.clone();
        let mut acks = std::mem::take(&mut batch.acks).into_iter().peekable();
        let (mut at, mut kept) = (0, 0);
        batch.spans.retain(|span| {
            let payload = span.of(&buffer);
            self.count(&self.metrics.event, payload, true);
            let is_valid = self.event(payload);
            let ack = acks.next_if(|(index, _)| *index == at);
            at += 1;
            if is_valid {
                batch.acks.extend(ack.map(|(_, ack)| (kept, ack)));
                kept += 1;
            } else {
                self.malformed("EVENT", payload);
                self.keep(payload);
                if let Some((_, ack)) = ack {
                    ack.fail(Failure::Malformed);
                }
            }
            is_valid
        });
        batch
    }

    /// False when it is no event.
    fn event(&self, payload: &[u8]) -> bool {
        let Ok(event) = Event::read(payload) else {
            return false;
        };
        let now_ms = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
        let latency = now_ms.saturating_sub(event.event_time);
        self.metrics.event_latency.set(latency as f64);
        if let Some(signal) = AppSignal::of(event.event_name) {
            self.signal(signal);
        }
        true
    }

    fn signal(&self, signal: AppSignal) {
        let to = match signal {
            AppSignal::NotConfigured | AppSignal::Configured => &self.signals,
            AppSignal::ShutdownSuccess | AppSignal::ShutdownFailure => &self.shutdown,
        };
        if to.try_send(signal).is_err() {
            log::warn!(
                "{signal:?}: the application has told too much of this kind; this one is passed over"
            );
        }
    }

    pub(super) fn control(&self, batch: &ControlBatch) {
        for (subject, span) in &batch.messages {
            let payload = span.of(&batch.buffer);
            match subject {
                // As in the original, CIM's messages to itself are in none of the totals.
                Control::Test => self.count(&self.metrics.test, payload, false),
                Control::Config => {
                    self.count(&self.metrics.config, payload, true);
                    self.config(payload);
                }
            }
        }
    }

    fn config(&self, payload: &[u8]) {
        let Ok(answer) = ConfigAnswer::parse(payload) else {
            return self.malformed("CONFIG", payload);
        };
        if self.answers.try_send(answer).is_err() {
            let skipped = &self.metrics.changes.skipped;
            skipped.with_label_values(&["too_many_answers"]).inc();
            log::warn!("more answers on CONFIG than CIM waits for: one is dropped");
        }
    }

    fn count(&self, subject: &SubjectMetrics, payload: &[u8], in_totals: bool) {
        subject.count.inc();
        subject.size.observe(payload.len() as f64);
        if in_totals {
            self.metrics.total_messages.inc();
            self.metrics.total_bytes.inc_by(payload.len() as u64);
            self.metrics.packet_size.set(payload.len() as i64);
        }
    }

    /// Sets a message aside that is no event, unless there were many of late: a hostile publisher must not keep the disk busy.
    fn keep(&mut self, payload: &[u8]) {
        let now = Instant::now();
        let (since, count) = &mut self.kept;
        if now.saturating_duration_since(*since) >= SAY_AGAIN {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > MALFORMED_KEPT {
            return;
        }
        let part = payload.get(..MALFORMED_KEPT_BYTES).unwrap_or(payload);
        let kept = self
            .set_aside
            .keep(TOPIC, None, part, "malformed", clock::now_ms());
        if let Err(error) = kept {
            log::warn!("{}", chain(&error));
        }
    }

    fn malformed(&self, subject: &str, payload: &[u8]) {
        let malformed = &self.metrics.malformed;
        malformed.with_label_values(&[subject]).inc();
        let bytes = payload.get(..SHOWN_BYTES).unwrap_or(payload);
        let shown = problem::escaped(&String::from_utf8_lossy(bytes));
        log::warn!(
            "a message on {subject} of {} bytes is malformed and was dropped; it begins with {shown}",
            payload.len()
        );
    }
}

/// Bytes of a malformed message that are shown.
const SHOWN_BYTES: usize = 32;
