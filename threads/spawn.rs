//! How every thread starts, and how the daemon learns that one has ended.

use std::io;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::Sender;

/// What the daemon waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A signal of the operating system.
    Signal(i32),
    /// The thread of this name has ended; `true` when it panicked.
    Ended(&'static str, bool),
}

/// Notices that may wait for the daemon. Whoever has one more waits too: the daemon does nothing else but take them, and
/// none may be lost.
pub const NOTICES: usize = 64;

struct OnEnd {
    name: &'static str,
    notices: Sender<Notice>,
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        // It fails only when the daemon is gone.
        let _ = self
            .notices
            .send(Notice::Ended(self.name, std::thread::panicking()));
    }
}

/// Starts a thread whose end, a panic included, is told to the daemon. Linux shows 15 bytes of `name`.
///
/// # Errors
/// The operating system gives no thread.
pub fn spawn(
    name: &'static str,
    notices: &Sender<Notice>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let on_end = OnEnd {
        name,
        notices: notices.clone(),
    };
    Builder::new().name(name.into()).spawn(move || {
        let _on_end = on_end;
        body();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_end_is_told_and_so_is_its_panic() {
        let (notices, told) = crossbeam_channel::bounded(NOTICES);
        spawn("quiet", &notices, || {}).unwrap().join().unwrap();
        assert_eq!(told.recv(), Ok(Notice::Ended("quiet", false)));
        spawn("loud", &notices, || panic!("on purpose"))
            .unwrap()
            .join()
            .unwrap_err();
        assert_eq!(told.recv(), Ok(Notice::Ended("loud", true)));
    }
}
