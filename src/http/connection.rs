//! One client's connection without its socket: what to read, what to write, and what must have happened by when.
//!
//! One request is answered at a time; nothing more is read while an answer waits to be written, so that a client which
//! does not read holds back itself alone. The clock is an argument.

use std::time::{Duration, Instant, SystemTime};

use super::response::CONTINUE;
use super::{Limits, Request, RequestError, RequestReader, Response, Step};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: between two requests, or after an answer.
    Orderly,
    /// The client closed in the middle of a request.
    ClientClosed,
    /// The request took too long to arrive.
    Timeout,
    /// The client took too long to read its answer.
    SlowReader,
    /// Reading or writing failed.
    IoError,
    /// Its place was needed for another connection.
    CrowdedOut,
    /// The memory it held was needed for other connections.
    Memory,
    /// CIM stops.
    Stopped,
}

impl End {
    /// The label `reason` of `cim_http_aborted_total`; `None` when nothing was aborted.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Orderly => None,
            Self::ClientClosed => Some("client_closed"),
            Self::Timeout => Some("timeout"),
            Self::SlowReader => Some("slow_reader"),
            Self::IoError => Some("io_error"),
            Self::CrowdedOut => Some("crowded_out"),
            Self::Memory => Some("memory"),
            Self::Stopped => Some("stopped"),
        }
    }
}

/// What a deadline that has passed asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// It has not passed.
    Ahead,
    /// Answer with this status code, then close.
    Answer(u16),
    /// Close.
    Close(End),
}

/// How well a connection can be spared when there are too many: the largest goes first. Equal ones: the older goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expendable {
    /// Being answered.
    Answering,
    /// In the middle of a request.
    Busy,
    /// Between two requests.
    Idle,
    /// In the middle of a request or of an answer for longer than `Limits::stuck_time`.
    Stuck,
    /// Has had its last answer.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for a request, or for the rest of one.
    Reading,
    /// A request was handed out; its answer is to come.
    Awaiting,
    /// The answer is being written.
    Writing,
    /// The last answer is written; what still comes is dropped, so that the answer is not lost to a reset.
    Lingering,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    reader: RequestReader,
    /// To be written from `written` on.
    out: Vec<u8>,
    written: usize,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// When the request that is being read began. Before the first request: when the connection did.
    begun: Option<Instant>,
    /// The client will send no more.
    client_done: bool,
    /// No request is taken after the present one.
    last: bool,
    head_only: bool,
    end: Option<End>,
}

impl Connection {
    /// A connection accepted at `now`.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            reader: RequestReader::new(limits),
            out: Vec::new(),
            written: 0,
            phase: Phase::Reading,
            since: now,
            begun: Some(now),
            client_done: false,
            last: false,
            head_only: false,
            end: None,
        }
    }

    /// Bytes that may be read from the socket now; 0: leave them there.
    pub fn room(&self) -> usize {
        match self.phase {
            _ if self.client_done => 0,
            Phase::Reading => self.reader.room(),
            Phase::Lingering => usize::MAX,
            Phase::Awaiting | Phase::Writing => 0,
        }
    }

    /// Takes what was read: at most [`Connection::room`] bytes.
    pub fn received(&mut self, bytes: &[u8], now: Instant) {
        if self.phase == Phase::Reading {
            self.reader.feed(bytes);
            self.begun.get_or_insert(now);
        }
    }

    /// The client has closed its side: what it sent before is still answered.
    pub fn client_closed(&mut self) {
        self.client_done = true;
        if self.phase == Phase::Lingering {
            self.end = Some(End::Orderly);
        }
    }

    /// The next complete request. It must be answered with [`Connection::answer`].
    ///
    /// # Errors
    /// What came is not a request: answer with the error's status.
    pub fn next_request(&mut self, now: Instant) -> Result<Option<Request>, RequestError> {
        while self.phase == Phase::Reading {
            match self.reader.step() {
                Ok(Step::Request(request)) => {
                    self.head_only = request.method == super::Method::Head;
                    self.last |= !request.keep_alive;
                    self.enter(Phase::Awaiting, now);
                    return Ok(Some(request));
                }
                Ok(Step::Continue) => self.out.extend_from_slice(CONTINUE),
                Ok(Step::More) => {
                    if self.client_done {
                        self.end = Some(match self.reader.mid_request() {
                            true => End::ClientClosed,
                            false => End::Orderly,
                        });
                    }
                    break;
                }
                Err(error) => {
                    self.last = true;
                    self.head_only = false;
                    self.enter(Phase::Awaiting, now);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Queues the answer to the request that was handed out last.
    pub fn answer(&mut self, response: &Response, now: Instant, wall: SystemTime) {
        let bytes = response.encode(self.head_only, !self.last, wall);
        // A large answer is not there twice.
        if self.out.is_empty() {
            self.out = bytes;
        } else {
            self.out.extend_from_slice(&bytes);
        }
        self.enter(Phase::Writing, now);
    }

    /// Bytes to write.
    pub fn to_write(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// `count` bytes of [`Connection::to_write`] were written. True: that was all there will be, so the socket's write side is
    /// to be shut.
    pub fn wrote(&mut self, count: usize, now: Instant) -> bool {
        self.written = self.written.saturating_add(count);
        if !self.to_write().is_empty() {
            return false;
        }
        self.out = Vec::new();
        self.written = 0;
        if self.phase != Phase::Writing {
            return false;
        }
        if !self.last {
            self.enter(Phase::Reading, now);
            self.begun = self.reader.mid_request().then_some(now);
            return false;
        }
        self.reader = RequestReader::new(self.limits);
        self.enter(Phase::Lingering, now);
        if self.client_done {
            self.end = Some(End::Orderly);
        }
        true
    }

    /// No further request is taken: CIM stops. What is being answered is finished.
    pub fn stop(&mut self) {
        self.last = true;
        if self.phase == Phase::Reading {
            self.end = Some(match self.partial() {
                true => End::Stopped,
                false => End::Orderly,
            });
        }
    }

    /// Ends the connection. A reason that means an abort becomes [`End::Orderly`] when nothing is aborted.
    pub fn abort(&mut self, reason: End) {
        let idle =
            self.phase == Phase::Lingering || self.phase == Phase::Reading && !self.partial();
        self.end = Some(if idle { End::Orderly } else { reason });
    }

    /// Why the connection is to be closed, once it is.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// When [`Connection::expire`] has something to do.
    pub fn deadline(&self) -> Instant {
        let limits = &self.limits;
        match (self.phase, self.begun) {
            (Phase::Reading, Some(begun)) => begun + limits.request_time,
            (Phase::Reading, None) => self.since + limits.idle_time,
            (Phase::Awaiting | Phase::Writing, _) => self.since + limits.request_time,
            (Phase::Lingering, _) => self.since + limits.linger_time,
        }
    }

    /// What to do about the deadline. An answer it asks for is given with [`Connection::answer`], and is the last.
    pub fn expire(&mut self, now: Instant) -> Deadline {
        if now < self.deadline() {
            return Deadline::Ahead;
        }
        match self.phase {
            Phase::Reading if self.partial() => {
                self.last = true;
                self.head_only = false;
                self.enter(Phase::Awaiting, now);
                Deadline::Answer(408)
            }
            Phase::Awaiting => {
                self.last = true;
                Deadline::Answer(504)
            }
            Phase::Writing => Deadline::Close(End::SlowReader),
            Phase::Reading | Phase::Lingering => Deadline::Close(End::Orderly),
        }
    }

    /// How well it can be spared, and for how long it has waited.
    pub fn expendable(&self, now: Instant) -> (Expendable, Duration) {
        let began = match (self.phase, self.begun) {
            (Phase::Reading, Some(begun)) => begun,
            _ => self.since,
        };
        let age = now.saturating_duration_since(began);
        let stuck = age >= self.limits.stuck_time;
        let class = match (self.phase, self.begun) {
            (Phase::Lingering, _) => Expendable::Done,
            (Phase::Reading, Some(_)) | (Phase::Writing, _) if stuck => Expendable::Stuck,
            (Phase::Reading, None) => Expendable::Idle,
            (Phase::Reading, Some(_)) => Expendable::Busy,
            (Phase::Writing | Phase::Awaiting, _) => Expendable::Answering,
        };
        (class, age)
    }

    /// Bytes held for this connection.
    pub fn held(&self) -> usize {
        self.reader.held() + self.out.len()
    }

    fn partial(&self) -> bool {
        self.reader.mid_request()
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
        self.begun = None;
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
