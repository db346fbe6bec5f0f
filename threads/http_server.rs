//! Thread `http-server`: the only owner of the operations API's sockets.
//!
//! In: connections on its listeners; answers promised with `Answer::Later` (each its own channel of one, with a wake-up).
//! Out: nothing but answers. One poll loop serves every connection in turns, so a slow or stuck client holds nobody up; without a
//! client it sleeps. Ends when its [`Stopper`] says so or is dropped: what is being answered is finished within
//! `Limits::stop_time`, all else is closed.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Sender, TryRecvError};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::http::{Answer, Connection, Deadline, End, Handler, Limits, Response, Scope, Wake};
use crate::limits::HTTP_READ_BYTES;
use crate::metrics::Metrics;
use crate::threads::spawn::{Notice, spawn};

mod socket;

use socket::{Listener, Slot};

/// Steps (a read, an answer, a write) of one connection before it is the others' turn.
const STEPS_A_TURN: usize = 8;
/// Connections accepted before it is the clients' turn.
const ACCEPTS_A_TURN: usize = 16;
const WAKE: Token = Token(usize::MAX);

/// The thread before it starts.
pub struct HttpServer<H> {
    /// Bound sockets, and what is to be found there.
    pub listeners: Vec<(TcpListener, Scope)>,
    /// The routes.
    pub handler: H,
    /// Counts requests by status code, and those that were aborted.
    pub metrics: Arc<Metrics>,
    /// The bounds.
    pub limits: Limits,
}

/// Ends the thread: with [`Stopper::stop`], or by being dropped.
#[derive(Debug)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Stopper {
    /// Asks the thread to end; join it afterwards.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("the operations API cannot be told to stop: {error}");
        }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<H: Handler + 'static> HttpServer<H> {
    /// Starts the thread.
    ///
    /// # Errors
    /// No poll, no thread, or a listener that cannot be polled.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<(JoinHandle<()>, Stopper)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut listeners = Vec::new();
        for (index, (socket, scope)) in self.listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpListener::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(index), Interest::READABLE)?;
            listeners.push(Listener::new(socket, scope));
        }
        let wake = {
            let waker = waker.clone();
            // A wake-up that fails is made good by the deadline of the connection that waits.
            Wake::new(move || drop(waker.wake()))
        };
        let server = Server {
            poll,
            listeners,
            first_slot: 0,
            slots: Vec::new(),
            block: vec![0; HTTP_READ_BYTES].into_boxed_slice(),
            handler: self.handler,
            tick_at: None,
            metrics: self.metrics,
            limits: self.limits,
            wake,
            stop: stop.clone(),
        };
        let thread = spawn("http-server", notices, move || server.run())?;
        Ok((thread, Stopper { stop, waker }))
    }
}

struct Server<H> {
    poll: Poll,
    listeners: Vec<Listener>,
    /// The token of the first slot: the listeners have those before.
    first_slot: usize,
    slots: Vec<Option<Slot>>,
    block: Box<[u8]>,
    handler: H,
    /// When the handler has something to do although nobody asks.
    tick_at: Option<Instant>,
    metrics: Arc<Metrics>,
    limits: Limits,
    wake: Wake,
    stop: Arc<AtomicBool>,
}

impl<H: Handler> Server<H> {
    fn run(mut self) {
        self.first_slot = self.listeners.len();
        self.slots.resize_with(self.limits.connections, || None);
        let mut events = Events::with_capacity(128);
        let mut stop_by = None;
        let mut busy = true;
        loop {
            let timeout = match busy {
                true => Some(Duration::ZERO),
                false => self.time_to_sleep(stop_by),
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => self.note(&events),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    log::error!("the operations API ends: polling its sockets failed: {error}");
                    return;
                }
            }
            let now = Instant::now();
            self.tick_at = self.handler.tick(now);
            if stop_by.is_none() && self.stop.load(Ordering::SeqCst) {
                stop_by = Some(now + self.limits.stop_time);
                self.begin_stop();
            }
            busy = self.accept();
            for index in 0..self.slots.len() {
                busy |= self.turn(index);
            }
            self.keep_within_memory();
            if stop_by.is_some_and(|by| now >= by || self.slots.iter().all(Option::is_none)) {
                return;
            }
        }
    }

    fn note(&mut self, events: &Events) {
        for event in events {
            let Token(token) = event.token();
            if let Some(listener) = self.listeners.get_mut(token) {
                listener.ready();
            } else if let Some(Some(slot)) = self.slots.get_mut(token.wrapping_sub(self.first_slot))
            {
                // After an error either call says what it was.
                slot.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                slot.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            }
        }
    }

    /// `None`: until something happens.
    fn time_to_sleep(&self, stop_by: Option<Instant>) -> Option<Duration> {
        let connections = self.slots.iter().flatten().map(|s| s.conn.deadline());
        let listeners = self.listeners.iter().filter_map(Listener::retry_at);
        let others = stop_by.into_iter().chain(self.tick_at);
        let next = connections.chain(listeners).chain(others).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// No new connection and no new request.
    fn begin_stop(&mut self) {
        // The tokens of the slots stay: `first_slot` does not change.
        self.listeners.clear();
        for index in 0..self.slots.len() {
            // What a client sent before the stop is a request to finish.
            self.turn(index);
            if let Some(Some(slot)) = self.slots.get_mut(index) {
                slot.conn.stop();
            }
        }
    }

    /// Takes new connections; true when there may be more.
    fn accept(&mut self) -> bool {
        let mut more = false;
        for index in 0..self.listeners.len() {
            for turn in 1.. {
                let Some(listener) = self.listeners.get_mut(index) else {
                    break;
                };
                let now = Instant::now();
                let Some(socket) = listener.accept(now) else {
                    break;
                };
                let scope = listener.scope;
                self.welcome(socket, scope, now);
                if turn == ACCEPTS_A_TURN {
                    more = true;
                    break;
                }
            }
        }
        more
    }

    /// Gives a new connection a place, if need be that of the one that can be spared best.
    fn welcome(&mut self, mut socket: mio::net::TcpStream, scope: Scope, now: Instant) {
        if self.slots.iter().all(Option::is_some)
            && let Some(index) = self.most(|conn| conn.expendable(now))
        {
            self.abort(index, End::CrowdedOut);
        }
        let Some(index) = self.slots.iter().position(Option::is_none) else {
            return;
        };
        // Answers are one write each; a failure would only make the last part of a long one later.
        let _ = socket.set_nodelay(true);
        let token = Token(self.first_slot + index);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            log::warn!("the operations API cannot poll a connection: {error}");
            return;
        }
        if let Some(free) = self.slots.get_mut(index) {
            *free = Some(Slot::new(socket, scope, Connection::new(self.limits, now)));
        }
        // Its request is here as a rule: answered before further newcomers can crowd it out.
        self.turn(index);
    }

    /// The connection for which `key` is the largest.
    fn most<K: Ord>(&self, key: impl Fn(&Connection) -> K) -> Option<usize> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter_map(|(index, slot)| Some((key(&slot.as_ref()?.conn), index)))
            .max()
            .map(|(_, index)| index)
    }

    fn abort(&mut self, index: usize, reason: End) {
        if let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) {
            slot.conn.abort(reason);
            self.count_end(&slot.conn);
        }
    }

    fn count_end(&self, conn: &Connection) {
        if let Some(reason) = conn.end().and_then(End::label) {
            self.count_aborted(reason);
        }
    }

    fn count_aborted(&self, reason: &str) {
        self.metrics.http_aborted.with_label_values(&[reason]).inc();
    }

    /// What clients hold together is bounded; whoever holds most goes first.
    fn keep_within_memory(&mut self) {
        loop {
            let held: usize = self.slots.iter().flatten().map(|s| s.conn.held()).sum();
            if held <= self.limits.all_bytes {
                return;
            }
            let Some(index) = self.most(Connection::held) else {
                return;
            };
            self.abort(index, End::Memory);
        }
    }

    /// Serves one connection for a few steps; true when there is more to do.
    fn turn(&mut self, index: usize) -> bool {
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else {
            return false;
        };
        // Not the loop's time: who has waited longest must not be a matter of places.
        let now = Instant::now();
        let mut busy = true;
        for _ in 0..STEPS_A_TURN {
            if !busy || slot.conn.end().is_some() {
                break;
            }
            busy = self.step(&mut slot, now);
        }
        if slot.conn.end().is_none() {
            busy |= self.expire(&mut slot, now);
        }
        if slot.conn.end().is_some() {
            self.count_end(&slot.conn);
            return false;
        }
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(slot);
        }
        busy
    }

    /// A write, an answer or a read; false when nothing can be done now.
    fn step(&mut self, slot: &mut Slot, now: Instant) -> bool {
        if slot.writable && !slot.conn.to_write().is_empty() {
            slot.write(now);
            return true;
        }
        if let Some(reply) = &slot.reply {
            let response = match reply.try_recv() {
                Ok(response) => response,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    Response::error(500, "the request could not be handled")
                }
            };
            self.respond(slot, &response, now);
            return true;
        }
        match slot.conn.next_request(now) {
            Ok(Some(request)) => {
                match self.handler.answer(slot.scope, &request, &self.wake) {
                    Answer::Now(response) => self.respond(slot, &response, now),
                    Answer::Later(reply) => slot.reply = Some(reply),
                }
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                let response = Response::error(error.status(), &error.to_string());
                self.respond(slot, &response, now);
                return true;
            }
        }
        if slot.readable && slot.conn.room() > 0 && slot.conn.end().is_none() {
            slot.read(&mut self.block, now);
            return true;
        }
        false
    }

    fn expire(&mut self, slot: &mut Slot, now: Instant) -> bool {
        match slot.conn.expire(now) {
            Deadline::Ahead => return false,
            Deadline::Answer(408) => {
                self.count_aborted("timeout");
                self.respond(
                    slot,
                    &Response::error(408, "the request took too long to arrive"),
                    now,
                );
            }
            Deadline::Answer(status) => {
                self.respond(
                    slot,
                    &Response::error(status, "the answer took too long to be made"),
                    now,
                );
            }
            Deadline::Close(end) => slot.conn.abort(end),
        }
        true
    }

    fn respond(&self, slot: &mut Slot, response: &Response, now: Instant) {
        slot.reply = None;
        let code = response.status.to_string();
        self.metrics.http_requests.with_label_values(&[&code]).inc();
        slot.conn.answer(response, now, SystemTime::now());
    }
}
