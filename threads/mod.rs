//! What CIM does all day: one file for each thread.

pub mod file_writer;
pub mod http_server;
pub mod nats_server;
pub mod nats_subscriptions;
pub mod signals;
pub mod spawn;
pub mod stdout_writer;
