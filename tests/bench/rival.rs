//! The two servers: CIM's, and nats-server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Arguments;
use crate::support::nats_server::{self, NatsServer};
use crate::support::proc::{Usage, usage};
use crate::support::{Cim, NatsWire, Options, settled};

/// How long the resident memory must stand still to count as idle.
const QUIET: Duration = Duration::from_millis(300);

/// One of the two, which can be started.
pub enum Side {
    Cim(Box<Options>),
    NatsServer(PathBuf),
}

impl Side {
    pub fn cim(arguments: &Arguments) -> Self {
        let mut options = Options::new();
        if let Some(binary) = &arguments.binary {
            options.binary = std::path::absolute(binary).expect("the binary");
        }
        for pair in &arguments.env {
            let (name, value) = pair.split_once('=').expect("--env NAME=VALUE");
            options = options.env(name, value);
        }
        Self::Cim(Box::new(options))
    }

    /// # Errors
    /// There is no go to build it with.
    pub fn nats_server() -> io::Result<Self> {
        Ok(Self::NatsServer(nats_server::program()?))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Cim(_) => "cim",
            Self::NatsServer(_) => "nats-server",
        }
    }

    pub fn is_cim(&self) -> bool {
        matches!(self, Self::Cim(_))
    }

    /// Starts it and waits until it serves and stands still.
    pub fn start(&self) -> Running {
        let program = match self {
            Self::Cim(options) => Program::Cim(Box::new(Cim::start((**options).clone()))),
            Self::NatsServer(program) => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let port = listener.local_addr().unwrap().port();
                drop(listener);
                let server = NatsServer::start(program, port);
                server.ready();
                Program::NatsServer(server)
            }
        };
        let (address, pid) = match &program {
            Program::Cim(cim) => (cim.nats, cim.pid()),
            Program::NatsServer(server) => (server.address, server.child.id()),
        };
        drop(NatsWire::open(address));
        let rss = || usage(pid).map(|usage| usage.rss_kib);
        let idle_kib = settled(Duration::from_secs(10), QUIET, rss);
        Running {
            address,
            pid,
            idle_kib: idle_kib.unwrap_or(0),
            _program: program,
        }
    }
}

enum Program {
    Cim(Box<Cim>),
    NatsServer(NatsServer),
}

/// Ended with its owner.
pub struct Running {
    pub address: SocketAddr,
    pid: u32,
    /// Resident at idle, KiB.
    pub idle_kib: u64,
    _program: Program,
}

impl Running {
    /// CPU time and memory so far.
    pub fn usage(&self) -> Usage {
        usage(self.pid).expect("the server is still there")
    }
}
