//! The JSON of `INFO` and `CONNECT`.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::tls::TlsOptions;
use crate::random;

/// The nats-server version whose client protocol CIM speaks; clients choose features by it.
pub const VERSION: &str = "2.12.1";

/// What the server tells a client about itself. Source: NATS client protocol, INFO.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Unique for each start.
    pub server_id: String,
    /// Name of the server: the pod.
    pub server_name: String,
    /// [`VERSION`].
    pub version: &'static str,
    /// Language of nats-server. Some clients refuse an INFO without it; CIM is not made with Go, so it is empty.
    pub go: &'static str,
    /// 1: the client may get further INFO lines.
    pub proto: u8,
    /// Address that the server listens on.
    pub host: String,
    /// Port that the server listens on.
    pub port: u16,
    /// HPUB and HMSG are understood.
    pub headers: bool,
    /// CONNECT must carry credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// The client must begin a TLS handshake behind this line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    /// The client must have a certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    /// The client may begin a TLS handshake behind this line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_available: bool,
    /// Bytes of the largest payload.
    pub max_payload: usize,
    /// The server is about to end: clients finish what they are at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    /// What users with a key sign; for each client another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Number of this client.
    pub client_id: u64,
    /// Address of this client.
    pub client_ip: String,
}

/// A new id of a server, in the form of nats-server's: `N` and 55 characters of base32.
pub fn server_id() -> String {
    let mut bytes = [0u8; 55];
    random::fill(&mut bytes);
    let letters = bytes.map(|byte| {
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'A'),
        )
    });
    std::iter::once('N').chain(letters).collect()
}

impl Info {
    /// For a server of this id and name that listens on `address`; what differs from client to client is empty.
    pub fn new(
        server_id: String,
        server_name: String,
        address: SocketAddr,
        max_payload: usize,
    ) -> Self {
        Self {
            server_id,
            server_name,
            version: VERSION,
            go: "",
            proto: 1,
            host: address.ip().to_string(),
            port: address.port(),
            headers: true,
            auth_required: false,
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            max_payload,
            ldm: false,
            nonce: None,
            client_id: 0,
            client_ip: String::new(),
        }
    }

    /// With what clients are told about TLS.
    pub fn with_tls(self, tls: &TlsOptions) -> Self {
        Self {
            tls_required: !tls.is_optional(),
            tls_verify: tls.verify,
            tls_available: tls.is_optional(),
            ..self
        }
    }

    /// The whole protocol line for one client.
    pub fn line(&self, client_id: u64, client_ip: &str, nonce: Option<&str>) -> Vec<u8> {
        let info = Self {
            client_id,
            client_ip: client_ip.to_owned(),
            nonce: nonce.map(str::to_owned),
            ..self.clone()
        };
        let mut line = b"INFO ".to_vec();
        // Strings and numbers only: this cannot fail.
        if serde_json::to_writer(&mut line, &info).is_err() {
            line.extend_from_slice(b"{}");
        }
        line.extend_from_slice(b" \r\n");
        line
    }
}

/// What a client says in CONNECT; what it leaves out has nats-server's defaults.
#[derive(Clone)]
pub struct Connect {
    /// Answer each operation with `+OK`.
    pub verbose: bool,
    /// Check the subjects of publishes.
    pub pedantic: bool,
    /// Send the client its own messages too.
    pub echo: bool,
    /// The client understands HMSG.
    pub headers: bool,
    /// Answer a request that nobody takes with status 503.
    pub no_responders: bool,
    /// 0 or 1.
    pub protocol: i64,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Public key.
    pub nkey: Option<String>,
    /// Signature of the nonce by its owner, base64.
    pub sig: Option<String>,
    /// Token.
    pub auth_token: Option<String>,
    /// It wants to be in an account, which no server here has.
    pub names_account: bool,
    /// It wants an account of its own.
    pub new_account: bool,
    /// The client's own name.
    pub name: Option<String>,
    /// Language of the client.
    pub lang: Option<String>,
    /// Version of the client.
    pub version: Option<String>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            user: None,
            pass: None,
            nkey: None,
            sig: None,
            auth_token: None,
            names_account: false,
            new_account: false,
            name: None,
            lang: None,
            version: None,
        }
    }
}

impl Connect {
    /// Reads the JSON of CONNECT as leniently as nats-server: what it leaves out, or has as `null`, stays as it was `before`; the last of
    /// two members with one name counts, and in names of members lower and upper case are the same; a text may hold bytes that are not UTF-8.
    ///
    /// # Errors
    /// It is no JSON object, or a member has the wrong type.
    pub fn read(json: &[u8], before: &Self) -> serde_json::Result<Self> {
        let mut connect = before.clone();
        let text = String::from_utf8_lossy(json);
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        Members(&mut connect).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(connect)
    }

    /// The client as it names itself, for log lines: `name (lang version)`, cut to 128 characters a part.
    pub fn label(&self) -> String {
        let part = |text: &Option<String>| {
            text.as_deref()
                .unwrap_or("-")
                .chars()
                .filter(|c| !c.is_control())
                .take(128)
                .collect::<String>()
        };
        format!(
            "{} ({} {})",
            part(&self.name),
            part(&self.lang),
            part(&self.version)
        )
    }
}

/// Puts the members of a JSON object where they belong.
struct Members<'a>(&'a mut Connect);

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// `null`
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let connect = self.0;
        while let Some(name) = map.next_key::<String>()? {
            let flag = match name.to_ascii_lowercase().as_str() {
                "verbose" => &mut connect.verbose,
                "pedantic" => &mut connect.pedantic,
                "echo" => &mut connect.echo,
                "headers" => &mut connect.headers,
                "no_responders" => &mut connect.no_responders,
                "new_account" => &mut connect.new_account,
                // Of no use here, but it must be a flag all the same.
                "tls_required" => &mut false,
                name => {
                    connect.read_member(name, &mut map)?;
                    continue;
                }
            };
            if let Some(value) = map.next_value()? {
                *flag = value;
            }
        }
        Ok(())
    }
}

impl Connect {
    /// Any member that is no flag.
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let text = match name {
            "user" => &mut self.user,
            "pass" => &mut self.pass,
            "nkey" => &mut self.nkey,
            "sig" => &mut self.sig,
            "auth_token" => &mut self.auth_token,
            "name" => &mut self.name,
            "lang" => &mut self.lang,
            "version" => &mut self.version,
            "account" => {
                if let Some(account) = map.next_value::<Option<String>>()? {
                    self.names_account = !account.is_empty();
                }
                return Ok(());
            }
            "protocol" => {
                if let Some(protocol) = map.next_value()? {
                    self.protocol = protocol;
                }
                return Ok(());
            }
            // Of no use here, but it must be what nats-server expects all the same.
            "import" | "export" => {
                return map
                    .next_value::<Option<HashMap<String, IgnoredAny>>>()
                    .map(drop);
            }
            "jwt" | "remote_account" | "proxy_sig" => &mut None,
            _ => return map.next_value::<IgnoredAny>().map(drop),
        };
        if let Some(value) = map.next_value()? {
            *text = Some(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_read_as_nats_server_reads_it() {
        for (json, expected) in [
            (&b"{}"[..], Some((true, None))),
            (br#"{"verbose":null,"name":null}"#, Some((true, None))),
            (br#"{"verbose":true,"verbose":false}"#, Some((false, None))),
            (br#"{"Verbose":false,"NAME":"x"}"#, Some((false, Some("x")))),
            (br#"{"verbose":false,"verbose":null}"#, Some((false, None))),
            (br#" {"a":{"b":[1e400]}} "#, Some((true, None))),
            (b"null", Some((true, None))),
            (b"{}{}", None),
            (br#"{"tls_required":1}"#, None),
            (br#"{"jwt":true}"#, None),
            (br#"{"import":[]}"#, None),
            (br#"{"protocol":1.0}"#, None),
            (b"{\"name\":\"caf\xe9\"}", Some((true, Some("caf\u{fffd}")))),
            (br#"{"verbose":"x"}"#, None),
            (br#"{"name":5}"#, None),
            (b"[]", None),
            (b"", None),
            (b"{", None),
        ] {
            let read = Connect::read(json, &Connect::default()).ok();
            let read = read.as_ref().map(|c| (c.verbose, c.name.as_deref()));
            assert_eq!(read, expected, "{}", String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn what_a_second_connect_leaves_out_stays_as_it_was() {
        let first = br#"{"verbose":false,"name":"x","protocol":1}"#;
        let first = Connect::read(first, &Connect::default()).unwrap();
        let second = Connect::read(br#"{"pedantic":false,"name":null}"#, &first).unwrap();
        assert!(!second.verbose && !second.pedantic && second.protocol == 1);
        assert_eq!(second.name.as_deref(), Some("x"));
    }
}
