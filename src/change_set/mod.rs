//! Change sets (CONTRACT section 4) and the first configuration (section 5), as state machines without IO and clock.
//!
//! ```text
//! key.rs      the key of a change set, its position in the one order   answer.rs        the application's answer on CONFIG
//! memory.rs   this pod's own keys, the memory of what is done          floors.rs        what is done where no memory says so
//! wire.rs     what etcd answers, as plain values                       intake.rs        etcd -> change sets in order
//! delivery.rs one change set after the other, and its commit           outcome.rs       how it ended
//! day_one.rs  the first configuration                                  subscription.rs  the puts at registration
//! history.rs  the last change sets, for operators                      calls.rs         the calls to etcd
//! ```
//!
//! The machines are made to be driven by two threads that block. One reads and watches:
//!
//! ```text
//! loop {
//!     match intake.step() {
//!         ReadOwn        => answer: intake.on_own             no answer: intake.on_read_failed, pause with back-off
//!         ReadPrefix{..} => answer: intake.on_page, send on   no answer: intake.on_read_failed, pause with back-off
//!         Watch{start}   => open the stream; for each frame: intake.on_frame, send on;
//!                           until the stream ends or intake.step() is no Watch: intake.on_break, pause with back-off
//!     }
//! }
//! ```
//!
//! "Send on" blocks while the channel is full; that holds the reads back, and nothing grows. The pause is the first one again
//! after a frame with events, not after a read: a member of the cluster that lags makes CIM read each time it is watched.
//!
//! The other one delivers:
//!
//! ```text
//! loop {
//!     for action in delivery.take_actions() {
//!         Post(c)      => outcome = app.post(c); for each answer that waits: delivery.on_answer; delivery.on_post(outcome)
//!         ApplySelf(c) => delivery.on_self(settings.patch(c))
//!         Commit(c)    => delivery.on_commit(etcd.transaction(c))
//!         Raise(e), Finished(f) => events, metrics, history
//!     }                                                      // again while there are actions
//!     select {
//!         an answer on CONFIG                             => delivery.on_answer
//!         a change set, if delivery.wants_change_set()    => delivery.take
//!         delivery.deadline()                             => delivery.on_tick
//!     }
//! }
//! ```
//!
//! Answers go first: one that came during the POST, or in the moment of the deadline, has come in time.

pub mod answer;
pub mod calls;
pub mod day_one;
pub mod delivery;
pub mod floors;
pub mod history;
pub mod intake;
pub mod key;
pub mod memory;
pub mod outcome;
#[cfg(test)]
mod schedules;
pub mod subscription;
#[cfg(test)]
pub(crate) mod testing;
pub mod wire;

pub use floors::StartedWith;
