//! What waits for one client: chunks that come back as they are sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::lent::Lent;
use crate::limits::{OUTBOUND_CHUNK_BYTES, OUTBOUND_CHUNKS_FIRST, OUTBOUND_CHUNKS_KEPT};

/// The memory of all that waits.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    free: Vec<Vec<u8>>,
    /// Whole chunks that are the first ones of their clients.
    first: usize,
}

#[derive(Debug)]
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
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
    /// Bytes that wait here.
    len: usize,
    /// Bytes before them that are [`Lent`].
    lent: usize,
    /// Bytes since the beginning.
    pushed: u64,
}

impl Outbound {
    /// Bytes that wait, the lent ones among them.
    pub fn len(&self) -> usize {
        self.lent + self.len
    }

    /// Bytes that were ever added.
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Bytes of them that are sent.
    pub fn sent(&self) -> u64 {
        self.pushed - self.len() as u64
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all that waits out, to be sent elsewhere. Until it is back nothing must be sent from here.
    pub(super) fn lend(&mut self) -> Lent {
        self.lent = std::mem::take(&mut self.len);
        let chunks = std::mem::take(&mut self.chunks);
        Lent::new(chunks, std::mem::take(&mut self.sent), self.lent)
    }

    /// What was lent is back. How much of it was sent.
    pub(super) fn take_back(&mut self, chunks: &mut Chunks, mut lent: Lent) -> usize {
        let sent = self.lent - lent.len();
        self.lent = 0;
        self.len += lent.len();
        self.sent = lent.start();
        lent.chunks.append(&mut self.chunks);
        self.chunks = lent.chunks;
        self.consume(chunks, 0);
        sent
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

    /// Nothing of what waits here will be sent. How much that was.
    pub(super) fn clear(&mut self, chunks: &mut Chunks) -> usize {
        let len = self.len;
        self.consume(chunks, len);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(slices: &[IoSlice]) -> Vec<u8> {
        slices.iter().flat_map(|slice| slice.to_vec()).collect()
    }

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
            let all = joined(&slices[..count]);
            let taken = &all[..most.min(all.len())];
            got.extend_from_slice(taken);
            out.consume(&mut chunks, taken.len());
        }
        assert!(got == expected && out.is_empty() && out.chunks.is_empty());
    }

    #[test]
    fn what_is_lent_comes_back_in_its_place() {
        let (mut out, mut chunks) = (Outbound::default(), Chunks::default());
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        let mut push = |out: &mut Outbound, chunks: &mut Chunks, n: usize| {
            let text = vec![n as u8; 1 + n * 7919 % 50_000];
            out.push(chunks, [&text]);
            expected.extend(text);
        };
        for n in 0..300 {
            push(&mut out, &mut chunks, n);
            // The first chunk may be partly sent when it is lent.
            let here = (n * 613) % (1 + out.front().len());
            got.extend_from_slice(&out.front()[..here]);
            out.consume(&mut chunks, here);
            let waits = out.len();
            let mut lent = out.lend();
            assert_eq!(
                (out.len(), lent.len(), out.front()),
                (waits, waits, &[][..])
            );
            push(&mut out, &mut chunks, n + 1);
            // All of it, nothing, and something between.
            let mut most = [usize::MAX, 0, n * 31][n % 3];
            while most > 0 && !lent.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let count = lent.slices(&mut slices);
                let all = joined(&slices[..count]);
                let taken = &all[..most.min(all.len()).min(20_000)];
                most -= taken.len();
                got.extend_from_slice(taken);
                let taken = taken.len();
                lent.sent(taken);
            }
            let left = lent.len();
            assert_eq!(out.take_back(&mut chunks, lent), waits - left);
            assert_eq!(out.sent(), got.len() as u64);
        }
        got.extend_from_slice(&{
            let mut slices = [IoSlice::new(&[]); 4096];
            let count = out.slices(&mut slices);
            joined(&slices[..count])
        });
        assert!(got == expected);
        let rest = out.len();
        assert_eq!(out.clear(&mut chunks), rest);
        assert!(out.is_empty() && out.chunks.is_empty() && chunks.first == 0);
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
