//! A real Prometheus, found on PATH, that scrapes some addresses once a second, on a free port and with its data in a directory of its
//! own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{free_port, loopback};
use crate::support::{PATIENCE, eventually, http};

/// Tries with other ports when somebody else takes one.
const TRIES: usize = 5;

/// A running Prometheus; killed with its owner.
pub struct Prometheus {
    process: Process,
    dir: TempDir,
    port: u16,
}

/// A sample as Prometheus has stored it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// With `__name__`, and what Prometheus adds: `job`, `instance`.
    pub labels: Value,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    pub value: f64,
}

impl Prometheus {
    /// Starts it with these jobs: a name, where, and which path. Waits until it is ready.
    pub fn start(jobs: &[(&str, SocketAddr, &str)]) -> Self {
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix("cim-prometheus-").tempdir();
            let dir = dir.unwrap();
            let mut prometheus = Self {
                process: Process::new("prometheus", dir.path().join("log")),
                dir,
                port: free_port(),
            };
            fs::write(prometheus.file("conf.yml"), conf(jobs)).unwrap();
            let mut command = Command::new("prometheus");
            command
                .arg(format!(
                    "--config.file={}",
                    prometheus.file("conf.yml").display()
                ))
                .arg(format!(
                    "--storage.tsdb.path={}",
                    prometheus.file("data").display()
                ))
                .arg(format!("--web.listen-address={}", prometheus.address()));
            prometheus.process.start(&mut command);
            if prometheus.is_ready() {
                return prometheus;
            }
        }
        panic!("Prometheus did not start {TRIES} times");
    }

    /// Everything it says.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The samples of the last hour that `selector` selects, such as `up{job="x"}`.
    #[track_caller]
    pub fn samples(&self, selector: &str) -> Vec<Stored> {
        let answer = self.get(&format!(
            "/api/v1/query?query={}",
            encoded(&format!("{selector}[1h]"))
        ));
        let mut samples = Vec::new();
        for series in answer["data"]["result"].as_array().unwrap() {
            for value in series["values"].as_array().unwrap() {
                samples.push(Stored {
                    labels: series["metric"].clone(),
                    at_ms: (value[0].as_f64().unwrap() * 1000.0).round() as u64,
                    value: value[1].as_str().unwrap().parse().unwrap(),
                });
            }
        }
        samples
    }

    /// What it says about its targets: job, health, the last error.
    #[track_caller]
    pub fn targets(&self) -> Vec<(String, String, String)> {
        let answer = self.get("/api/v1/targets?state=active");
        let targets = answer["data"]["activeTargets"].as_array().unwrap();
        let text = |target: &Value, name: &str| target[name].as_str().unwrap().to_owned();
        targets
            .iter()
            .map(|target| {
                let job = target["labels"]["job"].as_str().unwrap().to_owned();
                (job, text(target, "health"), text(target, "lastError"))
            })
            .collect()
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = http::get(self.address(), path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    fn is_ready(&mut self) -> bool {
        let address = self.address();
        let mut ended = false;
        eventually(PATIENCE, || {
            ended = self.process.has_ended();
            ended || http::try_get(address, "/-/ready").is_ok_and(|answer| answer.status == 200)
        });
        !ended
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn conf(jobs: &[(&str, SocketAddr, &str)]) -> String {
    let mut conf =
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n".to_owned();
    for (job, address, path) in jobs {
        conf += &format!(
            "- job_name: {job}\n  metrics_path: {path}\n  static_configs:\n  - targets: ['{address}']\n"
        );
    }
    conf
}

/// Percent-encoded, all but letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
