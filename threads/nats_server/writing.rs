//! A second thread that writes, where much waits.
//!
//! Nearly all that a large message costs is the kernel's work of copying it into each subscriber's socket. The bytes of one client at a
//! time are lent to the helper, with a second descriptor of its socket; meanwhile this thread reads, routes, and writes to the others. To
//! a client whose bytes are lent it writes nothing. It takes them back before it sleeps and before it closes a connection, so that
//! the helper never has to wake it. The helper never waits for a socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::io::Errno;

use crate::nats::{Broker, ClientId, CloseReason, Lent};

use super::Loop;
use super::connection::Connection;
use super::transport::{CHUNKS_A_WRITE, Transport};

/// Bytes from which lending is worth the wake-up.
const LEND_BYTES: usize = 128 << 10;
/// Clients whose bytes are away at a time: one that is written to, and one that comes next.
const LENT: usize = 2;

struct Job {
    id: ClientId,
    socket: OwnedFd,
    bytes: Lent,
}

struct Done {
    id: ClientId,
    bytes: Lent,
    /// The socket takes no more, or is broken: whoever writes next learns which.
    is_stuck: bool,
}

struct Helper {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

/// The way to the helper, which is there once it was needed, and ends with this.
#[derive(Default)]
pub(super) struct Writer {
    helper: Option<Helper>,
    /// The clients whose bytes are away, and how many they were; the first one's come back first.
    lent: VecDeque<(ClientId, usize)>,
}

impl Helper {
    fn start() -> io::Result<Self> {
        let (jobs, todo) = bounded::<Job>(LENT);
        let (results, done) = bounded(LENT);
        std::thread::Builder::new()
            .name("nats-writer".into())
            .spawn(move || {
                for job in todo {
                    if results.send(job.run()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { jobs, done })
    }
}

impl Job {
    fn run(self) -> Done {
        let Self {
            id,
            socket,
            mut bytes,
        } = self;
        let mut is_stuck = false;
        while !bytes.is_empty() && !is_stuck {
            let mut slices = [IoSlice::new(&[]); CHUNKS_A_WRITE];
            let count = bytes.slices(&mut slices);
            match rustix::io::writev(&socket, slices.get(..count).unwrap_or_default()) {
                Ok(written) => bytes.sent(written),
                Err(Errno::INTR) => {}
                Err(_) => is_stuck = true,
            }
        }
        Done {
            id,
            bytes,
            is_stuck,
        }
    }
}

impl Writer {
    /// Sends what waits for the client, as much as its socket takes: here, or by the helper when that is worth it.
    pub(super) fn flush(
        &mut self,
        connections: &mut [Option<Connection>],
        id: ClientId,
        broker: &mut Broker,
        now: Instant,
    ) -> io::Result<()> {
        self.take_what_is_done(connections, broker, now);
        if self.lent.iter().any(|&(lent, _)| lent == id) {
            return Ok(());
        }
        let Some(Some(connection)) = connections.get_mut(id) else {
            return Ok(());
        };
        if self.lent.len() < LENT && self.lend(connection, id, broker) {
            return Ok(());
        }
        connection.flush(id, broker, now)
    }

    /// Lends what waits for the client, if it is much and the socket takes it. False when it does not come to that.
    fn lend(&mut self, connection: &Connection, id: ClientId, broker: &mut Broker) -> bool {
        let len = broker.outbound(id).map_or(0, |out| out.len());
        if len < LEND_BYTES
            || connection.blocked_since.is_some()
            || !matches!(connection.transport, Transport::Plain)
        {
            return false;
        }
        // Without a descriptor or a thread to spare it is done here.
        let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(&connection.stream, 0) else {
            return false;
        };
        if self.helper.is_none() {
            self.helper = Helper::start().ok();
        }
        let Some(helper) = &self.helper else {
            return false;
        };
        let Some(bytes) = broker.lend(id) else {
            return false;
        };
        match helper.jobs.try_send(Job { id, socket, bytes }) {
            Ok(()) => {
                self.lent.push_back((id, len));
                true
            }
            Err(refused) => {
                self.helper = None;
                broker.take_back(id, refused.into_inner().bytes);
                false
            }
        }
    }

    fn take_what_is_done(
        &mut self,
        connections: &mut [Option<Connection>],
        broker: &mut Broker,
        now: Instant,
    ) {
        while let Some(helper) = &self.helper
            && !self.lent.is_empty()
            && let Ok(done) = helper.done.try_recv()
        {
            self.take(done, connections, broker, now);
        }
    }

    fn take(
        &mut self,
        done: Done,
        connections: &mut [Option<Connection>],
        broker: &mut Broker,
        now: Instant,
    ) {
        let Some((_, len)) = self.lent.pop_front() else {
            return;
        };
        if let Some(Some(connection)) = connections.get_mut(done.id) {
            connection.wrote(done.bytes.len() < len, done.is_stuck, now);
        }
        broker.take_back(done.id, done.bytes);
    }
}

impl Loop {
    /// Waits for what is lent. What is left of it then is sent from here.
    pub(super) fn take_back_lent(&mut self) {
        if self.writer.lent.is_empty() {
            return;
        }
        while let Some(&(id, _)) = self.writer.lent.front() {
            let done = self.writer.helper.as_ref().map(|helper| helper.done.recv());
            let Some(Ok(done)) = done else {
                // It has died with what it had.
                for (id, _) in std::mem::take(&mut self.writer).lent {
                    self.broker.take_back(id, Lent::default());
                    let error = io::ErrorKind::BrokenPipe.into();
                    self.broken(id, &error, CloseReason::WriteError);
                }
                return;
            };
            self.writer
                .take(done, &mut self.connections, &mut self.broker, self.now);
            let flushed = self.connections.get_mut(id).and_then(Option::as_mut);
            if let Some(connection) = flushed {
                let result = connection.flush(id, &mut self.broker, self.now);
                self.flushed(id, result);
            }
        }
        self.settle_notified();
    }
}
