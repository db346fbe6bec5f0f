//! Event subscriptions of the application (CONTRACT section 8): which records of topic FMAASEVENTS it wants to be told of.
//!
//! ```text
//! filter.rs    the body of a request -> what is wanted      matcher.rs   the headers of a record -> whether it is wanted
//! registry.rs  the subscriptions, their bounds, the era     stored.rs    registry <-> bytes
//! shared.rs    the registry, stored, for all threads
//! ```
//!
//! An *era* is a stretch of time in which there is at least one subscription. Each has a number, and a [`Position`]: what is known of
//! where in the topic it began. A new era begins at the end of the topic, whatever an earlier one has left in Kafka.
//!
//! A change is in `<state dir>/subscriptions.json` before it is answered: ids and eras survive any end of CIM.

mod error;
mod filter;
mod matcher;
mod registry;
mod shared;
mod stored;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::http::{Replier, Response};

pub use error::{ChangeError, FilterError, OpenError, StoreError, StoredError};
pub use filter::Filter;
pub use matcher::{Decision, Matcher};
pub use registry::Added;
pub use shared::Subscriptions;

/// What is known of where in the topic an era began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The ends of the partitions at the beginning of the era, by partition; `None`: not known yet. Empty: the topic was not there.
    pub ends: Option<BTreeMap<i32, i64>>,
    /// The offsets that the consumer group has committed belong to this era.
    pub joined: bool,
}

/// Word to the consumer that the subscriptions have changed.
#[derive(Debug)]
pub struct Changed {
    /// The answer to the request that began an era, to be given once [`Position::ends`] is stored, or after a moment.
    pub answer: Option<(Replier, Response)>,
}
