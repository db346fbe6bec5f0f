//! The thread `nats-client` alone, with a data path that the test holds in its hands.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cim::health::Health;
use cim::limits::{EXTERNAL_HELD_BYTES, EXTERNAL_HOLD_BYTES, EXTERNAL_HOLD_TIME};
use cim::metrics::Metrics;
use cim::nats::external::{External, Server};
use cim::notifications::{Notifier, notifications};
use cim::progress::Progress;
use cim::tap::{Batch, Control, ControlBatch};
use cim::threads::nats_client::{NatsClient, waker};
use cim::threads::nats_server::{Senders, Stop};
use cim::threads::spawn::{NOTICES, Notice};
use crossbeam_channel::{Receiver, bounded};

use super::server;
use super::support::{Cim, PATIENCE, eventually, free_port};

pub struct Alone {
    log: Receiver<Batch>,
    events: Receiver<Batch>,
    control: Receiver<ControlBatch>,
    progress: [Arc<Progress>; 3],
    pub notifier: Notifier,
    metrics: Arc<Metrics>,
    stop: Arc<Stop>,
    wake: Arc<dyn Fn() + Send + Sync>,
    thread: Option<JoinHandle<()>>,
    _notices: Receiver<Notice>,
}

impl Alone {
    fn start(port: u16, hold_time: Duration) -> Self {
        let external = External {
            servers: Server::parse_list(&format!("127.0.0.1:{port}")).unwrap(),
            ca_file: None,
            certificate: None,
        };
        Self::start_with(external, hold_time)
    }

    pub fn start_with(external: External, hold_time: Duration) -> Self {
        let (wake, poll) = waker().unwrap();
        let progress = [(); 3].map(|()| {
            let wake = Arc::clone(&wake);
            Progress::new(move || wake())
        });
        let [log_progress, event_progress, control_progress] = progress.clone();
        let of_notifier = Arc::clone(&wake);
        let (notifier, outlet) = notifications(1 << 20, move || of_notifier());
        let ((log_out, log), (events_out, events)) = (bounded(2), bounded(2));
        let (control_out, control) = bounded(2);
        let metrics = Arc::new(Metrics::new("pod").unwrap());
        let stop = Arc::new(Stop::default());
        let (notices_in, notices) = bounded(NOTICES);
        let client = NatsClient {
            external,
            senders: Senders {
                log: log_out,
                events: events_out,
                control: control_out,
            },
            log_progress,
            event_progress,
            control_progress,
            notifications: outlet,
            read_coalesce: Duration::from_millis(2),
            hold_time,
            health: Arc::new(Health::new()),
            metrics: Arc::clone(&metrics),
            stop: Arc::clone(&stop),
            wake: Arc::clone(&wake),
            poll,
        };
        Self {
            log,
            events,
            control,
            progress,
            notifier,
            metrics,
            stop,
            wake,
            thread: Some(client.spawn(&notices_in).unwrap()),
            _notices: notices,
        }
    }

    #[track_caller]
    pub fn ready(&self) {
        eventually(PATIENCE, || self.notifier.is_heard());
        // CIM's message to itself.
        let batch = self.control.recv_timeout(PATIENCE).unwrap();
        assert_eq!(batch.messages[0].0, Control::Test);
        self.progress[2].routed(batch.seq);
    }

    /// Bytes and number of the messages of LOG that come until there are so many.
    fn take_log(&self, messages: usize) {
        let mut taken = 0;
        while taken < messages {
            let batch = self.log.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let dropped = &self.metrics.external_dropped;
                panic!(
                    "{error} behind {taken} messages of {messages}; {} dropped, {} times held back",
                    dropped.with_label_values(&["LOG"]).get(),
                    self.metrics.nats_held_back.get()
                )
            });
            taken += batch.spans.len();
            self.progress[0].routed(batch.seq);
        }
        assert_eq!(taken, messages);
    }

    pub fn end(mut self) {
        self.stop.in_order();
        (self.wake)();
        let thread = self.thread.take().unwrap();
        eventually(PATIENCE, || thread.is_finished());
        thread.join().unwrap();
    }
}

/// A server that keeps as much for a client as nats-server does, and for as long as a busy machine takes.
fn patient_server() -> Cim {
    Cim::start(
        server(0)
            .env("CIM_NATS_MAX_PENDING", "67108864")
            .env("CIM_NATS_MAX_PENDING_TOTAL", "134217728")
            .env("CIM_NATS_WRITE_DEADLINE", "60s"),
    )
}

#[test]
fn notifications_are_delivered_once_they_are_with_the_server_and_again_after_a_break() {
    let port = free_port();
    let mut alone = Alone::start(port, EXTERNAL_HOLD_TIME);
    let mut first = Cim::start(server(port));
    alone.ready();
    let mut wire = first.client();
    wire.subscribe("EVENT-NOTIFICATION", "1");
    wire.ping_pong();
    let large = vec![b'x'; 300 << 10];
    for payload in [b"one".to_vec(), large.clone(), b"three".to_vec()] {
        alone.notifier.send(payload).unwrap();
    }
    for expected in [b"one".to_vec(), large, b"three".to_vec()] {
        assert!(wire.delivered().payload == expected);
    }
    eventually(PATIENCE, || alone.notifier.delivered() == 3);
    first.kill9();
    eventually(PATIENCE, || !alone.notifier.is_heard());
    for n in 4..10 {
        alone.notifier.send(n.to_string().into_bytes()).unwrap();
    }
    assert_eq!(alone.notifier.delivered(), 3);
    let second = Cim::start(server(port));
    eventually(PATIENCE, || alone.notifier.delivered() == 9);
    drop(second);
    alone.end();
}

#[test]
fn while_the_data_path_stands_still_the_server_keeps_what_comes() {
    let server = patient_server();
    // However busy the machine is, all is published by then.
    let alone = Alone::start(server.nats.port(), 3 * PATIENCE);
    alone.ready();
    let mut wire = server.client();
    // More than may wait here. The server is a CIM too, and takes it as malformed lines.
    const BYTES: usize = 32 << 10;
    const MESSAGES: usize = 2 * EXTERNAL_HELD_BYTES / BYTES;
    let payload = vec![b'x'; BYTES];
    // Below the bound nothing is held back.
    for _ in 0..EXTERNAL_HOLD_BYTES / BYTES / 2 {
        wire.publish("LOG", &payload);
    }
    wire.ping_pong();
    alone.take_log(EXTERNAL_HOLD_BYTES / BYTES / 2);
    assert_eq!(alone.metrics.nats_held_back.get(), 0);
    let mut sent = 0;
    while alone.metrics.nats_held_back.get() == 0 {
        wire.publish("LOG", &payload);
        wire.ping_pong();
        sent += 1;
        assert!(sent < MESSAGES, "it was never held back");
    }
    for _ in sent..MESSAGES {
        wire.publish("LOG", &payload);
    }
    // EVENT has room, and waits behind LOG all the same.
    wire.publish("EVENT", b"e");
    alone.take_log(MESSAGES);
    let batch = alone.events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(batch.spans.len(), 1);
    alone.progress[1].routed(batch.seq);
    for subject in ["LOG", "EVENT", "CONFIG"] {
        let dropped = &alone.metrics.external_dropped;
        assert_eq!(dropped.with_label_values(&[subject]).get(), 0, "{subject}");
    }
    alone.end();
}

#[test]
fn a_data_path_that_stands_still_for_long_costs_what_does_not_fit_and_it_is_counted() {
    let server = patient_server();
    let alone = Alone::start(server.nats.port(), Duration::from_millis(500));
    alone.ready();
    let mut wire = server.client();
    const BYTES: usize = 256 << 10;
    const MESSAGES: u64 = (EXTERNAL_HELD_BYTES + EXTERNAL_HELD_BYTES / 2).div_ceil(BYTES) as u64;
    let dropped = || {
        let dropped = &alone.metrics.external_dropped;
        dropped.with_label_values(&["EVENT"]).get()
    };
    let payload = vec![b'x'; BYTES];
    for _ in 0..MESSAGES {
        wire.publish("EVENT", &payload);
    }
    // CONFIG comes behind them, and gets through.
    wire.publish("CONFIG", b"{}");
    let batch = alone.control.recv_timeout(PATIENCE).unwrap();
    assert_eq!(batch.messages[0].0, Control::Config);
    alone.progress[2].routed(batch.seq);
    assert!(dropped() > 0);
    assert_eq!(alone.metrics.nats_held_back.get(), 1);
    let mut taken = 0;
    while taken + dropped() < MESSAGES {
        let batch = alone.events.recv_timeout(PATIENCE).unwrap();
        taken += batch.spans.len() as u64;
        alone.progress[1].routed(batch.seq);
    }
    assert_eq!(taken + dropped(), MESSAGES);
    assert!(taken >= (EXTERNAL_HELD_BYTES / BYTES) as u64);
    alone.end();
}

#[test]
fn a_server_that_asks_often_is_answered_and_one_that_speaks_no_nats_any_more_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let alone = Alone::start(listener.local_addr().unwrap().port(), EXTERNAL_HOLD_TIME);
    for _ in 0..2 {
        let (mut socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
        let mut expect = |text: &str| {
            let line = lines.next().expect(text).expect(text);
            assert!(line.starts_with(text), "{line}");
        };
        socket.write_all(b"INFO {\"max_payload\":100}\r\n").unwrap();
        expect("CONNECT {");
        expect("PING");
        // As nats-server does: another INFO comes with it, cut anywhere.
        socket.write_all(b"PONG\r\nINFO {\"max_pay").unwrap();
        for subscription in ["SUB LOG 1", "SUB EVENT 2", "SUB CONFIG 3", "SUB TEST 4"] {
            expect(subscription);
        }
        socket.write_all(b"load\":100}\r\n").unwrap();
        socket.write_all(&b"PING\r\n".repeat(1000)).unwrap();
        // Of a subscription that CIM has not, with headers, and in two parts.
        socket
            .write_all(
                b"MSG X 9 1\r\nx\r\nHMSG LOG 1 12 14\r\nNATS/1.0\r\n\r\nab\r\nMSG LOG 1 3\r\nc",
            )
            .unwrap();
        let mut pongs = 0;
        while pongs < 1000 {
            let line = lines.next().unwrap().unwrap();
            pongs += usize::from(line == "PONG");
        }
        socket
            .write_all(b"de\r\nHTTP/1.1 400 Bad Request\r\n")
            .unwrap();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            let batch = alone.log.recv_timeout(PATIENCE).unwrap();
            let payloads = batch
                .spans
                .iter()
                .map(|span| span.of(&batch.buffer).to_vec());
            taken.extend(payloads);
            alone.progress[0].routed(batch.seq);
        }
        assert_eq!(taken, [b"ab".to_vec(), b"cde".to_vec()]);
        // To the end.
        lines.find(Result::is_err);
    }
    alone.end();
}

#[test]
fn the_end_waits_for_storage_and_for_the_last_acknowledgement() {
    let server = Cim::start(server(0));
    let mut alone = Alone::start(server.nats.port(), EXTERNAL_HOLD_TIME);
    alone.ready();
    let mut wire = server.client();
    wire.subscribe("ack", "1");
    wire.publish_with_reply("EVENT", "ack", b"e");
    // The server's own acknowledgement.
    assert!(wire.delivered().payload.starts_with(b"{\"error\""));
    let batch = alone.events.recv_timeout(PATIENCE).unwrap();
    alone.stop.in_order();
    (alone.wake)();
    let thread = alone.thread.take().unwrap();
    assert!(!thread.is_finished());
    alone.progress[1].routed(batch.seq);
    assert_eq!(wire.delivered().payload, br#"{"stream":"EVENT","seq":1}"#);
    eventually(PATIENCE, || thread.is_finished());
    thread.join().unwrap();
}
