//! What CIM is started with.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Value, json};

/// Options of [`super::Cim::start`].
#[derive(Debug, Clone)]
pub struct Options {
    pub binary: PathBuf,
    /// cim.json; no file when it is `None`.
    pub cim_json: Option<Value>,
    /// common-infra.json; no file when it is `None`.
    pub infra_json: Option<Value>,
    /// Further environment, and what replaces the harness's own.
    pub env: Vec<(OsString, OsString)>,
    pub args: Vec<OsString>,
    /// Command that a shell runs before CIM takes its place, such as `ulimit -f 512`.
    pub before: Option<String>,
    /// Where the log files go; a new directory when it is `None`.
    pub log_dir: Option<PathBuf>,
    /// Nobody reads standard output after the first line until it is released.
    pub hold_stdout: bool,
    pub pod: String,
    pub namespace: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            binary: PathBuf::from(env!("CARGO_BIN_EXE_cim")),
            cim_json: None,
            infra_json: None,
            env: Vec::new(),
            args: Vec::new(),
            before: None,
            log_dir: None,
            hold_stdout: false,
            pod: "cnf-0".into(),
            namespace: "ns1".into(),
        }
    }
}

impl Options {
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a member of cim.json, such as `lmaas.logging_mode`; the others keep what the contract gives as default.
    pub fn cim(mut self, member: &str, value: impl Into<Value>) -> Self {
        let json = self.cim_json.get_or_insert_with(default_cim_json);
        let pointer = format!("/cimConfig/{}", member.replace('.', "/"));
        *json.pointer_mut(&pointer).expect(member) = value.into();
        self
    }

    /// Sets a member of common-infra.json.
    pub fn infra(mut self, member: &str, value: impl Into<Value>) -> Self {
        let json = self.infra_json.get_or_insert_with(|| json!({}));
        json[member] = value.into();
        self
    }

    /// The mode of the log lines, and their form on standard output.
    pub fn mode(self, mode: &str, format: &str) -> Self {
        self.cim("lmaas.logging_mode", mode)
            .infra("log_format", format)
    }

    /// Files so large that a test does not lose its lines to rotation: 50 MB, 20 backups.
    pub fn large_files(self) -> Self {
        self.cim("lmaas.max_file_size_in_mb", 50)
            .cim("lmaas.max_backup_files", 20)
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn before(mut self, command: &str) -> Self {
        self.before = Some(command.into());
        self
    }

    pub fn log_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.log_dir = Some(dir.into());
        self
    }

    pub fn hold_stdout(mut self) -> Self {
        self.hold_stdout = true;
        self
    }
}

/// cim.json with every member at its default (CONTRACT section 1).
pub fn default_cim_json() -> Value {
    json!({"cimConfig": {
        "lmaas": {
            "max_file_size_in_mb": 10, "max_backup_files": 10, "max_age": 7, "buffer_size": 10000,
            "flush_timeout": 30, "logging_mode": "FILE", "prefer_local_daemonset": false
        },
        "cim_settings": {
            "enable_kpi": true, "log_level": "ALL", "cim_file_log": true, "num_garp_count": 1,
            "remote_svc_retry_count": 60, "ttl_timeout": 1
        },
        "app_settings": {"app_port": 9999, "http2_enabled": false}
    }})
}
