//! Makes the channels, starts the threads, supervises them and stops them in the order of the data path.
//!
//! The only folder of `src/` besides `main.rs` that knows the threads.

mod start;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use mio::Waker;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exception;
use crate::health::Health;
use crate::limits::STOP_TIME;
use crate::metrics::Metrics;
use crate::own_log::OwnLog;
use crate::settings::Store;
use crate::settings::reread::reread;
use crate::threads::nats_server::Stop;
use crate::threads::spawn::Notice;
pub use start::StartError;

/// Time that the operations API has to finish its answers, and a thread to end once its input has.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Asked to, and everything accepted was stored.
    InOrder,
    /// A thread ended unasked, or did not end in time: lines may be missing.
    Failed,
}

/// The running daemon.
pub struct Daemon {
    notices: Receiver<Notice>,
    own_log: OwnLog,
    metrics: Arc<Metrics>,
    settings: Arc<Store>,
    health: Arc<Health>,
    nats_stop: Arc<Stop>,
    nats_waker: Arc<Waker>,
    http_stop: crate::threads::http_server::Stopper,
    signals: signal_hook::iterator::Handle,
    /// In the order in which they end.
    threads: Vec<(&'static str, JoinHandle<()>)>,
    /// For CIM's own log, once the caller has said where CIM listens.
    remarks: Vec<(log::Level, String)>,
    /// Where the NATS server listens.
    pub nats: SocketAddr,
    /// Where the operations API listens.
    pub rest: SocketAddr,
}

impl Daemon {
    /// Works until a signal or the end of a thread, then stops in order.
    pub fn run(mut self) -> End {
        for (level, remark) in self.remarks.drain(..) {
            log::log!(level, "{remark}");
        }
        let failed = self.supervise();
        if let Some(thread) = failed {
            let reason = format!("thread {thread} has ended unasked: CIM stops");
            self.health.fail(&reason);
            complain(&reason);
            exception!("{reason}");
            self.nats_stop.at_once();
        } else {
            self.nats_stop.in_order();
        }
        let stopped = self.stop(failed);
        if failed.is_none() && stopped {
            End::InOrder
        } else {
            End::Failed
        }
    }

    /// Returns when CIM has to stop; with the thread that has ended unasked.
    fn supervise(&self) -> Option<&'static str> {
        loop {
            match self.notices.recv() {
                Ok(Notice::Signal(SIGHUP)) => reread(&self.settings, &self.own_log, &self.metrics),
                Ok(Notice::Signal(signal)) => {
                    let name = if signal == SIGTERM {
                        "SIGTERM"
                    } else {
                        "SIGINT"
                    };
                    debug_assert!(matches!(signal, SIGTERM | SIGINT));
                    log::info!("{name}: CIM stops");
                    return None;
                }
                Ok(Notice::Ended(name, _)) => return Some(name),
                // Every thread has ended without a word: as bad.
                Err(_) => return Some("signals"),
            }
        }
    }

    /// Ends the threads in the order of the data path. False when one did not end in time.
    fn stop(&mut self, failed: Option<&'static str>) -> bool {
        // A wake-up can only fail when the thread is gone.
        let _ = self.nats_waker.wake();
        let mut deadline = Instant::now()
            + if failed.is_some() {
                LAST_STEPS
            } else {
                STOP_TIME + LAST_STEPS
            };
        let mut ended: Vec<&'static str> = failed.into_iter().collect();
        let mut in_time = true;
        for (name, thread) in std::mem::take(&mut self.threads) {
            match name {
                // From here on nobody reads the own log's channel.
                "nats-subscript" => self.own_log.detach(),
                "http-server" => {
                    deadline = deadline.max(Instant::now() + LAST_STEPS);
                    self.http_stop.stop();
                }
                "signals" => self.signals.close(),
                _ => {}
            }
            while !ended.contains(&name) {
                match self.notices.recv_deadline(deadline) {
                    Ok(Notice::Ended(other, _)) => ended.push(other),
                    Ok(Notice::Signal(_)) => {}
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                        complain(&format!(
                            "thread {name} did not end in time: what it holds is lost"
                        ));
                        in_time = false;
                        break;
                    }
                }
            }
            if ended.contains(&name) && thread.join().is_err() {
                in_time = false;
            }
        }
        in_time
    }
}

/// To standard error. Nobody may be reading it, and that must not stop the stop: `eprintln!` would panic.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "cim: {text}");
}
