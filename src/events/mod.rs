//! Events: the application's and those that CIM raises itself (CONTRACT section 7), stored first, then delivered; and what the
//! application tells by its own.
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
