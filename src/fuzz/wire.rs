//! The FlatBuffers that applications publish.

use flatbuffers::FlatBufferBuilder;

use crate::limits::EVENT_CONTENT_BYTES;
use crate::wire::{Event, EventFields, LogMessage, encode_event, encode_log};

/// Any buffer on LOG is refused, or read within its bounds; what was read can be written and read again.
pub fn log_message(data: &[u8]) {
    let Ok(read) = LogMessage::read(data) else {
        return;
    };
    let inside = data.as_ptr_range();
    for field in [read.container_id, read.container_name, read.payload] {
        let field = field.as_ptr_range();
        assert!(field.is_empty() || inside.start <= field.start && field.end <= inside.end);
    }
    let mut builder = FlatBufferBuilder::new();
    encode_log(
        read.container_name,
        read.container_id,
        read.payload,
        &mut builder,
    );
    assert_eq!(LogMessage::read(builder.finished_data()), Ok(read));
}

/// Any buffer on EVENT is refused, or read whole and bounded, however its entries overlap; what was read can be written
/// and read again.
pub fn event(data: &[u8]) {
    let Ok(read) = Event::read(data) else {
        return;
    };
    let lists = read.lists().map(|(_, list)| {
        let entries: Vec<_> = list.iter().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(entries.len(), list.len(), "verified, yet not read");
        entries
    });
    let bytes: usize = lists
        .iter()
        .flatten()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    assert!(bytes <= EVENT_CONTENT_BYTES);
    let [
        managed_object,
        additional_info,
        threshold_info,
        state_change_definition,
        monitored_attributes,
    ] = &lists;
    let mut builder = FlatBufferBuilder::new();
    let fields = EventFields {
        event_name: read.event_name,
        event_time: read.event_time,
        container_id: read.container_id,
        managed_object,
        additional_info,
        threshold_info,
        state_change_definition,
        monitored_attributes,
        source_id: read.source_id,
        source_name: read.source_name,
        event_source_type: read.event_source_type,
    };
    encode_event(&fields, &mut builder);
    let again = Event::read(builder.finished_data()).expect("an encoded event is valid");
    assert_eq!(
        (again.event_name, again.event_time, again.container_id),
        (read.event_name, read.event_time, read.container_id)
    );
    assert_eq!(
        (again.source_id, again.source_name, again.event_source_type),
        (read.source_id, read.source_name, read.event_source_type)
    );
    for ((name, list), wanted) in again.lists().into_iter().zip(&lists) {
        let entries: Vec<_> = list.iter().map(|entry| (entry.key, entry.value)).collect();
        assert_eq!(&entries, wanted, "{name}");
    }
}
