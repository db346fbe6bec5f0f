//! Every bound that CIM keeps, with its unit and its reason. Bounds that an operator may want to move are the defaults
//! of a setting (README, table of settings); the rest are constants. A file has an area; all are `limits::NAME`.

mod aligned;
mod application;
mod change_sets;
mod cli;
mod data_path;
mod etcd;
mod events;
mod http;
mod kafka;
mod kubernetes;
mod log_files;
mod nats;
mod own_log;
mod remote_logs;
mod settings;
mod status;
mod subscriptions;
mod termination;

pub use aligned::*;
pub use application::*;
pub use change_sets::*;
pub use cli::*;
pub use data_path::*;
pub use etcd::*;
pub use events::*;
pub use http::*;
pub use kafka::*;
pub use kubernetes::*;
pub use log_files::*;
pub use nats::*;
pub use own_log::*;
pub use remote_logs::*;
pub use settings::*;
pub use status::*;
pub use subscriptions::*;
pub use termination::*;
