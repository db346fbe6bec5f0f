//! An application's event as a Kafka record (CONTRACT section 7): the key, the JSON, the time. The bytes are those of the
//! original, with `thresholdInfo` and `monitoredAttributes` besides.

use md5::{Digest, Md5};

use super::parts::{base_headers, pairs};
use crate::identity::{Identity, TmaasAnnotation};
use crate::limits::{EVENT_JSON_BYTES, EVENT_TIME_AHEAD};
use crate::logs::json;
use crate::wire::{Event, KeyValues};

/// The topic of all events.
pub const TOPIC: &str = "EVENT";

/// What all events of one pod have in common, made once for each identity.
#[derive(Debug)]
pub struct Source {
    /// `,"sourceHeaders":{…},"containerId":"`.
    middle: Box<[u8]>,
    key: [u8; 32],
}

/// An event whose JSON would have more than [`EVENT_JSON_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its JSON would have more than {EVENT_JSON_BYTES} bytes")]
pub struct TooLarge;

impl Source {
    /// For the events of the pod that `identity` describes.
    pub fn new(identity: &Identity) -> Self {
        let mut middle = b",\"sourceHeaders\":{".to_vec();
        for (name, value) in [
            ("pod_uuid", &identity.pod_uid),
            ("uhn", &identity.uhn),
            ("cnfc_uuid", &identity.cnfc_uuid),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                json::member(name, value.as_bytes(), &mut middle);
                middle.push(b',');
            }
        }
        base_headers(identity, &mut middle);
        let none = TmaasAnnotation::default();
        let tmaas = identity.tmaas.as_ref().unwrap_or(&none);
        for (name, value) in [
            ("vendorId", &tmaas.vendor_id),
            ("xgvelaId", &tmaas.xgvela_id),
            ("nfClass", &tmaas.nf_class),
            ("nfId", &tmaas.nf_id),
            ("nfServiceId", &tmaas.nf_service_id),
            ("nfServiceType", &tmaas.nf_service_type),
        ] {
            if !value.is_empty() {
                middle.push(b',');
                json::member(name, value.as_bytes(), &mut middle);
            }
        }
        middle.extend_from_slice(b"},\"containerId\":\"");
        Self {
            middle: middle.into(),
            key: key(tmaas),
        }
    }

    /// The key of all these events: `nfType:xgvelaId:nfId` as MD5, in hexadecimal digits.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Appends the value of `event`.
    ///
    /// # Errors
    /// It would be too large; what was appended until then is of no use.
    pub fn append(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let limit = out.len() + EVENT_JSON_BYTES;
        out.push(b'{');
        text("eventName", event.event_name, limit, out)?;
        out.extend_from_slice(b",\"eventTime\":");
        out.extend_from_slice(itoa::Buffer::new().format(event.event_time).as_bytes());
        let given = |text: &[u8]| !text.is_empty();
        if given(event.event_source_type) {
            out.push(b',');
            text("eventSourceType", event.event_source_type, limit, out)?;
        }
        out.extend_from_slice(b",\"managedObject\":");
        list(event.managed_object, limit, out)?;
        for (name, entries) in [
            (",\"additionalInfo\":", event.additional_info),
            (",\"thresholdInfo\":", event.threshold_info),
            (",\"stateChangeDefinition\":", event.state_change_definition),
            (",\"monitoredAttributes\":", event.monitored_attributes),
        ] {
            if !entries.is_empty() {
                out.extend_from_slice(name.as_bytes());
                list(entries, limit, out)?;
            }
        }
        out.extend_from_slice(&self.middle);
        room(event.container_id, limit, out)?;
        json::escape(event.container_id, out);
        out.push(b'"');
        for (name, value) in [
            ("sourceName", event.source_name),
            ("sourceId", event.source_id),
        ] {
            if given(value) {
                out.push(b',');
                text(name, value, limit, out)?;
            }
        }
        out.push(b'}');
        if out.len() > limit {
            return Err(TooLarge);
        }
        Ok(())
    }
}

/// The time of the record: the event's own, unless Kafka would refuse it (`message.timestamp.after.max.ms`) or take it for
/// something else (-1: none), in which case it is the time at which the event was stored. All in milliseconds since the epoch.
/// A broker that starts again forgets producers whose last record is older than `producer.id.expiration.ms` (a day): a batch of events
/// that old, sent again because its acknowledgement was lost with the broker, is there twice.
pub fn timestamp(event_time: i64, stored_ms: u64) -> i64 {
    let stored_ms = i64::try_from(stored_ms).unwrap_or(i64::MAX);
    let ahead = i64::try_from(EVENT_TIME_AHEAD.as_millis()).unwrap_or(i64::MAX);
    if event_time > 0 && event_time <= stored_ms.saturating_add(ahead) {
        event_time
    } else {
        stored_ms
    }
}

fn key(tmaas: &TmaasAnnotation) -> [u8; 32] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut hash = Md5::new();
    let parts = [&tmaas.nf_type, ":", &tmaas.xgvela_id, ":", &tmaas.nf_id];
    parts.iter().for_each(|part| hash.update(part));
    let mut key = [0; 32];
    for (digits, byte) in key.chunks_exact_mut(2).zip(hash.finalize()) {
        for (digit, half) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = HEX.get(usize::from(half)).copied().unwrap_or(b'0');
        }
    }
    key
}

/// Entries may share bytes of the buffer, so the bound is looked at before each text is written: what is taken beyond it is at
/// most one text, escaped.
fn room(text: &[u8], limit: usize, out: &[u8]) -> Result<(), TooLarge> {
    if out.len() + text.len() > limit {
        return Err(TooLarge);
    }
    Ok(())
}

fn text(name: &str, value: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    room(value, limit, out)?;
    json::member(name, value, out);
    Ok(())
}

fn list(entries: KeyValues<'_>, limit: usize, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let entries = entries.iter().map(|entry| (entry.key, entry.value));
    pairs(entries, limit, out).then_some(()).ok_or(TooLarge)
}

#[cfg(test)]
mod tests;
