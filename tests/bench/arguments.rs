//! The command line of the bench.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Measures the way of log lines from publishers into files.
#[derive(Debug, Parser)]
#[command(name = "pipeline", bin_name = "cargo bench --bench pipeline --")]
pub struct Arguments {
    /// Lines of the unpaced rows, over all connections
    #[arg(long, env = "CIM_BENCH_LINES", default_value_t = 2_000_000)]
    pub lines: u64,
    /// Seconds that the paced rows publish
    #[arg(long, env = "CIM_BENCH_SECONDS", default_value_t = 10)]
    pub seconds: u64,
    /// Microseconds between two writes of the paced rows: how finely an application's lines come
    #[arg(long, env = "CIM_BENCH_TICK_US", default_value_t = 10)]
    pub tick_us: u64,
    /// Only these rows: flat-1, flat-4, 10k-1, 10k-4, 150k-1, 150k-4, or <rate>-<connections>
    #[arg(long, env = "CIM_BENCH_ONLY", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Runs of each row
    #[arg(long, env = "CIM_BENCH_REPEAT", default_value_t = 1)]
    pub repeat: u32,
    /// The binary to measure, instead of the one of this build
    #[arg(long, env = "CIM_BENCH_BINARY")]
    pub binary: Option<PathBuf>,
    /// Further environment of the binary, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Directory for the files, instead of target/tmp
    #[arg(long, env = "CIM_BENCH_DIR")]
    pub dir: Option<PathBuf>,
    /// Measure a server that is running already, at this address; needs --log-dir
    #[arg(long, requires = "log_dir")]
    pub server: Option<SocketAddr>,
    /// Where the running server writes its files
    #[arg(long, requires = "server")]
    pub log_dir: Option<PathBuf>,
    /// The running server's process, for CPU time and memory
    #[arg(long, requires = "server")]
    pub pid: Option<u32>,
    /// Seconds without a further byte in the files after which the missing lines count as lost
    #[arg(long, env = "CIM_BENCH_LIMIT", default_value_t = 20)]
    pub limit: u64,
    /// Keep the log files
    #[arg(long)]
    pub keep: bool,
    /// What cargo passes
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub connections: u32,
    /// Lines a second over all connections; `None`: as fast as they are taken.
    pub rate: Option<u64>,
}

const ROWS: [&str; 6] = ["flat-1", "flat-4", "10k-1", "10k-4", "150k-1", "150k-4"];
/// Connections of a row: two digits in each line.
const CONNECTIONS_MAX: u32 = 99;

impl Arguments {
    pub fn rows(&self) -> Result<Vec<Row>, String> {
        if self.only.is_empty() {
            ROWS.iter().map(|name| row(name)).collect()
        } else {
            self.only.iter().map(|name| row(name)).collect()
        }
    }

    /// Where the files of the runs go.
    pub fn dir(&self) -> PathBuf {
        let own = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        self.log_dir
            .clone()
            .or_else(|| self.dir.clone())
            .unwrap_or_else(own)
    }

    /// Lines that `row` publishes over all its connections.
    pub fn lines_of(&self, row: &Row) -> u64 {
        row.rate.map_or(self.lines, |rate| rate * self.seconds)
    }
}

fn row(name: &str) -> Result<Row, String> {
    let parse = || {
        let (rate, connections) = name.rsplit_once('-')?;
        let rate = match rate {
            "flat" => None,
            rate => Some(match rate.strip_suffix('k') {
                Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1000)?,
                None => rate.parse().ok()?,
            }),
        };
        let connections = connections.parse().ok()?;
        ((1..=CONNECTIONS_MAX).contains(&connections) && rate != Some(0)).then(|| Row {
            name: name.to_owned(),
            connections,
            rate,
        })
    };
    parse()
        .ok_or_else(|| format!("no row is called {name:?}: flat-1, 10k-4, 150000-2 are examples"))
}
