//! Records every change of every key of a real etcd, so that a test can count: one commit and no second one. Goes on after
//! breaks and restarts of etcd where it was.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde_json::{Value, json};

use super::store::Change;
use super::{Etcd, base64, number, text};
use crate::support::{LOOK, PATIENCE, eventually, http};

/// A watch of all keys from the first revision on. Ends with its owner.
pub struct Recorder {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    changes: Vec<(Change, Instant)>,
    /// All changes up to this revision are recorded.
    upto: i64,
    /// A compaction was faster.
    gap: bool,
    stop: bool,
    stream: Option<TcpStream>,
}

impl Recorder {
    /// Records what was, is and will be.
    pub fn start(etcd: &Etcd) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let thread = {
            let (shared, address) = (Arc::clone(&shared), etcd.address());
            thread::spawn(move || {
                while !shared.lock().unwrap().stop {
                    // Whatever ends a watch, the next one goes on where it was.
                    let _ = watch(&shared, address);
                    thread::sleep(LOOK);
                }
            })
        };
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Every change of keys that begin with `prefix`, in etcd's order, up to what is in `etcd` now.
    #[track_caller]
    pub fn changes(&self, etcd: &Etcd, prefix: &str) -> Vec<Change> {
        let revision = etcd.revision();
        // An etcd that was never written to has revision 1 and no change.
        eventually(PATIENCE, || {
            self.shared.lock().unwrap().upto.max(1) >= revision
        });
        let changes = self.seen(prefix).into_iter();
        changes.map(|(change, _)| change).collect()
    }

    /// The changes of keys that begin with `prefix` which have come so far, each with the moment when it came.
    #[track_caller]
    pub fn seen(&self, prefix: &str) -> Vec<(Change, Instant)> {
        let shared = self.shared.lock().unwrap();
        assert!(
            !shared.gap,
            "changes were compacted before they were recorded"
        );
        let changes = shared.changes.iter();
        let of_prefix = changes.filter(|(change, _)| change.key.starts_with(prefix));
        of_prefix.cloned().collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        {
            let mut shared = self.shared.lock().unwrap();
            shared.stop = true;
            if let Some(stream) = &shared.stream {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Mutex<Shared>, address: SocketAddr) -> std::io::Result<()> {
    let start = shared.lock().unwrap().upto + 1;
    // The zero byte as key and as end: all keys.
    let body = json!({"create_request": {
        "key": base64("\0"), "range_end": base64("\0"), "start_revision": start.to_string(),
    }})
    .to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    {
        let mut shared = shared.lock().unwrap();
        if shared.stop {
            return Ok(());
        }
        shared.stream = Some(stream.try_clone()?);
    }
    let head = http::head(address, "POST", "/v3/watch", body.as_bytes());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let mut lines = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        lines.extend_from_slice(&chunk[..size]);
        while let Some(end) = memchr::memchr(b'\n', &lines) {
            let line: Vec<u8> = lines.drain(..=end).collect();
            record(
                &mut shared.lock().unwrap(),
                &serde_json::from_slice(&line).unwrap(),
            );
        }
    }
}

fn record(shared: &mut Shared, frame: &Value) {
    let frame = &frame["result"];
    if number(&frame["compact_revision"]) > 0 {
        shared.gap = true;
        shared.upto = number(&frame["compact_revision"]) - 1;
    }
    for event in frame["events"].as_array().into_iter().flatten() {
        let kv = &event["kv"];
        let revision = number(&kv["mod_revision"]);
        let is_delete = event["type"] == "DELETE";
        let change = Change {
            revision,
            key: text(&kv["key"]),
            value: (!is_delete).then(|| text(&kv["value"])),
        };
        shared.changes.push((change, Instant::now()));
        shared.upto = revision;
    }
}
