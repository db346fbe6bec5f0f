//! Consumers that are given up. Their threads may need as long as brokers that are away are waited for, and nobody else waits for them.

use std::sync::Arc;
use std::thread::Builder;

use crate::kafka::Consumer;
use crate::limits::KAFKA_CONSUMERS_CLOSING;

/// How many there are.
#[derive(Default)]
pub(super) struct Closing(Arc<()>);

impl Closing {
    /// Ends `consumer` on a thread of its own, unless there are too many of them.
    pub(super) fn close(&self, consumer: Consumer) {
        // This one, and one for each thread.
        if Arc::strong_count(&self.0) > KAFKA_CONSUMERS_CLOSING {
            return drop(consumer);
        }
        let counted = Arc::clone(&self.0);
        let thread = Builder::new().name("kafka-closing".into());
        let thread = thread.spawn(move || {
            drop(consumer);
            drop(counted);
        });
        if let Err(error) = thread {
            // It was dropped with the thread that did not start.
            log::debug!("a consumer was waited for: {error}");
        }
    }
}
