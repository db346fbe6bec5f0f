//! What waits, what gives way, and what is handed out.

use super::*;
use crate::metrics::aligned::{Format, ParseLimits, parse};

fn families(text: &str) -> Vec<Family> {
    parse(text.as_bytes(), Format::Text, &ParseLimits::default()).unwrap()
}

fn snapshot(second: u64, text: &str) -> Snapshot {
    let mut snapshot = Snapshot::new(second * 1000);
    snapshot.add(9, families(text)).unwrap();
    snapshot
}

fn times(snapshots: &[Snapshot]) -> Vec<u64> {
    snapshots.iter().map(Snapshot::aligned_ms).collect()
}

#[test]
fn each_snapshot_is_handed_out_once_the_oldest_first() {
    let mut snapshots = Snapshots::new(10, usize::MAX);
    for second in 1..=3 {
        assert_eq!(snapshots.push(snapshot(second, "a 1")), Dropped::default());
    }
    assert_eq!(times(&snapshots.take(1)), [1000]);
    assert_eq!(snapshots.len(), 2);
    assert_eq!(times(&snapshots.take(usize::MAX)), [2000, 3000]);
    assert!(snapshots.is_empty() && snapshots.take(1).is_empty());
    assert_eq!(snapshots.bytes(), 0);
}

#[test]
fn the_oldest_give_way_when_there_are_too_many() {
    let mut snapshots = Snapshots::new(2, usize::MAX);
    let dropped: u64 = (1..=5)
        .map(|second| snapshots.push(snapshot(second, "a 1")).retention)
        .sum();
    assert_eq!((dropped, snapshots.len()), (3, 2));
    assert_eq!(
        snapshots.set_retention(1),
        Dropped {
            retention: 1,
            bytes: 0
        }
    );
    assert_eq!(snapshots.set_retention(3), Dropped::default());
    assert_eq!(times(&snapshots.take(9)), [5000]);
}

#[test]
fn the_oldest_give_way_when_they_have_too_many_bytes() {
    let one = snapshot(1, "a 1").bytes();
    let mut snapshots = Snapshots::new(100, 3 * one);
    let dropped: u64 = (1..=5)
        .map(|second| snapshots.push(snapshot(second, "a 1")).bytes)
        .sum();
    assert_eq!((dropped, snapshots.bytes()), (2, 3 * one));
    let large = "a{b=\"".to_owned() + &"x".repeat(one / 2) + "\"} 1";
    assert_eq!(
        snapshots.push(snapshot(6, &large)),
        Dropped {
            retention: 0,
            bytes: 2
        }
    );
    assert_eq!(times(&snapshots.take(9)), [5000, 6000]);
}

#[test]
fn a_port_that_offers_too_much_is_left_out_whole() {
    let many =
        |count: usize| -> String { (0..count).map(|n| format!("a{{n=\"{n}\"}} 1\n")).collect() };
    let mut snapshot = Snapshot::new(1000);
    snapshot.add(1, families(&many(30_000))).unwrap();
    let error = snapshot.add(2, families(&many(20_001))).unwrap_err();
    assert_eq!(
        error,
        TooLarge::Series {
            port: 2,
            series: 20_001
        }
    );
    assert_eq!(
        error.to_string(),
        "with the 20001 samples of port 2 the snapshot has more than 50000"
    );
    assert_eq!(snapshot.series(), 30_000);
    snapshot.add(3, families(&many(20_000))).unwrap();
    assert_eq!(snapshot.series(), 50_000);

    let mut snapshot = Snapshot::new(1000);
    let value = "x".repeat(60 << 10);
    let large: String = (0..60)
        .map(|n| format!("a{n}{{v=\"{value}\"}} 1\n"))
        .collect();
    for port in 1..=4 {
        snapshot.add(port, families(&large)).unwrap();
    }
    let before = snapshot.bytes();
    let error = snapshot.add(5, families(&large)).unwrap_err();
    assert!(
        matches!(error, TooLarge::Bytes { port: 5, bytes } if before + bytes > limits::SNAPSHOT_BYTES)
    );
    assert_eq!(snapshot.bytes(), before);
}
