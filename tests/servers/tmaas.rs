//! A stand-in for TMaaS: answers every request with one text, or with a status.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running stand-in; it ends with the value.
pub struct Tmaas {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    status: u16,
    text: String,
    requests: Vec<String>,
    ended: bool,
}

impl Tmaas {
    pub fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            status: 200,
            text: text.to_owned(),
            requests: Vec::new(),
            ended: false,
        }));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                serve(socket.unwrap(), &shared);
                if shared.lock().unwrap().ended {
                    return;
                }
            }
        });
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    /// What the next requests get.
    pub fn answer(&self, status: u16, text: &str) {
        let mut state = self.state.lock().unwrap();
        state.status = status;
        state.text = text.to_owned();
    }

    /// The heads of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for Tmaas {
    fn drop(&mut self) {
        self.state.lock().unwrap().ended = true;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, one answer: the connection is closed.
fn serve(mut socket: TcpStream, state: &Mutex<State>) {
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut head = Vec::new();
    let mut block = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut block) {
            Ok(count) if count > 0 => head.extend_from_slice(&block[..count]),
            _ => return,
        }
    }
    let mut state = state.lock().unwrap();
    state.requests.push(String::from_utf8(head).unwrap());
    let answer = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        state.status,
        state.text.len(),
        state.text
    );
    let _ = socket.write_all(answer.as_bytes());
}
