//! Thread `nats-server`: every NATS connection of the pod, in one poll loop.
//!
//! In: sockets; `notifications` (`kafka_consumer`: messages on EVENT-NOTIFICATION, which are published while somebody is subscribed). Out: LOG, EVENT, and CONFIG with TEST, to `nats_subscriptions`, by `try_send` after a look at the room; a connection
//! whose message finds no room is not read until there is, so that TCP holds its publisher back.
//! Back edge: [`Progress`] says what is stored and wakes this thread up; PONGs and acknowledgements wait for it.
//! Ends when `stop` is set (and the waker called): what clients had sent is read and stored first.
//!
//! A connection that publishes a stream to LOG, EVENT or CONFIG is read at a common tick (`read_coalesce`) instead of at
//! each arrival: at real rates wake-ups cost more than bytes.

mod clients;
mod connection;
mod handshakes;
mod logins;
mod monitoring;
mod notifying;
mod reading;
mod stopping;
mod transport;
mod waiting;
mod writing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::metrics::Metrics;
use crate::nats::auth::Auth;
use crate::nats::blocks::Blocks;
use crate::nats::info::Info;
use crate::nats::intake::{Intake, Way};
use crate::nats::monitor::Questions;
use crate::nats::tls::Tls;
use crate::nats::{Broker, Change, ClientId, Limits};
use crate::notifications::Outlet;
use crate::progress::Progress;
use crate::random;
use crate::tap::{Batch, ControlBatch};
use crate::threads::spawn::{Notice, spawn};

use connection::{Connection, FIRST_CLIENT_TOKEN, Turn};
use handshakes::Handshakes;
use logins::Logins;
use monitoring::Monitoring;
use notifying::Notifying;
pub use stopping::Stop;
use writing::Writer;

const LISTENER: Token = Token(0);
/// The token of the waker that [`Progress`] and the daemon use.
pub const WAKER: Token = Token(1);
const _: () = assert!(FIRST_CLIENT_TOKEN == 2);

/// The thread's parts.
pub struct NatsServer {
    /// Made by the daemon together with its waker.
    pub poll: Poll,
    /// The waker.
    pub waker: Arc<Waker>,
    /// Bound and non-blocking.
    pub listener: TcpListener,
    /// What clients are told at first.
    pub info: Info,
    /// Who may connect.
    pub auth: Auth,
    /// `None`: plain connections.
    pub tls: Option<Arc<Tls>>,
    /// The bounds in force.
    pub limits: Limits,
    /// To `nats_subscriptions`.
    pub senders: Senders,
    /// How far LOG is.
    pub log_progress: Arc<Progress>,
    /// How far EVENT is.
    pub event_progress: Arc<Progress>,
    /// How far CONFIG and TEST are.
    pub control_progress: Arc<Progress>,
    /// Messages on EVENT-NOTIFICATION; the waker says that there are some.
    pub notifications: Outlet,
    /// Other users and bounds; the waker says that there are some.
    pub changes: Receiver<Change>,
    /// Questions of the monitoring pages; the waker says that there are some.
    pub questions: Questions,
    /// Where the monitoring pages are.
    pub monitor: Option<SocketAddr>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set before the waker is called to end the thread.
    pub stop: Arc<Stop>,
}

/// The ways into the data path.
pub struct Senders {
    /// LOG.
    pub log: Sender<Batch>,
    /// EVENT.
    pub events: Sender<Batch>,
    /// CONFIG and TEST.
    pub control: Sender<ControlBatch>,
}

impl NatsServer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The listener cannot be polled, or the thread cannot be made.
    pub fn spawn(mut self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        self.poll
            .registry()
            .register(&mut self.listener, LISTENER, Interest::READABLE)?;
        spawn("nats-server", notices, move || Loop::new(self).run())
    }
}

/// Where the thread is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Reads what clients have sent, until each is drained or the time is up.
    Draining(Instant),
    /// Reads nothing; waits for the data path to store everything.
    Storing(Instant),
    Ended,
}

struct Loop {
    poll: Poll,
    waker: Arc<Waker>,
    /// `None` as long as nobody's credentials take their time.
    logins: Option<Logins>,
    handshakes: Option<Handshakes>,
    listener: TcpListener,
    broker: Broker,
    limits: Limits,
    /// `None` once the data path may end.
    senders: Option<Senders>,
    log_progress: Arc<Progress>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    notifying: Notifying,
    changes: Receiver<Change>,
    monitoring: Monitoring,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    phase: Phase,
    intake: Intake,
    /// What has gathered for clients waits for this round.
    gathering: bool,
    writer: Writer,
    blocks: Blocks,
    block: Option<Vec<u8>>,
    connections: Vec<Option<Connection>>,
    ready: Vec<ClientId>,
    cooling: Vec<ClientId>,
    /// Connections that wait for room, in the order in which they began to, and on which way.
    held: Vec<(ClientId, Way)>,
    /// Connections that wait for a client to which they publish, for which, and since when.
    stalled: Vec<(ClientId, ClientId, Instant)>,
    /// Connections with PINGs that wait.
    pinging: Vec<ClientId>,
    /// Connections with PINGs that came early, and since when.
    early: Vec<(ClientId, Instant)>,
    cooled_at: Option<Instant>,
    partial_bytes: usize,
    timers_at: Option<Instant>,
    accept_again: bool,
    now: Instant,
}

impl Loop {
    fn new(server: NatsServer) -> Self {
        let NatsServer {
            poll,
            waker,
            listener,
            info,
            auth,
            tls,
            limits,
            senders,
            log_progress,
            event_progress,
            control_progress,
            notifications,
            changes,
            questions,
            monitor,
            metrics,
            stop,
        } = server;
        let parse = crate::nats::parser::ParseLimits {
            control_line_bytes: limits.control_line_bytes,
            payload_bytes: limits.payload_bytes,
        };
        let info = match &tls {
            Some(tls) => info.with_tls(tls.options()),
            None => info,
        };
        let now = Instant::now();
        Self {
            poll,
            waker,
            logins: None,
            handshakes: tls.map(Handshakes::new),
            listener,
            // Without randomness the members of queue groups are chosen in a known order, which harms nobody.
            broker: Broker::new(limits.clone(), info, auth, random::number(), now),
            limits,
            senders: Some(senders),
            gathering: false,
            writer: Writer::default(),
            blocks: Blocks::new(Arc::clone(&log_progress)),
            log_progress,
            event_progress,
            control_progress,
            notifying: Notifying::new(notifications),
            changes,
            monitoring: Monitoring::new(questions, monitor, now),
            metrics,
            stop,
            phase: Phase::Serving,
            intake: Intake::new(parse),
            block: None,
            connections: Vec::new(),
            ready: Vec::new(),
            cooling: Vec::new(),
            held: Vec::new(),
            stalled: Vec::new(),
            pinging: Vec::new(),
            early: Vec::new(),
            cooled_at: None,
            partial_bytes: 0,
            timers_at: None,
            accept_again: false,
            now,
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        // CIM's message to itself (CONTRACT section 2): it shows in the metrics that the way to the subscriptions is open.
        if let Some(senders) = &self.senders {
            let text = Bytes::from_static(b"CIM is listening");
            let plan = self.intake.test(text.len() as u32);
            let _ = senders.control.try_send(ControlBatch {
                seq: plan.seq,
                buffer: text,
                messages: plan.messages,
            });
        }
        while self.phase != Phase::Ended {
            if self.ready.is_empty() {
                self.take_back_lent();
                self.close_marked();
            }
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("NATS server cannot poll its sockets: {error}");
                break;
            }
            self.now = Instant::now();
            self.broker.set_now(self.now);
            for event in &events {
                self.on_event(event);
            }
            if let Ok(change) = self.changes.try_recv() {
                self.limits = change.limits.clone();
                self.broker.change(change);
            }
            self.advance();
            if self.cooled_at.is_some_and(|at| at <= self.now) {
                self.cooled_at = None;
                let cooled = std::mem::take(&mut self.cooling);
                cooled.into_iter().for_each(|id| self.make_ready(id));
            }
            self.go_on();
            for id in std::mem::take(&mut self.ready) {
                self.read(id);
            }
            self.settle_logins();
            self.settle_early();
            self.settle();
            self.notify();
            self.flush_round();
            self.close_marked();
            self.settle_notified();
            if self.timers_at.is_some_and(|at| at <= self.now) {
                self.timers();
            }
            self.report();
            self.answer_questions();
        }
    }

    /// How long to sleep: `None` is until something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.phase_is_over() {
            return Some(Duration::ZERO);
        }
        let phase = match self.phase {
            Phase::Draining(until) | Phase::Storing(until) => Some(until),
            Phase::Serving | Phase::Ended => None,
        };
        let now = Instant::now();
        let stalled = self.stalled.iter();
        let stalled = stalled.map(|&(_, crowded, since)| self.stalled_until(crowded, since));
        [
            self.cooled_at,
            self.timers_at,
            phase,
            self.early_at(),
            stalled.min(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.saturating_duration_since(now))
    }

    fn on_event(&mut self, event: &Event) {
        match event.token() {
            LISTENER => self.accept(),
            WAKER => {}
            Token(token) => {
                let id = token - FIRST_CLIENT_TOKEN;
                if (event.is_read_closed() || event.is_error())
                    && let Some(connection) = self.connection(id)
                {
                    connection.ended = true;
                }
                if event.is_writable() {
                    self.flush_one(id);
                }
                if (event.is_readable() || event.is_read_closed() || event.is_error())
                    && self
                        .connection(id)
                        .is_some_and(|connection| connection.turn == Turn::Polled)
                {
                    self.make_ready(id);
                }
            }
        }
    }

    fn connection(&mut self, id: ClientId) -> Option<&mut Connection> {
        self.connections.get_mut(id).and_then(Option::as_mut)
    }

    fn make_ready(&mut self, id: ClientId) {
        if let Some(connection) = self.connection(id)
            && connection.turn != Turn::Ready
        {
            connection.turn = Turn::Ready;
            self.ready.push(id);
        }
    }

    fn timer_at(&mut self, at: Instant) {
        self.timers_at = Some(self.timers_at.map_or(at, |timer| timer.min(at)));
    }

    fn report(&mut self) {
        let stats = self.broker.take_stats();
        if stats.in_messages > 0 || stats.out_messages > 0 {
            self.metrics.nats_in_messages.inc_by(stats.in_messages);
            self.metrics.nats_in_bytes.inc_by(stats.in_bytes);
            self.metrics.nats_out_messages.inc_by(stats.out_messages);
            self.metrics.nats_out_bytes.inc_by(stats.out_bytes);
        }
        if stats.violations > 0 {
            self.metrics.nats_violations.inc_by(stats.violations);
        }
        self.metrics
            .nats_subscriptions
            .set(self.broker.subscription_count() as i64);
    }
}
