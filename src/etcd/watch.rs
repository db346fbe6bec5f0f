//! The frames of a watch: what to ask for, and what a line says.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{EtcdError, is_about_tokens, reason};
use super::json::{GatewayError, Header, KeyValue, answer, base64, items, number, prefix_end};

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// Every key that begins with this, which is not empty.
    pub prefix: Vec<u8>,
    /// The first revision to tell of; 0: from now on.
    pub start_revision: i64,
}

impl WatchRequest {
    pub(super) fn body(&self) -> Value {
        let start = self.start_revision.to_string();
        json!({"create_request": {
            "key": base64(&self.prefix),
            "range_end": base64(&prefix_end(&self.prefix)),
            "start_revision": start,
            "progress_notify": true,
            "fragment": true,
        }})
    }
}

/// One frame of a watch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The cluster. Without events, and without `fragment`, everything up to its revision has been told (a progress notification).
    pub header: Header,
    /// The watch is in place: the first frame.
    pub created: bool,
    /// The watch has ended, see [`Frame::cancellation`].
    pub canceled: bool,
    /// The oldest revision there is, when the watch has ended because an older one was asked for; else 0.
    #[serde(deserialize_with = "number")]
    pub compact_revision: i64,
    /// Why the watch has ended. From etcd as it is, of any length.
    pub cancel_reason: String,
    /// More events of the same revisions follow.
    pub fragment: bool,
    /// In the order of their revisions.
    #[serde(deserialize_with = "items")]
    pub events: Vec<WatchEvent>,
}

/// Something happened to a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WatchEvent {
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The key as it is now; of a deleted one the key and the revision alone.
    pub kv: KeyValue,
}

/// What happens to keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventKind {
    /// It was put.
    #[default]
    Put,
    /// It was deleted, or its lease has ended.
    Delete,
}

impl Frame {
    /// Why the watch, which had started at `requested`, has ended; `None` when it has not.
    pub fn cancellation(&self, requested: i64) -> Option<EtcdError> {
        if !self.canceled {
            return None;
        }
        Some(if self.compact_revision > 0 {
            EtcdError::Compacted {
                requested,
                compact_revision: self.compact_revision,
            }
        } else {
            EtcdError::Canceled {
                reason: reason(&self.cancel_reason),
            }
        })
    }

    /// The watch was refused because the token is not known (any more).
    pub(super) fn wants_authentication(&self) -> bool {
        self.canceled && is_about_tokens(&self.cancel_reason)
    }
}

/// A line that is no frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineError {
    /// What is wrong with it, without its content.
    Malformed(String),
    /// The gateway's last word.
    Status {
        /// The gRPC code.
        code: i64,
        /// Its text.
        message: String,
    },
}

/// Reads one line of a watch, with or without its line end.
///
/// # Errors
/// It is no frame.
pub fn frame(line: &[u8]) -> Result<Frame, LineError> {
    let line: Line = answer(line).map_err(LineError::Malformed)?;
    match line {
        Line {
            error: Some(error), ..
        } => Err(LineError::Status {
            // 2 is gRPC's "unknown".
            code: error.code.unwrap_or(2),
            message: error.message,
        }),
        Line {
            result: Some(frame),
            ..
        } => Ok(frame),
        Line { .. } => Err(LineError::Malformed("neither result nor error".to_owned())),
    }
}

#[derive(Deserialize)]
struct Line {
    result: Option<Frame>,
    error: Option<GatewayError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_etcd_means() {
        let header = r#""header":{"cluster_id":"324952591200643719","member_id":"3319814642761637952","revision":"4","raft_term":"2"}"#;
        let of_cluster = Frame {
            header: Header {
                cluster_id: 324_952_591_200_643_719,
                revision: 4,
            },
            ..Frame::default()
        };
        let put = KeyValue {
            key: b"aa".into(),
            value: b"b".into(),
            mod_revision: 3,
            create_revision: 2,
            version: 2,
            lease: 7,
        };
        let deleted = KeyValue {
            key: b"aa".into(),
            mod_revision: 4,
            ..KeyValue::default()
        };
        for (line, expected) in [
            (
                format!(r#"{{"result":{{{header},"created":true}}}}"#),
                Ok(Frame {
                    created: true,
                    ..of_cluster.clone()
                }),
            ),
            (
                format!(r#"{{"result":{{{header}}}}}"#),
                Ok(of_cluster.clone()),
            ),
            (
                format!(
                    r#"{{"result":{{{header},"fragment":true,"events":[{{"kv":{{"key":"YWE=","create_revision":"2","mod_revision":"3","version":"2","value":"Yg==","lease":"7"}}}},{{"type":"DELETE","kv":{{"key":"YWE=","mod_revision":"4"}}}}]}}}}"#
                ),
                Ok(Frame {
                    fragment: true,
                    events: vec![
                        WatchEvent {
                            kind: EventKind::Put,
                            kv: put,
                        },
                        WatchEvent {
                            kind: EventKind::Delete,
                            kv: deleted,
                        },
                    ],
                    ..of_cluster.clone()
                }),
            ),
            (
                format!(r#"{{"result":{{{header},"canceled":true,"compact_revision":"3"}}}}"#),
                Ok(Frame {
                    canceled: true,
                    compact_revision: 3,
                    ..of_cluster.clone()
                }),
            ),
            (
                r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#.to_owned(),
                Err((14, "etcdserver: no leader")),
            ),
            (
                r#"{"error":{"code":14,"message":"etcdserver: no leader","details":[]}}"#.to_owned(),
                Err((14, "etcdserver: no leader")),
            ),
            (r#"{"error":{}}"#.to_owned(), Err((2, ""))),
        ] {
            let expected = expected.map_err(|(code, message)| LineError::Status {
                code,
                message: message.to_owned(),
            });
            assert_eq!(frame(line.as_bytes()), expected, "{line}");
            assert_eq!(frame(format!("{line}\r\n").as_bytes()), expected);
        }
    }

    #[test]
    fn what_is_no_frame_is_malformed_and_its_content_is_not_shown() {
        for line in [
            "",
            "secret",
            "{}",
            "[]",
            r#"{"result":null}"#,
            r#"{"result":"secret"}"#,
            r#"{"result":{"events":[{"type":"secret"}]}}"#,
            r#"{"result":{"events":[{"kv":{"key":"secret"}}]}}"#,
            r#"{"result":{"header":{"revision":"secret"}}}"#,
            r#"{"result":{"header":{"revision":"9223372036854775808"}}}"#,
            r#"{"result":{"header":{"cluster_id":-1}}}"#,
            r#"{"result":{"created":"secret"}}"#,
            r#"{"result":{"events":["secret"]}}"#,
            r#"{"result":{}} {"secret"}"#,
            r#"{"error":"secret"}"#,
        ] {
            match frame(line.as_bytes()) {
                Err(LineError::Malformed(what)) => {
                    assert!(!what.contains("secret"), "{line}: {what}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_watch_that_has_ended_says_why() {
        let frame = |compact_revision, cancel_reason: &str| Frame {
            canceled: true,
            compact_revision,
            cancel_reason: cancel_reason.to_owned(),
            ..Frame::default()
        };
        assert!(Frame::default().cancellation(1).is_none());
        assert!(matches!(
            frame(5, "").cancellation(2),
            Some(EtcdError::Compacted {
                requested: 2,
                compact_revision: 5
            })
        ));
        let error = frame(0, "a\nb").cancellation(2).unwrap();
        assert_eq!(error.to_string(), "etcd canceled the watch: a\\nb");
        for (text, wants) in [
            (
                "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
                true,
            ),
            (
                "rpc error: code = InvalidArgument desc = etcdserver: user name is empty",
                true,
            ),
            (
                "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
                false,
            ),
        ] {
            assert_eq!(frame(0, text).wants_authentication(), wants, "{text}");
        }
    }

    #[test]
    fn the_request_asks_for_a_prefix_in_fragments_with_progress() {
        let request = WatchRequest {
            prefix: b"a/".into(),
            start_revision: 5,
        };
        let expected = r#"{"create_request":{"key":"YS8=","range_end":"YTA=","start_revision":"5","progress_notify":true,"fragment":true}}"#;
        assert_eq!(request.body().to_string(), expected);
    }
}
