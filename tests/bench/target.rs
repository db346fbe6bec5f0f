//! What is measured: a CIM started for the row, or a server that runs already.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::arguments::{Arguments, Row};
use crate::support::proc::{Usage, usage};
use crate::support::{Cim, NatsWire, Options, settled};

/// How long the resident memory must stand still to count as idle.
const QUIET: Duration = Duration::from_millis(500);

pub struct Target {
    pub server: SocketAddr,
    pub log_dir: PathBuf,
    pid: Option<u32>,
    /// From exec to INFO on the port.
    pub start: Option<Duration>,
    /// Resident at idle, KiB.
    pub idle_kib: Option<u64>,
    // In this order: the process ends before its files go.
    _cim: Option<Cim>,
    _dir: Option<TempDir>,
}

impl Target {
    pub fn new(arguments: &Arguments, row: &Row) -> Self {
        // What earlier runs left to be written would be written during this one.
        rustix::fs::sync();
        if let (Some(server), Some(log_dir)) = (arguments.server, &arguments.log_dir) {
            return Self {
                server,
                log_dir: log_dir.clone(),
                pid: arguments.pid,
                start: None,
                idle_kib: arguments.pid.and_then(usage).map(|usage| usage.rss_kib),
                _cim: None,
                _dir: None,
            };
        }
        Self::start(arguments, row)
    }

    fn start(arguments: &Arguments, row: &Row) -> Self {
        let dir = arguments.dir();
        std::fs::create_dir_all(&dir).expect("the directory for the files");
        let mut dir = tempfile::Builder::new()
            .prefix(&format!("bench-{}-", row.name))
            .tempdir_in(dir)
            .expect("the directory for the files");
        dir.disable_cleanup(arguments.keep);
        let mut options = Options::new().large_files().log_dir(dir.path());
        if let Some(binary) = &arguments.binary {
            options.binary = std::path::absolute(binary).expect("the binary");
        }
        for pair in &arguments.env {
            let (name, value) = pair.split_once('=').expect("--env NAME=VALUE");
            options = options.env(name, value);
        }
        let cim = Cim::start(options);
        drop(NatsWire::open(cim.nats));
        let start = cim.started.elapsed();
        let idle_kib = settled(Duration::from_secs(10), QUIET, || cim.usage().rss_kib);
        Self {
            server: cim.nats,
            log_dir: cim.log_dir.clone(),
            pid: Some(cim.pid()),
            start: Some(start),
            idle_kib: Some(idle_kib),
            _cim: Some(cim),
            _dir: Some(dir),
        }
    }

    /// CPU time and memory so far.
    pub fn usage(&self) -> Option<Usage> {
        self.pid.and_then(usage)
    }

    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }
}
