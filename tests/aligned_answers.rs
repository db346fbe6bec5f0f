//! Large snapshots over real sockets: each comes whole, once, and no more at one time than there is room for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "support/operations.rs"]
mod http;

use std::fmt::Write;
use std::sync::Arc;

use cim::http::Limits;
use cim::limits::{ALIGNED_ANSWER_BYTES, HTTP_ALL_BYTES, SNAPSHOT_BYTES, SNAPSHOT_SERIES};
use cim::metrics::aligned::exporter::Exporter;
use cim::metrics::aligned::{Format, ParseLimits, Snapshot, parse};
use http::{Server, get, metrics};

const ALIGNED: &str = "/metrics/aligned";

/// A snapshot with so many samples of so many bytes.
fn snapshot(at: u64, samples: usize, bytes: usize) -> Snapshot {
    let mut text = String::new();
    for sample in 0..samples {
        writeln!(
            text,
            "large{{n=\"{sample}\",x=\"{}\"}} 1",
            "x".repeat(bytes)
        )
        .unwrap();
    }
    let limits = ParseLimits {
        bytes: usize::MAX,
        ..ParseLimits::default()
    };
    let families = parse(text.as_bytes(), Format::Text, &limits).unwrap();
    let mut snapshot = Snapshot::new(at * 1000);
    snapshot.add(9090, families).unwrap();
    snapshot
}

/// The server with the bounds of the daemon.
fn start(snapshots: impl IntoIterator<Item = Snapshot>) -> Server {
    let metrics = metrics();
    let exporter = Arc::new(Exporter::new(metrics.clone()));
    exporter.switch_on(1000);
    for snapshot in snapshots {
        exporter.push(snapshot);
    }
    Server::with_aligned(Limits::default(), metrics, exporter)
}

/// How many samples each time has in an answer.
fn samples(text: &str) -> Vec<(String, usize)> {
    let mut times: Vec<(String, usize)> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("large{")) {
        let time = line.rsplit_once(' ').unwrap().1;
        match times.last_mut() {
            Some((last, count)) if last == time => *count += 1,
            _ => times.push((time.to_owned(), 1)),
        }
    }
    times
}

#[test]
fn what_does_not_fit_one_answer_comes_with_the_next() {
    // 14 snapshots of about 1 MiB.
    let server = start((1..=14).map(|at| snapshot(at, 5_000, 150)));
    let mut seen = Vec::new();
    let mut answers = 0;
    while server.metrics.aligned.snapshots.get() > 0 {
        let reply = server.get(ALIGNED);
        assert_eq!(reply.status, 200);
        assert!(reply.body.len() <= ALIGNED_ANSWER_BYTES + 4096);
        seen.extend(samples(reply.text()));
        answers += 1;
    }
    let expected: Vec<_> = (1..=14).map(|at| (format!("{at}000"), 5_000)).collect();
    assert_eq!(seen, expected);
    assert!((2..=4).contains(&answers), "{answers}");
    assert_eq!(server.aborted("memory"), 0);
}

#[test]
fn the_largest_snapshot_there_can_be_is_sent_whole() {
    let server = start([snapshot(1, SNAPSHOT_SERIES, 200)]);
    // Two clients that read nothing meanwhile hold what they have asked for.
    let mut others = [server.connect(), server.connect()];
    for other in &mut others {
        other.send(get("/metrics"));
    }
    let reply = server.get(ALIGNED);
    assert!(reply.body.len() > SNAPSHOT_BYTES * 3 / 4);
    assert!(reply.body.len() < HTTP_ALL_BYTES);
    let expected = [("1000".to_owned(), SNAPSHOT_SERIES)];
    assert_eq!(samples(reply.text()), expected);
}
