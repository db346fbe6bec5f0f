//! `cim health`: asks a running CIM whether it works, for a health check in an image that has no shell.

use clap::Args;
use serde_json::Value;

use super::Exit;
use super::operations::{NoAnswer, Operations, OperationsArgs};
use crate::settings::problem::escaped;

/// Bytes of the answer: a reason for each part.
const ANSWER_BYTES: u64 = 64 << 10;

/// `cim health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where CIM is.
    #[command(flatten)]
    pub operations: OperationsArgs,
    /// Ask whether it is ready too (/readyz), not only whether it works (/healthz)
    #[arg(long)]
    pub ready: bool,
}

/// Why CIM is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers.
    #[error(transparent)]
    NoServer(#[from] NoAnswer),
    /// It says so itself.
    #[error("{reason}")]
    Unhealthy {
        /// What it says.
        reason: String,
    },
}

impl HealthError {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoServer(_) => Exit::NoServer,
            Self::Unhealthy { .. } => Exit::Failed,
        }
    }
}

/// Asks. Prints nothing when all is well.
///
/// # Errors
/// Nobody answers, or the answer is not 200.
pub fn run(args: &HealthArgs) -> Result<(), HealthError> {
    let operations = Operations::new(&args.operations);
    let path = if args.ready { "/readyz" } else { "/healthz" };
    match operations.ask(path, None, ANSWER_BYTES)? {
        (200, _) => Ok(()),
        (status, text) => Err(HealthError::Unhealthy {
            reason: reason(status, &text),
        }),
    }
}

/// What an answer other than 200 says: `/healthz` has a reason, `/readyz` one for each part.
fn reason(status: u16, text: &str) -> String {
    let answer: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(reason) = answer.get("reason").and_then(Value::as_str) {
        return escaped(reason);
    }
    let parts = answer.get("parts").and_then(Value::as_object);
    let missing: Vec<_> = parts
        .into_iter()
        .flatten()
        .filter(|(_, part)| part.get("needed") == Some(&Value::Bool(true)))
        .filter(|(_, part)| part.get("state") == Some(&Value::from("not ready")))
        .map(|(name, part)| {
            let reason = part.get("reason").and_then(Value::as_str);
            format!("{}: {}", escaped(name), escaped(reason.unwrap_or_default()))
        })
        .collect();
    match missing.is_empty() {
        true => format!("CIM answers with status {status}"),
        false => format!("not ready: {}", missing.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_reason_is_what_cim_says() {
        let part = |needed, state| json!({"needed": needed, "state": state, "reason": "gone"});
        let parts = json!({"status": "not ready", "parts": {
            "nats": part(true, "not ready"), "http": part(true, "ready"), "etcd": part(false, "not ready"),
        }});
        for (text, expected) in [
            (json!({"status": "failed", "reason": "a\u{1b}"}), "a\\u{1b}"),
            (parts, "not ready: nats: gone"),
            (json!({}), "CIM answers with status 503"),
        ] {
            assert_eq!(reason(503, &text.to_string()), expected);
        }
        assert_eq!(reason(502, "<html>"), "CIM answers with status 502");
    }
}
