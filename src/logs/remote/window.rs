//! What is in flight to a remote sink: chunks of lines, in order, until all of their lines have arrived. No line is touched here.

use std::collections::VecDeque;
use std::time::Instant;

use super::Arrived;

/// A chunk of lines on its way.
#[derive(Debug)]
pub struct Chunk<T> {
    /// Its number; they grow by one.
    pub id: u64,
    /// When it came.
    pub since: Instant,
    /// Its lines.
    pub lines: u32,
    /// How many of them, from the first on, the sink has been handed.
    pub sent: u32,
    /// What it is.
    pub what: T,
    bytes: usize,
    /// Lines that have arrived, the rejected ones not counted: they arrive in order.
    arrived: u32,
    /// Lines that will never be taken, in order.
    rejected: Vec<u32>,
}

impl<T> Chunk<T> {
    /// Nothing of it is left to wait for.
    fn is_done(&self) -> bool {
        self.arrived as usize + self.rejected.len() >= self.lines as usize
    }

    /// The lines that have neither arrived nor been rejected, in order.
    pub fn left(&self) -> impl Iterator<Item = u32> {
        let open = (0..self.lines).filter(|line| self.rejected.binary_search(line).is_err());
        open.skip(self.arrived as usize)
    }
}

/// Chunks in order; the caller keeps their number within bounds by [`Window::bytes`].
#[derive(Debug)]
pub struct Window<T> {
    chunks: VecDeque<Chunk<T>>,
    next: u64,
    bytes: usize,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            next: 0,
            bytes: 0,
        }
    }
}

impl<T> Window<T> {
    /// Adds a chunk behind the others.
    pub fn push(&mut self, what: T, lines: u32, bytes: usize, now: Instant) {
        self.chunks.push_back(Chunk {
            id: self.next,
            since: now,
            lines,
            sent: 0,
            what,
            bytes,
            arrived: 0,
            rejected: Vec::new(),
        });
        self.next += 1;
        self.bytes += bytes;
    }

    /// Bytes of all chunks.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// When the oldest chunk came.
    pub fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.since)
    }

    /// The chunk of this number, if it is in flight.
    pub fn get(&self, id: u64) -> Option<&Chunk<T>> {
        let first = self.chunks.front()?.id;
        self.chunks
            .get(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    /// The chunks.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk<T>> {
        self.chunks.iter()
    }

    /// The first chunk with lines that the sink has not been handed.
    pub fn unsent(&mut self) -> Option<&mut Chunk<T>> {
        self.chunks
            .iter_mut()
            .find(|chunk| chunk.sent < chunk.lines)
    }

    /// Lines of a chunk are done with. What is not in flight (any more) is passed over.
    pub fn arrived(&mut self, arrived: &Arrived) {
        let first = self.chunks.front().map_or(0, |chunk| chunk.id);
        let at = arrived.chunk.checked_sub(first);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let Some(chunk) = at.and_then(|at| self.chunks.get_mut(at)) else {
            return;
        };
        match &arrived.rejected {
            None => chunk.arrived = chunk.arrived.saturating_add(arrived.lines).min(chunk.lines),
            Some((line, _)) => {
                if let Err(at) = chunk.rejected.binary_search(line) {
                    chunk.rejected.insert(at, *line);
                }
            }
        }
    }

    /// Takes the oldest chunk if it is done.
    pub fn pop_done(&mut self) -> Option<Chunk<T>> {
        self.chunks.front().filter(|chunk| chunk.is_done())?;
        self.pop()
    }

    /// Takes the oldest chunk, done or not.
    pub fn pop(&mut self) -> Option<Chunk<T>> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.bytes;
        Some(chunk)
    }

    /// The sink is another one from here on: of what has not arrived nothing has been handed to it.
    pub fn rewind(&mut self) {
        for chunk in &mut self.chunks {
            let first = chunk.left().next();
            chunk.sent = first.unwrap_or(chunk.lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arrived(chunk: u64, lines: u32) -> Arrived {
        Arrived {
            chunk,
            lines,
            rejected: None,
        }
    }

    fn rejected(chunk: u64, line: u32) -> Arrived {
        Arrived {
            chunk,
            lines: 1,
            rejected: Some((line, "too_large")),
        }
    }

    #[test]
    fn chunks_are_done_in_order() {
        let mut window = Window::default();
        let now = Instant::now();
        for (what, lines) in [("a", 2), ("marker", 0), ("b", 1)] {
            window.push(what, lines, 10, now);
        }
        window.arrived(&arrived(2, 1));
        assert!(window.pop_done().is_none());
        window.arrived(&arrived(0, 1));
        assert!(window.pop_done().is_none());
        window.arrived(&rejected(0, 1));
        let done: Vec<_> = std::iter::from_fn(|| window.pop_done())
            .map(|chunk| chunk.what)
            .collect();
        assert_eq!(done, ["a", "marker", "b"]);
        assert_eq!((window.bytes(), window.is_empty()), (0, true));
        window.arrived(&arrived(2, 1));
    }

    #[test]
    fn what_is_left_is_neither_arrived_nor_rejected() {
        let mut window = Window::default();
        window.push((), 6, 0, Instant::now());
        for what in [rejected(0, 4), rejected(0, 1), arrived(0, 2)] {
            window.arrived(&what);
        }
        let left: Vec<_> = window.iter().flat_map(Chunk::left).collect();
        assert_eq!(left, [3, 5], "0 and 2 have arrived");
    }

    proptest! {
        #[test]
        fn a_rewind_hands_over_what_has_not_arrived(
            chunks in prop::collection::vec((0u32..5, 0u32..5), 1..8),
        ) {
            let mut window = Window::default();
            for &(lines, _) in &chunks {
                window.push((), lines, 1, Instant::now());
            }
            while let Some(chunk) = window.unsent() {
                chunk.sent += 1;
            }
            for (id, &(lines, here)) in chunks.iter().enumerate() {
                window.arrived(&arrived(id as u64, here.min(lines)));
            }
            window.rewind();
            let mut sent_again = 0;
            while let Some(chunk) = window.unsent() {
                chunk.sent += 1;
                sent_again += 1;
            }
            let expected: u32 = chunks.iter().map(|&(lines, here)| lines - here.min(lines)).sum();
            prop_assert_eq!(sent_again, expected);
        }
    }
}
