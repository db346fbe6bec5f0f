//! The settings that CMaaS and the deployment own: cim.json and common-infra.json (CONTRACT section 1).
//!
//! A [`Settings`] value never changes. [`Store`] holds the one in force; threads load it once a batch.
//!
//! ```text
//! file.rs      one file, bounded       table.rs     the members of cim.json: path, kind, range, default
//! document.rs  cim.json                infra.rs     common-infra.json        address.rs   host:port and lists of it
//! sources.rs   which file counts       store.rs     what is in force         change.rs    what became another value
//! problem.rs   what is wrong, safe to show          registration.rs          what a registration may change
//! patch.rs     JSON Patch, bounded           effect.rs    what follows a change          reread.rs   SIGHUP
//! yang.rs      the table as a YANG module
//! ```

pub mod address;
pub mod change;
pub mod document;
pub mod effect;
pub mod file;
pub mod infra;
pub mod model;
pub mod patch;
pub mod problem;
pub mod registration;
pub mod reread;
pub mod sources;
pub mod store;
pub mod table;
pub mod yang;

pub use document::{CimDocument, DocumentError};
pub use model::{
    AppSettings, CimConfig, CimSettings, CommonInfra, Lmaas, LogFormat, LogLevel, LoggingMode,
    Settings,
};
pub use patch::PatchError;
pub use registration::Overrides;
pub use sources::{Files, Shown, Source};
pub use store::{InfraOverrides, Registered, ReloadError, Store};
