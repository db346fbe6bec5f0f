//! Makes the channels and starts the threads, the end of the data path first.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam_channel::bounded;
use mio::{Poll, Waker};

use super::Daemon;
use crate::cli::start::Start;
use crate::health::{Health, Part, State};
use crate::http::{Operations, Scope};
use crate::identity::Identity;
use crate::limits::{EVENT_BATCHES, LINE_BATCHES, LOG_BATCHES, OWN_LOG_LINES, SINK_STALL};
use crate::logs::container::Containers;
use crate::logs::disk::RealDisk;
use crate::logs::files::LogFiles;
use crate::logs::folder::FileLimits;
use crate::logs::format::LineForm;
use crate::nats::info::Info;
use crate::progress::Progress;
use crate::registrar::DaemonRegistrar;
use crate::threads::file_writer::FileWriter;
use crate::threads::http_server::HttpServer;
use crate::threads::nats_server::{NatsServer, Stop, WAKER};
use crate::threads::nats_subscriptions::NatsSubscriptions;
use crate::threads::signals;
use crate::threads::spawn::NOTICES;
use crate::threads::stdout_writer::StdoutWriter;

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
