//! What CIM does all day: one file for each thread.

pub mod aligned_scraper;
pub mod config_delivery;
pub mod etcd_watch;
pub mod event_sender;
pub mod file_writer;
pub mod http_server;
pub mod journal_writer;
pub mod kafka_consumer;
pub mod kubernetes;
pub mod log_connector;
pub mod log_sender;
pub mod nats_client;
pub mod nats_server;
pub mod nats_subscriptions;
pub mod probes;
pub mod signals;
pub mod spawn;
pub mod stdout_writer;

#[cfg(test)]
pub(crate) mod testing {
    //! Waiting in tests.

    use std::time::{Duration, Instant};

    /// Waits until `condition` holds; fails the test after 20 s.
    #[track_caller]
    pub fn eventually(condition: impl Fn() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "it never happened"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
