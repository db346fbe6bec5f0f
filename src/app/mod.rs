//! The HTTP side of the application (CONTRACT sections 4, 5 and 10): CIM posts to it, and its answer is a status.
//!
//! ```text
//! body.rs   what is posted     client.rs   one call, either way     http1.rs   HTTP/1.1 by ureq     h2c.rs   HTTP/2 by curl
//! ```
//!
//! A request is never sent twice: neither library may try again by itself, redirects are answers, and an error says whether
//! anything may have been handled ([`AppError::may_have_been_handled`]).

pub mod body;
mod client;
mod error;
mod h2c;
mod http1;

pub use client::{AppAnswer, AppClient, AppStop, Target};
pub use error::AppError;

/// Where change sets are posted (CONTRACT section 4).
pub const UPDATE_CONFIG: &str = "/updateConfig";
/// Where the first configuration is posted (CONTRACT section 5).
pub const LOAD_CONFIG: &str = "/api/v1/_operations/loadConfig";
/// Where the application is told to stop (CONTRACT section 10); an empty body.
pub const SHUTDOWN: &str = "/api/v1/_operations/shutdown";

/// The content type of every request.
const CONTENT_TYPE: &str = "application/json";
