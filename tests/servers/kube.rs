//! A stand-in for the Kubernetes API server: HTTPS with a CA of its own, strict about paths, verbs, tokens and content types.
//!
//! It holds pods, config maps and cluster roles, and a service account folder as the kubelet makes it. It answers, refuses, freezes
//! and rotates as it is told, and notes every request. It ends with the value.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "kube_api.rs"]
mod api;

pub use api::Right;
use api::{Objects, Reply};

/// No connection is read for longer: a test has ended by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the server does instead of its duty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers every request with this status.
    Status(u16),
    /// 429, with `Retry-After` in seconds.
    Busy(u64),
    /// Answers every request with these bytes as the body of a 200.
    Body(Vec<u8>),
    /// Accepts connections and does nothing more, as a stopped process does.
    Freeze,
    /// Closes every connection at once.
    Refuse,
    /// Does each request and then closes the connection without an answer.
    Swallow,
}

/// A request that was answered, or swallowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub path: String,
    pub body: String,
    pub code: u16,
}

/// A running stand-in.
pub struct Kube {
    pub address: SocketAddr,
    dir: TempDir,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    tls: Arc<ServerConfig>,
    fault: Option<Fault>,
    api: Objects,
    seen: Vec<Seen>,
    open: Vec<TcpStream>,
    connections: usize,
    ended: bool,
}

impl Kube {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dir = tempfile::Builder::new().prefix("kube-").tempdir().unwrap();
        let (ca, tls) = certificates();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                tls,
                fault: None,
                api: Objects::new("token-1"),
                seen: Vec::new(),
                open: Vec::new(),
                connections: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let kube = Self {
            address,
            dir,
            acceptor: Some({
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || accept(&listener, &shared))
            }),
            shared,
        };
        kube.write_account("token-1", &ca);
        for name in ["token", "ca.crt", "namespace"] {
            symlink(format!("..data/{name}"), kube.service_account().join(name)).unwrap();
        }
        kube
    }

    /// The folder of the service account, as `CIM_SERVICE_ACCOUNT_DIR` names it.
    pub fn service_account(&self) -> PathBuf {
        self.dir.path().join("serviceaccount")
    }

    /// The environment of a process in the pod.
    pub fn env(&self) -> [(&'static str, String); 3] {
        [
            ("KUBERNETES_SERVICE_HOST", self.address.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", self.address.port().to_string()),
            (
                "CIM_SERVICE_ACCOUNT_DIR",
                self.service_account().to_str().unwrap().to_owned(),
            ),
        ]
    }

    /// Puts a pod; `metadata.name` and `.namespace` say which.
    pub fn put_pod(&self, pod: Value) {
        self.put("/api/v1", "pods", pod);
    }

    pub fn put_config_map(&self, config_map: Value) {
        self.put("/api/v1", "configmaps", config_map);
    }

    pub fn put_cluster_role(&self, role: Value) {
        self.put("/apis/rbac.authorization.k8s.io/v1", "clusterroles", role);
    }

    fn put(&self, api: &str, resource: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{api}/namespaces/{namespace}/{resource}/{name}"),
            None => format!("{api}/{resource}/{name}"),
        };
        self.state().api.objects.insert(path, object);
    }

    pub fn remove(&self, path: &str) {
        self.state().api.objects.remove(path).expect("it was there");
    }

    /// The object at a path such as `/api/v1/namespaces/ns1/pods/cnf-0`.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state().api.objects.get(path).cloned()
    }

    pub fn fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
        self.shared.changed.notify_all();
    }

    /// Takes a right away, such as `get pods`; or gives it back.
    pub fn forbid(&self, right: &str, forbidden: bool) {
        let mut state = self.state();
        if forbidden {
            state.api.forbidden.insert(right.to_owned());
        } else {
            state.api.forbidden.remove(right);
        }
    }

    /// The service account may do this and nothing else.
    pub fn allow_only(&self, rights: Vec<Right>) {
        self.state().api.rights = Some(rights);
    }

    /// Only `token` is accepted from now on; the folder keeps the old one.
    pub fn expect_token(&self, token: &str) {
        self.state().api.token = token.to_owned();
    }

    /// The kubelet's part: another token in the folder, by a swap of links.
    pub fn write_token(&self, token: &str) {
        let ca = fs::read_to_string(self.service_account().join("ca.crt")).unwrap();
        self.write_account(token, &ca);
    }

    /// Another CA, and a certificate of it; the folder keeps the old one until `write`.
    pub fn rotate_ca(&self, write: bool) -> String {
        let (ca, tls) = certificates();
        self.state().tls = tls;
        if write {
            self.write_ca(&ca);
        }
        ca
    }

    pub fn write_ca(&self, ca: &str) {
        let token = fs::read_to_string(self.service_account().join("token")).unwrap();
        self.write_account(&token, ca);
    }

    /// As the kubelet: a new folder, and `..data` renamed to lead to it.
    fn write_account(&self, token: &str, ca: &str) {
        let account = self.service_account();
        let version = tempfile::Builder::new()
            .prefix("..2026_")
            .tempdir_in(self.dir.path())
            .unwrap()
            .keep();
        fs::create_dir_all(&account).unwrap();
        let inside = account.join(version.file_name().unwrap());
        fs::rename(&version, &inside).unwrap();
        for (name, text) in [("token", token), ("ca.crt", ca), ("namespace", "ns1")] {
            fs::write(inside.join(name), text).unwrap();
        }
        let new = account.join("..data_tmp");
        symlink(inside.file_name().unwrap(), &new).unwrap();
        fs::rename(&new, account.join("..data")).unwrap();
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// `GET /path -> code`, one for each request.
    pub fn log(&self) -> Vec<String> {
        let requests = self.requests();
        let line = |seen: &Seen| format!("{} {} -> {}", seen.method, seen.path, seen.code);
        requests.iter().map(line).collect()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.state().open.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for Kube {
    fn drop(&mut self) {
        {
            // A test that has failed with the lock held must still end.
            let mut state = self.shared.state.lock().unwrap_or_else(|e| e.into_inner());
            state.ended = true;
            for socket in &state.open {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// The PEM of a new CA, and a server that has a certificate of it for 127.0.0.1.
fn certificates() -> (String, Arc<ServerConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (ca_pem, Arc::new(config))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for socket in listener.incoming() {
        let socket = socket.unwrap();
        {
            let mut state = shared.state.lock().unwrap();
            if state.ended {
                break;
            }
            state.connections += 1;
            if state.fault == Some(Fault::Refuse) {
                continue;
            }
            state.open.push(socket.try_clone().unwrap());
        }
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            let peer = socket.peer_addr().ok();
            serve(socket, &shared);
            let mut state = shared.state.lock().unwrap();
            state.open.retain(|open| open.peer_addr().ok() != peer);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// Waits while the server is frozen; false when it has ended.
fn awake(shared: &Shared) -> bool {
    let state = shared.state.lock().unwrap();
    let state = shared
        .changed
        .wait_while(state, |s| s.fault == Some(Fault::Freeze) && !s.ended)
        .unwrap();
    !state.ended
}

fn serve(socket: TcpStream, shared: &Shared) {
    if !awake(shared) {
        return;
    }
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let tls = Arc::clone(&shared.state.lock().unwrap().tls);
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), socket);
    let mut left = Vec::new();
    while let Some(request) = read(&mut stream, &mut left) {
        if !awake(shared) {
            return;
        }
        let mut state = shared.state.lock().unwrap();
        let fault = state.fault.clone();
        let reply = match &fault {
            Some(Fault::Status(code)) => Reply::failure(*code, "told to fail", "Told"),
            Some(Fault::Busy(seconds)) => Reply {
                retry_after: Some(*seconds),
                ..Reply::failure(429, "too many requests", "TooManyRequests")
            },
            Some(Fault::Body(body)) => Reply {
                code: 200,
                body: body.clone(),
                retry_after: None,
            },
            Some(Fault::Swallow) | None => state.api.reply(&request),
            Some(Fault::Freeze | Fault::Refuse) => return,
        };
        state.seen.push(Seen {
            method: request.method,
            path: request.path,
            body: request.body,
            code: reply.code,
        });
        drop(state);
        if fault == Some(Fault::Swallow) || stream.write_all(&reply.bytes()).is_err() {
            return;
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

fn read(stream: &mut impl Read, left: &mut Vec<u8>) -> Option<Request> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(end) = head.parse(left).ok()? {
            let headers: BTreeMap<String, String> = head
                .headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8(header.value.to_vec()).unwrap();
                    (header.name.to_ascii_lowercase(), value)
                })
                .collect();
            let length = headers.get("content-length");
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            assert!(
                !headers.contains_key("transfer-encoding"),
                "a body of unknown length"
            );
            if left.len() >= end + length {
                let request = Request {
                    method: head.method.unwrap().to_owned(),
                    path: head.path.unwrap().to_owned(),
                    headers,
                    body: String::from_utf8(left[end..end + length].to_vec()).unwrap(),
                };
                left.drain(..end + length);
                return Some(request);
            }
        }
        let mut block = [0; 16 << 10];
        let count = stream.read(&mut block).ok().filter(|count| *count > 0)?;
        left.extend_from_slice(&block[..count]);
    }
}

/// The pod of the golden samples, with these annotations besides.
pub fn golden_pod(annotations: Value) -> Value {
    let tmaas = r#"{"vendorId":"v1","xgvelaId":"xgvela1","nfClass":"nfc","nfType":"nft","nfId":"nf1","nfServiceId":"svc1","nfServiceType":"svctype"}"#;
    let mut pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "cnf-0", "namespace": "ns1", "uid": "5f2c1f9e-0000-4000-8000-000000000001",
            "labels": {"microSvcName": "ms1"},
            "annotations": {"svcVersion": "v1", "xgvela.com/tmaas": tmaas},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:metadata": {}}}],
        },
        "spec": {"nodeName": "node1", "terminationGracePeriodSeconds": 30, "containers": []},
        "status": {"phase": "Running", "podIP": "10.1.2.3"},
    });
    for (name, value) in annotations.as_object().unwrap() {
        pod["metadata"]["annotations"][name] = value.clone();
    }
    pod
}

/// An address where nobody listens.
pub fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// True when `path` is a chain of links as the kubelet makes it.
pub fn is_linked(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_symlink()
}
