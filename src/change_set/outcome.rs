//! How a change set ended.

use super::answer::Status;

/// How a change set ended, for metrics and the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The application says that it took effect.
    Success,
    /// The application says that it had no use for it.
    Unused,
    /// The application says that it failed.
    Failure,
    /// The application has accepted it, and not answered in time.
    NoAnswer,
    /// The application has answered the POST with 400 or above.
    Rejected,
    /// The POST has timed out or its connection has broken.
    Broken,
    /// The application has refused connections for too long.
    Unreachable,
    /// CIM has applied it to itself.
    SelfApplied,
    /// CIM could not apply it to itself.
    SelfRefused,
    /// etcd refused the commit until a newer change set was there.
    Superseded,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Unused,
        Self::Failure,
        Self::NoAnswer,
        Self::Rejected,
        Self::Broken,
        Self::Unreachable,
        Self::SelfApplied,
        Self::SelfRefused,
        Self::Superseded,
    ];

    /// Its name in metrics and in the history.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Unused => "unused",
            Self::Failure => "failure",
            Self::NoAnswer => "no_answer",
            Self::Rejected => "rejected",
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::SelfApplied => "self_applied",
            Self::SelfRefused => "self_refused",
            Self::Superseded => "superseded",
        }
    }

    /// It in words, for a log line.
    pub fn text(self) -> &'static str {
        match self {
            Self::Success => "has taken effect",
            Self::Unused => "is not used by the application",
            Self::Failure => "has failed: the application says so",
            Self::NoAnswer => "has failed: the application has not answered on CONFIG in time",
            Self::Rejected => "has failed: the application does not accept it",
            Self::Broken => "has failed: the application has not answered the POST",
            Self::Unreachable => "has failed: the application cannot be reached",
            Self::SelfApplied => "has taken effect in CIM",
            Self::SelfRefused => "has failed: it changes nothing in CIM",
            Self::Superseded => "has no commit: etcd refuses it, and a newer change set waits",
        }
    }

    /// The change set did what it should, or nothing was to be done.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::Unused | Self::SelfApplied)
    }

    pub(super) fn of_answer(status: Status) -> Self {
        match status {
            Status::Success => Self::Success,
            Status::Unused => Self::Unused,
            Status::Failure => Self::Failure,
        }
    }
}
