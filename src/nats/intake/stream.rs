//! The order of what is published to one of the ways into the data path, and the acknowledgements that wait.

use std::collections::VecDeque;

use crate::limits::{ACK_BYTES_WAITING, ACKS_WAITING};
use crate::nats::Broker;
use crate::tap::{Failure, Outcome};

/// An acknowledgement that waits for its message to be stored.
#[derive(Debug)]
pub(super) struct WaitingAck {
    pub(super) seq: u64,
    pub(super) stream_seq: u64,
    pub(super) batch: Outcome,
    pub(super) message: Outcome,
    pub(super) reply: Box<[u8]>,
}

/// One of the two streams into the data path.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the last batch.
    pub(super) seq: u64,
    /// Number of the last message.
    pub(super) messages: u64,
    pub(super) acks: VecDeque<WaitingAck>,
    /// Bytes of their reply subjects.
    pub(super) ack_bytes: usize,
}

impl Stream {
    pub(super) fn has_ack_place(&self) -> bool {
        self.acks.len() < ACKS_WAITING && self.ack_bytes < ACK_BYTES_WAITING
    }

    pub(super) fn settle(&mut self, name: &str, stored: u64, broker: &mut Broker) {
        while let Some(ack) = self.acks.front()
            && ack.seq <= stored
        {
            let text = match ack.message.failure().or(ack.batch.failure()) {
                None => format!(r#"{{"stream":"{name}","seq":{}}}"#, ack.stream_seq),
                Some(failure) => {
                    let (code, description) = match failure {
                        Failure::Malformed => {
                            (400, "message is not a valid FlatBuffer of this subject")
                        }
                        Failure::NotWritten => (503, "message could not be stored"),
                    };
                    format!(
                        r#"{{"error":{{"code":{code},"description":"{description}"}},"stream":"{name}","seq":0}}"#
                    )
                }
            };
            broker.publish_own(&ack.reply, text.as_bytes());
            self.ack_bytes -= ack.reply.len();
            self.acks.pop_front();
        }
    }
}
