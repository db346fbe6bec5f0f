//! An external server that is to be spoken to through TLS.

use std::path::Path;

use cim::limits::EXTERNAL_HOLD_TIME;
use cim::nats::external::{External, Server};

use super::alone::Alone;
use super::support::load::line;
use super::support::tls::{Authority, TlsWire, client_config};
use super::support::{Cim, Options, PATIENCE, Signal, eventually, nats};
use super::{ID, client_of, has_lines, ready, server};

fn with_files(options: Options, dir: &Path, name: &str) -> Options {
    let file = |extension: &str| dir.join(format!("{name}.{extension}"));
    options
        .env("CIM_NATS_TLS_CERT_FILE", file("pem"))
        .env("CIM_NATS_TLS_KEY_FILE", file("key"))
        .env("CIM_NATS_TLS_CA_FILE", file("ca"))
}

/// A server that wants a certificate of each client, and a client of it.
fn start(dir: &Path) -> (Cim, TlsWire) {
    let ca = Authority::new("ca");
    for name in ["server", "cim"] {
        ca.issue(dir, name);
    }
    let server = Cim::start(with_files(server(0), dir, "server"));
    let config = client_config(dir, "cim.ca", Some("cim"));
    let wire = TlsWire::connect(server.nats, &config).unwrap();
    (server, wire)
}

#[test]
fn lines_and_acknowledgements_go_through_tls_whether_the_address_or_the_server_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut wire) = start(dir.path());
    wire.send(b"SUB ack 1\r\n");
    for scheme in ["tls", "nats"] {
        let url = format!("{scheme}://{}", server.nats);
        let mut cim = Cim::start(with_files(client_of(&url), dir.path(), "cim"));
        eventually(PATIENCE, || {
            let page = cim.get("/readyz").text();
            page.contains(&format!("connected to {url}"))
        });
        let lines =
            (0..5000).flat_map(|n| nats::publish("LOG", None, &nats::log("app", ID, &line(0, n))));
        wire.send(&lines.collect::<Vec<_>>());
        has_lines(&cim, 0..5000);
        wire.send(&nats::publish("EVENT", Some("ack"), &nats::event("E")));
        // The server is a CIM too, and answers itself.
        for _ in 0..2 {
            let head = wire.try_line().unwrap();
            let size = head.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
            let text = wire.bytes(size + 2);
            assert!(text.starts_with(br#"{"stream":"EVENT""#), "{text:?}");
        }
        assert!(cim.stop(Signal::TERM).success());
    }
}

#[test]
fn large_messages_go_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut wire) = start(dir.path());
    let file = |extension: &str| dir.path().join(format!("cim.{extension}"));
    let external = External {
        servers: Server::parse_list(&format!("tls://{}", server.nats)).unwrap(),
        ca_file: Some(file("ca")),
        certificate: Some((file("pem"), file("key"))),
    };
    let mut alone = Alone::start_with(external, EXTERNAL_HOLD_TIME);
    alone.ready();
    wire.send(b"SUB EVENT-NOTIFICATION 1\r\n");
    wire.ping_pong();
    for size in [1, 300 << 10, 0, 1 << 20] {
        let payload = vec![b'a' + (size % 26) as u8; size];
        alone.notifier.send(payload.clone()).unwrap();
        wire.expect(&format!("MSG EVENT-NOTIFICATION 1 {size}"));
        assert!(wire.bytes(size + 2)[..size] == payload);
    }
    eventually(PATIENCE, || alone.notifier.delivered() == 4);
    alone.end();
}

#[test]
fn a_server_without_tls_and_one_of_another_authority_are_told_in_readyz() {
    let dir = tempfile::tempdir().unwrap();
    let (with_tls, _wire) = start(dir.path());
    Authority::new("other").issue(dir.path(), "other");
    let plain = Cim::start(server(0));
    for (address, files, expected) in [
        (plain.nats, "cim", "TLS is asked for, and it has none"),
        (with_tls.nats, "other", "invalid peer certificate"),
    ] {
        let url = format!("tls://{address}");
        let cim = Cim::start(with_files(client_of(&url), dir.path(), files));
        eventually(PATIENCE, || {
            let page = cim.get("/readyz").text();
            page.contains("refuses the connection") && page.contains(expected)
        });
    }
    let cim = Cim::start(client_of(&format!("nats://{}", plain.nats)));
    ready(&cim);
}
