//! What a child writes, collected by a thread; the reader can be told to stand still.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closed: bool,
    held: bool,
}

/// The output of a child so far.
#[derive(Debug, Clone, Default)]
pub struct Capture(Arc<(Mutex<State>, Condvar)>);

impl Capture {
    /// Starts to read `from`. When `hold` is set it stops after the line that says where CIM listens, until
    /// [`Capture::release`].
    pub fn start(from: impl Read + Send + 'static, hold: bool) -> Self {
        let capture = Self::default();
        let own = capture.clone();
        std::thread::spawn(move || own.run(from, hold));
        capture
    }

    fn run(&self, from: impl Read, hold: bool) {
        // A small buffer: what is held back must stay in the pipe.
        let mut from = BufReader::with_capacity(512, from);
        let mut first = Vec::new();
        while hold && !first.starts_with(b"cim ") {
            first.clear();
            let read = from.read_until(b'\n', &mut first);
            let mut state = self.state();
            state.bytes.extend_from_slice(&first);
            self.0.1.notify_all();
            if !matches!(read, Ok(1..)) {
                break;
            }
        }
        self.state().held |= hold;
        let mut block = vec![0; 64 << 10];
        loop {
            let mut state = self.state();
            while state.held {
                state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            let read = from.read(&mut block).unwrap_or(0);
            let mut state = self.state();
            state.bytes.extend_from_slice(&block[..read]);
            state.closed = read == 0;
            self.0.1.notify_all();
            if state.closed {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops reading; what was being read still comes in.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Reads on.
    pub fn release(&self) {
        self.state().held = false;
        self.0.1.notify_all();
    }

    /// Everything so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Everything so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The lines so far that are complete.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = self.bytes();
        let end = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
        bytes[..end]
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| line[..line.len() - 1].to_vec())
            .collect()
    }

    /// Waits until `found` gives something for the output so far; `None` after `limit`, or when the output ended first.
    pub fn wait_for<T>(&self, limit: Duration, found: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(found) = found(&state.bytes) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return None;
            }
            state = match self.0.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for the end of the output.
    pub fn wait_closed(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.0.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}
