//! `/varz`.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

/// What nats-server calls variables: settings in force and counters. Durations are nanoseconds where nats-server has them so.
#[derive(Debug, Clone, Default, Serialize)]
#[allow(missing_docs)]
pub struct Varz {
    pub server_id: String,
    pub server_name: String,
    pub version: &'static str,
    pub proto: u8,
    pub go: &'static str,
    pub host: String,
    pub port: u16,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    pub max_connections: usize,
    pub max_subscriptions: usize,
    pub ping_interval: u64,
    pub ping_max: u32,
    pub http_host: String,
    pub http_port: u16,
    pub http_base_path: &'static str,
    pub https_port: u16,
    /// Seconds.
    pub auth_timeout: f64,
    pub max_control_line: usize,
    pub max_payload: usize,
    pub max_pending: usize,
    /// Seconds.
    pub tls_timeout: f64,
    pub write_deadline: u64,
    pub start: String,
    pub now: String,
    pub uptime: String,
    /// Bytes.
    pub mem: u64,
    pub cores: usize,
    /// Threads that can work at one time; of nats-server's fields the one that clients know.
    pub gomaxprocs: usize,
    /// Per cent of one core, since the start.
    pub cpu: f64,
    pub connections: usize,
    pub total_connections: u64,
    pub routes: usize,
    pub remotes: usize,
    pub leafnodes: usize,
    pub in_msgs: u64,
    pub out_msgs: u64,
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub slow_consumers: u64,
    pub subscriptions: usize,
    pub config_load_time: String,
}

impl Varz {
    /// Nothing but the times.
    pub fn at(started: SystemTime, now: SystemTime) -> Self {
        Self {
            start: super::time(started),
            now: super::time(now),
            uptime: super::uptime(now.duration_since(started).unwrap_or_default()),
            config_load_time: super::time(started),
            ..Self::default()
        }
    }

    /// The page, with nats-server's empty members of what is out of scope.
    pub fn page(&self) -> Value {
        let mut page = json!(self);
        if let Some(members) = page.as_object_mut() {
            for name in [
                "cluster",
                "gateway",
                "leaf",
                "mqtt",
                "websocket",
                "jetstream",
                "http_req_stats",
            ] {
                members.insert(name.into(), json!({}));
            }
            let slow =
                json!({"clients": self.slow_consumers, "routes": 0, "gateways": 0, "leafs": 0});
            members.insert("slow_consumer_stats".into(), slow);
        }
        page
    }
}
