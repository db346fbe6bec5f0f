//! The events that CIM raises itself (CONTRACT section 7).

/// An event of CIM's own; what it carries goes into `managedObject` and `additionalInfo` as CONTRACT section 7 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// etcd has not been reachable for `remote_svc_retry_count` seconds; once an outage.
    ConnectEtcdFailure {
        /// What failed.
        error: String,
    },
    /// A change set took effect.
    ConfigUpdateSuccess {
        /// The commit key.
        commit_key: String,
    },
    /// The application had no use for a change set.
    ConfigUpdateUnused,
    /// A change set did not take effect.
    ConfigUpdateFailure,
    /// etcd has taken a commit.
    CommitConfigSuccess {
        /// The commit key.
        commit_key: String,
    },
    /// etcd has not taken a commit; once for each commit.
    CommitConfigFailure {
        /// The commit key.
        commit_key: String,
        /// What failed.
        error: String,
    },
    /// The application did not load its first configuration.
    LoadConfigRequestFailure {
        /// The value in etcd was no JSON object: the application was not asked.
        not_an_object: bool,
    },
    /// The application was told to stop.
    ApplicationShutdownInitiated {
        /// It said that it would.
        success: bool,
        /// `terminated` (SIGTERM) or `interrupt` (SIGINT).
        signal: &'static str,
    },
}
