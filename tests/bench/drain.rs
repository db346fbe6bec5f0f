//! A collector that takes lines over TCP as fast as it can, checks them and forgets them.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lines::Lines;
use crate::verify::{Check, Found};

/// Bytes of one read.
const BLOCK_BYTES: usize = 256 << 10;
/// Time between two looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Ends with the value.
pub struct Drain {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    check: Mutex<Check>,
    lines: Lines,
    /// The first line of this run, and the last one.
    span: Mutex<Option<(Instant, Instant)>>,
    ended: AtomicBool,
}

impl Drain {
    /// Listens; `address` with port 0 for any port.
    pub fn start(address: SocketAddr, lines: &Lines, check: Check) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            check: Mutex::new(check),
            lines: lines.clone(),
            span: Mutex::new(None),
            ended: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if own.ended.load(Relaxed) {
                    break;
                }
                own.drain(stream);
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub fn found(&self) -> Found {
        self.shared.check.lock().unwrap().found()
    }

    /// When the first line came, and the last one so far.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        *self.shared.span.lock().unwrap()
    }
}

impl Shared {
    fn drain(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(LOOK)).unwrap();
        let mut block = vec![0; BLOCK_BYTES];
        let mut held = 0;
        while !self.ended.load(Relaxed) {
            match stream.read(&mut block[held..]) {
                Ok(0) => break,
                Ok(count) => {
                    held += count;
                    let rest = self.take(&block[..held]);
                    let whole = held - rest;
                    block.copy_within(whole..held, 0);
                    held = rest;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    }

    /// Takes the whole lines; how many bytes are left.
    fn take(&self, bytes: &[u8]) -> usize {
        let mut check = self.check.lock().unwrap();
        let mut at = 0;
        let mut any = false;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if let Some(line) = self.lines.within(&bytes[at..end]) {
                check.line(line);
                any = true;
            }
            at = end + 1;
        }
        if any {
            let now = Instant::now();
            self.span.lock().unwrap().get_or_insert((now, now)).1 = now;
        }
        bytes.len() - at
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
