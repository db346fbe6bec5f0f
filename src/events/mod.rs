//! Events: those that CIM raises itself (CONTRACT section 7), and what the application tells by its own. EVENT and CONFIG
//! messages wait in an inbox until the parts exist that take them.
//!
//! ```text
//! own.rs   event -> JSON     raise.rs   the queue of raised events     signal.rs   NotConfigured, ShutdownSuccess, …
//! ```

pub mod inbox;
pub mod journal;
pub mod own;
mod raise;
mod signal;

pub use own::OwnEvent;
pub use raise::{OwnEvents, RaisedEvent, log_raised};
pub use signal::AppSignal;
