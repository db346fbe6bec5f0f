//! What an earlier run has left about lines that are still to be sent.

use crate::limits;
use crate::logs::backlog::mark::Mark;
use crate::logs::backlog::split::{WHOLE_BYTES, Whole, split};
use crate::tap::Span;

/// Any mark is refused, or means the same when it is written again. The input, and the input behind a true head and check sum.
pub fn backlog_mark(data: &[u8]) {
    let sum = crc32fast::hash(data);
    let whole = [format!("cim-backlog 1 {sum:08x}\n").as_bytes(), data].concat();
    for bytes in [data, &whole] {
        let Ok(mark) = Mark::decode(bytes) else {
            continue;
        };
        assert!(mark.pieces.len() <= limits::BACKLOG_PIECES);
        for piece in &mark.pieces {
            assert!(piece.begin <= piece.sent && piece.owner < mark.owners.len());
            assert!(piece.end.is_none_or(|end| piece.sent <= end));
        }
        let written = mark.encode().expect("it was read");
        assert_eq!(Mark::decode(&written), Ok(mark));
    }
}

/// Whatever a list of whole lines says, the lines of a file are its bytes, each once and in order, whatever is read at one time; and
/// a list that is true keeps its lines whole.
///
/// The input: how much is read at one time, how many lines, how many bytes of list follow, the list, and the file.
pub fn backlog_lines(data: &[u8]) {
    let Some(([cut, max, listed], rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    let (list, file) = rest.split_at(rest.len().min(usize::from(*listed)));
    let any = list.chunks(WHOLE_BYTES).filter_map(|entry| {
        let mut bytes = [0; WHOLE_BYTES];
        bytes
            .iter_mut()
            .zip(entry)
            .for_each(|(to, byte)| *to = *byte);
        Whole::decode(&bytes)
    });
    let any: Vec<Whole> = any.collect();
    // As the writer does: a payload is what lies between two bytes 0.
    let (mut text, mut wholes, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for payload in file.split(|byte| *byte == 0) {
        wholes.extend(Whole::of(text.len() as u64, payload).filter(|_| payload.contains(&b'\n')));
        text.extend_from_slice(payload);
        text.push(b'\n');
        payloads.push(payload);
    }
    let (cut, max) = (usize::from(*cut) + 1, usize::from(*max) + 1);
    assert_eq!(lines(&text, &wholes, cut, max), payloads);
    let mut joined = lines(&text, &any, cut, max).join(&b'\n');
    joined.push(b'\n');
    assert_eq!(joined, text);
}

fn lines<'a>(text: &'a [u8], wholes: &[Whole], cut: usize, max: usize) -> Vec<&'a [u8]> {
    let (mut found, mut at, mut room) = (Vec::new(), 0, cut);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let buffer = rest.get(..room).unwrap_or(rest);
        let mut spans: Vec<Span> = Vec::new();
        let last = buffer.len() == rest.len();
        let split = split(
            buffer,
            at as u64,
            last,
            wholes.iter().copied(),
            max,
            &mut spans,
        );
        assert!(spans.len() <= max);
        assert_eq!(spans.is_empty(), split.used == 0);
        found.extend(spans.iter().map(|span| span.of(buffer)));
        at += split.used;
        room = if split.used == 0 {
            assert!(split.wanted > buffer.len(), "there is a way on");
            split.wanted
        } else {
            cut
        };
    }
    found
}
