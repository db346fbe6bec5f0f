//! `cim emit config`: an answer to a change set on CONFIG (CONTRACT section 2).

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{EmitError, Publisher};
use crate::change_set::key::ChangeSetKey;

/// `cim emit config`.
#[derive(Debug, Args)]
pub struct EmitConfigArgs {
    /// The whole key of the change set
    #[arg(value_name = "KEY")]
    key: String,
    /// What became of it
    #[arg(long, value_enum, value_name = "STATUS", default_value = "success")]
    status: StatusArg,
    /// What there is to say about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    remarks: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusArg {
    Success,
    Failure,
    Unused,
}

impl EmitConfigArgs {
    fn payload(&self) -> Result<String, EmitError> {
        let key = ChangeSetKey::parse(&self.key).map_err(|source| EmitError::Key {
            key: self.key.clone(),
            source,
        })?;
        let status = match self.status {
            StatusArg::Success => "success",
            StatusArg::Failure => "failure",
            StatusArg::Unused => "unused",
        };
        let answer = json!({
            "change-set-key": key.text(),
            "revision": key.revision(),
            "status": status,
            "remarks": self.remarks,
        });
        Ok(answer.to_string())
    }
}

pub(super) fn publish(args: &EmitConfigArgs, to: &mut Publisher<'_>) -> Result<(), EmitError> {
    to.publish("CONFIG", args.payload()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change_set::answer::{ConfigAnswer, Status};

    #[test]
    fn cim_reads_what_is_published() {
        let key = "change-set/n/m/v/ms/app.json/07";
        let args = EmitConfigArgs {
            key: key.to_owned(),
            status: StatusArg::Unused,
            remarks: "not \"mine\"".to_owned(),
        };
        let answer = ConfigAnswer::parse(args.payload().unwrap().as_bytes()).unwrap();
        let key = ChangeSetKey::parse(key).unwrap();
        assert!(answer.is_for(&key) && !answer.names_another_revision(&key));
        assert_eq!(
            (answer.status, answer.remarks.as_str()),
            (Status::Unused, "not \"mine\"")
        );
        let bad = EmitConfigArgs {
            key: "x".to_owned(),
            ..args
        };
        assert!(matches!(bad.payload(), Err(EmitError::Key { .. })));
    }
}
