//! etcd through its v3 JSON gateway: keys, transactions, the watch. Blocking calls with deadlines, over `ureq`.
//!
//! Every call is a POST of a JSON object to `/v3/…` and has a JSON object as answer (etcd 3.4 and newer; grpc-gateway's mapping of
//! protobuf): 64-bit integers are texts, keys and values are base64, a member that has its default value is absent. An error is
//! `{"error":…,"message":…,"code":<gRPC code>}` with an HTTP status; the codes are in [`error`].
//!
//! A watch is a POST too. Its answer does not end: one line of JSON for each frame, `{"result":{…}}`, or `{"error":{…}}` and then the
//! end. Each frame belongs to a revision; whoever resumes asks for the one after the last event seen. A frame that is too large for
//! etcd's own limit comes in fragments, all but the last one marked.
//!
//! ```text
//! json.rs   bytes <-> values       watch.rs   frames of a watch       client.rs   calls and streams, the only sockets here
//! config.rs endpoints, user, TLS   error.rs   what went wrong, and what to do about it
//! ```

pub mod client;
pub mod config;
pub mod error;
pub mod json;
pub mod watch;

pub use client::{Client, Closer, WatchStream};
pub use config::{Config, ConfigError, Timeouts, Tls};
pub use error::{EtcdError, Recovery};
pub use json::{
    Compare, Condition, DeleteAnswer, Header, KeyValue, Operation, PutAnswer, Range, RangeAnswer,
    Status, Txn, TxnAnswer, TxnResponse,
};
pub use watch::{EventKind, Frame, WatchEvent, WatchRequest};
