//! A complete HTTP request, as the routes see it.

use crate::secret::Secret;

/// The methods that a route may tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD: as GET, and the answer has no body.
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// Any other.
    Other,
}

impl Method {
    /// Method names are case-sensitive (RFC 9110, 9.1).
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// The method asks for something and changes nothing.
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A complete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// The path as sent, without the query: not decoded. `*` and `host:port` (CONNECT) are left as they are.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// `Host`; HTTP/1.1 requests have one.
    pub host: Option<String>,
    /// `Origin`: sent by browsers only.
    pub origin: Option<String>,
    /// `Authorization`, as it was sent.
    pub authorization: Option<Secret>,
    /// The body, chunks joined; at most `Limits::body_bytes`.
    pub body: Vec<u8>,
    /// The client would like to send another request on this connection.
    pub keep_alive: bool,
    /// The client's version.
    pub version: Version,
}

/// Path and query of a request target: `/path?query`, or `http://host/path?query` as a proxy would send it.
pub(super) fn split_target(target: &str) -> (String, Option<String>) {
    let rest = match absolute(target) {
        Some(after) => {
            let end = after.find(['/', '?']).unwrap_or(after.len());
            after.get(end..).unwrap_or_default()
        }
        None => target,
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (rest, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    (path.to_owned(), query)
}

/// What follows `http://` or `https://`.
fn absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/metrics", "/metrics", None),
            ("/metrics?", "/metrics", Some("")),
            ("/a?b=c?d", "/a", Some("b=c?d")),
            ("/a?u=http://x/", "/a", Some("u=http://x/")),
            ("http://h:1/a/b?c", "/a/b", Some("c")),
            ("HTTP://h", "/", None),
            ("http://h?q", "/", Some("q")),
            ("*", "*", None),
            ("h:443", "h:443", None),
        ] {
            assert_eq!(
                split_target(target),
                (path.to_owned(), query.map(str::to_owned)),
                "{target}"
            );
        }
    }
}
