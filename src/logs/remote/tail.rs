//! The last lines that a collector's kernel has acknowledged. A collector that is killed takes with it what it had not read, and its
//! kernel then resets the connection: these lines are sent once more, before any other. No socket, no clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{TCP_TAIL_BYTES, TCP_TAIL_TIME};

/// Lines, each with its end, that have arrived and may yet be lost.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// Whole lines that arrived together: their bytes, and when.
    pieces: VecDeque<(usize, Instant)>,
}

impl Tail {
    /// Adds lines that have arrived; what is old or too much goes.
    pub fn add(&mut self, lines: &[u8], now: Instant) {
        self.pieces.push_back((lines.len(), now));
        self.bytes.extend(lines);
        while let Some((bytes, at)) = self.pieces.front() {
            let is_old = now.saturating_duration_since(*at) > TCP_TAIL_TIME;
            if self.bytes.len() <= TCP_TAIL_BYTES && !is_old {
                break;
            }
            self.bytes.drain(..*bytes);
            self.pieces.pop_front();
        }
        if self.bytes.is_empty() {
            self.bytes.shrink_to(0);
        }
    }

    /// Takes what is not old.
    pub fn take(&mut self, now: Instant) -> Vec<u8> {
        self.add(&[], now);
        self.pieces.clear();
        std::mem::take(&mut self.bytes).into()
    }
}

/// What the next connection has to send first. Shared by connections that follow each other.
#[derive(Debug, Clone, Default)]
pub struct Legacy(Arc<Mutex<Vec<u8>>>);

impl Legacy {
    /// Leaves lines behind.
    pub fn leave(&self, lines: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    /// Takes them over.
    pub fn inherit(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_last_lines_are_kept_and_only_whole_pieces_go() {
        let start = Instant::now();
        let mut tail = Tail::default();
        let piece = |n: u8| vec![n; TCP_TAIL_BYTES / 4];
        for n in 0..6 {
            tail.add(&piece(n), start);
        }
        let kept = tail.take(start);
        assert_eq!(kept, (2..6).flat_map(piece).collect::<Vec<_>>());
        assert!(tail.take(start).is_empty());
    }

    #[test]
    fn what_is_old_is_read_by_now() {
        let start = Instant::now();
        let mut tail = Tail::default();
        tail.add(b"old\n", start);
        let later = start + TCP_TAIL_TIME;
        tail.add(b"new\n", later);
        assert_eq!(tail.take(later + Duration::from_millis(1)), b"new\n");
    }

    #[test]
    fn lines_are_inherited_once() {
        let legacy = Legacy::default();
        legacy.clone().leave(b"x\n".to_vec());
        assert_eq!(legacy.inherit(), b"x\n");
        assert!(legacy.inherit().is_empty());
    }
}
