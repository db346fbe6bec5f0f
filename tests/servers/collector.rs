//! A log collector: takes lines over TCP on a port of its own and keeps them in the order in which they came. It reads, stands still,
//! reads slowly, closes, goes silent, dies and comes back as it is told. It ends with the value.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{SockFilter, SockRef};

use super::loopback;
use crate::support::{LOOK, PATIENCE, eventually};

/// Bytes that one connection is read at one time.
const READ_BYTES: usize = 256 << 10;
/// `BPF_RET | BPF_K` with 0: the kernel forgets every packet, and does not answer it.
const DROP_ALL: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// How the collector reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    All,
    Nothing,
    /// Bytes a second, of all connections together.
    Slow(u64),
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    listener: Option<TcpListener>,
    open: Vec<Connection>,
    pace: Pace,
    silent: bool,
    /// When it may read again, with [`Pace::Slow`].
    next: Instant,
    lines: Vec<Vec<u8>>,
    /// The number of the connection that each of them came on.
    from: Vec<usize>,
    connections: usize,
    torn: usize,
    ended: bool,
}

struct Connection {
    stream: TcpStream,
    number: usize,
    /// What has come of a line.
    rest: Vec<u8>,
}

impl Collector {
    pub fn start() -> Self {
        Self::start_on(loopback(0))
    }

    /// On an address that a test has chosen.
    pub fn start_on(address: SocketAddr) -> Self {
        let listener = listen(address);
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(State {
            listener: Some(listener),
            open: Vec::new(),
            pace: Pace::All,
            silent: false,
            next: Instant::now(),
            lines: Vec::new(),
            from: Vec::new(),
            connections: 0,
            torn: 0,
            ended: false,
        }));
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                loop {
                    let mut state = shared.lock().unwrap();
                    if state.ended {
                        break;
                    }
                    state.accept();
                    let is_idle = state.read() == 0;
                    drop(state);
                    if is_idle {
                        thread::sleep(LOOK);
                    } else {
                        thread::yield_now();
                    }
                }
            })
        };
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where it listens; `logging_svc_url` has the same as text.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// It reads no more; its kernel goes on taking what there is room for.
    pub fn freeze(&self) {
        self.state().pace = Pace::Nothing;
    }

    /// It reads as fast as it can.
    pub fn thaw(&self) {
        self.state().pace = Pace::All;
    }

    /// It reads so many bytes a second.
    pub fn slow(&self, bytes_a_second: u64) {
        self.state().pace = Pace::Slow(bytes_a_second);
    }

    /// Reads what is there and closes every connection in good order; it goes on listening.
    pub fn close(&self) {
        self.state().close();
    }

    /// Resets every connection; what was not read is lost. It goes on listening.
    pub fn reset(&self) {
        self.state().reset();
    }

    /// Ends in good order: as [`Collector::close`], and nobody listens.
    pub fn stop(&self) {
        let mut state = self.state();
        state.listener = None;
        state.close();
    }

    /// Dies: as [`Collector::reset`], and nobody listens.
    pub fn kill(&self) {
        let mut state = self.state();
        state.listener = None;
        state.reset();
    }

    /// Listens again on the same port.
    pub fn restart(&self) {
        let mut state = self.state();
        state.pace = Pace::All;
        state.silent = false;
        state.listener = Some(listen(self.address));
    }

    /// Gone without a word, as behind a broken network: its kernel neither takes nor answers anything any more.
    pub fn fall_silent(&self) {
        let mut state = self.state();
        state.accept();
        state.silent = true;
        state.filter();
    }

    /// The network is back, for old connections too.
    pub fn speak_again(&self) {
        let mut state = self.state();
        state.silent = false;
        state.filter();
    }

    /// All whole lines, in the order in which they came, without their line ends.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.state().lines.clone()
    }

    /// The same for each connection.
    pub fn lines_of_connections(&self) -> Vec<Vec<Vec<u8>>> {
        let state = self.state();
        let mut lines = vec![Vec::new(); state.connections];
        for (from, line) in state.from.iter().zip(&state.lines) {
            lines[*from].push(line.clone());
        }
        lines
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.state().lines.len()
    }

    /// Waits for so many lines; the limit is on the time without a new one.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Vec<u8>> {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let now = self.count();
            if now >= count {
                return self.lines();
            }
            if now > known {
                (known, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{now} lines of {count}");
            thread::sleep(LOOK);
        }
    }

    /// Connections that were ever accepted.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.state().open.len()
    }

    /// Connections that ended in the middle of a line.
    pub fn torn(&self) -> usize {
        self.state().torn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.lock() {
            state.ended = true;
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true).unwrap();
            self.open.push(Connection {
                stream,
                number: self.connections,
                rest: Vec::new(),
            });
            self.connections += 1;
        }
    }

    /// Reads once from each connection; how many bytes.
    fn read(&mut self) -> usize {
        let most = match self.pace {
            Pace::All => READ_BYTES,
            Pace::Nothing => return 0,
            Pace::Slow(_) if Instant::now() < self.next => return 0,
            // In a hundredth of a second.
            Pace::Slow(bytes) => (bytes / 100).max(1) as usize,
        };
        self.next = Instant::now() + Duration::from_millis(10);
        let mut taken = 0;
        let mut block = vec![0; most];
        let mut open = std::mem::take(&mut self.open);
        open.retain_mut(|connection| {
            let left = &mut block[..most - taken.min(most)];
            if left.is_empty() {
                return true;
            }
            match connection.stream.read(left) {
                Ok(0) => {
                    self.torn += usize::from(!connection.rest.is_empty());
                    false
                }
                Ok(count) => {
                    connection.take(&left[..count], &mut self.lines);
                    self.from.resize(self.lines.len(), connection.number);
                    // With Pace::All each may be read as much.
                    if matches!(self.pace, Pace::Slow(_)) {
                        taken += count;
                    } else {
                        taken = taken.max(1);
                    }
                    true
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                Err(_) => {
                    self.torn += usize::from(!connection.rest.is_empty());
                    false
                }
            }
        });
        self.open = open;
        taken
    }

    fn close(&mut self) {
        self.pace = Pace::All;
        self.accept();
        while self.read() > 0 {}
        self.torn += self.open.iter().filter(|one| !one.rest.is_empty()).count();
        self.open.clear();
    }

    fn reset(&mut self) {
        self.accept();
        for connection in self.open.drain(..) {
            self.torn += usize::from(!connection.rest.is_empty());
            // At its end by `drop`.
            let socket = SockRef::from(&connection.stream);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
    }

    fn filter(&self) {
        let open = self.open.iter().map(|one| SockRef::from(&one.stream));
        for socket in open.chain(self.listener.as_ref().map(SockRef::from)) {
            if self.silent {
                socket.attach_filter(&DROP_ALL).unwrap();
            } else {
                // There is none on a connection that came later.
                let _ = socket.detach_filter();
            }
        }
    }
}

impl Connection {
    fn take(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(&bytes[from..end]);
            lines.push(line);
            from = end + 1;
        }
        self.rest.extend_from_slice(&bytes[from..]);
    }
}

/// A port that this process had a moment ago is free again as soon as the kernel has put its connections away.
fn listen(address: SocketAddr) -> TcpListener {
    let mut listener = None;
    eventually(PATIENCE, || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    let listener = listener.unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}
