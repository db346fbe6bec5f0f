//! What the NATS server hands to the data path: batches of a shared buffer and the ranges of the messages in it.
//!
//! A batch is made once for each read of a connection; its messages are neither copied nor counted one by one before
//! `nats_subscriptions` verifies them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

/// A range of a batch's buffer. Blocks and payloads stay far below 4 GiB ([`crate::limits`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this range, empty when it does not lie in `buffer`.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buffer
            .get(start..start.saturating_add(self.len as usize))
            .unwrap_or_default()
    }
}

/// What became of a message whose publisher asked for an acknowledgement. Set before the message counts as done in
/// [`crate::progress::Progress`]; read after it.
#[derive(Debug, Clone, Default)]
pub struct Outcome(Arc<AtomicU8>);

/// Why an acknowledged message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// Not a valid FlatBuffer.
    Malformed = 1,
    /// The sink could not take it in time (disk full, read-only, stalled).
    NotWritten = 2,
}

impl Outcome {
    /// Marks the message as not stored.
    pub fn fail(&self, failure: Failure) {
        self.0.store(failure as u8, Ordering::Release);
    }

    /// `None` when nothing failed.
    pub fn failure(&self) -> Option<Failure> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Failure::Malformed),
            2 => Some(Failure::NotWritten),
            _ => None,
        }
    }
}

/// LOG or EVENT messages of one read of one connection.
#[derive(Debug)]
pub struct Batch {
    /// Place of this batch in the order of all batches of its subject; starts at 1.
    pub seq: u64,
    /// The bytes that were read.
    pub buffer: Bytes,
    /// Where in `buffer` each FlatBuffer lies.
    pub spans: Vec<Span>,
    /// Somebody waits for this batch to be stored (a PING or an acknowledgement): write at once.
    pub flush: bool,
    /// What becomes of the batch as a whole; there when one of its messages wants an acknowledgement.
    pub ack: Option<Outcome>,
    /// The messages that want an acknowledgement: their index in `spans`, and what becomes of each.
    pub acks: Vec<(u32, Outcome)>,
}

/// The subjects that are handled at once and stored nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// JSON answers to configuration changes.
    Config,
    /// CIM's message to itself.
    Test,
}

/// CONFIG and TEST messages of one read of one connection, in order of arrival.
#[derive(Debug)]
pub struct ControlBatch {
    /// Place of this batch in the order of all of its kind; starts at 1.
    pub seq: u64,
    /// The bytes that were read.
    pub buffer: Bytes,
    /// Which subject, and where in `buffer` the payload lies.
    pub messages: Vec<(Control, Span)>,
}
