//! CIM, the Container Interface Module: what the sidecar knows (`src/`) and what it does all day (`threads/`).
//!
//! Nothing in `src/` starts a thread, and but for `main.rs` and `daemon/` nothing in it imports [`threads`].
//! ARCHITECTURE.md has the map.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

pub mod app;
pub mod backoff;
pub mod chain;
pub mod change_set;
pub mod cli;
pub mod clock;
pub mod daemon;
pub mod etcd;
pub mod events;
pub mod fuzz;
pub mod health;
pub mod http;
pub mod http_agent;
pub mod identity;
pub mod interrupt;
pub mod kafka;
pub mod kube;
pub mod limits;
pub mod logs;
pub mod metrics;
pub mod nats;
pub mod notifications;
pub mod options;
pub mod own_log;
pub mod pem;
pub mod presence;
pub mod progress;
pub mod random;
pub mod registrar;
pub mod registration;
pub mod resolver;
pub mod secret;
pub mod set_aside;
pub mod settings;
pub mod status;
pub mod subscriptions;
pub mod surroundings;
pub mod tap;
pub mod termination;
pub mod wire;

#[path = "../threads/mod.rs"]
pub mod threads;
