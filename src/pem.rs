//! Certificates and keys from files in PEM form, each of at most [`limits::CONFIG_FILE_BYTES`].

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits;
use crate::settings::file::{self, FileError};

/// A file that cannot be used. Says nothing about what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such file.
    #[error("{}: the file does not exist", .0.display())]
    Missing(PathBuf),
    /// A file holds no certificate, or one that cannot be used.
    #[error("{}: no usable certificate in PEM form", .0.display())]
    Certificate(PathBuf),
    /// A file holds no private key that can be used.
    #[error("{}: no usable private key in PEM form", .0.display())]
    Key(PathBuf),
}

/// The bytes of a file that must be there.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, PemError> {
    file::read(path, limits::CONFIG_FILE_BYTES)?.ok_or_else(|| PemError::Missing(path.to_owned()))
}

/// All certificates of a file, in its order; at least one.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bad = || PemError::Certificate(path.to_owned());
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    if certificates.is_empty() {
        return Err(bad());
    }
    Ok(certificates)
}

/// All certificates of a file, as authorities.
///
/// # Errors
/// The file cannot be read, holds no certificate, or one that cannot be an authority.
pub fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store
            .add(certificate)
            .map_err(|_| PemError::Certificate(path.to_owned()))?;
    }
    Ok(store)
}

/// The first private key of a file.
///
/// # Errors
/// The file cannot be read, or holds no key.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| PemError::Key(path.to_owned()))
}
