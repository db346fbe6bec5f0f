//! What goes back to the client.

use std::fmt::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The interim answer to `Expect: 100-continue`.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A complete answer. Its body may hold credentials, so it does not show in `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`; without a body it is left out.
    pub content_type: &'static str,
    /// `Allow`, for 405.
    pub allow: Option<&'static str>,
    /// Further header fields: names and values.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({}, {} bytes)", self.status, self.body.len())
    }
}

/// The body when a value could not be written as JSON, which no value of CIM's is known to cause.
const UNWRITABLE: &[u8] = b"{\"error\":\"the answer could not be written\"}\n";

impl Response {
    /// `value` as JSON with a newline behind it, as the original writes it.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let (status, mut body) = match serde_json::to_vec(value) {
            Ok(body) => (status, body),
            Err(_) => (500, UNWRITABLE.trim_ascii_end().to_vec()),
        };
        body.push(b'\n');
        Self {
            status,
            content_type: "application/json",
            allow: None,
            headers: &[],
            body,
        }
    }

    /// `{"error": message}`.
    pub fn error(status: u16, message: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": message }))
    }

    /// The bytes to send. `head_only`: the answer to HEAD. `keep_alive`: another request may follow.
    pub fn encode(&self, head_only: bool, keep_alive: bool, now: SystemTime) -> Vec<u8> {
        let mut head = String::with_capacity(256);
        let date = DateTime::<Utc>::from(now).format("%a, %d %b %Y %H:%M:%S GMT");
        // Writing to a String cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nDate: {date}\r\n",
            self.status,
            phrase(self.status)
        );
        if let Some(allow) = self.allow {
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        for (name, value) in self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        // RFC 9110, 8.6: no Content-Length with 204.
        if self.status != 204 {
            if !self.body.is_empty() {
                let _ = write!(head, "Content-Type: {}\r\n", self.content_type);
            }
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let _ = write!(head, "Connection: {connection}\r\n\r\n");
        let mut bytes = head.into_bytes();
        if !head_only && self.status != 204 {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The reason phrase of each status code in use; clients ignore it.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn encode(response: &Response, head_only: bool, keep_alive: bool) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_392_944);
        String::from_utf8(response.encode(head_only, keep_alive, now)).unwrap()
    }

    #[test]
    fn an_answer_with_everything() {
        let response = Response {
            allow: Some("GET, HEAD"),
            headers: &[("A", "b"), ("C", "d")],
            ..Response::error(405, "no")
        };
        let head = "HTTP/1.1 405 Method Not Allowed\r\nDate: Mon, 23 Nov 2026 00:15:44 GMT\r\nAllow: GET, HEAD\r\nA: b\r\nC: d\r\nContent-Type: application/json\r\nContent-Length: 15\r\nConnection: ";
        assert_eq!(
            encode(&response, false, true),
            format!("{head}keep-alive\r\n\r\n{{\"error\":\"no\"}}\n")
        );
        assert_eq!(
            encode(&response, true, false),
            format!("{head}close\r\n\r\n")
        );
    }

    #[test]
    fn no_content_has_neither_length_nor_body() {
        let response = Response {
            status: 204,
            content_type: "",
            allow: None,
            headers: &[],
            body: Vec::new(),
        };
        assert_eq!(
            encode(&response, false, true),
            "HTTP/1.1 204 No Content\r\nDate: Mon, 23 Nov 2026 00:15:44 GMT\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn a_body_does_not_show_in_debug_text() {
        let response = Response::json(200, &serde_json::json!({"apigw_password": "geheim"}));
        assert_eq!(format!("{response:?}"), "Response(200, 28 bytes)");
    }
}
