//! LOG or EVENT as an external server gives them: message by message. They are gathered into the batches that the data path takes, which
//! wait here while it has no room.

use std::collections::VecDeque;

use crossbeam_channel::{Sender, TrySendError};

use super::stream::Stream;
use super::{Plan, add};
use crate::limits::{EXTERNAL_HELD_BYTES, READ_BLOCK_BYTES};
use crate::nats::blocks::Blocks;
use crate::tap::{Batch, Control, ControlBatch, Span};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// It is in a batch.
    Taken,
    /// It wants an acknowledgement, and too many wait: come back with it once something has been stored.
    NoPlace,
    /// The data path stands still, and more than this must not wait: it is lost.
    Dropped,
}

/// One of the two subjects whose messages are stored.
#[derive(Debug)]
pub struct Feed {
    name: &'static str,
    stream: Stream,
    gathering: Option<(Vec<u8>, Plan)>,
    held: VecDeque<Batch>,
    held_bytes: usize,
}

impl Feed {
    /// Nothing taken yet. `name`: the subject.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            stream: Stream::default(),
            gathering: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Number of the last batch.
    pub fn last(&self) -> u64 {
        self.stream.seq
    }

    /// Bytes of what waits for room.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Nothing waits for room.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.gathering.is_none()
    }

    /// There is a place for one more acknowledgement.
    pub fn has_ack_place(&self) -> bool {
        self.stream.has_ack_place()
    }

    /// Acknowledgements wait.
    pub fn is_waiting(&self) -> bool {
        self.stream.is_waiting()
    }

    /// Takes one message, of at most 4 GiB.
    pub fn take(&mut self, payload: &[u8], reply: &[u8], blocks: &Blocks) -> Fed {
        if !reply.is_empty() && !self.stream.has_ack_place() {
            return Fed::NoPlace;
        }
        if self.held_bytes.saturating_add(payload.len()) > EXTERNAL_HELD_BYTES
            && !self.held.is_empty()
        {
            return Fed::Dropped;
        }
        let (mut buffer, plan) = self.gathering.take().unzip();
        if buffer
            .as_ref()
            .is_some_and(|buffer| buffer.len() + payload.len() > READ_BLOCK_BYTES)
        {
            self.gathering = buffer.take().zip(plan);
            self.seal(blocks);
            return self.take(payload, reply, blocks);
        }
        let mut buffer = buffer.unwrap_or_else(|| blocks.take());
        let mut plan = plan;
        let span = Span {
            start: buffer.len() as u32,
            len: payload.len() as u32,
        };
        add(&mut self.stream, &mut plan, 0, span, reply, &mut false);
        buffer.extend_from_slice(payload);
        self.gathering = plan.map(|plan| (buffer, plan));
        Fed::Taken
    }

    /// Ends the batch that is being gathered.
    pub fn seal(&mut self, blocks: &Blocks) {
        let Some((buffer, plan)) = self.gathering.take() else {
            return;
        };
        let used = buffer.len();
        let (shared, rest) = blocks.share(buffer, used);
        if let Some(rest) = rest {
            blocks.give_back(rest);
        }
        self.held_bytes += shared.len();
        self.held.push_back(plan.into_batch(shared));
    }

    /// Gives the data path what it has room for, up to about `budget` bytes.
    pub fn hand_over(&mut self, to: &Sender<Batch>, mut budget: usize) {
        while budget > 0
            && let Some(batch) = self.held.pop_front()
        {
            let bytes = batch.buffer.len();
            match to.try_send(batch) {
                Ok(()) => {
                    self.held_bytes -= bytes;
                    budget = budget.saturating_sub(bytes);
                }
                Err(TrySendError::Full(batch)) => {
                    self.held.push_front(batch);
                    return;
                }
                // The receiver has died, and the daemon ends.
                Err(TrySendError::Disconnected(_)) => {
                    self.held.clear();
                    self.held_bytes = 0;
                }
            }
        }
    }

    /// Publishes, by `publish(reply subject, text)`, the acknowledgements of what is stored.
    pub fn settle(&mut self, stored: u64, publish: impl FnMut(&[u8], &[u8])) {
        self.stream.settle(self.name, stored, publish);
    }
}

/// CONFIG and TEST in the same way: nothing of them is stored, or acknowledged.
#[derive(Debug, Default)]
pub struct ControlFeed {
    seq: u64,
    buffer: Vec<u8>,
    messages: Vec<(Control, Span)>,
    held: VecDeque<ControlBatch>,
    held_bytes: usize,
}

impl ControlFeed {
    /// Number of the last batch.
    pub fn last(&self) -> u64 {
        self.seq
    }

    /// Nothing waits for room.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.messages.is_empty()
    }

    /// Takes one message, of at most 4 GiB.
    pub fn take(&mut self, subject: Control, payload: &[u8]) -> Fed {
        let bytes = self.held_bytes + self.buffer.len();
        if bytes > 0 && bytes.saturating_add(payload.len()) > EXTERNAL_HELD_BYTES {
            return Fed::Dropped;
        }
        let span = Span {
            start: self.buffer.len() as u32,
            len: payload.len() as u32,
        };
        self.buffer.extend_from_slice(payload);
        self.messages.push((subject, span));
        Fed::Taken
    }

    /// Ends the batch that is being gathered.
    pub fn seal(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        self.seq += 1;
        self.held_bytes += self.buffer.len();
        self.held.push_back(ControlBatch {
            seq: self.seq,
            buffer: std::mem::take(&mut self.buffer).into(),
            messages: std::mem::take(&mut self.messages),
        });
    }

    /// Gives the data path what it has room for.
    pub fn hand_over(&mut self, to: &Sender<ControlBatch>) {
        while let Some(batch) = self.held.pop_front() {
            let bytes = batch.buffer.len();
            if let Err(TrySendError::Full(batch)) = to.try_send(batch) {
                self.held.push_front(batch);
                return;
            }
            self.held_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crossbeam_channel::bounded;

    fn blocks() -> Blocks {
        Blocks::new(Progress::new(|| {}))
    }

    #[test]
    fn messages_are_gathered_up_to_a_block_and_keep_their_order() {
        let (blocks, mut feed) = (blocks(), Feed::new("LOG"));
        let payload = |n: u8| vec![n; READ_BLOCK_BYTES / 2];
        for n in 0..3 {
            assert_eq!(feed.take(&payload(n), b"", &blocks), Fed::Taken);
        }
        let large = vec![9; 3 * READ_BLOCK_BYTES];
        assert_eq!(feed.take(&large, b"", &blocks), Fed::Taken);
        assert_eq!(feed.take(b"", b"", &blocks), Fed::Taken);
        feed.seal(&blocks);
        let (to, batches) = bounded(8);
        feed.hand_over(&to, usize::MAX);
        assert!(feed.is_empty() && feed.held_bytes() == 0);
        let seen: Vec<_> = batches
            .try_iter()
            .map(|batch| {
                let spans = batch.spans.iter();
                let messages = spans.map(|span| span.of(&batch.buffer).to_vec());
                (batch.seq, messages.collect::<Vec<_>>())
            })
            .collect();
        let expected = vec![
            (1, vec![payload(0), payload(1)]),
            (2, vec![payload(2)]),
            (3, vec![large]),
            (4, vec![Vec::new()]),
        ];
        assert!(seen == expected);
        assert_eq!(feed.last(), 4);
    }

    #[test]
    fn what_waits_for_room_is_bounded_and_loses_nothing_below_the_bound() {
        let (blocks, mut feed) = (blocks(), Feed::new("LOG"));
        let payload = vec![b'x'; READ_BLOCK_BYTES];
        let mut taken = 0;
        loop {
            match feed.take(&payload, b"", &blocks) {
                Fed::Taken => taken += 1,
                fed => {
                    assert_eq!(fed, Fed::Dropped);
                    break;
                }
            }
            feed.seal(&blocks);
        }
        assert_eq!(taken, EXTERNAL_HELD_BYTES / READ_BLOCK_BYTES);
        let (to, batches) = bounded(2);
        feed.hand_over(&to, usize::MAX);
        assert_eq!(batches.len(), 2);
        assert_eq!(feed.held_bytes(), (taken - 2) * READ_BLOCK_BYTES);
        assert_eq!(feed.take(&payload, b"", &blocks), Fed::Taken);
        feed.seal(&blocks);
        let mut left = 0;
        while !feed.is_empty() {
            left += batches.try_iter().count();
            feed.hand_over(&to, usize::MAX);
        }
        left += batches.try_iter().count();
        assert_eq!(left, taken + 1);
        feed.hand_over(&to, 0);
    }

    #[test]
    fn acknowledgements_wait_for_storage_and_have_bounded_places() {
        let (blocks, mut feed) = (blocks(), Feed::new("EVENT"));
        assert_eq!(feed.take(b"e", b"_INBOX.1", &blocks), Fed::Taken);
        feed.seal(&blocks);
        let (to, batches) = bounded(1);
        feed.hand_over(&to, usize::MAX);
        assert!(batches.recv().unwrap().flush);
        let mut said = Vec::new();
        feed.settle(0, |to, text| said.push((to.to_vec(), text.to_vec())));
        assert!(said.is_empty() && feed.is_waiting());
        feed.settle(1, |to, text| said.push((to.to_vec(), text.to_vec())));
        let text = br#"{"stream":"EVENT","seq":1}"#.to_vec();
        assert_eq!(said, [(b"_INBOX.1".to_vec(), text)]);
        let mut places = 0;
        while feed.take(b"e", b"r", &blocks) == Fed::Taken {
            places += 1;
        }
        assert_eq!(places, crate::limits::ACKS_WAITING);
        assert_eq!(feed.take(b"e", b"r", &blocks), Fed::NoPlace);
        assert_eq!(feed.take(b"e", b"", &blocks), Fed::Taken);
    }

    #[test]
    fn control_messages_of_one_turn_travel_together() {
        let mut feed = ControlFeed::default();
        for text in ["one", "", "three"] {
            assert_eq!(feed.take(Control::Config, text.as_bytes()), Fed::Taken);
        }
        feed.seal();
        feed.seal();
        let (to, batches) = bounded(1);
        assert_eq!(feed.take(Control::Test, b"t"), Fed::Taken);
        feed.seal();
        feed.hand_over(&to);
        let batch = batches.recv().unwrap();
        let texts = batch
            .messages
            .iter()
            .map(|(_, span)| span.of(&batch.buffer));
        let expected: [&[u8]; 3] = [b"one", b"", b"three"];
        assert_eq!(texts.collect::<Vec<_>>(), expected);
        assert!(!feed.is_empty());
        feed.hand_over(&to);
        assert!(feed.is_empty());
        assert_eq!((batches.recv().unwrap().seq, feed.last()), (2, 2));
    }
}
