//! The readers on the original's own buffers, on what the encoders make, and on damaged bytes.

use flatbuffers::FlatBufferBuilder;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/golden/1-inputs/", $name, ".fb"))
    };
}

const EVENT_TIME: i64 = 1_767_225_600_123;
const EVENTS: [&[u8]; 5] = [
    golden!("event_full"),
    golden!("event_minimal"),
    golden!("event_no_managed_object"),
    golden!("event_empty_lists"),
    golden!("event_name_not_utf8"),
];
const LOGS: [&[u8]; 2] = [golden!("log_message"), golden!("log_message_not_utf8")];

fn log(name: &[u8], id: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    encode_log(name, id, payload, &mut builder);
    builder.finished_data().to_vec()
}

fn pairs(list: KeyValues<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    assert_eq!(list.iter().count(), list.len());
    list.iter()
        .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
        .collect()
}

fn text(list: KeyValues<'_>) -> Vec<(String, String)> {
    pairs(list)
        .into_iter()
        .map(|(key, value)| {
            (
                String::from_utf8(key).unwrap(),
                String::from_utf8(value).unwrap(),
            )
        })
        .collect()
}

fn expected(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Reads everything there is, whatever the buffer; returns whether it was understood.
fn touch(buf: &[u8]) -> (bool, bool) {
    let inside = |part: &[u8]| {
        part.is_empty()
            || (buf.as_ptr_range().start <= part.as_ptr()
                && part.as_ptr_range().end <= buf.as_ptr_range().end)
    };
    let log = LogMessage::read(buf).is_ok_and(|log| {
        assert!(inside(log.container_id) && inside(log.container_name) && inside(log.payload));
        true
    });
    let event = Event::read(buf).is_ok_and(|event| {
        for (_, list) in event.lists() {
            assert_eq!(list.iter().count(), list.len());
            assert!(
                list.iter()
                    .all(|entry| inside(entry.key) && inside(entry.value))
            );
        }
        true
    });
    (log, event)
}

#[test]
fn log_messages_of_the_original_are_read() {
    let id: &[u8] = b"0123456789ab";
    let lines: [&[u8]; 2] = [b"hello golden line 1", b"bytes \xff\xfe\x80 not utf-8 \xc3"];
    for (buf, payload) in LOGS.into_iter().zip(lines) {
        let expected = LogMessage {
            container_id: id,
            container_name: b"app",
            payload,
        };
        assert_eq!(LogMessage::read(buf), Ok(expected));
    }
}

#[test]
fn a_full_event_of_the_original_is_read() {
    let event = Event::read(EVENTS[0]).unwrap();
    assert_eq!(event.event_name, b"GoldenEvent");
    assert_eq!(event.event_time, EVENT_TIME);
    assert_eq!(event.container_id, b"0123456789ab");
    assert_eq!(event.source_id, b"src-id-1");
    assert_eq!(event.source_name, b"src-name-1");
    assert_eq!(event.event_source_type, b"src-type-1");
    assert_eq!(
        text(event.managed_object),
        expected(&[("mo1", "v1"), ("mo2", "v2 <&> \"q\" é")])
    );
    assert_eq!(
        text(event.additional_info),
        expected(&[("ai1", "a1"), ("ai2", "a2")])
    );
    assert_eq!(
        text(event.threshold_info),
        expected(&[("th1", "t1"), ("th2", "t2")])
    );
    assert_eq!(
        text(event.state_change_definition),
        expected(&[("sc1", "s1"), ("sc2", "s2")])
    );
    assert_eq!(
        text(event.monitored_attributes),
        expected(&[("ma1", "m1"), ("ma2", "m2")])
    );
}

#[test]
fn absent_fields_of_the_originals_events_are_empty() {
    let names: [&[u8]; 4] = [
        b"GoldenMinimal",
        b"GoldenNoManagedObject",
        b"GoldenEmptyLists",
        b"Bad\xff",
    ];
    for (buf, name) in EVENTS.into_iter().skip(1).zip(names) {
        let event = Event::read(buf).unwrap();
        assert_eq!(event.event_name, name);
        assert_eq!(
            event.event_time,
            if name == b"Bad\xff" { 0 } else { EVENT_TIME }
        );
        assert!(event.container_id.is_empty() && event.source_id.is_empty());
        let entries: usize = event.lists().iter().map(|(_, list)| list.len()).sum();
        assert_eq!(entries, usize::from(name == b"GoldenMinimal"));
    }
}

#[test]
fn a_message_without_any_field_is_empty() {
    // Root at 8; its vtable at 4 has no field.
    let buf = [8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0];
    let empty = LogMessage {
        container_id: b"",
        container_name: b"",
        payload: b"",
    };
    assert_eq!(LogMessage::read(&buf), Ok(empty));
    assert!(
        Event::read(&buf)
            .unwrap()
            .lists()
            .iter()
            .all(|(_, list)| list.is_empty())
    );
}

#[test]
fn bytes_after_the_data_are_allowed() {
    let mut buf = LOGS[0].to_vec();
    buf.extend_from_slice(&[0xff; 100]);
    assert_eq!(LogMessage::read(&buf), LogMessage::read(LOGS[0]));
}

#[test]
fn malformed_buffers_are_errors() {
    let ones = [0xff; 64];
    let zeros = [0; 64];
    // A vtable that would begin before the buffer, one beyond it, one longer than the buffer.
    let before = [4, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0];
    let beyond = [4, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let lowest = [4, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0];
    let long = [8, 0, 0, 0, 0xff, 0xff, 4, 0, 4, 0, 0, 0];
    let cases: [(&str, &[u8]); 11] = [
        ("empty", b""),
        ("one byte", b"x"),
        ("three bytes", b"xyz"),
        ("text", b"this is a plain line of text, no FlatBuffer"),
        ("all ones", &ones),
        ("all zeros", &zeros),
        ("root at the end", &[4, 0, 0, 0]),
        ("vtable before the buffer", &before),
        ("vtable beyond the buffer", &beyond),
        ("distance to the vtable is the lowest i32", &lowest),
        ("vtable longer than the buffer", &long),
    ];
    for (name, buf) in cases {
        assert!(LogMessage::read(buf).is_err(), "{name}");
        assert!(Event::read(buf).is_err(), "{name}");
    }
}

#[test]
fn offsets_and_lengths_that_leave_the_buffer_are_errors() {
    let valid = log(b"app", b"0123456789ab", b"a line");
    let place = |needle: &[u8]| memchr::memmem::find(&valid, needle).unwrap();
    let with = |at: usize, value: u32| {
        let mut buf = valid.clone();
        buf[at..at + 4].copy_from_slice(&value.to_le_bytes());
        LogMessage::read(&buf).map(|_| ())
    };
    let length = place(b"a line") - 4;
    assert!(with(length, 6).is_ok());
    for value in [valid.len() as u32, u32::MAX, u32::MAX - 3, i32::MAX as u32] {
        assert_eq!(
            with(length, value),
            Err(WireError::Content(2)),
            "length {value}"
        );
    }
    // The three fields stand behind the table's soffset.
    let root = u32::from_le_bytes(valid[..4].try_into().unwrap()) as usize;
    for field in 1..=3 {
        for value in [u32::MAX, valid.len() as u32, i32::MAX as u32] {
            assert!(with(root + 4 * field, value).is_err(), "offset {value}");
        }
    }
}

#[test]
fn every_prefix_is_an_error_or_in_bounds() {
    for buf in LOGS.into_iter().chain(EVENTS) {
        for len in 0..buf.len() {
            touch(&buf[..len]);
        }
    }
    // Without the final zero byte and padding, all content is there; with one byte less it is not.
    let buf = log(b"app", b"id", b"the line");
    let end = memchr::memmem::find(&buf, b"id").unwrap() + 2;
    assert!(LogMessage::read(&buf[..end]).is_ok());
    assert!(LogMessage::read(&buf[..end - 1]).is_err());
}

#[test]
fn shared_strings_cannot_blow_up_an_event() {
    for (entries, expected) in [(10, None), (1000, Some(WireError::TooLarge))] {
        // A list whose entries are all one table with one long string.
        let mut builder = FlatBufferBuilder::new();
        let long = builder.create_byte_string(&vec![b'x'; 100_000]);
        let table = builder.start_table();
        builder.push_slot_always(6, long);
        let entry = builder.end_table(table);
        let list = builder.create_vector(&vec![entry; entries]);
        let table = builder.start_table();
        builder.push_slot_always(4 + 2 * 3, list);
        let root = builder.end_table(table);
        builder.finish_minimal(root);
        assert_eq!(Event::read(builder.finished_data()).err(), expected);
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn entries() -> impl Strategy<Value = Pairs> {
    vec((vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..20)), 0..5)
}

fn borrowed(pairs: &Pairs) -> Vec<(&[u8], &[u8])> {
    pairs
        .iter()
        .map(|(key, value)| (&key[..], &value[..]))
        .collect()
}

proptest! {
    #[test]
    fn a_log_message_is_read_as_it_was_encoded(
        name in vec(any::<u8>(), 0..40), id in vec(any::<u8>(), 0..40), payload in vec(any::<u8>(), 0..600),
    ) {
        let buf = log(&name, &id, &payload);
        let expected = LogMessage { container_id: &id, container_name: &name, payload: &payload };
        prop_assert_eq!(LogMessage::read(&buf), Ok(expected));
    }

    #[test]
    fn an_event_is_read_as_it_was_encoded(
        strings in vec(vec(any::<u8>(), 0..40), 5), lists in vec(entries(), 5), event_time in any::<i64>(),
    ) {
        let lists_given: Vec<_> = lists.iter().map(borrowed).collect();
        let mut builder = FlatBufferBuilder::new();
        let fields = EventFields {
            event_name: &strings[0],
            event_time,
            container_id: &strings[1],
            managed_object: &lists_given[0],
            additional_info: &lists_given[1],
            threshold_info: &lists_given[2],
            state_change_definition: &lists_given[3],
            monitored_attributes: &lists_given[4],
            source_id: &strings[2],
            source_name: &strings[3],
            event_source_type: &strings[4],
        };
        encode_event(&fields, &mut builder);
        let event = Event::read(builder.finished_data()).unwrap();
        prop_assert_eq!(event.event_time, event_time);
        let read = [event.event_name, event.container_id, event.source_id, event.source_name, event.event_source_type];
        prop_assert_eq!(read.to_vec(), strings);
        let read: Vec<_> = event.lists().into_iter().map(|(_, list)| pairs(list)).collect();
        prop_assert_eq!(read, lists);
    }

    #[test]
    fn damaged_buffers_never_panic(
        which in 0..LOGS.len() + EVENTS.len(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut buf = LOGS.into_iter().chain(EVENTS).nth(which).unwrap().to_vec();
        for (at, byte) in damage {
            let at = at.index(buf.len());
            buf[at] = byte;
        }
        if let Some(cut) = cut {
            buf.truncate(cut.index(buf.len()));
        }
        touch(&buf);
    }

    #[test]
    fn damaged_offsets_never_panic(
        which in 0..LOGS.len() + EVENTS.len(), at in any::<prop::sample::Index>(), value in prop_oneof![any::<u32>(), 0..600u32, Just(u32::MAX)],
    ) {
        let mut buf = LOGS.into_iter().chain(EVENTS).nth(which).unwrap().to_vec();
        let at = at.index(buf.len() / 4) * 4;
        buf[at..at + 4].copy_from_slice(&value.to_le_bytes());
        touch(&buf);
    }

    #[test]
    fn any_bytes_never_panic(buf in vec(any::<u8>(), 0..200)) {
        touch(&buf);
    }
}
