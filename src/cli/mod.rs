//! The commands of `cim` that are NATS clients: `emit` and `tail`. They talk to a running CIM as any application would,
//! with the stock client `nats`. `main.rs` owns the command line as a whole and ends the process.

pub mod emit;
pub mod show;
pub mod tail;

/// Exit code: the arguments, the input or the output are at fault.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: no NATS server answers.
pub const EXIT_NO_SERVER: u8 = 3;
/// Exit code: the connection was lost; what was published last may not be stored.
pub const EXIT_LOST: u8 = 4;

/// A connection of the stock synchronous client.
#[expect(
    deprecated,
    reason = "its successor is asynchronous; CIM has no async runtime"
)]
type Connection = nats::Connection;

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
fn shown(server: &str) -> String {
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
