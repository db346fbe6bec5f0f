//! Read buffers that come back: a block travels with its batch through the data path and returns here when the last
//! reader of the batch is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::{READ_BLOCK_BYTES, READ_BLOCKS_KEPT};
use crate::progress::Progress;

/// Below this size a batch is copied, so that a few lines do not hold a whole block.
const COPY_BELOW_BYTES: usize = READ_BLOCK_BYTES / 8;

/// The blocks that are free.
#[derive(Debug)]
pub struct Blocks {
    free: Receiver<Vec<u8>>,
    home: Sender<Vec<u8>>,
    away: Arc<Away>,
}

/// What is shared and not yet back.
#[derive(Debug)]
struct Away {
    bytes: AtomicUsize,
    /// Told when a block is back: who waits for room looks again.
    progress: Arc<Progress>,
}

struct Block {
    bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
    away: Arc<Away>,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let size = bytes.capacity();
        keep(&self.home, bytes);
        self.away.bytes.fetch_sub(size, SeqCst);
        self.away.progress.notify();
    }
}

/// Keeps a block for the next read, unless enough are kept already.
fn keep(home: &Sender<Vec<u8>>, mut bytes: Vec<u8>) {
    if bytes.capacity() == READ_BLOCK_BYTES {
        bytes.clear();
        let _ = home.try_send(bytes);
    }
}

impl Blocks {
    /// No block yet; `progress` is told when a shared one comes back.
    pub fn new(progress: Arc<Progress>) -> Self {
        let (home, free) = bounded(READ_BLOCKS_KEPT);
        let bytes = AtomicUsize::new(0);
        let away = Arc::new(Away { bytes, progress });
        Self { free, home, away }
    }

    /// Bytes of the blocks that are shared and not yet back.
    pub fn away_bytes(&self) -> usize {
        self.away.bytes.load(SeqCst)
    }

    /// An empty buffer of [`READ_BLOCK_BYTES`].
    pub fn take(&self) -> Vec<u8> {
        self.free
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(READ_BLOCK_BYTES))
    }

    /// Takes back a buffer that was not shared.
    pub fn give_back(&self, bytes: Vec<u8>) {
        keep(&self.home, bytes);
    }

    /// The first `used` bytes of `buffer` as a shared buffer; and `buffer` itself when it was not needed for that.
    pub fn share(&self, buffer: Vec<u8>, used: usize) -> (Bytes, Option<Vec<u8>>) {
        if used < COPY_BELOW_BYTES {
            (
                Bytes::copy_from_slice(buffer.get(..used).unwrap_or_default()),
                Some(buffer),
            )
        } else {
            self.away.bytes.fetch_add(buffer.capacity(), SeqCst);
            let block = Block {
                bytes: buffer,
                home: self.home.clone(),
                away: Arc::clone(&self.away),
            };
            (Bytes::from_owner(block).slice(..used), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_block_comes_back_when_its_last_reader_is_done() {
        let blocks = Blocks::new(Progress::new(|| {}));
        let mut block = blocks.take();
        block.resize(READ_BLOCK_BYTES, 7);
        let (shared, rest) = blocks.share(block, READ_BLOCK_BYTES - 1);
        assert!(rest.is_none() && shared.len() == READ_BLOCK_BYTES - 1);
        let copy = shared.clone();
        drop(shared);
        assert!(blocks.free.is_empty());
        assert_eq!(blocks.away_bytes(), READ_BLOCK_BYTES);
        drop(copy);
        assert_eq!((blocks.free.len(), blocks.away_bytes()), (1, 0));
        assert!(blocks.take().is_empty());
    }

    #[test]
    fn a_small_batch_does_not_hold_a_block() {
        let blocks = Blocks::new(Progress::new(|| {}));
        let mut block = blocks.take();
        block.extend_from_slice(b"abc");
        let (shared, block) = blocks.share(block, 2);
        assert_eq!(&shared[..], b"ab");
        blocks.give_back(block.unwrap());
        assert_eq!(blocks.free.len(), 1);
    }

    #[test]
    fn an_odd_buffer_is_not_kept() {
        let blocks = Blocks::new(Progress::new(|| {}));
        blocks.give_back(Vec::with_capacity(10));
        assert!(blocks.free.is_empty());
    }
}
