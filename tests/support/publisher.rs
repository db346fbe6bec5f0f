//! A publisher of the lines of a load that waits for the PONG behind every few of them, and keeps to a pace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::load::line;
use super::nats::{log, publish};
use super::{NatsWire, PATIENCE, eventually};

/// See the module; its lines are those of [`line`], to container `app`, numbered from 0.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Publisher {
    /// `lines` before each PING, at most `rate` a second.
    pub fn start(to: SocketAddr, connection: u32, lines: u64, rate: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let mut wire = NatsWire::connect(to);
        wire.patience = 2 * PATIENCE;
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            while !own.stop.load(SeqCst) {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                // A pause of the sink is not made up for.
                next = next.max(Instant::now()) + Duration::from_secs(lines) / rate as u32;
                let from = own.acknowledged.load(SeqCst);
                let mut block = Vec::new();
                for number in from..from + lines {
                    let payload = log("app", "0123456789ab", &line(connection, number));
                    block.extend(publish("LOG", None, &payload));
                }
                block.extend_from_slice(b"PING\r\n");
                let answer = wire.try_send(&block).and_then(|()| wire.try_line());
                match answer.as_deref() {
                    Ok("PONG") => own.acknowledged.store(from + lines, SeqCst),
                    // CIM was killed.
                    _ => return,
                }
            }
        });
        Self { shared, thread }
    }

    /// Lines before the last PING that was answered.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(SeqCst)
    }

    /// Waits for so many lines more.
    #[track_caller]
    pub fn go_on(&self, lines: u64) {
        let before = self.acknowledged();
        eventually(3 * PATIENCE, || self.acknowledged() >= before + lines);
    }

    /// Ends it; how many lines were acknowledged. When CIM was not killed these are all that were sent.
    pub fn stop(self) -> u64 {
        self.shared.stop.store(true, SeqCst);
        self.thread.join().unwrap();
        self.shared.acknowledged.load(SeqCst)
    }
}
