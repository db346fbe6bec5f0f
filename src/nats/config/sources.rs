//! Where a configuration comes from: files and variables of the environment.

use std::io;
use std::path::Path;

use crate::limits::NATS_CONFIG_BYTES;
use crate::settings::file::{self, FileCause};

/// What the reader of a configuration asks for.
pub trait Sources {
    /// The bytes of a file, at most [`NATS_CONFIG_BYTES`].
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is too large.
    fn file(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The files and the environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct Files;

impl Sources for Files {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match file::read(path, NATS_CONFIG_BYTES as u64) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(match error.cause {
                FileCause::Unreadable(error) => error,
                cause => io::Error::other(cause),
            }),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        // `var` panics nowhere, but an empty name or one with '=' or NUL is no variable anyway.
        std::env::var(name).ok()
    }
}
