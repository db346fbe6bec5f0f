//! TLS for NATS clients: what is asked for, the files, and the certificate's names. Nothing here touches a socket.
//!
//! A client gets its INFO in plain text, and the handshake follows (NATS client protocol, `tls_required`); or the handshake comes
//! first. The versions are 1.2 and 1.3. There is no resumption, so that new files count for every new connection.

mod names;
mod pinned;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};

pub use names::CertificateNames;
pub use pinned::KeyHash;

use crate::limits;
use crate::pem::{self, PemError};

/// What is asked for. nats-server's `tls {}` block, and `allow_non_tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// The server's certificate, the chain behind it, in PEM form.
    pub cert_file: PathBuf,
    /// The key of that certificate.
    pub key_file: PathBuf,
    /// Authorities of the clients' certificates.
    pub ca_file: Option<PathBuf>,
    /// A client must have a certificate of `ca_file`.
    pub verify: bool,
    /// The client's certificate says which user it is; with `verify`.
    pub map: bool,
    /// Keys of which the client's certificate must have one; empty: any.
    pub pinned: Vec<KeyHash>,
    /// Time that a handshake may take.
    pub timeout: Duration,
    /// The handshake comes before INFO.
    pub handshake_first: HandshakeFirst,
    /// Clients without TLS are welcome too.
    pub allow_non_tls: bool,
}

/// Whether the handshake comes before INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandshakeFirst {
    /// Behind it.
    #[default]
    Off,
    /// Before it.
    On,
    /// Before it if the client begins within this time, behind it else.
    Within(Duration),
}

impl TlsOptions {
    /// With these two files, and all else as nats-server has it by default.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        Self {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            ca_file: None,
            verify: false,
            map: false,
            pinned: Vec::new(),
            timeout: limits::TLS_TIMEOUT,
            handshake_first: HandshakeFirst::Off,
            allow_non_tls: false,
        }
    }

    /// Whether a client with this certificate (DER), or without one, may stay, as far as its key says.
    pub fn admits(&self, certificate: Option<&[u8]>) -> bool {
        let key = || certificate.and_then(KeyHash::of);
        self.pinned.is_empty() || key().is_some_and(|key| self.pinned.contains(&key))
    }

    /// A client may go without TLS. Where the handshake always comes first, none can.
    pub fn is_optional(&self) -> bool {
        self.allow_non_tls && self.handshake_first != HandshakeFirst::On
    }
}

/// Options that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Certificate and key are not of each other, or of a kind that cannot be used.
    #[error("{} and {} cannot be used together", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// Certificates are asked for, but nobody is named who may sign them.
    #[error("clients must have a certificate, but no file says which authorities may sign it")]
    NoAuthority,
    /// The authorities cannot be used.
    #[error("{}: these authorities cannot be used for clients' certificates", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// The options, and what the files held when they were last read.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn load(options: TlsOptions) -> Result<Self, TlsError> {
        let config = ArcSwap::from_pointee(server_config(&options)?);
        Ok(Self { options, config })
    }

    /// Reads the files again, for connections to come; those that there are go on.
    ///
    /// # Errors
    /// One of them cannot be used; what was read before stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(server_config(&self.options)?));
        Ok(())
    }

    /// What is asked for.
    pub fn options(&self) -> &TlsOptions {
        &self.options
    }

    /// For the next handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn server_config(options: &TlsOptions) -> Result<ServerConfig, TlsError> {
    let chain = pem::certificates(&options.cert_file)?;
    let key = pem::private_key(&options.key_file)?;
    let pair = |source| TlsError::Pair {
        cert: options.cert_file.clone(),
        key: options.key_file.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = if options.verify {
        builder.with_client_cert_verifier(verifier(options, provider)?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn verifier(
    options: &TlsOptions,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let path = options.ca_file.as_ref().ok_or(TlsError::NoAuthority)?;
    let authorities = Arc::new(pem::authorities(path)?);
    WebPkiClientVerifier::builder_with_provider(authorities, provider)
        .build()
        .map_err(|source| TlsError::Authorities {
            path: path.clone(),
            source,
        })
}

#[cfg(test)]
mod tests;
