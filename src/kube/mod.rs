//! The Kubernetes API, from inside a pod (CONTRACT section 11): pods, config maps, one cluster role; and TMaaS, which says
//! where the surroundings are.
//!
//! HTTP/1.1 over TLS with the service account's CA and token (Kubernetes, "Accessing the Kubernetes API from a Pod"). Every call
//! has its own time-out, every answer its bound, and every status a meaning: [`KubeError::recovery`].
//!
//! ```text
//! address.rs   where the server is      service_account.rs   token and CA, read when needed     client.rs   the calls
//! model.rs     answers -> values        error.rs             what a failure means               agent.rs    sockets that can be closed
//! config_map.rs   CIM's own ConfigMap   tmaas.rs   common-infra.json over HTTP                  schedule.rs   what to try next, and when
//! command.rs      what other threads ask of the thread `kubernetes`                               collector.rs   the log collector of this node
//! ```

mod address;
mod agent;
mod client;
mod collector;
mod command;
pub mod config_map;
mod error;
mod model;
mod schedule;
mod service_account;
mod tmaas;

pub use address::{AddressError, ServerAddress};
pub use agent::Closer;
pub use client::{Client, Created, Deleted, Right};
pub use collector::local_collector;
pub use command::Command;
pub use error::{Cause, KubeError, Recovery};
pub use model::{ClusterRole, ConfigMap, Pod};
pub use schedule::{Next, Schedule, Step, spread, tmaas_delay};
pub use service_account::ServiceAccount;
pub use tmaas::{Tmaas, TmaasCause, TmaasError};
