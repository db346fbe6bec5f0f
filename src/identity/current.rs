//! The identity in force, shared by all threads and replaced whole when Kubernetes tells more.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Identity;

/// Who this sidecar is, as far as is known now.
#[derive(Debug)]
pub struct Current(ArcSwap<Identity>);

impl Current {
    /// Begins with `identity`.
    pub fn new(identity: Identity) -> Self {
        Self(ArcSwap::from_pointee(identity))
    }

    /// Who this sidecar is now.
    pub fn load(&self) -> Arc<Identity> {
        self.0.load_full()
    }

    /// From now on it is `identity`.
    pub fn store(&self, identity: Identity) {
        self.0.store(Arc::new(identity));
    }
}
