//! The JSON of `INFO` and `CONNECT`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
#[derive(Clone, Deserialize)]
#[serde(default)]
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
            name: None,
            lang: None,
            version: None,
        }
    }
}

impl Connect {
    /// Reads the JSON of CONNECT as leniently as nats-server: a member that is `null` is one left out, the last of two
    /// with one name counts, and a name may hold bytes that are not UTF-8.
    ///
    /// # Errors
    /// It is no JSON object, or a member has the wrong type.
    pub fn read(json: &[u8]) -> serde_json::Result<Self> {
        let mut members: serde_json::Map<String, Value> =
            serde_json::from_str(&String::from_utf8_lossy(json))?;
        members.retain(|_, value| !value.is_null());
        serde_json::from_value(Value::Object(members))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_is_read_as_nats_server_reads_it() {
        for (json, expected) in [
            (&b"{}"[..], Some((true, None))),
            (br#"{"verbose":null,"name":null}"#, Some((true, None))),
            (br#"{"verbose":true,"verbose":false}"#, Some((false, None))),
            (b"{\"name\":\"caf\xe9\"}", Some((true, Some("caf\u{fffd}")))),
            (br#"{"verbose":"x"}"#, None),
            (br#"{"name":5}"#, None),
            (b"[]", None),
            (b"", None),
            (b"{", None),
        ] {
            let read = Connect::read(json).ok();
            let read = read.as_ref().map(|c| (c.verbose, c.name.as_deref()));
            assert_eq!(read, expected, "{}", String::from_utf8_lossy(json));
        }
    }
}
