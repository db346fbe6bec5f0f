//! nats-server itself, from its Go module, killed and started again under load.

use std::path::PathBuf;

use rustix::process::{Pid, kill_process};

use super::support::load::{line, parse};
use super::support::nats::event;
use super::support::nats_server::{self, NatsServer};
use super::support::publisher::Publisher;
use super::support::{Cim, PATIENCE, Signal, eventually, free_port};
use super::{client_of, ready};

fn program() -> PathBuf {
    nats_server::program()
        .expect("go is missing: `make integration-test` says how to get it, or goes without")
}

#[test]
#[ignore = "integration"]
fn with_go_a_nats_server_that_stands_still_is_noticed_and_one_that_goes_on_is_found() {
    let port = free_port();
    let server = NatsServer::start(&program(), port);
    let cim = Cim::start(client_of(&format!("nats://127.0.0.1:{port}")));
    ready(&cim);
    let pid = Pid::from_child(&server.child);
    kill_process(pid, Signal::STOP).unwrap();
    eventually(3 * PATIENCE, || {
        let page = cim.get("/readyz").text();
        page.contains("does not answer PING") || page.contains("no NATS server at")
    });
    kill_process(pid, Signal::CONT).unwrap();
    ready(&cim);
    let mut wire = cim.client();
    wire.publish_log("app", "0123456789ab", &line(0, 0));
    wire.ping_pong();
    eventually(PATIENCE, || prefixes(&cim, 1) == [1]);
}

/// Of each connection, how many lines are in the files; they must be its first ones, each once and in order.
fn prefixes(cim: &Cim, connections: u32) -> Vec<u64> {
    let mut next = vec![0; connections as usize];
    for text in cim.lines_so_far("app") {
        let (connection, number) = parse(&text);
        let next = &mut next[connection as usize];
        assert_eq!(number, *next, "of connection {connection}");
        *next += 1;
    }
    next
}

#[test]
#[ignore = "integration"]
fn with_go_a_nats_server_killed_under_load_costs_what_it_had_in_hand_and_nothing_before_or_after() {
    const ROUNDS: u32 = 4;
    let (program, port) = (program(), free_port());
    let mut server = NatsServer::start(&program, port);
    let options = client_of(&format!("nats://127.0.0.1:{port}"));
    let mut cim = Cim::start(options.large_files());
    let mut arrived = Vec::new();
    for round in 0..ROUNDS {
        ready(&cim);
        let load = Publisher::start(cim.nats, round, 500, 20_000);
        load.go_on(10_000);
        // Stored before the break: what it cannot cost.
        let least = load.acknowledged();
        eventually(PATIENCE, || prefixes(&cim, ROUNDS)[round as usize] >= least);
        drop(server);
        load.stop();
        eventually(PATIENCE, || {
            cim.get("/readyz").text().contains("no NATS server at")
        });
        arrived.push(least);
        server = NatsServer::start(&program, port);
    }
    ready(&cim);
    let mut wire = cim.client();
    for n in 0..100 {
        wire.publish_with_reply("EVENT", "ack", &event(&n.to_string()));
    }
    wire.ping_pong();
    eventually(PATIENCE, || {
        cim.metric("cim_events_stored_total", &[]) == 100.0
    });
    assert_eq!(
        cim.metric("cim_nats_external_connections_lost_total", &[]),
        f64::from(ROUNDS)
    );
    assert!(cim.stop(Signal::TERM).success());
    let all = prefixes(&cim, ROUNDS);
    assert!(all.iter().zip(&arrived).all(|(all, least)| all >= least));
}
