//! The lines: what each looks like, and which container it belongs to.
//!
//! `<tag> c<connection, 2 digits> n<number, 10 digits> xxx…`, 256 bytes, 257 with the line end. Numbers count from 0 for
//! each connection. An event carries such a text, a shorter one, as a further fact. When the lines do not fit the files that one container may keep, the next container takes over, so
//! the order within a connection can still be verified.

use cim::wire::{EventFields, encode_event};
use flatbuffers::FlatBufferBuilder;

use crate::support::nats::{log, publish};

/// Bytes of a line without its line end.
pub const LINE_BYTES: usize = 256;
/// Bytes of the text of an event: the event then has some 300.
const EVENT_TEXT_BYTES: usize = 160;
/// Lines that one container's files keep: 50 MB × 20 backups, with a margin for rotation.
pub const LINES_A_CONTAINER: u64 = 3_500_000;
const CONTAINER_ID: &str = "0123456789ab";
const CONNECTION_DIGITS: usize = 2;
const NUMBER_DIGITS: usize = 10;
const CONTAINER_DIGITS: usize = 3;

/// What the lines of one run have in common.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Marks the lines of this run.
    tag: String,
    /// Lines that one connection sends to one container.
    per_container: u64,
    /// They travel as events.
    are_events: bool,
}

impl Lines {
    pub fn new(connections: u32) -> Self {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_nanos());
        Self {
            tag: format!("bench{:08x}", nanos as u32),
            per_container: LINES_A_CONTAINER / u64::from(connections),
            are_events: false,
        }
    }

    /// Texts of events.
    pub fn events(connections: u32) -> Self {
        Self {
            per_container: u64::MAX,
            are_events: true,
            ..Self::new(connections)
        }
    }

    /// Bytes of a line without its line end.
    pub fn bytes(&self) -> usize {
        if self.are_events {
            EVENT_TEXT_BYTES
        } else {
            LINE_BYTES
        }
    }

    /// Line 0 of `connection`, without its line end.
    pub fn first(&self, connection: u32) -> Vec<u8> {
        let mut line = format!("{} c{connection:02} n{:010} ", self.tag, 0).into_bytes();
        line.resize(self.bytes(), b'x');
        line
    }

    /// The line of this run that is somewhere in `record`.
    pub fn within<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        let at = memchr::memmem::find(record, self.tag.as_bytes())?;
        record.get(at..at + self.bytes())
    }

    /// What a publisher sends of line 0, and on which subject.
    pub fn message(&self, connection: u32) -> (&'static str, Vec<u8>) {
        let text = self.first(connection);
        if !self.are_events {
            return ("LOG", log(&format!("bench{:03}", 0), CONTAINER_ID, &text));
        }
        let mut builder = FlatBufferBuilder::new();
        let fields = EventFields {
            event_name: b"BenchEvent",
            event_time: 1_767_225_600_123,
            container_id: CONTAINER_ID.as_bytes(),
            managed_object: &[(b"mo1", b"v1")],
            additional_info: &[(b"text", &text)],
            ..EventFields::default()
        };
        encode_event(&fields, &mut builder);
        ("EVENT", builder.finished_data().to_vec())
    }

    /// A whole line of an earlier row: a server that runs on keeps them.
    pub fn is_of_another_run(&self, line: &[u8]) -> bool {
        line.len() == self.bytes()
            && line.starts_with(b"bench")
            && !line.starts_with(self.tag.as_bytes())
            && line.get(self.tag.len()..self.tag.len() + 2) == Some(b" c")
    }

    /// Where the connection's digits are in a line.
    pub fn connection_at(&self) -> std::ops::Range<usize> {
        let at = self.tag.len() + 2;
        at..at + CONNECTION_DIGITS
    }

    /// Where the number's digits are in a line.
    pub fn number_at(&self) -> std::ops::Range<usize> {
        let at = self.connection_at().end + 2;
        at..at + NUMBER_DIGITS
    }

    /// The container that line `number` of any connection belongs to.
    pub fn container(&self, number: u64) -> u64 {
        number / self.per_container
    }

    /// The lines after `number` up to where the container changes.
    pub fn left_in_container(&self, number: u64) -> u64 {
        self.per_container - number % self.per_container
    }
}

/// A block of ready `PUB` commands of one connection, of which only the digits change.
pub struct Block {
    bytes: Vec<u8>,
    /// Bytes of one command.
    command: usize,
    number_at: usize,
    /// Where the container's digits are; always 0 for events.
    container_at: usize,
    container: u64,
    lines: Lines,
}

impl Block {
    pub fn new(lines: &Lines, connection: u32, commands: usize) -> Self {
        let first = lines.first(connection);
        let (subject, message) = lines.message(connection);
        let one = publish(subject, None, &message);
        let find = |text: &[u8]| memchr::memmem::find(&one, text);
        Self {
            number_at: find(&first).expect("it is in the buffer") + lines.number_at().start,
            container_at: find(b"bench000").unwrap_or(0) + "bench".len(),
            container: 0,
            command: one.len(),
            bytes: one.repeat(commands),
            lines: lines.clone(),
        }
    }

    /// The commands of lines `first..`, at most `count` of them: fewer at the end of the block or of a container.
    pub fn numbered(&mut self, first: u64, count: u64) -> (&[u8], u64) {
        let commands = (self.bytes.len() / self.command) as u64;
        let count = count.min(commands).min(self.lines.left_in_container(first));
        let container = self.lines.container(first);
        if container != self.container {
            self.container = container;
            let at = self.container_at..self.container_at + CONTAINER_DIGITS;
            for command in self.bytes.chunks_exact_mut(self.command) {
                write_digits(&mut command[at.clone()], container);
            }
        }
        let at = self.number_at..self.number_at + NUMBER_DIGITS;
        let end = count as usize * self.command;
        let commands = self.bytes[..end].chunks_exact_mut(self.command);
        for (number, command) in (first..).zip(commands) {
            write_digits(&mut command[at.clone()], number);
        }
        (&self.bytes[..end], count)
    }
}

/// `number` in decimal, filling `digits`.
pub fn write_digits(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The number that `digits` are.
pub fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}
