//! The settings that CMaaS and the deployment own: cim.json and common-infra.json (CONTRACT section 1).
//!
//! A [`Settings`] value never changes. [`Store`] holds the one in force; threads load it once a batch.

pub mod model;

pub use model::{
    AppSettings, CimConfig, CimSettings, CommonInfra, Lmaas, LogFormat, LogLevel, LoggingMode,
    Settings,
};

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// The settings in force, replaced whole.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Settings>,
}

impl Store {
    /// Starts with `settings`.
    pub fn new(settings: Settings) -> Self {
        Self {
            current: ArcSwap::from_pointee(settings),
        }
    }

    /// The settings in force now. Hold it for a batch, not for longer.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.current.load()
    }

    /// Puts `settings` in force at once.
    pub fn replace(&self, settings: Settings) {
        self.current.store(Arc::new(settings));
    }
}
