//! SIGHUP: reads the files again, and says what came of it.

use super::change::Change;
use super::model::LogLevel;
use super::store::Store;
use crate::metrics::Metrics;
use crate::own_log::OwnLog;

/// Reads the files again, all or nothing; puts level and way of CIM's own log in force; logs and counts the result
/// (`cim_config_reloads_total`: `changed`, `unchanged`, `refused`).
pub fn reread(store: &Store, own_log: &OwnLog, metrics: &Metrics) {
    let before = store.load().cim.cim_settings.log_level;
    let result = match store.reload() {
        Ok(changes) => {
            let settings = store.load().cim.cim_settings.clone();
            // The level that lets more through is in force while the changes are told.
            let opens = rank(settings.log_level) < rank(before);
            if opens {
                own_log.apply(&settings);
            }
            tell(store, &changes);
            own_log.apply(&settings);
            if changes.is_empty() {
                "unchanged"
            } else {
                "changed"
            }
        }
        Err(e) => {
            log::error!("settings read again: {e}");
            "refused"
        }
    };
    metrics.config_reloads.with_label_values(&[result]).inc();
}

fn tell(store: &Store, changes: &[Change]) {
    if changes.is_empty() {
        log::info!("settings read again: nothing changed ({})", store.origin());
        return;
    }
    for warning in store.warnings() {
        log::warn!("{warning}");
    }
    // One record, because a call site has a bounded rate.
    let changes: Vec<_> = changes.iter().map(Change::to_string).collect();
    log::info!("settings read again: {}", changes.join("; "));
}

fn rank(level: LogLevel) -> usize {
    let place = LogLevel::NAMES.iter().position(|(_, l)| *l == level);
    place.unwrap_or_default()
}
