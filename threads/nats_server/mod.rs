//! Thread `nats-server`: every NATS connection of the pod, in one poll loop.
//!
//! In: sockets. Out: `log` and `events` to `nats_subscriptions`, by `try_send` after a look at the room; a connection
//! whose message finds no room is not read until there is, so that TCP holds its publisher back.
//! Back edge: [`Progress`] says what is stored and wakes this thread up; PONGs and acknowledgements wait for it.
//! Ends when `stop` is set (and the waker called): what clients had sent is read and stored first.
//!
//! A connection that publishes a stream to LOG, EVENT or CONFIG is read at a common tick (`read_coalesce`) instead of at
//! each arrival: at real rates wake-ups cost more than bytes.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Sender;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::limits::{
    ALL_PARTIAL_BYTES, CONTROL_LINE_BYTES, LOG_BYTES, READ_BLOCK_BYTES, STOP_READ_TIME, STOP_TIME,
};
use crate::metrics::Metrics;
use crate::nats::auth::Auth;
use crate::nats::blocks::Blocks;
use crate::nats::info::Info;
use crate::nats::intake::{Intake, Room, Stored, Taken, Way};
use crate::nats::{Broker, ClientId, CloseReason, Limits};
use crate::progress::Progress;
use crate::tap::{EventBatch, LogBatch};
use crate::threads::spawn::{Notice, spawn};

use connection::{Connection, FIRST_CLIENT_TOKEN, Read, Turn};

const LISTENER: Token = Token(0);
/// The token of the waker that [`Progress`] and the daemon use.
pub const WAKER: Token = Token(1);
const _: () = assert!(FIRST_CLIENT_TOKEN == 2);

/// Bytes that a connection may read while a way into the data path has no room: enough for control traffic, little to keep.
const CONGESTED_READ_BYTES: usize = 4 * CONTROL_LINE_BYTES;
/// Time after which accepting is tried again when the process has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Two reads closer together than this make a stream.
const STREAM_GAP: Duration = Duration::from_millis(10);
/// Time without input after which a PING that came early is taken to be behind its publishes, once some have come.
const EARLY_PING_QUIET: Duration = Duration::from_millis(5);
/// The same when nothing has come behind it: its client may only be slow.
const EARLY_PING_ALONE: Duration = Duration::from_millis(20);
/// Time after which it is taken in any case.
const EARLY_PING_WAIT: Duration = Duration::from_millis(200);
/// Shortest time between two looks at all clients' timers.
const TIMER_STEP: Duration = Duration::from_millis(50);

/// The thread's parts.
pub struct NatsServer {
    /// Made by the daemon together with its waker.
    pub poll: Poll,
    /// Bound and non-blocking.
    pub listener: TcpListener,
    /// What clients are told at first.
    pub info: Info,
    /// Who may connect.
    pub auth: Auth,
    /// The bounds in force.
    pub limits: Limits,
    /// To `nats_subscriptions`.
    pub log: Sender<LogBatch>,
    /// To `nats_subscriptions`.
    pub events: Sender<EventBatch>,
    /// How far LOG is.
    pub log_progress: Arc<Progress>,
    /// How far EVENT, CONFIG and TEST are.
    pub event_progress: Arc<Progress>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set before the waker is called to end the thread.
    pub stop: Arc<Stop>,
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

/// When a connection whose PING came early at `since` counts as quiet.
fn quiet_at(connection: &Connection, since: Instant) -> Instant {
    let quiet = if connection.last_in > since {
        EARLY_PING_QUIET
    } else {
        EARLY_PING_ALONE
    };
    connection.last_in + quiet
}

/// Asks the thread to end. The waker must be called after it.
#[derive(Debug, Default)]
pub struct Stop(AtomicU8);

impl Stop {
    /// In order: what clients have sent is read, and stored before they are told goodbye.
    pub fn in_order(&self) {
        self.0.fetch_max(1, Ordering::SeqCst);
    }

    /// Now: the data path behind has died, and nothing more will be stored.
    pub fn at_once(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    fn is_at_once(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 1
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
    listener: TcpListener,
    broker: Broker,
    limits: Limits,
    /// `None` once the data path may end.
    senders: Option<(Sender<LogBatch>, Sender<EventBatch>)>,
    log_progress: Arc<Progress>,
    event_progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    phase: Phase,
    intake: Intake,
    blocks: Blocks,
    block: Option<Vec<u8>>,
    connections: Vec<Option<Connection>>,
    ready: Vec<ClientId>,
    cooling: Vec<ClientId>,
    /// Connections that wait for room, in the order in which they began to, and on which way.
    held: Vec<(ClientId, Way)>,
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
            listener,
            info,
            auth,
            limits,
            log,
            events,
            log_progress,
            event_progress,
            metrics,
            stop,
        } = server;
        let parse = crate::nats::parser::ParseLimits {
            control_line_bytes: limits.control_line_bytes,
            payload_bytes: limits.payload_bytes,
        };
        let mut seed = [0; 8];
        // Without randomness the members of queue groups are chosen in a known order, which harms nobody.
        let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        Self {
            poll,
            listener,
            broker: Broker::new(limits.clone(), info, auth, u64::from_ne_bytes(seed)),
            limits,
            senders: Some((log, events)),
            blocks: Blocks::new(Arc::clone(&log_progress)),
            log_progress,
            event_progress,
            metrics,
            stop,
            phase: Phase::Serving,
            intake: Intake::new(parse),
            block: None,
            connections: Vec::new(),
            ready: Vec::new(),
            cooling: Vec::new(),
            held: Vec::new(),
            pinging: Vec::new(),
            early: Vec::new(),
            cooled_at: None,
            partial_bytes: 0,
            timers_at: None,
            accept_again: false,
            now: Instant::now(),
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        // CIM's message to itself (CONTRACT section 2): it shows in the metrics that the way to the subscriptions is open.
        if let Some((_, sender)) = &self.senders {
            let text = Bytes::from_static(b"CIM is listening");
            let plan = self.intake.test(text.len() as u32);
            let _ = sender.try_send(EventBatch {
                seq: plan.seq,
                buffer: text,
                messages: plan.messages,
            });
        }
        while self.phase != Phase::Ended {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("NATS server cannot poll its sockets: {error}");
                break;
            }
            self.now = Instant::now();
            for event in &events {
                self.on_event(event);
            }
            self.advance();
            if self.cooled_at.is_some_and(|at| at <= self.now) {
                self.cooled_at = None;
                let cooled = std::mem::take(&mut self.cooling);
                cooled.into_iter().for_each(|id| self.make_ready(id));
            }
            for id in std::mem::take(&mut self.ready) {
                self.read(id);
            }
            self.settle_early();
            self.settle();
            self.flush();
            self.close_marked();
            if self.timers_at.is_some_and(|at| at <= self.now) {
                self.timers();
            }
            self.report();
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
        [self.cooled_at, self.timers_at, phase, self.early_at()]
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
                if event.is_writable()
                    && let Some(Some(connection)) = self.connections.get_mut(id)
                    && let Err(error) = connection.flush(id, &mut self.broker, self.now)
                {
                    self.broken(id, &error, CloseReason::WriteError);
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

    fn accept(&mut self) {
        self.accept_again = false;
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => self.open(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has given up already.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    log::error!(
                        "NATS server cannot accept a connection: {error}; raise the limit of open files if this goes on"
                    );
                    self.accept_again = true;
                    self.timer_at(self.now + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    fn open(&mut self, stream: mio::net::TcpStream, peer: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("NATS client {peer}: {error}");
        }
        let id = self.broker.add(&peer.ip().to_string());
        if self.connections.len() <= id {
            self.connections.resize_with(id + 1, || None);
        }
        let mut connection = Connection::new(
            stream,
            id,
            peer.to_string(),
            self.now,
            self.now + self.limits.ping_interval,
        );
        let registered = connection.register(self.poll.registry());
        if let Some(place) = self.connections.get_mut(id) {
            *place = Some(connection);
        }
        self.metrics.nats_connections.inc();
        self.metrics.nats_connections_total.inc();
        if let Err(error) = registered {
            self.broken(id, &error, CloseReason::ReadError);
        }
        self.timer_at(self.now + self.limits.ping_interval.min(self.limits.connect_timeout));
    }

    fn timer_at(&mut self, at: Instant) {
        self.timers_at = Some(self.timers_at.map_or(at, |timer| timer.min(at)));
    }

    /// A way on which no acknowledgement has a place counts as full: who is held for one must not be tried again and again.
    fn room(&self) -> Room {
        let acks = self.intake.ack_room();
        match &self.senders {
            Some((log, events)) => Room {
                log: acks.log && !log.is_full() && self.blocks.away_bytes() < LOG_BYTES,
                event: acks.event && !events.is_full(),
            },
            None => Room {
                log: false,
                event: false,
            },
        }
    }

    fn stored(&self) -> Stored {
        Stored {
            log: self.log_progress.stored(),
            event: self.event_progress.stored(),
        }
    }

    /// One read of a connection, and what it brings.
    fn read(&mut self, id: ClientId) {
        if matches!(self.phase, Phase::Storing(_) | Phase::Ended) {
            return;
        }
        let room = self.room();
        let block = self.block.take().unwrap_or_else(|| self.blocks.take());
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            self.block = Some(block);
            return;
        };
        if let Some(way) = connection.publisher.must_wait(room) {
            self.block = Some(block);
            return self.hold(id, way);
        }
        let mut buffer = block;
        let before = connection.input.capacity();
        let input = std::mem::take(&mut connection.input);
        if connection.needed > READ_BLOCK_BYTES || input.len() > READ_BLOCK_BYTES / 2 {
            // A large message is read in place; it grows as its bytes arrive, not as they are announced.
            self.block = Some(std::mem::replace(&mut buffer, input));
            let target = connection
                .needed
                .min((2 * buffer.len()).max(READ_BLOCK_BYTES))
                .max(buffer.len() + CONTROL_LINE_BYTES);
            buffer.reserve_exact(target - buffer.len());
        } else if room.log && room.event {
            buffer.extend_from_slice(&input);
        } else {
            self.block = Some(std::mem::replace(
                &mut buffer,
                Vec::with_capacity(input.len() + CONGESTED_READ_BYTES),
            ));
            buffer.extend_from_slice(&input);
        }
        self.partial_bytes -= before;
        let read = connection.read(&mut buffer);
        let is_stream = self.now.duration_since(connection.last_in) < STREAM_GAP;
        match read {
            Read::Some { more } => {
                connection.last_in = self.now;
                let taken = self.process(id, buffer, room);
                self.next_turn(id, more, is_stream, &taken);
            }
            Read::Drained => {
                self.keep_or_recycle(id, buffer, 0);
                self.poll_again(id);
            }
            Read::End => {
                connection.partial_since = None;
                connection.turn = Turn::Ended;
                // As nats-server does, PINGs are answered first.
                if !connection.publisher.is_waiting() {
                    self.broker.close(id, CloseReason::ClientClosed);
                }
                self.recycle(buffer);
            }
            Read::Failed(error) => {
                self.recycle(buffer);
                self.broken(id, &error, CloseReason::ReadError);
            }
        }
    }

    /// Applies what is in `buffer`, hands its messages to the data path and keeps the rest.
    fn process(&mut self, id: ClientId, buffer: Vec<u8>, room: Room) -> Taken {
        let stored = self.stored();
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return Taken::default();
        };
        let mut publisher = std::mem::take(&mut connection.publisher);
        let (was_waiting, early) = (publisher.is_waiting(), publisher.early_pings);
        let (connections, now) = (&mut self.connections, self.now);
        let mut flush = |broker: &mut Broker| {
            for full in broker.take_full() {
                if let Some(Some(connection)) = connections.get_mut(full) {
                    // A failure comes again, and is dealt with, at the end of the round.
                    let _ = connection.flush(full, broker, now);
                }
            }
        };
        let mut taken = self.intake.take(
            &mut self.broker,
            id,
            &mut publisher,
            &buffer,
            room,
            stored,
            &mut flush,
        );
        if !was_waiting && publisher.is_waiting() {
            self.pinging.push(id);
        }
        if let Some(connection) = self.connection(id) {
            connection.publisher = publisher;
            connection.needed = taken.needed;
            if taken.held.is_some() {
                // What it keeps from here on is not its fault: see `keep`.
                connection.turn = Turn::Held;
            }
        }
        if early == 0
            && self
                .connection(id)
                .is_some_and(|connection| connection.publisher.early_pings > 0)
        {
            self.early.push((id, self.now));
        }
        if taken.log.is_none() && taken.events.is_none() {
            self.keep_or_recycle(id, buffer, taken.used);
        } else {
            self.keep(
                id,
                buffer.get(taken.used..).unwrap_or_default().to_vec(),
                taken.used > 0,
            );
            let (shared, rest) = self.blocks.share(buffer, taken.used);
            if let Some(rest) = rest {
                self.recycle(rest);
            }
            self.hand_over(&mut taken, shared);
        }
        taken
    }

    /// Sends what was gathered to the data path. There was room, and only this thread sends: a failure means that the
    /// receiver has died, and the daemon ends.
    fn hand_over(&self, taken: &mut Taken, shared: Bytes) {
        if let (Some(plan), Some((sender, _))) = (taken.log.take(), &self.senders) {
            let batch = LogBatch {
                seq: plan.seq,
                buffer: shared.clone(),
                spans: plan.spans,
                flush: plan.flush,
                ack: plan.ack,
                acks: plan.acks,
            };
            let _ = sender.try_send(batch);
        }
        if let (Some(plan), Some((_, sender))) = (taken.events.take(), &self.senders) {
            let _ = sender.try_send(EventBatch {
                seq: plan.seq,
                buffer: shared,
                messages: plan.messages,
            });
        }
    }

    /// Takes the PINGs that came early once their connection has nothing more to read.
    fn settle_early(&mut self) {
        for (id, since) in std::mem::take(&mut self.early) {
            let (room, stored, now) = (self.room(), self.stored(), self.now);
            let Some(Some(connection)) = self.connections.get_mut(id) else {
                continue;
            };
            let is_quiet = connection.turn == Turn::Polled && now >= quiet_at(connection, since);
            if !is_quiet && now < since + EARLY_PING_WAIT && self.phase == Phase::Serving {
                self.early.push((id, since));
                continue;
            }
            let publisher = &mut connection.publisher;
            let was_waiting = publisher.is_waiting();
            let mut taken = self
                .intake
                .late_pings(&mut self.broker, id, publisher, room, stored);
            if !was_waiting && publisher.is_waiting() {
                self.pinging.push(id);
            }
            self.hand_over(&mut taken, Bytes::new());
        }
    }

    /// When the next of them is to be looked at.
    fn early_at(&self) -> Option<Instant> {
        let quiet = self.early.iter().map(|&(id, since)| {
            let connection = self.connections.get(id).and_then(Option::as_ref);
            let quiet = connection
                .filter(|c| c.turn == Turn::Polled)
                .map(|c| quiet_at(c, since));
            quiet.unwrap_or(since + EARLY_PING_WAIT)
        });
        quiet.min()
    }

    /// Keeps what is behind `used` for the next turn, and the block for the next read.
    fn keep_or_recycle(&mut self, id: ClientId, buffer: Vec<u8>, used: usize) {
        if used == 0 && buffer.capacity() > READ_BLOCK_BYTES {
            // A large message that grows in place.
            return self.keep(id, buffer, false);
        }
        self.keep(
            id,
            buffer.get(used..).unwrap_or_default().to_vec(),
            used > 0,
        );
        self.recycle(buffer);
    }

    fn keep(&mut self, id: ClientId, rest: Vec<u8>, progressed: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id).and_then(Option::as_mut) else {
            return;
        };
        if rest.is_empty() {
            connection.partial_since = None;
            return;
        }
        connection.input = rest;
        if progressed || connection.partial_since.is_none() {
            connection.partial_since = Some(now);
        }
        self.partial_bytes += connection.input.capacity();
        if self.partial_bytes > ALL_PARTIAL_BYTES {
            let longest = self
                .connections
                .iter()
                .enumerate()
                .filter_map(|(id, connection)| {
                    let connection = connection
                        .as_ref()
                        .filter(|c| c.turn != Turn::Held && !self.broker.is_closing(id))?;
                    connection.partial_since.map(|since| (since, id))
                });
            if let Some((_, id)) = longest.min() {
                self.broker.close(id, CloseReason::PartialMessages);
            }
        }
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if self.block.is_none() && buffer.capacity() == READ_BLOCK_BYTES {
            let mut buffer = buffer;
            buffer.clear();
            self.block = Some(buffer);
        } else {
            self.blocks.give_back(buffer);
        }
    }

    /// Decides when the connection is read again.
    fn next_turn(&mut self, id: ClientId, more: bool, is_stream: bool, taken: &Taken) {
        if let Some(way) = taken.held {
            return self.hold(id, way);
        }
        let coalesce = self.limits.read_coalesce;
        let nothing_waits = self.broker.outbound(id).is_none_or(|out| out.is_empty());
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        if more || connection.ended {
            self.ready.push(id);
        } else if is_stream
            && !taken.interactive
            && nothing_waits
            && !coalesce.is_zero()
            && self.phase == Phase::Serving
        {
            connection.turn = Turn::Cooling;
            connection.deregister(self.poll.registry());
            self.cooling.push(id);
            self.cooled_at.get_or_insert(self.now + coalesce);
        } else {
            self.poll_again(id);
        }
    }

    fn poll_again(&mut self, id: ClientId) {
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        connection.turn = Turn::Polled;
        if let Err(error) = connection.register(self.poll.registry()) {
            self.broken(id, &error, CloseReason::ReadError);
        }
    }

    fn hold(&mut self, id: ClientId, way: Way) {
        self.metrics.nats_held_back.inc();
        if let Some(connection) = self.connection(id) {
            connection.turn = Turn::Held;
            self.held.push((id, way));
        }
    }

    /// Answers what waited for storage, and lets held connections go on.
    fn settle(&mut self) {
        if self.pinging.is_empty()
            && !self.intake.is_waiting()
            && self.held.is_empty()
            && self.phase == Phase::Serving
        {
            return;
        }
        // First ask for a wake-up, then look: what happens in between is not missed.
        self.log_progress.wait();
        self.event_progress.wait();
        let stored = self.stored();
        let (connections, broker) = (&mut self.connections, &mut self.broker);
        self.pinging.retain(|&id| {
            let Some(Some(connection)) = connections.get_mut(id) else {
                return false;
            };
            for _ in 0..connection.publisher.settle(stored) {
                broker.pong(id);
            }
            if connection.turn == Turn::Ended && !connection.publisher.is_waiting() {
                broker.close(id, CloseReason::ClientClosed);
            }
            connection.publisher.is_waiting()
        });
        self.intake.settle(stored, &mut self.broker);
        // In the order in which they began to wait, each once; the rest stays until there is room again.
        for _ in 0..self.held.len() {
            let room = self.room();
            let Some(next) = self.held.iter().position(|&(_, way)| room.on(way)) else {
                break;
            };
            let (id, _) = self.held.remove(next);
            self.resume(id, room);
        }
    }

    fn resume(&mut self, id: ClientId, room: Room) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        connection.turn = Turn::Ready;
        let input = std::mem::take(&mut connection.input);
        self.partial_bytes -= input.capacity();
        if input.is_empty() {
            return self.ready.push(id);
        }
        let taken = self.process(id, input, room);
        match taken.held {
            Some(way) => self.hold(id, way),
            None => self.ready.push(id),
        }
    }

    fn flush(&mut self) {
        for id in self.broker.take_dirty() {
            self.flush_one(id);
        }
    }

    fn flush_one(&mut self, id: ClientId) {
        let now = self.now;
        let Some(Some(connection)) = self.connections.get_mut(id) else {
            return;
        };
        if let Err(error) = connection.flush(id, &mut self.broker, now) {
            return self.broken(id, &error, CloseReason::WriteError);
        }
        if connection.blocked_since.is_some() {
            let deadline = now + self.limits.write_deadline;
            // While something waits the socket must be polled, whatever the connection's turn: it may be held next.
            if let Err(error) = connection.register(self.poll.registry()) {
                return self.broken(id, &error, CloseReason::WriteError);
            }
            self.timer_at(deadline);
        }
    }

    fn broken(&mut self, id: ClientId, error: &io::Error, reason: CloseReason) {
        log::debug!("NATS client {id}: {error}");
        let reason = if error.kind() == io::ErrorKind::ConnectionReset {
            CloseReason::ClientClosed
        } else {
            reason
        };
        self.broker.close_with(id, reason, None);
    }

    fn close_marked(&mut self) {
        for (id, reason) in self.broker.take_closing() {
            let label = self
                .broker
                .client(id)
                .map(|client| client.connect.label())
                .unwrap_or_default();
            if let Some(mut connection) = self.connections.get_mut(id).and_then(Option::take) {
                // Its last words, as far as the socket takes them.
                let _ = connection.flush(id, &mut self.broker, self.now);
                connection.close(self.poll.registry());
                self.partial_bytes -= connection.input.capacity();
                let text = reason.as_str();
                if reason.is_slow_consumer() {
                    self.metrics.nats_slow_consumers.inc();
                    log::warn!("NATS client {} {label} cut off: {text}", connection.peer);
                } else if reason == CloseReason::ClientClosed {
                    log::debug!("NATS client {} {label} has gone", connection.peer);
                } else {
                    log::info!("NATS client {} {label} closed: {text}", connection.peer);
                }
                self.metrics.nats_connections.dec();
                self.metrics.nats_closed.with_label_values(&[text]).inc();
            }
            self.broker.remove(id);
            self.held.retain(|&(other, _)| other != id);
            for list in [&mut self.ready, &mut self.cooling, &mut self.pinging] {
                list.retain(|&other| other != id);
            }
            self.early.retain(|&(other, _)| other != id);
        }
    }

    /// PINGs, time-outs, and accepting once more.
    fn timers(&mut self) {
        if self.accept_again {
            self.accept();
        }
        let now = self.now;
        let limits = &self.limits;
        let mut next = self.accept_again.then(|| now + ACCEPT_RETRY);
        let mut marked = Vec::new();
        for (id, connection) in self.connections.iter_mut().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            let authorised = self
                .broker
                .client(id)
                .is_some_and(|client| client.authorised);
            let mut deadline = connection.next_ping;
            if !authorised {
                deadline = deadline.min(connection.opened + limits.connect_timeout);
                if now >= connection.opened + limits.connect_timeout {
                    marked.push((id, CloseReason::AuthenticationTimeout));
                    continue;
                }
            }
            if let Some(since) = connection.blocked_since {
                deadline = deadline.min(since + limits.write_deadline);
                if now >= since + limits.write_deadline {
                    marked.push((id, CloseReason::SlowConsumerWriteDeadline));
                    continue;
                }
            }
            if now >= connection.next_ping {
                // Who has sent something lately is alive; who is held back cannot answer.
                if now.duration_since(connection.last_in) >= limits.ping_interval
                    && connection.turn != Turn::Held
                {
                    if connection.publisher.pings_outstanding >= limits.pings_outstanding {
                        marked.push((id, CloseReason::StaleConnection));
                        continue;
                    }
                    connection.publisher.pings_outstanding += 1;
                    self.broker.ping(id);
                }
                connection.next_ping = now + limits.ping_interval;
                deadline = deadline.max(now).min(connection.next_ping);
            }
            next = Some(next.map_or(deadline, |next| next.min(deadline)));
        }
        self.timers_at = next.map(|next| next.max(now + TIMER_STEP));
        for (id, reason) in marked {
            self.broker.close(id, reason);
        }
        self.flush();
        self.close_marked();
    }

    /// Nothing is left to wait for in this phase. Looked at before each sleep, after `settle` has asked for a wake-up:
    /// when all is stored by then, none will come.
    fn phase_is_over(&self) -> bool {
        match self.phase {
            Phase::Draining(_) => self.ready.is_empty() && self.held.is_empty(),
            Phase::Storing(_) => {
                let (last, stored) = (self.intake.last(), self.stored());
                stored.log >= last.log && stored.event >= last.event
            }
            Phase::Serving | Phase::Ended => false,
        }
    }

    /// Moves on through the end of the thread's life.
    fn advance(&mut self) {
        match self.phase {
            Phase::Serving if self.stop.is_asked() => {
                let _ = self.poll.registry().deregister(&mut self.listener);
                self.phase = Phase::Draining(self.now + STOP_READ_TIME);
                let ids: Vec<ClientId> = (0..self.connections.len()).collect();
                self.cooling.clear();
                self.cooled_at = None;
                for id in ids {
                    if self
                        .connection(id)
                        .is_some_and(|connection| connection.turn != Turn::Held)
                    {
                        self.make_ready(id);
                    }
                }
            }
            Phase::Draining(until) if self.phase_is_over() || self.now >= until => {
                self.ready.clear();
                self.held.clear();
                self.senders = None;
                self.phase = Phase::Storing(self.now + STOP_TIME);
            }
            Phase::Storing(until) => {
                if self.phase_is_over() || self.stop.is_at_once() || self.now >= until {
                    self.settle();
                    for id in 0..self.connections.len() {
                        self.broker.close(id, CloseReason::ServerShutdown);
                    }
                    self.flush();
                    self.close_marked();
                    self.phase = Phase::Ended;
                }
            }
            Phase::Serving | Phase::Draining(_) | Phase::Ended => {}
        }
    }

    fn report(&mut self) {
        let stats = self.broker.take_stats();
        if stats.in_messages > 0 || stats.out_messages > 0 {
            self.metrics.nats_in_messages.inc_by(stats.in_messages);
            self.metrics.nats_in_bytes.inc_by(stats.in_bytes);
            self.metrics.nats_out_messages.inc_by(stats.out_messages);
            self.metrics.nats_out_bytes.inc_by(stats.out_bytes);
        }
        self.metrics
            .nats_subscriptions
            .set(self.broker.subscription_count() as i64);
    }
}
