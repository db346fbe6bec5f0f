//! The one function by which CIM raises events of its own, and the queue behind it.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::own::{KEY, OwnEvent};
use crate::clock;
use crate::identity::Identity;
use crate::limits::OWN_EVENTS;
use crate::metrics::Metrics;

/// An event on its way to its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaisedEvent {
    /// The record's key.
    pub key: &'static str,
    /// The record's value: JSON.
    pub value: Vec<u8>,
}

/// Raises events. Every thread may have one.
#[derive(Clone)]
pub struct OwnEvents {
    queue: Sender<RaisedEvent>,
    identity: Arc<dyn Fn() -> Arc<Identity> + Send + Sync>,
    metrics: Arc<Metrics>,
}

impl OwnEvents {
    /// The raising end, and the end from which the events are taken, at most [`OWN_EVENTS`] waiting. `identity` says who
    /// this sidecar is at the moment when an event is raised.
    pub fn new(
        identity: impl Fn() -> Arc<Identity> + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> (Self, Receiver<RaisedEvent>) {
        let (queue, raised) = bounded(OWN_EVENTS);
        let events = Self {
            queue,
            identity: Arc::new(identity),
            metrics,
        };
        (events, raised)
    }

    /// Raises `event`, now. Never blocks: when the queue is full, or nobody takes from it any more, the event is dropped and
    /// counted.
    pub fn raise(&self, event: OwnEvent) {
        let time_ms = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
        let raised = RaisedEvent {
            key: KEY,
            value: event.json(&(self.identity)(), time_ms),
        };
        let total = &self.metrics.own_events;
        total.with_label_values(&[event.name()]).inc();
        log::info!("event raised: {}", event.name());
        if self.queue.try_send(raised).is_err() {
            self.metrics.own_events_dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Host, Identity};
    use crate::options::Names;

    fn identity() -> Identity {
        Identity {
            microservice: None,
            ..Identity::resolve(&Names::default(), &Host::default()).0
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_nobody_waits() {
        let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
        let who = Arc::new(identity());
        let (events, raised) = OwnEvents::new(move || Arc::clone(&who), Arc::clone(&metrics));
        let other = events.clone();
        for _ in 0..OWN_EVENTS + 3 {
            other.raise(OwnEvent::ConfigUpdateUnused);
        }
        events.raise(OwnEvent::ConfigUpdateFailure);
        assert_eq!(raised.len(), OWN_EVENTS);
        assert_eq!(metrics.own_events_dropped.get(), 4);
        let total = |name| metrics.own_events.with_label_values(&[name]).get();
        assert_eq!(total("CimConfigUpdateUnused"), OWN_EVENTS as u64 + 3);
        assert_eq!(total("CimConfigUpdateFailure"), 1);
        drop(raised);
        events.raise(OwnEvent::ConfigUpdateFailure);
        assert_eq!(metrics.own_events_dropped.get(), 5);
    }

    #[test]
    fn an_event_says_who_this_sidecar_is_and_what_time_it_is_when_it_is_raised() {
        let current = Arc::new(arc_swap::ArcSwap::from_pointee(identity()));
        let who = Arc::clone(&current);
        let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
        let (events, raised) = OwnEvents::new(move || who.load_full(), metrics);
        events.raise(OwnEvent::ConfigUpdateUnused);
        current.store(Arc::new(Identity {
            microservice: Some("ms1".into()),
            ..identity()
        }));
        events.raise(OwnEvent::ConfigUpdateUnused);
        let now = clock::now_ms();
        for (event, microservice) in raised.try_iter().zip(["", "ms1"]) {
            assert_eq!(event.key, "EVENT");
            let json: serde_json::Value = serde_json::from_slice(&event.value).unwrap();
            assert_eq!(json["sourceHeaders"]["microservice"], microservice);
            let raised_s = json["eventTime"].as_u64().unwrap() / 1000;
            assert!((now / 1000).abs_diff(raised_s) < 60);
        }
    }
}
