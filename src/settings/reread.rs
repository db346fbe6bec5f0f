//! SIGHUP: reads the files again, and says what came of it.

use super::effect::{Told, take_effect};
use super::store::Store;
use crate::metrics::Metrics;
use crate::own_log::OwnLog;

/// Reads the files again, all or nothing; puts level and way of CIM's own log in force; logs and counts the result
/// (`cim_config_reloads_total`: `changed`, `unchanged`, `refused`).
pub fn reread(store: &Store, own_log: &OwnLog, metrics: &Metrics) {
    let what = "settings read again";
    let result = match take_effect(store, own_log, what, Told::Values, Store::reload) {
        Ok(changes) if changes.is_empty() => "unchanged",
        Ok(_) => "changed",
        Err(e) => {
            log::error!("{what}: {e}");
            "refused"
        }
    };
    metrics.config_reloads.with_label_values(&[result]).inc();
}
