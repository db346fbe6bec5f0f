//! A port that answers each connection in its own way: what [`super::TestApp`] does not do, TLS and answers without end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::PATIENCE;

type Serve = Arc<dyn Fn(TcpStream) + Send + Sync>;

/// See the module. It ends with the value.
pub struct Endpoint {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Listens on a free port of 127.0.0.1; `serve` gets each connection.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let open: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let serve: Serve = Arc::new(serve);
        let (stop, all) = (Arc::clone(&stopped), Arc::clone(&open));
        let acceptor = std::thread::spawn(move || {
            let mut threads = Vec::new();
            for socket in listener.incoming() {
                let mut open = all.lock().unwrap();
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                open.push(socket.try_clone().unwrap());
                let serve = Arc::clone(&serve);
                threads.push(std::thread::spawn(move || {
                    let other = socket.try_clone().unwrap();
                    serve(socket);
                    // The list has another handle.
                    let _ = other.shutdown(Shutdown::Both);
                }));
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        Self {
            address,
            stopped,
            open,
            acceptor: Some(acceptor),
        }
    }

    /// https with a certificate of its own that nobody knows; every request gets `text`.
    pub fn https(text: &'static str) -> Self {
        let own = rcgen::generate_simple_self_signed(["nobody.example".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.cert.der().clone()],
                PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into()),
            )
            .unwrap();
        let config = Arc::new(config);
        Self::start(move |socket| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(tls, socket);
            if head(&mut stream) {
                let length = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        })
    }

    /// Promises `bytes` of samples, and sends them until nobody takes them; counts those that went out.
    pub fn endless(bytes: u64) -> (Self, Arc<AtomicU64>) {
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        let endpoint = Self::start(move |mut socket| {
            if !head(&mut socket) {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            let mut left = bytes;
            let block = "sample 1\n".repeat(7000);
            let mut going = socket.write_all(answer.as_bytes()).is_ok();
            while going && left > 0 {
                let part = &block.as_bytes()[..block.len().min(left as usize)];
                going = socket.write_all(part).is_ok();
                left -= part.len() as u64;
                count.fetch_add(part.len() as u64, Ordering::SeqCst);
            }
        });
        (endpoint, sent)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        {
            let open = self.open.lock().unwrap();
            self.stopped.store(true, Ordering::SeqCst);
            for socket in open.iter() {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        // Wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Reads a request's head; false when the connection ends before.
fn head(stream: &mut impl Read) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}
