//! What is on its way to a sink, in the journal's order, and what follows when it does not arrive. No clock, no socket.
//!
//! The window holds no event: one that has to be sent again is read from the journal again. What has arrived out of order (of
//! another partition) is remembered and passed over then, so that order within a partition is kept: there, what has arrived is
//! always a beginning of what was sent.

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use super::journal::Record;
use crate::limits::{
    EVENTS_IN_FLIGHT, KAFKA_FIRST_PROBE, KAFKA_OUTAGE, KAFKA_PROBE_PAUSE, PRODUCER_STALL,
    PRODUCER_STALL_LAST,
};

/// What a sender needs of the journal.
pub trait Journal {
    /// What can go wrong with it.
    type Error: Error;

    /// The next record in order; `None` when there is none yet.
    ///
    /// # Errors
    /// The journal cannot be read now.
    fn next(&mut self) -> Result<Option<Record>, Self::Error>;

    /// [`Journal::next`] begins again behind the last acknowledged record.
    fn rewind(&mut self);

    /// All records up to `seq` are done with.
    ///
    /// # Errors
    /// That could not be stored: later calls say it again.
    fn ack(&mut self, seq: u64) -> Result<(), Self::Error>;
}

/// An event that no sink will ever take: to be kept elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The topic that it was for.
    pub topic: &'static str,
    /// Its key; empty when it has none.
    pub key: &'a [u8],
    /// Its JSON, or the bytes that could not be made JSON.
    pub payload: &'a [u8],
    /// Why.
    pub reason: &'a str,
    /// When, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// What is to be done with a record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Send it.
    First,
    /// Send it once more.
    Again,
    /// It has arrived.
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To be sent.
    Waiting,
    /// With the sink.
    Sent,
    /// Arrived, or set aside.
    Done,
}

#[derive(Debug)]
struct Slot {
    seq: u64,
    place: Place,
    tried: bool,
}

/// The records between the journal's beginning and the last one that was read.
#[derive(Debug)]
pub struct Window {
    slots: VecDeque<Slot>,
    slots_max: usize,
    /// Slots that are [`Place::Sent`].
    sent: usize,
    /// The last record that the journal gave since it was rewound.
    read_to: u64,
    /// A record before `read_to` waits: the journal has to be rewound.
    behind: bool,
    /// Up to here one record at a time.
    careful_to: Option<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self::new(EVENTS_IN_FLIGHT)
    }
}

impl Window {
    /// An empty window for at most `slots_max` records.
    pub fn new(slots_max: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            slots_max,
            sent: 0,
            read_to: 0,
            behind: false,
            careful_to: None,
        }
    }

    /// The next record of the journal may be read.
    pub fn has_room(&self) -> bool {
        let inside = self
            .slots
            .back()
            .is_some_and(|last| self.read_to < last.seq);
        !self.behind
            && (inside || self.slots.len() < self.slots_max)
            && (self.careful_to.is_none() || self.sent == 0)
    }

    /// The journal gives record `seq`.
    pub fn take(&mut self, seq: u64) -> Take {
        let before = std::mem::replace(&mut self.read_to, seq);
        let at = match self.find(seq) {
            Ok(at) => at,
            Err(at) if at < self.slots.len() => return Take::Skip,
            Err(at) => {
                self.slots.push_back(Slot {
                    seq,
                    place: Place::Waiting,
                    tried: false,
                });
                at
            }
        };
        self.pass_over(before, at);
        match self.slots.get(at) {
            Some(slot) if slot.place == Place::Waiting => {
                if slot.tried {
                    Take::Again
                } else {
                    Take::First
                }
            }
            _ => Take::Skip,
        }
    }

    /// The journal has no further record.
    pub fn at_end(&mut self) {
        let before = self.read_to;
        if let Some(last) = self.slots.back() {
            self.read_to = self.read_to.max(last.seq);
        }
        self.pass_over(before, self.slots.len());
    }

    /// Records behind `before` and ahead of the slot `at` that the journal no longer gives (it counts damage itself) are nobody's
    /// any more.
    fn pass_over(&mut self, before: u64, at: usize) {
        for slot in self.slots.range_mut(..at).rev() {
            if slot.seq <= before {
                return;
            }
            if slot.place == Place::Waiting {
                slot.place = Place::Done;
            }
        }
    }

    /// The sink has taken record `seq`, and will say what becomes of it.
    pub fn sent(&mut self, seq: u64) {
        self.place(seq, Place::Sent);
    }

    /// Record `seq` has arrived, or is set aside. False when that was known.
    pub fn done(&mut self, seq: u64) -> bool {
        self.place(seq, Place::Done)
    }

    /// Record `seq` has to be sent again, and with it everything behind it that has not arrived.
    pub fn back(&mut self, seq: u64) {
        if self.place(seq, Place::Waiting) {
            self.behind = true;
        }
    }

    /// Record `seq` has to be sent again, by whoever still has it.
    pub fn unsent(&mut self, seq: u64) {
        self.place(seq, Place::Waiting);
    }

    /// A record waits that was read already: one that was read after it may not be sent before it.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// The sink is gone: whatever has not arrived has to be sent again, that which was read and not sent too.
    pub fn all_back(&mut self) {
        for slot in &mut self.slots {
            if slot.place == Place::Sent {
                slot.place = Place::Waiting;
            }
        }
        self.sent = 0;
        self.behind = true;
    }

    /// One record at a time, up to and with `seq`, or to the last one that was read.
    pub fn careful_to(&mut self, seq: Option<u64>) {
        let last = self.slots.back().map(|slot| slot.seq);
        self.careful_to = seq.or(last).max(self.careful_to);
    }

    /// Records go one at a time.
    pub fn is_careful(&self) -> bool {
        self.careful_to.is_some()
    }

    /// Records that the sink has.
    pub fn in_flight(&self) -> usize {
        self.sent
    }

    /// Every record that was read is done with.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// True when the journal is to be rewound now: a record waits, and the reports on all others are there.
    pub fn rewind(&mut self) -> bool {
        let now = self.behind && self.sent == 0;
        if now {
            self.behind = false;
            self.read_to = 0;
        }
        now
    }

    /// Forgets the records at the beginning that are done with: the last of them, when there is one.
    pub fn free(&mut self) -> Option<u64> {
        let mut last = None;
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.place == Place::Done)
        {
            last = self.slots.pop_front().map(|slot| slot.seq);
        }
        let next = self.slots.front().map_or(u64::MAX, |slot| slot.seq);
        if self.careful_to.is_some_and(|to| next > to) {
            self.careful_to = None;
        }
        last
    }

    fn place(&mut self, seq: u64, place: Place) -> bool {
        let Some(slot) = self.find(seq).ok().and_then(|at| self.slots.get_mut(at)) else {
            return false;
        };
        if slot.place == place || slot.place == Place::Done {
            return false;
        }
        self.sent -= usize::from(slot.place == Place::Sent);
        self.sent += usize::from(place == Place::Sent);
        slot.place = place;
        slot.tried |= place == Place::Sent;
        true
    }

    /// The place of `seq`, or where it would be. Numbers mostly follow each other.
    fn find(&self, seq: u64) -> Result<usize, usize> {
        let first = self.slots.front().map_or(seq, |slot| slot.seq);
        let guess = usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX);
        if self.slots.get(guess).is_some_and(|slot| slot.seq == seq) {
            return Ok(guess);
        }
        self.slots.binary_search_by_key(&seq, |slot| slot.seq)
    }
}

/// What a look at the connection to Kafka calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Nothing.
    Nothing,
    /// Ask a broker something: nobody knows whether there is one.
    Probe,
    /// Tell that there is an outage.
    Outage,
    /// Ask a broker something, and replace the producer when it answers: nothing arrives, and it should.
    Suspect,
}

/// How Kafka does, as far as the reports tell.
#[derive(Debug)]
pub struct Link {
    /// Nothing has arrived since, though something should have.
    waiting: Option<Instant>,
    /// An outage was told; it began then.
    outage: Option<Instant>,
    /// Whether there is a broker is not known.
    unknown: bool,
    probe_at: Instant,
    suspect_at: Option<Instant>,
    stall: Duration,
}

impl Link {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            waiting: None,
            outage: None,
            unknown: true,
            probe_at: now + KAFKA_FIRST_PROBE,
            suspect_at: None,
            stall: PRODUCER_STALL,
        }
    }

    /// Something has arrived. How long the outage has lasted, when one was told.
    pub fn arrived(&mut self, now: Instant) -> Option<Duration> {
        self.stall = PRODUCER_STALL;
        self.answered(now)
    }

    /// A broker has answered. How long the outage has lasted, when one was told.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.waiting = None;
        self.suspect_at = None;
        self.unknown = false;
        let since = self.outage.take()?;
        Some(now.saturating_duration_since(since))
    }

    /// No broker has answered.
    pub fn silent(&mut self, now: Instant) {
        self.unknown = true;
        self.probe_at = now + KAFKA_PROBE_PAUSE;
    }

    /// The producer was replaced: the next one has longer, as long as nothing arrives.
    pub fn replaced(&mut self, now: Instant) {
        self.stall = (self.stall * 2).min(PRODUCER_STALL_LAST);
        self.suspect_at = Some(now + self.stall);
    }

    /// An outage was told and is not over.
    pub fn is_out(&self) -> bool {
        self.outage.is_some()
    }

    /// What is to be done. `due`: something should arrive; `down`: librdkafka has lost all brokers.
    pub fn look(&mut self, due: bool, down: bool, now: Instant) -> Call {
        if !due && !down && !self.unknown {
            self.waiting = None;
            self.suspect_at = None;
            return Call::Nothing;
        }
        let since = *self.waiting.get_or_insert(now);
        if !due && now >= self.probe_at {
            self.probe_at = now + KAFKA_PROBE_PAUSE;
            return Call::Probe;
        }
        if self.outage.is_none() && now.saturating_duration_since(since) >= KAFKA_OUTAGE {
            self.outage = Some(since);
            return Call::Outage;
        }
        if due && now >= *self.suspect_at.get_or_insert(since + self.stall) {
            self.suspect_at = Some(now + self.stall);
            return Call::Suspect;
        }
        Call::Nothing
    }

    /// When [`Link::look`] may have something new to say; `None`: when something happens.
    pub fn next_look(&self, due: bool) -> Option<Instant> {
        let since = self.waiting?;
        let outage = self.outage.is_none().then_some(since + KAFKA_OUTAGE);
        let probe = (!due).then_some(self.probe_at);
        let suspect = self.suspect_at.filter(|_| due);
        [outage, probe, suspect].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
