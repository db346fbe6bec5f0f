//! Thread `journal-writer`: stores events before anything else happens to them.
//!
//! In: `batches` (`nats_subscriptions`), `raised` (CIM's own events, any thread), `stop` (the daemon). Out: `progress`, and the reader of the
//! journal, which is woken after each commit.
//! While the journal is full, or its disk fails, it takes nothing: `batches` fills, and the publishers of events are held back. `raised`
//! fills too, and whoever raises one more is not held back but loses it. Each turn takes what was raised first, so that a flood of
//! events does not keep it out.
//! Ends when no sender of `batches` and `raised` is left and all is committed. When `stop` is closed, what cannot be stored within
//! [`limits::JOURNAL_STOP_TIME`] is given up: counted, said, and never acknowledged.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::clock;
use crate::events::RaisedEvent;
use crate::events::journal::{AppendError, JournalDisk, JournalError, JournalWriter, Kind};
use crate::limits;
use crate::logs::disk::RealDisk;
use crate::logs::throttle::Throttle;
use crate::metrics::Metrics;
use crate::progress::{Lane, Progress};
use crate::random;
use crate::tap::{Batch, Failure, Outcome};
use crate::threads::spawn::{Notice, spawn};

/// What the thread owns.
pub struct JournalThread<D: JournalDisk = RealDisk> {
    /// Verified events.
    pub batches: Receiver<Batch>,
    /// CIM's own.
    pub raised: Receiver<RaisedEvent>,
    /// Closed when a stop begins; nothing is ever sent.
    pub stop: Receiver<Infallible>,
    /// Where they go.
    pub journal: JournalWriter<D>,
    /// Where it says what is stored.
    pub progress: Arc<Progress>,
    /// The series it moves.
    pub metrics: Arc<Metrics>,
}

impl<D> JournalThread<D>
where
    D: JournalDisk + Send + 'static,
    D::File: Send,
{
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("journal-writer", notices, || Work::new(self).run())
    }
}

struct Work<D: JournalDisk> {
    parts: JournalThread<D>,
    /// When what cannot be stored is given up.
    give_up_at: Option<Instant>,
    /// The last batch that is appended whole and not yet said to be done.
    taken: Option<u64>,
    /// Who waits for what is appended and not committed.
    acks: Vec<Outcome>,
    backoff: Backoff,
    full_told: Throttle,
    failure_told: Throttle,
}

/// Not stored, and not tried any more.
struct GivenUp;

impl<D: JournalDisk> Work<D> {
    fn new(parts: JournalThread<D>) -> Self {
        Self {
            parts,
            give_up_at: None,
            taken: None,
            acks: Vec::new(),
            backoff: Backoff::new(limits::JOURNAL_RETRY_FIRST, limits::JOURNAL_RETRY_LAST),
            full_told: Throttle::default(),
            failure_told: Throttle::default(),
        }
    }

    fn run(mut self) {
        let (mut batches_open, mut raised_open) = (true, true);
        let mut given_up = 0;
        while batches_open || raised_open {
            let sync = self.parts.journal.deadline().map_or_else(never, at);
            select! {
                recv(self.parts.batches) -> batch => match batch {
                    Ok(batch) => given_up += self.turn(Some(batch), None),
                    // A closed channel is always ready: it would spin.
                    Err(_) => { batches_open = false; self.parts.batches = never(); }
                },
                recv(self.parts.raised) -> event => match event {
                    Ok(event) => given_up += self.turn(None, Some(event)),
                    Err(_) => { raised_open = false; self.parts.raised = never(); }
                },
                recv(self.parts.stop) -> _ => self.begin_stop(),
                recv(sync) -> _ => given_up += self.turn(None, None),
            }
        }
        self.begin_stop();
        let _ = self.commit();
        given_up += self.parts.journal.uncommitted();
        self.acks
            .iter()
            .for_each(|ack| ack.fail(Failure::NotWritten));
        if given_up > 0 {
            self.dropped("stop", given_up);
            log::error!(
                "{given_up} events were given up: the journal could not take them before the end; none of them was acknowledged"
            );
        }
    }

    fn begin_stop(&mut self) {
        self.parts.stop = never();
        self.give_up_at
            .get_or_insert_with(|| Instant::now() + limits::JOURNAL_STOP_TIME);
    }

    /// Stores what is given and what waits, and says what is done; returns how many events were given up.
    fn turn(&mut self, batch: Option<Batch>, event: Option<RaisedEvent>) -> u64 {
        let mut given_up = 0;
        let waiting = self.parts.raised.try_iter().take(limits::OWN_EVENTS);
        let raised: Vec<_> = event.into_iter().chain(waiting).collect();
        for event in raised {
            given_up += u64::from(self.store(Kind::Raised, &event.value).is_err());
        }
        let mut next = batch;
        for _ in 0..limits::JOURNAL_BATCHES {
            let Some(batch) = next.or_else(|| self.parts.batches.try_recv().ok()) else {
                break;
            };
            given_up += self.store_batch(batch);
            next = None;
        }
        let _ = self.commit();
        given_up
    }

    fn store_batch(&mut self, batch: Batch) -> u64 {
        let mut given_up = 0;
        let mut acks = batch.acks.into_iter().peekable();
        for (n, span) in (0..).zip(&batch.spans) {
            let stored = self.store(Kind::Event, span.of(&batch.buffer));
            while let Some((_, ack)) = acks.next_if(|(of, _)| *of <= n) {
                match stored {
                    Ok(true) => self.acks.push(ack),
                    _ => ack.fail(Failure::NotWritten),
                }
            }
            given_up += u64::from(stored.is_err());
        }
        if given_up == 0 {
            self.taken = Some(batch.seq);
        }
        given_up
    }

    /// Appends one event, however long it takes; `false`: no journal takes it, which is counted.
    fn store(&mut self, kind: Kind, payload: &[u8]) -> Result<bool, GivenUp> {
        let mut full = false;
        loop {
            match self.parts.journal.append(kind, payload, clock::now_ms()) {
                Ok(_) => return Ok(true),
                Err(error @ AppendError::TooLarge { .. }) => {
                    log::error!("{error}: it is dropped");
                    self.dropped("too_large", 1);
                    return Ok(false);
                }
                Err(AppendError::Full) => {
                    // What is appended is committed first: nobody can make room for what he cannot read.
                    self.commit()?;
                    if !full {
                        full = true;
                        self.tell_full();
                    }
                    self.wait_for_room()?;
                }
                Err(AppendError::Disk(error)) => self.pause(&error)?,
            }
        }
    }

    /// Commits, however long it takes, and says what is done.
    fn commit(&mut self) -> Result<(), GivenUp> {
        while let Err(error) = self.parts.journal.commit(Instant::now()) {
            self.pause(&error)?;
        }
        self.backoff.reset();
        self.acks.clear();
        if let Some(seq) = self.taken.take() {
            self.parts.progress.done(Lane::Journal, seq);
        }
        Ok(())
    }

    fn tell_full(&mut self) {
        self.parts.metrics.events.journal_full.inc();
        if let Some(before) = self.full_told.pass(Instant::now()) {
            log::warn!(
                "the event journal is full: publishers of events wait until older events are delivered ({before} lines about this left out)"
            );
        }
    }

    fn wait_for_room(&mut self) -> Result<(), GivenUp> {
        let wait = self.wait(limits::JOURNAL_ROOM_POLL)?;
        let room = self.parts.journal.room().clone();
        select! {
            recv(room) -> heard => if heard.is_err() {
                // Nobody reads any more: what is there stays for the next start.
                self.rest(wait);
            },
            recv(self.parts.stop) -> _ => self.begin_stop(),
            default(wait) => {}
        }
        Ok(())
    }

    fn pause(&mut self, error: &JournalError) -> Result<(), GivenUp> {
        if let Some(before) = self.failure_told.pass(Instant::now()) {
            log::error!(
                "{}: events wait until it works ({before} lines about this left out)",
                chain(error)
            );
        }
        let wait = self.backoff.next(random::number());
        let wait = self.wait(wait)?;
        self.rest(wait);
        Ok(())
    }

    /// Waits, or hears of the stop.
    fn rest(&mut self, wait: Duration) {
        select! {
            recv(self.parts.stop) -> _ => self.begin_stop(),
            default(wait) => {}
        }
    }

    /// At most `wait`, and not beyond the end.
    fn wait(&self, wait: Duration) -> Result<Duration, GivenUp> {
        let Some(end) = self.give_up_at else {
            return Ok(wait);
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(GivenUp);
        }
        Ok(wait.min(left))
    }

    fn dropped(&self, reason: &str, events: u64) {
        let dropped = &self.parts.metrics.events.dropped;
        dropped.with_label_values(&[reason]).inc_by(events);
    }
}

#[cfg(test)]
mod tests;
