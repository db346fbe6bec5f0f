//! Bytes of one client that are sent by another thread than the broker's.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::outbound::Chunk;

/// What was taken out of an [`super::Outbound`], to be given back to it, sent or not.
#[derive(Debug, Default)]
pub struct Lent {
    pub(super) chunks: VecDeque<Chunk>,
    /// Bytes at the start of the first chunk that are sent.
    start: usize,
    /// Bytes behind them that are not.
    len: usize,
}

impl Lent {
    pub(super) fn new(chunks: VecDeque<Chunk>, start: usize, len: usize) -> Self {
        Self { chunks, start, len }
    }

    /// Bytes that are not sent.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All is sent.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes from the start of the first chunk that are sent.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The next bytes to send: as many chunks as `slices` has places.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.start;
        let pieces = self.chunks.iter().filter_map(|chunk| {
            let piece = chunk.bytes.get(skip..).filter(|piece| !piece.is_empty());
            skip = skip.saturating_sub(chunk.bytes.len());
            piece
        });
        let filled = slices.iter_mut().zip(pieces);
        filled
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    /// `count` of those bytes are sent.
    pub fn sent(&mut self, count: usize) {
        let count = count.min(self.len);
        self.start += count;
        self.len -= count;
    }
}
