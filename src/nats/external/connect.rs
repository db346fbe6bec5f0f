//! How CIM gets in to an external server. It blocks, for a bounded time, and subscribes to nothing.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;
use serde_json::Value;

use super::ops::{self, Op, OpError, Step};
use super::{External, Login, Server, Wire};
use crate::limits::{CONTROL_LINE_BYTES, EXTERNAL_CONNECT_TIME, EXTERNAL_LINE_BYTES};
use crate::pem::{self, PemError};
use crate::settings::problem;

/// Bytes of what a server says in an error that are shown.
const SHOWN_BYTES: usize = 200;
/// What nats-server lets clients publish when it does not say.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// A connection that a server has let in.
#[derive(Debug)]
pub struct Connected {
    /// Scheme, host and port: may be shown.
    pub server: String,
    /// It blocks, and its reads and writes time out.
    pub wire: Wire,
    /// What the server has sent since.
    pub input: Vec<u8>,
    /// Bytes of the largest payload that the server takes.
    pub max_payload: usize,
    /// As the server names it.
    pub version: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("no NATS server at {server}")]
    Unreachable {
        /// Scheme, host and port.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// It is something else, or speaks only after a TLS handshake.
    #[error("{server} does not begin as a NATS server does")]
    Foreign {
        /// Scheme, host and port.
        server: String,
    },
    /// It does not let CIM in.
    #[error("the NATS server {server} refuses the connection")]
    Refused {
        /// Scheme, host and port.
        server: String,
        /// Why.
        source: Refusal,
    },
}

/// Why a NATS server does not let CIM in.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It says so.
    #[error("{0}")]
    Said(String),
    /// It is to be spoken to through TLS alone.
    #[error("TLS is asked for, and it has none")]
    NoTls,
    /// CIM has no certificates to go by, or none to show.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// TLS cannot be had with these certificates.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// It ends the connection, or says nothing more.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it says is not NATS.
    #[error(transparent)]
    Op(#[from] OpError),
}

impl External {
    /// Connects to the first of the servers that lets CIM in, as `name`. Takes as long as it takes.
    ///
    /// # Errors
    /// None does: why the last one does not.
    pub fn connect(&self, name: &str) -> Result<Connected, ConnectError> {
        let mut last = None;
        for server in &self.servers {
            match self.connect_to(server, name) {
                Ok(connected) => return Ok(connected),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::Foreign {
            server: "nowhere".to_owned(),
        }))
    }

    /// Connects to this server.
    ///
    /// # Errors
    /// Nobody answers, it is no NATS server, or it does not let CIM in.
    pub fn connect_to(&self, server: &Server, name: &str) -> Result<Connected, ConnectError> {
        let socket = reach(server).map_err(|source| ConnectError::Unreachable {
            server: server.url.clone(),
            source,
        })?;
        let mut talk = Talk {
            wire: Wire::Plain(socket),
            input: Vec::new(),
            until: Instant::now() + EXTERNAL_CONNECT_TIME,
        };
        let info = match talk.next() {
            Ok(Heard::Info(info)) => info,
            Err(Refusal::Io(source)) => {
                return Err(ConnectError::Unreachable {
                    server: server.url.clone(),
                    source,
                });
            }
            Ok(_) | Err(_) => {
                return Err(ConnectError::Foreign {
                    server: server.url.clone(),
                });
            }
        };
        self.log_in(server, name, talk, &info)
            .map_err(|source| ConnectError::Refused {
                server: server.url.clone(),
                source,
            })
    }

    fn log_in(
        &self,
        server: &Server,
        name: &str,
        mut talk: Talk,
        info: &Value,
    ) -> Result<Connected, Refusal> {
        let says = |name: &str| info.get(name).and_then(Value::as_bool) == Some(true);
        let has_tls = says("tls_required") || says("tls_available");
        if server.wants_tls() && !has_tls {
            return Err(Refusal::NoTls);
        }
        let with_tls = server.wants_tls() || says("tls_required");
        if with_tls {
            talk = self.encrypted(server, talk)?;
        }
        let (user, pass, auth_token) = match &server.login {
            Login::None => (None, None, None),
            Login::Token(token) => (None, None, Some(token.reveal())),
            Login::User(user, password) => (Some(user.as_str()), Some(password.reveal()), None),
        };
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: with_tls,
            user,
            pass,
            auth_token,
            name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            headers: false,
        };
        let connect = serde_json::to_string(&connect).map_err(io::Error::from)?;
        talk.wire
            .write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes())?;
        talk.wire.flush()?;
        let mut max_payload = max_payload(info).unwrap_or(MAX_PAYLOAD_BYTES);
        loop {
            match talk.next()? {
                Heard::Pong => break,
                Heard::Info(info) => max_payload = self::max_payload(&info).unwrap_or(max_payload),
                Heard::Error(text) => return Err(Refusal::Said(text)),
                Heard::Ping => talk.wire.write_all(b"PONG\r\n")?,
            }
        }
        let version = info.get("version").and_then(Value::as_str);
        Ok(Connected {
            server: server.url.clone(),
            wire: talk.wire,
            input: talk.input,
            max_payload,
            version: version.unwrap_or_default().to_owned(),
        })
    }

    /// The same connection behind a TLS handshake.
    fn encrypted(&self, server: &Server, talk: Talk) -> Result<Talk, Refusal> {
        // What comes in plain text behind INFO could be anybody's.
        let Wire::Plain(mut socket) = talk.wire else {
            return Ok(talk);
        };
        let host = server.host_port().rsplit_once(':').map_or("", |(h, _)| h);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let host = ServerName::try_from(host)
            .map_err(|error| Refusal::Tls(rustls::Error::General(error.to_string())))?;
        let mut tls = ClientConnection::new(Arc::new(self.tls()?), host)?;
        while tls.is_handshaking() {
            limit(&socket, talk.until)?;
            tls.complete_io(&mut socket)?;
        }
        Ok(Talk {
            wire: Wire::Tls(Box::new(StreamOwned::new(tls, socket))),
            input: Vec::new(),
            until: talk.until,
        })
    }

    fn tls(&self) -> Result<ClientConfig, Refusal> {
        let roots = match &self.ca_file {
            Some(file) => pem::authorities(file)?,
            None => {
                let mut roots = RootCertStore::empty();
                // Of many, some may be of a kind that cannot be used.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(pem::certificates(certificate)?, pem::private_key(key)?)?,
        })
    }
}

/// Bytes of the largest payload that a server takes, as its INFO says.
pub fn max_payload(info: &Value) -> Option<usize> {
    let bytes = info.get("max_payload").and_then(Value::as_u64)?;
    usize::try_from(bytes).ok()
}

/// The first of the server's addresses that answers.
fn reach(server: &Server) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in server.host_port().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, EXTERNAL_CONNECT_TIME) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                socket.set_write_timeout(Some(EXTERNAL_CONNECT_TIME))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a client says in CONNECT (NATS client protocol).
#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
    name: &'a str,
    lang: &'a str,
    version: &'a str,
    protocol: u8,
    /// CIM hears its own message on TEST.
    echo: bool,
    /// Nobody behind reads them: the server is to leave them out.
    headers: bool,
}

/// The next read is over by then, or fails.
fn limit(socket: &TcpStream, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.set_read_timeout(Some(left))
}

/// A connection on which nothing is subscribed yet.
struct Talk {
    wire: Wire,
    input: Vec<u8>,
    /// When the server must have let CIM in.
    until: Instant,
}

/// What a server says to a client without subscriptions.
enum Heard {
    Info(Value),
    Ping,
    Pong,
    Error(String),
}

impl Talk {
    fn next(&mut self) -> Result<Heard, Refusal> {
        loop {
            let (heard, len) = match ops::next(&self.input)? {
                Step::Op(Op::Info(json), len) => {
                    let info = serde_json::from_slice(json).map_err(|_| OpError::Unknown)?;
                    (Some(Heard::Info(info)), len)
                }
                Step::Op(Op::Ping, len) => (Some(Heard::Ping), len),
                Step::Op(Op::Pong, len) => (Some(Heard::Pong), len),
                Step::Op(Op::Error(text), len) => (Some(Heard::Error(shown(text))), len),
                Step::Op(Op::Ok, len) => (None, len),
                Step::Op(Op::Message(_), _) => return Err(OpError::Unknown.into()),
                Step::More => {
                    self.read()?;
                    continue;
                }
            };
            self.input.drain(..len);
            if let Some(heard) = heard {
                return Ok(heard);
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        if self.input.len() > EXTERNAL_LINE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        limit(self.wire.socket(), self.until)?;
        self.input.reserve(CONTROL_LINE_BYTES);
        match self.wire.read_into(&mut self.input)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// What a server says in an error, as it may be shown.
pub fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    problem::escaped(problem::cut(&text, SHOWN_BYTES))
}
