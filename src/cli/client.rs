//! What `emit` and `tail` share: they talk to a running CIM as any application would, with the stock client `nats`.

/// A connection of the stock synchronous client.
#[expect(
    deprecated,
    reason = "its successor is asynchronous; CIM has no async runtime"
)]
pub(super) type Connection = nats::Connection;

/// The port that CIM listens on when nothing else is said (CONTRACT section 1).
const DEFAULT_PORT: u16 = 4222;

/// The server to talk to: the one given, else this host at `CIM_NATS_PORT`.
pub fn server_or_default(given: Option<&str>, port: Option<&str>) -> String {
    if let Some(server) = given {
        return server.to_owned();
    }
    let port = port
        .and_then(|port| port.parse().ok())
        .filter(|&port: &u16| port != 0)
        .unwrap_or(DEFAULT_PORT);
    format!("127.0.0.1:{port}")
}

/// A server's address as it may be shown: without user and password.
pub(super) fn shown(server: &str) -> String {
    let (scheme, rest) = match server.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), server),
    };
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    format!("{scheme}{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_given_wins_then_the_port_of_the_environment() {
        assert_eq!(
            server_or_default(Some("nats://a:1"), Some("2")),
            "nats://a:1"
        );
        assert_eq!(server_or_default(None, Some("4333")), "127.0.0.1:4333");
        for unusable in [None, Some(""), Some("0"), Some("70000"), Some("x")] {
            assert_eq!(server_or_default(None, unusable), "127.0.0.1:4222");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("nats://user:p@ss@host:1"), "nats://host:1");
        assert_eq!(shown("user:pass@host"), "host");
        assert_eq!(shown("127.0.0.1:4222"), "127.0.0.1:4222");
    }
}
