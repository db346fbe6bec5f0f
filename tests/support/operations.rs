//! A running operations API on a free port of loopback, and a client that speaks in bytes.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::health::Health;
use cim::http::{
    Access, Answer, EventSubscriptions, Handler, Limits, Monitor, Operations, Replier, Request,
    Response, Scope, Wake, later,
};
use cim::metrics::Metrics;
use cim::metrics::aligned::exporter::Exporter;
use cim::nats::monitor::Asker;
use cim::registration::{Application, Facts, Overrides, Registrar};
use cim::settings::{Settings, Store};
use cim::status::{Sources, Status};
use cim::subscriptions::Subscriptions;
use cim::threads::http_server::{HttpServer, Stopper};
use cim::threads::spawn::NOTICES;
use crossbeam_channel::bounded;

/// No answer is waited for longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A registrar that takes everything.
pub struct Anything;

impl Registrar for Anything {
    fn facts(&self) -> Facts {
        Facts {
            namespace: "ns1".into(),
            ..Facts::default()
        }
    }

    fn accept(&mut self, _: &Application, _: Overrides) -> Result<(), String> {
        Ok(())
    }
}

pub fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("cnf-0").unwrap())
}

/// Long deadlines, so that nothing in a test ends by one unless it says so.
pub fn patient() -> Limits {
    Limits {
        request_time: PATIENCE,
        idle_time: PATIENCE,
        ..Limits::default()
    }
}

/// `/now` echoes the query; `/size` answers so many bytes; `/later` hands out the means to answer.
pub struct Desk(pub Sender<Replier>);

impl Handler for Desk {
    fn answer(&mut self, _: Scope, request: &Request, wake: &Wake) -> Answer {
        let query = request.query.clone().unwrap_or_default();
        let body = match request.path.as_str() {
            "/later" => {
                let (replier, answer) = later(wake);
                self.0.send(replier).unwrap();
                return answer;
            }
            "/size" => vec![b'x'; query.parse().unwrap()],
            _ => query.into_bytes(),
        };
        Answer::Now(text(body))
    }
}

pub fn text(body: Vec<u8>) -> Response {
    Response {
        status: 200,
        content_type: "text/plain",
        allow: None,
        headers: &[],
        body,
    }
}

/// A server that ends with the value.
pub struct Server {
    pub address: SocketAddr,
    pub metrics_address: SocketAddr,
    pub metrics: Arc<Metrics>,
    pub stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// With the daemon's routes.
    pub fn start(limits: Limits) -> Self {
        let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
        let aligned = Arc::new(Exporter::new(metrics.clone()));
        Self::with_aligned(limits, metrics, aligned)
    }

    /// As [`Server::start`], with what `/metrics/aligned` hands out.
    pub fn with_aligned(limits: Limits, metrics: Arc<Metrics>, aligned: Arc<Exporter>) -> Self {
        let operations = Operations {
            subscriptions: EventSubscriptions::new(
                Subscriptions::open("/nowhere/subscriptions.json".into())
                    .0
                    .into(),
                bounded(1).0,
                metrics.clone(),
            ),
            status: Status::new(Sources::default(), metrics.clone(), Instant::now()),
            metrics: metrics.clone(),
            aligned,
            settings: Arc::new(Store::new(Settings::default())),
            health: Arc::new(Health::new()),
            history: Default::default(),
            monitor: Monitor::new(Some(Asker::new(bounded(1).0, || {})), Access::Open),
            registrar: Anything,
        };
        Self::with(limits, metrics, operations)
    }

    pub fn with(limits: Limits, metrics: Arc<Metrics>, handler: impl Handler + 'static) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (rest, open) = (bind(), bind());
        let addresses = [&rest, &open].map(|l| l.local_addr().unwrap());
        let server = HttpServer {
            listeners: vec![(rest, Scope::All), (open, Scope::MetricsOnly)],
            handler,
            metrics: metrics.clone(),
            limits,
        };
        let (thread, stopper) = server.spawn(&bounded(NOTICES).0).unwrap();
        Self {
            address: addresses[0],
            metrics_address: addresses[1],
            metrics,
            stopper: Some(stopper),
            thread: Some(thread),
        }
    }

    pub fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// GET on a connection of its own.
    pub fn get(&self, path: &str) -> Reply {
        self.connect().ask(&get(path))
    }

    pub fn aborted(&self, reason: &str) -> u64 {
        self.metrics.http_aborted.with_label_values(&[reason]).get()
    }

    pub fn answered(&self, code: &str) -> u64 {
        self.metrics.http_requests.with_label_values(&[code]).get()
    }

    /// Waits for the thread's end, and gives how long that took.
    pub fn join(&mut self) -> Duration {
        let started = Instant::now();
        let thread = self.thread.take().unwrap();
        eventually("the thread ends", || thread.is_finished());
        thread.join().unwrap();
        started.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopper = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the server's thread panicked");
        }
    }
}

/// Fails when `condition` does not become true in time.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Client {
    pub socket: TcpStream,
    left: Vec<u8>,
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            left: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    pub fn ask(&mut self, request: &str) -> Reply {
        self.send(request);
        self.reply()
    }

    /// The next answer on this connection.
    pub fn reply(&mut self) -> Reply {
        self.reply_to("GET")
    }

    pub fn reply_to(&mut self, method: &str) -> Reply {
        let end = loop {
            match memchr::memmem::find(&self.left, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.fill(), "closed in the head: {:?}", self.left),
            }
        };
        let head = String::from_utf8(self.left.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        let length = reply
            .header("content-length")
            .map_or(0, |l| l.parse().unwrap());
        if method != "HEAD" {
            while self.left.len() < length {
                assert!(self.fill(), "closed in the body");
            }
            reply.body = self.left.drain(..length).collect();
        }
        reply
    }

    fn fill(&mut self) -> bool {
        let mut block = [0; 64 << 10];
        let count = self.socket.read(&mut block).unwrap();
        self.left.extend_from_slice(&block[..count]);
        count > 0
    }

    /// The server closes, by whatever means, and sends nothing more.
    pub fn expect_closed(&mut self) {
        assert!(self.left.is_empty(), "more than one answer");
        match self.socket.read(&mut [0]) {
            Ok(count) => assert_eq!(count, 0, "there is more"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}
