//! Messages on EVENT-NOTIFICATION (CONTRACT section 8) on their way to the application, and how far they are.
//!
//! The thread that reads them from Kafka holds the [`Notifier`], whoever publishes on NATS the [`Outlet`]. A message is *delivered*
//! when every client that was subscribed has it in its socket, or has gone: from then on a kill of CIM loses it no more. While nobody
//! is subscribed messages wait: in core NATS a message without a subscriber is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::limits::{NOTIFICATION_BYTES, NOTIFICATIONS};

/// The subject.
pub const SUBJECT: &str = "EVENT-NOTIFICATION";

#[derive(Default)]
struct Shared {
    is_heard: AtomicBool,
    delivered: AtomicU64,
}

/// The side that has messages. They are numbered from 1.
pub struct Notifier {
    to: Sender<Vec<u8>>,
    shared: Arc<Shared>,
    moved: Receiver<()>,
    wake: Box<dyn Fn() + Send>,
    bytes_max: usize,
    sent: u64,
    /// Bytes of those that are not delivered, oldest first.
    under_way: VecDeque<usize>,
    bytes: usize,
}

/// The side that publishes them.
pub struct Outlet {
    from: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    moved: Sender<()>,
}

/// Both sides. `wake`: tells whoever holds the outlet that something is there; must not block. `bytes_max`: of one payload.
pub fn notifications(bytes_max: usize, wake: impl Fn() + Send + 'static) -> (Notifier, Outlet) {
    let (to, from) = bounded(NOTIFICATIONS);
    let (moved_in, moved) = bounded(1);
    let shared = Arc::new(Shared::default());
    let notifier = Notifier {
        to,
        shared: Arc::clone(&shared),
        moved,
        wake: Box::new(wake),
        bytes_max,
        sent: 0,
        under_way: VecDeque::new(),
        bytes: 0,
    };
    let outlet = Outlet {
        from,
        shared,
        moved: moved_in,
    };
    (notifier, outlet)
}

impl Notifier {
    /// Bytes of the largest message that can be published.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Somebody is subscribed.
    pub fn is_heard(&self) -> bool {
        self.shared.is_heard.load(SeqCst)
    }

    /// Hands a message over and returns its number.
    ///
    /// # Errors
    /// There is no room until something has been delivered: `payload` comes back.
    pub fn send(&mut self, payload: Vec<u8>) -> Result<u64, Vec<u8>> {
        self.delivered();
        let bytes = payload.len();
        let is_full = !self.under_way.is_empty() && self.bytes + bytes > NOTIFICATION_BYTES;
        if is_full || self.under_way.len() >= NOTIFICATIONS {
            return Err(payload);
        }
        match self.to.try_send(payload) {
            Ok(()) => {
                self.sent += 1;
                self.under_way.push_back(bytes);
                self.bytes += bytes;
                (self.wake)();
                Ok(self.sent)
            }
            Err(TrySendError::Full(payload) | TrySendError::Disconnected(payload)) => Err(payload),
        }
    }

    /// The number of the last message handed over.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// All messages up to this number are delivered.
    pub fn delivered(&mut self) -> u64 {
        let delivered = self.shared.delivered.load(SeqCst);
        while self.sent - (self.under_way.len() as u64) < delivered {
            let Some(bytes) = self.under_way.pop_front() else {
                break;
            };
            self.bytes -= bytes;
        }
        delivered
    }

    /// Something was delivered, or somebody has subscribed or gone, since the last word here: for a `select!`.
    pub fn moved(&self) -> &Receiver<()> {
        &self.moved
    }
}

impl Outlet {
    /// The next message. They are to be published, and counted, in this order.
    pub fn next(&self) -> Option<Vec<u8>> {
        self.from.try_recv().ok()
    }

    /// Nothing waits to be published.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }

    /// Says whether somebody is subscribed.
    pub fn set_heard(&self, is_heard: bool) {
        if self.shared.is_heard.swap(is_heard, SeqCst) != is_heard {
            self.tell();
        }
    }

    /// All messages up to this number are delivered.
    pub fn set_delivered(&self, number: u64) {
        if self.shared.delivered.swap(number, SeqCst) != number {
            self.tell();
        }
    }

    fn tell(&self) {
        // Full: the other side has yet to look.
        let _ = self.moved.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_in_bytes_and_number_until_they_are_delivered() {
        let (mut notifier, outlet) = notifications(1 << 20, || {});
        let large = vec![b'x'; NOTIFICATION_BYTES / 2];
        assert_eq!(notifier.send(large.clone()), Ok(1));
        assert_eq!(notifier.send(large), Ok(2));
        assert_eq!(notifier.send(b"more".to_vec()), Err(b"more".to_vec()));
        outlet.set_delivered(1);
        assert!(notifier.moved().try_recv().is_ok());
        for number in 3..=NOTIFICATIONS as u64 {
            assert_eq!(notifier.send(Vec::new()), Ok(number));
        }
        // One of the first two is delivered, but nothing has been taken from the channel.
        assert!(notifier.send(Vec::new()).is_err());
        assert!(outlet.next().is_some() && !outlet.is_empty());
        assert!(notifier.send(Vec::new()).is_ok());
        assert_eq!(
            (notifier.delivered(), notifier.sent()),
            (1, 1 + NOTIFICATIONS as u64)
        );
    }

    #[test]
    fn one_that_is_larger_than_the_bound_goes_alone() {
        let (mut notifier, outlet) = notifications(8 << 20, || {});
        assert_eq!(notifier.send(vec![0; NOTIFICATION_BYTES + 1]), Ok(1));
        assert!(notifier.send(vec![0]).is_err());
        outlet.set_delivered(1);
        assert_eq!(notifier.send(vec![0]), Ok(2));
    }

    #[test]
    fn who_listens_is_told_once_it_changes() {
        let (notifier, outlet) = notifications(1, || {});
        assert!(!notifier.is_heard());
        outlet.set_heard(false);
        assert!(notifier.moved().is_empty());
        outlet.set_heard(true);
        assert!(notifier.is_heard() && notifier.moved().try_recv().is_ok());
    }
}
