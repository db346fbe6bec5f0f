//! Lines to a log collector over TCP, each with `\n` behind it.
//!
//! A line has arrived when the peer's kernel has acknowledged its bytes: more cannot be known without a protocol of the
//! collector's own. What is written and not acknowledged is kept small (`SO_SNDBUF`), a peer that is gone without a word is
//! noticed (keep-alive while nothing is under way, `TCP_USER_TIMEOUT` while something is), and what a peer says is thrown away.
//!
//! The caller keeps the lines until they have arrived; here they are bytes on their way, and marks that say where in the
//! stream the lines of a chunk end. What has arrived of late is kept too: see [`super::tail`].

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use ureq::Timeout;
use ureq::http::Uri;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::NextTimeout;

use super::tail::{Legacy, Tail};
use super::unacknowledged::Unacknowledged;
use super::{Arrived, Remote, RemoteError};
use crate::limits;
use crate::resolver::CachingResolver;

/// A connection to a log collector.
#[derive(Debug)]
pub struct TcpSink {
    stream: TcpStream,
    peer: SocketAddr,
    unacknowledged: Unacknowledged,
    /// Bytes to be written; those before `start` are.
    waiting: Vec<u8>,
    start: usize,
    /// Bytes written to the socket since the beginning.
    written: u64,
    /// Bytes of them that the peer has acknowledged.
    acknowledged: u64,
    /// Lines that have not arrived, in their order.
    marks: VecDeque<Mark>,
    /// Their bytes; those before `arrived` have arrived.
    under_way: Vec<u8>,
    arrived: usize,
    /// Lines that have arrived of late.
    tail: Tail,
    legacy: Legacy,
}

/// Consecutive lines of one chunk.
#[derive(Debug)]
struct Mark {
    /// `None`: lines that an earlier connection has sent before; nobody waits for them.
    chunk: Option<u64>,
    lines: u32,
    /// Where they begin and end, in bytes since the beginning of the connection.
    begin: u64,
    end: u64,
}

impl Mark {
    fn bytes(&self) -> usize {
        usize::try_from(self.end - self.begin).unwrap_or(usize::MAX)
    }
}

impl TcpSink {
    /// Connects to `address`, `host:port`: all addresses of a name in their order, within [`limits::TCP_FIND_TIME`].
    ///
    /// # Errors
    /// The name is not found, nobody takes the connection, or the kernel does not tell what is acknowledged.
    pub fn connect(
        resolver: &CachingResolver,
        address: &str,
        legacy: &Legacy,
    ) -> Result<Self, RemoteError> {
        let until = Instant::now() + limits::TCP_FIND_TIME;
        let mut failure = None;
        for peer in find(resolver, address)? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match open(peer, left.min(limits::TCP_CONNECT_TIME)) {
                Ok(stream) => return Self::of(stream, peer, legacy.clone()),
                Err(source) => failure = Some((peer, source)),
            }
        }
        let (last, source) = failure.map_or_else(
            || (String::new(), io::ErrorKind::TimedOut.into()),
            |(peer, source)| (peer.to_string(), source),
        );
        Err(RemoteError::Unreachable {
            address: address.to_owned(),
            last,
            source,
        })
    }

    /// The address that the connection leads to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// No line waits, and none is under way.
    pub fn is_idle(&self) -> bool {
        self.marks.is_empty()
    }

    fn of(stream: TcpStream, peer: SocketAddr, legacy: Legacy) -> Result<Self, RemoteError> {
        let local = stream.local_addr().map_err(|error| broken(peer, error))?;
        let unacknowledged = Unacknowledged::of(local, peer);
        let unacknowledged = unacknowledged.map_err(|source| blind(peer, source))?;
        let waiting = legacy.inherit();
        let mut marks = VecDeque::new();
        if !waiting.is_empty() {
            marks.push_back(Mark {
                chunk: None,
                lines: 0,
                begin: 0,
                end: waiting.len() as u64,
            });
        }
        Ok(Self {
            stream,
            peer,
            unacknowledged,
            under_way: waiting.clone(),
            arrived: 0,
            waiting,
            start: 0,
            written: 0,
            acknowledged: 0,
            marks,
            tail: Tail::default(),
            legacy,
        })
    }

    /// A peer that resets the connection may have been killed, and has lost what it had not read then.
    fn bequeath(&mut self) {
        let mut lines = self.tail.take(Instant::now());
        let repeated = self.marks.front().filter(|mark| mark.chunk.is_none());
        let repeated = repeated.map_or(0, Mark::bytes);
        let repeated = self.under_way.get(self.arrived..self.arrived + repeated);
        lines.extend_from_slice(repeated.unwrap_or_default());
        self.legacy.leave(lines);
    }

    fn has_room(&self) -> bool {
        self.waiting.len() - self.start < limits::TCP_WAITING_BYTES
            && self.marks.len() < limits::TCP_MARKS
    }

    fn is_under_way(&self) -> bool {
        self.acknowledged < self.written
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> Result<(), RemoteError> {
        while let Some(rest) = self
            .waiting
            .get(self.start..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest) {
                Ok(count) => {
                    self.start += count;
                    self.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(self.peer, error)),
            }
        }
        if self.start == self.waiting.len() {
            self.waiting.clear();
            self.waiting.shrink_to(limits::TCP_WAITING_BYTES);
            self.start = 0;
        } else if self.start > self.waiting.len() / 2 {
            self.waiting.drain(..self.start);
            self.start = 0;
        }
        Ok(())
    }

    /// Asks what the peer has acknowledged, and says which lines have arrived thereby; true when there are any.
    fn look(&mut self, arrived: &mut Vec<Arrived>) -> Result<bool, RemoteError> {
        if !self.is_under_way() {
            return Ok(false);
        }
        match self.unacknowledged.bytes() {
            Ok(None) => return Ok(false),
            Ok(Some(bytes)) => {
                let acknowledged = self.written.saturating_sub(u64::from(bytes));
                self.acknowledged = self.acknowledged.max(acknowledged);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The socket knows why.
                let why = self.stream.take_error().ok().flatten();
                return Err(why.map_or_else(|| closed(self.peer), |why| broken(self.peer, why)));
            }
            Err(source) => return Err(blind(self.peer, source)),
        }
        let waited_for = self.marks.len();
        let now = Instant::now();
        while let Some(mark) = self.marks.front() {
            if mark.end > self.acknowledged {
                break;
            }
            match (mark.chunk, arrived.last_mut()) {
                (None, _) => {}
                (Some(chunk), Some(last)) if last.chunk == chunk && last.rejected.is_none() => {
                    last.lines = last.lines.saturating_add(mark.lines);
                }
                (Some(chunk), _) => arrived.push(Arrived {
                    chunk,
                    lines: mark.lines,
                    rejected: None,
                }),
            }
            let end = self.arrived + mark.bytes();
            let lines = self.under_way.get(self.arrived..end);
            self.tail.add(lines.unwrap_or_default(), now);
            self.arrived = end;
            self.marks.pop_front();
        }
        if self.arrived > self.under_way.len() / 2 {
            self.under_way
                .drain(..self.arrived.min(self.under_way.len()));
            self.under_way.shrink_to(4 * limits::TCP_WAITING_BYTES);
            self.arrived = 0;
        }
        if self.marks.is_empty() {
            self.marks.shrink_to(limits::TCP_MARKS / 64);
        }
        Ok(self.marks.len() < waited_for)
    }

    /// Waits for the socket for at most `time`; true when the peer has said something, or is gone.
    fn wait(&self, time: Duration) -> Result<bool, RemoteError> {
        let mut interest = PollFlags::IN | PollFlags::RDHUP;
        if self.start < self.waiting.len() {
            interest |= PollFlags::OUT;
        }
        let mut fds = [PollFd::from_borrowed_fd(self.stream.as_fd(), interest)];
        let time = Timespec::try_from(time).unwrap_or_default();
        match poll(&mut fds, Some(&time)) {
            Ok(_) => {
                let [fd] = &fds;
                Ok(!fd.revents().difference(PollFlags::OUT).is_empty())
            }
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(broken(self.peer, error.into())),
        }
    }

    /// Throws away what the peer has sent.
    fn discard(&mut self) -> Result<(), RemoteError> {
        let mut block = [0; 4096];
        for _ in 0..limits::TCP_DISCARDED_BYTES / block.len() {
            match self.stream.read(&mut block) {
                Ok(0) => return Err(closed(self.peer)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(self.peer, error)),
            }
        }
        Ok(())
    }
}

impl Drop for TcpSink {
    /// What has not arrived is somebody else's now: the kernel must not go on sending it.
    fn drop(&mut self) {
        if !self.is_idle() {
            // It fails only for a connection that is broken anyway.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Remote for TcpSink {
    fn line(
        &mut self,
        chunk: u64,
        _index: u32,
        format: &mut dyn FnMut(&mut Vec<u8>),
    ) -> Result<bool, RemoteError> {
        if !self.has_room() {
            return Ok(false);
        }
        let offset = self.written.saturating_sub(self.start as u64);
        let from = self.waiting.len();
        let begin = offset + from as u64;
        format(&mut self.waiting);
        self.waiting.push(b'\n');
        self.under_way
            .extend_from_slice(self.waiting.get(from..).unwrap_or_default());
        let end = offset + self.waiting.len() as u64;
        match self.marks.back_mut() {
            // One that is under way already would arrive later than it need.
            Some(last)
                if last.chunk == Some(chunk)
                    && last.begin >= self.written
                    && end - last.begin <= limits::TCP_MARK_BYTES =>
            {
                last.lines += 1;
                last.end = end;
            }
            _ => self.marks.push_back(Mark {
                chunk: Some(chunk),
                lines: 1,
                begin,
                end,
            }),
        }
        Ok(true)
    }

    /// Returns before `wait` is over once something has arrived, or there is room where there was none.
    fn turn(&mut self, wait: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError> {
        let result = self.work(wait, arrived);
        if let Err(RemoteError::Broken { .. }) = result {
            self.bequeath();
        }
        result
    }
}

impl TcpSink {
    /// Waits for the socket for at most `time`, and for the peer's last word.
    fn hear(&mut self, time: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError> {
        if self.wait(time)?
            && let Err(error) = self.discard()
        {
            // The last thing a peer that closes in good order has acknowledged.
            let _ = self.look(arrived);
            return Err(error);
        }
        Ok(())
    }

    fn work(&mut self, wait: Duration, arrived: &mut Vec<Arrived>) -> Result<(), RemoteError> {
        let until = Instant::now() + wait;
        let had_room = self.has_room();
        let mut look = limits::TCP_LOOK_FIRST;
        // Before anything is written: that a peer has closed in good order shows only until it resets the connection for it.
        self.hear(Duration::ZERO, arrived)?;
        loop {
            let written = self.write();
            // Also when the connection is broken: what has arrived by then is said.
            let looked = self.look(arrived);
            let has_arrived = written.and(looked)?;
            let news = has_arrived || self.has_room() != had_room;
            let left = until.saturating_duration_since(Instant::now());
            let pause = if news {
                Duration::ZERO
            } else if self.is_under_way() {
                left.min(look)
            } else {
                left
            };
            look = (look * 2).min(limits::TCP_LOOK_LAST);
            self.hear(pause, arrived)?;
            if news || left.is_zero() {
                return Ok(());
            }
        }
    }
}

/// The connection failed.
fn broken(peer: SocketAddr, source: io::Error) -> RemoteError {
    let peer = peer.to_string();
    RemoteError::Broken { peer, source }
}

/// Nothing would ever arrive; but a connection that is gone already has only ended soon.
fn blind(peer: SocketAddr, source: io::Error) -> RemoteError {
    if source.kind() == io::ErrorKind::NotFound {
        return closed(peer);
    }
    let peer = peer.to_string();
    RemoteError::Blind { peer, source }
}

/// The peer ended the connection.
fn closed(peer: SocketAddr) -> RemoteError {
    RemoteError::Closed {
        peer: peer.to_string(),
    }
}

/// The addresses of `host:port`.
fn find(resolver: &CachingResolver, address: &str) -> Result<Vec<SocketAddr>, RemoteError> {
    let not_found = |why: &dyn std::fmt::Display| RemoteError::NotFound {
        address: address.to_owned(),
        reason: why.to_string(),
    };
    // The resolver takes the authority of a URL.
    let uri: Uri = format!("http://{address}")
        .parse()
        .map_err(|error| not_found(&error))?;
    let timeout = NextTimeout {
        after: limits::TCP_FIND_TIME.into(),
        reason: Timeout::Resolve,
        ..NextTimeout::default()
    };
    let found = resolver.resolve(&uri, &Default::default(), timeout);
    let found = found.map_err(|error| not_found(&error))?;
    Ok(found.iter().copied().collect())
}

/// A connection that does not block.
fn open(peer: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    // Before the connection, so that the peer is told of it in time.
    socket.set_send_buffer_size(limits::TCP_KERNEL_BYTES)?;
    // Lines are written in bulk already: Nagle's wait for the acknowledgement of the last bulk would only hold the rest of one up.
    socket.set_tcp_nodelay(true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, limits::TCP_KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, limits::TCP_KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, limits::TCP_KEEPALIVE_PROBES)?;
    let timeout = u32::try_from(limits::TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&socket, timeout)?;
    socket.connect_timeout(&peer.into(), time)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
