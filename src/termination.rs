//! How CIM ends (CONTRACT section 10), as a state machine without a clock, a socket or a thread.
//!
//! ```text
//! signal ──> ask Kubernetes ──> tell the application ──200──> wait for its event, or the grace ──> stop
//!                                        └──anything else────────────────────────────────────────────^
//! a part of CIM failed, the application is gone for good ──> stop
//! ```
//!
//! The grace is what really remains. Kubernetes sets `deletionTimestamp` to the moment when it ends; a preStop hook, for
//! instance, has used a part of it before the signal comes. Without one it is counted from the signal.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::events::{AppSignal, OwnEvent};
use crate::kube::Pod;
use crate::limits::{
    GRACE_DEFAULT, GRACE_LONGEST, GRACE_RESERVE, POD_STATE_TIME, SHUTDOWN_ANSWER_TIME,
    SHUTDOWN_ANSWER_TIME_LEAST,
};

/// A signal that ends CIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl EndSignal {
    /// Its name in the event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminated",
            Self::Interrupt => "interrupt",
        }
    }
}

/// What Kubernetes says about the end of this pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// `metadata.deletionTimestamp`, seconds since the epoch: when the grace ends. `None`: the pod is not being deleted.
    pub deletion_s: Option<i64>,
    /// `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_s: Option<i64>,
    /// `spec.terminationGracePeriodSeconds`.
    pub termination_grace_s: Option<i64>,
}

impl From<&Pod> for PodEnd {
    fn from(pod: &Pod) -> Self {
        Self {
            deletion_s: pod.deletion_timestamp.map(|at| at.timestamp()),
            deletion_grace_s: pod.deletion_grace_seconds,
            termination_grace_s: pod.termination_grace_seconds,
        }
    }
}

impl PodEnd {
    fn is_deleted(&self) -> bool {
        self.deletion_s.is_some() || self.deletion_grace_s.is_some()
    }

    /// When the pod is killed, for a signal that came at `signal`; `wall` and `now` are the same moment.
    fn killed_at(&self, signal: Instant, now: Instant, wall: SystemTime) -> Instant {
        let grace = self.deletion_grace_s.or(self.termination_grace_s);
        let grace = grace.map_or(GRACE_DEFAULT, seconds).min(GRACE_LONGEST);
        let Some(deletion_s) = self.deletion_s else {
            return signal + grace;
        };
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let remains = seconds(deletion_s).saturating_sub(wall);
        // More than the whole grace cannot remain: the clocks of this node and of Kubernetes differ then.
        let most = match self.deletion_grace_s {
            Some(_) => grace,
            None => GRACE_LONGEST,
        };
        now + remains.min(most)
    }
}

/// A number of seconds from outside: negative ones are none.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A signal came. A second one ends the wait for the application.
    Signal(EndSignal),
    /// The answer to [`Action::GetPod`]. `None`: Kubernetes could not be asked.
    Pod {
        /// What it says.
        pod: Option<PodEnd>,
        /// The time of day at which the answer came.
        wall: SystemTime,
    },
    /// The answer to [`Action::PostShutdown`]: true for status 200 alone.
    Shutdown(bool),
    /// The application raised an event.
    App(AppSignal),
    /// A part of CIM has failed: CIM cannot go on.
    Fatal,
    /// The application has done its work and is gone (`CIM_END_AFTER_APP`): the pod completes.
    AppGone,
    /// Time has passed, up to [`Termination::wait_until`] perhaps.
    Time,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask Kubernetes for this pod; [`Input::Pod`] is wanted within the time.
    GetPod {
        /// What the call may take.
        timeout: Duration,
    },
    /// Tell the application to shut down; [`Input::Shutdown`] is wanted within the time.
    PostShutdown {
        /// What the call may take.
        timeout: Duration,
    },
    /// Raise this event.
    Raise(OwnEvent),
    /// Store what was accepted and end. Comes once, and nothing comes after it.
    Stop {
        /// Delete the pod, so that application and sidecar start together.
        delete_pod: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No signal yet.
    Running,
    /// Kubernetes was asked.
    AskingPod,
    /// The application was told.
    Posting,
    /// The application has agreed.
    Waiting,
    /// All is said.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub struct Termination {
    in_pod: bool,
    delete_pod: bool,
    state: State,
    /// The first signal, and when it came.
    signal: Option<(EndSignal, Instant)>,
    /// What Kubernetes has said.
    pod: Option<PodEnd>,
    killed_at: Option<Instant>,
    /// When the present state ends by itself.
    until: Option<Instant>,
    /// Nothing is to be waited for any more: a second signal, or the application's event, came before its HTTP answer.
    no_wait: bool,
    /// The application is gone for good.
    app_gone: bool,
}

impl Termination {
    /// `in_pod`: there is a Kubernetes to ask. `delete_pod`: the setting `CIM_DELETE_POD`.
    pub fn new(in_pod: bool, delete_pod: bool) -> Self {
        Self {
            in_pod,
            delete_pod,
            state: State::Running,
            signal: None,
            pod: None,
            killed_at: None,
            until: None,
            no_wait: false,
            app_gone: false,
        }
    }

    /// When [`Input::Time`] is wanted at the latest; `None` while only other inputs can change something.
    pub fn wait_until(&self) -> Option<Instant> {
        self.until
    }

    /// When the pod's grace ends: what is still to be stored must be by then. `None` before a signal.
    pub fn killed_at(&self) -> Option<Instant> {
        self.killed_at
    }

    /// Nobody comes back under the pod's UID: Kubernetes has said that it deletes the pod, or the pod completes.
    pub fn is_pod_done(&self) -> bool {
        self.app_gone || self.pod.is_some_and(|pod| pod.is_deleted())
    }

    /// Takes in what happened at `now`.
    pub fn on(&mut self, input: Input, now: Instant) -> Vec<Action> {
        match (self.state, input) {
            (State::Stopped, _) => Vec::new(),
            (_, Input::Fatal) => vec![self.stop(true)],
            // Nobody is left to be told, and a pod that completes is not deleted: that would make it fail.
            (State::Running, Input::AppGone) => {
                self.app_gone = true;
                vec![self.stop(false)]
            }
            (State::Running, Input::Signal(signal)) => self.begin(signal, now),
            (State::AskingPod | State::Posting, Input::Signal(_)) => {
                self.no_wait = true;
                Vec::new()
            }
            (State::AskingPod, Input::Pod { pod, wall }) => self.told_of_pod(pod, now, wall),
            (State::AskingPod, Input::Time) if self.is_over(now) => {
                vec![self.post(now)]
            }
            (State::Posting, Input::Shutdown(agreed)) => self.answered(agreed, now),
            (State::Posting, Input::Time) if self.is_over(now) => self.answered(false, now),
            // An application may raise its event before it answers.
            (State::Posting, Input::App(signal)) if is_end(signal) => {
                self.no_wait = true;
                Vec::new()
            }
            (State::Waiting, Input::App(signal)) if is_end(signal) => vec![self.stop(false)],
            (State::Waiting, Input::Signal(_)) => vec![self.stop(false)],
            (State::Waiting, Input::Time) if self.is_over(now) => vec![self.stop(false)],
            // Too late, too early, or of no account here.
            (
                _,
                Input::Pod { .. }
                | Input::Shutdown(_)
                | Input::App(_)
                | Input::AppGone
                | Input::Time,
            ) => Vec::new(),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    fn begin(&mut self, signal: EndSignal, now: Instant) -> Vec<Action> {
        self.signal = Some((signal, now));
        self.killed_at = Some(now + GRACE_DEFAULT);
        if !self.in_pod {
            return vec![self.post(now)];
        }
        self.state = State::AskingPod;
        self.until = Some(now + POD_STATE_TIME);
        vec![Action::GetPod {
            timeout: POD_STATE_TIME,
        }]
    }

    fn told_of_pod(&mut self, pod: Option<PodEnd>, now: Instant, wall: SystemTime) -> Vec<Action> {
        if let (Some(pod), Some((_, signal))) = (pod, self.signal) {
            self.killed_at = Some(pod.killed_at(signal, now, wall));
        }
        self.pod = pod;
        vec![self.post(now)]
    }

    /// The end of the wait for the application.
    fn deadline(&self, now: Instant) -> Instant {
        let deadline = self.killed_at.and_then(|at| at.checked_sub(GRACE_RESERVE));
        deadline.unwrap_or(now).max(now)
    }

    fn post(&mut self, now: Instant) -> Action {
        let remains = self.deadline(now) - now;
        let timeout = remains.clamp(SHUTDOWN_ANSWER_TIME_LEAST, SHUTDOWN_ANSWER_TIME);
        self.state = State::Posting;
        // The call keeps its own time; this is for a call that does not.
        self.until = Some(now + timeout + SHUTDOWN_ANSWER_TIME_LEAST);
        Action::PostShutdown { timeout }
    }

    fn answered(&mut self, agreed: bool, now: Instant) -> Vec<Action> {
        let signal = self.signal.map_or("", |(signal, _)| signal.name());
        let mut actions = vec![Action::Raise(OwnEvent::ApplicationShutdownInitiated {
            success: agreed,
            signal,
        })];
        let deadline = self.deadline(now);
        if !agreed || self.no_wait || deadline <= now {
            actions.push(self.stop(false));
        } else {
            self.state = State::Waiting;
            self.until = Some(deadline);
        }
        actions
    }

    /// Deletes the pod only when it is known not to be deleted already. When nobody could say: a signal is most often the
    /// pod's own deletion, and a pod of the same name may already be its successor; so nothing is done. After a fatal error
    /// there was no signal, and the application must not go on alone; so it is tried.
    fn stop(&mut self, fatal: bool) -> Action {
        self.state = State::Stopped;
        self.until = None;
        let wanted = match self.pod {
            Some(pod) => !pod.is_deleted(),
            None => fatal,
        };
        Action::Stop {
            delete_pod: self.in_pod && self.delete_pod && wanted,
        }
    }
}

/// The application says that it has ended, or that it cannot.
fn is_end(signal: AppSignal) -> bool {
    match signal {
        AppSignal::ShutdownSuccess | AppSignal::ShutdownFailure => true,
        AppSignal::NotConfigured | AppSignal::Configured => false,
    }
}

#[cfg(test)]
#[path = "termination_tests.rs"]
mod tests;
