//! What can go wrong with etcd, sorted by what to do about it.
//!
//! | gRPC code | HTTP | meaning | here |
//! |---|---|---|---|
//! | 16; 3 with a text on users or tokens | 401, 400 | no user, or a token that is not known any more | [`EtcdError::Unauthenticated`] |
//! | 7 | 403 | the user may not | [`EtcdError::Refused`] |
//! | 11 "… has been compacted" | 400 | the revision is gone | [`EtcdError::Compacted`] |
//! | 1, 2, 4, 10, 13, 14 | 5xx | no leader, not ready, gave up | [`EtcdError::Unavailable`] |
//! | others | 4xx | it will not do this | [`EtcdError::Refused`] |

use std::io;

use super::config::ConfigError;
use super::json;
use crate::limits;
use crate::settings::problem::{cut, escaped};

/// gRPC code: not for this user.
const PERMISSION_DENIED: i64 = 7;
/// gRPC code: a quota is used up (space, requests).
const RESOURCE_EXHAUSTED: i64 = 8;
/// gRPC code: etcd is not in the state for it.
pub(super) const FAILED_PRECONDITION: i64 = 9;
/// gRPC code: a revision that is compacted, or still to come.
const OUT_OF_RANGE: i64 = 11;
/// gRPC code: not now.
const UNAVAILABLE: i64 = 14;
/// gRPC code: who are you?
const UNAUTHENTICATED: i64 = 16;

/// A call or a watch failed. No text holds a key's value or a password.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The settings cannot be used: somebody must change them.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No connection, or it broke: retry with back-off. A write may have been done.
    #[error("no connection to etcd at {endpoint}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time: retry with back-off. A write may have been done.
    #[error("no answer from etcd at {endpoint} in time")]
    TimedOut {
        /// The endpoint.
        endpoint: String,
    },
    /// It answers that it cannot now (no leader, overloaded): retry with back-off. A write may have been done.
    #[error("etcd at {endpoint} is not available: {message}")]
    Unavailable {
        /// The endpoint.
        endpoint: String,
        /// What it says; at most [`limits::ETCD_REASON_BYTES`] of it, as for each text from etcd here.
        message: String,
    },
    /// Something else answers: retry with back-off, until the settings or what is in front of etcd are put right.
    #[error(
        "what answers at {endpoint} is not etcd's JSON gateway (HTTP status {http_status}): is it the address of etcd 3.4 or newer?"
    )]
    NotEtcd {
        /// The endpoint.
        endpoint: String,
        /// The status of its answer.
        http_status: u16,
    },
    /// It does not do this: not allowed, not valid, no space. Nothing was done.
    #[error("etcd at {endpoint} refuses (code {code}): {message}")]
    Refused {
        /// The endpoint.
        endpoint: String,
        /// The gRPC code.
        code: i64,
        /// What it says.
        message: String,
    },
    /// User or password is missing or wrong. A token that was no longer valid has been renewed before this comes up.
    #[error("etcd at {endpoint} does not know who this is: {message}")]
    Unauthenticated {
        /// The endpoint.
        endpoint: String,
        /// What it says.
        message: String,
    },
    /// The revision to read or watch from is gone: read the keys anew.
    #[error(
        "revision {requested} of etcd is compacted (oldest kept: {compact_revision}, 0 is unknown)"
    )]
    Compacted {
        /// The revision that was asked for.
        requested: i64,
        /// The oldest one there is; 0 when etcd does not say.
        compact_revision: i64,
    },
    /// etcd has ended the watch for another reason: watch again.
    #[error("etcd canceled the watch: {reason}")]
    Canceled {
        /// What it says.
        reason: String,
    },
    /// The answer is not what the gateway sends: retry with back-off, something else may be answering.
    #[error("the answer of etcd at {endpoint} cannot be read: {what}")]
    Malformed {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it, without its content.
        what: String,
    },
    /// The answer is larger than CIM takes: ask for less.
    #[error(
        "the answer of etcd at {endpoint} is larger than {} bytes",
        limits::ETCD_ANSWER_BYTES
    )]
    TooLarge {
        /// The endpoint.
        endpoint: String,
    },
    /// [`Closer::close`](super::Closer::close) was called.
    #[error("the client of etcd is closed")]
    Closed,
}

/// What to do after an [`EtcdError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The same again, with back-off.
    Retry,
    /// The revision is gone: read the keys as they are now, and go on from there.
    Reread,
    /// The same again will fail again: give this request up.
    GiveUp,
    /// Nothing will work with this client any more.
    Stop,
}

impl EtcdError {
    /// What to do.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Unavailable { .. }
            | Self::NotEtcd { .. }
            | Self::Unauthenticated { .. }
            | Self::Canceled { .. }
            | Self::Malformed { .. } => Recovery::Retry,
            Self::Compacted { .. } => Recovery::Reread,
            Self::Refused { code, message, .. } => match *code {
                // The request itself: of all quotas, the one that never has more room.
                RESOURCE_EXHAUSTED if message.contains("larger than max") => Recovery::GiveUp,
                RESOURCE_EXHAUSTED => Recovery::Retry,
                // A revision still to come: etcd's data are older than what was seen, from a backup.
                OUT_OF_RANGE => Recovery::Reread,
                _ => Recovery::GiveUp,
            },
            Self::TooLarge { .. } => Recovery::GiveUp,
            Self::Config(_) | Self::Closed => Recovery::Stop,
        }
    }

    /// The user may not do this, though perhaps other things.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == PERMISSION_DENIED)
    }

    /// Another endpoint may do better.
    pub(super) fn is_of_the_endpoint(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Unavailable { .. }
                | Self::NotEtcd { .. }
                | Self::Malformed { .. }
        )
    }

    /// What an answer with an HTTP status other than 200 means. `requested` is the revision that was asked for.
    pub fn of_answer(endpoint: &str, http_status: u16, body: &[u8], requested: i64) -> Self {
        match json::gateway_error(body) {
            Some((code, message)) => Self::of_code(endpoint, code, &message, requested),
            None if matches!(http_status, 408 | 429 | 500..) => Self::Unavailable {
                endpoint: endpoint.to_owned(),
                message: format!("HTTP status {http_status}"),
            },
            None => Self::NotEtcd {
                endpoint: endpoint.to_owned(),
                http_status,
            },
        }
    }

    /// What a gRPC code and its text mean.
    pub fn of_code(endpoint: &str, code: i64, message: &str, requested: i64) -> Self {
        let endpoint = endpoint.to_owned();
        if code == OUT_OF_RANGE && message.contains("has been compacted") {
            return Self::Compacted {
                requested,
                compact_revision: 0,
            };
        }
        let is_unauthenticated = code == UNAUTHENTICATED || is_about_tokens(message);
        let message = reason(message);
        match code {
            _ if is_unauthenticated => Self::Unauthenticated { endpoint, message },
            1 | 2 | 4 | 10 | 13 | UNAVAILABLE => Self::Unavailable { endpoint, message },
            _ => Self::Refused {
                endpoint,
                code,
                message,
            },
        }
    }
}

/// etcd's words for "authenticate first" (no token, one it has forgotten, one from before the users were changed) and for a wrong
/// password, which come with codes that mean other things too (etcd, `rpctypes/error.go`).
pub(super) fn is_about_tokens(message: &str) -> bool {
    [
        "invalid auth token",
        "user name is empty",
        "revision of auth store is old",
        "authentication failed",
    ]
    .iter()
    .any(|text| message.contains(text))
}

/// A text of etcd as an error may show it: cut, on one line.
pub(super) fn reason(text: &str) -> String {
    escaped(cut(text, limits::ETCD_REASON_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of the variant, and the rest of it as text.
    fn shown(error: &EtcdError) -> String {
        let debug = format!("{error:?}");
        let name = debug.split([' ', '(']).next().unwrap();
        format!("{name} {:?}: {error}", error.recovery())
    }

    #[test]
    fn answers_mean_what_their_codes_say() {
        let gateway = |code: i64, message: &str| {
            format!(r#"{{"error":"{message}","message":"{message}","code":{code}}}"#)
        };
        for (status, body, expected) in [
            (
                401,
                gateway(16, "etcdserver: invalid auth token"),
                "Unauthenticated Retry: etcd at e does not know who this is: etcdserver: invalid auth token",
            ),
            (
                400,
                gateway(3, "etcdserver: user name is empty"),
                "Unauthenticated Retry: etcd at e does not know who this is: etcdserver: user name is empty",
            ),
            (
                403,
                gateway(7, "etcdserver: permission denied"),
                "Refused GiveUp: etcd at e refuses (code 7): etcdserver: permission denied",
            ),
            (
                400,
                gateway(11, "etcdserver: mvcc: required revision has been compacted"),
                "Compacted Reread: revision 7 of etcd is compacted (oldest kept: 0, 0 is unknown)",
            ),
            (
                400,
                gateway(
                    11,
                    "etcdserver: mvcc: required revision is a future revision",
                ),
                "Refused Reread: etcd at e refuses (code 11): etcdserver: mvcc: required revision is a future revision",
            ),
            (
                503,
                gateway(14, "etcdserver: no leader"),
                "Unavailable Retry: etcd at e is not available: etcdserver: no leader",
            ),
            (
                429,
                gateway(8, "etcdserver: mvcc: database space exceeded"),
                "Refused Retry: etcd at e refuses (code 8): etcdserver: mvcc: database space exceeded",
            ),
            (
                429,
                gateway(8, "grpc: received message larger than max (5 vs. 4)"),
                "Refused GiveUp: etcd at e refuses (code 8): grpc: received message larger than max (5 vs. 4)",
            ),
            (
                400,
                gateway(3, "etcdserver: request is too large"),
                "Refused GiveUp: etcd at e refuses (code 3): etcdserver: request is too large",
            ),
            (
                502,
                "<html>Bad gateway</html>".to_owned(),
                "Unavailable Retry: etcd at e is not available: HTTP status 502",
            ),
            (
                404,
                "404 page not found".to_owned(),
                "NotEtcd Retry: what answers at e is not etcd's JSON gateway (HTTP status 404): is it the address of etcd 3.4 or newer?",
            ),
            (
                302,
                String::new(),
                "NotEtcd Retry: what answers at e is not etcd's JSON gateway (HTTP status 302): is it the address of etcd 3.4 or newer?",
            ),
            (
                401,
                "{}".to_owned(),
                "NotEtcd Retry: what answers at e is not etcd's JSON gateway (HTTP status 401): is it the address of etcd 3.4 or newer?",
            ),
        ] {
            let error = EtcdError::of_answer("e", status, body.as_bytes(), 7);
            assert_eq!(shown(&error), expected);
        }
    }

    #[test]
    fn texts_of_etcd_are_cut_and_stay_on_one_line() {
        let error = EtcdError::of_code("e", 7, &format!("a\r\n\u{1b}[2J{}", "é".repeat(500)), 0);
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text}");
        assert!(text.len() < 300, "{text}");
    }
}
