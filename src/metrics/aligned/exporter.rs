//! What `GET /metrics/aligned` hands out: `aligned_scraper` puts snapshots in, `http_server` takes them out, each once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::render::render;
use super::snapshot::{Dropped, Snapshot, Snapshots};
use crate::limits::{ALIGNED_ANSWER_BYTES, SNAPSHOT_BYTES};
use crate::metrics::Metrics;

/// Why there is nothing to hand out, not even the answer that there is nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// Nobody wants aligned metrics.
    Off(String),
    /// They are not there yet, or the annotation cannot be used.
    NotReady(String),
}

/// See the module.
pub struct Exporter {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

struct State {
    unavailable: Option<Unavailable>,
    snapshots: Snapshots,
}

impl Exporter {
    /// Not ready yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::new(State {
                unavailable: Some(Unavailable::NotReady(
                    "the pod's annotation is not looked at yet: CIM is starting".into(),
                )),
                snapshots: Snapshots::new(1, SNAPSHOT_BYTES),
            }),
            metrics,
        }
    }

    /// From now on there are snapshots, `retention` of them at most; those that are there stay.
    pub fn switch_on(&self, retention: usize) {
        let mut state = self.lock();
        state.unavailable = None;
        let dropped = state.snapshots.set_retention(retention);
        self.count(&state, dropped);
    }

    /// From now on there are none.
    pub fn switch_off(&self, why: Unavailable) {
        let mut state = self.lock();
        state.unavailable = Some(why);
        state.snapshots.take(usize::MAX);
        self.count(&state, Dropped::default());
    }

    /// Takes a snapshot in; the oldest ones give way.
    pub fn push(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        let dropped = state.snapshots.push(snapshot);
        self.count(&state, dropped);
    }

    /// The oldest snapshots, `most` at most and no more than [`ALIGNED_ANSWER_BYTES`] allow, in the text format; they are gone then.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub fn hand_out(&self, most: usize) -> Result<Vec<u8>, Unavailable> {
        let snapshots = {
            let mut state = self.lock();
            if let Some(why) = &state.unavailable {
                return Err(why.clone());
            }
            let fitting = state.snapshots.fitting(ALIGNED_ANSWER_BYTES);
            let snapshots = state.snapshots.take(most.min(fitting));
            self.count(&state, Dropped::default());
            snapshots
        };
        // Without the lock: it takes a while.
        Ok(render(&snapshots))
    }

    fn count(&self, state: &State, dropped: Dropped) {
        let metrics = &self.metrics.aligned;
        let held = i64::try_from(state.snapshots.len());
        metrics.snapshots.set(held.unwrap_or(i64::MAX));
        for (reason, count) in [("retention", dropped.retention), ("bytes", dropped.bytes)] {
            metrics.dropped.with_label_values(&[reason]).inc_by(count);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole between any two calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
