//! The events that CIM raises itself (CONTRACT section 7): what each carries, and its JSON as the original writes it.

use memchr::memmem;

use super::parts::{base_headers, pairs};
use crate::identity::Identity;
use crate::limits::OWN_EVENT_TEXT_BYTES;
use crate::logs::json;
use crate::settings::problem;

/// The key of every event of CIM's own.
pub const KEY: &str = "EVENT";

/// An event of CIM's own; what it carries goes into `managedObject` and `additionalInfo` as CONTRACT section 7 says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// etcd has not been reachable for `remote_svc_retry_count` seconds; once an outage.
    ConnectEtcdFailure {
        /// What failed.
        error: String,
    },
    /// Log lines go to the files instead of the TCP collector; once an outage.
    LmaasTcpFailure,
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

/// Name and value.
type Pair<'a> = (&'static str, &'a str);

impl OwnEvent {
    /// Its name: `eventName`, and its entry in `deploy/eventdef-cim.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConnectEtcdFailure { .. } => "CimConnectEtcdFailure",
            Self::LmaasTcpFailure => "LmaasTCPFailure",
            Self::ConfigUpdateSuccess { .. } => "CimConfigUpdateSuccess",
            Self::ConfigUpdateUnused => "CimConfigUpdateUnused",
            Self::ConfigUpdateFailure => "CimConfigUpdateFailure",
            Self::CommitConfigSuccess { .. } => "CimCommitConfigSuccess",
            Self::CommitConfigFailure { .. } => "CimCommitConfigFailure",
            Self::LoadConfigRequestFailure { .. } => "LoadConfigRequestFailure",
            Self::ApplicationShutdownInitiated { .. } => "ApplicationShutdownInitiated",
        }
    }

    fn managed_object(&self) -> Vec<Pair<'_>> {
        match self {
            Self::ConnectEtcdFailure { .. } => vec![
                ("Description", "Connect Etcd Failure"),
                ("STATUS", "Failure"),
            ],
            Self::LmaasTcpFailure => vec![
                ("Description", "TCP connection with fluentbit is DOWN"),
                ("STATUS", "FAILURE"),
            ],
            Self::ConfigUpdateSuccess { .. } => vec![
                ("Description", "Config update success"),
                ("STATUS", "SUCCESS"),
            ],
            Self::ConfigUpdateUnused => vec![("Update_Config_Status", "UNUSED")],
            Self::ConfigUpdateFailure => vec![("Update_Config_Status", "FAIL")],
            Self::CommitConfigSuccess { .. } => vec![("Update_Etcd_Commit_Status", "SUCCESS")],
            Self::CommitConfigFailure { commit_key, .. } => vec![
                ("Update_Etcd_Commit_Status", "FAIL"),
                ("Commit_Keys", commit_key),
            ],
            Self::LoadConfigRequestFailure { .. } => vec![("Load_Config_Request", "FAIL")],
            Self::ApplicationShutdownInitiated { .. } => Vec::new(),
        }
    }

    fn additional_info(&self) -> Vec<Pair<'_>> {
        match self {
            Self::ConnectEtcdFailure { error } | Self::CommitConfigFailure { error, .. } => {
                vec![("Error", error)]
            }
            // The space at the end of the name is the original's.
            Self::LmaasTcpFailure => {
                vec![("ACTION_IN_PROGRESS ", "CIM writing logs to the file")]
            }
            Self::ConfigUpdateSuccess { commit_key } | Self::CommitConfigSuccess { commit_key } => {
                vec![("Commit_Keys", commit_key)]
            }
            Self::ConfigUpdateUnused => vec![
                ("Error", "Config patch unused"),
                ("Action", "Check Patch Path and Patch Version"),
            ],
            Self::ConfigUpdateFailure => vec![
                ("Error", "Config patch failed"),
                ("Action", "Update Changes Manually"),
            ],
            Self::LoadConfigRequestFailure { not_an_object } => vec![
                ("Error", "Config load failed"),
                (
                    "Action",
                    if *not_an_object {
                        "Load config failed"
                    } else {
                        "Load Changes Manually"
                    },
                ),
            ],
            Self::ApplicationShutdownInitiated { success, signal } => {
                let (status, description) = if *success {
                    ("success", "Application shutdown initiated successfully")
                } else {
                    ("failure", "Application shutdown initiation failed")
                };
                vec![
                    ("status", status),
                    ("reason", "cim_termination"),
                    ("signal", signal),
                    ("description", description),
                ]
            }
        }
    }

    /// The record's value, byte for byte as the original writes it. `time_ms`: milliseconds since the epoch. A text of more
    /// than [`OWN_EVENT_TEXT_BYTES`] is cut.
    pub fn json(&self, identity: &Identity, time_ms: i64) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.push(b'{');
        json::member("eventName", self.name().as_bytes(), &mut out);
        out.extend_from_slice(format!(",\"eventTime\":{time_ms},\"managedObject\":").as_bytes());
        pairs(bounded(&self.managed_object()), usize::MAX, &mut out);
        let additional = self.additional_info();
        if !additional.is_empty() {
            out.extend_from_slice(b",\"additionalInfo\":");
            pairs(bounded(&additional), usize::MAX, &mut out);
        }
        out.extend_from_slice(HEADERS);
        base_headers(identity, &mut out);
        out.extend_from_slice(BEHIND_HEADERS);
        json::member("containerId", identity.container_id.as_bytes(), &mut out);
        out.push(b'}');
        out
    }
}

/// What is before the headers, and what is behind them. In a text each quote has a backslash: neither is ever part of one.
const HEADERS: &[u8] = b",\"sourceHeaders\":{";
const BEHIND_HEADERS: &[u8] = b"},";

/// Appends `value`, made by [`OwnEvent::json`], as an event of whoever `identity` describes: one that was raised before Kubernetes
/// answered does not have all of it.
pub fn with_headers(value: &[u8], identity: &Identity, out: &mut Vec<u8>) {
    let parts = memmem::find(value, HEADERS).and_then(|at| {
        let (head, rest) = value.split_at_checked(at + HEADERS.len())?;
        let end = memmem::rfind(rest, b"},\"containerId\":")?;
        Some((head, rest.get(end..)?))
    });
    let Some((head, tail)) = parts else {
        return out.extend_from_slice(value);
    };
    out.extend_from_slice(head);
    base_headers(identity, out);
    out.extend_from_slice(tail);
}

/// The pairs of a list, each value cut at [`OWN_EVENT_TEXT_BYTES`].
fn bounded<'a>(list: &'a [Pair<'a>]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    list.iter().map(|(name, value)| {
        let value = problem::cut(value, OWN_EVENT_TEXT_BYTES);
        (name.as_bytes(), value.as_bytes())
    })
}

#[cfg(test)]
mod tests;
