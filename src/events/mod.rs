//! Events: those that CIM raises itself (CONTRACT section 7), and what the application tells by its own. EVENT and CONFIG
//! messages wait in an inbox until the parts exist that take them.
//!
//! ```text
//! own.rs      CIM's own event -> JSON          record.rs   the application's -> JSON, key, time      parts.rs   what both have
//! raise.rs    the queue of raised events       signal.rs   NotConfigured, ShutdownSuccess, …
//! journal/    events on disk until their sink has them
//! delivery.rs what is in flight, in the journal's order
//! ```

pub mod delivery;
pub mod journal;
pub mod own;
mod parts;
mod raise;
pub mod record;
mod signal;

pub use own::OwnEvent;
pub use raise::{OwnEvents, RaisedEvent};
pub use signal::AppSignal;
