//! What both sinks need: the next event, ready to be sent, and the journal freed behind what has arrived.

use std::sync::Arc;
use std::time::Instant;

use super::EventSender;
use crate::chain::chain;
use crate::clock;
use crate::events::delivery::{Journal, Refused, Take, Window};
use crate::events::journal::{Kind, Record};
use crate::events::own;
use crate::events::record::{self, Source, TOPIC};
use crate::identity::Identity;
use crate::limits::{EVENT_FILE_BYTES, KAFKA_RETRY_FIRST};
use crate::logs::throttle::Throttle;
use crate::wire::Event;

/// An event as its sink gets it.
#[derive(Default)]
pub struct Ready {
    /// Its number in the journal.
    pub seq: u64,
    /// The record's key.
    pub key: Vec<u8>,
    /// The record's value: JSON.
    pub value: Vec<u8>,
    /// The record's time; `None`: that of its sending.
    pub time_ms: Option<i64>,
    /// It was sent before.
    pub again: bool,
}

/// See the module.
pub struct Work<J> {
    /// What the thread owns.
    pub parts: EventSender<J>,
    /// What is on its way.
    pub window: Window,
    /// The event read last.
    pub ready: Ready,
    /// `ready` is still to be sent.
    pending: bool,
    /// The journal had no further record.
    exhausted: bool,
    source: Option<(Arc<Identity>, Source)>,
    /// To be told to the journal.
    freed: Option<u64>,
    /// The journal failed; it is not asked before then.
    journal_at: Option<Instant>,
    told: Throttle,
    refused_told: Throttle,
}

impl<J: Journal> Work<J> {
    pub fn new(parts: EventSender<J>) -> Self {
        Self {
            parts,
            window: Window::default(),
            ready: Ready::default(),
            pending: false,
            exhausted: false,
            source: None,
            freed: None,
            journal_at: None,
            told: Throttle::default(),
            refused_told: Throttle::default(),
        }
    }

    /// Makes the next event ready in [`Self::ready`]; false when there is none, or when no more may be on its way. The same one
    /// again until [`Self::sent`] or [`Self::refuse`] was said of it.
    pub fn next(&mut self, now: Instant) -> bool {
        if self.window.is_behind() {
            // Something before it has to be sent again first.
            self.pending = false;
        }
        if self.window.rewind() {
            self.parts.journal.rewind();
        }
        while !self.pending {
            if !self.window.has_room() || self.journal_at.is_some_and(|at| now < at) {
                return false;
            }
            match self.parts.journal.next() {
                Ok(Some(record)) => {
                    self.exhausted = false;
                    match self.window.take(record.seq) {
                        Take::Skip => {}
                        Take::First => self.prepare(record, false, now),
                        Take::Again => self.prepare(record, true, now),
                    }
                }
                Ok(None) => {
                    self.exhausted = true;
                    self.window.at_end();
                    return false;
                }
                Err(error) => {
                    self.journal_failed(&error, now);
                    return false;
                }
            }
        }
        true
    }

    fn prepare(&mut self, record: Record, again: bool, now: Instant) {
        let ready = &mut self.ready;
        ready.seq = record.seq;
        ready.again = again;
        ready.key.clear();
        ready.value.clear();
        ready.value.shrink_to(EVENT_FILE_BYTES);
        match record.kind {
            Kind::Raised => {
                ready.key.extend_from_slice(own::KEY.as_bytes());
                let identity = self.parts.identity.load();
                own::with_headers(&record.payload, &identity, &mut ready.value);
                ready.time_ms = i64::try_from(record.time_ms).ok();
            }
            Kind::Event => {
                let identity = self.parts.identity.load();
                let source = match &mut self.source {
                    Some((known, source)) if Arc::ptr_eq(known, &identity) => source,
                    source => {
                        let new = Source::new(&identity);
                        &source.insert((identity, new)).1
                    }
                };
                let made = Event::read(&record.payload).map(|event| {
                    ready.time_ms = Some(record::timestamp(event.event_time, record.time_ms));
                    source.append(&event, &mut ready.value)
                });
                let (label, reason) = match made {
                    Ok(Ok(())) => {
                        ready.key.extend_from_slice(source.key());
                        self.pending = true;
                        return;
                    }
                    Ok(Err(error)) => ("too_large", error.to_string()),
                    Err(error) => ("malformed", chain(&error)),
                };
                // Its bytes as they came: they are what is left of it.
                ready.value = record.payload;
                return self.refuse(label, &reason, now);
            }
        }
        self.pending = true;
    }

    /// A sink has taken the event that is ready.
    pub fn sent(&mut self, sink: &str) {
        self.pending = false;
        self.window.sent(self.ready.seq);
        let events = &self.parts.metrics.events;
        let counter = if self.ready.again {
            &events.retried
        } else {
            &events.sent
        };
        counter.with_label_values(&[sink]).inc();
    }

    /// The event that is ready was sent, has not arrived, and is sent again before any other.
    pub fn unsent(&mut self) {
        self.window.unsent(self.ready.seq);
        self.pending = true;
        self.ready.again = true;
    }

    /// Event `seq` has arrived. False when that was known.
    pub fn arrived(&mut self, seq: u64, sink: &str) -> bool {
        let new = self.window.done(seq);
        if new {
            let delivered = &self.parts.metrics.events.delivered;
            delivered.with_label_values(&[sink]).inc();
        }
        new
    }

    /// No sink will ever take the event that is ready: it is set aside.
    pub fn refuse(&mut self, label: &str, reason: &str, now: Instant) {
        self.pending = false;
        (self.parts.set_aside)(&Refused {
            topic: TOPIC,
            key: &self.ready.key,
            payload: &self.ready.value,
            reason,
            now_ms: clock::now_ms(),
        });
        self.window.done(self.ready.seq);
        let set_aside = &self.parts.metrics.events.set_aside;
        set_aside.with_label_values(&[TOPIC, label]).inc();
        if let Some(before) = self.refused_told.pass(now) {
            log::error!(
                "event {} of the journal is set aside: {reason} ({before} lines about this left out)",
                self.ready.seq
            );
        }
    }

    /// Whatever has not arrived is to be sent again.
    pub fn all_back(&mut self) {
        self.pending = false;
        self.window.all_back();
    }

    /// Tells the journal what has arrived.
    pub fn free(&mut self, now: Instant) {
        self.freed = self.window.free().or(self.freed);
        let Some(seq) = self.freed else {
            return;
        };
        if self.journal_at.is_some_and(|at| now < at) {
            return;
        }
        match self.parts.journal.ack(seq) {
            Ok(()) => self.freed = None,
            Err(error) => self.journal_failed(&error, now),
        }
    }

    fn journal_failed(&mut self, error: &J::Error, now: Instant) {
        self.journal_at = Some(now + KAFKA_RETRY_FIRST);
        if let Some(before) = self.told.pass(now) {
            log::error!("{} ({before} lines about this left out)", chain(error));
        }
    }

    /// The journal may have more than was known.
    pub fn look_again(&mut self) {
        self.exhausted = false;
    }

    /// When the journal is to be asked again after it has failed.
    pub fn journal_at(&self) -> Option<Instant> {
        self.journal_at
    }

    /// Everything in the journal is done with.
    pub fn is_idle(&self) -> bool {
        self.exhausted && !self.pending && self.window.is_empty()
    }
}
