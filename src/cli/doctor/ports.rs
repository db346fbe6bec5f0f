//! What CIM would listen on: free, taken by a CIM, or by something else. With `CIM_NATS_URL`: the external servers.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{Known, Out};
use crate::chain::chain;
use crate::http_agent;
use crate::limits::{CONTROL_LINE_BYTES, DOCTOR_CONNECT_TIME};
use crate::nats::external::{ConnectError, External};
use crate::settings::problem::shown;

/// Bytes of the answer of `/readyz`, and of each buffer of its connection.
const BUFFER_BYTES: usize = 16 << 10;

pub(super) fn nats(known: &Known, out: &Out) {
    let options = &known.surroundings.options;
    if let Some(external) = &options.external {
        return servers(external, out);
    }
    let address = options.nats;
    if !is_taken(address, "CIM_NATS_PORT", "CIM_NATS_BIND", out) {
        return;
    }
    match greeting(address) {
        Ok(Some(info)) if info.is_cim() => {
            out.ok(format!("{address}: a CIM answers ({})", info.name));
        }
        Ok(Some(info)) => out.failed(
            format!("{address}: {} listens there, nats-server {}", info.name, info.version),
            "end it, choose another port with CIM_NATS_PORT, or make CIM its client with CIM_NATS_URL",
        ),
        Ok(None) => out.failed(
            format!("{address}: something that is no NATS server listens there"),
            "end it, or choose another port with CIM_NATS_PORT",
        ),
        Err(error) => out.failed(
            format!("{address}: taken, and nothing answers there: {error}"),
            "find out what it is with `ss -ltnp`, or choose another port with CIM_NATS_PORT",
        ),
    }
}

pub(super) fn rest(known: &Known, out: &Out) {
    let options = &known.surroundings.options;
    let asked = [
        (Some(options.rest), "CIM_REST_PORT", "CIM_REST_BIND"),
        (options.metrics, "CIM_METRICS_BIND", "CIM_METRICS_BIND"),
    ];
    for (address, port, bind) in asked {
        let Some(address) = address else { continue };
        if !is_taken(address, port, bind, out) {
            continue;
        }
        if is_cim(address) {
            out.ok(format!("{address}: a CIM answers"));
        } else {
            out.failed(
                format!("{address}: something else listens there"),
                format!("end it, or choose another port with {port}"),
            );
        }
    }
}

/// Says how it is, unless somebody listens there.
fn is_taken(address: SocketAddr, port: &str, bind: &str, out: &Out) -> bool {
    if address.port() == 0 {
        out.ok(format!("{address}: any free port"));
        return false;
    }
    match try_bind(address) {
        Ok(()) => out.ok(format!("{address}: free for CIM to listen on")),
        Err(error) if error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error()) => return true,
        Err(error) if error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) => {
            out.failed(
                format!("{address} is no address of this machine"),
                format!("name one that is with {bind}"),
            );
        }
        Err(error) => out.failed(
            format!("CIM cannot listen on {address}: {error}"),
            format!("choose another port with {port}; one below 1024 needs rights"),
        ),
    }
    false
}

/// Without listening: no client is taken in for the moment.
fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the listener of CIM has it: connections of an earlier one that linger are no hindrance.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn is_cim(address: SocketAddr) -> bool {
    let agent = http_agent::config(BUFFER_BYTES)
        .timeout_global(Some(DOCTOR_CONNECT_TIME))
        .build()
        .new_agent();
    let answer = agent
        .get(format!("http://{}/readyz", reached(address)))
        .call();
    let text = answer.and_then(|mut answer| {
        let body = answer.body_mut().with_config();
        body.limit(BUFFER_BYTES as u64).read_to_string()
    });
    let text = text.unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|answer| answer.pointer("/parts/nats").is_some())
}

/// Where a server that listens on `address` is reached from here.
fn reached(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}

/// What a NATS server says first.
struct Greeting {
    name: String,
    version: String,
    go: String,
}

impl Greeting {
    /// nats-server names the Go that it was made with.
    fn is_cim(&self) -> bool {
        self.go.is_empty()
    }
}

/// `None`: what listens there begins in another way.
fn greeting(address: SocketAddr) -> io::Result<Option<Greeting>> {
    let stream = TcpStream::connect_timeout(&address, DOCTOR_CONNECT_TIME)?;
    stream.set_read_timeout(Some(DOCTOR_CONNECT_TIME))?;
    let mut line = Vec::new();
    let most = CONTROL_LINE_BYTES as u64;
    BufReader::new(stream.take(most)).read_until(b'\n', &mut line)?;
    let info = line
        .strip_prefix(b"INFO ")
        .and_then(|json| serde_json::from_slice::<Value>(json).ok());
    Ok(info.map(|info| {
        let text = |name: &str| {
            let text = info.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Greeting {
            name: shown(&text("server_name")),
            version: text("version"),
            go: text("go"),
        }
    }))
}

/// Each of them; one that works is enough.
fn servers(external: &External, out: &Out) {
    let mut works = false;
    let mut troubles = Vec::new();
    for server in &external.servers {
        match external.connect_to(server, "cim-doctor") {
            Ok(connected) => {
                works = true;
                let (shown, version) = (&server.url, shown(&connected.version));
                out.ok(format!("{shown}: nats-server {version} lets CIM in"));
            }
            Err(error) => {
                let to_do = match &error {
                    ConnectError::Refused { .. } => {
                        "look at user and password in CIM_NATS_URL, and at CIM_NATS_TLS_*_FILE where it wants TLS"
                    }
                    ConnectError::Foreign { .. } => "name the port for clients in CIM_NATS_URL",
                    ConnectError::Unreachable { .. } => {
                        "start it, or name another one with CIM_NATS_URL"
                    }
                };
                troubles.push((chain(&error), to_do));
            }
        }
    }
    for (text, to_do) in troubles {
        match works {
            true => out.warning(text, to_do),
            false => out.failed(text, to_do),
        }
    }
}
