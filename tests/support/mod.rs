//! The harness: the built binary of CIM started on free ports with files of its own, and plain clients with deadlines.
//!
//! Nothing here uses a fixed port or a bare sleep: what takes time is polled with a limit ([`eventually`]).
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

pub mod arrivals;
pub mod capture;
pub mod cim;
pub mod disk;
pub mod faulty;
pub mod forks;
pub mod http;
pub mod load;
pub mod logs;
pub mod metrics;
pub mod nats;
pub mod nats_server;
pub mod options;
pub mod pod;
pub mod proc;
pub mod publisher;
pub mod tls;

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

pub use cim::Cim;
pub use http::Answer;
pub use load::Load;
pub use nats::NatsWire;
pub use options::Options;
pub use rustix::process::Signal;

/// How long anything may take that normally takes milliseconds: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks.
pub const LOOK: Duration = Duration::from_millis(2);

/// Waits until `condition` holds; panics after `limit`.
#[track_caller]
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) {
    eventually_some(limit, || condition().then_some(()));
}

/// Waits until `look` gives something; panics after `limit`.
#[track_caller]
pub fn eventually_some<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(LOOK);
    }
}

/// Waits until `value` has not changed for `quiet`, and returns it; panics after `limit`.
#[track_caller]
pub fn settled<T: PartialEq>(limit: Duration, quiet: Duration, mut value: impl FnMut() -> T) -> T {
    let start = Instant::now();
    let mut last = value();
    let mut since = Instant::now();
    while since.elapsed() < quiet {
        assert!(start.elapsed() < limit, "still changing after {limit:?}");
        std::thread::sleep(LOOK);
        let now = value();
        if now != last {
            last = now;
            since = Instant::now();
        }
    }
    last
}

/// Random numbers that can be repeated: the seed is printed, and taken from `CIM_TEST_SEED` when that is set.
pub struct Random(u64);

impl Random {
    pub fn new(test: &str) -> Self {
        let seed = std::env::var("CIM_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                let now = std::time::SystemTime::now();
                now.duration_since(std::time::UNIX_EPOCH)
                    .unwrap()
                    .as_nanos() as u64
                    | 1
            });
        eprintln!("{test}: CIM_TEST_SEED={seed}");
        Self::of(seed)
    }

    /// Those of a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound` (xorshift64*).
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }
}

/// A port of loopback on which nobody listens, below those that the kernel gives out by itself: nobody has it by chance before it is used.
pub fn free_port() -> u16 {
    eventually_some(PATIENCE, || {
        let port = 10_000 + (::cim::random::number() % 20_000) as u16;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.is_ok().then_some(port)
    })
}
