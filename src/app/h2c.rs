//! HTTP/2 with prior knowledge by curl (`http2_enabled`).
//!
//! Each request has a connection of its own. On one that it uses again, curl would send a request a second time by itself when
//! no answer comes; and curl does not notice the end of an idle connection behind frames that wait there unread, so an
//! application that was started anew would look broken. On loopback a connection costs some 0.1 ms. What curl does repeat is a
//! request that the application itself declares not to have handled (REFUSED_STREAM).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use curl::easy::{Easy2, Handler, HttpVersion, InfoType, List, WriteError};

use super::CONTENT_TYPE;
use super::client::AppAnswer;
use super::error::AppError;
use crate::http_agent::USER_AGENT;
use crate::limits::{APP_ANSWER_BYTES, APP_ANSWER_TEXT_TIME, APP_CONNECT_TIME};

/// `CURLE_GOT_NOTHING`.
const NOTHING_CAME: u32 = 52;

/// See [`super::AppClient::post`]; it ends within about a second when `stopped` becomes true.
pub fn post(
    base: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
    stopped: &Arc<AtomicBool>,
) -> Result<AppAnswer, AppError> {
    let mut easy = Easy2::new(Exchange {
        stopped: Arc::clone(stopped),
        sent: false,
        answered: None,
        text: Vec::new(),
    });
    let done =
        prepare(&mut easy, &format!("{base}{path}"), body, timeout).and_then(|()| easy.perform());
    let status = easy.response_code().unwrap_or_default();
    let exchange = easy.get_ref();
    match u16::try_from(status) {
        // Once the head has come, an error is the end of the text.
        Ok(status) if status > 0 && (done.is_ok() || exchange.answered.is_some()) => {
            Ok(AppAnswer::new(status, &exchange.text))
        }
        _ => {
            let error = done.err().unwrap_or_else(|| curl::Error::new(NOTHING_CAME));
            Err(failed(base, timeout, exchange.sent, error))
        }
    }
}

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

fn prepare(
    easy: &mut Easy2<Exchange>,
    url: &str,
    body: &[u8],
    timeout: Duration,
) -> Result<(), curl::Error> {
    // To curl 0 means no limit.
    let limit = |time: Duration| time.max(Duration::from_millis(1));
    easy.url(url)?;
    easy.http_version(HttpVersion::V2PriorKnowledge)?;
    // An empty proxy is none, whatever the environment says.
    easy.proxy("")?;
    easy.noproxy("*")?;
    easy.follow_location(false)?;
    easy.useragent(USER_AGENT)?;
    easy.connect_timeout(limit(timeout.min(APP_CONNECT_TIME)))?;
    easy.timeout(limit(timeout))?;
    easy.progress(true)?;
    // Without it curl does not tell when it sends.
    easy.verbose(true)?;
    let mut headers = List::new();
    headers.append(&format!("Content-Type: {CONTENT_TYPE}"))?;
    headers.append("Accept:")?;
    easy.http_headers(headers)?;
    easy.post(true)?;
    easy.post_fields_copy(body)
}

/// The state of one call: curl calls back into it.
struct Exchange {
    stopped: Arc<AtomicBool>,
    /// The head of the request was handed to a socket.
    sent: bool,
    /// When the head of the answer was complete.
    answered: Option<Instant>,
    text: Vec<u8>,
}

impl Handler for Exchange {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_answer_is_bounded() {
        let mut exchange = Exchange {
            stopped: Arc::default(),
            sent: true,
            answered: None,
            text: Vec::new(),
        };
        let part = [b'x'; 1000];
        let mut taken = part.len();
        while taken == part.len() {
            taken = exchange.write(&part).unwrap();
        }
        assert_eq!(exchange.text.len(), APP_ANSWER_BYTES);
        assert_eq!(exchange.write(&part).unwrap(), 0);
    }
}
