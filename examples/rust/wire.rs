//! The two tables of `src/wire/cim.fbs` as the crate `flatbuffers` builds them. (`flatc --rust` generates the like; its code is `unsafe`.)

use flatbuffers::{FlatBufferBuilder, VOffsetT, WIPOffset};

/// FlatBuffers LogMessage.
pub fn log_message(container: &str, container_id: &str, line: &[u8]) -> Vec<u8> {
    let mut b = FlatBufferBuilder::with_capacity(128 + line.len());
    let (id, name) = (b.create_string(container_id), b.create_string(container));
    let line = b.create_byte_string(line);
    let table = b.start_table();
    b.push_slot_always(field(0), id);
    b.push_slot_always(field(1), name);
    b.push_slot_always(field(2), line);
    finished(b, table)
}

/// FlatBuffers Event with one managed object; `time`: milliseconds since the epoch.
pub fn event(name: &str, container_id: &str, time: i64, key: &str, value: &str) -> Vec<u8> {
    let mut b = FlatBufferBuilder::with_capacity(512);
    let (key, value) = (b.create_string(key), b.create_string(value));
    let pair = b.start_table();
    b.push_slot_always(field(0), key);
    b.push_slot_always(field(1), value);
    let pair = b.end_table(pair);
    let pairs = b.create_vector(&[pair]);
    let (name, id) = (b.create_string(name), b.create_string(container_id));
    let table = b.start_table();
    b.push_slot_always(field(0), name);
    b.push_slot_always(field(1), time);
    b.push_slot_always(field(2), id);
    b.push_slot_always(field(3), pairs);
    finished(b, table)
}

/// Where the vtable has the field with this number.
fn field(number: VOffsetT) -> VOffsetT {
    4 + 2 * number
}

fn finished(
    mut b: FlatBufferBuilder,
    table: WIPOffset<flatbuffers::TableUnfinishedWIPOffset>,
) -> Vec<u8> {
    let table = b.end_table(table);
    b.finish(table, None);
    b.finished_data().to_vec()
}
