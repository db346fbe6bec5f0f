//! CIM's NATS server as it is started, stopped and started again with another configuration; its port stays.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;

use cim::chain::chain;
use cim::http::{self, Access, Monitor, Scope};
use cim::limits::{CONTROL_BATCHES, EVENT_BATCHES, LOG_BATCHES, MONITOR_QUESTIONS};
use cim::metrics::Metrics;
use cim::nats::config::{Listen, ServerConfig};
use cim::nats::info::{self, Info};
use cim::nats::monitor::Asker;
use cim::nats::tls::{HandshakeFirst, Tls, TlsOptions};
use cim::nats::{Change, Limits};
use cim::notifications::notifications;
use cim::progress::Progress;
use cim::threads::http_server::{HttpServer, Stopper};
use cim::threads::nats_server::{NatsServer, Senders, Stop, WAKER};
use cim::threads::spawn::{Notice, spawn};
use crossbeam_channel::{Sender, bounded, never, select};

use crate::https;
use crate::lame_duck::LameDuck;
use crate::pages::Pages;

/// What nats-server has by default, where its own tests look at it.
const PORT: u16 = 4222;
const HOST: &str = "0.0.0.0";
const MAX_PENDING: usize = 64 << 20;
/// There it has no bound: nats.java's tests have a million.
const MAX_SUBSCRIPTIONS: usize = 2_000_000;
/// Bytes of their subjects and queue names.
const SUBSCRIPTION_BYTES: usize = 256 << 20;

/// A port that is taken.
struct Bound {
    listener: TcpListener,
    /// As it was asked for, with the port that it has got.
    address: SocketAddr,
}

/// See the module.
pub struct Server {
    listener: Bound,
    monitor: Option<Bound>,
    https: Option<Bound>,
    server_id: String,
    config: ServerConfig,
    metrics: Arc<Metrics>,
    running: Option<Running>,
}

struct Running {
    changes: Sender<Change>,
    stop: Arc<Stop>,
    waker: Arc<mio::Waker>,
    monitor: Option<Stopper>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// The host is not known, or the port cannot be had.
    pub fn listen(config: ServerConfig) -> Result<Self, Box<dyn Error>> {
        let host = config.host.as_deref().unwrap_or(HOST);
        let listener = bind(host, config.port.unwrap_or(PORT))?;
        let bind_monitor =
            |listen: &Listen| bind(listen.host.as_deref().unwrap_or(host), listen.port);
        let mut monitor = config.http.as_ref().map(bind_monitor).transpose()?;
        let https = config.https.as_ref().map(bind_monitor).transpose()?;
        if https.is_some() && monitor.is_none() {
            monitor = Some(bind("127.0.0.1", 0)?);
        }
        Ok(Self {
            listener,
            monitor,
            https,
            server_id: info::server_id(),
            config,
            metrics: Arc::new(Metrics::new("nats-server")?),
            running: None,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// Where monitoring listens.
    pub fn monitor_address(&self) -> Option<SocketAddr> {
        Some(self.monitor.as_ref()?.address)
    }

    /// What differs is in force when this returns, or soon: users and the number of connections while clients go on, all else by a new start.
    /// Address and port stay.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn reload(
        &mut self,
        config: ServerConfig,
        notices: &Sender<Notice>,
    ) -> Result<(), Box<dyn Error>> {
        let before = std::mem::replace(&mut self.config, config);
        let is_small = ServerConfig {
            authorization: before.authorization.clone(),
            max_connections: before.max_connections,
            ..self.config.clone()
        } == before;
        let change = Change {
            auth: self.config.authorization.auth(),
            limits: self.limits(),
        };
        if is_small && let Some(running) = &self.running {
            running.changes.send(change)?;
            running.waker.wake()?;
            return Ok(());
        }
        self.stop();
        self.start(notices)
    }

    /// Clients are told that the server is about to end, and nobody is let in any more.
    pub fn begin_lame_duck(&self) -> LameDuck {
        if let Some(running) = &self.running {
            running.stop.soon();
        }
        self.send_away(0);
        let clients = usize::try_from(self.metrics.nats_connections.get()).unwrap_or(0);
        LameDuck::new(&self.config, clients)
    }

    /// So many clients are told goodbye.
    pub fn send_away(&self, clients: usize) {
        if let Some(running) = &self.running {
            running.stop.send_away(clients);
            // It fails only when nobody is left to wake.
            let _ = running.waker.wake();
        }
    }

    fn limits(&self) -> Limits {
        let config = &self.config;
        let default = Limits::default();
        Limits {
            control_line_bytes: config
                .max_control_line
                .unwrap_or(default.control_line_bytes),
            payload_bytes: config.max_payload.unwrap_or(default.payload_bytes),
            connections: config.max_connections.unwrap_or(default.connections),
            client_pending_bytes: config.max_pending.unwrap_or(MAX_PENDING),
            all_pending_bytes: default.all_pending_bytes.max(4 * MAX_PENDING),
            client_subscriptions: config.max_subscriptions.unwrap_or(MAX_SUBSCRIPTIONS),
            all_subscriptions: MAX_SUBSCRIPTIONS,
            all_subscription_bytes: SUBSCRIPTION_BYTES,
            ping_interval: config.ping_interval.unwrap_or(default.ping_interval),
            pings_outstanding: config.ping_max.unwrap_or(default.pings_outstanding),
            connect_timeout: config
                .authorization
                .timeout
                .unwrap_or(default.connect_timeout),
            write_deadline: config.write_deadline.unwrap_or(default.write_deadline),
            ..default
        }
    }

    fn tls(&self) -> Result<Option<Arc<Tls>>, Box<dyn Error>> {
        let Some(config) = &self.config.tls else {
            return Ok(None);
        };
        let mut options = TlsOptions::new(&config.cert_file, &config.key_file);
        options.ca_file.clone_from(&config.ca_file);
        options.verify = config.verify;
        options.map = config.map;
        options.pinned.clone_from(&config.pinned_certs);
        options.timeout = config.timeout.unwrap_or(options.timeout);
        options.handshake_first = match (config.handshake_first, config.handshake_fallback) {
            (false, _) => HandshakeFirst::Off,
            (true, None) => HandshakeFirst::On,
            (true, Some(time)) => HandshakeFirst::Within(time),
        };
        options.allow_non_tls = self.config.allow_non_tls;
        let tls = Tls::load(options).map_err(|error| chain(&error))?;
        Ok(Some(Arc::new(tls)))
    }

    fn info(&self, limits: &Limits) -> Result<Info, Box<dyn Error>> {
        let name = self.config.server_name.as_ref().unwrap_or(&self.server_id);
        let mut info = Info::new(
            self.server_id.clone(),
            name.clone(),
            self.listener.address,
            limits.payload_bytes,
        );
        info.headers = !self.config.no_header_support;
        if let Some(advertise) = &self.config.client_advertise {
            let (host, port) = advertise.rsplit_once(':').unwrap_or((advertise, ""));
            info.host = host.to_owned();
            if !port.is_empty() {
                info.port = port.parse()?;
            }
        }
        Ok(info)
    }

    /// Starts its thread, and one that takes what it hands over.
    ///
    /// # Errors
    /// The operating system gives no threads.
    pub fn start(&mut self, notices: &Sender<Notice>) -> Result<(), Box<dyn Error>> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let wake = || {
            let waker = Arc::clone(&waker);
            move || drop(waker.wake())
        };
        let progress = [(); 3].map(|()| Progress::new(wake()));
        let [log_progress, event_progress, control_progress] = progress.clone();
        let (log, mut log_in) = bounded(LOG_BATCHES);
        let (events, mut events_in) = bounded(EVENT_BATCHES);
        let (control, mut control_in) = bounded(CONTROL_BATCHES);
        let (changes, changes_in) = bounded(1);
        let (questions_out, questions) = bounded(MONITOR_QUESTIONS);
        let limits = self.limits();
        let stop = Arc::new(Stop::default());
        let tls = self.tls()?;
        if let (Some(https), Some(tls), Some(pages)) = (self.https.take(), &tls, &self.monitor) {
            https::start(https.listener, tls.config(), pages.address)?;
        }
        let server = NatsServer {
            poll,
            waker: Arc::clone(&waker),
            listener: mio::net::TcpListener::from_std(self.listener.listener.try_clone()?),
            info: self.info(&limits)?,
            auth: self.config.authorization.auth(),
            // Nobody publishes on EVENT-NOTIFICATION.
            notifications: notifications(limits.payload_bytes, wake()).1,
            changes: changes_in,
            questions,
            monitor: self.monitor_address(),
            tls,
            limits,
            senders: Senders {
                log,
                events,
                control,
            },
            log_progress,
            event_progress,
            control_progress,
            metrics: Arc::clone(&self.metrics),
            stop: Arc::clone(&stop),
        };
        let server = server.spawn(notices)?;
        let [log_progress, event_progress, control_progress] = progress;
        let data_path = move || {
            let mut open = 3;
            while open > 0 {
                select! {
                    recv(log_in) -> batch => match batch {
                        Ok(batch) => log_progress.routed(batch.seq),
                        Err(_) => { log_in = never(); open -= 1; }
                    },
                    recv(events_in) -> batch => match batch {
                        Ok(batch) => event_progress.routed(batch.seq),
                        Err(_) => { events_in = never(); open -= 1; }
                    },
                    recv(control_in) -> batch => match batch {
                        Ok(batch) => control_progress.routed(batch.seq),
                        Err(_) => { control_in = never(); open -= 1; }
                    },
                }
            }
        };
        let data_path = spawn("data-path", notices, data_path)?;
        let mut threads = vec![server, data_path];
        let mut monitor = None;
        if let Some(Bound { listener, .. }) = &self.monitor {
            let pages = HttpServer {
                listeners: vec![(listener.try_clone()?, Scope::All)],
                handler: Pages(Monitor::new(
                    Some(Asker::new(questions_out, wake())),
                    Access::Open,
                )),
                metrics: Arc::clone(&self.metrics),
                limits: http::Limits::default(),
            };
            let (thread, stopper) = pages.spawn(notices)?;
            threads.push(thread);
            monitor = Some(stopper);
        }
        self.running = Some(Running {
            changes,
            stop,
            waker,
            monitor,
            threads,
        });
        Ok(())
    }

    /// Ends its threads. Clients are told goodbye.
    pub fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        drop(running.monitor);
        running.stop.in_order();
        let _ = running.waker.wake();
        for thread in running.threads {
            // A panic was told of already.
            let _ = thread.join();
        }
    }
}

/// The first address of `host` that can be had, as for programs in Go: those of IPv4 come first, and all of IPv4 are all of IPv6 too where
/// there are some.
fn bind(host: &str, port: u16) -> Result<Bound, Box<dyn Error>> {
    let mut last = None;
    let mut addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    for address in addresses {
        let listener = if address.ip() == Ipv4Addr::UNSPECIFIED {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(address))
        } else {
            TcpListener::bind(address)
        };
        match listener {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                let address = SocketAddr::new(address.ip(), listener.local_addr()?.port());
                return Ok(Bound { listener, address });
            }
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    Err(format!("cannot listen on {host}:{port}: {error}").into())
}
