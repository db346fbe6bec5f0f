//! `/status`, and the page at `/` that shows it. They tell settings and log lines, so they are for the own host alone, or for whoever
//! has the token, as the monitoring pages are.

use std::net::IpAddr;

use super::{Request, Response, host_of};

/// The page: one file, nothing from anywhere else. It asks `/status` every few seconds.
const PAGE: &str = include_str!("page/index.html");

/// What a browser may do with the page: run the one script and use the one style that are in it (their SHA-256), and ask this CIM.
/// Nothing is kept: the next look is a new one, and the answer is for whoever had the token.
pub(super) const PAGE_HEADERS: &[(&str, &str)] = &[
    (
        "Content-Security-Policy",
        include_str!("page/policy.txt").trim_ascii_end(),
    ),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
];

/// Beside the document.
pub(super) const STATUS_HEADERS: &[(&str, &str)] = &[
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
];

/// The page.
pub(super) fn page() -> Response {
    Response {
        status: 200,
        content_type: "text/html; charset=utf-8",
        allow: None,
        headers: PAGE_HEADERS,
        body: PAGE.into(),
    }
}

/// A browser was sent here under a name that is not this host's own: a page from elsewhere whose name resolves to 127.0.0.1 would be
/// handed the answer (DNS rebinding). An address or `localhost` is nobody else's.
pub(super) fn is_rebound(request: &Request) -> bool {
    request.host.as_deref().is_some_and(|host| {
        let host = host_of(host);
        let is_local = host.eq_ignore_ascii_case("localhost")
            || host.to_ascii_lowercase().ends_with(".localhost");
        !is_local && host.parse::<IpAddr>().is_err()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Version};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

    fn hash_of(tag: &str) -> String {
        let (_, rest) = PAGE.split_once(&format!("<{tag}>")).unwrap();
        let (text, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!rest.contains(&format!("<{tag}")), "one <{tag}>");
        let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let hash = suite.common.hash_provider.hash(text.as_bytes());
        format!("'sha256-{}'", BASE64_STANDARD.encode(hash.as_ref()))
    }

    #[test]
    fn the_policy_lets_the_page_do_what_it_does_and_nothing_else() {
        let expected = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of("script"),
            hash_of("style")
        );
        assert_eq!(PAGE_HEADERS[0].1, expected, "src/http/page/policy.txt");
    }

    #[test]
    fn the_page_is_small_and_needs_nothing_from_elsewhere() {
        assert!(PAGE.len() < 48 << 10, "{}", PAGE.len());
        // A namespace is no address.
        let text = PAGE.replace("http://www.w3.org/2000/svg", "");
        for outside in [
            "http://",
            "https://",
            "//cdn",
            "@import",
            "innerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_foreign_name_is_not_answered() {
        let mut request = Request {
            method: Method::Get,
            path: "/status".into(),
            query: None,
            host: None,
            origin: None,
            authorization: None,
            body: Vec::new(),
            keep_alive: true,
            version: Version::Http10,
        };
        assert!(!is_rebound(&request));
        for (host, foreign) in [
            ("localhost:6060", false),
            ("LOCALHOST", false),
            ("cim.localhost:1", false),
            ("127.0.0.1:6060", false),
            ("[::1]:6060", false),
            ("10.1.2.3", false),
            ("evil.example:6060", true),
            ("localhost.evil.example", true),
            ("notlocalhost", true),
            ("", true),
        ] {
            request.host = Some(host.into());
            assert_eq!(is_rebound(&request), foreign, "{host}");
        }
    }
}
