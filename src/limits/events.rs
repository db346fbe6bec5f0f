//! Events: the journal, and their way to Kafka or to a file.

use std::time::Duration;

use super::{PAYLOAD_BYTES, STOP_TIME};

/// Bytes that the lists of one Event may add up to. Entries may share bytes of the buffer, so a buffer of 1 MiB could
/// stand for gigabytes of JSON; a true event has a few hundred bytes.
pub const EVENT_CONTENT_BYTES: usize = 4 * PAYLOAD_BYTES;

/// Events of CIM's own that wait for their consumer; the next one is dropped and counted. A burst of change sets raises two each.
pub const OWN_EVENTS: usize = 256;
/// Bytes of a text that an own event carries: an event then fits one line of CIM's own log ([`OWN_LOG_LINE_BYTES`](super::OWN_LOG_LINE_BYTES)).
pub const OWN_EVENT_TEXT_BYTES: usize = 1024;

/// Size of the journal of events, in MiB. At the least a few segments, at the most what a pod's volume may hold.
pub const JOURNAL_MB: std::ops::RangeInclusive<u64> = 8..=65_536;
/// 256 MiB hold some 800,000 events of 300 bytes: two and a half hours of 100 a second.
pub const JOURNAL_MB_DEFAULT: u64 = 256;

/// Bytes of the JSON of one event, on its way to Kafka or to the file. A true one has a few hundred; Kafka takes 1 MB unless its
/// owner says otherwise, and a buffer of 1 MiB whose entries share bytes could stand for 25 MiB.
pub const EVENT_JSON_BYTES: usize = 4 << 20;
/// How far an event's time may lie ahead of the time at which it was stored to become its record's time. Kafka 4 refuses a record
/// from more than an hour ahead; clocks differ.
pub const EVENT_TIME_AHEAD: Duration = Duration::from_secs(30 * 60);
/// Events that are on their way to Kafka: at 50,000 a second and 20 ms to the acknowledgement 1,000 are. Each takes some 200 bytes in
/// librdkafka besides its own.
pub const EVENTS_IN_FLIGHT: usize = 4096;
/// Bytes of their JSON: the part of the memory budget that they may take.
pub const EVENT_BYTES_IN_FLIGHT: usize = 4 << 20;
/// Events that are read and sent before the reports are looked at again.
pub const EVENTS_A_TURN: usize = 256;
/// Bytes of events that are collected for one write to their file.
pub const EVENT_FILE_BYTES: usize = 256 << 10;
/// Time between two looks of the event sender at what it depends on while nothing comes.
pub const EVENT_SENDER_LOOK: Duration = Duration::from_secs(1);
/// Time between two looks whether Kubernetes has said who this pod is: only at the start.
pub const EVENT_SENDER_SETTLING: Duration = Duration::from_millis(100);
/// Looks at the delivery reports, [`KAFKA_POLL_FIRST`](super::KAFKA_POLL_FIRST) apart, after which the time between two is doubled each time while none comes.
pub const EVENT_REPORT_LOOKS: u32 = 30;
/// The longest time between two looks at the delivery reports while some are due.
pub const EVENT_REPORTS_LAST: Duration = Duration::from_millis(100);

/// Bytes of one segment of the journal: what is freed at one time, and what the start reads to find the journal's end.
pub const JOURNAL_SEGMENT_BYTES: u64 = 4 << 20;
/// Bytes of one record's payload: an event is one NATS payload.
pub const JOURNAL_RECORD_BYTES: usize = PAYLOAD_BYTES;
const _: () = assert!(
    JOURNAL_SEGMENT_BYTES >= JOURNAL_RECORD_BYTES as u64 + 4096,
    "a record of the largest size must fit one segment"
);
const _: () = assert!(
    *JOURNAL_MB.start() << 20 >= 2 * JOURNAL_SEGMENT_BYTES,
    "one segment is written while another waits for its delivery reports"
);
/// Segments that the journal may have. Each takes 32 bytes of memory; the largest journal has 16,384 full ones.
pub const JOURNAL_SEGMENTS: usize = 32_768;
/// Bytes of appended records that wait for their commit; beyond them they are written at once.
pub const JOURNAL_BUFFER_BYTES: usize = 256 << 10;
/// Bytes of one read of the journal.
pub const JOURNAL_READ_BYTES: usize = 64 << 10;
/// Bytes that are checked in vain in one segment to find the next good record behind a bad one; then the rest is given up.
pub const JOURNAL_SEARCH_BYTES: u64 = 64 << 20;
/// Places that are remembered between the oldest record in flight and the newest, so that the stored position is near the former.
pub const JOURNAL_MARKS: usize = 1024;
/// Bytes between two of those places: what is read again, and passed over, after a restart.
pub const JOURNAL_MARK_BYTES: u64 = 64 << 10;
/// Time between two syncs of the journal when it is synced at intervals.
pub const JOURNAL_SYNC: Duration = Duration::from_secs(1);
/// Bytes of the file, both generations together, that keeps damaged pieces of the journal.
pub const JOURNAL_DAMAGED_BYTES: u64 = 4 << 20;
/// Bytes that are kept of one damaged piece.
pub const JOURNAL_DAMAGED_PIECE_BYTES: usize = 64 << 10;
/// Tries to become the journal's owner. A CIM that was killed needs a moment to end, and `cim journal` looks for an instant.
pub const JOURNAL_OWNER_TRIES: u32 = 10;
/// Time between two of those tries.
pub const JOURNAL_OWNER_PAUSE: Duration = Duration::from_millis(20);
/// Failed reads of one segment, each with its caller's pause, after which it counts as bad: the medium does not give it back.
pub const JOURNAL_READ_TRIES: u32 = 10;
/// Event batches between `nats_subscriptions` and `journal_writer`.
pub const JOURNAL_BATCHES: usize = 16;
/// Time between two tries to write the journal: the first one, doubled up to the last one.
pub const JOURNAL_RETRY_FIRST: Duration = Duration::from_millis(20);
/// See [`JOURNAL_RETRY_FIRST`].
pub const JOURNAL_RETRY_LAST: Duration = Duration::from_secs(1);
/// Time after which room in the journal is looked for unasked, should a segment not have been removable.
pub const JOURNAL_ROOM_POLL: Duration = Duration::from_secs(1);
/// Time that events have to be stored once a stop was asked for, when the journal is full or its disk fails.
pub const JOURNAL_STOP_TIME: Duration = Duration::from_secs(3);
const _: () = assert!(JOURNAL_STOP_TIME.as_secs() < STOP_TIME.as_secs());
/// Bytes of a payload that is set aside; the rest of a longer one is cut off.
pub const SET_ASIDE_PAYLOAD_BYTES: usize = 1 << 20;

/// Time in which events that are in the journal at the end may still be delivered; the rest waits there for the next start.
pub const EVENTS_STOP_TIME: Duration = Duration::from_secs(3);
/// Bytes of the records that are set aside, in both generations of their file.
pub const SET_ASIDE_BYTES: u64 = 8 << 20;
