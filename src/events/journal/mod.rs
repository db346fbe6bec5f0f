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

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event of the application: FlatBuffers.
    Event,
    /// An event that CIM raised: JSON.
    Raised,
}

/// One record, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order of all records; the first one ever is 1.
    pub seq: u64,
    /// When it was stored, in milliseconds since the epoch.
    pub time_ms: u64,
    /// What the payload is.
    pub kind: Kind,
    /// The event.
    pub payload: Vec<u8>,
}
