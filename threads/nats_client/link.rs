//! One connection to an external server, through crate `nats`: made, subscribed, watched, ended.
//!
//! What the crate would do by itself after a break (connect anew, keep what is published in a buffer, wait for PONGs without a limit of
//! time) it is kept from: CIM makes a new connection, with its own waits, and knows what was lost.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nats::Subscription;

use super::gate::Gate;
use crate::chain::chain;
use crate::limits::{EXTERNAL_CONNECT_TIME, EXTERNAL_QUEUE};
use crate::metrics::Metrics;
use crate::nats::external::{External, Server};
use crate::settings::problem;

#[expect(
    deprecated,
    reason = "its successor is asynchronous; CIM has no async runtime"
)]
type Connection = nats::Connection;

/// Bytes of what a server says in an error that are shown.
const SHOWN_BYTES: usize = 200;
/// Longest time that the crate's thread waits, after a break, for CIM to let go of the connection.
const RELEASE_TIME: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// Nobody answers there.
    #[error("no NATS server at {server}")]
    Unreachable { server: String, source: io::Error },
    /// It is something else, or speaks only after a TLS handshake.
    #[error("{server} does not begin as a NATS server does")]
    Foreign { server: String },
    /// It does not let CIM in: credentials, TLS.
    #[error("the NATS server {server} refuses the connection")]
    Refused { server: String, source: io::Error },
}

/// What the callbacks of the crate, on its threads, say.
#[derive(Default)]
struct Said {
    broken: AtomicBool,
    error: Mutex<Option<String>>,
}

/// A connection. Dropped in the order of its fields.
pub(super) struct Link {
    /// Scheme, host and port.
    pub(super) server: String,
    connection: Connection,
    pub(super) log: Subscription,
    pub(super) events: Subscription,
    pub(super) config: Subscription,
    pub(super) test: Subscription,
    pub(super) echo: Subscription,
    _gate: Subscription,
    echo_subject: String,
    gate_subject: String,
    pub(super) gate: Arc<Gate>,
    said: Arc<Said>,
    /// Lets the crate's reading thread end after a break.
    _release: Sender<()>,
}

impl Link {
    /// Connects to the first of the servers that answers, and subscribes. Takes as long as it takes.
    pub(super) fn connect(
        external: &External,
        wake: &Arc<dyn Fn() + Send + Sync>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, LinkError> {
        let mut last = None;
        for server in &external.servers {
            match Self::to(server, external, wake, metrics) {
                Ok(link) => return Ok(link),
                Err(error) => {
                    if let Some(before) = last.replace(error) {
                        log::debug!("{}", chain(&before));
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| LinkError::Foreign {
            server: "nowhere".to_owned(),
        }))
    }

    fn to(
        server: &Server,
        external: &External,
        wake: &Arc<dyn Fn() + Send + Sync>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, LinkError> {
        knock(server)?;
        let refused = |source| LinkError::Refused {
            server: server.url.clone(),
            source,
        };
        let (release, released) = bounded(0);
        let (said, gate) = (Arc::new(Said::default()), Arc::new(Gate::default()));
        let gate_subject = inbox();
        let connection = external
            .client_options(server)
            .with_name("cim")
            .max_reconnects(1)
            .reconnect_buffer_size(0)
            .reconnect_delay_callback(|_| Duration::ZERO)
            .disconnect_callback(on_break(&said, wake, released))
            .error_callback(on_error(&said, &gate, &gate_subject, wake, metrics))
            .connect(server.url.as_str())
            .map_err(refused)?;
        let subscribe = |subject: &str, limit| {
            let subscription = connection.subscribe(subject).map_err(refused)?;
            subscription.set_message_limits(limit);
            Ok(subscription)
        };
        let echo_subject = inbox();
        Ok(Self {
            server: server.url.clone(),
            log: subscribe("LOG", EXTERNAL_QUEUE)?,
            events: subscribe("EVENT", EXTERNAL_QUEUE)?,
            config: subscribe("CONFIG", EXTERNAL_QUEUE)?,
            test: subscribe("TEST", EXTERNAL_QUEUE)?,
            echo: subscribe(&echo_subject, EXTERNAL_QUEUE)?,
            _gate: subscribe(&gate_subject, 0)?,
            connection,
            echo_subject,
            gate_subject,
            gate,
            said,
            _release: release,
        })
    }

    /// The connection has broken: what came before is in the queues, and nothing more comes.
    pub(super) fn is_broken(&self) -> bool {
        self.said.broken.load(SeqCst)
    }

    /// What the server last complained of, since it was asked for.
    pub(super) fn error(&self) -> Option<String> {
        let mut error = self.said.error.lock();
        match &mut error {
            Ok(error) => error.take(),
            Err(poisoned) => poisoned.get_mut().take(),
        }
    }

    /// Bytes of the largest payload that the server takes.
    pub(super) fn payload_bytes(&self) -> usize {
        self.connection.max_payload()
    }

    /// Publishes; false when it is to be tried again later. A payload of more than some 30 KiB blocks when the server takes nothing.
    pub(super) fn publish(&self, subject: &str, payload: &[u8]) -> bool {
        const FITS: usize = 24 << 10;
        if payload.len() + subject.len() <= FITS {
            let publish = &self.connection;
            return publish
                .try_publish_with_reply_or_headers(subject, None, None, payload)
                .is_some_and(|published| published.is_ok());
        }
        self.connection.publish(subject, payload).is_ok()
    }

    /// Sends CIM a number, which comes back on `echo` once everything published before is with the server, behind everything that the
    /// server had sent by then.
    pub(super) fn send_echo(&self, number: u64) -> bool {
        self.publish(&self.echo_subject, number.to_string().as_bytes())
    }

    /// Makes the server's messages run into the gate.
    pub(super) fn send_to_gate(&self) -> bool {
        self.publish(&self.gate_subject, b"")
    }

    /// Ends a connection that does not answer any more. Where the crate is stuck in a write, ending the subscriptions would be too:
    /// they are left to the process.
    pub(super) fn abandon(self) {
        self.gate.open();
        if self.is_broken() || self.send_echo(0) {
            return;
        }
        for stuck in [
            self.log,
            self.events,
            self.config,
            self.test,
            self.echo,
            self._gate,
        ] {
            std::mem::forget(stuck);
        }
    }
}

/// Looks whether a server is there and speaks, within a time: the crate has none for it, and could not be called back.
fn knock(server: &Server) -> Result<(), LinkError> {
    let unreachable = |source| LinkError::Unreachable {
        server: server.url.clone(),
        source,
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in server.host_port().to_socket_addrs().map_err(unreachable)? {
        let connected = TcpStream::connect_timeout(&address, EXTERNAL_CONNECT_TIME);
        let greeted = connected.and_then(|mut stream| {
            stream.set_read_timeout(Some(EXTERNAL_CONNECT_TIME))?;
            let mut first = [0; 4];
            stream.read_exact(&mut first).map(|()| first)
        });
        match greeted {
            Ok(first) if &first == b"INFO" => return Ok(()),
            Ok(_) => {
                return Err(LinkError::Foreign {
                    server: server.url.clone(),
                });
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

/// A subject of CIM's own.
fn inbox() -> String {
    let mut bytes = [0; 16];
    crate::random::fill(&mut bytes);
    format!("_INBOX.cim-{:032x}", u128::from_ne_bytes(bytes))
}

fn on_break(
    said: &Arc<Said>,
    wake: &Arc<dyn Fn() + Send + Sync>,
    released: Receiver<()>,
) -> impl Fn() + Send + Sync + 'static {
    let (said, wake) = (Arc::clone(said), Arc::clone(wake));
    move || {
        said.broken.store(true, SeqCst);
        wake();
        // It ends with an error, once the link is dropped. Else the crate would connect anew.
        let _ = released.recv_timeout(RELEASE_TIME);
    }
}

fn on_error(
    said: &Arc<Said>,
    gate: &Arc<Gate>,
    gate_subject: &str,
    wake: &Arc<dyn Fn() + Send + Sync>,
    metrics: &Arc<Metrics>,
) -> impl Fn(io::Error) + Send + Sync + 'static {
    let (said, wake) = (Arc::clone(said), Arc::clone(wake));
    let (gate, gate_subject) = (Arc::clone(gate), gate_subject.to_owned());
    let dropped = metrics.external_dropped.clone();
    move |error| {
        let text = error.to_string();
        let Some((_, of)) = text.split_once("slow consumer detected for subscription on subject ")
        else {
            let shown = problem::escaped(problem::cut(&text, SHOWN_BYTES));
            *said.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
            return wake();
        };
        if of.starts_with(&gate_subject) {
            gate.pass();
        } else {
            let subject = ["LOG", "EVENT", "CONFIG"]
                .into_iter()
                .find(|subject| of.starts_with(subject));
            dropped
                .with_label_values(&[subject.unwrap_or("other")])
                .inc();
        }
    }
}
