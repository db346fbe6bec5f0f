//! The thread `http-server` over real sockets: slow, stuck, many, rude and stopped.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "support/operations.rs"]
mod http;

use std::net::Shutdown;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cim::http::Limits;
use http::*;

const REGISTER: &str = "/api/v1/_operations/xgvela/register";

/// Far below every deadline in force: an answer that comes within it has waited for none of them.
const QUICK: Duration = Duration::from_secs(3);

#[test]
fn keep_alive_and_its_end() {
    let server = Server::start(patient());
    let mut client = server.connect();
    for _ in 0..3 {
        let reply = client.ask(&get("/healthz"));
        assert_eq!((reply.status, reply.text()), (200, "{\"status\":\"ok\"}\n"));
        assert_eq!(reply.header("connection"), Some("keep-alive"));
        assert!(reply.header("date").unwrap().ends_with(" GMT"));
    }
    client.send(get("/metrics").replace("GET", "HEAD"));
    let reply = client.reply_to("HEAD");
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .header("content-length")
            .unwrap()
            .parse::<usize>()
            .unwrap()
            > 1000
    );
    let reply = client.ask("GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(
        (reply.status, reply.header("connection")),
        (503, Some("close"))
    );
    client.expect_closed();
    let mut client = server.connect();
    let reply = client.ask("GET /nothing HTTP/1.0\r\n\r\n");
    assert!(reply.json()["error"].is_string());
    client.expect_closed();
    eventually("counted", || server.answered("200") == 4);
    assert_eq!((server.answered("503"), server.answered("404")), (1, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::with(patient(), metrics(), Desk(channel().0));
    let mut client = server.connect();
    let all: String = (0..500).map(|n| get(&format!("/now?{n}"))).collect();
    client.send(all);
    for n in 0..500 {
        assert_eq!(client.reply().text(), n.to_string());
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = Server::start(patient());
    let mut client = server.connect();
    for byte in post(REGISTER, "{\"container_name\":\"a\"}").as_bytes() {
        client.send([*byte]);
    }
    assert_eq!(client.reply().json()["status"], "success");
}

#[test]
fn a_client_that_waits_to_continue_is_answered() {
    let server = Server::start(patient());
    let mut client = server.connect();
    let request = post(REGISTER, "{}").replace("Host", "Expect: 100-continue\r\nHost");
    let (head, body) = request.split_at(request.len() - 2);
    assert_eq!(client.ask(head).status, 100);
    assert_eq!(client.ask(body).status, 200);
}

#[test]
fn a_thousand_registrations() {
    let server = Server::start(patient());
    let mut kept = server.connect();
    for n in 0..1000 {
        let request = post(REGISTER, &format!("{{\"container_name\":\"app-{n}\"}}"));
        let reply = match n % 2 {
            0 => server.connect().ask(&request),
            _ => kept.ask(&request),
        };
        assert_eq!(
            (reply.status, &reply.json()["status"]),
            (200, &"success".into())
        );
    }
    assert_eq!(server.metrics.registrations.get(), 1000);
}

#[test]
fn a_hundred_stuck_requests_hold_nobody_up() {
    let server = Server::start(patient());
    let mut stuck: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for (n, client) in stuck.iter_mut().enumerate() {
        let request = post(REGISTER, "{\"container_name\":\"a\"}");
        // Some have lost their place already.
        let _ = std::io::Write::write(&mut client.socket, &request.as_bytes()[..n + 1]);
    }
    for path in ["/healthz", "/metrics"] {
        let asked = Instant::now();
        assert_eq!(server.get(path).status, 200);
        assert!(asked.elapsed() < QUICK, "{path} took {:?}", asked.elapsed());
    }
}

#[test]
fn a_whole_request_has_one_deadline() {
    let server = Server::start(Limits {
        request_time: Duration::from_millis(300),
        ..Limits::default()
    });
    let started = Instant::now();
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\n");
    // Drips on until the server has had enough.
    let mut dripping = client.socket.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut dripping, b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let reply = client.reply();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (408, Some("close"))
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
    drip.join().unwrap();
    assert_eq!((server.aborted("timeout"), server.answered("408")), (1, 1));
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let limits = Limits {
        all_bytes: 1 << 30,
        ..patient()
    };
    let server = Server::with(limits, metrics(), Desk(channel().0));
    let mut slow = server.connect();
    slow.send(get("/size?50000000"));
    eventually("answered", || server.answered("200") == 1);
    assert_eq!(server.get("/now?hello").text(), "hello");
    assert_eq!(
        slow.reply().body.len(),
        50_000_000,
        "and was waiting all the time"
    );
}

#[test]
fn a_slow_reader_is_cut_off() {
    let limits = Limits {
        all_bytes: 1 << 30,
        request_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::with(limits, metrics(), Desk(channel().0));
    let mut slow = server.connect();
    slow.send(get("/size?50000000"));
    eventually("cut off", || server.aborted("slow_reader") == 1);
    assert_eq!(server.get("/now?hello").text(), "hello");
}

#[test]
fn a_large_answer_arrives_whole() {
    let limits = Limits {
        all_bytes: 1 << 30,
        ..patient()
    };
    let server = Server::with(limits, metrics(), Desk(channel().0));
    assert_eq!(server.get("/size?50000000").body.len(), 50_000_000);
}

#[test]
fn clients_together_hold_no_more_than_their_share() {
    let limits = Limits {
        all_bytes: 100_000,
        ..patient()
    };
    let server = Server::start(limits);
    let clients: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = server.connect();
            let request = post(REGISTER, &"x".repeat(50_000));
            client.send(&request[..request.len() - 1]);
            client
        })
        .collect();
    eventually("some give way", || server.aborted("memory") >= 2);
    assert_eq!(server.get("/healthz").status, 200);
    drop(clients);
}

#[test]
fn too_large_is_told_even_to_a_client_that_goes_on_sending() {
    let server = Server::start(patient());
    for request in [
        post(REGISTER, &"x".repeat(4 << 20)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(4 << 20)),
        format!(
            "POST {REGISTER} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(1000)
        ),
    ] {
        let mut client = server.connect();
        let reply = client.ask(&request);
        assert!(matches!(reply.status, 413 | 431), "{}", reply.status);
        assert!(reply.json()["error"].is_string());
        client.expect_closed();
    }
    assert_eq!((server.answered("413"), server.answered("431")), (2, 1));
}

#[test]
fn garbage_ends_nothing() {
    let server = Server::start(patient());
    // A small generator of its own: each run the same.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for n in 0..300 {
        let mut bytes: Vec<u8> = (0..random() % 3000).map(|_| random() as u8).collect();
        if n % 3 == 0 {
            bytes.splice(
                0..0,
                *b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
        }
        let mut client = server.connect();
        let _ = std::io::Write::write_all(&mut client.socket, &bytes);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn half_closed_clients_get_their_answers() {
    let server = Server::start(patient());
    let mut client = server.connect();
    client.send(format!("{}{}", get("/healthz"), get("/readyz")));
    client.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!((client.reply().status, client.reply().status), (200, 503));
    client.expect_closed();
    let mut client = server.connect();
    client.send("GET / HT");
    client.socket.shutdown(Shutdown::Write).unwrap();
    client.expect_closed();
    assert_eq!(server.aborted("client_closed"), 1);
}

#[test]
fn when_full_the_idle_give_way_and_the_stuck_before_them() {
    let server = Server::start(Limits {
        connections: 4,
        stuck_time: Duration::from_millis(50),
        ..patient()
    });
    let mut stuck: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut stuck {
        client.send("GET /");
    }
    // Answered, so that those before them have been accepted.
    let mut idle: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.ask(&get("/healthz")).status, 200);
    }
    let begun = Instant::now();
    eventually("the two count as stuck", || {
        begun.elapsed() > Duration::from_millis(60)
    });
    let (mut new, mut newer) = (server.connect(), server.connect());
    for client in [&mut new, &mut newer] {
        assert_eq!(client.ask(&get("/healthz")).status, 200);
    }
    stuck[0].expect_closed();
    stuck[1].expect_closed();
    assert_eq!(server.aborted("crowded_out"), 2);
    assert_eq!(server.get("/healthz").status, 200);
    idle[0].expect_closed();
    for client in [&mut idle[1], &mut new, &mut newer] {
        assert_eq!(
            client.ask(&get("/healthz")).status,
            200,
            "these have kept their places"
        );
    }
    assert_eq!(
        server.aborted("crowded_out"),
        2,
        "an idle one loses nothing"
    );
}

#[test]
fn idle_connections_are_closed_after_a_while() {
    let server = Server::start(Limits {
        idle_time: Duration::from_millis(100),
        ..patient()
    });
    let mut client = server.connect();
    assert_eq!(client.ask(&get("/healthz")).status, 200);
    client.expect_closed();
    assert_eq!(server.answered("408"), 0);
}

#[test]
fn the_open_address_has_metrics_and_health_alone() {
    let server = Server::start(patient());
    let mut client = Client::to(server.metrics_address);
    assert_eq!(client.ask(&get("/metrics")).status, 200);
    assert_eq!(client.ask(&get("/healthz")).status, 200);
    assert_eq!(client.ask(&get("/readyz")).status, 503);
    assert_eq!(client.ask(&post(REGISTER, "{}")).status, 404);
    assert_eq!(server.get("/metrics").status, 200, "on the REST port too");
}

#[test]
fn an_answer_may_come_later_from_another_thread() {
    let (sender, repliers) = channel();
    let server = Server::with(patient(), metrics(), Desk(sender));
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send(get("/later"));
    let replier = repliers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(server.get("/now?me").text(), "me", "nobody else waits");
    second.send(get("/later"));
    let asked = Instant::now();
    drop(repliers.recv_timeout(PATIENCE).unwrap());
    assert_eq!(second.reply().status, 500);
    replier.send(text(b"done".to_vec()));
    assert_eq!(first.reply().text(), "done");
    assert!(asked.elapsed() < QUICK, "woken, not timed out");
    assert_eq!(first.ask(&get("/now?again")).text(), "again");
}

#[test]
fn a_stop_finishes_answers_and_closes_the_rest() {
    let (sender, repliers) = channel();
    let mut server = Server::with(patient(), metrics(), Desk(sender));
    let (mut idle, mut half, mut waiting) = (server.connect(), server.connect(), server.connect());
    assert_eq!(idle.ask(&get("/now")).status, 200);
    half.send("GET /now HT");
    waiting.send(get("/later"));
    let replier = repliers.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        server.get("/now").status,
        200,
        "by now the half request was read"
    );
    server.stopper.as_ref().unwrap().stop();
    idle.expect_closed();
    half.expect_closed();
    replier.send(text(b"done".to_vec()));
    let reply = waiting.reply();
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("done", Some("close"))
    );
    drop(waiting);
    server.join();
    assert_eq!(server.aborted("stopped"), 1);
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
    let limits = Limits {
        all_bytes: 1 << 30,
        stop_time: Duration::from_millis(300),
        ..patient()
    };
    let mut server = Server::with(limits, metrics(), Desk(channel().0));
    let mut slow = server.connect();
    slow.send(get("/size?50000000"));
    eventually("answered", || server.answered("200") == 1);
    server.stopper = None;
    let took = server.join();
    assert!(took < QUICK, "{took:?}");
}
