//! What a re-read or a registration changed.

use std::fmt;

use serde_json::Value;

use super::infra;
use super::model::{CimConfig, CommonInfra};
use super::problem::escaped;
use super::table::{MEMBERS, Member};

/// One setting that is now another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path.
    pub path: String,
    /// The value before, as it may be shown; empty: not set. What a change set has made of it is never shown.
    pub old: String,
    /// The value now, as it may be shown.
    pub new: String,
    /// In force already; else at the next start of CIM.
    pub at_once: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unset = |value: &str| match value {
            "" => "(not set)".to_owned(),
            value => value.to_owned(),
        };
        let (old, new) = (or_unset(&self.old), or_unset(&self.new));
        write!(f, "{}: {old} -> {new}", self.path)?;
        if !self.at_once {
            f.write_str(" (takes effect at the next start of CIM)")?;
        }
        Ok(())
    }
}

/// The value of a member of cim.json as it may be shown; empty: not set.
pub fn shown_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

/// A cim.json, and what patches have made of it.
#[derive(Debug, Clone, Copy)]
pub struct Configured<'a> {
    /// Without patches.
    pub base: &'a CimConfig,
    /// What is configured.
    pub config: &'a CimConfig,
}

impl Configured<'_> {
    fn shown(&self, member: &Member) -> String {
        let value = member.get(self.config);
        if value == member.get(self.base) {
            shown_value(&value)
        } else {
            "(by a change set)".to_owned()
        }
    }
}

/// What differs between two cim.json; `in_force` says whether a member has its new value already.
pub fn of_cim<'a>(
    old: Configured<'a>,
    new: Configured<'a>,
    in_force: impl Fn(&Member) -> bool + 'a,
) -> impl Iterator<Item = Change> + 'a {
    let differs = move |member: &&Member| member.get(old.config) != member.get(new.config);
    MEMBERS.iter().filter(differs).map(move |member| Change {
        path: member.path(),
        old: old.shown(member),
        new: new.shown(member),
        at_once: in_force(member),
    })
}

/// What differs between two common-infra.json.
pub fn of_infra<'a>(
    old: &'a CommonInfra,
    new: &'a CommonInfra,
) -> impl Iterator<Item = Change> + 'a {
    infra::MEMBERS.iter().filter_map(move |name| {
        let (was, is) = (
            infra::shown_member(old, name),
            infra::shown_member(new, name),
        );
        (was != is).then(|| Change {
            path: (*name).to_owned(),
            old: was,
            new: is,
            at_once: true,
        })
    })
}
