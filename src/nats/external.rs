//! External NATS servers: where they are, as `CIM_NATS_URL` says it (`nats://user:password@host:port`, several separated by commas), and
//! CIM as their client. It reads from its socket itself, since what it does not read the server keeps.

mod connect;
pub mod ops;
mod wire;

use std::path::PathBuf;

pub use connect::{ConnectError, Connected, Refusal, max_payload, shown};
pub use wire::Wire;

use crate::secret::Secret;
use crate::settings::address;

/// What an address may be.
pub const ALLOWED: &str =
    "nats://[user:password@ or token@]host:port or tls://…, several separated by commas";

/// How CIM says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    None,
    /// By a token.
    Token(Secret),
    /// By name and password.
    User(String, Secret),
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Scheme, host and port: may be shown.
    pub url: String,
    /// Who CIM is there.
    pub login: Login,
}

/// The servers that take the place of the embedded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// At least one; in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Authorities (PEM) for TLS; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// CIM's certificate and key (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Server {
    /// `None`: it is no address. User, password and token are percent-decoded.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("nats" | "tls"), rest)) => (scheme, rest),
            Some(_) => return None,
            None => ("nats", text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, host) = match rest.rsplit_once('@') {
            None => (Login::None, rest),
            Some((login, host)) => (Login::parse(login)?, host),
        };
        address::is_host_port(host).then(|| Self {
            url: format!("{scheme}://{host}"),
            login,
        })
    }

    /// `None`: one of them is no address, there is none, or there are too many.
    pub fn parse_list(list: &str) -> Option<Vec<Self>> {
        address::is_list(list, |one| Self::parse(one).is_some())
            .then(|| address::items(list).filter_map(Self::parse).collect())
    }

    /// The scheme says that nothing goes without TLS.
    pub fn wants_tls(&self) -> bool {
        self.url.starts_with("tls://")
    }

    /// Host and port.
    pub fn host_port(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, rest)| rest)
    }

    /// As it may be shown: that there is a login, and not which.
    pub fn shown(&self) -> String {
        match (&self.login, self.url.split_once("://")) {
            (Login::None, _) | (_, None) => self.url.clone(),
            (_, Some((scheme, host))) => format!("{scheme}://***@{host}"),
        }
    }
}

impl Login {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((user, password)) => {
                let user = decoded(user).filter(|user| !user.is_empty())?;
                Some(Self::User(user, Secret::new(decoded(password)?)))
            }
            None => {
                let token = decoded(text).filter(|token| !token.is_empty())?;
                Some(Self::Token(Secret::new(token)))
            }
        }
    }
}

/// `%41` is `A`; a `%` without two hexadecimal digits stands for itself, as in a password that nobody has encoded.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_login() {
        let user = |user: &str, password| Login::User(user.into(), Secret::new(password));
        for (text, url, login) in [
            ("h:1", "nats://h:1", Login::None),
            ("nats://h:1/", "nats://h:1", Login::None),
            ("tls://[::1]:4222", "tls://[::1]:4222", Login::None),
            (
                "nats://t0k@h:1",
                "nats://h:1",
                Login::Token(Secret::new("t0k")),
            ),
            ("nats://u:p@h:1", "nats://h:1", user("u", "p")),
            (
                "nats://u:p@ss:%2C%zz%@h:1",
                "nats://h:1",
                user("u", "p@ss:,%zz%"),
            ),
            ("nats://u:@h:1", "nats://h:1", user("u", "")),
        ] {
            let server = Server::parse(text).expect(text);
            assert_eq!((server.url.as_str(), &server.login), (url, &login));
            assert!(!server.shown().contains("p@ss"));
        }
        for bad in [
            "",
            "h",
            "h:0",
            "http://h:1",
            "nats://@h:1",
            "nats://:p@h:1",
            "nats://u:p@h",
            "u:%ff@h:1",
        ] {
            assert_eq!(Server::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn lists_keep_their_order_and_one_bad_address_spoils_them() {
        let list = Server::parse_list("u:p@a:1, nats://b:2").unwrap();
        let shown: Vec<_> = list.iter().map(Server::shown).collect();
        assert_eq!(shown, ["nats://***@a:1", "nats://b:2"]);
        assert_eq!(list.first().unwrap().host_port(), "a:1");
        assert_eq!(Server::parse_list("a:1,b"), None);
        assert_eq!(Server::parse_list(","), None);
    }
}
