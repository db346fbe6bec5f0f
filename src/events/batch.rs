//! Verified events on their way from `nats_subscriptions` to the journal.

use bytes::Bytes;

use crate::tap::{Outcome, Span};

/// The events of one batch of EVENT, CONFIG and TEST messages, in order.
#[derive(Debug)]
pub struct JournalBatch {
    /// The number of that batch; once all of it is stored, `Progress::done(Lane::Journal, seq)` says so.
    pub seq: u64,
    /// The bytes that were read, the events among them.
    pub buffer: Bytes,
    /// Where in `buffer` each verified FlatBuffer lies.
    pub spans: Vec<Span>,
    /// The events that want an acknowledgement: their index in `spans`, and what becomes of each.
    pub acks: Vec<(u32, Outcome)>,
}
