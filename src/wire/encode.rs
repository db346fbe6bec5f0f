//! Encoders: for CIM's own log, for `cim emit`, and for tests.

use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, VOffsetT, WIPOffset};

use super::log_message::{CONTAINER_ID, CONTAINER_NAME, PAYLOAD};

/// The place of field `id` in a vtable, as the builder wants it.
const fn slot(id: u16) -> VOffsetT {
    4 + 2 * id
}

/// Encodes a `LogMessage`; the buffer is `builder.finished_data()`. An earlier buffer in `builder` is replaced.
/// The three together must stay far below 2 GiB (a NATS payload has 1 MiB).
pub fn encode_log(
    container_name: &[u8],
    container_id: &[u8],
    payload: &[u8],
    builder: &mut FlatBufferBuilder<'_>,
) {
    builder.reset();
    let id = builder.create_byte_string(container_id);
    let name = builder.create_byte_string(container_name);
    let payload = builder.create_byte_string(payload);
    let table = builder.start_table();
    builder.push_slot_always(slot(PAYLOAD), payload);
    builder.push_slot_always(slot(CONTAINER_NAME), name);
    builder.push_slot_always(slot(CONTAINER_ID), id);
    let root = builder.end_table(table);
    builder.finish_minimal(root);
}

/// The fields of an `Event` to encode. Empty ones are left out.
#[derive(Debug, Clone, Default)]
pub struct EventFields<'a> {
    /// What happened.
    pub event_name: &'a [u8],
    /// Milliseconds since the epoch.
    pub event_time: i64,
    /// Id of the container.
    pub container_id: &'a [u8],
    /// What it happened to.
    pub managed_object: &'a [(&'a [u8], &'a [u8])],
    /// Further facts.
    pub additional_info: &'a [(&'a [u8], &'a [u8])],
    /// Thresholds that were crossed.
    pub threshold_info: &'a [(&'a [u8], &'a [u8])],
    /// States before and after.
    pub state_change_definition: &'a [(&'a [u8], &'a [u8])],
    /// What was watched.
    pub monitored_attributes: &'a [(&'a [u8], &'a [u8])],
    /// Id of the source.
    pub source_id: &'a [u8],
    /// Name of the source.
    pub source_name: &'a [u8],
    /// Kind of the source.
    pub event_source_type: &'a [u8],
}

/// Encodes an `Event`; the buffer is `builder.finished_data()`. An earlier buffer in `builder` is replaced.
pub fn encode_event(event: &EventFields<'_>, builder: &mut FlatBufferBuilder<'_>) {
    builder.reset();
    let strings = [
        (0, event.event_name),
        (2, event.container_id),
        (8, event.source_id),
        (9, event.source_name),
        (10, event.event_source_type),
    ]
    .map(|(id, text)| {
        let offset = (!text.is_empty()).then(|| builder.create_byte_string(text));
        (id, offset)
    });
    let lists = [
        (3, event.managed_object),
        (4, event.additional_info),
        (5, event.threshold_info),
        (6, event.state_change_definition),
        (7, event.monitored_attributes),
    ]
    .map(|(id, entries)| {
        if entries.is_empty() {
            return (id, None);
        }
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| key_value(key, value, builder))
            .collect();
        (id, Some(builder.create_vector(&entries)))
    });
    let table = builder.start_table();
    builder.push_slot(slot(1), event.event_time, 0);
    for (id, offset) in strings {
        if let Some(offset) = offset {
            builder.push_slot_always(slot(id), offset);
        }
    }
    for (id, offset) in lists {
        if let Some(offset) = offset {
            builder.push_slot_always(slot(id), offset);
        }
    }
    let root = builder.end_table(table);
    builder.finish_minimal(root);
}

fn key_value(
    key: &[u8],
    value: &[u8],
    builder: &mut FlatBufferBuilder<'_>,
) -> WIPOffset<TableFinishedWIPOffset> {
    let key = builder.create_byte_string(key);
    let value = builder.create_byte_string(value);
    let table = builder.start_table();
    builder.push_slot_always(slot(1), value);
    builder.push_slot_always(slot(0), key);
    builder.end_table(table)
}
