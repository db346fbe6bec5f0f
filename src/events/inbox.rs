//! Messages in order of arrival, in bounded memory: where EVENT and CONFIG wait until a part handles them.

use std::collections::VecDeque;

/// A queue with a limit in messages and in bytes. When it is full the oldest message goes: the newest tell the state.
#[derive(Debug)]
pub struct Inbox {
    messages: VecDeque<Box<[u8]>>,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
}

impl Inbox {
    /// An empty inbox.
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            messages_max,
            bytes_max,
        }
    }

    /// Adds a message; the answer is the number of older ones that had to go. One that is larger than the whole inbox
    /// is not taken, and counts as gone.
    pub fn push(&mut self, message: &[u8]) -> u64 {
        if message.len() > self.bytes_max {
            return 1;
        }
        let mut gone = 0;
        while self.messages.len() >= self.messages_max
            || self.bytes + message.len() > self.bytes_max
        {
            if self.pop().is_none() {
                break;
            }
            gone += 1;
        }
        self.bytes += message.len();
        self.messages.push_back(message.into());
        gone
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_newest_stay_in_order_within_the_limits(sizes in prop::collection::vec(0usize..12, 0..50)) {
            let mut inbox = Inbox::new(5, 20);
            let mut gone = 0;
            for (n, &size) in sizes.iter().enumerate() {
                gone += inbox.push(&vec![n as u8; size]);
                prop_assert!(inbox.len() <= 5 && inbox.bytes <= 20);
            }
            let kept: Vec<_> = std::iter::from_fn(|| inbox.pop()).collect();
            prop_assert_eq!(kept.len() as u64 + gone, sizes.len() as u64);
            let newest: Vec<Box<[u8]>> =
                sizes.iter().enumerate().map(|(n, &size)| vec![n as u8; size].into()).skip(sizes.len() - kept.len()).collect();
            prop_assert_eq!(kept, newest);
            prop_assert_eq!(inbox.bytes, 0);
        }
    }

    #[test]
    fn a_message_larger_than_the_inbox_is_not_taken() {
        let mut inbox = Inbox::new(5, 20);
        assert_eq!(inbox.push(&[0; 21]), 1);
        assert!(inbox.is_empty());
    }
}
