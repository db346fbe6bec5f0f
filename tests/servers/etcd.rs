//! A real etcd, found on PATH, one member, on free ports and with its data in a directory of its own.
//!
//! What a test does to its keys goes through the gateway by plain HTTP, not through the client that is under test.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Process, is_a_process};
use super::{base64, free_port, loopback, number, prefix_end, text};
use crate::support::{PATIENCE, eventually, http};

/// Tries with other ports when somebody else takes one of them.
const TRIES: usize = 5;

/// How etcd is started.
#[derive(Debug, Default, Clone)]
pub struct EtcdOptions {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// It listens with TLS too, on a port of its own; the files are among the arguments.
    pub tls: bool,
}

/// A running etcd; killed with its owner.
pub struct Etcd {
    process: Process,
    options: EtcdOptions,
    dir: TempDir,
    client: u16,
    tls: u16,
    peer: u16,
}

/// A key as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub key: String,
    pub value: String,
    pub mod_revision: i64,
    /// How often it was put since it was made.
    pub version: i64,
}

is_a_process!(Etcd);

impl Etcd {
    /// Starts etcd and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(EtcdOptions::default())
    }

    /// As [`Etcd::start`], with options.
    pub fn start_with(options: EtcdOptions) -> Self {
        for _ in 0..TRIES {
            let dir = tempfile::Builder::new().prefix("cim-etcd-").tempdir();
            let dir = dir.unwrap();
            let mut etcd = Self {
                process: Process::new("etcd", dir.path().join("log")),
                options: options.clone(),
                dir,
                client: free_port(),
                tls: free_port(),
                peer: free_port(),
            };
            etcd.spawn();
            if etcd.answers() {
                return etcd;
            }
        }
        panic!("etcd did not start {TRIES} times");
    }

    /// Where clients connect: `http://127.0.0.1:port`.
    pub fn client_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The same with TLS.
    pub fn tls_url(&self) -> String {
        format!("https://{}", loopback(self.tls))
    }

    pub fn address(&self) -> SocketAddr {
        loopback(self.client)
    }

    /// Starts it again after [`Etcd::kill`] or [`Etcd::stop`]: same ports, same data. Waits until it answers.
    pub fn restart(&mut self) {
        self.spawn();
        assert!(self.answers(), "etcd did not start again");
    }

    /// Puts a key; its revision.
    #[track_caller]
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) -> i64 {
        self.put_with_lease(key, value, 0)
    }

    /// Puts a key that goes with a lease.
    #[track_caller]
    pub fn put_with_lease(&self, key: &str, value: impl AsRef<[u8]>, lease: i64) -> i64 {
        let body = json!({"key": base64(key), "value": base64(value), "lease": lease.to_string()});
        number(&self.call("kv/put", &body)["header"]["revision"])
    }

    #[track_caller]
    pub fn get(&self, key: &str) -> Option<String> {
        let answer = self.call("kv/range", &json!({"key": base64(key)}));
        found(&answer).pop().map(|found| found.value)
    }

    /// In the order of their keys.
    #[track_caller]
    pub fn get_prefix(&self, prefix: &str) -> Vec<Found> {
        let body = json!({"key": base64(prefix), "range_end": base64(prefix_end(prefix))});
        found(&self.call("kv/range", &body))
    }

    #[track_caller]
    pub fn delete(&self, key: &str) {
        self.call("kv/deleterange", &json!({"key": base64(key)}));
    }

    /// The revision of the last change.
    #[track_caller]
    pub fn revision(&self) -> i64 {
        let answer = self.call("kv/range", &json!({"key": base64("a"), "keys_only": true}));
        number(&answer["header"]["revision"])
    }

    /// What is older than `revision` is gone.
    #[track_caller]
    pub fn compact(&self, revision: i64) {
        let body = json!({"revision": revision.to_string(), "physical": true});
        self.call("kv/compaction", &body);
    }

    /// A lease of so many seconds; its id.
    #[track_caller]
    pub fn grant_lease(&self, seconds: u32) -> i64 {
        let answer = self.call("lease/grant", &json!({"TTL": seconds.to_string()}));
        number(&answer["ID"])
    }

    /// Ends a lease; its keys are deleted.
    #[track_caller]
    pub fn revoke_lease(&self, lease: i64) {
        self.call("lease/revoke", &json!({"ID": lease.to_string()}));
    }

    /// A call of the gateway, `/v3/` before it; without a token, so not when authentication is on.
    #[track_caller]
    pub fn call(&self, path: &str, body: &Value) -> Value {
        let path = format!("/v3/{path}");
        let answer = http::post(self.address(), &path, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    fn spawn(&mut self) {
        let client = self.client_url();
        let peer = format!("http://{}", loopback(self.peer));
        let listen = if self.options.tls {
            format!("{client},{}", self.tls_url())
        } else {
            client.clone()
        };
        let mut command = Command::new("etcd");
        command.env_clear();
        if cfg!(target_arch = "aarch64") {
            // etcd 3.4 wants to be told.
            command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
        }
        command
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args([
                "--name",
                "cim",
                "--logger",
                "zap",
                "--log-outputs",
                "stderr",
            ])
            // It votes for itself once the second of these is over.
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &listen])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("cim={peer}")])
            .args(&self.options.arguments);
        self.process.start(&mut command);
    }

    /// Waits until it answers; false when it ends instead.
    fn answers(&mut self) -> bool {
        let address = self.address();
        let mut ended = false;
        eventually(PATIENCE, || {
            ended = self.process.has_ended();
            let status = http::try_post(address, "/v3/maintenance/status", b"{}");
            ended
                || status.is_ok_and(|answer| {
                    answer.status == 200 && number(&answer.json()["header"]["raft_term"]) > 0
                })
        });
        !ended
    }
}

fn found(answer: &Value) -> Vec<Found> {
    let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
    kvs.iter()
        .map(|kv| Found {
            key: text(&kv["key"]),
            value: text(&kv["value"]),
            mod_revision: number(&kv["mod_revision"]),
            version: number(&kv["version"]),
        })
        .collect()
}
