//! The NATS protocol and what a server does with it (nats-server's behaviour, core NATS only); sans-IO.
//!
//! [`parser`] turns bytes into operations, [`broker`] applies them: subscriptions, routing, what each client is owed.
//! Sockets, time and the data path behind LOG, EVENT, CONFIG and TEST are `threads/nats_server.rs`.
//! Source of the protocol: the NATS client protocol reference, and the behaviour of nats-server 2.12 where it is silent.

pub mod auth;
pub mod blocks;
pub mod broker;
pub mod close;
pub mod config;
pub mod external;
pub mod info;
pub mod intake;
pub mod monitor;
pub mod parser;
pub mod subject;
pub mod sublist;
pub mod tls;

pub use broker::{Broker, ClientId, Lent, Outbound};
pub use close::CloseReason;

/// The bounds of one server; the defaults are in [`crate::limits`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a control line.
    pub control_line_bytes: usize,
    /// Bytes of a payload, headers included.
    pub payload_bytes: usize,
    /// Connections at one time.
    pub connections: usize,
    /// Bytes that may wait for one client.
    pub client_pending_bytes: usize,
    /// Bytes that may wait for all clients together.
    pub all_pending_bytes: usize,
    /// Subscriptions of one client.
    pub client_subscriptions: usize,
    /// Subscriptions of all clients.
    pub all_subscriptions: usize,
    /// Bytes of the subjects and queue names of all subscriptions.
    pub all_subscription_bytes: usize,
    /// Time between two PINGs to an idle client.
    pub ping_interval: std::time::Duration,
    /// Time from CONNECT to the first PING, where it is shorter than that.
    pub first_ping: std::time::Duration,
    /// PINGs without an answer before a client counts as gone.
    pub pings_outstanding: u32,
    /// Time to CONNECT when authentication is on.
    pub connect_timeout: std::time::Duration,
    /// Time a client may take no byte of what waits for it.
    pub write_deadline: std::time::Duration,
    /// Time between two reads of a connection that publishes a stream.
    pub read_coalesce: std::time::Duration,
}

/// What can change while the server runs.
#[derive(Debug, Clone)]
pub struct Change {
    /// Who may connect, and what for.
    pub auth: auth::Auth,
    /// The bounds.
    pub limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        use crate::limits as l;
        Self {
            control_line_bytes: l::CONTROL_LINE_BYTES,
            payload_bytes: l::PAYLOAD_BYTES,
            connections: l::CONNECTIONS,
            client_pending_bytes: l::CLIENT_PENDING_BYTES,
            all_pending_bytes: l::ALL_PENDING_BYTES,
            client_subscriptions: l::CLIENT_SUBSCRIPTIONS,
            all_subscriptions: l::ALL_SUBSCRIPTIONS,
            all_subscription_bytes: l::ALL_SUBSCRIPTION_BYTES,
            ping_interval: l::PING_INTERVAL,
            first_ping: l::FIRST_PING,
            pings_outstanding: l::PINGS_OUTSTANDING,
            connect_timeout: l::CONNECT_TIMEOUT,
            write_deadline: l::WRITE_DEADLINE,
            read_coalesce: l::READ_COALESCE,
        }
    }
}
