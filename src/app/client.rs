//! One request to the application, by HTTP/1.1 or by HTTP/2 with prior knowledge.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::error::AppError;
use super::h2c;
use super::http1::Http1;
use crate::limits::{APP_ANSWER_SHOWN_BYTES, APP_REQUEST_BYTES};
use crate::settings::{AppSettings, address, problem};

/// Where the application listens, and how it is spoken to. Made anew for each call: the port may change while CIM runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port`, without a path.
    pub url: String,
    /// HTTP/2 with prior knowledge.
    pub http2: bool,
}

impl Target {
    /// `CIM_APP_URL` when it is given, else the port of the settings in force on this host.
    pub fn new(app_url: Option<&str>, settings: &AppSettings) -> Self {
        let url = match app_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://localhost:{}", settings.app_port),
        };
        Self {
            url,
            http2: settings.http2_enabled,
        }
    }
}

/// What the application answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppAnswer {
    /// The status, whatever it is: a redirect is not followed.
    pub status: u16,
    /// The answer's text for a log line: at most [`APP_ANSWER_SHOWN_BYTES`], without control characters.
    pub text: String,
}

impl fmt::Display for AppAnswer {
    /// The status, and the text behind it when there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.text.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.text)
    }
}

impl AppAnswer {
    pub(super) fn new(status: u16, text: &[u8]) -> Self {
        Self {
            status,
            text: shown(text),
        }
    }
}

/// The start of `text` as it may stand in a log line.
fn shown(text: &[u8]) -> String {
    let head = text.get(..APP_ANSWER_SHOWN_BYTES).unwrap_or(text);
    let mut shown = problem::escaped(&String::from_utf8_lossy(head));
    let whole = head.len() == text.len() && shown.len() <= APP_ANSWER_SHOWN_BYTES;
    if !whole {
        const MARK: &str = "…";
        shown.truncate(problem::cut(&shown, APP_ANSWER_SHOWN_BYTES - MARK.len()).len());
        shown.push_str(MARK);
    }
    shown
}

/// The client of one thread: over HTTP/1.1 it keeps one idle connection.
pub struct AppClient {
    http1: Http1,
    stopped: Arc<AtomicBool>,
}

impl AppClient {
    /// A client without a connection. Proxies of the environment mean nothing to it.
    pub fn new() -> Self {
        Self {
            http1: Http1::new(),
            stopped: Arc::new(AtomicBool::new(false)),
        }
    }

    /// What ends its calls from another thread.
    pub fn stop_handle(&self) -> AppStop {
        AppStop {
            stopped: Arc::clone(&self.stopped),
            agent: self.http1.agent(),
        }
    }

    /// Posts `body` once and waits for the answer, `timeout` at most.
    ///
    /// # Errors
    /// No answer: [`AppError`] says whether the application may have handled the request.
    pub fn post(
        &mut self,
        target: &Target,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<AppAnswer, AppError> {
        let url = &target.url;
        if !(url.starts_with("http://") && address::is_http_url(url)) {
            return Err(AppError::InvalidUrl {
                url: problem::shown(url),
            });
        }
        if body.len() > APP_REQUEST_BYTES {
            return Err(AppError::TooLarge { bytes: body.len() });
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Err(AppError::Stopped { sent: false });
        }
        if timeout.is_zero() {
            return Err(AppError::TimedOut {
                url: url.clone(),
                after: timeout,
                sent: false,
            });
        }
        let answer = if target.http2 {
            h2c::post(url, path, body, timeout, &self.stopped)
        } else {
            self.http1.post(url, path, body, timeout)
        };
        answer.map_err(|error| {
            if self.stopped.load(Ordering::Relaxed) {
                let sent = error.may_have_been_handled();
                return AppError::Stopped { sent };
            }
            error
        })
    }
}

impl Default for AppClient {
    fn default() -> Self {
        Self::new()
    }
}

/// Ends the calls of an [`AppClient`], the one in progress too: at once over HTTP/1.1, within about 1 s over HTTP/2, and
/// within [`crate::limits::APP_CONNECT_TIME`] where it is still connecting. Later calls fail with [`AppError::Stopped`].
#[derive(Clone)]
pub struct AppStop {
    stopped: Arc<AtomicBool>,
    agent: ureq::Agent,
}

impl AppStop {
    /// From now on nothing is sent, and nothing waited for.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.agent.clone().shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_setting_or_of_the_port_in_force() {
        let settings = AppSettings {
            app_port: 7001,
            http2_enabled: true,
        };
        let target = Target::new(None, &settings);
        assert_eq!(target.url, "http://localhost:7001");
        assert!(target.http2);
        let target = Target::new(Some("http://app:1/"), &AppSettings::default());
        assert_eq!(target.url, "http://app:1");
        assert!(!target.http2);
    }

    #[test]
    fn an_answer_is_shown_cut_and_on_one_line() {
        let long = "é".repeat(200);
        for (text, expected) in [
            (&b""[..], String::new()),
            (b"no such key", "no such key".into()),
            (b"a\r\nb\x1b[2J\xff", "a\\r\\nb\\u{1b}[2J\u{fffd}".into()),
            (&[b'x'; 256], "x".repeat(256)),
            (&[b'x'; 257], format!("{}…", "x".repeat(253))),
            (long.as_bytes(), format!("{}…", "é".repeat(126))),
        ] {
            assert_eq!(shown(text), expected);
        }
        for text in [&[0_u8; 300][..], &[0xff; 300], &[0; 50]] {
            let shown = shown(text);
            assert!(shown.len() <= APP_ANSWER_SHOWN_BYTES && !shown.contains(char::is_control));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_without_a_connection() {
        let mut client = AppClient::new();
        let mut post = |url: &str, body: &[u8]| {
            let target = Target {
                url: url.into(),
                http2: false,
            };
            client.post(&target, "/", body, Duration::from_secs(1))
        };
        for url in [
            "",
            "app:1",
            "https://app:1",
            "http://",
            "http://u:secret@h:1",
            "http://a/b",
        ] {
            let error = post(url, b"").unwrap_err();
            assert!(
                matches!(error, AppError::InvalidUrl { .. }),
                "{url}: {error:?}"
            );
            assert!(!error.may_have_been_handled());
            assert!(!error.to_string().contains("secret"));
        }
        let error = post("http://localhost:1", &vec![0; APP_REQUEST_BYTES + 1]).unwrap_err();
        assert!(matches!(error, AppError::TooLarge { .. }));
        client.stop_handle().stop();
        let target = Target::new(None, &AppSettings::default());
        let error = client
            .post(&target, "/", b"", Duration::from_secs(1))
            .unwrap_err();
        assert!(matches!(error, AppError::Stopped { sent: false }));
    }
}
