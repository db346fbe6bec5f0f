//! HTTP/2 with prior knowledge by curl (`http2_enabled`).
//!
//! curl sends a request again by itself when a connection that it uses again breaks without an answer. It has to rewind the
//! body for that, and a body that it reads through a callback without a seek cannot be rewound: the call fails instead. A
//! request without a body, which needs no rewinding, gets a connection of its own. What remains is a request that the
//! application itself declares not to have handled (REFUSED_STREAM, GOAWAY).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use curl::easy::{Easy2, Handler, HttpVersion, InfoType, List, ReadError, WriteError};

use super::client::AppAnswer;
use super::error::AppError;
use super::{CONTENT_TYPE, USER_AGENT};
use crate::limits::{APP_ANSWER_BYTES, APP_ANSWER_TEXT_TIME, APP_CONNECT_TIME, APP_IDLE_TIME};

/// A client with at most one idle connection.
pub struct H2c {
    /// Made at the first call: few applications speak HTTP/2.
    easy: Option<Easy2<Exchange>>,
    stopped: Arc<AtomicBool>,
}

impl H2c {
    pub fn new(stopped: Arc<AtomicBool>) -> Self {
        Self {
            easy: None,
            stopped,
        }
    }

    /// See [`super::AppClient::post`].
    pub fn post(
        &mut self,
        base: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<AppAnswer, AppError> {
        let easy = self.easy.get_or_insert_with(|| {
            Easy2::new(Exchange {
                stopped: Arc::clone(&self.stopped),
                ..Exchange::default()
            })
        });
        easy.get_mut().begin(body);
        let done = prepare(easy, &format!("{base}{path}"), body.len(), timeout)
            .and_then(|()| easy.perform());
        let exchange = easy.get_mut();
        // The memory of a large patch is not kept.
        exchange.body = Vec::new();
        let text = std::mem::take(&mut exchange.text);
        let (answered, sent) = (exchange.answered.is_some(), exchange.sent);
        let status = easy.response_code().unwrap_or_default();
        match (done, u16::try_from(status)) {
            (Ok(()), Ok(status)) if status > 0 => Ok(AppAnswer::new(status, &text)),
            // The head has come; the text was cut, or ended early.
            (Err(_), Ok(status)) if answered && status > 0 => {
                // What is left of it would be in the way of the next answer.
                self.easy = None;
                Ok(AppAnswer::new(status, &text))
            }
            (done, _) => {
                self.easy = None;
                let error = done.err().unwrap_or_else(|| curl::Error::new(NOTHING_CAME));
                Err(failed(base, timeout, sent, error))
            }
        }
    }
}

/// `CURLE_GOT_NOTHING`.
const NOTHING_CAME: u32 = 52;

fn failed(base: &str, timeout: Duration, sent: bool, error: curl::Error) -> AppError {
    let url = base.to_owned();
    if !sent {
        let source = error.into();
        return AppError::Refused { url, source };
    }
    if error.is_operation_timedout() {
        return AppError::TimedOut {
            url,
            after: timeout,
            sent,
        };
    }
    AppError::Broken {
        url,
        sent,
        source: error.into(),
    }
}

/// Options of one call. Everything is set anew; connections are kept.
fn prepare(
    easy: &mut Easy2<Exchange>,
    url: &str,
    body_bytes: usize,
    timeout: Duration,
) -> Result<(), curl::Error> {
    // To curl 0 means no limit.
    let limit = |time: Duration| time.max(Duration::from_millis(1));
    easy.reset();
    easy.url(url)?;
    easy.http_version(HttpVersion::V2PriorKnowledge)?;
    // An empty proxy is none, whatever the environment says.
    easy.proxy("")?;
    easy.noproxy("*")?;
    easy.follow_location(false)?;
    easy.useragent(USER_AGENT)?;
    easy.max_connects(1)?;
    easy.maxage_conn(APP_IDLE_TIME)?;
    easy.fresh_connect(body_bytes == 0)?;
    easy.connect_timeout(limit(timeout.min(APP_CONNECT_TIME)))?;
    easy.timeout(limit(timeout))?;
    easy.progress(true)?;
    // Without it curl does not tell when it sends.
    easy.verbose(true)?;
    let mut headers = List::new();
    headers.append(&format!("Content-Type: {CONTENT_TYPE}"))?;
    headers.append("Accept:")?;
    headers.append("Expect:")?;
    easy.http_headers(headers)?;
    easy.post(true)?;
    easy.post_field_size(u64::try_from(body_bytes).unwrap_or(u64::MAX))
}

/// The state of one call: curl calls back into it.
#[derive(Default)]
struct Exchange {
    stopped: Arc<AtomicBool>,
    body: Vec<u8>,
    /// Bytes of the body that curl has taken.
    taken: usize,
    /// The head of the request was handed to a socket.
    sent: bool,
    /// When the head of the answer was complete.
    answered: Option<Instant>,
    text: Vec<u8>,
}

impl Exchange {
    fn begin(&mut self, body: &[u8]) {
        self.body = body.to_vec();
        self.taken = 0;
        self.sent = false;
        self.answered = None;
        self.text = Vec::new();
    }
}

impl Handler for Exchange {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ReadError> {
        let rest = self.body.get(self.taken..).unwrap_or_default();
        let part = rest.len().min(into.len());
        if let (Some(from), Some(to)) = (rest.get(..part), into.get_mut(..part)) {
            to.copy_from_slice(from);
        }
        self.taken += part;
        Ok(part)
    }

    fn debug(&mut self, kind: InfoType, _: &[u8]) {
        self.sent |= matches!(kind, InfoType::HeaderOut | InfoType::DataOut);
    }

    fn header(&mut self, line: &[u8]) -> bool {
        if line == b"\r\n" {
            self.answered = Some(Instant::now());
        }
        true
    }

    fn write(&mut self, part: &[u8]) -> Result<usize, WriteError> {
        let room = APP_ANSWER_BYTES - self.text.len();
        let taken = part.get(..room).unwrap_or(part);
        self.text.extend_from_slice(taken);
        // Less than all of it ends the call.
        Ok(taken.len())
    }

    /// Called at least once a second: false ends the call.
    fn progress(&mut self, _: f64, _: f64, _: f64, _: f64) -> bool {
        let late = |answered: Instant| answered.elapsed() > APP_ANSWER_TEXT_TIME;
        !self.stopped.load(Ordering::Relaxed) && !self.answered.is_some_and(late)
    }
}
