//! A stand-in for etcd's v3 JSON gateway in this process: range, put, deleterange, txn, compaction, status and watch in memory,
//! and the faults a test asks for. One thread for each connection. Keys and values are UTF-8. What it has not: leases that end, users,
//! fragments, progress notifications by itself, comparisons other than "equal".

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::store::{Change, Entry, Store};
use super::{base64, loopback, number, text};

/// The cluster's id until [`EtcdGateway::replace_cluster`].
const CLUSTER: u64 = 14_841_639_068_965_178_418;
/// Time between two looks of a watch at whether its client is still there.
const LOOK_AT_CLIENT: Duration = Duration::from_millis(50);

/// A running stand-in. Ends with its owner.
pub struct EtcdGateway {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    store: Store,
    cluster: u64,
    /// Each answer comes from another cluster.
    many_clusters: bool,
    /// New connections are closed at once, those there are were.
    refuse: bool,
    /// Requests are read and not answered, watches say nothing.
    hang: bool,
    deny_puts: bool,
    /// Keys that begin with it may neither be read nor put.
    deny_prefix: Option<String>,
    /// Watches of an older number end.
    watches: u64,
    /// Progress notifications asked for so far.
    progress: u64,
    /// Requests so far, by path.
    requests: Vec<String>,
    connections: Vec<TcpStream>,
    accepted: usize,
    stop: bool,
}

impl EtcdGateway {
    pub fn start() -> Self {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                cluster: CLUSTER,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Where clients connect: `http://127.0.0.1:port`.
    pub fn client_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// On: every connection is closed, and new ones are as soon as they are made.
    pub fn refuse(&self, on: bool) {
        self.change(|state| {
            state.refuse = on;
            if on {
                state.disconnect();
            }
        });
    }

    /// On: it takes connections and requests and answers nothing. Off: it answers what waits.
    pub fn hang(&self, on: bool) {
        self.change(|state| state.hang = on);
    }

    /// On: puts and deletions, alone or in a transaction, are refused with "permission denied".
    pub fn deny_puts(&self, on: bool) {
        self.change(|state| state.deny_puts = on);
    }

    /// From now on keys that begin with `prefix` may neither be read nor put.
    pub fn deny_prefix(&self, prefix: &str) {
        self.change(|state| state.deny_prefix = Some(prefix.to_owned()));
    }

    /// Every watch under way ends in the middle of its stream.
    pub fn cut_watches(&self) {
        self.change(|state| state.watches += 1);
    }

    /// Every watch tells how far it is.
    pub fn notify_progress(&self) {
        self.change(|state| state.progress += 1);
    }

    /// Another, empty cluster answers from now on.
    pub fn replace_cluster(&self) {
        self.change(|state| {
            state.cluster += 1;
            state.store = Store::default();
            state.disconnect();
        });
    }

    /// On: every answer comes from another cluster, as if many of them were behind this address.
    pub fn many_clusters(&self, on: bool) {
        self.change(|state| state.many_clusters = on);
    }

    /// Puts a key; its revision.
    pub fn put(&self, key: &str, value: &str) -> i64 {
        self.put_all(&[(key, value)])
    }

    /// Puts keys at one revision.
    pub fn put_all(&self, keys: &[(&str, &str)]) -> i64 {
        let changes = keys
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
            .collect();
        self.change(|state| state.store.apply(changes))
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.lock().store.get(key).map(|entry| entry.value)
    }

    pub fn delete(&self, key: &str) {
        self.change(|state| state.store.apply(vec![(key.to_owned(), None)]));
    }

    pub fn compact(&self, revision: i64) {
        self.change(|state| state.store.compacted = revision);
    }

    pub fn revision(&self) -> i64 {
        self.lock().store.revision
    }

    /// Every change of keys that begin with `prefix`, in order, compacted ones too.
    pub fn changes(&self, prefix: &str) -> Vec<Change> {
        let of_prefix = |change: &&Change| change.key.starts_with(prefix);
        let state = self.lock();
        state
            .store
            .changes
            .iter()
            .filter(of_prefix)
            .cloned()
            .collect()
    }

    /// How many requests a path has had, as `kv/range` or `watch`; those that hang too.
    pub fn requests(&self, path: &str) -> usize {
        let path = format!("/v3/{path}");
        let state = self.lock();
        state
            .requests
            .iter()
            .filter(|known| **known == path)
            .count()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.lock().accepted
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.shared.changed.notify_all();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for EtcdGateway {
    fn drop(&mut self) {
        self.change(|state| {
            state.stop = true;
            state.disconnect();
        });
        // The acceptor waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn denies(&self, key: &str) -> bool {
        let denied = self.deny_prefix.as_ref();
        denied.is_some_and(|prefix| key.starts_with(prefix.as_str()))
    }

    fn disconnect(&mut self) {
        for connection in self.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn header(&self) -> Value {
        let other = if self.many_clusters {
            self.requests.len() as u64
        } else {
            0
        };
        json!({
            "cluster_id": (self.cluster + other).to_string(), "member_id": "1",
            "revision": self.store.revision.to_string(), "raft_term": "2",
        })
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().map_while(Result::ok) {
        let mut state = shared.state.lock().unwrap();
        if state.stop {
            return;
        }
        if state.refuse {
            continue;
        }
        let copy = stream.try_clone().unwrap();
        state.accepted += 1;
        state.connections.retain(|other| other.peer_addr().is_ok());
        state.connections.push(copy);
        drop(state);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A client that goes away is no fault.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// Requests of one connection, one after the other.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let answer = {
            let mut state = shared.state.lock().unwrap();
            state.requests.push(path.clone());
            let mut state = shared
                .changed
                .wait_while(state, |s| s.hang && !s.stop)
                .unwrap();
            if path == "/v3/watch" {
                drop(state);
                return watch(stream, shared, &body["create_request"]);
            }
            answer(&mut state, &path, &body)
        };
        shared.changed.notify_all();
        // etcd sends errors in chunks, with a trailer.
        let bytes = match answer {
            Ok(body) => {
                let body = body.to_string();
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: {length}\r\n\r\n{body}")
            }
            Err((status, code, message)) => {
                let body = json!({"error": message, "message": message, "code": code}).to_string();
                let length = body.len();
                format!(
                    "HTTP/1.1 {status} X\r\n{JSON}Trailer: Grpc-Trailer-Content-Type\r\n{CHUNKED}\r\n\
                     {length:x}\r\n{body}\r\n0\r\nGrpc-Trailer-Content-Type: application/grpc\r\n\r\n"
                )
            }
        };
        (&mut &*stream).write_all(bytes.as_bytes())?;
    }
}

const JSON: &str = "Content-Type: application/json\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// HTTP status, gRPC code, text.
type Refusal = (u16, i64, &'static str);

const COMPACTED: Refusal = (
    400,
    11,
    "etcdserver: mvcc: required revision has been compacted",
);
const FUTURE: Refusal = (
    400,
    11,
    "etcdserver: mvcc: required revision is a future revision",
);
const DENIED: Refusal = (403, 7, "etcdserver: permission denied");
const DUPLICATE: Refusal = (400, 3, "etcdserver: duplicate key given in txn request");
const NOT_HERE: Refusal = (501, 12, "the stand-in has no such thing");

fn answer(state: &mut State, path: &str, body: &Value) -> Result<Value, Refusal> {
    let request = match path {
        "/v3/kv/range" => json!({"request_range": body}),
        "/v3/kv/put" => json!({"request_put": body}),
        "/v3/kv/deleterange" => json!({"request_delete_range": body}),
        "/v3/kv/txn" => return txn(state, body),
        "/v3/kv/compaction" => {
            let revision = number(&body["revision"]);
            if revision <= state.store.compacted {
                return Err(COMPACTED);
            }
            state.store.compacted = revision;
            return Ok(json!({"header": state.header()}));
        }
        // Keys keep it in mind for nobody: none of them goes.
        "/v3/lease/grant" => {
            let ttl = number(&body["TTL"]);
            return Ok(json!({"header": state.header(), "ID": "7", "TTL": ttl.to_string()}));
        }
        "/v3/maintenance/status" => {
            return Ok(json!({"header": state.header(), "version": "3.4.23", "leader": "1"}));
        }
        _ => return Err(NOT_HERE),
    };
    let mut answers = steps(state, &[request])?;
    let Value::Object(answer) = answers.remove(0) else {
        unreachable!("an answer is an object");
    };
    let mut answer = answer.into_iter().next().expect("one member").1;
    answer["header"] = state.header();
    Ok(answer)
}

fn txn(state: &mut State, body: &Value) -> Result<Value, Refusal> {
    let list = |name: &str| body[name].as_array().cloned().unwrap_or_default();
    let steps_in_all = [list("success"), list("failure")].concat();
    let of_steps = steps_in_all
        .iter()
        .flat_map(|step| step.as_object().unwrap().values());
    if of_steps
        .chain(&list("compare"))
        .any(|one| state.denies(&text(&one["key"])))
    {
        return Err(DENIED);
    }
    let mut holds = true;
    for compare in list("compare") {
        if compare["result"] != "EQUAL" {
            return Err(NOT_HERE);
        }
        let entry = state.store.get(&text(&compare["key"]));
        let entry = entry.as_ref();
        let of = |what: fn(&Entry) -> i64| entry.map_or(0, what);
        holds &= match compare["target"].as_str() {
            Some("VALUE") => entry.is_some_and(|entry| entry.value == text(&compare["value"])),
            Some("MOD") => of(|entry| entry.mod_revision) == number(&compare["mod_revision"]),
            Some("VERSION") => of(|entry| entry.version) == number(&compare["version"]),
            _ => return Err(NOT_HERE),
        };
    }
    // etcd asks for the permission to do either.
    let (success, failure) = (list("success"), list("failure"));
    let changes = |step: &Value| step["request_range"].is_null();
    if state.deny_puts && success.iter().chain(&failure).any(changes) {
        return Err(DENIED);
    }
    let responses = steps(state, if holds { &success } else { &failure })?;
    Ok(json!({"header": state.header(), "succeeded": holds, "responses": responses}))
}

/// The steps of a transaction, at one revision. Reads see the state before it.
fn steps(state: &mut State, steps: &[Value]) -> Result<Vec<Value>, Refusal> {
    let mut changes: Vec<(String, Option<String>)> = Vec::new();
    let mut answers = Vec::new();
    for step in steps {
        let (name, body) = step.as_object().unwrap().iter().next().unwrap();
        let key = text(&body["key"]);
        if state.denies(&key) {
            return Err(DENIED);
        }
        if name != "request_range" {
            if state.deny_puts {
                return Err(DENIED);
            }
            if changes.iter().any(|(other, _)| *other == key) {
                return Err(DUPLICATE);
            }
        }
        answers.push(match name.as_str() {
            "request_range" => json!({"response_range": range(&state.store, body)?}),
            "request_put" => {
                changes.push((key, Some(text(&body["value"]))));
                json!({"response_put": {}})
            }
            "request_delete_range" if body["range_end"].is_null() => {
                let there = state.store.get(&key).is_some();
                changes.push((key, None));
                json!({"response_delete_range": {"deleted": i32::from(there).to_string()}})
            }
            _ => return Err(NOT_HERE),
        });
    }
    let revision = state.store.apply(changes);
    for answer in &mut answers {
        for (_, answer) in answer.as_object_mut().unwrap() {
            answer["header"] = json!({"revision": revision.to_string()});
        }
    }
    Ok(answers)
}

fn range(store: &Store, body: &Value) -> Result<Value, Refusal> {
    let revision = match number(&body["revision"]) {
        0 => store.revision,
        revision if revision > store.revision => return Err(FUTURE),
        revision if revision < store.compacted => return Err(COMPACTED),
        revision => revision,
    };
    let within = Within::new(body);
    let mut found: Vec<(&str, Entry)> = store
        .at(revision)
        .into_iter()
        .filter(|(key, _)| within.has(key))
        .collect();
    let count = found.len();
    let oldest = number(&body["min_mod_revision"]);
    found.retain(|(_, entry)| entry.mod_revision >= oldest);
    if body["sort_target"] == "MOD" {
        found.sort_by_key(|(_, entry)| entry.mod_revision);
    }
    let limit = match number(&body["limit"]) {
        0 => usize::MAX,
        limit => limit.try_into().unwrap(),
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let keys_only = body["keys_only"] == true;
    let kvs: Vec<Value> = found
        .iter()
        .map(|(key, entry)| {
            let mut kv = kv(key, entry);
            if keys_only {
                kv.as_object_mut().unwrap().remove("value");
            }
            kv
        })
        .collect();
    Ok(sparse(&[
        ("kvs", kvs.into()),
        ("more", more.into()),
        ("count", count.to_string().into()),
    ]))
}

fn kv(key: &str, entry: &Entry) -> Value {
    sparse(&[
        ("key", base64(key).into()),
        ("create_revision", entry.create_revision.to_string().into()),
        ("mod_revision", entry.mod_revision.to_string().into()),
        ("version", entry.version.to_string().into()),
        ("value", base64(&entry.value).into()),
    ])
}

/// An object without the members that are default, as the gateway has it.
fn sparse(members: &[(&str, Value)]) -> Value {
    let is_default =
        |value: &Value| [json!(false), json!("0"), json!(""), json!([])].contains(value);
    let members = members.iter().filter(|(_, value)| !is_default(value));
    let members: Map<_, _> = members
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    members.into()
}

/// Which keys a request is about.
struct Within {
    key: String,
    end: String,
}

impl Within {
    fn new(body: &Value) -> Self {
        Self {
            key: text(&body["key"]),
            end: text(&body["range_end"]),
        }
    }

    fn has(&self, key: &str) -> bool {
        match self.end.as_str() {
            "" => key == self.key,
            "\0" => key >= self.key.as_str(),
            end => key >= self.key.as_str() && key < end,
        }
    }
}

/// The stream of one watch.
fn watch(mut stream: &TcpStream, shared: &Shared, request: &Value) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}{CHUNKED}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut state = shared.state.lock().unwrap();
    let mut watch = Watch {
        within: Within::new(request),
        next: match number(&request["start_revision"]) {
            0 => state.store.revision + 1,
            start => start,
        },
        number: state.watches,
        progress: state.progress,
        is_over: false,
    };
    let mut frame = Some(json!({"header": state.header(), "created": true}));
    while !state.stop && state.watches == watch.number {
        if let Some(frame) = frame {
            // Without the lock: a client that does not read holds nobody else up.
            drop(state);
            send(stream, &frame)?;
            state = shared.state.lock().unwrap();
        } else {
            (state, _) = shared.changed.wait_timeout(state, LOOK_AT_CLIENT).unwrap();
            stream.set_nonblocking(true)?;
            let is_gone = matches!(stream.peek(&mut [0]), Ok(0));
            stream.set_nonblocking(false)?;
            if is_gone {
                break;
            }
        }
        if watch.is_over {
            break;
        }
        frame = watch.frame(&state);
    }
    Ok(())
}

struct Watch {
    within: Within,
    /// Everything before this revision is told.
    next: i64,
    number: u64,
    progress: u64,
    is_over: bool,
}

impl Watch {
    /// What there is to say.
    fn frame(&mut self, state: &State) -> Option<Value> {
        if state.hang {
            return None;
        }
        let header = state.header();
        if self.next < state.store.compacted {
            self.is_over = true;
            let oldest = state.store.compacted.to_string();
            return Some(json!({"header": header, "canceled": true, "compact_revision": oldest}));
        }
        let events = events(&state.store, &self.within, self.next);
        self.next = self.next.max(state.store.revision + 1);
        let asked = std::mem::replace(&mut self.progress, state.progress) < state.progress;
        if events.is_empty() {
            return asked.then(|| json!({"header": header}));
        }
        Some(json!({"header": header, "events": events}))
    }
}

/// What happened to the keys since a revision.
fn events(store: &Store, within: &Within, since: i64) -> Vec<Value> {
    let first = store
        .changes
        .partition_point(|change| change.revision < since);
    let mut keys = store.at(since - 1);
    let mut events = Vec::new();
    for change in &store.changes[first..] {
        change.happen_to(&mut keys);
        if !within.has(&change.key) {
            continue;
        }
        events.push(match keys.get(change.key.as_str()) {
            Some(entry) => json!({"kv": kv(&change.key, entry)}),
            None => {
                let revision = change.revision.to_string();
                json!({"type": "DELETE", "kv": {"key": base64(&change.key), "mod_revision": revision}})
            }
        });
    }
    events
}

fn send(mut stream: &TcpStream, frame: &Value) -> io::Result<()> {
    let line = format!("{}\n", json!({"result": frame}));
    stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())
}
