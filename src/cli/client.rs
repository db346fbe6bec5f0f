//! What the commands share that talk to a running CIM as any application would, with the stock client `nats`: `emit` and `tail`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::nats::external::{Login, Server};
use crate::pem::{self, PemError};
use crate::secret::{self, SecretError};

/// A connection of the stock synchronous client.
#[expect(
    deprecated,
    reason = "its successor is asynchronous; CIM has no async runtime"
)]
pub(super) type Connection = nats::Connection;

/// The port that CIM listens on when nothing else is said (CONTRACT section 1).
const DEFAULT_PORT: u16 = 4222;

/// Where the server is, and how to get in.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// NATS server, [nats:// or tls://][user:password@ or token@]host:port [default: 127.0.0.1:$CIM_NATS_PORT, port 4222]
    ///
    /// Without a login in it, and on this host: $CIM_NATS_USER with the password in $CIM_NATS_PASSWORD_FILE, or the token in
    /// $CIM_NATS_TOKEN_FILE, if they are set. Reserved characters in a login as %40 (@), %3A (:) and so on.
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// Authorities (PEM) of the server's certificate, which must be for the host named in --server; nothing goes without TLS then
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// Certificate (PEM) to show to the server, with its key in --key-file
    #[arg(long, value_name = "FILE", requires = "key_file", global = true)]
    pub cert_file: Option<PathBuf>,
    /// Private key (PEM) of --cert-file
    #[arg(long, value_name = "FILE", requires = "cert_file", global = true)]
    pub key_file: Option<PathBuf>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `--server` is no address.
    #[error("--server must be [nats:// or tls://][user:password@ or token@]host:port")]
    Address,
    /// The environment names a file with a secret that cannot be used.
    #[error("{name} cannot be used")]
    Secret {
        /// The variable.
        name: &'static str,
        /// Why.
        source: SecretError,
    },
    /// A file with certificates, or with a key, cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Nobody listens.
    #[error(
        "no NATS server at {server}: is CIM running, and is this its port (--server, CIM_NATS_PORT)?"
    )]
    NoServer {
        /// Where, without credentials.
        server: String,
        /// What the client met.
        source: io::Error,
    },
    /// Somebody listens, and there is no connection.
    #[error(
        "no connection with {server}: is it a NATS server, and are login (--server) and certificates (--ca-file, --cert-file) as it wants them?"
    )]
    Refused {
        /// Where, without credentials.
        server: String,
        /// What the client met.
        source: io::Error,
    },
}

impl ConnectError {
    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address | Self::Secret { .. } | Self::Pem(_) => Exit::Usage,
            Self::NoServer { .. } | Self::Refused { .. } => Exit::NoServer,
        }
    }
}

/// The server that the arguments and the environment name, and the way in.
#[derive(Debug)]
pub(super) struct Target<'a> {
    server: Server,
    args: &'a ServerArgs,
}

impl<'a> Target<'a> {
    /// Looks at what is given; `env` is the environment.
    ///
    /// # Errors
    /// No address, or a file that cannot be used.
    pub(super) fn new(
        args: &'a ServerArgs,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConnectError> {
        let port = env("CIM_NATS_PORT");
        let given = server_or_default(args.server.as_deref(), port.as_deref());
        let parsed = Server::parse(&given).or_else(|| {
            let given = given.strip_suffix('/').unwrap_or(&given);
            Server::parse(&format!("{given}:{DEFAULT_PORT}"))
        });
        let mut server = parsed.ok_or(ConnectError::Address)?;
        if server.login == Login::None && is_this_host(server.host_port()) {
            server.login = login_of(env)?;
        }
        // The client says of a bad file neither which one it is nor that it is a file.
        if let Some(file) = &args.ca_file {
            pem::certificates(file)?;
        }
        if let (Some(certificate), Some(key)) = (&args.cert_file, &args.key_file) {
            pem::certificates(certificate)?;
            pem::private_key(key)?;
        }
        Ok(Self { server, args })
    }

    /// The address as it may be shown.
    pub(super) fn shown(&self) -> &str {
        &self.server.url
    }

    /// The client's options with login and certificates.
    pub(super) fn options(&self) -> nats::Options {
        let options = match &self.server.login {
            Login::None => nats::Options::new(),
            Login::Token(token) => nats::Options::with_token(token.reveal()),
            Login::User(user, password) => nats::Options::with_user_pass(user, password.reveal()),
        };
        let options = match &self.args.ca_file {
            Some(file) => options.add_root_certificate(file).tls_required(true),
            None => options,
        };
        match (&self.args.cert_file, &self.args.key_file) {
            (Some(certificate), Some(key)) => {
                options.client_cert(certificate, key).tls_required(true)
            }
            _ => options,
        }
    }

    /// Connects with these options.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) fn connect(&self, options: nats::Options) -> Result<Connection, ConnectError> {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        let server = self.shown();
        options.connect(server).map_err(|source| {
            let server = server.to_owned();
            match source.kind() {
                InvalidData | InvalidInput | Other | UnexpectedEof => {
                    ConnectError::Refused { server, source }
                }
                _ => ConnectError::NoServer { server, source },
            }
        })
    }
}

/// The login that CIM itself was told of for its own server.
fn login_of(env: impl Fn(&str) -> Option<String>) -> Result<Login, ConnectError> {
    let given = |name: &str| env(name).filter(|value| !value.is_empty());
    let read = |name: &'static str, path: String| {
        let secret = secret::read(Path::new(&path));
        secret.map_err(|source| ConnectError::Secret { name, source })
    };
    let (password, token) = ("CIM_NATS_PASSWORD_FILE", "CIM_NATS_TOKEN_FILE");
    Ok(
        match (given("CIM_NATS_USER"), given(password), given(token)) {
            (Some(user), Some(path), _) => Login::User(user, read(password, path)?),
            (_, _, Some(path)) => Login::Token(read(token, path)?),
            _ => Login::None,
        },
    )
}

/// What leads to this host whoever says so.
fn is_this_host(host_port: &str) -> bool {
    let host = host_port
        .rsplit_once(':')
        .map_or(host_port, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

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
    fn the_login_is_in_the_address_or_for_this_host_in_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "s3\n").unwrap();
        let file = file.to_str().unwrap();
        let user = |user: &str, password| Login::User(user.into(), Secret::new(password));
        let both = [("CIM_NATS_USER", "u"), ("CIM_NATS_PASSWORD_FILE", file)];
        let token = [("CIM_NATS_TOKEN_FILE", file)];
        for (server, env, url, login) in [
            (None, &[][..], "nats://127.0.0.1:4222", Login::None),
            (None, &both, "nats://127.0.0.1:4222", user("u", "s3")),
            (
                Some("tls://localhost:1"),
                &both,
                "tls://localhost:1",
                user("u", "s3"),
            ),
            (
                Some("[::1]:1"),
                &token,
                "nats://[::1]:1",
                Login::Token(Secret::new("s3")),
            ),
            (
                Some("elsewhere:1"),
                &both,
                "nats://elsewhere:1",
                Login::None,
            ),
            (
                Some("a:p%40@localhost"),
                &both,
                "nats://localhost:4222",
                user("a", "p@"),
            ),
        ] {
            let args = ServerArgs {
                server: server.map(str::to_owned),
                ..ServerArgs::default()
            };
            let of = |name: &str| {
                let mut env = env.iter();
                env.find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            let target = Target::new(&args, of).unwrap();
            assert_eq!((target.shown(), &target.server.login), (url, &login));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_and_no_password_shown() {
        let none = |_: &str| None;
        let server = |server: &str| ServerArgs {
            server: Some(server.to_owned()),
            ..ServerArgs::default()
        };
        for bad in ["http://u:secret@h:1", "u:secret@", "u:secret@h:x"] {
            let error = Target::new(&server(bad), none).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let args = ServerArgs {
            ca_file: Some("/nowhere/ca.pem".into()),
            ..ServerArgs::default()
        };
        let error = Target::new(&args, none).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
        let env = |name: &str| (name == "CIM_NATS_TOKEN_FILE").then(|| "/nowhere".to_owned());
        let error = Target::new(&server("localhost:1"), env).unwrap_err();
        assert!(error.to_string().contains("CIM_NATS_TOKEN_FILE"), "{error}");
    }
}
