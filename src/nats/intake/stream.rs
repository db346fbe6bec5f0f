//! The order of what is published to one of the ways into the data path, and the acknowledgements that wait.

use std::collections::VecDeque;

use crate::limits::{ACK_BYTES_WAITING, ACKS_WAITING};
use crate::tap::{Failure, Outcome};

/// An acknowledgement that waits for its message to be stored.
#[derive(Debug)]
struct WaitingAck {
    seq: u64,
    stream_seq: u64,
    batch: Outcome,
    message: Outcome,
    reply: Box<[u8]>,
}

/// LOG or EVENT: a stream whose messages are stored.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the last batch.
    pub(super) seq: u64,
    /// Number of the last message.
    pub(super) messages: u64,
    acks: VecDeque<WaitingAck>,
    /// Bytes of their reply subjects.
    ack_bytes: usize,
}

impl Stream {
    /// The last message wants an acknowledgement at `reply`, once its batch is stored.
    pub(super) fn acknowledge(&mut self, batch: Outcome, message: Outcome, reply: &[u8]) {
        self.ack_bytes += reply.len();
        self.acks.push_back(WaitingAck {
            seq: self.seq,
            stream_seq: self.messages,
            batch,
            message,
            reply: reply.into(),
        });
    }

    /// An acknowledgement waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.acks.is_empty()
    }

    pub(super) fn has_ack_place(&self) -> bool {
        self.acks.len() < ACKS_WAITING && self.ack_bytes < ACK_BYTES_WAITING
    }

    /// Publishes, by `publish(reply subject, text)`, the acknowledgements of what is stored.
    pub(super) fn settle(
        &mut self,
        name: &str,
        stored: u64,
        mut publish: impl FnMut(&[u8], &[u8]),
    ) {
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
            publish(&ack.reply, text.as_bytes());
            self.ack_bytes -= ack.reply.len();
            self.acks.pop_front();
        }
    }
}
