//! The usual process series, read from `/proc/self` when they are asked for. They carry no label `pod`, as in the original.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::clock;

/// Collector of the `process_*` series.
pub struct Process;

const SERIES: [(&str, &str, MetricType); 7] = [
    (
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        MetricType::COUNTER,
    ),
    (
        "process_open_fds",
        "Number of open file descriptors.",
        MetricType::GAUGE,
    ),
    (
        "process_max_fds",
        "Maximum number of open file descriptors.",
        MetricType::GAUGE,
    ),
    (
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        MetricType::GAUGE,
    ),
    (
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        MetricType::GAUGE,
    ),
    (
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        MetricType::GAUGE,
    ),
    (
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        MetricType::GAUGE,
    ),
];

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(values) = read() else {
            return Vec::new();
        };
        SERIES
            .iter()
            .zip(values)
            .map(|(&(name, help, kind), value)| {
                let mut metric = Metric::default();
                if kind == MetricType::COUNTER {
                    let mut counter = Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                } else {
                    let mut gauge = Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
                let mut family = MetricFamily::default();
                family.set_name(name.into());
                family.set_help(help.into());
                family.set_field_type(kind);
                family.set_metric(vec![metric]);
                family
            })
            .collect()
    }
}

/// What this process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Cores that it may use.
    pub cores: usize,
    /// Per cent of one core since its start.
    pub cpu_percent: f64,
    /// Seconds of one core since its start.
    pub cpu_seconds: f64,
}

impl ProcessUsage {
    /// Reads it; `None` without /proc.
    pub fn read() -> Option<Self> {
        let [cpu_seconds, .., resident, start] = read()?;
        let seconds = (clock::now_ms() as f64 / 1000.0 - start).max(1.0);
        Some(Self {
            resident_bytes: resident as u64,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_percent: 100.0 * cpu_seconds / seconds,
            cpu_seconds,
        })
    }
}

/// proc_pid_stat(5): the fields after the command's closing parenthesis, `state` being the first.
fn read() -> Option<[f64; 7]> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<f64> = stat
        .rsplit_once(')')?
        .1
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    let field = |n: usize| fields.get(n).copied();
    let ticks = clock_ticks_per_second() as f64;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    // As the original shows it: -1 for no limit.
    let limit = |resource| getrlimit(resource).current.map_or(-1.0, |n| n as f64);
    Some([
        (field(11)? + field(12)?) / ticks,
        std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        limit(Resource::Nofile),
        field(20)?,
        limit(Resource::As),
        field(21)? * page_size() as f64,
        boot + field(19)? / ticks,
    ])
}
