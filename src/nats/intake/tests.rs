//! Tests of the intake: what one read means to the broker and to the data path.

use super::*;
use crate::limits::ACKS_WAITING;
use crate::nats::Limits;
use crate::nats::auth::Auth;
use crate::nats::auth::{Authorization, Credential, Password, Permissions, Rules, User};
use crate::nats::info::Info;
use crate::tap::Failure;
use std::sync::Arc;

const LIMITS: ParseLimits = ParseLimits {
    control_line_bytes: 4096,
    payload_bytes: 1 << 20,
};
const ROOM: Room = Room {
    log: true,
    event: true,
    control: true,
};
const NONE: Stored = so_far(0, 0);

const fn so_far(log: u64, event: u64) -> Stored {
    Stored {
        log,
        event,
        control: 0,
    }
}

struct Bench {
    intake: Intake,
    broker: Broker,
    publisher: Publisher,
    id: ClientId,
}

impl Bench {
    fn new() -> Self {
        Self::with(Auth::Open)
    }

    fn with(auth: Auth) -> Self {
        let info = Info::new(
            String::new(),
            String::new(),
            std::net::SocketAddr::from(([127, 0, 0, 1], 4222)),
            1 << 20,
        );
        let mut broker = Broker::new(Limits::default(), info, auth, 1, std::time::Instant::now());
        let id = broker.add("");
        let mut bench = Self {
            intake: Intake::new(LIMITS),
            broker,
            publisher: Publisher::default(),
            id,
        };
        bench.out();
        bench
    }

    fn quiet() -> Self {
        let mut bench = Self::new();
        bench.take(
            b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n",
            ROOM,
            NONE,
        );
        bench
    }

    fn take(&mut self, input: &[u8], room: Room, stored: Stored) -> Taken {
        self.intake.take(
            &mut self.broker,
            self.id,
            &mut self.publisher,
            input,
            room,
            stored,
            &mut |_| {},
        )
    }

    fn out(&mut self) -> String {
        let mut text = Vec::new();
        while let Some(out) = self.broker.outbound(self.id).filter(|out| !out.is_empty()) {
            let front = out.front().to_vec();
            text.extend_from_slice(&front);
            self.broker.sent(self.id, front.len());
        }
        String::from_utf8(text).unwrap()
    }
}

#[test]
fn one_read_makes_one_batch_with_the_ranges_of_its_messages() {
    let mut bench = Bench::quiet();
    let input = b"PUB LOG 2\r\nab\r\nPUB x 1\r\nz\r\nPUB LOG 3\r\ncde\r\nPUB EVENT 1\r\nE\r\nPUB CONFIG 1\r\nC\r\nPUB TEST 0\r\n\r\nPUB LOG 9\r\nhalf";
    let taken = bench.take(input, ROOM, NONE);
    let log = taken.log.unwrap();
    assert_eq!(
        log.spans
            .iter()
            .map(|span| span.of(input))
            .collect::<Vec<_>>(),
        [&b"ab"[..], b"cde"]
    );
    assert!((log.seq, log.flush) == (1, false));
    let events = taken.events.unwrap();
    assert_eq!((events.seq, events.spans[0].of(input)), (1, &b"E"[..]));
    let control = taken.control.unwrap();
    let control: Vec<_> = control
        .messages
        .iter()
        .map(|(subject, span)| (*subject, span.of(input)))
        .collect();
    assert_eq!(
        control,
        [(Control::Config, &b"C"[..]), (Control::Test, &b""[..])]
    );
    assert_eq!((taken.used, taken.needed), (input.len() - 15, 22));
}

#[test]
fn headers_are_not_part_of_a_tapped_message() {
    let mut bench = Bench::new();
    let input =
        b"CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB LOG 12 14\r\nNATS/1.0\r\n\r\nab\r\n";
    let taken = bench.take(input, ROOM, NONE);
    assert_eq!(taken.log.unwrap().spans[0].of(input), b"ab");
}

#[test]
fn pong_means_stored() {
    let mut bench = Bench::quiet();
    assert!(bench.take(b"PING\r\n", ROOM, NONE).log.is_none());
    assert_eq!(bench.out(), "PONG\r\n", "nothing published: at once");
    let taken = bench.take(
        b"PUB LOG 0\r\n\r\nPING\r\nPING\r\nPUB EVENT 0\r\n\r\nPING\r\n",
        ROOM,
        NONE,
    );
    assert!(taken.log.unwrap().flush);
    assert_eq!(bench.out(), "");
    assert_eq!(bench.publisher.settle(so_far(0, 1)), 0);
    assert_eq!(bench.publisher.settle(so_far(1, 0)), 2);
    assert_eq!(bench.publisher.settle(so_far(1, 1)), 1);
    bench.take(b"PING\r\n", ROOM, so_far(1, 1));
    assert_eq!(bench.out(), "PONG\r\n");
}

#[test]
fn a_ping_that_overtakes_its_publishes_waits_for_them() {
    let mut bench = Bench::new();
    bench.take(
        b"CONNECT {\"verbose\":false,\"lang\":\"python3\"}\r\nPING\r\nPUB LOG 0\r\n\r\n",
        ROOM,
        NONE,
    );
    bench.take(b"PUB LOG 0\r\n\r\n", ROOM, so_far(1, 0));
    assert_eq!((bench.out().as_str(), bench.publisher.early_pings), ("", 1));
    let stored = so_far(1, 0);
    let Bench {
        intake,
        broker,
        publisher,
        id,
    } = &mut bench;
    let taken = intake.late_pings(broker, *id, publisher, ROOM, stored);
    assert!(taken.log.unwrap().flush);
    assert_eq!((bench.out().as_str(), bench.publisher.early_pings), ("", 0));
    assert_eq!(bench.publisher.settle(stored), 0);
    assert_eq!(bench.publisher.settle(so_far(2, 0)), 1);
}

#[test]
fn a_ping_behind_an_earlier_read_asks_the_writers_to_hurry() {
    let mut bench = Bench::quiet();
    assert!(
        !bench
            .take(b"PUB LOG 0\r\n\r\n", ROOM, NONE)
            .log
            .unwrap()
            .flush
    );
    let marker = bench.take(b"PING\r\n", ROOM, NONE).log.unwrap();
    assert!(marker.flush && marker.spans.is_empty() && marker.seq == 2);
    assert_eq!(
        bench.publisher.settle(so_far(1, 0)),
        1,
        "the marker itself is nothing to wait for"
    );
    let full = Room { log: false, ..ROOM };
    bench.take(b"PUB LOG 0\r\n\r\n", ROOM, NONE);
    assert!(bench.take(b"PING\r\n", full, so_far(2, 0)).log.is_none());
    assert!(bench.publisher.is_waiting());
}

#[test]
fn a_message_behind_a_ping_that_asked_to_hurry_is_waited_for_by_the_next_ping() {
    let mut bench = Bench::quiet();
    bench.take(b"PUB LOG 0\r\n\r\n", ROOM, NONE);
    let taken = bench.take(b"PING\r\nPUB LOG 0\r\n\r\nPING\r\n", ROOM, NONE);
    assert_eq!(taken.log.unwrap().seq, 2);
    assert_eq!(bench.publisher.settle(so_far(1, 0)), 1);
    assert_eq!(bench.publisher.settle(so_far(2, 0)), 1);
}

#[test]
fn without_room_a_log_message_and_what_is_behind_it_wait() {
    let mut bench = Bench::quiet();
    let full = Room { log: false, ..ROOM };
    let input = b"PUB EVENT 0\r\n\r\nPUB LOG 0\r\n\r\nPUB EVENT 0\r\n\r\n";
    let taken = bench.take(input, full, NONE);
    assert!(taken.held.is_some() && taken.log.is_none());
    assert_eq!(taken.events.unwrap().spans.len(), 1);
    assert_eq!(taken.used, 15);
    let taken = bench.take(&input[15..], ROOM, NONE);
    assert!(taken.held.is_none() && taken.log.is_some() && taken.events.is_some());
}

#[test]
fn a_journal_without_room_holds_up_no_answer() {
    let mut bench = Bench::quiet();
    let full = Room {
        event: false,
        ..ROOM
    };
    let input = b"PUB CONFIG 0\r\n\r\nPUB EVENT 0\r\n\r\n";
    let taken = bench.take(input, full, NONE);
    assert_eq!(taken.control.unwrap().messages.len(), 1);
    assert_eq!((taken.held, taken.used), (Some(Way::Event), 16));
}

#[test]
fn an_acknowledgement_says_what_became_of_the_message() {
    let mut bench = Bench::quiet();
    bench.take(b"SUB back 1\r\n", ROOM, NONE);
    let taken = bench.take(
        b"PUB LOG 0\r\n\r\nPUB LOG back 0\r\n\r\nPUB LOG back 0\r\n\r\nPUB EVENT back 0\r\n\r\nPUB EVENT back 0\r\n\r\n",
        ROOM,
        NONE,
    );
    let log = taken.log.unwrap();
    let events = taken.events.unwrap();
    assert!(log.flush);
    assert_eq!(
        log.acks.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
        [1, 2]
    );
    log.acks[1].1.fail(Failure::Malformed);
    let expect = |bench: &mut Bench, texts: &[&str]| {
        let stored: String = texts
            .iter()
            .map(|text| format!("MSG back 1 {}\r\n{text}\r\n", text.len()))
            .collect();
        assert_eq!(bench.out(), stored);
    };
    bench.intake.settle(NONE, &mut bench.broker);
    expect(&mut bench, &[]);
    bench.intake.settle(so_far(1, 0), &mut bench.broker);
    let malformed = r#"{"error":{"code":400,"description":"message is not a valid FlatBuffer of this subject"},"stream":"LOG","seq":0}"#;
    expect(&mut bench, &[r#"{"stream":"LOG","seq":2}"#, malformed]);
    events.acks[1].1.fail(Failure::NotWritten);
    bench.intake.settle(so_far(1, 1), &mut bench.broker);
    let lost = r#"{"error":{"code":503,"description":"message could not be stored"},"stream":"EVENT","seq":0}"#;
    expect(&mut bench, &[r#"{"stream":"EVENT","seq":1}"#, lost]);
    assert!(!bench.intake.is_waiting());
}

#[test]
fn acknowledgements_that_wait_are_bounded() {
    let mut bench = Bench::quiet();
    let input = b"PUB LOG back 0\r\n\r\n".repeat(ACKS_WAITING + 1);
    let taken = bench.take(&input, ROOM, NONE);
    assert!(taken.held.is_some());
    assert_eq!(taken.log.unwrap().spans.len(), ACKS_WAITING);
}

#[test]
fn pings_that_wait_are_bounded_and_none_is_answered_too_early() {
    let mut bench = Bench::quiet();
    let batches = PONGS_WAITING as u64 + 10;
    for _ in 0..batches {
        bench.take(b"PUB LOG 0\r\n\r\nPING\r\n", ROOM, NONE);
    }
    assert_eq!(bench.publisher.pongs.len(), PONGS_WAITING);
    let mut settle = |log| bench.publisher.settle(so_far(log, 0));
    assert_eq!(settle(PONGS_WAITING as u64), PONGS_WAITING as u32 - 1);
    assert_eq!(settle(batches - 1), 0);
    assert_eq!(settle(batches), 11);
    assert!(!bench.publisher.is_waiting());
}

#[test]
fn before_authentication_nothing_but_connect_is_heard() {
    for input in [
        &b"PUB LOG 0\r\n\r\n"[..],
        b"PUB x 0\r\n\r\n",
        b"PING\r\n",
        b"SUB x 1\r\n",
        b"P",
        b"PUB x 1000000\r\n",
        b"GET / HTTP/1.1\r\n",
    ] {
        let mut bench = Bench::with(Auth::token(crate::secret::Secret::new("t")));
        let taken = bench.take(input, ROOM, NONE);
        assert!(taken.log.is_none());
        assert_eq!(bench.out(), "-ERR 'Authorization Violation'\r\n");
    }
    let mut bench = Bench::with(Auth::token(crate::secret::Secret::new("t")));
    bench.take(
        b"CONNECT {\"auth_token\":\"t\",\"verbose\":false}\r\nPING\r\n",
        ROOM,
        NONE,
    );
    assert_eq!(bench.out(), "PONG\r\n");
}

#[test]
fn bytes_that_are_not_nats_end_the_connection_with_the_servers_text() {
    let mut bench = Bench::quiet();
    let taken = bench.take(b"PUB LOG 0\r\n\r\nGET / HTTP/1.1\r\n\r\n", ROOM, NONE);
    assert_eq!(taken.log.unwrap().spans.len(), 1, "what came before counts");
    assert_eq!(bench.out(), "-ERR 'Unknown Protocol Operation'\r\n");
    assert_eq!(
        bench.broker.take_closing(),
        [(bench.id, CloseReason::ProtocolViolation)]
    );
}

#[test]
fn headers_that_were_not_announced_end_the_connection_at_their_line() {
    for input in [
        &b"HPUB a 12 99\r\nNATS"[..],
        b"HPUB a 1 9999999\r\n",
        b"HPUB \r\n",
    ] {
        let mut bench = Bench::quiet();
        assert_eq!(bench.take(b"HPUB a 12 99", ROOM, NONE).used, 0);
        assert_eq!(bench.take(input, ROOM, NONE).used, input.len());
        assert_eq!(bench.out(), "");
        let reasons = bench.broker.take_closing();
        assert_eq!(reasons, [(bench.id, CloseReason::ProtocolViolation)]);
    }
}

#[test]
fn who_is_being_looked_at_waits_with_what_it_has_sent() {
    let hash = bcrypt::hash("p", 4).unwrap();
    let secret = crate::secret::Secret::new(hash);
    let mut bench = Bench::with(Auth::user("u".into(), secret));
    let connect = &b"CONNECT {\"user\":\"u\",\"pass\":\"p\",\"verbose\":false}\r\n"[..];
    let rest = b"PUB LOG 0\r\n\r\nPING\r\nPUB LO";
    let taken = bench.take(&[connect, rest].concat(), ROOM, NONE);
    assert_eq!((taken.used, taken.held), (connect.len(), Some(Way::Login)));
    // So does half an operation, and what is none: the credentials come first.
    for rest in [&b"PIN"[..], b"nonsense", b""] {
        let taken = bench.take(rest, ROOM, NONE);
        assert_eq!((taken.used, taken.held), (0, Some(Way::Login)));
    }
    assert_eq!(bench.out(), "");
    let (id, number, check) = bench.broker.next_check().unwrap();
    assert!(bench.broker.checked(id, number, check.run()));
    let taken = bench.take(rest, ROOM, NONE);
    assert_eq!((taken.log.unwrap().spans.len(), taken.held), (1, None));
}

#[test]
fn a_message_that_its_client_may_not_publish_does_not_reach_the_data_path() {
    let user = User {
        name: "u".into(),
        credential: Credential::Password(Password::new(crate::secret::Secret::new("p"))),
        permissions: Some(Arc::new(Permissions {
            publish: Rules {
                allow: None,
                deny: vec!["LOG".into()],
            },
            ..Permissions::default()
        })),
    };
    let mut bench = Bench::with(Auth::Required(Arc::new(Authorization {
        users: vec![user],
        ..Authorization::default()
    })));
    let input = b"CONNECT {\"user\":\"u\",\"pass\":\"p\",\"verbose\":false}\r\nPUB LOG 0\r\n\r\nPUB EVENT 0\r\n\r\n";
    let taken = bench.take(input, ROOM, NONE);
    assert!(taken.log.is_none() && taken.events.is_some());
    assert_eq!(
        bench.out(),
        "-ERR 'Permissions Violation for Publish to \"LOG\"'\r\n"
    );
}
