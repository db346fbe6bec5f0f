//! The thread `nats-server` with the test in the place of the data path: what it does while that has no room.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[allow(dead_code)] // a part of it is used here
#[path = "support/tls.rs"]
mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cim::limits::{
    ACKS_WAITING, CONNECTIONS, CONTROL_BATCHES, EVENT_BATCHES, LOG_BATCHES, LOG_BYTES,
    PING_INTERVAL, READ_BLOCK_BYTES,
};
use cim::metrics::Metrics;
use cim::nats::Limits;
use cim::nats::auth::Auth;
use cim::nats::info::Info;
use cim::nats::tls::{HandshakeFirst, Tls, TlsOptions};
use cim::notifications::{Notifier, SUBJECT, notifications};
use cim::progress::Progress;
use cim::secret::Secret;
use cim::tap::{Batch, ControlBatch};
use cim::threads::nats_server::{NatsServer, Senders, Stop, WAKER};
use cim::threads::spawn::NOTICES;
use crossbeam_channel::{Receiver, bounded};

const PATIENCE: Duration = Duration::from_secs(20);

/// The server, and the far ends of its channels.
struct Server {
    address: SocketAddr,
    log: Receiver<Batch>,
    events: Receiver<Batch>,
    control: Receiver<ControlBatch>,
    log_progress: Arc<Progress>,
    event_progress: Arc<Progress>,
    control_progress: Arc<Progress>,
    notifier: Notifier,
    metrics: Arc<Metrics>,
    /// How often progress has woken the thread up.
    wakes: Arc<AtomicU64>,
    waker: Arc<mio::Waker>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Its clients get no PING while a test lasts.
    fn start() -> Self {
        let limits = Limits {
            first_ping: PING_INTERVAL,
            ..Limits::default()
        };
        Self::start_with(None, limits)
    }

    fn start_with(tls: Option<Arc<Tls>>, limits: Limits) -> Self {
        Self::start_for(Auth::Open, tls, limits)
    }

    fn start_for(auth: Auth, tls: Option<Arc<Tls>>, limits: Limits) -> Self {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER).unwrap());
        let wakes = Arc::new(AtomicU64::new(0));
        let progress = || {
            let (waker, wakes) = (Arc::clone(&waker), Arc::clone(&wakes));
            Progress::new(move || {
                wakes.fetch_add(1, SeqCst);
                waker.wake().unwrap();
            })
        };
        let (log_progress, event_progress) = (progress(), progress());
        let control_progress = progress();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (log_out, log) = bounded(LOG_BATCHES);
        let (events_out, events) = bounded(EVENT_BATCHES);
        let (control_out, control) = bounded(CONTROL_BATCHES);
        let stop = Arc::new(Stop::default());
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let (notifier, outlet) = {
            let waker = Arc::clone(&waker);
            notifications(1 << 20, move || waker.wake().unwrap())
        };
        let server = NatsServer {
            poll,
            waker: Arc::clone(&waker),
            listener: mio::net::TcpListener::from_std(listener),
            info: Info::new(String::new(), String::new(), address, 1 << 20),
            auth,
            tls,
            limits,
            senders: Senders {
                log: log_out,
                events: events_out,
                control: control_out,
            },
            log_progress: Arc::clone(&log_progress),
            event_progress: Arc::clone(&event_progress),
            control_progress: Arc::clone(&control_progress),
            notifications: outlet,
            changes: crossbeam_channel::never(),
            questions: crossbeam_channel::never(),
            monitor: None,
            metrics: Arc::clone(&metrics),
            stop: Arc::clone(&stop),
        };
        let thread = server.spawn(&bounded(NOTICES).0).unwrap();
        let server = Self {
            address,
            log,
            events,
            control,
            log_progress,
            event_progress,
            control_progress,
            notifier,
            metrics,
            wakes,
            waker,
            stop,
            thread: Some(thread),
        };
        // CIM's message to itself.
        let first = server.control.recv_timeout(PATIENCE).expect("a batch");
        assert_eq!(first.messages.len(), 1);
        server.control_progress.routed(first.seq);
        server
    }

    fn client(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"CONNECT {\"verbose\":false}\r\n")
            .unwrap();
        stream
    }

    /// Takes the next batch, as `nats_subscriptions` does.
    fn next_event(&self) -> Batch {
        let batch = self.events.recv_timeout(PATIENCE).expect("a batch");
        self.event_progress.routed(batch.seq);
        batch
    }

    fn next_log(&self) -> Batch {
        let batch = self.log.recv_timeout(PATIENCE).expect("a batch");
        self.log_progress.notify();
        batch
    }

    /// Publishes to LOG, a batch at a time, until there is no room.
    fn fill_log(&self, client: &mut TcpStream) {
        while !self.log.is_full() {
            let before = self.log.len();
            client.write_all(b"PUB LOG 1\r\nx\r\n").unwrap();
            eventually(|| self.log.len() > before);
        }
    }

    fn fill_events(&self, client: &mut TcpStream) {
        while !self.events.is_full() {
            let before = self.events.len();
            client.write_all(b"PUB EVENT 1\r\nx\r\n").unwrap();
            eventually(|| self.events.len() > before);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.at_once();
        self.waker.wake().unwrap();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the thread has panicked");
            assert!(std::thread::panicking());
        }
    }
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn expect(answers: &mut impl BufRead, expected: &str) {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    if line.starts_with("INFO ") {
        line.clear();
        answers.read_line(&mut line).unwrap();
    }
    assert_eq!(line.trim_end(), expected);
}

#[test]
fn who_waits_for_room_on_event_does_not_wait_for_room_on_log() {
    let server = Server::start();
    let (mut lines, mut events) = (server.client(), server.client());
    server.fill_log(&mut lines);
    lines.write_all(b"PUB LOG 1\r\ny\r\n").unwrap();
    server.fill_events(&mut events);
    events.write_all(b"PUB EVENT 4\r\nlast\r\n").unwrap();
    eventually(|| server.metrics.nats_held_back.get() == 2);
    for _ in 0..EVENT_BATCHES {
        server.next_event();
    }
    let last = server.next_event();
    assert_eq!(last.spans[0].of(&last.buffer), b"last");
    assert!(server.log.is_full());
}

#[test]
fn waiting_for_places_of_acknowledgements_costs_nothing() {
    let server = Server::start();
    let mut client = server.client();
    let requests = "PUB LOG r 1\r\nx\r\n".repeat(ACKS_WAITING + 10);
    client.write_all(requests.as_bytes()).unwrap();
    let mut taken = 0;
    let mut last = 0;
    while taken < ACKS_WAITING {
        let batch = server.next_log();
        taken += batch.spans.len();
        last = batch.seq;
    }
    assert_eq!(taken, ACKS_WAITING);
    let mut other = BufReader::new(server.client());
    other.get_mut().write_all(b"PING\r\n").unwrap();
    expect(&mut other, "PONG");
    let before = server.wakes.load(SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    let wakes = server.wakes.load(SeqCst) - before;
    assert!(wakes < 10, "woken up {wakes} times while nothing moved");
    // Stored: the rest comes.
    server.log_progress.routed(last);
    while taken < ACKS_WAITING + 10 {
        taken += server.next_log().spans.len();
    }
}

#[test]
fn many_publishers_that_must_wait_for_room_are_not_cut_off() {
    const CLIENTS: usize = 200;
    let server = Server::start();
    server.fill_events(&mut server.client());
    // Each sends as much as one read takes.
    let one = format!("PUB EVENT 200\r\n{}\r\n", "e".repeat(200));
    let each = READ_BLOCK_BYTES / one.len();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.client();
            client.write_all(one.repeat(each).as_bytes()).unwrap();
            client
        })
        .collect();
    let mut other = BufReader::new(server.client());
    other.get_mut().write_all(b"PING\r\n").unwrap();
    expect(&mut other, "PONG");
    let mut got = 0;
    while got < CLIENTS * each + EVENT_BATCHES {
        let batch = server
            .events
            .recv_timeout(Duration::from_secs(5))
            .unwrap_or_else(|_| panic!("only {got} of {}", CLIENTS * each));
        got += batch.spans.len();
        server.event_progress.routed(batch.seq);
    }
    for mut client in clients {
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(!said.contains("-ERR"), "{said}");
    }
    const { assert!(CLIENTS < CONNECTIONS) };
}

#[test]
fn large_lines_in_the_data_path_are_bounded_in_bytes() {
    const LINE: usize = 1 << 20;
    const LINES: usize = 3 * LOG_BATCHES;
    let server = Server::start();
    let mut client = server.client();
    let publisher = std::thread::spawn(move || {
        let one = [
            format!("PUB LOG {LINE}\r\n").as_bytes(),
            &vec![b'x'; LINE],
            b"\r\n",
        ]
        .concat();
        for _ in 0..LINES {
            client.write_all(&one).unwrap();
        }
        client
    });
    let held = &server.metrics.nats_held_back;
    eventually(|| held.get() > 0);
    assert!(server.log.len() * LINE <= LOG_BYTES, "{}", server.log.len());
    let mut got = 0;
    while got < LINES {
        got += server.next_log().spans.len();
    }
    publisher.join().unwrap();
}

#[test]
fn a_ping_is_answered_although_its_client_has_ended_its_side() {
    let server = Server::start();
    let mut client = BufReader::new(server.client());
    client
        .get_mut()
        .write_all(b"PUB LOG 1\r\nx\r\nPING\r\n")
        .unwrap();
    client.get_mut().shutdown(Shutdown::Write).unwrap();
    let batch = server.next_log();
    let mut other = BufReader::new(server.client());
    other.get_mut().write_all(b"PING\r\n").unwrap();
    expect(&mut other, "PONG");
    server.log_progress.routed(batch.seq);
    expect(&mut client, "PONG");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn whose_password_is_looked_at_hears_of_it_whatever_it_sends_meanwhile() {
    let hash = Secret::new(bcrypt::hash("p", 4).unwrap());
    let server = Server::start_for(Auth::user("u".into(), hash), None, Limits::default());
    let good = "CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\n";
    let bad = "CONNECT {\"user\":\"u\",\"pass\":\"x\"}\r\n";
    let other = "CONNECT {\"user\":\"u\",\"pass\":\"p\",\"protocol\":2}\r\n";
    let refused = "-ERR 'Authorization Violation'\r\n";
    for (sent, heard) in [
        (good.to_owned(), "+OK\r\n"),
        (bad.to_owned(), refused),
        (format!("{bad}nonsense"), refused),
        (format!("{good}{good}PING\r\nPI"), "+OK\r\n+OK\r\nPONG\r\n"),
        (format!("{good}{bad}PING\r\n"), &format!("+OK\r\n{refused}")),
        (
            format!("{other}PUB LOG 1\r\nx\r\n"),
            "-ERR 'invalid client protocol'\r\n",
        ),
    ] {
        let mut client = TcpStream::connect(server.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(sent.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        let (info, text) = text.split_once("\r\n").unwrap();
        assert!(info.starts_with("INFO "), "{info}");
        assert_eq!(text, heard, "{sent}");
    }
    assert!(server.log.is_empty());
}

/// Waits until so many messages of CIM's own are delivered.
#[track_caller]
fn until_delivered(notifier: &mut Notifier, number: u64) {
    let start = Instant::now();
    while notifier.delivered() < number {
        assert!(start.elapsed() < PATIENCE, "{}", notifier.delivered());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn notifications_wait_for_a_subscriber_and_reach_each_once_in_order() {
    let mut server = Server::start();
    for n in 1..=3 {
        let text = format!("<{n}>").into_bytes();
        assert_eq!(server.notifier.send(text), Ok(n));
    }
    let mut other = BufReader::new(server.client());
    other.get_mut().write_all(b"SUB LOG 7\r\nPING\r\n").unwrap();
    expect(&mut other, "PONG");
    assert!(!server.notifier.is_heard());
    assert_eq!(server.notifier.delivered(), 0);
    let mut clients: Vec<_> = (0..2).map(|_| BufReader::new(server.client())).collect();
    // Whoever comes second must not be too late for the first message.
    clients[0]
        .get_mut()
        .write_all(format!("SUB {SUBJECT} 1\r\n").as_bytes())
        .unwrap();
    until_delivered(&mut server.notifier, 3);
    assert!(server.notifier.is_heard());
    clients[1]
        .get_mut()
        .write_all(b"SUB EVENT-* 1\r\nSUB > 1\r\nPING\r\n")
        .unwrap();
    expect(&mut clients[1], "PONG");
    server.notifier.send(b"<4>".to_vec()).unwrap();
    until_delivered(&mut server.notifier, 4);
    for n in 1..=4 {
        expect(&mut clients[0], &format!("MSG {SUBJECT} 1 3"));
        expect(&mut clients[0], &format!("<{n}>"));
    }
    drop(clients);
    eventually(|| !server.notifier.is_heard());
}

#[test]
fn a_notification_is_delivered_when_it_is_in_the_socket() {
    let mut server = Server::start();
    let mut client = BufReader::new(server.client());
    let subscription = format!("SUB {SUBJECT} 1\r\nPING\r\n");
    client.get_mut().write_all(subscription.as_bytes()).unwrap();
    expect(&mut client, "PONG");
    // More than sockets hold.
    let large = vec![b'x'; 512 << 10];
    let mut sent = 0;
    let start = Instant::now();
    while sent < 16 || server.notifier.delivered() == sent {
        if server.notifier.send(large.clone()).is_ok() {
            sent += 1;
        }
        let under_way = sent - server.notifier.delivered();
        assert!(under_way <= 2, "{under_way}");
        // It holds back rather than be cut off.
        if start.elapsed() > Duration::from_millis(300) && under_way == 2 {
            break;
        }
    }
    assert!(server.notifier.delivered() < sent);
    for _ in 0..sent {
        expect(&mut client, &format!("MSG {SUBJECT} 1 {}", large.len()));
        let mut payload = vec![0; large.len() + 2];
        client.read_exact(&mut payload).unwrap();
    }
    until_delivered(&mut server.notifier, sent);
    assert_eq!(server.metrics.nats_slow_consumers.get(), 0);
    // A client that goes without having read is not waited for; what was not published yet waits for the next one.
    while server.notifier.send(large.clone()).is_ok() {
        sent += 1;
    }
    drop(client);
    let mut next = server.client();
    next.write_all(subscription.as_bytes()).unwrap();
    // It ends with the server.
    std::thread::spawn(move || std::io::copy(&mut next, &mut std::io::sink()));
    until_delivered(&mut server.notifier, sent);
}

/// A server with TLS, and a client's settings for it.
fn with_tls(change: impl FnOnce(&mut TlsOptions)) -> (Server, Arc<rustls::ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    tls::Authority::new("ca").issue(dir.path(), "server");
    let file = |name: &str| dir.path().join(name);
    let mut options = TlsOptions::new(file("server.pem"), file("server.key"));
    change(&mut options);
    let config = tls::client_config(dir.path(), "server.ca", None);
    let server = Server::start_with(
        Some(Arc::new(Tls::load(options).unwrap())),
        Limits::default(),
    );
    (server, config)
}

fn dial(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn closed(server: &Server, reason: &str) -> u64 {
    server
        .metrics
        .nats_closed
        .with_label_values(&[reason])
        .get()
}

#[test]
fn where_the_handshake_comes_first_nothing_goes_out_before_it() {
    let (server, config) = with_tls(|options| {
        options.handshake_first = HandshakeFirst::On;
        options.allow_non_tls = true;
    });
    let mut wire = tls::TlsWire::shake(dial(&server), &config).unwrap();
    let info = wire.try_line().unwrap();
    assert!(info.contains("\"tls_required\":true"), "{info}");
    wire.send(b"PING\r\n");
    wire.expect("PONG");
    // Whoever waits for INFO waits in vain.
    assert_eq!(tls::rest_of(&mut dial(&server)), b"");
    eventually(|| closed(&server, "TLS Handshake Failure") == 1);
}

#[test]
fn a_client_that_does_not_begin_in_time_gets_its_info_first() {
    let (server, config) = with_tls(|options| {
        options.handshake_first = HandshakeFirst::Within(Duration::from_millis(100));
    });
    for _ in 0..2 {
        let (stream, info) = tls::plain(server.address);
        assert!(info.contains("\"tls_required\":true"), "{info}");
        let mut wire = tls::TlsWire::shake(stream, &config).unwrap();
        wire.send(b"PING\r\n");
        wire.expect("PONG");
    }
    let mut wire = tls::TlsWire::shake(dial(&server), &config).unwrap();
    let info = wire.try_line().unwrap();
    assert!(info.starts_with("INFO {"), "{info}");
    // The time of the handshake begins with INFO.
    let (mut stream, _) = tls::plain(server.address);
    assert_eq!(tls::rest_of(&mut stream), b"");
    eventually(|| closed(&server, "TLS Handshake Failure") == 1);
}

#[test]
fn where_plain_clients_are_welcome_the_first_byte_says_who_is_one() {
    let (server, config) = with_tls(|options| {
        options.allow_non_tls = true;
        options.timeout = PATIENCE;
    });
    let (mut stream, info) = tls::plain(server.address);
    let is_told = info.contains("\"tls_available\":true") && !info.contains("tls_required");
    assert!(is_told, "{info}");
    stream.write_all(b"PING\r\n").unwrap();
    expect(&mut BufReader::new(&stream), "PONG");
    let stream = tls::plain(server.address).0;
    let mut wire = tls::TlsWire::shake(stream, &config).unwrap();
    wire.send(b"PING\r\n");
    wire.expect("PONG");
    // Who says nothing is plain after the time of a handshake. One who has begun after it shows that this time is over; who comes
    // too late with that on a busy machine is plain already.
    let (server, _) = with_tls(|options| {
        options.allow_non_tls = true;
        options.timeout = Duration::from_millis(200);
    });
    let mut silent = tls::plain(server.address).0;
    eventually(|| {
        let mut half = tls::plain(server.address).0;
        half.write_all(b"\x16").unwrap();
        tls::rest_of(&mut half);
        closed(&server, "TLS Handshake Failure") > 0
    });
    silent.write_all(b"PING\r\n").unwrap();
    expect(&mut BufReader::new(&silent), "PONG");
}

#[test]
fn over_tls_who_waits_for_room_is_held_and_loses_nothing() {
    let (server, config) = with_tls(|_| {});
    let mut lines = tls::TlsWire::connect(server.address, &config).unwrap();
    while !server.log.is_full() {
        let before = server.log.len();
        lines.send(b"PUB LOG 1\r\nx\r\n");
        eventually(|| server.log.len() > before);
    }
    let full = server.log.len();
    for n in 0..100 {
        lines.send(format!("PUB LOG 3\r\n{n:03}\r\n").as_bytes());
    }
    lines.send(b"PING\r\n");
    eventually(|| server.metrics.nats_held_back.get() > 0);
    let mut got = Vec::new();
    let mut batches = 0;
    while got.len() < full + 3 * 100 {
        let batch = server.next_log();
        got.extend(
            batch
                .spans
                .iter()
                .flat_map(|span| span.of(&batch.buffer).to_vec()),
        );
        server.log_progress.routed(batch.seq);
        batches += 1;
    }
    assert!(batches > full);
    let expected: String = (0..100).map(|n| format!("{n:03}")).collect();
    assert_eq!(&got[full..], expected.as_bytes());
    lines.expect("PONG");
}

#[test]
fn a_client_that_is_never_quiet_gets_its_first_ping_and_no_other() {
    let interval = Duration::from_millis(200);
    let limits = Limits {
        ping_interval: interval,
        ..Limits::default()
    };
    let server = Server::start_with(None, limits);
    let mut client = server.client();
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let opened = Instant::now();
    let (mut pings, mut pongs) = (0, 0);
    // Each answer is waited for, so that the client is as busy as the machine lets it be, and not more.
    while opened.elapsed() < 4 * interval || pings == 0 {
        assert!(opened.elapsed() < PATIENCE, "no PING");
        let asked = Instant::now();
        client.write_all(b"PING\r\n").unwrap();
        let before = pongs;
        while pongs == before {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            match line.trim_end() {
                "PING" => pings += 1,
                "PONG" => pongs += 1,
                _ => assert!(line.starts_with("INFO"), "{line}"),
            }
        }
        if asked.elapsed() > interval / 2 {
            // The machine was elsewhere: the server may take it for quiet.
            return;
        }
    }
    assert_eq!(pings, 1);
}

#[test]
fn a_client_gets_its_first_ping_soon_after_connect_and_not_without_it() {
    let limits = Limits {
        first_ping: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start_with(None, limits);
    let mut silent = BufReader::new(TcpStream::connect(server.address).unwrap());
    silent.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let opened = Instant::now();
    let mut client = BufReader::new(server.client());
    let mut line = String::new();
    while !line.ends_with("PING\r\n") {
        assert_ne!(client.read_line(&mut line).unwrap(), 0, "{line}");
    }
    assert!(opened.elapsed() >= Duration::from_millis(100));
    // Whoever has not said CONNECT gets the PONG alone.
    silent.get_mut().write_all(b"PING\r\n").unwrap();
    line.clear();
    while !line.ends_with("PONG\r\n") {
        assert_ne!(silent.read_line(&mut line).unwrap(), 0, "{line}");
    }
    assert!(!line.contains("\nPING"), "{line}");
}

/// A subscriber to `bulk`, and bytes that publish a MiB to it in 64 messages.
fn bulk(server: &Server) -> (BufReader<TcpStream>, Vec<u8>) {
    let mut subscriber = BufReader::with_capacity(128 << 10, server.client());
    let subscription = b"SUB bulk 1\r\nPING\r\n";
    subscriber.get_mut().write_all(subscription).unwrap();
    expect(&mut subscriber, "PONG");
    let publish = [b"PUB bulk 16384\r\n", &[b'x'; 16384][..], b"\r\n"].concat();
    (subscriber, publish.repeat(64))
}

#[test]
fn who_publishes_faster_than_a_subscriber_reads_waits_for_it() {
    const MIB: usize = 32;
    let server = Server::start();
    let (mut subscriber, publish) = bulk(&server);
    let mut publisher = server.client();
    let writer = std::thread::spawn(move || {
        for _ in 0..MIB {
            publisher.write_all(&publish).unwrap();
        }
        // Closed now, it would take back what the server has not read: its INFO has not been read either.
        publisher
    });
    let mut left = MIB * 64 * ("MSG bulk 1 16384\r\n".len() + 16384 + 2);
    while left > 0 {
        let read = subscriber.fill_buf().unwrap().len();
        assert!(read > 0, "cut off, {left} bytes were left");
        subscriber.consume(read);
        left -= read;
        // Not to wait for something: this subscriber is slow.
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(writer.join().unwrap());
    assert_eq!(server.metrics.nats_slow_consumers.get(), 0);
}

#[test]
fn nobody_waits_long_for_a_subscriber_that_takes_nothing() {
    let server = Server::start();
    let (subscriber, publish) = bulk(&server);
    let mut publisher = BufReader::new(server.client());
    for _ in 0..64 {
        publisher.get_mut().write_all(&publish).unwrap();
    }
    publisher.get_mut().write_all(b"PING\r\n").unwrap();
    expect(&mut publisher, "PONG");
    assert_eq!(server.metrics.nats_slow_consumers.get(), 1);
    drop(subscriber);
}

/// The payload of message `n` of `publisher`: of any size up to 40 KB, and like no other.
fn numbered(publisher: u64, n: u64) -> Vec<u8> {
    let len = (n * 7919 + publisher * 104_729) % 40_000;
    let head = format!("{publisher} {n} ").into_bytes();
    let body = (0..len).map(|at| (at * 31 + n + publisher) as u8);
    head.into_iter().chain(body).collect()
}

/// Reads so many messages, and checks that those of each publisher are whole and in order.
fn check(subscriber: &mut BufReader<TcpStream>, publishers: usize, count: u64) {
    let mut next = vec![0; publishers];
    for _ in 0..count {
        let mut line = String::new();
        subscriber.read_line(&mut line).unwrap();
        let len = line.trim_end().rsplit(' ').next().unwrap();
        let len: usize = len.parse().unwrap_or_else(|_| panic!("{line:?}"));
        let mut payload = vec![0; len + 2];
        subscriber.read_exact(&mut payload).unwrap();
        let publisher = usize::from(payload[0] - b'0');
        let expected = numbered(publisher as u64, next[publisher]);
        assert!(payload[..len] == expected, "torn, or out of order");
        next[publisher] += 1;
    }
}

#[test]
fn large_messages_arrive_whole_whatever_becomes_of_the_other_subscribers() {
    const PUBLISHERS: u64 = 3;
    const EACH: u64 = 600;
    let server = Server::start();
    let subscriber = || {
        let mut subscriber = BufReader::new(server.client());
        let subscription = b"SUB bulk 1\r\nPING\r\n";
        subscriber.get_mut().write_all(subscription).unwrap();
        expect(&mut subscriber, "PONG");
        subscriber
    };
    let (mut takers, mut leaver, stuck) =
        ([subscriber(), subscriber()], subscriber(), subscriber());
    std::thread::scope(|scope| {
        for taker in &mut takers {
            scope.spawn(|| check(taker, PUBLISHERS as usize, PUBLISHERS * EACH));
        }
        scope.spawn(move || {
            check(&mut leaver, PUBLISHERS as usize, EACH);
            drop(leaver);
        });
        for publisher in 0..PUBLISHERS {
            let mut client = BufReader::new(server.client());
            scope.spawn(move || {
                for n in 0..EACH {
                    let payload = numbered(publisher, n);
                    let line = format!("PUB bulk {}\r\n", payload.len()).into_bytes();
                    let message = [&line[..], &payload, b"\r\n"].concat();
                    client.get_mut().write_all(&message).unwrap();
                }
                client.get_mut().write_all(b"PING\r\n").unwrap();
                expect(&mut client, "PONG");
            });
        }
    });
    // Some 36 MB: more than it may leave waiting.
    assert_eq!(server.metrics.nats_slow_consumers.get(), 1);
    drop(stuck);
}
