//! Addresses as they stand in common-infra.json and in `CIM_*` settings: is this one, and nothing else. No name is looked up.

use std::net::IpAddr;

use crate::limits;

/// What a list of etcd endpoints may be.
pub const ENDPOINTS: &str =
    "host:port, http://host:port or https://host:port, several separated by commas";
/// What an address may be.
pub const HOST_PORT: &str = "host:port, port from 1 to 65535";

/// `host:port`: a name, an IPv4 address, or an IPv6 address in brackets; port 1..=65535.
pub fn is_host_port(text: &str) -> bool {
    if text.len() > limits::CONFIG_TEXT_BYTES {
        return false;
    }
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && is_port(port))
}

/// A name, an IPv4 address, or an IPv6 address in brackets.
pub fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    !text.is_empty() && text.len() <= limits::CONFIG_TEXT_BYTES && text.bytes().all(name_byte)
}

/// A port as text, 1..=65535, digits alone.
pub fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// An address and a port as `host:port`.
pub fn host_port(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// `host:port`, with one of the schemes before it or none, with one slash behind it or none. No user, no path.
pub fn is_endpoint(text: &str, schemes: &[&str]) -> bool {
    let scheme = |scheme: &&str| text.strip_prefix(*scheme)?.strip_prefix("://");
    let rest = schemes.iter().find_map(scheme).unwrap_or(text);
    is_host_port(rest.strip_suffix('/').unwrap_or(rest))
}

/// `http://` or `https://`, host, port or none, one slash behind it or none.
pub fn is_http_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        is_host(rest) || is_host_port(rest)
    })
}

/// The items of a comma-separated list, without the spaces around them; empty ones are left out.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// A comma-separated list of at least one and at most [`limits::CONFIG_ADDRESSES`] addresses, each of them good.
pub fn is_list(list: &str, is_good: impl Fn(&str) -> bool) -> bool {
    let count = items(list).count();
    (1..=limits::CONFIG_ADDRESSES).contains(&count) && items(list).all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        for (text, good) in [
            ("etcd:2379", true),
            ("10.0.0.1:1", true),
            ("[::1]:65535", true),
            ("a.b-c_d:80", true),
            ("etcd", false),
            (":80", false),
            ("etcd:", false),
            ("etcd:0", false),
            ("etcd:65536", false),
            ("etcd:+80", false),
            ("::1:80", false),
            ("[::g]:80", false),
            ("a b:80", false),
            ("a\r\n:80", false),
            ("u:p@h:80", false),
            ("é:80", false),
            ("", false),
        ] {
            assert_eq!(is_host_port(text), good, "{text}");
        }
        assert!(!is_host_port(&format!(
            "{}:80",
            "x".repeat(limits::CONFIG_TEXT_BYTES)
        )));
    }

    #[test]
    fn an_address_with_its_port_is_an_address() {
        for (address, text) in [("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")] {
            let made = host_port(address.parse().unwrap(), "80");
            assert_eq!(made, text);
            assert!(is_host_port(&made));
        }
    }

    #[test]
    fn endpoints_and_urls() {
        let schemes = ["http", "https"];
        for (text, endpoint, url) in [
            ("h:1", true, false),
            ("http://h:1", true, true),
            ("https://h:1/", true, true),
            ("http://h", false, true),
            ("https://[::1]:1", true, true),
            ("ftp://h:1", false, false),
            ("http://", false, false),
            ("http://h:1/path", false, false),
            ("http://u:p@h:1", false, false),
        ] {
            assert_eq!(is_endpoint(text, &schemes), endpoint, "{text}");
            assert_eq!(is_http_url(text), url, "{text}");
        }
    }

    #[test]
    fn lists() {
        for (list, good) in [
            ("h:1", true),
            (" h:1 , g:2,", true),
            ("", false),
            (",", false),
            ("h:1,g", false),
        ] {
            assert_eq!(is_list(list, is_host_port), good, "{list}");
        }
        assert!(!is_list(
            &"h:1,".repeat(limits::CONFIG_ADDRESSES + 1),
            is_host_port
        ));
    }
}
