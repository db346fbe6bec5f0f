//! One row: publish, wait for the last line, read back.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::arguments::{Arguments, Row};
use crate::figures::Latency;
use crate::generator::{Sent, Times, paced, unpaced};
use crate::lines::{LINE_BYTES, Lines};
use crate::report::Outcome;
use crate::support::proc::cpu;
use crate::target::Target;
use crate::verify::{bytes, verify};
use crate::watch::watch;

/// The highest rate at which latency is measured: the watcher takes CPU time from what it watches.
const LATENCY_RATE_MAX: u64 = 20_000;
/// Time between two looks at whether all is in the files.
const LOOK: Duration = Duration::from_micros(500);

pub fn run(arguments: &Arguments, row: Row) -> Outcome {
    let target = Target::new(arguments, &row);
    let lines = Lines::new(row.connections);
    let total = arguments.lines_of(&row);
    let already = bytes(target.log_dir());
    let before = target.usage();
    let own_before = cpu(std::process::id());

    let (sent, latency) = publish(arguments, &row, &target, &lines, total);
    let expected = already + sent.lines.iter().sum::<u64>() * (LINE_BYTES as u64 + 1);
    let ended = wait_for(
        &target,
        expected,
        &sent,
        Duration::from_secs(arguments.limit),
    );

    let after = target.usage();
    let own_after = cpu(std::process::id());
    let found = verify(target.log_dir(), &lines, &sent.lines);
    Outcome {
        row,
        sent: sent.lines.iter().sum(),
        took: ended.duration_since(sent.began),
        published_in: sent.published.duration_since(sent.began),
        answered: sent.answered.is_some(),
        cpu: after
            .zip(before)
            .map(|(after, before)| after.cpu.saturating_sub(before.cpu)),
        generator_cpu: own_after
            .zip(own_before)
            .map(|(after, before)| after.saturating_sub(before)),
        idle_kib: target.idle_kib,
        peak_kib: after.map(|after| after.peak_kib),
        start: target.start,
        latency,
        found,
    }
}

fn publish(
    arguments: &Arguments,
    row: &Row,
    target: &Target,
    lines: &Lines,
    total: u64,
) -> (Sent, Option<Latency>) {
    let Some(rate) = row.rate else {
        return (unpaced(target.server, lines, row.connections, total), None);
    };
    let tick = Duration::from_micros(arguments.tick_us);
    let send = |times| {
        paced(
            target.server,
            lines,
            row.connections,
            total,
            rate,
            tick,
            times,
        )
    };
    if rate > LATENCY_RATE_MAX {
        return (send(None), None);
    }
    let times = Times::new(row.connections, total);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(target.log_dir(), lines, &times, &stop));
        let sent = send(Some(&times));
        // The PONG says that all is stored; for a server whose PONG does not, the files are waited for first.
        let expected = sent.lines.iter().sum::<u64>() * (LINE_BYTES as u64 + 1);
        wait_for(
            target,
            expected,
            &sent,
            Duration::from_secs(arguments.limit),
        );
        stop.store(true, Relaxed);
        let latencies = watcher.join().unwrap();
        (sent, Latency::of(latencies))
    })
}

/// Waits until the files have `expected` bytes, or nothing came for `limit`. Returns when the last byte was there.
fn wait_for(target: &Target, expected: u64, sent: &Sent, limit: Duration) -> Instant {
    let first_look = bytes(target.log_dir());
    if let Some(answered) = sent.answered
        && first_look >= expected
    {
        // It was all there when the PONG came, or between that and now.
        return answered;
    }
    let mut size = first_look;
    let mut grew = Instant::now();
    while size < expected && grew.elapsed() < limit {
        std::thread::sleep(LOOK);
        let now = bytes(target.log_dir());
        if now != size {
            size = now;
            grew = Instant::now();
        }
    }
    grew
}
