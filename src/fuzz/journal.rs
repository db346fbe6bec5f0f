//! Files of the journal, whatever is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::events::journal::inspect::Seen;
use crate::events::journal::{self, Fsync, JournalLimits, JournalReader, Kind};
use crate::metrics::Metrics;
use crate::random;

const LIMITS: JournalLimits = JournalLimits {
    bytes_max: 64 << 20,
    segment_bytes: 400,
    fsync: Fsync::Never,
};

/// A directory below that of temporary files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("cim-journal-{:016x}", random::number());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A start succeeds whatever bytes lie in one of the journal's files. What comes out are numbers that grow; records in other
/// files, and those before the first bad byte, come out as they went in; and the journal can be used.
///
/// The input: which file (of three segments and the position), two bytes for the offset in it, a byte of which bit 0 says whether
/// the file ends there, and the bytes that are written at that place.
pub fn journal_files(data: &[u8]) {
    let Some((&[which, low, high, cut], bytes)) = data.split_first_chunk() else {
        return;
    };
    let folder = Folder::new();
    let dir = folder.0.as_path();
    let good = make(dir);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the directory is there")
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| !path.ends_with("owner"))
        .collect();
    files.sort();
    let path = files
        .get(usize::from(which) % files.len())
        .expect("one of them");
    let mut text = std::fs::read(path).expect("it is there");
    let from = usize::from(u16::from_le_bytes([low, high])) % (text.len() + 1);
    let to = from.saturating_add(bytes.len()).min(text.len());
    let until = if cut & 1 == 1 { text.len() } else { to };
    text.splice(from..until, bytes.iter().copied());
    std::fs::write(path, text).expect("it can be written");

    let is_position = path.ends_with(journal::position::FILE);
    let metrics = Arc::new(Metrics::new("p").expect("every name is valid"));
    let (mut writer, mut reader) =
        journal::open(dir, LIMITS, &metrics).expect("a start succeeds whatever there is");
    let out = all(&mut reader);
    let untouched = good.iter().filter(|record| {
        // The bytes of a record are behind 8 of the segment and all that is before it.
        is_position || record.path != *path || record.end <= from as u64
    });
    for record in untouched.filter(|record| record.seq > 2) {
        let found = out.iter().find(|(seq, _)| *seq == record.seq);
        let payload = found.map(|(_, payload)| payload.as_slice());
        assert_eq!(payload, Some(payload_of(record.seq).as_slice()));
    }
    let last = writer
        .append(Kind::Event, b"new", 1)
        .expect("there is room");
    assert!(out.iter().all(|(seq, _)| *seq < last));
    writer.commit(Instant::now()).expect("the disk works");
    assert_eq!(all(&mut reader), [(last, b"new".to_vec())]);
    reader.ack(last).expect("the disk works");
    assert_eq!(reader.depth(), 0);
    drop((writer, reader));
    let metrics = Arc::new(Metrics::new("p").expect("every name is valid"));
    let (_, mut reader) = journal::open(dir, LIMITS, &metrics).expect("and once more");
    assert_eq!(all(&mut reader), []);
}

/// A record that was stored.
struct Stored {
    seq: u64,
    path: PathBuf,
    /// Where it ends.
    end: u64,
}

fn payload_of(seq: u64) -> Vec<u8> {
    vec![b'0' + u8::try_from(seq % 10).unwrap_or(0); 20 + usize::try_from(seq).unwrap_or(0)]
}

/// Three segments of which the first two records are acknowledged.
fn make(dir: &Path) -> Vec<Stored> {
    let metrics = Arc::new(Metrics::new("p").expect("every name is valid"));
    let (mut writer, mut reader) = journal::open(dir, LIMITS, &metrics).expect("a new journal");
    for seq in 1..=15 {
        let payload = payload_of(seq);
        writer.append(Kind::Event, &payload, 1).expect("room");
    }
    writer.commit(Instant::now()).expect("the disk works");
    let out = all(&mut reader);
    assert_eq!(out.len(), 15);
    reader.ack(2).expect("the disk works");
    let seen = Seen::look(dir).expect("it is there");
    let mut stored = Vec::new();
    for segment in seen.segments() {
        // Behind the header; each record has 28 bytes before its payload.
        let mut end = 8;
        while end < segment.bytes {
            let seq = stored.len() as u64 + 1;
            end += 28 + payload_of(seq).len() as u64;
            let path = dir.join(&segment.name);
            stored.push(Stored { seq, path, end });
        }
    }
    assert_eq!(stored.len(), 15);
    stored
}

/// Everything that comes out, each number larger than the one before.
fn all(reader: &mut JournalReader) -> Vec<(u64, Vec<u8>)> {
    let mut out: Vec<(u64, Vec<u8>)> = Vec::new();
    while let Some(record) = reader.next().expect("the disk works") {
        assert!(out.last().is_none_or(|(seq, _)| *seq < record.seq));
        out.push((record.seq, record.payload));
    }
    out
}
