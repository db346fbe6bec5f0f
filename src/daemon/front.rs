//! The NATS side of the daemon: the embedded server, or the client of an external one in its place.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use mio::{Poll, Waker};

use super::start::{StartError, listen, started};
use crate::health::{Health, Part, State};
use crate::identity::Identity;
use crate::limits::EXTERNAL_HOLD_TIME;
use crate::metrics::Metrics;
use crate::nats::Change;
use crate::nats::external::{External, Server};
use crate::nats::info::{self, Info};
use crate::nats::monitor::Questions;
use crate::nats::tls::Tls;
use crate::notifications::Outlet;
use crate::options::Options;
use crate::progress::Progress;
use crate::threads::nats_client::{self, NatsClient};
use crate::threads::nats_server::{NatsServer, Senders, Stop, WAKER};
use crate::threads::spawn::Notice;

/// Made before the channels, which need to wake it up.
pub(super) struct Front {
    kind: Kind,
    /// Wakes its thread up. Never blocks.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Where NATS is.
    pub shown: String,
    /// `None` without TLS, or when it is somebody else's.
    pub tls: Option<Arc<Tls>>,
}

enum Kind {
    Embedded {
        poll: Poll,
        waker: Arc<Waker>,
        listener: TcpListener,
        address: SocketAddr,
    },
    External {
        external: External,
        poll: Poll,
    },
}

/// The ends of the channels that are its own.
pub(super) struct Ends {
    pub senders: Senders,
    pub log_progress: Arc<Progress>,
    pub event_progress: Arc<Progress>,
    pub control_progress: Arc<Progress>,
    pub notifications: Outlet,
    pub changes: Receiver<Change>,
    pub questions: Questions,
    pub monitor: SocketAddr,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub stop: Arc<Stop>,
}

impl Front {
    /// Listens, unless the server is an external one.
    pub(super) fn open(options: &Options) -> Result<Self, StartError> {
        if let Some(external) = options.external.clone() {
            let (wake, poll) = started("the NATS client", nats_client::waker())?;
            let shown: Vec<_> = external.servers.iter().map(Server::shown).collect();
            return Ok(Self {
                kind: Kind::External { external, poll },
                wake,
                shown: shown.join(","),
                tls: None,
            });
        }
        let tls = options.nats_tls.clone().map(Tls::load).transpose()?;
        let listener = listen(options.nats, "NATS", "CIM_NATS_PORT")?;
        let address = started("the NATS server", listener.local_addr())?;
        started("the NATS server", listener.set_nonblocking(true))?;
        let poll = started("the NATS server", Poll::new())?;
        let waker = Waker::new(poll.registry(), WAKER);
        let waker = Arc::new(started("the NATS server", waker)?);
        let wake = Arc::clone(&waker);
        Ok(Self {
            kind: Kind::Embedded {
                poll,
                waker,
                listener,
                address,
            },
            // A wake-up can only fail when the poll is gone, and with it who would wake up.
            wake: Arc::new(move || drop(wake.wake())),
            shown: address.to_string(),
            tls: tls.map(Arc::new),
        })
    }

    /// There is no embedded server.
    pub(super) fn is_external(&self) -> bool {
        matches!(self.kind, Kind::External { .. })
    }

    /// Starts its thread; returns that thread's name too.
    pub(super) fn spawn(
        self,
        ends: Ends,
        options: &Options,
        identity: &Identity,
        notices: &Sender<Notice>,
    ) -> Result<(&'static str, JoinHandle<()>), StartError> {
        let limits = options.nats_limits.clone();
        let Ends {
            senders,
            log_progress,
            event_progress,
            control_progress,
            notifications,
            changes,
            questions,
            monitor,
            health,
            metrics,
            stop,
        } = ends;
        match self.kind {
            Kind::External { external, poll } => {
                let client = NatsClient {
                    external,
                    senders,
                    log_progress,
                    event_progress,
                    control_progress,
                    notifications,
                    read_coalesce: limits.read_coalesce,
                    hold_time: EXTERNAL_HOLD_TIME,
                    health,
                    metrics,
                    stop,
                    wake: self.wake,
                    poll,
                };
                Ok((
                    "nats-client",
                    started("the NATS client", client.spawn(notices))?,
                ))
            }
            Kind::Embedded {
                poll,
                waker,
                listener,
                address,
            } => {
                let server = NatsServer {
                    poll,
                    waker,
                    listener: mio::net::TcpListener::from_std(listener),
                    info: Info::new(
                        info::server_id(),
                        identity.pod.clone(),
                        address,
                        limits.payload_bytes,
                    ),
                    auth: options.nats_auth.clone(),
                    tls: self.tls,
                    limits,
                    senders,
                    log_progress,
                    event_progress,
                    control_progress,
                    notifications,
                    changes,
                    questions,
                    monitor: Some(monitor),
                    metrics,
                    stop,
                };
                let thread = started("the NATS server", server.spawn(notices))?;
                health.set(Part::Nats, State::Ready, &format!("listening on {address}"));
                Ok(("nats-server", thread))
            }
        }
    }
}
