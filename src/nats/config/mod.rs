//! nats-server's configuration syntax, and what of it a server here can be told.
//!
//! [`read`] makes a tree of values of a file and of those that it includes; [`ServerConfig`] is what the keys of a whole server mean,
//! [`Authorization`] its block about users, which alone is the format of CIM's own file of users ([`Authorization::read`]).
//! Source of the syntax: the behaviour of nats-server 2.12 (its package `conf`). Wherever that takes a value by accident (an empty
//! one, `[1]` as a text, a brace that closes nothing) this is an error or what was meant.

mod authorization;
mod duration;
mod error;
mod parser;
mod server;
mod sources;
mod value;

pub use authorization::{Authorization, User};
pub use error::{ConfigError, Fault, Place};
pub use parser::read;
pub use server::{LAME_DUCK_DURATION, LAME_DUCK_GRACE, Listen, ServerConfig, Tls};
pub use sources::{Files, Sources};
pub use value::{Block, Kind, Value};
