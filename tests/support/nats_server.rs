//! nats-server itself, from its Go module.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cim::wait;
use super::{NatsWire, PATIENCE, eventually, forks};

const MODULE: &str = "github.com/nats-io/nats-server/v2@v2.12.1";

/// Killed with its owner.
pub struct NatsServer {
    pub child: Child,
    pub address: SocketAddr,
}

impl NatsServer {
    /// On loopback; it may not listen yet.
    pub fn start(program: &Path, port: u16) -> Self {
        Self::start_with(program, port, &[])
    }

    /// As [`Self::start`], with more arguments.
    pub fn start_with(program: &Path, port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            child: forks::spawn(&mut command).unwrap(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Waits until it serves.
    #[track_caller]
    pub fn ready(&self) {
        eventually(PATIENCE, || NatsWire::try_open(self.address).is_ok());
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let ended = wait(&mut self.child, PATIENCE).is_some();
        assert!(ended || std::thread::panicking());
    }
}

/// The program, built once.
///
/// # Errors
/// There is no go.
#[track_caller]
pub fn program() -> io::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nats-server");
    let program = dir.join("nats-server");
    if !program.exists() {
        let mut install = Command::new("go");
        install
            .args(["install", MODULE])
            .env("GOBIN", &dir)
            .env("GOFLAGS", "-mod=mod");
        let built = forks::output(&mut install)?;
        let text = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{MODULE} cannot be built: {text}");
    }
    Ok(program)
}
