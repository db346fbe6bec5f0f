//! How far the data path has come: "everything up to batch N is stored".
//!
//! `nats_server` numbers the batches; `nats_subscriptions` routes each to one or more *lanes* (a lane is a first-in,
//! first-out way to storage); the writer at the end of a lane says what is done. `nats_server` asks [`Progress::stored`]
//! before it answers a PING. Nothing here is touched once a message, only once a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// A way from `nats_subscriptions` to storage on which batches stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// LOG: straight to the file writer.
    File,
    /// LOG: to the stdout writer, and from there to the file writer when stdout stands still.
    Stdout,
    /// LOG: to the log sender, and from there to the file writer when its sink is down.
    Remote,
    /// EVENT: to the journal.
    Journal,
}

const LANES: usize = 4;

impl Lane {
    const ALL: [Lane; LANES] = [Lane::File, Lane::Stdout, Lane::Remote, Lane::Journal];
}

#[derive(Debug, Default)]
struct LaneProgress {
    sent: AtomicU64,
    done: AtomicU64,
}

/// Shared counters of one stream of batches (LOG, or EVENT). All accesses are sequentially consistent: a few each batch.
pub struct Progress {
    routed: AtomicU64,
    lanes: [LaneProgress; LANES],
    /// Batches of lane Remote that `log_sender` has handed over to `file_writer`, and how many of them are written. CIM's own lines
    /// have no number of their own, so that numbers do not tell.
    handed_over: AtomicU64,
    written: AtomicU64,
    waiting: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("routed", &self.routed)
            .field("stored", &self.stored())
            .finish()
    }
}

impl Progress {
    /// `wake` is called when something moved while [`Progress::wait`] was in force; it must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            routed: AtomicU64::new(0),
            lanes: Default::default(),
            handed_over: AtomicU64::new(0),
            written: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            wake: Box::new(wake),
        })
    }

    fn lane(&self, lane: Lane) -> &LaneProgress {
        let [file, stdout, remote, journal] = &self.lanes;
        match lane {
            Lane::File => file,
            Lane::Stdout => stdout,
            Lane::Remote => remote,
            Lane::Journal => journal,
        }
    }

    /// `nats_subscriptions`: batch `seq` is about to be sent down `lane`.
    pub fn sending(&self, lane: Lane, seq: u64) {
        self.lane(lane).sent.fetch_max(seq, SeqCst);
    }

    /// `nats_subscriptions`: batch `seq` has been sent down every lane that it takes, or was disposed of.
    pub fn routed(&self, seq: u64) {
        self.routed.fetch_max(seq, SeqCst);
        self.notify();
    }

    /// A writer: every batch of `lane` up to `seq` is stored, or accounted for as dropped.
    pub fn done(&self, lane: Lane, seq: u64) {
        self.lane(lane).done.fetch_max(seq, SeqCst);
        self.notify();
    }

    /// `log_sender`: a batch is about to be handed over to `file_writer`.
    pub fn handing_over(&self) {
        self.handed_over.fetch_add(1, SeqCst);
    }

    /// `file_writer`: so many more batches that were handed over are written, or accounted for as dropped.
    pub fn wrote(&self, batches: u64) {
        self.written.fetch_add(batches, SeqCst);
    }

    /// Everything that was handed over is written.
    pub fn is_all_written(&self) -> bool {
        self.written.load(SeqCst) >= self.handed_over.load(SeqCst)
    }

    /// The last batch that is done on `lane`.
    pub fn done_on(&self, lane: Lane) -> u64 {
        self.lane(lane).done.load(SeqCst)
    }

    /// Every batch up to this number is stored, or accounted for as dropped.
    pub fn stored(&self) -> u64 {
        // `routed` first: whatever is routed by now shows in `sent` of its lane.
        let routed = self.routed.load(SeqCst);
        Lane::ALL.iter().fold(routed, |stored, &lane| {
            let lane = self.lane(lane);
            let sent = lane.sent.load(SeqCst);
            let done = lane.done.load(SeqCst);
            if done >= sent {
                stored
            } else {
                stored.min(done)
            }
        })
    }

    /// Asks for one call of `wake` at the next progress. The caller looks again at what it waits for after this call,
    /// and only then sleeps.
    pub fn wait(&self) {
        self.waiting.store(true, SeqCst);
    }

    /// Calls `wake` when somebody waits: also after room was made in a channel.
    pub fn notify(&self) {
        if self.waiting.load(SeqCst) && self.waiting.swap(false, SeqCst) {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_batch_is_stored_once_every_lane_it_took_is_done() {
        let p = Progress::new(|| {});
        p.sending(Lane::File, 1);
        p.sending(Lane::Stdout, 1);
        p.routed(1);
        assert_eq!(p.stored(), 0);
        p.done(Lane::File, 1);
        assert_eq!(p.stored(), 0);
        p.done(Lane::Stdout, 1);
        assert_eq!(p.stored(), 1);
    }

    #[test]
    fn a_later_batch_on_another_lane_does_not_hide_an_earlier_one() {
        let p = Progress::new(|| {});
        p.sending(Lane::Stdout, 1);
        p.routed(1);
        p.sending(Lane::File, 2);
        p.routed(2);
        p.done(Lane::File, 2);
        assert_eq!(p.stored(), 0);
        p.done(Lane::Stdout, 1);
        assert_eq!(p.stored(), 2);
    }

    #[test]
    fn a_batch_without_a_lane_is_stored_when_routed() {
        let p = Progress::new(|| {});
        p.routed(3);
        assert_eq!(p.stored(), 3);
    }

    #[test]
    fn batches_that_were_handed_over_count_although_they_share_a_number() {
        let p = Progress::new(|| {});
        assert!(p.is_all_written());
        p.done(Lane::Remote, 7);
        for _ in 0..2 {
            p.handing_over();
        }
        assert!(!p.is_all_written());
        p.wrote(1);
        assert!(!p.is_all_written());
        p.wrote(1);
        assert!(p.is_all_written());
    }

    #[test]
    fn one_wake_up_for_one_wait() {
        static WAKES: AtomicUsize = AtomicUsize::new(0);
        let p = Progress::new(|| {
            WAKES.fetch_add(1, SeqCst);
        });
        p.routed(1);
        p.wait();
        p.routed(2);
        p.routed(3);
        assert_eq!(WAKES.load(SeqCst), 1);
    }
}
