//! Which containers there are, and what passed of them: for people who look. Written by the threads that pass lines on, once a batch.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::container::Container;

/// How the log file of a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// Nothing was to be written to it yet.
    None,
    /// The last write went well.
    Well,
    /// It cannot be written; its lines wait.
    Held,
    /// It cannot be written; its lines are dropped.
    Failing,
}

impl FileState {
    const ALL: [Self; 4] = [Self::None, Self::Well, Self::Held, Self::Failing];

    /// Its name in `/status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Well => "written",
            Self::Held => "waiting",
            Self::Failing => "failing",
        }
    }
}

/// What passed of one container.
#[derive(Debug, Default)]
pub struct Figures {
    lines: AtomicU64,
    last_ms: AtomicU64,
    written: AtomicU64,
    file_bytes: AtomicU64,
    file: AtomicU8,
}

/// [`Figures`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Lines that came.
    pub lines: u64,
    /// When the last one came, in milliseconds since the epoch.
    pub last_ms: u64,
    /// Lines written to its file.
    pub written: u64,
    /// Bytes of its file when it was last written.
    pub file_bytes: u64,
    /// How its file does.
    pub file: FileState,
}

impl Figures {
    /// So many lines came.
    pub fn came(&self, lines: u64, now_ms: u64) {
        self.lines.fetch_add(lines, Relaxed);
        self.last_ms.store(now_ms, Relaxed);
    }

    /// So many lines were written to its file, which is of this size then.
    pub fn wrote(&self, lines: u64, file_bytes: Option<u64>) {
        self.written.fetch_add(lines, Relaxed);
        if let Some(bytes) = file_bytes {
            self.file_bytes.store(bytes, Relaxed);
        }
    }

    /// How its file does now.
    pub fn file_is(&self, state: FileState) {
        self.file.store(state as u8, Relaxed);
    }

    /// All of them.
    pub fn load(&self) -> Passed {
        let file = FileState::ALL.get(usize::from(self.file.load(Relaxed)));
        Passed {
            lines: self.lines.load(Relaxed),
            last_ms: self.last_ms.load(Relaxed),
            written: self.written.load(Relaxed),
            file_bytes: self.file_bytes.load(Relaxed),
            file: file.copied().unwrap_or(FileState::None),
        }
    }
}

/// The containers that have a place, shared with whoever looks.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Vec<Arc<Container>>>>);

impl Board {
    /// From now on `container` has place `at`; places are given out one after the other.
    pub(super) fn put(&self, at: usize, container: &Arc<Container>) {
        let mut places = self.places();
        match places.get_mut(at) {
            Some(place) => *place = Arc::clone(container),
            None => places.push(Arc::clone(container)),
        }
    }

    /// The `most` containers of which a line came last, the last one first, and how many there are in all.
    pub fn last(&self, most: usize) -> (Vec<(Arc<Container>, Passed)>, usize) {
        let places = self.places().clone();
        let mut seen: Vec<_> = places
            .into_iter()
            .map(|container| {
                let passed = container.figures.load();
                (container, passed)
            })
            .filter(|(_, passed)| passed.lines > 0)
            .collect();
        let all = seen.len();
        seen.sort_by_key(|(_, passed)| std::cmp::Reverse(passed.last_ms));
        seen.truncate(most);
        (seen, all)
    }

    fn places(&self) -> MutexGuard<'_, Vec<Arc<Container>>> {
        // Each place is replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CONTAINER_IDLE;
    use crate::logs::container::Containers;
    use std::time::Instant;

    #[test]
    fn those_of_which_a_line_came_last_are_first() {
        let start = Instant::now();
        let mut containers = Containers::with_limit("p", "n", 3);
        let board = containers.board();
        let [a, b, _silent] = [b"a", b"b", b"c"].map(|name| containers.get(name, b"", start));
        a.figures.came(2, 10);
        b.figures.came(1, 20);
        b.figures.wrote(1, Some(7));
        b.figures.file_is(FileState::Well);
        a.figures.came(3, 30);
        let names = |most| -> Vec<_> {
            let (seen, all) = board.last(most);
            assert_eq!(all, 2);
            let seen = seen.into_iter();
            seen.map(|(c, passed)| (c.name[0], passed.lines)).collect()
        };
        assert_eq!(names(9), [(b'a', 5), (b'b', 1)]);
        assert_eq!(names(1), [(b'a', 5)]);
        assert_eq!(
            b.figures.load(),
            Passed {
                lines: 1,
                last_ms: 20,
                written: 1,
                file_bytes: 7,
                file: FileState::Well
            }
        );
    }

    #[test]
    fn a_container_that_loses_its_place_goes_and_the_overflow_is_shown_when_it_is_used() {
        let start = Instant::now();
        let mut containers = Containers::with_limit("p", "n", 1);
        let board = containers.board();
        containers.get(b"a", b"", start).figures.came(1, 1);
        let overflow = containers.get(b"b", b"", start);
        overflow.figures.came(1, 2);
        let names = || -> Vec<_> {
            let (seen, _) = board.last(9);
            seen.into_iter().map(|(c, _)| c.name.to_vec()).collect()
        };
        assert_eq!(names(), [&b"%overflow"[..], b"a"]);
        let c = containers.get(b"c", b"", start + CONTAINER_IDLE);
        c.figures.came(1, 3);
        assert_eq!(names(), [&b"c"[..], b"%overflow"]);
    }
}
