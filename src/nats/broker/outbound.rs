//! What waits for one client: chunks that come back as they are sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::limits::{OUTBOUND_CHUNK_BYTES, OUTBOUND_CHUNKS_FIRST, OUTBOUND_CHUNKS_KEPT};

/// The memory of all that waits.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    free: Vec<Vec<u8>>,
    /// Whole chunks that are the first ones of their clients.
    first: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// It counts among [`Chunks::first`].
    is_first: bool,
}

impl Chunks {
    /// A chunk for at least `bytes`. One that is the first of its client is small when there are many such: most of them hold little.
    fn take(&mut self, bytes: usize, is_first: bool) -> Chunk {
        let is_whole = !is_first || self.first < OUTBOUND_CHUNKS_FIRST;
        if bytes > OUTBOUND_CHUNK_BYTES || !is_whole {
            return Chunk {
                bytes: Vec::with_capacity(bytes),
                is_first: false,
            };
        }
        self.first += usize::from(is_first);
        let kept = self.free.pop();
        Chunk {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(OUTBOUND_CHUNK_BYTES)),
            is_first,
        }
    }

    fn give_back(&mut self, mut chunk: Chunk) {
        self.first -= usize::from(chunk.is_first);
        if chunk.bytes.capacity() == OUTBOUND_CHUNK_BYTES && self.free.len() < OUTBOUND_CHUNKS_KEPT
        {
            chunk.bytes.clear();
            self.free.push(chunk.bytes);
        }
    }
}

/// Bytes on their way to one client, in order.
#[derive(Debug, Default)]
pub struct Outbound {
    chunks: VecDeque<Chunk>,
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
    #[inline]
    pub(super) fn push<const N: usize>(&mut self, chunks: &mut Chunks, parts: [&[u8]; N]) -> usize {
        let added: usize = parts.iter().map(|part| part.len()).sum();
        let fits = |last: &Chunk| last.bytes.len() + added <= OUTBOUND_CHUNK_BYTES;
        if !self.chunks.back().is_some_and(fits) {
            let is_first = self.chunks.is_empty();
            self.chunks.push_back(chunks.take(added, is_first));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            for part in parts {
                chunk.bytes.extend_from_slice(part);
            }
        }
        self.len += added;
        self.pushed += added as u64;
        added
    }

    /// The next bytes to send.
    pub fn front(&self) -> &[u8] {
        let first = self.chunks.front();
        first
            .and_then(|chunk| chunk.bytes.get(self.sent..))
            .unwrap_or_default()
    }

    /// The next bytes to send, and those behind them: as many chunks as `slices` has places.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = std::iter::once(self.front())
            .chain(self.chunks.iter().skip(1).map(|chunk| &chunk.bytes[..]));
        let filled = slices.iter_mut().zip(pieces);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    /// `count` bytes are sent.
    pub(super) fn consume(&mut self, chunks: &mut Chunks, count: usize) {
        self.len -= count;
        self.sent += count;
        while let Some(size) = self.chunks.front().map(|chunk| chunk.bytes.len())
            && self.sent >= size
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.sent -= size;
            chunks.give_back(chunk);
        }
    }

    /// Nothing of it will be sent. How much that was.
    pub(super) fn clear(&mut self, chunks: &mut Chunks) -> usize {
        let len = self.len;
        self.consume(chunks, len);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_memory_with_them() {
        let (mut out, mut chunks) = (Outbound::default(), Chunks::default());
        let mut expected = Vec::new();
        for n in 0..3000u32 {
            let text = vec![n as u8; 100 + n as usize];
            assert_eq!(out.push(&mut chunks, [b"<", &text, b">"]), text.len() + 2);
            expected.extend([b"<", &text[..], b">"].concat());
        }
        assert_eq!(out.len(), expected.len());
        let mut got = Vec::new();
        while !out.is_empty() {
            let n = out.front().len().min(777);
            got.extend_from_slice(&out.front()[..n]);
            out.consume(&mut chunks, n);
            assert_eq!(out.sent(), got.len() as u64);
        }
        assert_eq!(out.pushed(), expected.len() as u64);
        assert!(got == expected && out.chunks.is_empty());
        assert_eq!((chunks.first, chunks.free.len()), (0, OUTBOUND_CHUNKS_KEPT));
    }

    #[test]
    fn many_chunks_leave_in_one_write() {
        let (mut out, mut chunks) = (Outbound::default(), Chunks::default());
        let mut expected = Vec::new();
        for n in 0..9u8 {
            let text = vec![n; 40 << 10];
            out.push(&mut chunks, [&text]);
            expected.extend(text);
        }
        let mut got = Vec::new();
        for most in [100_000, usize::MAX, 1, usize::MAX, usize::MAX] {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = out.slices(&mut slices);
            let all: Vec<u8> = slices[..count]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            let taken = &all[..most.min(all.len())];
            got.extend_from_slice(taken);
            out.consume(&mut chunks, taken.len());
        }
        assert!(got == expected && out.is_empty() && out.chunks.is_empty());
    }

    #[test]
    fn many_clients_for_whom_little_waits_hold_little_memory() {
        let mut chunks = Chunks::default();
        let mut all: Vec<_> = (0..2000).map(|_| Outbound::default()).collect();
        for out in &mut all {
            out.push(&mut chunks, [b"PING\r\n"]);
        }
        let held = |all: &[Outbound]| -> usize {
            let chunks = all.iter().flat_map(|out| &out.chunks);
            chunks.map(|chunk| chunk.bytes.capacity()).sum()
        };
        let least = OUTBOUND_CHUNKS_FIRST * OUTBOUND_CHUNK_BYTES;
        assert!(held(&all) < least + 2000 * 16, "{}", held(&all));
        for out in &mut all {
            assert_eq!(out.clear(&mut chunks), 6);
        }
        assert_eq!((held(&all), chunks.first), (0, 0));
        assert_eq!(chunks.free.len(), OUTBOUND_CHUNKS_KEPT);
    }
}
