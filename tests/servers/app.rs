//! An application in the test's own process: HTTP/1.1, and HTTP/2 with prior knowledge, on one port, with every request
//! recorded and each path behaving as it is told. It may answer change sets on CONFIG through NATS too.
//!
//! ```text
//! let app = TestApp::start();
//! app.on("/updateConfig", Behaviour::Answer(500));
//! app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
//! app.wait_for("/updateConfig", 1);
//! ```

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::h2c::{H2Connection, PREFACE};
use crate::support::{NatsWire, PATIENCE, eventually, eventually_some, nats};

/// What a request gets.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// This status and no text.
    Answer(u16),
    /// This status and text.
    Text(u16, Vec<u8>),
    /// This status, once [`TestApp::release`] is called.
    Late(u16),
    /// Nothing, and the connection stays open.
    Never,
    /// The connection is closed when the request's head has come (HTTP/1.1; over HTTP/2 as `CloseAfter`).
    CloseBefore,
    /// The connection is closed when the whole request has come.
    CloseAfter,
    /// These bytes instead of an answer; the connection stays open.
    Raw(Vec<u8>),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case; over HTTP/2 those with a colon too.
    pub headers: Vec<(String, String)>,
    /// Request line and header, the empty line included (HTTP/1.1).
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
    /// Which connection it came on, in order of acceptance, from 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(n, _)| n == name)?;
        Some(&header.1)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Of `/updateConfig`.
    #[track_caller]
    pub fn change_set_key(&self) -> String {
        self.json()["change-set-key"].as_str().unwrap().to_owned()
    }
}

/// The `status` of a reply on CONFIG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyStatus {
    Success,
    Failure,
    Unused,
}

impl ReplyStatus {
    /// As a sample of the original has it.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("failure") => Self::Failure,
            Some("unused") => Self::Unused,
            _ => Self::Success,
        }
    }
}

/// What the application says on CONFIG to a change set.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: ReplyStatus,
    /// Before the HTTP answer instead of after it.
    pub first: bool,
    /// The revision as a JSON number.
    pub number: bool,
    /// For this key instead of the change set's own.
    pub key: Option<String>,
    /// Only once [`TestApp::release_replies`] is called.
    pub held: bool,
}

impl Reply {
    /// Right after the HTTP answer.
    pub fn of(status: ReplyStatus) -> Self {
        Self {
            status,
            first: false,
            number: false,
            key: None,
            held: false,
        }
    }

    /// The message for this change set.
    pub fn message(&self, change_set: &Value) -> Vec<u8> {
        let revision = change_set["revision"].as_str().unwrap();
        let status = match self.status {
            ReplyStatus::Success => "success",
            ReplyStatus::Failure => "failure",
            ReplyStatus::Unused => "unused",
        };
        let revision = if self.number {
            revision.parse::<i64>().unwrap().into()
        } else {
            Value::from(revision)
        };
        let key = self.key.as_deref().map(Value::from);
        json!({
            "change-set-key": key.unwrap_or_else(|| change_set["change-set-key"].clone()),
            "revision": revision,
            "status": status,
            "remarks": "",
        })
        .to_string()
        .into_bytes()
    }
}

/// What a change set gets that is answered by a script: a behaviour, and replies on CONFIG in this order.
pub type Script = Arc<dyn Fn(&Value) -> (Behaviour, Vec<Reply>) + Send + Sync>;

#[derive(Default)]
struct State {
    behaviours: HashMap<String, Behaviour>,
    requests: Vec<Request>,
    /// Connections accepted so far.
    accepted: usize,
    /// Those that are open: a second handle of each, to close it from outside.
    open: HashMap<usize, TcpStream>,
    /// `Late` answers may go; counted, so that later ones wait anew.
    released: u64,
    replies_released: u64,
    reply: Option<(SocketAddr, Reply)>,
    script: Option<Script>,
    /// Where the replies of the script go; `None`: they wait.
    script_nats: Option<SocketAddr>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`, or the end of the application: then false.
    fn wait(&self, ready: impl Fn(&State) -> bool) -> bool {
        let state = self.state();
        let state = self
            .changed
            .wait_while(state, |state| !state.ended && !ready(state))
            .unwrap_or_else(PoisonError::into_inner);
        !state.ended
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

/// See the module.
pub struct TestApp {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Bound and not listening: the port stays this application's while it refuses connections.
    _reserved: Socket,
    acceptor: Option<Acceptor>,
}

struct Acceptor {
    thread: JoinHandle<()>,
    stopped: Arc<Mutex<bool>>,
}

impl TestApp {
    /// Listens on a free port of 127.0.0.1 and answers everything with 200.
    pub fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into())
    }

    pub fn start_on(ip: IpAddr) -> Self {
        let reserved = bound(SocketAddr::new(ip, 0));
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let mut app = Self {
            shared,
            address,
            _reserved: reserved,
            acceptor: None,
        };
        app.accept();
        app
    }

    /// As the setting `CIM_APP_URL` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on requests for `path` get this.
    pub fn on(&self, path: &str, behaviour: Behaviour) {
        let path = path.to_owned();
        self.shared
            .change(|state| drop(state.behaviours.insert(path, behaviour)));
    }

    /// The requests for `path` so far.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let state = self.shared.state();
        let requests = state.requests.iter().filter(|request| request.path == path);
        requests.cloned().collect()
    }

    /// Waits until `count` requests for `path` have come, and returns them all.
    #[track_caller]
    pub fn wait_for(&self, path: &str, count: usize) -> Vec<Request> {
        eventually_some(PATIENCE, || {
            Some(self.requests(path)).filter(|requests| requests.len() >= count)
        })
    }

    /// The answers that are `Late` go now; those of later requests wait anew.
    pub fn release(&self) {
        self.shared.change(|state| state.released += 1);
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.state().accepted
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.state().open.len()
    }

    /// Nobody listens any more, and every connection is closed: the application is gone.
    pub fn refuse(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            *acceptor.stopped.lock().unwrap() = true;
            // Wakes the accepting thread; what comes first may be somebody else's connection, and does it as well.
            drop(TcpStream::connect(self.address));
            acceptor.thread.join().unwrap();
        }
        self.close_connections();
    }

    /// It is back, on the same port, and behaves as before.
    pub fn restart(&mut self) {
        self.refuse();
        self.accept();
    }

    /// Closes every connection and goes on listening.
    pub fn close_connections(&self) {
        for stream in self.shared.state().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        eventually(PATIENCE, || self.open() == 0);
    }

    /// From now on each request for `/updateConfig` that is answered with a status below 400 is replied to on CONFIG, through
    /// the NATS server at `nats`.
    pub fn reply_with(&self, nats: SocketAddr, reply: Reply) {
        self.shared
            .change(|state| state.reply = Some((nats, reply)));
    }

    /// No replies any more.
    pub fn reply_nothing(&self) {
        self.shared.change(|state| state.reply = None);
    }

    /// From now on the script says what each request for `/updateConfig` gets, instead of the settings. Its replies wait until
    /// [`TestApp::script_replies_to`] says where CIM is.
    pub fn follow(
        &self,
        script: impl Fn(&Value) -> (Behaviour, Vec<Reply>) + Send + Sync + 'static,
    ) {
        self.shared
            .change(|state| state.script = Some(Arc::new(script)));
    }

    /// Where the NATS server is that the script's replies go to; `None`: nowhere yet, they wait.
    pub fn script_replies_to(&self, nats: Option<SocketAddr>) {
        self.shared.change(|state| state.script_nats = nats);
    }

    /// Replies that are held go now; later ones wait anew.
    pub fn release_replies(&self) {
        self.shared.change(|state| state.replies_released += 1);
    }

    fn accept(&mut self) {
        let listener = bound(self.address);
        listener.listen(128).unwrap();
        let listener = TcpListener::from(listener);
        let stopped = Arc::new(Mutex::new(false));
        let (shared, stop) = (Arc::clone(&self.shared), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *stop.lock().unwrap() {
                    break;
                }
                if let Ok(stream) = stream {
                    serve(&shared, stream);
                }
            }
        });
        self.acceptor = Some(Acceptor { thread, stopped });
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shared.change(|state| state.ended = true);
        self.refuse();
    }
}

fn bound(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&to.into()).unwrap();
    socket
}

/// Gives the connection a thread, which ends with it.
fn serve(shared: &Arc<Shared>, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let other = stream.try_clone().unwrap();
    let number = {
        let mut state = shared.state();
        let number = state.accepted;
        state.accepted += 1;
        state.open.insert(number, other);
        number
    };
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let connection = Connection {
            shared: &shared,
            number,
        };
        // A connection that breaks off is its peer's business.
        let _ = connection.run(stream);
        shared.change(|state| {
            if let Some(stream) = state.open.remove(&number) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    });
}

struct Connection<'a> {
    shared: &'a Arc<Shared>,
    number: usize,
}

/// A request that was recorded.
struct Recorded {
    /// The change set that it is.
    update: Option<Value>,
    /// What had been released before it could be seen.
    released: u64,
    replies_released: u64,
}

/// What a connection does after a request.
enum Next {
    Go,
    Close,
}

impl Connection<'_> {
    fn run(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        if reader.fill_buf()?.starts_with(b"PRI") {
            let mut preface = [0; PREFACE.len()];
            reader.read_exact(&mut preface)?;
            assert_eq!(preface, PREFACE);
            return self.http2(reader, stream);
        }
        while let Some(head) = head(&mut reader)? {
            if matches!(self.http1(head, &mut reader, &stream)?, Next::Close) {
                break;
            }
        }
        Ok(())
    }

    fn http1(&self, head: Vec<u8>, reader: &mut impl Read, stream: &TcpStream) -> io::Result<Next> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&head).expect("an HTTP/1.1 request");
        let mut request = Request {
            method: parsed.method.unwrap().to_owned(),
            path: parsed.path.unwrap().to_owned(),
            headers: parsed
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value).into_owned();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect(),
            body: Vec::new(),
            at: Instant::now(),
            connection: self.number,
            head: head.clone(),
        };
        let behaviour = self.behaviour(&request.path);
        if matches!(behaviour, Behaviour::CloseBefore) {
            self.record(request);
            return Ok(Next::Close);
        }
        let length = request.header("content-length").unwrap_or("0");
        request.body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut request.body)?;
        let recorded = self.record(request);
        let answer = |status: u16, text: &[u8]| {
            let head = format!(
                "HTTP/1.1 {status} Some Reason\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            (&mut &*stream).write_all(&[head.as_bytes(), text].concat())
        };
        self.behave(behaviour, recorded, stream, answer)
    }

    fn http2(&self, reader: BufReader<TcpStream>, stream: TcpStream) -> io::Result<()> {
        let mut both = Both(reader, stream.try_clone()?);
        let mut connection = H2Connection::default();
        while let Some(request) = connection.request(&mut both)? {
            let field = |name: &str| {
                let field = request.headers.iter().find(|(n, _)| n == name);
                field.expect("a pseudo-header").1.clone()
            };
            let path = field(":path");
            let behaviour = self.behaviour(&path);
            let recorded = self.record(Request {
                method: field(":method"),
                path,
                headers: request.headers.clone(),
                head: Vec::new(),
                body: request.body.clone(),
                at: Instant::now(),
                connection: self.number,
            });
            let id = request.stream;
            let answer = |status, text: &[u8]| H2Connection::answer(&mut &stream, id, status, text);
            if matches!(
                self.behave(behaviour, recorded, &stream, answer)?,
                Next::Close
            ) {
                break;
            }
        }
        Ok(())
    }

    fn behaviour(&self, path: &str) -> Behaviour {
        let state = self.shared.state();
        let behaviour = state.behaviours.get(path).cloned();
        behaviour.unwrap_or(Behaviour::Answer(200))
    }

    /// Keeps the request, for all to see.
    fn record(&self, request: Request) -> Recorded {
        let is_update = request.path == "/updateConfig";
        let json = is_update.then(|| serde_json::from_slice(&request.body).ok());
        let mut recorded = Recorded {
            update: json.flatten(),
            released: 0,
            replies_released: 0,
        };
        self.shared.change(|state| {
            recorded.released = state.released;
            recorded.replies_released = state.replies_released;
            state.requests.push(request);
        });
        recorded
    }

    fn behave(
        &self,
        behaviour: Behaviour,
        recorded: Recorded,
        mut stream: &TcpStream,
        mut answer: impl FnMut(u16, &[u8]) -> io::Result<()>,
    ) -> io::Result<Next> {
        let script = self.shared.state().script.clone();
        let scripted = script
            .zip(recorded.update.as_ref())
            .map(|(script, update)| script(update));
        let (behaviour, scripted) = match scripted {
            Some((behaviour, replies)) => (behaviour, Some(replies)),
            None => (behaviour, None),
        };
        let (status, text) = match behaviour {
            Behaviour::Answer(status) => (status, Vec::new()),
            Behaviour::Text(status, text) => (status, text),
            Behaviour::Late(status) => {
                if !self.shared.wait(|state| state.released > recorded.released) {
                    return Ok(Next::Close);
                }
                (status, Vec::new())
            }
            Behaviour::Never => return Ok(Next::Go),
            Behaviour::CloseBefore | Behaviour::CloseAfter => return Ok(Next::Close),
            Behaviour::Raw(bytes) => {
                stream.write_all(&bytes)?;
                return Ok(Next::Go);
            }
        };
        let recorded = Some(recorded).filter(|_| status < 400);
        let replies = match scripted {
            Some(replies) if replies.is_empty() => Vec::new(),
            Some(replies) => {
                if !self.shared.wait(|state| state.script_nats.is_some()) {
                    return Ok(Next::Close);
                }
                let nats = self.shared.state().script_nats;
                let reply = |reply| Some((nats?, reply));
                replies.into_iter().filter_map(reply).collect()
            }
            None => self.shared.state().reply.clone().into_iter().collect(),
        };
        let (before, after): (Vec<_>, Vec<_>) =
            replies.into_iter().partition(|(_, reply)| reply.first);
        for (nats, reply) in before {
            self.reply(nats, &reply, recorded.as_ref());
        }
        answer(status, &text)?;
        for (nats, reply) in after {
            self.reply(nats, &reply, recorded.as_ref());
        }
        Ok(Next::Go)
    }

    fn reply(&self, nats: SocketAddr, reply: &Reply, recorded: Option<&Recorded>) {
        let Some(recorded) = recorded else {
            return;
        };
        let Some(update) = &recorded.update else {
            return;
        };
        let message = reply.message(update);
        if !reply.held {
            return publish(nats, &message);
        }
        let shared = Arc::clone(self.shared);
        let released = recorded.replies_released;
        // Not here: the connection may bring the next request meanwhile.
        std::thread::spawn(move || {
            if shared.wait(|state| state.replies_released > released) {
                publish(nats, &message);
            }
        });
    }
}

/// Publishes on CONFIG, and waits until the server has taken it. Without a server the message is lost.
fn publish(nats: SocketAddr, message: &[u8]) {
    let Ok(mut wire) = NatsWire::try_open(nats) else {
        return;
    };
    let connect = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    let bytes = [
        &connect[..],
        &nats::publish("CONFIG", None, message),
        b"PING\r\n",
    ]
    .concat();
    if wire.try_send(&bytes).is_ok() {
        let _ = wire.try_line();
    }
}

/// A buffered reader and the stream that it reads.
struct Both(BufReader<TcpStream>, TcpStream);

impl Read for Both {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// The next request line and header; `None` at the end of the stream.
fn head(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok(Some(head));
        }
    }
}
