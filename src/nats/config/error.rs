//! What can be wrong with a configuration, and where. Values may be secrets: no error shows one.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::settings::problem::shown;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}:{}: {fault}", crate::settings::problem::escaped(&place.file), place.line)]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The text is no configuration.
    #[error("{0}")]
    Syntax(&'static str),
    /// The file, or one that is included, cannot be read.
    #[error("{} cannot be read: {cause}", shown(&path.to_string_lossy()))]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// More than there may be.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// `$NAME`, and neither a key above nor the environment has it.
    #[error(
        "the variable {} is neither a key above nor in the environment",
        shown(name)
    )]
    UnknownVariable {
        /// Its name.
        name: String,
    },
    /// The value of a variable of the environment is no value.
    #[error(
        "the variable {} of the environment holds no value: {what}",
        shown(name)
    )]
    Variable {
        /// Its name.
        name: String,
        /// Why.
        what: &'static str,
    },
    /// No such key here.
    #[error("unknown key {}", shown(key))]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A feature of nats-server that this server does not have.
    #[error("{} is not supported by this server: take it out", shown(key))]
    Unsupported {
        /// Its key.
        key: String,
    },
    /// The value of a key is of another kind, or out of its range.
    #[error("{} must be {allowed}", shown(key))]
    Value {
        /// The key.
        key: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Keys that do not go together, or without which others mean nothing.
    #[error("{0}")]
    Combination(&'static str),
    /// A user twice.
    #[error("the user {} is there twice", shown(name))]
    TwiceTheUser {
        /// Its name, or its key.
        name: String,
    },
}
