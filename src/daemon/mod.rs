//! Makes the channels, starts the threads, supervises them and stops them in the order of the data path.
//!
//! The only folder of `src/` besides `main.rs` that knows the threads.

mod ending;
mod front;
mod start;

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, never, select, tick};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::chain::chain;
use crate::events::{AppSignal, OwnEvents};
use crate::health::Health;
use crate::interrupt::Interrupter;
use crate::kube::Command;
use crate::limits::{CONFIG_STOP_TIME, EVENTS_STOP_TIME, PRESENCE_LOOK, STOP_TIME};
use crate::metrics::Metrics;
use crate::nats::Change;
use crate::nats::config::{Authorization, Files};
use crate::nats::tls::Tls;
use crate::own_log::OwnLog;
use crate::presence::{Presence, Seen};
use crate::settings::Store;
use crate::settings::reread::reread;
use crate::surroundings::Surroundings;
use crate::termination::EndSignal;
use crate::threads::nats_server::Stop;
use crate::threads::spawn::Notice;
use ending::{Cause, Ending};
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
    own_log: Arc<OwnLog>,
    metrics: Arc<Metrics>,
    settings: Arc<Store>,
    health: Arc<Health>,
    nats_stop: Arc<Stop>,
    /// Wakes `nats-server` or `nats-client`.
    wake_nats: Arc<dyn Fn() + Send + Sync>,
    nats_tls: Option<Arc<Tls>>,
    nats_changes: Sender<Change>,
    http_stop: crate::threads::http_server::Stopper,
    /// `None` without Kubernetes.
    kubernetes_stop: Option<crate::threads::kubernetes::Stopper>,
    to_kubernetes: Option<Sender<Command>>,
    watch: Interrupter,
    delivery: Interrupter,
    /// Of `aligned_scraper`.
    aligned: Interrupter,
    /// Of `kafka_consumer`.
    consumer: Interrupter,
    /// The pod goes for good: its memory in etcd is to be removed.
    forget: Arc<AtomicBool>,
    /// The application's events about its own end.
    shutdown: Receiver<AppSignal>,
    /// `None` once nobody raises any more.
    own_events: Option<OwnEvents>,
    /// Dropped when the stop begins: from then on the journal waits for nothing for long.
    journal_stop: Option<Sender<Infallible>>,
    /// Of `event_sender`.
    events: Interrupter,
    surroundings: Surroundings,
    signals: signal_hook::iterator::Handle,
    /// In the order in which they end.
    threads: Vec<(&'static str, JoinHandle<()>)>,
    /// For CIM's own log, once the caller has said where CIM listens.
    remarks: Vec<(log::Level, String)>,
    /// Where the NATS server listens, or where the external ones are.
    pub nats: String,
    /// Where the operations API listens.
    pub rest: SocketAddr,
}

impl Daemon {
    /// Works until a signal or the end of a thread, then stops in order.
    pub fn run(mut self) -> End {
        for (level, remark) in self.remarks.drain(..) {
            log::log!(level, "{remark}");
        }
        let cause = self.supervise();
        let ending = self.ending(cause);
        let failed = ending.failed;
        if failed.is_some() {
            self.nats_stop.at_once();
        } else {
            self.nats_stop.in_order();
        }
        let stopped = self.stop(&ending);
        if failed.is_none() && stopped {
            End::InOrder
        } else {
            End::Failed
        }
    }

    /// Returns when CIM has to stop.
    fn supervise(&self) -> Cause {
        let absence = self.surroundings.options.end_after_app;
        let mut presence = absence.map(Presence::new);
        let look = absence.map_or_else(never, |_| tick(PRESENCE_LOOK));
        loop {
            select! {
                recv(self.notices) -> notice => match notice {
                    Ok(notice) => {
                        if let Some(cause) = self.notice(notice) {
                            return cause;
                        }
                    }
                    // Every thread has ended without a word: as bad.
                    Err(_) => return Cause::Died("signals"),
                },
                recv(look) -> _ => {
                    let seen = self.seen();
                    let is_over = |presence: &mut Presence| presence.is_over(seen, Instant::now());
                    if presence.as_mut().is_some_and(is_over) {
                        return Cause::AppGone;
                    }
                }
            }
        }
    }

    /// What tells whether the application is there.
    fn seen(&self) -> Seen {
        let count = |gauge: i64| u64::try_from(gauge).unwrap_or(0);
        Seen {
            open: count(self.metrics.nats_connections.get()),
            accepted: self.metrics.nats_connections_total.get(),
            undelivered: count(self.metrics.events.journal_records.get())
                + count(self.metrics.remote.backlog_lines.get()),
        }
    }

    /// What a notice means; `None`: nothing for the end.
    fn notice(&self, notice: Notice) -> Option<Cause> {
        match notice {
            Notice::Signal(SIGHUP) => {
                let before = self.surroundings.etcd();
                reread(&self.settings, &self.own_log, &self.metrics);
                self.reread_certificates();
                if self.surroundings.etcd() == before {
                    self.watch.wake();
                } else {
                    // Else it would go on with the old etcd until its stream ends.
                    self.watch.cut();
                }
                self.reread_users();
                self.delivery.wake();
                self.events.wake();
                self.consumer.wake();
                None
            }
            Notice::Signal(SIGTERM) => Some(Cause::Signal(EndSignal::Terminate)),
            Notice::Signal(signal) => {
                debug_assert_eq!(signal, SIGINT);
                Some(Cause::Signal(EndSignal::Interrupt))
            }
            Notice::Ended(name, _) => Some(Cause::Died(name)),
        }
    }

    /// Users come and go; the last ones that could be read stay in force.
    fn reread_users(&self) {
        let options = &self.surroundings.options;
        let Some(path) = &options.nats_auth_file else {
            return;
        };
        match Authorization::read(path, &Files) {
            Ok(authorization) => {
                let change = Change {
                    auth: authorization.auth(),
                    limits: options.nats_limits.clone(),
                };
                // There is one on its way already: the next SIGHUP will do.
                if self.nats_changes.try_send(change).is_ok() {
                    (self.wake_nats)();
                    log::info!("users of the NATS server read again");
                }
            }
            Err(error) => log::error!(
                "users of the NATS server: {}; the old ones stay in force",
                chain(&error)
            ),
        }
    }

    /// Certificates are renewed from time to time: connections to come get the new ones.
    fn reread_certificates(&self) {
        match self.nats_tls.as_ref().map(|tls| tls.reload()) {
            None => {}
            Some(Ok(())) => log::info!("certificates of the NATS server read again"),
            Some(Err(error)) => log::error!(
                "certificates of the NATS server: {}; the old ones stay in force",
                chain(&error)
            ),
        }
    }

    /// Ends the threads in the order of the data path. False when one did not end in time.
    fn stop(&mut self, ending: &Ending) -> bool {
        let failed = ending.failed;
        self.watch.stop();
        self.aligned.stop();
        self.consumer.stop();
        self.journal_stop = None;
        (self.wake_nats)();
        let time = match failed {
            Some(_) => LAST_STEPS,
            None => STOP_TIME + LAST_STEPS,
        };
        let now = Instant::now();
        // What is left of the grace; its last moment is better used than lost.
        let left = ending
            .killed_at
            .map_or(time, |at| at.saturating_duration_since(now));
        let mut deadline = now + time.min(left.max(LAST_STEPS));
        let mut ended: Vec<&'static str> = failed.into_iter().collect();
        let mut in_time = true;
        for (name, thread) in std::mem::take(&mut self.threads) {
            match name {
                // From here on nobody reads the own log's channel.
                "nats-subscript" => self.own_log.detach(),
                // Answers have come to an end; a commit that etcd does not take now is left to the next start.
                "config-delivery" => {
                    self.ends(name, &mut ended, Instant::now() + CONFIG_STOP_TIME);
                    self.delivery.stop();
                }
                "journal-writer" => self.own_events = None,
                "event-sender" => {
                    self.events.stop();
                    deadline = deadline.max(Instant::now() + EVENTS_STOP_TIME + LAST_STEPS);
                }
                "kubernetes" => {
                    if ending.delete_pod {
                        self.delete_pod();
                    }
                    deadline = deadline.max(Instant::now() + LAST_STEPS);
                    self.kubernetes_stop = None;
                }
                "http-server" => {
                    deadline = deadline.max(Instant::now() + LAST_STEPS);
                    self.http_stop.stop();
                }
                "signals" => self.signals.close(),
                _ => {}
            }
            if self.ends(name, &mut ended, deadline) {
                in_time &= thread.join().is_ok();
            } else {
                complain(&format!(
                    "thread {name} did not end in time: what it holds is lost"
                ));
                in_time = false;
            }
        }
        in_time
    }

    /// Waits for the end of thread `name`; false when it does not come by `deadline`.
    fn ends(&self, name: &'static str, ended: &mut Vec<&'static str>, deadline: Instant) -> bool {
        while !ended.contains(&name) {
            match self.notices.recv_deadline(deadline) {
                Ok(Notice::Ended(other, _)) => ended.push(other),
                Ok(Notice::Signal(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }
}

/// To standard error. Nobody may be reading it, and that must not stop the stop: `eprintln!` would panic.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "cim: {text}");
}
