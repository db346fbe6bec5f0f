//! Thread `nats-client`: takes the place of `nats-server` when the application's NATS server is an external one (`CIM_NATS_URL`).
//! Thread `nats-connector` makes its connections, which may take long.
//!
//! In: messages on LOG, EVENT, CONFIG and TEST from its socket; `notifications` for EVENT-NOTIFICATION. Out: the same batches as from
//! `nats-server`, to `nats_subscriptions`, by `try_send` after a look at the room; acknowledgements to reply subjects, once [`Progress`]
//! says that it is stored.
//! What the data path has no room for waits here, up to [`crate::limits::EXTERNAL_HOLD_BYTES`]. Then nothing more is read, and the server
//! keeps what comes, for [`NatsClient::hold_time`] at most; after that, messages beyond [`crate::limits::EXTERNAL_HELD_BYTES`] are lost,
//! counted.
//! A PONG tells that the connection works, that what was published before the PING is with the server, and that everything that the server
//! had sent before is here.
//! Ends when `stop` is set: what the server had sent by then is read and stored first.

mod link;
mod publishing;
mod stopping;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::{Events, Poll, Token, Waker};

use crate::backoff::Backoff;
use crate::chain::chain;
use crate::health::{Health, Part, State};
use crate::limits::{
    EXTERNAL_HOLD_BYTES, EXTERNAL_READS_A_ROUND, EXTERNAL_RETRY, LOG_BYTES, SAY_AGAIN,
};
use crate::metrics::Metrics;
use crate::nats::blocks::Blocks;
use crate::nats::external::ops::{Message, Op, Step};
use crate::nats::external::{self, ConnectError, Connected, External, shown};
use crate::nats::intake::{ControlFeed, Fed, Feed, Stored};
use crate::notifications::Outlet;
use crate::progress::Progress;
use crate::random;
use crate::tap::Control;
use crate::threads::nats_server::{Senders, Stop};
use crate::threads::spawn::{Notice, spawn};
use link::{Link, Subject};
use publishing::Publishing;
use stopping::Phase;

const WAKER: Token = Token(0);
const LINK: Token = Token(1);

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
    pub poll: Poll,
}

/// What wakes the thread up, and what it has to listen to. The call never blocks.
///
/// # Errors
/// The operating system has no descriptors to give.
pub fn waker() -> io::Result<(Arc<dyn Fn() + Send + Sync>, Poll)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    // It can only fail when the poll is gone, and with it who would wake up.
    Ok((Arc::new(move || drop(waker.wake())), poll))
}

impl NatsClient {
    /// Starts the thread, and the one that makes its connections.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        let (requests, asked) = bounded(1);
        let (made_out, made) = bounded(1);
        let (external, wake) = (self.external.clone(), Arc::clone(&self.wake));
        // It may hang in a connection that is being made: nobody waits for its end.
        drop(spawn("nats-connector", notices, move || {
            for () in asked {
                if made_out.send(external.connect("cim")).is_err() {
                    break;
                }
                wake();
            }
        })?);
        spawn("nats-client", notices, move || {
            Loop::new(self, requests, made).run();
        })
    }
}

struct Loop {
    requests: Sender<()>,
    made: Receiver<Result<Connected, ConnectError>>,
    poll: Poll,
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
    /// The next message wants an acknowledgement for which there is no place.
    is_stalled: bool,
    blocks: Blocks,
    publishing: Publishing,
    log_progress: Arc<Progress>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    /// Until when nothing is read.
    held_until: Option<Instant>,
    /// Nothing was, in vain: not again before there is room.
    held_in_vain: bool,
    hold_time: Duration,
    read_coalesce: Duration,
    /// Nothing is read before.
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
        made: Receiver<Result<Connected, ConnectError>>,
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
            poll,
        } = parts;
        let now = Instant::now();
        let (first, max) = EXTERNAL_RETRY;
        Self {
            requests,
            made,
            poll,
            link: None,
            connect_at: Some(now),
            backoff: Backoff::new(first, max),
            complaint: (String::new(), now),
            refused: false,
            senders: Some(senders),
            log: Feed::new("LOG"),
            events: Feed::new("EVENT"),
            control: ControlFeed::default(),
            is_stalled: false,
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
        let mut events = Events::with_capacity(8);
        while self.phase != Phase::Ended {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("the connection to the NATS server cannot be watched: {error}");
                break;
            }
            self.now = Instant::now();
            if events.iter().any(|event| event.token() == LINK)
                && let Some(link) = &mut self.link
            {
                link.is_readable = true;
            }
            self.advance();
            self.connect();
            self.receive(Acks::Given);
            self.settle();
            self.publish();
            self.hold();
        }
    }

    /// How long it may sleep.
    fn timeout(&self) -> Option<Duration> {
        if self.is_phase_over() || self.stop.is_at_once() || self.can_read() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.connect_at,
            self.cooled_at,
            self.held_until,
            (self.link.is_some() && self.held_until.is_none()).then(|| self.publishing.look_at()),
            self.phase.until(),
        ];
        let deadline = deadlines.into_iter().flatten().min()?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// There may be something to read, and there is room for it.
    fn can_read(&self) -> bool {
        let is_open = self.held_until.is_none() && self.cooled_at.is_none();
        is_open
            && self
                .link
                .as_ref()
                .is_some_and(|link| match self.is_stalled {
                    true => self.has_ack_places() || self.forgoes_acks(link),
                    false => link.is_readable && !self.is_full(),
                })
    }

    /// No place for an acknowledgement is waited for: there was none for long, or nobody is there to get it.
    fn forgoes_acks(&self, link: &Link) -> bool {
        self.held_in_vain || link.ended.is_some()
    }

    fn has_ack_places(&self) -> bool {
        self.log.has_ack_place() && self.events.has_ack_place()
    }

    /// Takes the connection that was made, and asks for one.
    fn connect(&mut self) {
        match self.made.try_recv() {
            Ok(Ok(connected)) => self.begin(connected),
            Ok(Err(error)) => self.without(&chain(&error)),
            Err(_) => {}
        }
        if self.connect_at.is_some_and(|at| at <= self.now) && self.phase == Phase::Serving {
            self.connect_at = None;
            // There is room: one is asked for at a time.
            let _ = self.requests.try_send(());
        }
    }

    fn begin(&mut self, connected: Connected) {
        if self.phase != Phase::Serving {
            return;
        }
        match Link::start(connected, self.poll.registry(), LINK) {
            Ok(link) => {
                self.publishing.begin(self.now);
                self.refused = false;
                self.link = Some(link);
            }
            Err(error) => self.without(&format!("a connection cannot be watched: {error}")),
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
        self.let_go();
        self.is_stalled = false;
        self.publishing.lost();
        self.metrics.external_lost.inc();
        self.metrics.nats_connections.set(0);
        self.without(&reason);
    }

    /// Reads what there is room for.
    fn receive(&mut self, acks: Acks) {
        if self.cooled_at.is_some_and(|at| at <= self.now) {
            self.cooled_at = None;
        }
        let is_forced = acks == Acks::Forgone;
        if !self.can_read() && !is_forced {
            return self.watch();
        }
        let Some(mut link) = self.link.take() else {
            return;
        };
        let mut round = Round::default();
        let forgone = is_forced || self.forgoes_acks(&link);
        self.take(&mut link, forgone, &mut round);
        for _ in 0..EXTERNAL_READS_A_ROUND {
            if self.is_stalled || self.is_full() || !link.is_readable || !link.read() {
                break;
            }
            self.take(&mut link, forgone, &mut round);
        }
        self.link = Some(link);
        self.finish(round);
        self.watch();
    }

    /// So much waits that no more is to be read, unless that was of no use for long.
    fn is_full(&self) -> bool {
        !self.held_in_vain && self.held_bytes() >= EXTERNAL_HOLD_BYTES
    }

    fn held_bytes(&self) -> usize {
        self.log.held_bytes().max(self.events.held_bytes())
    }

    /// Takes what was read.
    fn take(&mut self, link: &mut Link, forgone: bool, round: &mut Round) {
        self.is_stalled = false;
        let (mut at, mut pings, mut max_payload) = (0, 0, None);
        let failure = loop {
            match link.op(at) {
                Ok(Step::Op(op, len)) => {
                    match op {
                        Op::Message(message) => {
                            if !self.message(&message, forgone, round) {
                                self.is_stalled = true;
                                break None;
                            }
                        }
                        Op::Ping => pings += 1,
                        Op::Pong => round.is_ready |= self.publishing.on_pong(self.now),
                        Op::Error(text) => round.error = Some(shown(text)),
                        Op::Info(json) => {
                            let info = serde_json::from_slice(json);
                            max_payload = info.ok().and_then(|info| external::max_payload(&info));
                        }
                        Op::Ok => {}
                    }
                    at += len;
                }
                Ok(Step::More) => break None,
                Err(error) => break Some(error),
            }
        };
        link.taken(at);
        link.pong(pings);
        link.max_payload = max_payload.unwrap_or(link.max_payload);
        if let Some(error) = failure {
            link.ended.get_or_insert_with(|| error.to_string());
        }
    }

    /// False when the message wants an acknowledgement for which there is no place.
    fn message(&mut self, message: &Message<'_>, forgone: bool, round: &mut Round) -> bool {
        let Some(subject) = Subject::of(message.sid).filter(|_| self.phase.is_reading()) else {
            return true;
        };
        let (payload, reply) = (message.payload, message.reply);
        let fed = match subject {
            Subject::Log | Subject::Event => {
                let feed = match subject {
                    Subject::Log => &mut self.log,
                    _ => &mut self.events,
                };
                let fed = feed.take(payload, reply, &self.blocks);
                match fed {
                    Fed::NoPlace if forgone => feed.take(payload, b"", &self.blocks),
                    fed => fed,
                }
            }
            Subject::Config => self.control.take(Control::Config, payload),
            Subject::Test => self.control.take(Control::Test, payload),
        };
        if fed == Fed::NoPlace {
            return false;
        }
        if fed == Fed::Dropped {
            let dropped = &self.metrics.external_dropped;
            dropped.with_label_values(&[subject.name()]).inc();
        }
        round.messages += 1;
        round.bytes += payload.len() as u64;
        round.lines |= subject == Subject::Log;
        round.wants_ack |= !reply.is_empty();
        true
    }

    /// What is to be done once behind the messages of a round.
    fn finish(&mut self, round: Round) {
        self.log.seal(&self.blocks);
        self.events.seal(&self.blocks);
        self.control.seal();
        if round.messages > 0 {
            self.metrics.nats_in_messages.inc_by(round.messages);
            self.metrics.nats_in_bytes.inc_by(round.bytes);
        }
        if round.lines && !round.wants_ack && !self.read_coalesce.is_zero() {
            // At real rates wake-ups cost more than bytes.
            self.cooled_at = Some(self.now + self.read_coalesce);
        }
        let server = self.link.as_ref().map(|link| link.server.clone());
        let server = server.unwrap_or_default();
        if round.is_ready {
            self.backoff.reset();
            self.complaint.0.clear();
            self.metrics.nats_connections.set(1);
            self.metrics.nats_connections_total.inc();
            let text = format!("connected to {server}");
            log::info!("{text}");
            if !self.refused {
                self.health.set(Part::Nats, State::Ready, &text);
            }
        }
        if let Some(error) = round.error {
            self.on_error(&format!("{server} says: {error}"));
        }
    }

    /// Notices that the connection is none any more.
    fn watch(&mut self) {
        let ended = self.link.as_ref().and_then(|link| link.ended.clone());
        if let Some(reason) = ended.filter(|_| !self.is_stalled) {
            self.lose(&reason);
        } else if self.held_until.is_none() && self.publishing.is_stale(self.now) {
            self.lose("the server does not answer PING");
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
        if let Some(link) = &mut self.link {
            self.publishing.publish(link, self.now);
            link.flush();
        }
    }

    /// Reads nothing while too much waits for room.
    fn hold(&mut self) {
        let held = self.held_bytes();
        let lacks_places = self.is_stalled && !self.has_ack_places();
        match self.held_until {
            Some(until) if self.now >= until => {
                self.held_in_vain = true;
                self.let_go();
            }
            Some(_) if held < EXTERNAL_HOLD_BYTES / 2 && !lacks_places => self.let_go(),
            Some(_) => {}
            None if held < EXTERNAL_HOLD_BYTES && self.has_ack_places() => {
                self.held_in_vain = false;
            }
            None if self.held_in_vain || self.phase != Phase::Serving || self.link.is_none() => {}
            None if held >= EXTERNAL_HOLD_BYTES || lacks_places => {
                self.held_until = Some(self.now + self.hold_time);
                self.metrics.nats_held_back.inc();
            }
            None => {}
        }
    }

    fn let_go(&mut self) {
        if self.held_until.take().is_some() {
            self.publishing.was_held(self.now);
        }
    }
}

/// What becomes of a wish for an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    /// Its message waits until there is a place.
    Given,
    /// Without a place its message is stored all the same.
    Forgone,
}

/// What the messages of one round were.
#[derive(Default)]
struct Round {
    messages: u64,
    bytes: u64,
    /// There were some of LOG.
    lines: bool,
    wants_ack: bool,
    /// The subscriptions have come into force.
    is_ready: bool,
    /// What the server last complained of.
    error: Option<String>,
}
