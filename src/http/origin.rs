//! Whether a web page somewhere else is behind a request.
//!
//! The API listens on loopback without a password. A browser on the same host (a developer's machine, standalone mode)
//! would let any web page POST to it, and hands the answer over too if the page's name resolves to 127.0.0.1 (DNS
//! rebinding). Browsers send `Origin` with every POST, and clients in a pod send none: so a request that changes state and
//! whose `Origin` is not this host is refused. A page counts as this host's when its origin is loopback, or an IP address that
//! is also the request's `Host`; a name proves nothing, for its owner says what it resolves to. Requests that only read are
//! answered whatever their origin: without CORS headers a browser keeps the answer from the page, and there is no secret
//! in it. `Host` alone is not checked: service names, host aliases and port forwards are all legitimate.

use std::net::IpAddr;

use super::Request;

/// The request changes state and was sent by a web page from somewhere else.
pub(super) fn is_foreign(request: &Request) -> bool {
    if request.method.is_safe() {
        return false;
    }
    let Some(origin) = &request.origin else {
        return false;
    };
    // `null`, and whatever has no scheme, is foreign.
    let Some((_, authority)) = origin.split_once("://") else {
        return true;
    };
    let host = host_of(authority);
    if host.eq_ignore_ascii_case("localhost") {
        return false;
    }
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => false,
        Ok(_) => request.host.as_deref() != Some(authority),
        Err(_) => true,
    }
}

/// `host` of `host`, `host:port`, `[v6]` and `[v6]:port`.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some((v6, _)) = authority.strip_prefix('[').and_then(|a| a.split_once(']')) {
        return v6;
    }
    authority
        .split_once(':')
        .map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Version};

    #[test]
    fn origins() {
        for (host, origin, foreign) in [
            ("localhost:6060", None, false),
            ("cim.example:6060", None, false),
            ("localhost:6060", Some("http://localhost:6060"), false),
            ("localhost:6060", Some("http://LOCALHOST:3000"), false),
            ("localhost:6060", Some("http://127.0.0.1"), false),
            ("localhost:6060", Some("http://[::1]:8080"), false),
            ("10.1.2.3:6060", Some("http://10.1.2.3:6060"), false),
            ("localhost:6060", Some("http://10.1.2.3:6060"), true),
            ("localhost:6060", Some("https://evil.example"), true),
            ("evil.example:6060", Some("http://evil.example:6060"), true),
            (
                "localhost:6060",
                Some("http://localhost.evil.example"),
                true,
            ),
            (
                "localhost:6060",
                Some("http://127.0.0.1.evil.example"),
                true,
            ),
            ("localhost:6060", Some("null"), true),
            ("localhost:6060", Some(""), true),
        ] {
            let mut request = Request {
                method: Method::Post,
                path: "/".into(),
                query: None,
                host: Some(host.into()),
                origin: origin.map(str::to_owned),
                authorization: None,
                body: Vec::new(),
                keep_alive: true,
                version: Version::Http11,
            };
            assert_eq!(is_foreign(&request), foreign, "{host} {origin:?}");
            request.method = Method::Get;
            assert!(!is_foreign(&request), "reading is free: {host} {origin:?}");
        }
    }
}
