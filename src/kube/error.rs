//! What can go wrong with a call to Kubernetes, and what to do about it.

use std::time::Duration;

use serde::Deserialize;

use super::agent::Closed;
use crate::limits::{KUBE_MESSAGE_BYTES, KUBE_RETRY_AFTER};
use crate::settings::problem;

/// A call that failed. No token is in its text.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {cause}")]
pub struct KubeError {
    /// What was tried: `get pod ns1/cnf-0`.
    pub action: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a call failed. Texts of the server are cut and escaped.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The folder of the service account has no usable token or CA: nothing was sent.
    #[error("no service account: {0}")]
    NoServiceAccount(String),
    /// 401: the token is bad or has expired; the next try reads it again. A pod that is gone gets this too.
    #[error("the token is not accepted (401){0}")]
    Unauthorized(String),
    /// 403: the service account lacks a right: its role must allow the verb on the resource.
    #[error("not allowed (403); give the service account's role this right{0}")]
    Forbidden(String),
    /// 404: there is no such object.
    #[error("there is none (404){0}")]
    NotFound(String),
    /// 409: an object of this name exists already, or is another one than was meant.
    #[error("conflict (409){0}")]
    Conflict(String),
    /// 410: it is gone; of a list, its next page.
    #[error("gone (410){0}")]
    Gone(String),
    /// 400, 422 and other answers that say that the request is at fault: it would fail again.
    #[error("the request is refused ({0}){1}")]
    Invalid(u16, String),
    /// 429: the server asks to wait.
    #[error("the server is busy (429)")]
    TooManyRequests {
        /// `Retry-After`, at most [`KUBE_RETRY_AFTER`].
        wait: Option<Duration>,
    },
    /// 5xx, or a status that no API server gives.
    #[error("the server fails ({0}){1}")]
    Server(u16, String),
    /// The answer is no JSON of the expected kind, or larger than its bound.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// Nothing within the time of the call.
    #[error("no answer in time")]
    TimedOut,
    /// No connection, or it broke.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The server's certificate does not lead to the service account's CA, or the like; the next try reads the CA again.
    #[error("TLS: {0}")]
    Tls(String),
    /// CIM stops.
    #[error("CIM stops")]
    Closed,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Try again with back-off.
    Again,
    /// Try again, at the earliest after this time.
    AgainAfter(Duration),
    /// Somebody has to change something first: try again, rarely.
    Slowly,
    /// There is no such object, which is an answer.
    Absent,
    /// The same call would fail again.
    Never,
}

impl KubeError {
    /// What to do about it.
    pub fn recovery(&self) -> Recovery {
        match &self.cause {
            Cause::Unauthorized(_)
            | Cause::Conflict(_)
            | Cause::Server(..)
            | Cause::TimedOut
            | Cause::Unreachable(_)
            | Cause::Tls(_) => Recovery::Again,
            Cause::TooManyRequests { wait } => match wait {
                Some(wait) => Recovery::AgainAfter(*wait),
                None => Recovery::Again,
            },
            Cause::NoServiceAccount(_) | Cause::Forbidden(_) | Cause::Answer(_) => Recovery::Slowly,
            Cause::NotFound(_) | Cause::Gone(_) => Recovery::Absent,
            Cause::Invalid(..) | Cause::Closed => Recovery::Never,
        }
    }
}

impl Cause {
    /// The value of the label `code` of `cim_kubernetes_requests_total`: a status, or a kind; one of few.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoServiceAccount(_) => "no_service_account",
            Self::Unauthorized(_) => "401",
            Self::Forbidden(_) => "403",
            Self::NotFound(_) => "404",
            Self::Conflict(_) => "409",
            Self::Gone(_) => "410",
            Self::Invalid(400, _) => "400",
            Self::Invalid(422, _) => "422",
            Self::Invalid(..) => "4xx",
            Self::TooManyRequests { .. } => "429",
            Self::Server(500, _) => "500",
            Self::Server(503, _) => "503",
            Self::Server(..) => "5xx",
            Self::Answer(_) => "answer",
            Self::TimedOut => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::Closed => "closed",
        }
    }

    /// What a status other than 2xx means; `body` is a Kubernetes Status as a rule.
    pub fn of_status(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let text = message(body);
        match status {
            401 => Self::Unauthorized(text),
            403 => Self::Forbidden(text),
            404 => Self::NotFound(text),
            409 => Self::Conflict(text),
            410 => Self::Gone(text),
            429 => Self::TooManyRequests {
                wait: retry_after.and_then(seconds),
            },
            400..=499 => Self::Invalid(status, text),
            _ => Self::Server(status, text),
        }
    }
}

impl From<Closed> for Cause {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<ureq::Error> for Cause {
    fn from(error: ureq::Error) -> Self {
        use std::io::ErrorKind;
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Self::Unreachable("no connection in time".to_owned())
            }
            ureq::Error::Timeout(_) => Self::TimedOut,
            ureq::Error::BodyExceedsLimit(limit) => {
                Self::Answer(format!("it has more than {limit} bytes"))
            }
            ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
                Self::Answer("it is no HTTP that a server should send".to_owned())
            }
            ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Self::Unreachable("the connection was closed without an answer".to_owned())
            }
            // What rustls does not accept comes as InvalidData out of the handshake.
            ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
                Self::Tls(excerpt(&error.to_string()))
            }
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
                Self::Tls(excerpt(&error.to_string()))
            }
            other => Self::Unreachable(excerpt(&other.to_string())),
        }
    }
}

/// `Retry-After` in seconds; a date is not what API servers send.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(KUBE_RETRY_AFTER))
}

/// `: <message>` of a Status, empty without one.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: Option<String>,
        reason: Option<String>,
    }
    let status: Option<Status> = serde_json::from_slice(body).ok();
    let text = status.and_then(|status| status.message.or(status.reason));
    text.map(|text| format!(": {}", excerpt(&text)))
        .unwrap_or_default()
}

/// The beginning of `text`, on one line.
pub(super) fn excerpt(text: &str) -> String {
    problem::escaped(problem::cut(text, KUBE_MESSAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_meaning() {
        let body =
            br#"{"kind":"Status","message":"pods \"cnf-0\" is forbidden\n","reason":"Forbidden"}"#;
        for (status, code, recovery, text) in [
            (
                401,
                "401",
                Recovery::Again,
                "the token is not accepted (401): pods",
            ),
            (
                403,
                "403",
                Recovery::Slowly,
                "not allowed (403); give the service account's role this right: pods \"cnf-0\" is forbidden\\n",
            ),
            (404, "404", Recovery::Absent, "there is none (404): pods"),
            (409, "409", Recovery::Again, "conflict (409): pods"),
            (410, "410", Recovery::Absent, "gone (410): pods"),
            (
                400,
                "400",
                Recovery::Never,
                "the request is refused (400): pods",
            ),
            (
                422,
                "422",
                Recovery::Never,
                "the request is refused (422): pods",
            ),
            (
                418,
                "4xx",
                Recovery::Never,
                "the request is refused (418): pods",
            ),
            (
                429,
                "429",
                Recovery::AgainAfter(Duration::from_secs(7)),
                "the server is busy (429)",
            ),
            (500, "500", Recovery::Again, "the server fails (500): pods"),
            (502, "5xx", Recovery::Again, "the server fails (502): pods"),
            (302, "5xx", Recovery::Again, "the server fails (302): pods"),
        ] {
            let cause = Cause::of_status(status, Some("7"), body);
            assert_eq!(cause.code(), code);
            let error = KubeError {
                action: "get pod ns1/cnf-0".to_owned(),
                cause,
            };
            assert_eq!(error.recovery(), recovery, "{status}");
            let begin = format!("cannot get pod ns1/cnf-0: {text}");
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
    }

    #[test]
    fn what_a_server_says_is_bounded() {
        for (retry_after, wait) in [
            (None, None),
            (Some("Mon, 23 Nov 2026 00:15:44 GMT"), None),
            (Some("-1"), None),
            (Some("0"), Some(Duration::ZERO)),
            (Some("86400"), Some(KUBE_RETRY_AFTER)),
        ] {
            let cause = Cause::of_status(429, retry_after, b"");
            let Cause::TooManyRequests { wait: got } = cause else {
                panic!("{cause}");
            };
            assert_eq!(got, wait);
        }
        let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(10_000));
        assert!(message(long.as_bytes()).len() <= KUBE_MESSAGE_BYTES + 2);
        for body in [&b""[..], b"<html>", b"[]", b"{\"message\":5}", b"{}"] {
            assert_eq!(message(body), "");
        }
        assert_eq!(message(br#"{"reason":"NotFound"}"#), ": NotFound");
    }
}
