//! The registry as bytes: the file `subscriptions.json`, replaced whole.
//!
//! ```text
//! {"version":1,"era":3,"position":{"ends":{"0":17},"joined":true},
//!  "subscriptions":[{"id":"360022","filter":{"localEventName":["E3"]}}, …]}
//! ```
//!
//! `era`: the number of this era or, without subscriptions, of the last one. `position`: see [`Position`]; `ends` may be `null`.
//! `subscriptions`: oldest first.

use serde::{Deserialize, Serialize};

use super::registry::{Registry, Subscription, is_id};
use super::{Filter, Position, StoredError};
use crate::limits::{SUBSCRIPTIONS, SUBSCRIPTIONS_BYTES};

const VERSION: u64 = 1;

/// Looked at first, so that a later version is called so.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u64,
    era: u64,
    position: Position,
    subscriptions: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    filter: Filter,
}

/// The file's content.
///
/// # Errors
/// None that is known: there are only texts and numbers in it.
pub fn encode(registry: &Registry) -> Result<Vec<u8>, serde_json::Error> {
    let entry = |s: &Subscription| Entry {
        id: s.id.clone(),
        filter: s.filter.clone(),
    };
    let text = Text {
        version: VERSION,
        era: registry.last_era,
        position: registry.position.clone(),
        subscriptions: registry.subscriptions.iter().map(entry).collect(),
    };
    let mut bytes = serde_json::to_vec(&text)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads what [`encode`] has written.
///
/// # Errors
/// It is something else.
pub fn decode(bytes: &[u8]) -> Result<Registry, StoredError> {
    let json = |error: serde_json::Error| StoredError::Json(error.to_string());
    let Head { version } = serde_json::from_slice(bytes).map_err(json)?;
    if version != VERSION {
        return Err(StoredError::Version(version));
    }
    let text: Text = serde_json::from_slice(bytes).map_err(json)?;
    let has_any = !text.subscriptions.is_empty();
    if text.subscriptions.len() > SUBSCRIPTIONS {
        return Err(StoredError::Value("number of subscriptions"));
    }
    if has_any && text.era == 0 || text.era == u64::MAX {
        return Err(StoredError::Value("era"));
    }
    if !has_any && text.position != Position::default() {
        return Err(StoredError::Value("position"));
    }
    let mut registry = Registry {
        last_era: text.era,
        position: text.position,
        subscriptions: Vec::with_capacity(text.subscriptions.len()),
    };
    let mut filter_bytes = 0;
    for Entry { id, filter } in text.subscriptions {
        if !is_id(&id) || registry.get(&id).is_some() {
            return Err(StoredError::Value("id"));
        }
        filter_bytes += filter.bytes();
        if filter.check().is_err() || filter_bytes > SUBSCRIPTIONS_BYTES {
            return Err(StoredError::Value("filter"));
        }
        registry.subscriptions.push(Subscription { id, filter });
    }
    Ok(registry)
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
