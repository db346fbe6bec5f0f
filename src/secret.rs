//! Passwords and tokens: read from files, and never shown.

use std::fmt;
use std::path::Path;

use crate::limits;
use crate::settings::file::{self, FileError};

/// A password or token. `Debug` and `Display` hide it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for the peer that must have it, never for a log line, an event or an error.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A file that should hold a secret and does not. Says nothing about the content.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such file.
    #[error("the file does not exist")]
    Missing,
    /// It cannot be read, or is too large.
    #[error(transparent)]
    File(#[from] FileError),
    /// Empty, not UTF-8, or with control characters other than line ends behind it.
    #[error("the file must hold one line of text")]
    Content,
}

/// Reads a file with one line, of at most [`limits::SECRET_FILE_BYTES`]; line ends behind it do not count.
///
/// # Errors
/// No such file, or not one line of text in it.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let bytes = file::read(path, limits::SECRET_FILE_BYTES)?.ok_or(SecretError::Missing)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretError::Content)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(SecretError::Content);
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_a_secret_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        assert!(matches!(read(&path), Err(SecretError::Missing)));
        for (content, secret) in [
            (&b"s3cret"[..], Some("s3cret")),
            (b"s3cret\n", Some("s3cret")),
            (b" a b \r\n\n", Some(" a b ")),
            (b"", None),
            (b"\n", None),
            (b"a\nb", None),
            (b"\xff\xfe", None),
            (&[b'x'; limits::SECRET_FILE_BYTES as usize + 1], None),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = read(&path);
            assert_eq!(
                read.as_ref().ok().map(Secret::reveal),
                secret,
                "{content:?}"
            );
            assert!(!format!("{read:?}").contains("s3cret"));
        }
        assert!(matches!(read(dir.path()), Err(SecretError::File(_))));
    }
}
