//! How a thread that waits for others on the network is woken, told of a change, and stopped at once.
//!
//! The thread holds the [`Interrupt`]: it waits on it between two tries, and attaches what ends a call that is under way
//! (closing its sockets). Whoever stops the thread holds the [`Interrupter`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

type Close = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    close: Mutex<Option<Close>>,
}

impl Shared {
    fn close(&self) -> MutexGuard<'_, Option<Close>> {
        self.close.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's side.
pub struct Interrupt {
    woken: Receiver<()>,
    shared: Arc<Shared>,
}

/// The other side.
#[derive(Clone)]
pub struct Interrupter {
    wake: Sender<()>,
    shared: Arc<Shared>,
}

/// Both sides.
pub fn interrupt() -> (Interrupter, Interrupt) {
    let (wake, woken) = bounded(1);
    let shared = Arc::new(Shared::default());
    let interrupter = Interrupter {
        wake,
        shared: Arc::clone(&shared),
    };
    (interrupter, Interrupt { woken, shared })
}

impl Interrupt {
    /// The thread is to end.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Something has changed, or the thread is to end: for a `select!`.
    pub fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// Waits for `time`, or for less when it is woken. False when the thread is to end.
    pub fn pause(&self, time: Duration) -> bool {
        // Woken, elapsed, or nobody is left to wake it: the flag tells.
        let _ = self.woken.recv_timeout(time);
        !self.is_stopped()
    }

    /// Waits until it is woken. False when the thread is to end.
    pub fn wait(&self) -> bool {
        self.woken.recv().is_ok() && !self.is_stopped()
    }

    /// `close`, and nothing attached before, is called at a stop; at once when that has come already.
    pub fn attach(&self, close: impl Fn() + Send + 'static) {
        let mut attached = self.shared.close();
        if self.is_stopped() {
            close();
        }
        *attached = Some(Box::new(close));
    }
}

impl Interrupter {
    /// Something that the thread depends on has changed. Never blocks.
    pub fn wake(&self) {
        match self.wake.try_send(()) {
            // A wake-up that waits already is as good; a thread that has ended needs none.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    /// The call that is under way is cut off, and what was attached for it is of no use any more: something that it depends on
    /// has changed. Never blocks.
    pub fn cut(&self) {
        if let Some(close) = &*self.shared.close() {
            close();
        }
        self.wake();
    }

    /// The thread is to end: a call that is under way is cut off. Never blocks.
    pub fn stop(&self) {
        let attached = self.shared.close();
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(close) = &*attached {
            close();
        }
        drop(attached);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counter() -> (Arc<AtomicU32>, impl Fn() + Send + 'static) {
        let calls = Arc::new(AtomicU32::new(0));
        let other = Arc::clone(&calls);
        (calls, move || {
            other.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[test]
    fn a_wake_up_that_came_before_the_wait_is_not_lost() {
        let (interrupter, interrupt) = interrupt();
        interrupter.wake();
        interrupter.wake();
        assert!(interrupt.wait());
        assert!(interrupt.pause(Duration::from_millis(1)));
    }

    #[test]
    fn a_cut_closes_what_is_attached_and_stops_nothing() {
        let (interrupter, interrupt) = interrupt();
        interrupter.cut();
        let (calls, close) = counter();
        interrupt.attach(close);
        interrupter.cut();
        assert!(interrupt.wait(), "woken, and not stopped");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_stop_closes_what_is_attached_and_what_is_attached_later() {
        let (interrupter, interrupt) = interrupt();
        let (old, close_old) = counter();
        let (current, close_current) = counter();
        let (late, close_late) = counter();
        interrupt.attach(close_old);
        interrupt.attach(close_current);
        interrupter.stop();
        assert!(interrupt.is_stopped() && !interrupt.wait());
        assert!(!interrupt.pause(Duration::from_millis(1)));
        interrupt.attach(close_late);
        let calls = [old, current, late].map(|calls| calls.load(Ordering::SeqCst));
        assert_eq!(calls, [0, 1, 1]);
    }
}
