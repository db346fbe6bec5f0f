//! `/varz`.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::Page;

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
    /// Pages that were asked for, by path.
    pub http_req_stats: Asked,
    /// Clients that did not answer PINGs.
    pub stale_connections: u64,
    /// Publishers that had to wait for a slow consumer: they do not, here.
    pub stalled_clients: u64,
    pub slow_consumers: u64,
    pub subscriptions: usize,
    pub config_load_time: String,
}

/// How often each page was asked for.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Asked {
    #[serde(rename = "/varz")]
    varz: u64,
    #[serde(rename = "/connz")]
    connz: u64,
    #[serde(rename = "/subsz")]
    subsz: u64,
}

impl Asked {
    /// Once more for this one.
    pub fn count(&mut self, page: &Page) {
        *match page {
            Page::Varz => &mut self.varz,
            Page::Connz(_) => &mut self.connz,
            Page::Subsz(_) => &mut self.subsz,
        } += 1;
    }
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
            ] {
                members.insert(name.into(), json!({}));
            }
            let of_clients =
                |clients| json!({"clients": clients, "routes": 0, "gateways": 0, "leafs": 0});
            for (name, clients) in [
                ("slow_consumer_stats", self.slow_consumers),
                ("stale_connection_stats", self.stale_connections),
            ] {
                members.insert(name.into(), of_clients(clients));
            }
        }
        page
    }
}
