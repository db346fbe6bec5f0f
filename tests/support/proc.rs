//! What the kernel says about a process: CPU time and memory, from `/proc`.

use std::time::Duration;

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Resident now (VmRSS), KiB.
    pub rss_kib: u64,
    /// Resident at the most (VmHWM), KiB.
    pub peak_kib: u64,
    pub threads: u64,
}

/// Reads `/proc/<pid>/stat` and `status`; `None` when there is no such process.
pub fn usage(pid: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let member = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some(Usage {
        cpu: cpu(pid)?,
        rss_kib: member("VmRSS")?,
        peak_kib: member("VmHWM")?,
        threads: member("Threads")?,
    })
}

/// User and system time of a process, to the clock tick (10 ms).
pub fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are numbered from 3. 14 and 15 are the times.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(14 - 3);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Duration::from_micros((user + system) * 1_000_000 / ticks))
}
