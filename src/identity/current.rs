//! The identity in force, shared by all threads and replaced whole when Kubernetes tells more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::Identity;

/// Who this sidecar is, as far as is known now.
#[derive(Debug)]
pub struct Current {
    identity: ArcSwap<Identity>,
    settled: AtomicBool,
}

impl Current {
    /// Begins with `identity`. `settled`: there is no Kubernetes to tell more.
    pub fn new(identity: Identity, settled: bool) -> Self {
        Self {
            identity: ArcSwap::from_pointee(identity),
            settled: settled.into(),
        }
    }

    /// Kubernetes was asked who the pod is, and for its ConfigMap, and has answered or not: what is not known now may stay so
    /// for long.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// See [`Self::settle`].
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Who this sidecar is now.
    pub fn load(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// From now on it is `identity`.
    pub fn store(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }
}
