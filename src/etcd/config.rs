//! Where etcd is and who CIM is there. The files for TLS are read and checked once, when the client is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::limits;
use crate::pem::{self, PemError};
use crate::secret::Secret;
use crate::settings::address::{self, ENDPOINTS};
use crate::settings::problem::shown;

/// Settings of a [`Client`](super::Client).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// `host:port`, `http://host:port` or `https://host:port`; without a scheme it is `http`. At least one.
    pub endpoints: Vec<String>,
    /// User and password, where etcd wants them.
    pub user: Option<(String, Secret)>,
    /// Certificates for `https`.
    pub tls: Tls,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// Files in PEM form: see [`crate::pem`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that etcd's certificate may come from; without it, those that browsers trust.
    pub ca_file: Option<PathBuf>,
    /// CIM's own certificate, the chain behind it. Together with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub key_file: Option<PathBuf>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To find the address, and again to connect (TLS included).
    pub connect: Duration,
    /// One call; for a watch, until its answer begins.
    pub call: Duration,
    /// One watch stream, from its first byte to its end, whatever comes on it.
    pub stream: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: limits::ETCD_CONNECT_TIME,
            call: limits::ETCD_CALL_TIME,
            stream: limits::ETCD_STREAM_TIME,
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no endpoint.
    #[error("no etcd endpoint is given")]
    NoEndpoint,
    /// Not an address.
    #[error("etcd endpoint {0} is not allowed; allowed: {ENDPOINTS}")]
    Endpoint(String),
    /// A file for TLS cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// One of certificate and key is given, the other is not.
    #[error("etcd's client certificate and its key go together: one of the two files is not given")]
    HalfAPair,
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
}

impl Config {
    /// The endpoints as URLs without a slash at the end.
    pub(super) fn urls(&self) -> Result<Vec<String>, ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        self.endpoints
            .iter()
            .map(|endpoint| {
                if !address::is_endpoint(endpoint, &["http", "https"]) {
                    return Err(ConfigError::Endpoint(shown(endpoint)));
                }
                let endpoint = endpoint.trim_end_matches('/');
                Ok(if endpoint.contains("://") {
                    endpoint.to_owned()
                } else {
                    format!("http://{endpoint}")
                })
            })
            .collect()
    }
}

impl Tls {
    /// Reads the files, and makes sure that the TLS library takes what is in them.
    pub(super) fn load(&self) -> Result<TlsConfig, ConfigError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &self.ca_file {
            pem::authorities(path)?;
            let certificates = pem::certificates(path)?;
            tls = tls.root_certs(RootCerts::new_with_certs(&owned(&certificates)));
        }
        match (&self.cert_file, &self.key_file) {
            (None, None) => {}
            (Some(cert), Some(key)) => tls = tls.client_cert(Some(client_cert(cert, key)?)),
            _ => return Err(ConfigError::HalfAPair),
        }
        Ok(tls.build())
    }
}

fn client_cert(cert: &Path, key: &Path) -> Result<ClientCert, ConfigError> {
    let chain = pem::certificates(cert)?;
    let der = pem::private_key(key)?;
    // ureq panics on a pair that does not fit, at the first connection.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_root_certificates(RootCertStore::empty())
                .with_client_auth_cert(chain.clone(), der)
        })
        .map_err(|source| ConfigError::Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    let key = PrivateKey::from_pem(&pem::read(key)?).map_err(|_| PemError::Key(key.to_owned()))?;
    Ok(ClientCert::new_with_certs(&owned(&chain), key))
}

fn owned(certificates: &[CertificateDer<'static>]) -> Vec<Certificate<'static>> {
    certificates
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect()
}
