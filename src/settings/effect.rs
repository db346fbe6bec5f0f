//! What follows a change of the settings, whatever has caused it: level and way of CIM's own log are put in force, and
//! what changed is told.

use super::change::Change;
use super::model::LogLevel;
use super::store::Store;
use crate::own_log::OwnLog;

/// What the log says of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Each member with its old and its new value.
    Values,
    /// The names of the members alone: values of a change set never reach a log line.
    Names,
}

/// Makes `change` on the store, puts level and way of CIM's own log in force, and logs what changed as `what`.
///
/// # Errors
/// That of `change`; nothing is logged then.
pub fn take_effect<E>(
    store: &Store,
    own_log: &OwnLog,
    what: &str,
    told: Told,
    change: impl FnOnce(&Store) -> Result<Vec<Change>, E>,
) -> Result<Vec<Change>, E> {
    let before = store.load().cim.cim_settings.log_level;
    let changes = change(store)?;
    let settings = store.load().cim.cim_settings.clone();
    // The level that lets more through is in force while the changes are told.
    if rank(settings.log_level) < rank(before) {
        own_log.apply(&settings);
    }
    tell(store, what, told, &changes);
    own_log.apply(&settings);
    Ok(changes)
}

fn tell(store: &Store, what: &str, told: Told, changes: &[Change]) {
    if changes.is_empty() {
        log::info!("{what}: nothing changed ({})", store.origin());
        return;
    }
    if told == Told::Values {
        for warning in store.warnings() {
            log::warn!("{warning}");
        }
    }
    // One record, because a call site has a bounded rate.
    let changes: Vec<_> = changes.iter().map(|change| told.text(change)).collect();
    log::info!("{what}: {}", changes.join("; "));
}

impl Told {
    fn text(self, change: &Change) -> String {
        match (self, change.at_once) {
            (Self::Values, _) => change.to_string(),
            (Self::Names, true) => change.path.clone(),
            (Self::Names, false) => format!("{} (at the next start of CIM)", change.path),
        }
    }
}

fn rank(level: LogLevel) -> usize {
    let place = LogLevel::NAMES.iter().position(|(_, l)| *l == level);
    place.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_change_set_changed_is_told_without_values() {
        let change = |at_once| Change {
            path: "cimConfig.cim_settings.kafka_client_id".to_owned(),
            old: "hunter1".to_owned(),
            new: "hunter2".to_owned(),
            at_once,
        };
        for at_once in [true, false] {
            let text = Told::Names.text(&change(at_once));
            assert!(text.starts_with("cimConfig.cim_settings.kafka_client_id"));
            assert!(!text.contains("hunter"), "{text}");
            assert_eq!(text.contains("next start"), !at_once);
            assert!(
                Told::Values
                    .text(&change(at_once))
                    .contains("hunter1 -> hunter2")
            );
        }
    }
}
