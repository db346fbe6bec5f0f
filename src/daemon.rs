//! Makes the channels, starts the threads, supervises them and stops them in the order of the data path.
//!
//! The only file of `src/` besides `main.rs` that knows the threads.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use mio::{Poll, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::start::Start;
use crate::exception;
use crate::health::{Health, Part, State};
use crate::http::{Operations, Scope};
use crate::identity::Identity;
use crate::limits::{
    EVENT_BATCHES, LINE_BATCHES, LOG_BATCHES, OWN_LOG_LINES, SINK_STALL, STOP_TIME,
};
use crate::logs::container::Containers;
use crate::logs::disk::RealDisk;
use crate::logs::files::LogFiles;
use crate::logs::folder::FileLimits;
use crate::logs::format::LineForm;
use crate::metrics::Metrics;
use crate::nats::info::Info;
use crate::own_log::OwnLog;
use crate::progress::Progress;
use crate::registrar::DaemonRegistrar;
use crate::settings::Store;
use crate::settings::reread::reread;
use crate::threads::file_writer::FileWriter;
use crate::threads::http_server::HttpServer;
use crate::threads::nats_server::{NatsServer, Stop, WAKER};
use crate::threads::nats_subscriptions::NatsSubscriptions;
use crate::threads::signals;
use crate::threads::spawn::{NOTICES, Notice};
use crate::threads::stdout_writer::StdoutWriter;

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

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, an address is not this machine's, or a low port needs rights.
    #[error(
        "cannot listen on {address} for {what}: choose another port with {setting}, or end what listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What would have listened.
        what: &'static str,
        /// The setting that moves it.
        setting: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system gives no thread, no poll or no signal handler.
    #[error("cannot start {0}")]
    Thread(&'static str, #[source] io::Error),
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

fn listen(
    address: SocketAddr,
    what: &'static str,
    setting: &'static str,
) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen {
        address,
        what,
        setting,
        source,
    })
}

fn started<T>(what: &'static str, result: io::Result<T>) -> Result<T, StartError> {
    result.map_err(|source| StartError::Thread(what, source))
}

impl Daemon {
    /// Starts everything. It is useful when this returns: NATS, log files, metrics.
    ///
    /// # Errors
    /// A port that cannot be had, or an operating system that gives no threads.
    pub fn start(start: Start) -> Result<Self, StartError> {
        let Start {
            options,
            identity,
            settings,
            metrics,
            own_log,
            remarks,
        } = start;
        let options = Arc::new(options);
        let identity = Arc::new(identity);
        let health = Arc::new(Health::new());
        let lmaas = settings.load().cim.lmaas.clone();
        let cim_settings = settings.load().cim.cim_settings.clone();

        let nats_listener = listen(options.nats, "NATS", "CIM_NATS_PORT")?;
        let rest_listener = listen(options.rest, "the operations API", "CIM_REST_PORT")?;
        let nats = started("the NATS server", nats_listener.local_addr())?;
        let rest = started("the operations API", rest_listener.local_addr())?;
        let mut listeners = vec![(rest_listener, Scope::All)];
        if let Some(address) = options.metrics {
            listeners.push((
                listen(address, "metrics", "CIM_METRICS_BIND")?,
                Scope::MetricsOnly,
            ));
        }

        let (notices_in, notices) = bounded(NOTICES);
        let (signals_thread, signals) = started("the signal handler", signals::start(&notices_in))?;

        let poll = started("the NATS server", Poll::new())?;
        let nats_waker = Arc::new(started(
            "the NATS server",
            Waker::new(poll.registry(), WAKER),
        )?);
        let wake = || {
            let waker = Arc::clone(&nats_waker);
            // A wake-up can only fail when the poll is gone, and with it who would wake up.
            move || drop(waker.wake())
        };
        let (log_progress, event_progress) = (Progress::new(wake()), Progress::new(wake()));

        let (log_out, log_in) = bounded(LOG_BATCHES);
        let (events_out, events_in) = bounded(EVENT_BATCHES);
        let (own_out, own_in) = bounded(OWN_LOG_LINES);
        let (file_out, file_in) = bounded(LINE_BATCHES);
        let (stdout_out, stdout_in) = bounded(LINE_BATCHES);

        let containers = Containers::new(&identity.pod, &identity.namespace);
        let files = LogFiles::new(
            RealDisk,
            options.paths.log_dir.clone(),
            containers.prefix().to_owned(),
            FileLimits::from(&lmaas),
            Arc::clone(&metrics),
        );
        let file_writer = FileWriter {
            batches: file_in,
            files,
            settings: Arc::clone(&settings),
            progress: Arc::clone(&log_progress),
        };
        let stdout =
            rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(io::Error::from);
        let stdout_writer = StdoutWriter {
            batches: stdout_in,
            files: file_out.clone(),
            out: started("the stdout writer", stdout)?,
            stall: SINK_STALL,
            form: LineForm::new(&identity.pod, &identity.namespace),
            settings: Arc::clone(&settings),
            progress: Arc::clone(&log_progress),
            metrics: Arc::clone(&metrics),
        };
        let subscriptions = NatsSubscriptions {
            log: log_in,
            events: events_in,
            own: own_in,
            file: file_out,
            stdout: stdout_out,
            containers,
            own_id: identity.container_id.clone(),
            settings: Arc::clone(&settings),
            log_progress: Arc::clone(&log_progress),
            event_progress: Arc::clone(&event_progress),
            metrics: Arc::clone(&metrics),
        };
        let nats_stop = Arc::new(Stop::default());
        started("the NATS server", nats_listener.set_nonblocking(true))?;
        let nats_server = NatsServer {
            poll,
            listener: mio::net::TcpListener::from_std(nats_listener),
            info: info(&identity, nats, options.nats_limits.payload_bytes),
            auth: options.nats_auth.clone(),
            limits: options.nats_limits.clone(),
            log: log_out,
            events: events_out,
            log_progress,
            event_progress,
            metrics: Arc::clone(&metrics),
            stop: Arc::clone(&nats_stop),
        };
        let http_server = HttpServer {
            listeners,
            handler: Operations {
                metrics: Arc::clone(&metrics),
                metrics_enabled: cim_settings.enable_kpi,
                health: Arc::clone(&health),
                registrar: DaemonRegistrar {
                    identity,
                    options,
                    settings: Arc::clone(&settings),
                },
            },
            metrics: Arc::clone(&metrics),
            limits: crate::http::Limits::default(),
        };

        // The end of the data path first, so that nothing is sent to nobody.
        let file = started("the file writer", file_writer.spawn(&notices_in))?;
        let stdout = started("the stdout writer", stdout_writer.spawn(&notices_in))?;
        let subscriptions = started("the subscriptions", subscriptions.spawn(&notices_in))?;
        own_log.attach(own_out);
        let server = started("the NATS server", nats_server.spawn(&notices_in))?;
        let (http, http_stop) = started("the operations API", http_server.spawn(&notices_in))?;
        health.set(Part::Nats, State::Ready, &format!("listening on {nats}"));
        health.set(Part::Http, State::Ready, &format!("listening on {rest}"));
        Ok(Self {
            notices,
            own_log,
            metrics,
            settings,
            health,
            nats_stop,
            nats_waker,
            http_stop,
            signals,
            threads: vec![
                ("nats-server", server),
                ("nats-subscript", subscriptions),
                ("stdout-writer", stdout),
                ("file-writer", file),
                ("http-server", http),
                ("signals", signals_thread),
            ],
            remarks,
            nats,
            rest,
        })
    }

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

fn info(identity: &Identity, nats: SocketAddr, max_payload: usize) -> Info {
    let mut random = [0u8; 55];
    // Without randomness the id is the same at each start, which only a client's log would show.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let letters = random.map(|byte| {
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or(b'A'),
        )
    });
    let id = std::iter::once('N').chain(letters).collect();
    Info::new(id, identity.pod.clone(), nats, max_payload)
}
