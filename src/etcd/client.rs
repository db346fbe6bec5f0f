//! Calls and watch streams. A call goes to the endpoint that worked last; when that cannot be reached at all, to the next ones,
//! and any other fault of an endpoint makes the next call go to another one.
//!
//! Connections are kept for the next call. A frozen or half-open peer is known by the deadlines of [`Timeouts`]; a blocked call or
//! stream is ended by a [`Closer`], which shuts the sockets down. Only finding and making a connection cannot be interrupted;
//! that takes [`Timeouts::connect`] each at most.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body, BodyReader, Timeout};

use super::config::{Config, Timeouts};
use super::error::{EtcdError, FAILED_PRECONDITION, reason};
use super::json::{
    self, Authenticated, DeleteAnswer, Granted, PutAnswer, Range, RangeAnswer, Status, Txn,
    TxnAnswer,
};
use super::watch::{self, Frame, LineError, WatchRequest};
use crate::http_agent;
use crate::limits;
use crate::resolver::CachingResolver;
use crate::secret::Secret;

/// A client of one etcd cluster, for one thread.
#[derive(Debug)]
pub struct Client {
    endpoints: Vec<String>,
    /// Index of the endpoint for the next call.
    current: usize,
    user: Option<(String, Secret)>,
    token: Token,
    timeouts: Timeouts,
    calls: Agent,
    /// The same with the deadlines of a stream. A pool of its own, so that a stream takes no call's connection.
    streams: Agent,
    closed: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Token {
    Unknown,
    /// etcd runs without authentication.
    NotNeeded,
    Known(Secret),
}

/// Ends what a [`Client`] and its streams are doing, from another thread.
#[derive(Debug, Clone)]
pub struct Closer {
    agents: [Agent; 2],
    closed: Arc<AtomicBool>,
}

impl Closer {
    /// Shuts all sockets down. What is under way, and every later call, ends with [`EtcdError::Closed`].
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for agent in &self.agents {
            agent.clone().shutdown();
        }
    }
}

/// A failed try, and whether the endpoint may have seen the request.
struct Failure {
    error: EtcdError,
    was_sent: bool,
}

impl Client {
    /// Makes a client; reads the files for TLS, connects nowhere.
    ///
    /// # Errors
    /// [`EtcdError::Config`]: no endpoint, or one that is not allowed; a file that cannot be read or used.
    pub fn new(config: Config) -> Result<Self, EtcdError> {
        let endpoints = config.urls()?;
        let tls = config.tls.load()?;
        let timeouts = config.timeouts;
        let agent = || {
            http_agent::config(limits::ETCD_BUFFER_BYTES)
                .tls_config(tls.clone())
                // Less than the buffer, so that a head that is too large is known as such.
                .max_response_header_size(limits::ETCD_BUFFER_BYTES / 2)
                .max_idle_age(limits::ETCD_IDLE_TIME)
                .timeout_resolve(Some(timeouts.connect))
                .timeout_connect(Some(timeouts.connect))
        };
        let start = |config: ureq::config::Config| {
            use ureq::unversioned::transport::{Connector, RustlsConnector, TcpConnector};
            let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
            Agent::with_parts(config, connector, CachingResolver::default())
        };
        let calls = agent().timeout_global(Some(timeouts.call));
        let streams = agent()
            .timeout_send_request(Some(timeouts.call))
            .timeout_send_body(Some(timeouts.call))
            .timeout_recv_response(Some(timeouts.call))
            .timeout_recv_body(Some(timeouts.stream));
        Ok(Self {
            endpoints,
            current: 0,
            user: config.user,
            token: Token::Unknown,
            timeouts,
            calls: start(calls.build()),
            streams: start(streams.build()),
            closed: Arc::default(),
        })
    }

    /// What can end this client's calls and streams from another thread.
    pub fn closer(&self) -> Closer {
        Closer {
            agents: [self.calls.clone(), self.streams.clone()],
            closed: Arc::clone(&self.closed),
        }
    }

    /// The endpoint that the next call goes to.
    pub fn endpoint(&self) -> &str {
        self.endpoints.get(self.current).map_or("", String::as_str)
    }

    /// Reads keys, as they are in the whole cluster (linearizable).
    ///
    /// # Errors
    /// [`EtcdError::Compacted`] for an old revision; others as [`EtcdError`] says.
    pub fn range(&mut self, range: &Range) -> Result<RangeAnswer, EtcdError> {
        self.call("/v3/kv/range", &range.body(), range.revision)
    }

    /// Puts a key.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<PutAnswer, EtcdError> {
        self.call("/v3/kv/put", &json::put_body(key, value), 0)
    }

    /// Makes a lease: keys that go with it go after `seconds`. Its id.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn grant(&mut self, seconds: i64) -> Result<i64, EtcdError> {
        let body = json!({"TTL": seconds.to_string()});
        let granted: Granted = self.call("/v3/lease/grant", &body, 0)?;
        Ok(granted.id)
    }

    /// Puts a key that is not there yet, with a lease, 0 for none. Its revision; `None`: it is there.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn create(
        &mut self,
        key: &[u8],
        value: &[u8],
        lease: i64,
    ) -> Result<Option<i64>, EtcdError> {
        let body = json::create_body(key, value, lease);
        let answer: TxnAnswer = self.call("/v3/kv/txn", &body, 0)?;
        Ok(answer.succeeded.then_some(answer.header.revision))
    }

    /// Deletes one key; one that is not there is no error.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn delete(&mut self, key: &[u8]) -> Result<DeleteAnswer, EtcdError> {
        let body = json!({"key": json::base64(key)});
        self.call("/v3/kv/deleterange", &body, 0)
    }

    /// Does a transaction.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn txn(&mut self, txn: &Txn) -> Result<TxnAnswer, EtcdError> {
        self.call("/v3/kv/txn", &txn.body(), txn.revision())
    }

    /// How the member at the current endpoint is.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn status(&mut self) -> Result<Status, EtcdError> {
        self.call("/v3/maintenance/status", &json!({}), 0)
    }

    /// Begins to watch. Returns when etcd has answered; a watch that etcd refuses (an old revision, no permission) is a stream whose
    /// first or second frame says so.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn watch(&mut self, request: &WatchRequest) -> Result<WatchStream, EtcdError> {
        let body = request.body().to_string();
        self.authenticated(|client| {
            let (endpoint, response) = client.exchange(Kind::Stream, "/v3/watch", &body, 0)?;
            let reader = response.into_body().into_reader();
            let mut stream = WatchStream {
                endpoint,
                reader: BufReader::with_capacity(limits::ETCD_BUFFER_BYTES, reader),
                line: Vec::new(),
                first: None,
                closed: Arc::clone(&client.closed),
            };
            // The first frame tells whether the token is good.
            let first = stream.next_frame();
            stream.first = client.judged(first)?;
            match &stream.first {
                Some(frame) if frame.wants_authentication() => Err(EtcdError::Unauthenticated {
                    endpoint: stream.endpoint,
                    message: reason(&frame.cancel_reason),
                }),
                _ => Ok(stream),
            }
        })
    }

    fn call<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &Value,
        revision: i64,
    ) -> Result<T, EtcdError> {
        let body = body.to_string();
        self.authenticated(|client| client.call_as_is(path, &body, revision))
    }

    /// Does `what` with a token, where etcd wants one; once more with a new one when it does not take that.
    fn authenticated<T>(
        &mut self,
        mut what: impl FnMut(&mut Self) -> Result<T, EtcdError>,
    ) -> Result<T, EtcdError> {
        if self.user.is_some() && matches!(self.token, Token::Unknown) {
            self.authenticate()?;
        }
        match what(self) {
            Err(EtcdError::Unauthenticated { .. }) if self.user.is_some() => {
                self.authenticate()?;
                what(self)
            }
            other => other,
        }
    }

    fn authenticate(&mut self) -> Result<(), EtcdError> {
        self.token = Token::Unknown;
        let Some((name, password)) = &self.user else {
            return Ok(());
        };
        let body = json!({"name": name, "password": password.reveal()}).to_string();
        let answer: Result<Authenticated, _> = self.call_as_is("/v3/auth/authenticate", &body, 0);
        self.token = match answer {
            Ok(answer) => Token::Known(Secret::new(answer.token)),
            Err(EtcdError::Refused { code, message, .. })
                if code == FAILED_PRECONDITION && message.contains("not enabled") =>
            {
                Token::NotNeeded
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn call_as_is<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &str,
        revision: i64,
    ) -> Result<T, EtcdError> {
        let (endpoint, mut response) = self.exchange(Kind::Call, path, body, revision)?;
        let answer = read(&mut response)
            .map_err(|error| self.of_ureq(&endpoint, error))
            .and_then(|bytes| {
                json::answer(&bytes).map_err(|what| EtcdError::Malformed { endpoint, what })
            });
        self.judged(answer)
    }

    /// Sends a request until an endpoint has seen it, each at most once.
    fn exchange(
        &mut self,
        kind: Kind,
        path: &str,
        body: &str,
        revision: i64,
    ) -> Result<(String, Response<Body>), EtcdError> {
        let deadline = Instant::now() + self.timeouts.call;
        let mut others = self.endpoints.len().saturating_sub(1);
        loop {
            let endpoint = self.endpoint().to_owned();
            let failure = match self.attempt(kind, &endpoint, path, body, revision) {
                Ok(response) => return Ok((endpoint, response)),
                Err(failure) => failure,
            };
            let is_last = failure.was_sent || others == 0 || Instant::now() >= deadline;
            let result = self.judged(Err(failure.error));
            if is_last || self.closed.load(Ordering::SeqCst) {
                return result;
            }
            others -= 1;
        }
    }

    fn attempt(
        &self,
        kind: Kind,
        endpoint: &str,
        path: &str,
        body: &str,
        revision: i64,
    ) -> Result<Response<Body>, Failure> {
        let agent = match kind {
            Kind::Call => &self.calls,
            Kind::Stream => &self.streams,
        };
        let mut request = agent
            .post(format!("{endpoint}{path}"))
            .header("Content-Type", "application/json")
            // A member that has lost the others says so at once, instead of letting the call wait.
            .header("Grpc-Metadata-hasleader", "true");
        if let Token::Known(token) = &self.token {
            request = request.header("Authorization", token.reveal());
        }
        let mut response = request.send(body).map_err(|error| Failure {
            was_sent: !is_unsent(&error),
            error: self.of_ureq(endpoint, error),
        })?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let error = match read(&mut response) {
            Ok(body) => EtcdError::of_answer(endpoint, status, &body, revision),
            Err(error) => self.of_ureq(endpoint, error),
        };
        Err(Failure {
            error,
            was_sent: true,
        })
    }

    /// Turns to the next endpoint when this one is at fault.
    fn judged<T>(&mut self, result: Result<T, EtcdError>) -> Result<T, EtcdError> {
        if result.as_ref().is_err_and(EtcdError::is_of_the_endpoint) {
            self.current = (self.current + 1)
                .checked_rem(self.endpoints.len())
                .unwrap_or_default();
        }
        result
    }

    fn of_ureq(&self, endpoint: &str, error: ureq::Error) -> EtcdError {
        of_ureq(&self.closed, endpoint, error)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Call,
    Stream,
}

/// A watch under way.
pub struct WatchStream {
    endpoint: String,
    reader: BufReader<BodyReader<'static>>,
    line: Vec<u8>,
    /// Read already.
    first: Option<Frame>,
    closed: Arc<AtomicBool>,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchStream({})", self.endpoint)
    }
}

impl WatchStream {
    /// The endpoint it comes from.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits for the next frame. `None`: the stream has run for [`Timeouts::stream`], and another one is to go on after the last
    /// event; no fault.
    ///
    /// # Errors
    /// The stream is over: see [`EtcdError`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, EtcdError> {
        if let Some(frame) = self.first.take() {
            return Ok(Some(frame));
        }
        if self.line.capacity() > limits::ETCD_BUFFER_BYTES {
            self.line = Vec::new();
        }
        self.line.clear();
        let most = limits::ETCD_ANSWER_BYTES as u64 + 1;
        let mut line = mem::take(&mut self.line);
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut line);
        self.line = line;
        let endpoint = || self.endpoint.clone();
        if self.closed.load(Ordering::SeqCst) {
            return Err(EtcdError::Closed);
        }
        match read.map_err(ureq::Error::from) {
            Ok(_) if self.line.last() == Some(&b'\n') => {}
            Ok(bytes) if bytes as u64 == most => {
                return Err(EtcdError::TooLarge {
                    endpoint: endpoint(),
                });
            }
            // The end, in the middle of a line or not.
            Ok(_) => {
                return Err(EtcdError::Unreachable {
                    endpoint: endpoint(),
                    source: ErrorKind::UnexpectedEof.into(),
                });
            }
            Err(ureq::Error::Timeout(Timeout::RecvBody)) => return Ok(None),
            Err(error) => return Err(of_ureq(&self.closed, &self.endpoint, error)),
        }
        watch::frame(&self.line)
            .map(Some)
            .map_err(|error| match error {
                LineError::Malformed(what) => EtcdError::Malformed {
                    endpoint: endpoint(),
                    what,
                },
                LineError::Status { code, message } => {
                    EtcdError::of_code(&self.endpoint, code, &message, 0)
                }
            })
    }
}

/// The whole body of an answer.
fn read(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    let body = response.body_mut().with_config();
    body.limit(limits::ETCD_ANSWER_BYTES as u64).read_to_vec()
}

/// The endpoint was not reached, so it cannot have done anything.
fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::AddrNotAvailable
        ),
        ureq::Error::HostNotFound | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        _ => false,
    }
}

fn of_ureq(closed: &AtomicBool, endpoint: &str, error: ureq::Error) -> EtcdError {
    if closed.load(Ordering::SeqCst) {
        return EtcdError::Closed;
    }
    let endpoint = endpoint.to_owned();
    match error {
        ureq::Error::Timeout(_) => EtcdError::TimedOut { endpoint },
        ureq::Error::BodyExceedsLimit(_) => EtcdError::TooLarge { endpoint },
        error @ (ureq::Error::Protocol(_)
        | ureq::Error::Http(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::BodyStalled) => EtcdError::Malformed {
            endpoint,
            what: reason(&error.to_string()),
        },
        error => EtcdError::Unreachable {
            endpoint,
            source: error.into_io(),
        },
    }
}
