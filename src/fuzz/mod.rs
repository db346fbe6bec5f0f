//! What must hold for any bytes from outside: one function for each reader, which panics when it does not.
//!
//! Nothing in the daemon calls them. The targets of `tests/fuzz` are one line each that does, and `tests/kept_inputs.rs`
//! runs them on the inputs that are kept, so that what a fuzzer has once found stays mended.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a target says that something does not hold"
)]

mod backlog;
mod change_set;
mod documents;
mod etcd;
mod exposition;
mod http;
mod journal;
mod kube;
mod logs;
mod nats;
mod nats_config;
mod wire;

pub use backlog::{backlog_lines, backlog_mark};
pub use change_set::{change_set_key, config_answer};
pub use documents::{cim_json, common_infra, registration};
pub use etcd::etcd_frame;
pub use exposition::exposition;
pub use http::http_request;
pub use journal::journal_files;
pub use kube::{kube_pod, settings_patch};
pub use logs::{backup_name, container_names, json_line};
pub use nats::{nats_server_stream, nats_stream};
pub use nats_config::nats_config;
pub use wire::{event, log_message};

/// A target: its name, which is that of its file and of the folder of its kept inputs, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 21] = [
    ("backlog_lines", backlog_lines),
    ("backlog_mark", backlog_mark),
    ("backup_name", backup_name),
    ("change_set_key", change_set_key),
    ("cim_json", cim_json),
    ("common_infra", common_infra),
    ("config_answer", config_answer),
    ("container_names", container_names),
    ("etcd_frame", etcd_frame),
    ("event", event),
    ("exposition", exposition),
    ("http_request", http_request),
    ("journal_files", journal_files),
    ("json_line", json_line),
    ("kube_pod", kube_pod),
    ("log_message", log_message),
    ("nats_config", nats_config),
    ("nats_server_stream", nats_server_stream),
    ("nats_stream", nats_stream),
    ("registration", registration),
    ("settings_patch", settings_patch),
];

/// A text that is shown to people stays on one line and moves no cursor.
fn assert_showable(text: &str) {
    assert!(
        !text.chars().any(char::is_control),
        "a control character is shown: {text:?}"
    );
}

/// The bytes up to the first `separator`, and those after it.
fn split_at_byte(data: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(separator, data) {
        Some(at) => {
            let (first, rest) = data.split_at(at);
            (first, rest.get(1..).unwrap_or_default())
        }
        None => (data, &[]),
    }
}
