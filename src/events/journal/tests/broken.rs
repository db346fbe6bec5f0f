//! Each way in which a file of the journal can be broken.

use std::os::unix::fs::FileExt;

use super::*;

/// A closed journal of `count` records of which `acked` are acknowledged.
fn closed(count: u64, acked: u64) -> Rig {
    let mut rig = Rig::new(SMALL);
    rig.fill(count);
    rig.rest();
    rig.reader().ack(acked).unwrap();
    rig.ends = None;
    rig
}

fn edit(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, at).unwrap();
}

/// Where each record of a segment begins, and its number.
fn records(path: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut found) = (8, Vec::new());
    while let Some(frame) = bytes.get(at..).and_then(frame::Frame::read) {
        found.push((at as u64, frame.seq));
        at += frame.bytes();
    }
    found
}

fn last(rig: &Rig) -> PathBuf {
    rig.segments().pop().unwrap()
}

fn all_but(count: u64, lost: &[u64]) -> Vec<u64> {
    (1..=count).filter(|seq| !lost.contains(seq)).collect()
}

/// Reads everything, twice, acknowledges it, and goes on. Nothing is lost but `lost`.
fn check(rig: &mut Rig, lost: &[u64]) {
    let count = rig.appended;
    rig.open();
    assert_eq!(rig.rest(), all_but(count, lost));
    assert_eq!(rig.lost(), lost.len() as u64);
    let damage = ["torn_tail", "bad_record", "bad_segment"].map(|kind| rig.damage(kind));
    rig.reader().rewind();
    assert_eq!(rig.rest(), all_but(count, lost));
    let again = ["torn_tail", "bad_record", "bad_segment"].map(|kind| rig.damage(kind));
    assert_eq!(
        (rig.lost(), again),
        (lost.len() as u64, damage),
        "counted once"
    );
    rig.fill(30);
    assert_eq!(rig.rest(), (count + 1..=count + 30).collect::<Vec<_>>());
    rig.reader().ack(count + 30).unwrap();
    assert_eq!(rig.depth(), 0);
    let stored = rig.metrics.events.stored.get();
    assert_eq!(stored, count + 30);
    rig.open();
    assert!(rig.rest().is_empty());
    rig.fill(1);
    assert_eq!(rig.rest(), [count + 31]);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_replayed() {
    let whole = closed(25, 0);
    let path = last(&whole);
    let (start, _) = *records(&path).last().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    for cut in start + 1..len {
        let mut rig = closed(25, 0);
        fs::OpenOptions::new()
            .write(true)
            .open(last(&rig))
            .unwrap()
            .set_len(cut)
            .unwrap();
        rig.appended = 24;
        rig.open();
        assert_eq!(rig.damage("torn_tail"), 1);
        assert_eq!(fs::metadata(last(&rig)).unwrap().len(), start);
        rig.ends = None;
        check(&mut rig, &[]);
        assert!(rig.path().join("damaged.jsonl").exists());
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let mut rig = closed(25, 0);
    let path = last(&rig);
    let len = fs::metadata(&path).unwrap().len();
    edit(&path, len, &[0; 5000]);
    rig.open();
    assert_eq!(rig.damage("torn_tail"), 1);
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
    check(&mut rig, &[]);
}

#[test]
fn a_bad_record_in_the_middle_of_the_last_segment_is_passed_over() {
    let mut rig = closed(28, 0);
    let path = last(&rig);
    let records = records(&path);
    assert!(records.len() > 3);
    let (at, seq) = records[1];
    edit(&path, at + 30, b"#");
    check(&mut rig, &[seq]);
}

#[test]
fn a_bad_record_in_an_earlier_segment_is_passed_over_counted_and_kept() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let records = records(&path);
    let (at, seq) = records[2];
    edit(&path, at + 28, b"#");
    rig.open();
    rig.rest();
    assert_eq!(
        (rig.damage("bad_record"), rig.damage("bad_segment")),
        (1, 0)
    );
    let kept = fs::read_to_string(rig.path().join("damaged.jsonl")).unwrap();
    assert!(
        kept.contains(path.file_name().unwrap().to_str().unwrap()),
        "{kept}"
    );
    check(&mut rig, &[seq]);
}

#[test]
fn a_bad_length_hides_no_other_record() {
    for len in [0_u32, 5, 200, 1 << 20, u32::MAX] {
        let mut rig = closed(60, 0);
        let path = rig.segments()[1].clone();
        let (at, seq) = records(&path)[2];
        edit(&path, at + 4, &len.to_le_bytes());
        check(&mut rig, &[seq]);
    }
}

#[test]
fn several_bad_records_in_a_row_are_one_piece() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let records = records(&path);
    let lost: Vec<u64> = records[1..4]
        .iter()
        .map(|(at, seq)| {
            edit(&path, *at, b"????");
            *seq
        })
        .collect();
    rig.open();
    rig.rest();
    assert_eq!(rig.damage("bad_record"), 1);
    check(&mut rig, &lost);
}

#[test]
fn the_end_of_an_earlier_segment_may_be_missing() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let records = records(&path);
    let (at, _) = records[3];
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(at + 10).unwrap();
    let lost: Vec<u64> = records[3..].iter().map(|(_, seq)| *seq).collect();
    check(&mut rig, &lost);
}

#[test]
fn a_segment_of_garbage_is_passed_over() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let lost: Vec<u64> = records(&path).iter().map(|(_, seq)| *seq).collect();
    let len = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0x5a; len as usize]).unwrap();
    check(&mut rig, &lost);
}

#[test]
fn an_empty_earlier_segment_is_a_lost_one() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let lost: Vec<u64> = records(&path).iter().map(|(_, seq)| *seq).collect();
    fs::write(&path, b"").unwrap();
    rig.open();
    rig.rest();
    assert_eq!(rig.damage("bad_segment"), 1);
    check(&mut rig, &lost);
}

#[test]
fn a_missing_segment_in_the_middle_is_counted() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[2].clone();
    let lost: Vec<u64> = records(&path).iter().map(|(_, seq)| *seq).collect();
    fs::remove_file(&path).unwrap();
    rig.open();
    rig.rest();
    assert_eq!(rig.damage("bad_segment"), 1);
    check(&mut rig, &lost);
}

#[test]
fn a_missing_first_segment_leaves_the_rest() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[0].clone();
    let gone = records(&path).len() as u64;
    fs::remove_file(&path).unwrap();
    rig.open();
    assert_eq!(rig.rest(), (gone + 1..=60).collect::<Vec<_>>());
}

#[test]
fn a_missing_last_segment_leaves_the_rest_and_no_number_is_taken_for_acknowledged() {
    let mut rig = closed(60, 10);
    let path = last(&rig);
    let left = 60 - records(&path).len() as u64;
    fs::remove_file(&path).unwrap();
    rig.open();
    assert_eq!(rig.rest(), (11..=left).collect::<Vec<_>>());
    rig.appended = left;
    rig.fill(5);
    rig.open();
    assert_eq!(rig.rest(), (11..=left + 5).collect::<Vec<_>>());
}

#[test]
fn a_last_segment_of_garbage_is_emptied_and_written_to() {
    let mut rig = closed(60, 0);
    let path = last(&rig);
    let left = 60 - records(&path).len() as u64;
    fs::write(&path, vec![0x5a; 300]).unwrap();
    rig.appended = left;
    check(&mut rig, &[]);
}

#[test]
fn a_bad_header_hides_no_record() {
    for which in [0, 1, usize::MAX] {
        let mut rig = closed(60, 0);
        let segments = rig.segments();
        let path = &segments[which.min(segments.len() - 1)];
        edit(path, 0, b"xxxx");
        check(&mut rig, &[]);
    }
}

#[test]
fn a_segment_of_another_version_is_not_read() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[1].clone();
    let lost: Vec<u64> = records(&path).iter().map(|(_, seq)| *seq).collect();
    edit(&path, 7, &[2]);
    check(&mut rig, &lost);
}

#[test]
fn a_record_of_another_segment_is_not_taken() {
    let mut rig = closed(60, 0);
    let segments = rig.segments();
    let other = fs::read(&segments[2]).unwrap();
    let (at, seq) = *records(&segments[1]).last().unwrap();
    let len = fs::metadata(&segments[1]).unwrap().len();
    edit(&segments[1], at, &other[8..8 + (len - at) as usize]);
    check(&mut rig, &[seq]);
}

#[test]
fn a_record_inside_a_payload_is_not_taken_for_one() {
    let mut rig = Rig::new(SMALL);
    let mut inner = Vec::new();
    frame::append(0, Kind::Event, 2, 1, b"inner", &mut inner);
    rig.writer().append(Kind::Event, &inner, 1).unwrap();
    rig.writer().append(Kind::Event, b"next", 1).unwrap();
    rig.try_commit().unwrap();
    rig.ends = None;
    edit(&last(&rig), 8 + 27, b"\0\0");
    rig.open();
    assert_eq!(rig.reader().next().unwrap().unwrap().payload, b"next");
}

#[test]
fn without_a_position_everything_is_replayed() {
    let mut rig = closed(60, 20);
    fs::remove_file(rig.path().join("position")).unwrap();
    rig.open();
    let rest = rig.rest();
    assert_eq!(rest.last(), Some(&60));
    assert!(rest[0] <= 21 && rest.len() as u64 == 61 - rest[0]);
}

#[test]
fn a_position_of_garbage_replays_everything() {
    for garbage in [&b""[..], b"x", &[0; 568], &[0xff; 568], &[0xff; 5000]] {
        let mut rig = closed(60, 20);
        fs::write(rig.path().join("position"), garbage).unwrap();
        rig.open();
        let rest = rig.rest();
        assert!(rest[0] <= 21 && rest.len() as u64 == 61 - rest[0]);
        rig.reader().ack(60).unwrap();
        rig.open();
        assert!(rig.rest().is_empty());
    }
}

#[test]
fn a_torn_slot_of_the_position_leaves_the_one_before() {
    for slot in [0, 512] {
        let mut rig = closed(60, 20);
        rig.open();
        rig.rest();
        rig.reader().ack(21).unwrap();
        rig.ends = None;
        edit(&rig.path().join("position"), slot + 10, b"#");
        rig.open();
        let first = rig.rest()[0];
        assert!(first == 21 || first == 22, "{first}");
    }
}

#[test]
fn a_position_of_another_journal_is_not_believed() {
    let other = closed(300, 250);
    let mut rig = closed(60, 0);
    fs::copy(other.path().join("position"), rig.path().join("position")).unwrap();
    check(&mut rig, &[]);
}

#[test]
fn a_position_beyond_a_last_segment_that_lost_its_end_loses_nothing_new() {
    // A crash of the machine: the position is on the medium, the segment's end is not.
    let mut rig = closed(56, 56);
    let path = last(&rig);
    let (at, seq) = records(&path)[1];
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(at + 3).unwrap();
    assert!(seq < 56);
    rig.open();
    assert!(rig.rest().is_empty());
    assert_eq!(rig.depth(), 0);
    rig.fill(20);
    assert_eq!(rig.rest(), (57..=76).collect::<Vec<_>>());
    rig.open();
    assert_eq!(rig.rest(), (57..=76).collect::<Vec<_>>());
}

#[test]
fn a_journal_whose_segments_were_all_removed_begins_anew_with_higher_numbers() {
    let mut rig = closed(60, 20);
    for path in rig.segments() {
        fs::remove_file(path).unwrap();
    }
    rig.open();
    assert!(rig.rest().is_empty());
    rig.appended = 20;
    rig.fill(10);
    assert_eq!(rig.rest(), (21..=30).collect::<Vec<_>>());
}

#[test]
fn strange_files_are_left_alone() {
    let mut rig = closed(60, 20);
    fs::create_dir(rig.path().join("00000000000000000999-00000000.seg")).unwrap();
    std::os::unix::fs::symlink(
        "/dev/zero",
        rig.path().join("00000000000000000998-00000000.seg"),
    )
    .unwrap();
    fs::write(rig.path().join("0-0.seg"), "x").unwrap();
    rig.open();
    assert_eq!(rig.rest(), (21..=60).collect::<Vec<_>>());
    rig.reader().ack(60).unwrap();
    assert!(rig.path().join("0-0.seg").exists());
}

#[test]
fn a_segment_that_is_there_twice_does_no_harm() {
    let mut rig = closed(60, 0);
    let path = rig.segments()[2].clone();
    let name = path.file_name().unwrap().to_str().unwrap();
    let twin = rig.path().join(format!("{}-ffffffff.seg", &name[..20]));
    fs::copy(&path, &twin).unwrap();
    rig.open();
    let rest = rig.rest();
    assert!(rest.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(rest.last(), Some(&60));
    rig.reader().ack(60).unwrap();
    assert_eq!(rig.depth(), 0);
}

#[test]
fn many_markers_without_records_do_not_hold_the_start_up() {
    let rig = closed(5, 0);
    let mut payload = Vec::new();
    for n in 0..(3 << 20) / 28 {
        let mut bad = Vec::new();
        frame::append(7, Kind::Event, 6 + n, 1, b"", &mut bad);
        bad[4..8].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        payload.extend_from_slice(&bad);
    }
    let path = last(&rig);
    let len = fs::metadata(&path).unwrap().len();
    edit(&path, len, &payload);
    let mut rig = rig;
    let start = Instant::now();
    rig.open();
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(rig.rest(), [1, 2, 3, 4, 5]);
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
}
