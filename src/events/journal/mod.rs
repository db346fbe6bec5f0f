//! The journal: events on disk until their sink has them.

/// When what was written is synchronised with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// By the kernel, when it likes: a crash of the machine can lose the last seconds, a crash of CIM nothing.
    Never,
    /// Once a second.
    Interval,
    /// Before a record counts as stored.
    Always,
}

impl Fsync {
    /// Every policy with its name in `CIM_JOURNAL_FSYNC`.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("never", Self::Never),
        ("interval", Self::Interval),
        ("always", Self::Always),
    ];
}
