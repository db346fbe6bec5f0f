//! What waits for one client: chunks that are freed as they are sent.

use std::collections::VecDeque;

/// A chunk is closed at this size: the unit in which memory is given back and written.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes on their way to one client, in order.
#[derive(Debug, Default)]
pub struct Outbound {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are sent.
    sent: usize,
    len: usize,
    /// Bytes since the beginning.
    pushed: u64,
}

impl Outbound {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that were ever added.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Bytes of them that are sent.
    pub fn sent(&self) -> u64 {
        self.pushed - self.len as u64
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the parts of one protocol message.
    pub fn push(&mut self, parts: &[&[u8]]) -> usize {
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let chunk = match self.chunks.back_mut() {
            Some(last) if last.len() + added <= CHUNK_BYTES => last,
            _ => {
                self.chunks.push_back(Vec::with_capacity(added));
                match self.chunks.back_mut() {
                    Some(last) => last,
                    None => return 0,
                }
            }
        };
        for part in parts {
            chunk.extend_from_slice(part);
        }
        self.len += added;
        self.pushed += added as u64;
        added
    }

    /// The next bytes to send.
    pub fn front(&self) -> &[u8] {
        self.chunks
            .front()
            .and_then(|chunk| chunk.get(self.sent..))
            .unwrap_or_default()
    }

    /// `count` bytes of [`Outbound::front`] are sent.
    pub fn consume(&mut self, count: usize) {
        self.sent += count;
        self.len -= count;
        if self
            .chunks
            .front()
            .is_some_and(|chunk| self.sent >= chunk.len())
        {
            self.chunks.pop_front();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_memory_with_them() {
        let mut out = Outbound::default();
        let mut expected = Vec::new();
        for n in 0..1000u32 {
            let text = vec![n as u8; 100 + n as usize];
            assert_eq!(out.push(&[b"<", &text, b">"]), text.len() + 2);
            expected.extend([b"<", &text[..], b">"].concat());
        }
        assert_eq!(out.len(), expected.len());
        let mut got = Vec::new();
        while !out.is_empty() {
            let n = out.front().len().min(777);
            got.extend_from_slice(&out.front()[..n]);
            out.consume(n);
            assert_eq!(out.sent(), got.len() as u64);
        }
        assert_eq!(out.pushed(), expected.len() as u64);
        assert!(got == expected && out.chunks.is_empty());
    }
}
