//! Thread `nats-client`: takes the place of `nats-server` when the application's NATS server is an external one (`CIM_NATS_URL`).
//! Thread `nats-connector` makes its connections, which may take long.
//!
//! In: messages on LOG, EVENT, CONFIG and TEST, through the queues of crate `nats`; `notifications` for EVENT-NOTIFICATION. Out: the same
//! batches as from `nats-server`, to `nats_subscriptions`, by `try_send` after a look at the room; acknowledgements to reply subjects,
//! once [`Progress`] says that it is stored.
//! The crate's queues are emptied at once; what the data path has no room for waits here, up to [`crate::limits::EXTERNAL_HOLD_BYTES`].
//! Then the crate is held back, and the server keeps what comes, for [`NatsClient::hold_time`] at most; beyond
//! [`crate::limits::EXTERNAL_HELD_BYTES`] messages are lost, counted.
//! An *echo* is a message of CIM to itself: it tells that the connection works, that what was published before is with the server, and
//! that everything that the server had sent before is here.
//! Ends when `stop` is set: what the server had sent by then is read and stored first.

mod gate;
mod link;
mod publishing;
mod stopping;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::health::{Health, Part, State};
use crate::limits::{EXTERNAL_HOLD_BYTES, EXTERNAL_QUEUE, EXTERNAL_RETRY, LOG_BYTES, SAY_AGAIN};
use crate::metrics::Metrics;
use crate::nats::blocks::Blocks;
use crate::nats::external::External;
use crate::nats::intake::{ControlFeed, Fed, Feed, Stored};
use crate::notifications::Outlet;
use crate::progress::Progress;
use crate::random;
use crate::tap::Control;
use crate::threads::nats_server::{Senders, Stop};
use crate::threads::spawn::{Notice, spawn};
use link::{Link, LinkError};
use publishing::Publishing;
use stopping::Phase;

/// The thread's parts.
pub struct NatsClient {
    /// Where the servers are.
    pub external: External,
    /// To `nats_subscriptions`.
    pub senders: Senders,
    /// How far LOG is.
    pub log_progress: Arc<Progress>,
    /// How far EVENT is.
    pub event_progress: Arc<Progress>,
    /// How far CONFIG and TEST are.
    pub control_progress: Arc<Progress>,
    /// Messages on EVENT-NOTIFICATION.
    pub notifications: Outlet,
    /// Time between two looks at a stream of LOG.
    pub read_coalesce: Duration,
    /// Longest time for which nothing is read from the server because there is no room.
    pub hold_time: Duration,
    /// Where it says how the connection is.
    pub health: Arc<Health>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set before `wake` is called to end the thread.
    pub stop: Arc<Stop>,
    /// Wakes the thread up.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// The other end of `wake`.
    pub woken: Receiver<()>,
}

/// What wakes the thread up, and what it has to listen to. The call never blocks.
pub fn waker() -> (Arc<dyn Fn() + Send + Sync>, Receiver<()>) {
    let (wake, woken) = bounded(1);
    // Full: it has yet to look.
    let wake = move || {
        let _ = wake.try_send(());
    };
    (Arc::new(wake), woken)
}

impl NatsClient {
    /// Starts the thread, and the one that makes its connections.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        let (requests, asked) = bounded(1);
        let (made_out, made) = bounded(1);
        let (external, metrics) = (self.external.clone(), Arc::clone(&self.metrics));
        let wake = Arc::clone(&self.wake);
        // It may hang in a connection that is being made: nobody waits for its end.
        drop(spawn("nats-connector", notices, move || {
            for () in asked {
                if made_out
                    .send(Link::connect(&external, &wake, &metrics))
                    .is_err()
                {
                    break;
                }
            }
        })?);
        spawn("nats-client", notices, move || {
            Loop::new(self, requests, made).run();
        })
    }
}

struct Loop {
    requests: Sender<()>,
    made: Receiver<Result<Link, LinkError>>,
    woken: Receiver<()>,
    /// A connection that has not been lost yet, as far as is known.
    link: Option<Link>,
    /// When a connection is asked for; `None` while there is one, or one is being made.
    connect_at: Option<Instant>,
    backoff: Backoff,
    /// What was said last about what is wrong, and when.
    complaint: (String, Instant),
    /// CIM may not subscribe.
    refused: bool,
    /// `None` once the data path may end.
    senders: Option<Senders>,
    log: Feed,
    events: Feed,
    control: ControlFeed,
    /// Messages of LOG, and of EVENT, for whose acknowledgement there is no place.
    stalled: [Option<nats::Message>; 2],
    blocks: Blocks,
    publishing: Publishing,
    log_progress: Arc<Progress>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    /// Until when the crate is held back.
    held_until: Option<Instant>,
    /// It was, in vain: not again before there is room.
    held_in_vain: bool,
    hold_time: Duration,
    read_coalesce: Duration,
    /// LOG is not looked at before.
    cooled_at: Option<Instant>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    phase: Phase,
    now: Instant,
}

impl Loop {
    fn new(
        parts: NatsClient,
        requests: Sender<()>,
        made: Receiver<Result<Link, LinkError>>,
    ) -> Self {
        let NatsClient {
            external: _,
            senders,
            log_progress,
            event_progress,
            control_progress,
            notifications,
            read_coalesce,
            hold_time,
            health,
            metrics,
            stop,
            wake: _,
            woken,
        } = parts;
        let now = Instant::now();
        let (first, max) = EXTERNAL_RETRY;
        Self {
            requests,
            made,
            woken,
            link: None,
            connect_at: Some(now),
            backoff: Backoff::new(first, max),
            complaint: (String::new(), now),
            refused: false,
            senders: Some(senders),
            log: Feed::new("LOG"),
            events: Feed::new("EVENT"),
            control: ControlFeed::default(),
            stalled: [None, None],
            blocks: Blocks::new(Arc::clone(&log_progress)),
            publishing: Publishing::new(notifications, Arc::clone(&metrics), now),
            log_progress,
            event_progress,
            control_progress,
            held_until: None,
            held_in_vain: false,
            hold_time,
            read_coalesce,
            cooled_at: None,
            health,
            metrics,
            stop,
            phase: Phase::Serving,
            now,
        }
    }

    fn run(mut self) {
        while self.phase != Phase::Ended {
            self.wait();
            self.now = Instant::now();
            self.advance();
            self.connect();
            self.receive();
            self.settle();
            self.publish();
            self.hold();
        }
        if let Some(link) = self.link.take() {
            link.abandon();
        }
    }

    /// Sleeps until something happens.
    fn wait(&self) {
        let mut select = Select::new();
        select.recv(&self.woken);
        select.recv(&self.made);
        if let Some(link) = &self.link
            && self.phase.is_reading()
        {
            let [log, event] = &self.stalled;
            if log.is_none() && self.cooled_at.is_none() {
                select.recv(link.log.receiver());
            }
            if event.is_none() {
                select.recv(link.events.receiver());
            }
            for subscription in [&link.config, &link.test] {
                select.recv(subscription.receiver());
            }
        }
        if let Some(link) = &self.link {
            select.recv(link.echo.receiver());
        }
        let deadlines = [
            self.connect_at,
            self.cooled_at,
            self.held_until,
            // While the crate is held back nothing is published.
            (self.link.is_some() && self.held_until.is_none()).then(|| self.publishing.look_at()),
            self.phase.until(),
        ];
        match deadlines.into_iter().flatten().min() {
            _ if self.is_phase_over() || self.stop.is_at_once() || self.can_go_on() => {}
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None => drop(select.ready()),
        }
        let _ = self.woken.try_recv();
    }

    /// A message has found a place for its acknowledgement.
    fn can_go_on(&self) -> bool {
        let [log, event] = &self.stalled;
        (log.is_some() && self.log.has_ack_place())
            || (event.is_some() && self.events.has_ack_place())
    }

    /// Takes the connection that was made, and asks for one.
    fn connect(&mut self) {
        match self.made.try_recv() {
            Ok(Ok(link)) => {
                self.publishing.begin(self.now);
                self.refused = false;
                self.link = Some(link);
            }
            Ok(Err(error)) => self.without(&chain(&error)),
            Err(_) => {}
        }
        if self.connect_at.is_some_and(|at| at <= self.now) && self.phase == Phase::Serving {
            self.connect_at = None;
            // There is room: one is asked for at a time.
            let _ = self.requests.try_send(());
        }
    }

    /// There is no connection, for this reason, and another one is due.
    fn without(&mut self, reason: &str) {
        self.connect_at = Some(self.now + self.backoff.next(random::number()));
        self.health.not_ready(
            Part::Nats,
            reason,
            "CIM connects again until it works; what clients publish meanwhile it does not see",
        );
        let (said, at) = &self.complaint;
        if said != reason || self.now >= *at + SAY_AGAIN {
            log::warn!("{reason}; trying until it works");
            self.complaint = (reason.to_owned(), self.now);
        }
    }

    fn lose(&mut self, reason: &str) {
        let Some(link) = self.link.take() else {
            return;
        };
        let reason = format!("{}: {reason}", link.server);
        self.let_go(&link);
        link.abandon();
        self.publishing.lost();
        self.metrics.external_lost.inc();
        self.metrics.nats_connections.set(0);
        self.without(&reason);
    }

    /// Takes everything that the crate has.
    fn receive(&mut self) {
        if self.cooled_at.is_some_and(|at| at <= self.now) {
            self.cooled_at = None;
        }
        let Some(link) = self.link.take() else {
            return;
        };
        // First: what came before the break is in the queues.
        let is_broken = link.is_broken();
        if self.phase.is_reading() {
            if self.cooled_at.is_none() || is_broken {
                self.take(Way::Log, &link, is_broken);
            }
            self.take(Way::Event, &link, is_broken);
            self.take_control(&link);
        }
        let mut is_ready = false;
        for echo in link.echo.try_iter() {
            is_ready |= self.publishing.on_echo(&echo.data, self.now);
        }
        if is_ready {
            self.backoff.reset();
            self.complaint.0.clear();
            self.metrics.nats_connections.set(1);
            self.metrics.nats_connections_total.inc();
            let text = format!("connected to {}", link.server);
            log::info!("{text}");
            if !self.refused {
                self.health.set(Part::Nats, State::Ready, &text);
            }
        }
        if let Some(error) = link.error() {
            self.on_error(&format!("{} says: {error}", link.server));
        }
        self.link = Some(link);
        if is_broken {
            self.lose("the connection is broken");
        } else if self.held_until.is_none() && self.publishing.is_stale(self.now) {
            self.lose("the connection does not bring back CIM's own messages");
        }
    }

    /// The server complains. Without its subscriptions CIM is of no use.
    fn on_error(&mut self, error: &str) {
        let (said, at) = &self.complaint;
        if said != error || self.now >= *at + SAY_AGAIN {
            log::error!("{error}");
            self.complaint = (error.to_owned(), self.now);
        }
        let lower = error.to_ascii_lowercase();
        if lower.contains("permissions violation") {
            self.metrics.nats_violations.inc();
        }
        if lower.contains("permissions violation for subscription") {
            let next =
                "CIM gets nothing there until the server's configuration lets its user subscribe";
            self.health.not_ready(Part::Nats, error, next);
            self.refused = true;
        }
    }

    fn take(&mut self, way: Way, link: &Link, is_broken: bool) {
        let [stalled_log, stalled_event] = &mut self.stalled;
        let (feed, subscription, stalled) = match way {
            Way::Log => (&mut self.log, &link.log, stalled_log),
            Way::Event => (&mut self.events, &link.events, stalled_event),
        };
        let (mut messages, mut bytes, mut wants_ack) = (0, 0, false);
        // What came meanwhile is for the next turn: the rest of the thread must have its turn too.
        for _ in 0..EXTERNAL_QUEUE {
            let Some(message) = stalled.take().or_else(|| subscription.try_next()) else {
                break;
            };
            let reply = message.reply.as_deref().unwrap_or_default().as_bytes();
            let mut fed = feed.take(&message.data, reply, &self.blocks);
            if fed == Fed::NoPlace && is_broken {
                fed = feed.take(&message.data, b"", &self.blocks);
            }
            if fed == Fed::NoPlace {
                *stalled = Some(message);
                break;
            }
            messages += 1;
            bytes += message.data.len() as u64;
            wants_ack |= !reply.is_empty();
            if fed == Fed::Dropped {
                let dropped = &self.metrics.external_dropped;
                dropped.with_label_values(&[message.subject.as_str()]).inc();
            }
        }
        feed.seal(&self.blocks);
        if messages > 0 {
            self.metrics.nats_in_messages.inc_by(messages);
            self.metrics.nats_in_bytes.inc_by(bytes);
            if way == Way::Log && !wants_ack && !self.read_coalesce.is_zero() {
                // At real rates wake-ups cost more than bytes.
                self.cooled_at = Some(self.now + self.read_coalesce);
            }
        }
    }

    fn take_control(&mut self, link: &Link) {
        for (control, subscription) in
            [(Control::Test, &link.test), (Control::Config, &link.config)]
        {
            for message in subscription.try_iter().take(EXTERNAL_QUEUE) {
                self.metrics.nats_in_messages.inc();
                self.metrics.nats_in_bytes.inc_by(message.data.len() as u64);
                if self.control.take(control, &message.data) == Fed::Dropped {
                    let dropped = &self.metrics.external_dropped;
                    dropped.with_label_values(&[message.subject.as_str()]).inc();
                }
            }
        }
        self.control.seal();
    }

    /// Gives the data path what it has room for, and tells what is stored.
    fn settle(&mut self) {
        let is_idle = self.log.is_empty()
            && self.events.is_empty()
            && self.control.is_empty()
            && !self.log.is_waiting()
            && !self.events.is_waiting();
        if is_idle && self.phase == Phase::Serving {
            return;
        }
        // First ask for a wake-up, then look: what happens in between is not missed.
        self.log_progress.wait();
        self.event_progress.wait();
        self.control_progress.wait();
        if let Some(senders) = &self.senders {
            let held = self.log.held_bytes() + self.events.held_bytes();
            let away = self.blocks.away_bytes().saturating_sub(held);
            self.log
                .hand_over(&senders.log, LOG_BYTES.saturating_sub(away));
            self.events.hand_over(&senders.events, usize::MAX);
            self.control.hand_over(&senders.control);
        }
        let stored = self.stored();
        let publishing = &mut self.publishing;
        self.log
            .settle(stored.log, |to, text| publishing.acknowledge(to, text));
        self.events
            .settle(stored.event, |to, text| publishing.acknowledge(to, text));
    }

    fn stored(&self) -> Stored {
        Stored {
            log: self.log_progress.stored(),
            event: self.event_progress.stored(),
            control: self.control_progress.stored(),
        }
    }

    fn publish(&mut self) {
        // While the crate is held back it holds what a publish needs.
        if let Some(link) = &self.link
            && self.held_until.is_none()
        {
            self.publishing.publish(link, self.now);
        }
    }

    /// Holds the crate back while too much waits for room.
    fn hold(&mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        let held = self.log.held_bytes().max(self.events.held_bytes());
        match self.held_until {
            Some(until) if self.now >= until => {
                self.held_in_vain = true;
                self.let_go(&link);
            }
            Some(_) if held < EXTERNAL_HOLD_BYTES / 2 => self.let_go(&link),
            Some(_) => {}
            None if held < EXTERNAL_HOLD_BYTES => self.held_in_vain = false,
            None if self.held_in_vain || self.phase != Phase::Serving => {}
            None => {
                link.gate.close(self.now, self.hold_time);
                if link.send_to_gate() {
                    self.held_until = Some(self.now + self.hold_time);
                    self.metrics.nats_held_back.inc();
                } else {
                    link.gate.open();
                }
            }
        }
        self.link = Some(link);
    }

    fn let_go(&mut self, link: &Link) {
        link.gate.open();
        if self.held_until.take().is_some() {
            self.publishing.was_held(self.now);
        }
    }
}

/// A subject whose messages are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Log,
    Event,
}
