//! Tests of the broker: what each operation does, by tables and scenarios.

use super::*;
use crate::nats::auth::{Authorization, Credential, Password, Responses, Rules, User, Verdict};
use crate::nats::parser::{ParseLimits, Publish, Step, next_op};
use crate::secret::Secret;

const PARSE: ParseLimits = ParseLimits {
    control_line_bytes: 4096,
    payload_bytes: 1 << 20,
};

fn info() -> Info {
    Info::new(
        "ID".into(),
        "pod".into(),
        std::net::SocketAddr::from(([127, 0, 0, 1], 4222)),
        1 << 20,
    )
}

/// A broker whose clients are driven by protocol text.
struct Bench(Broker);

impl Bench {
    fn new(limits: Limits, auth: Auth) -> Self {
        Self(Broker::new(
            limits,
            info(),
            auth,
            7,
            std::time::Instant::now(),
        ))
    }

    fn quiet() -> Self {
        Self::new(Limits::default(), Auth::Open)
    }

    /// A client that has read its INFO and sent `connect`.
    fn client(&mut self, connect: &str) -> ClientId {
        let id = self.0.add("127.0.0.1");
        assert!(self.out(id).starts_with("INFO {"));
        if !connect.is_empty() {
            self.send(id, &format!("CONNECT {connect}\r\n"));
        }
        id
    }

    fn plain(&mut self) -> ClientId {
        self.client(r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#)
    }

    fn send(&mut self, id: ClientId, text: &str) {
        let mut rest = text.as_bytes();
        while let Ok(Step::Op(op, used)) = next_op(rest, &PARSE) {
            match op {
                Op::Publish(message) => {
                    self.0.publish(id, &message, false);
                }
                op => self.0.apply(id, &op),
            }
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "{text}");
    }

    fn out(&mut self, id: ClientId) -> String {
        let mut text = Vec::new();
        while let Some(out) = self.0.outbound(id).filter(|out| !out.is_empty()) {
            let front = out.front().to_vec();
            text.extend_from_slice(&front);
            self.0.sent(id, front.len());
        }
        String::from_utf8(text).unwrap()
    }
}

#[test]
fn a_message_reaches_every_subscription_that_matches() {
    let mut bench = Bench::quiet();
    let (a, b) = (bench.plain(), bench.plain());
    bench.send(a, "SUB x.y 1\r\nSUB x.* 2\r\n");
    bench.send(b, "SUB > 9\r\nPUB x.y 2\r\nhi\r\nPUB x.y back 2\r\nho\r\n");
    let mut lines: Vec<_> = bench
        .out(a)
        .split_inclusive("\r\n")
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "MSG x.y 1 2\r\n",
            "MSG x.y 1 back 2\r\n",
            "MSG x.y 2 2\r\n",
            "MSG x.y 2 back 2\r\n",
            "hi\r\n",
            "hi\r\n",
            "ho\r\n",
            "ho\r\n"
        ]
    );
    assert_eq!(
        bench.out(b),
        "MSG x.y 9 2\r\nhi\r\nMSG x.y 9 back 2\r\nho\r\n"
    );
}

#[test]
fn echo_off_keeps_a_clients_own_messages_from_it() {
    let mut bench = Bench::quiet();
    let a = bench.client(r#"{"verbose":false,"echo":false}"#);
    bench.send(a, "SUB x 1\r\nPUB x 0\r\n\r\n");
    assert_eq!(bench.out(a), "");
}

#[test]
fn one_member_of_each_queue_group_gets_a_message() {
    let mut bench = Bench::quiet();
    let members: Vec<_> = (0..4).map(|_| bench.plain()).collect();
    for (n, &id) in members.iter().enumerate() {
        bench.send(id, &format!("SUB work q{} 1\r\n", n % 2));
    }
    for _ in 0..200 {
        bench.send(members[0], "PUB work 0\r\n\r\n");
    }
    let counts: Vec<usize> = members
        .iter()
        .map(|&id| bench.out(id).matches("MSG").count())
        .collect();
    assert_eq!((counts[0] + counts[2], counts[1] + counts[3]), (200, 200));
    assert!(counts.iter().all(|&count| count > 50), "{counts:?}");
}

#[test]
fn unsubscribe_ends_at_once_or_after_a_number_of_messages() {
    let mut bench = Bench::quiet();
    let a = bench.plain();
    bench.send(a, "SUB x 1\r\nSUB x 2\r\nUNSUB 1\r\nUNSUB 2 2\r\n");
    for _ in 0..4 {
        bench.send(a, "PUB x 0\r\n\r\n");
    }
    assert_eq!(bench.out(a).matches("MSG x 2").count(), 2);
    assert_eq!(
        (bench.0.subscription_count(), bench.0.subscription_bytes),
        (0, 0)
    );
    bench.send(a, "SUB x 3\r\nPUB x 0\r\n\r\nUNSUB 3 1\r\nPUB x 0\r\n\r\n");
    assert_eq!(
        bench.out(a).matches("MSG x 3").count(),
        1,
        "the maximum counts from the start of the subscription"
    );
}

#[test]
fn headers_go_to_those_who_understand_them() {
    let mut bench = Bench::quiet();
    let (with, without) = (bench.plain(), bench.client(r#"{"verbose":false}"#));
    bench.send(with, "SUB x 1\r\n");
    bench.send(without, "SUB x 2\r\n");
    bench.send(
        with,
        "HPUB x 16 18\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n"
            .replace("16 18", "17 19")
            .as_str(),
    );
    assert_eq!(
        bench.out(with),
        "HMSG x 1 17 19\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n"
    );
    assert_eq!(bench.out(without), "MSG x 2 2\r\nhi\r\n");
    bench.send(with, "HPUB x 0 2\r\nhi\r\n");
    assert_eq!(bench.out(with), "MSG x 1 2\r\nhi\r\n", "no headers at all");
}

#[test]
fn a_request_that_nobody_takes_is_answered_with_503() {
    let mut bench = Bench::quiet();
    let a = bench.plain();
    bench.send(a, "SUB _INBOX.a.* 5\r\nPUB service _INBOX.a.1 0\r\n\r\n");
    let b = bench.plain();
    bench.send(b, "SUB _INBOX.b q 6\r\nPUB service _INBOX.b 0\r\n\r\n");
    assert_eq!(
        bench.out(b),
        "",
        "nor does nats-server answer to a queue group"
    );
    assert_eq!(
        bench.out(a),
        "HMSG _INBOX.a.1 5 39 39\r\nNATS/1.0 503\r\nNats-Subject: service\r\n\r\n\r\n"
    );
}

#[test]
fn verbose_and_pedantic_are_on_until_connect_says_otherwise() {
    let mut bench = Bench::quiet();
    let a = bench.client("");
    bench.send(
        a,
        "SUB x 1\r\nPUB y 0\r\n\r\nUNSUB 1\r\nCONNECT {}\r\nPUB a..b 0\r\n\r\nPUB a.* 0\r\n\r\n",
    );
    let bad = "-ERR 'Invalid Publish Subject'\r\n+OK\r\n";
    assert_eq!(
        bench.out(a),
        format!("+OK\r\n+OK\r\n+OK\r\n+OK\r\n{bad}{bad}")
    );
}

#[test]
fn errors_that_close_and_errors_that_do_not() {
    for (input, text, reason) in [
        ("SUB a..b 1\r\n", "-ERR 'Invalid Subject'\r\n", None),
        ("SUB a.>.b 1\r\n", "-ERR 'Invalid Subject'\r\n", None),
        (
            "CONNECT {\"protocol\":2}\r\n",
            "-ERR 'invalid client protocol'\r\n",
            Some(CloseReason::BadClientProtocolVersion),
        ),
        (
            "CONNECT nonsense\r\n",
            "",
            Some(CloseReason::ProtocolViolation),
        ),
        (
            "CONNECT {\"no_responders\":true,\"headers\":false}\r\n",
            "-ERR 'no responders requires headers support'\r\n",
            Some(CloseReason::NoRespondersRequiresHeaders),
        ),
        ("-ERR 'x'\r\n", "", Some(CloseReason::ParseError)),
        ("INFO x\r\n", "", Some(CloseReason::ProtocolViolation)),
        ("INFO []\r\n", "", Some(CloseReason::ProtocolViolation)),
        ("INFO {}\r\nINFO null\r\n", "", None),
        (
            "CONNECT {\"account\":\"x\"}\r\n",
            "-ERR 'Authorization Violation'\r\n",
            Some(CloseReason::AuthenticationFailure),
        ),
    ] {
        let mut bench = Bench::quiet();
        let a = bench.plain();
        bench.send(a, input);
        assert_eq!(bench.out(a), text, "{input}");
        assert_eq!(
            bench.0.take_closing().pop().map(|(_, reason)| reason),
            reason,
            "{input}"
        );
    }
    let mut bench = Bench::quiet();
    let a = bench.client(r#"{"verbose":false}"#);
    bench.send(a, "HPUB x 0 0\r\n\r\n");
    assert_eq!(
        bench.0.take_closing(),
        [(a, CloseReason::ProtocolViolation)]
    );
}

#[test]
fn wrong_credentials_end_the_connection() {
    let mut bench = Bench::new(
        Limits::default(),
        Auth::token(crate::secret::Secret::new("secret")),
    );
    let good = bench.client(r#"{"verbose":true,"auth_token":"secret"}"#);
    assert_eq!(bench.out(good), "+OK\r\n");
    assert!(bench.0.client(good).unwrap().authorised);
    let bad = bench.client(r#"{"auth_token":"guess"}"#);
    assert_eq!(bench.out(bad), "-ERR 'Authorization Violation'\r\n");
    assert_eq!(
        bench.0.take_closing(),
        [(bad, CloseReason::AuthenticationFailure)]
    );
}

/// User `limited` with these permissions, password `p`; its hash when `hashed`.
fn limited(permissions: Permissions, hashed: bool) -> Auth {
    let password = match hashed {
        true => bcrypt::hash("p", 4).unwrap(),
        false => "p".to_owned(),
    };
    Auth::Required(Arc::new(Authorization {
        users: vec![
            User {
                name: "limited".into(),
                credential: Credential::Password(Password::new(Secret::new(password))),
                permissions: Some(Arc::new(permissions)),
            },
            User {
                name: "free".into(),
                credential: Credential::Password(Password::new(Secret::new("p"))),
                permissions: None,
            },
        ],
        ..Authorization::default()
    }))
}

#[test]
fn a_server_without_headers_neither_takes_nor_sends_them() {
    let (limits, now) = (Limits::default(), std::time::Instant::now());
    let no_headers = Info {
        headers: false,
        ..info()
    };
    let mut bench = Bench(Broker::new(limits, no_headers, Auth::Open, 7, now));
    let mut client = || bench.client(r#"{"verbose":false,"headers":true}"#);
    let (id, other) = (client(), client());
    bench.send(id, "HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    let closed = [(id, CloseReason::ProtocolViolation)];
    assert_eq!(bench.0.take_closing(), closed);
    bench.send(
        other,
        "CONNECT {\"no_responders\":true,\"headers\":true}\r\n",
    );
    let closed = [(other, CloseReason::NoRespondersRequiresHeaders)];
    assert_eq!(bench.0.take_closing(), closed);
}

#[test]
fn who_shows_nothing_is_the_user_without_authentication() {
    for hashed in [false, true] {
        let permissions = Permissions {
            publish: rules(Some(&["a"]), &[]),
            ..Permissions::default()
        };
        let Auth::Required(authorization) = limited(permissions, hashed) else {
            panic!("open");
        };
        let auth = Auth::Required(Arc::new(Authorization {
            no_auth_user: Some("limited".into()),
            ..(*authorization).clone()
        }));
        let mut bench = Bench::new(Limits::default(), auth);
        assert!(!bench.0.info().auth_required);
        for (connect, user) in [
            ("{}", Some("limited")),
            (r#"{"user":"","pass":""}"#, Some("limited")),
            (r#"{"user":"free","pass":"p"}"#, Some("free")),
            (r#"{"user":"free"}"#, None),
            (r#"{"pass":"p"}"#, None),
            (r#"{"auth_token":"p"}"#, None),
        ] {
            let id = bench.client(connect);
            let closed = bench.0.take_closing();
            let is_in = bench.0.client(id).filter(|_| closed.is_empty());
            assert_eq!(is_in.and_then(|c| c.user.as_deref()), user, "{connect}");
            bench.send(id, "PUB a 0\r\n\r\nPUB b 0\r\n\r\n");
            let is_limited = bench
                .out(id)
                .contains("Permissions Violation for Publish to \"b\"");
            assert_eq!(is_limited, user == Some("limited"), "{connect}");
        }
        let id = bench.client("");
        assert!(bench.0.admit(id));
        assert_eq!(bench.0.client(id).unwrap().user.as_deref(), Some("limited"));
    }
}

fn connect(user: &str) -> String {
    format!(r#"{{"user":"{user}","pass":"p","verbose":false,"pedantic":false}}"#)
}

fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
    let owned = |list: &[&str]| list.iter().map(|&rule| rule.to_owned()).collect();
    Rules {
        allow: allow.map(owned),
        deny: owned(deny),
    }
}

#[test]
fn who_is_in_need_not_show_its_credentials_again() {
    for hashed in [false, true] {
        let mut bench = Bench::new(Limits::default(), limited(Permissions::default(), hashed));
        let client = bench.client(&connect("limited"));
        if let Some((id, number, check)) = bench.0.next_check() {
            bench.0.checked(id, number, check.run());
        }
        bench.send(client, "CONNECT {\"verbose\":true}\r\n");
        bench.send(client, "CONNECT {\"user\":\"limited\",\"echo\":false}\r\n");
        assert_eq!(bench.out(client), "+OK\r\n+OK\r\n");
        let state = bench.0.client(client).unwrap();
        assert!(state.authorised && !state.connect.pedantic);
        assert_eq!(state.user.as_deref(), Some("limited"));
        bench.send(client, "CONNECT {\"user\":\"free\"}\r\n");
        assert_eq!(bench.out(client), "-ERR 'Authorization Violation'\r\n");
    }
}

#[test]
fn a_client_does_only_what_it_may() {
    let permissions = Permissions {
        publish: rules(Some(&["a.>"]), &["a.secret"]),
        subscribe: rules(None, &["b.secret", "q workers"]),
        responses: None,
    };
    let mut bench = Bench::new(Limits::default(), limited(permissions, false));
    let client = bench.client(&connect("limited"));
    let free = bench.client(&connect("free"));
    bench.send(free, "SUB > 9\r\n");
    for (input, answer, arrives) in [
        ("PUB a.1 0\r\n\r\n", "", true),
        (
            "PUB a.secret 0\r\n\r\n",
            "-ERR 'Permissions Violation for Publish to \"a.secret\"'\r\n",
            false,
        ),
        (
            "PUB b 0\r\n\r\n",
            "-ERR 'Permissions Violation for Publish to \"b\"'\r\n",
            false,
        ),
        (
            "SUB b.secret 1\r\n",
            "-ERR 'Permissions Violation for Subscription to \"b.secret\"'\r\n",
            false,
        ),
        (
            "SUB q workers 1\r\n",
            "-ERR 'Permissions Violation for Subscription to \"q\" using queue \"workers\"'\r\n",
            false,
        ),
        ("SUB b.* 2\r\nSUB q others 3\r\n", "", false),
    ] {
        bench.send(client, input);
        assert_eq!(bench.out(client), answer, "{input}");
        assert_eq!(!bench.out(free).is_empty(), arrives, "{input}");
    }
    assert_eq!(bench.0.take_stats().violations, 4);
    assert!(bench.0.take_closing().is_empty());
    // Within a wildcard what is denied is left out.
    bench.send(free, "PUB b.secret 0\r\n\r\nPUB b.open 0\r\n\r\n");
    assert_eq!(bench.out(client), "MSG b.open 2 0\r\n\r\n");
}

#[test]
fn answers_to_requests_may_be_allowed_besides() {
    let permissions = Permissions {
        publish: rules(Some(&[]), &[]),
        responses: Some(Responses::default()),
        ..Permissions::default()
    };
    let mut bench = Bench::new(Limits::default(), limited(permissions, false));
    let client = bench.client(&connect("limited"));
    let free = bench.client(&connect("free"));
    bench.send(client, "SUB service 1\r\n");
    bench.send(free, "SUB inbox.* 1\r\nPUB service inbox.1 0\r\n\r\n");
    assert_eq!(bench.out(client), "MSG service 1 inbox.1 0\r\n\r\n");
    let refused = "-ERR 'Permissions Violation for Publish to \"inbox.1\"'\r\n";
    for (answered, refusal) in [("MSG inbox.1 1 0\r\n\r\n", ""), ("", refused)] {
        bench.send(client, "PUB inbox.1 0\r\n\r\n");
        assert_eq!(
            (&*bench.out(free), &*bench.out(client)),
            (answered, refusal)
        );
    }
    bench.send(client, "CONNECT {\"pedantic\":true}\r\nPUB a..b 0\r\n\r\n");
    assert_eq!(
        bench.out(client),
        "-ERR 'Invalid Publish Subject'\r\n-ERR 'Permissions Violation for Publish to \"a..b\"'\r\n"
    );
}

#[test]
fn a_hash_is_looked_at_elsewhere_while_the_client_waits() {
    let mut bench = Bench::new(Limits::default(), limited(Permissions::default(), true));
    let client = bench.client(&connect("limited"));
    let state = bench.0.client(client).unwrap();
    assert!(state.checking && !state.authorised);
    let (id, number, check) = bench.0.next_check().unwrap();
    assert!(
        !bench.0.checked(id, number + 1, Verdict::Denied),
        "another client"
    );
    assert!(bench.0.checked(id, number, check.run()));
    assert!(!bench.0.checked(id, number, Verdict::Denied), "twice");
    let state = bench.0.client(client).unwrap();
    assert!(!state.checking && state.authorised);
    let other = bench.client(r#"{"user":"limited","pass":"x"}"#);
    let (id, number, check) = bench.0.next_check().unwrap();
    assert!(bench.0.checked(id, number, check.run()));
    assert_eq!(bench.out(other), "-ERR 'Authorization Violation'\r\n");
}

#[test]
fn clients_that_understand_it_are_told_that_the_end_is_near() {
    let mut bench = Bench::quiet();
    let new = bench.client(r#"{"verbose":false,"protocol":1}"#);
    let (old, silent) = (bench.plain(), bench.client(""));
    bench.0.enter_lame_duck();
    let line = bench.out(new);
    let told: serde_json::Value = serde_json::from_str(&line["INFO ".len()..]).unwrap();
    assert_eq!(
        (&told["ldm"], &told["client_id"]),
        (&true.into(), &1.into())
    );
    assert_eq!(
        (bench.out(old), bench.out(silent)),
        (String::new(), String::new())
    );
    let late = bench.0.add("");
    assert!(bench.out(late).contains("\"ldm\":true"));
}

#[test]
fn a_slow_consumer_is_cut_off_and_the_others_are_not() {
    let limits = Limits {
        client_pending_bytes: 10_000,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits, Auth::Open);
    let (slow, good, publisher) = (bench.plain(), bench.plain(), bench.plain());
    bench.send(slow, "SUB x 1\r\n");
    bench.send(good, "SUB x 1\r\n");
    for _ in 0..30 {
        bench.send(
            publisher,
            &format!("PUB x 1000\r\n{}\r\n", "a".repeat(1000)),
        );
        bench.out(good);
    }
    assert_eq!(
        bench.0.take_closing(),
        [(slow, CloseReason::SlowConsumerPendingBytes)]
    );
    bench.0.remove(slow);
    assert_eq!(bench.0.pending, 0);
    assert_eq!(bench.0.subscription_count(), 1);
}

#[test]
fn the_budget_of_all_clients_costs_the_one_who_holds_most_of_it() {
    let limits = Limits {
        all_pending_bytes: 20_000,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits, Auth::Open);
    let (more, less, publisher) = (bench.plain(), bench.plain(), bench.plain());
    bench.send(more, "SUB x 1\r\nSUB x 2\r\n");
    bench.send(less, "SUB x 1\r\n");
    for _ in 0..8 {
        bench.send(
            publisher,
            &format!("PUB x 1000\r\n{}\r\n", "a".repeat(1000)),
        );
    }
    assert_eq!(
        bench.0.take_closing(),
        [(more, CloseReason::SlowConsumerPendingBytes)]
    );
}

#[test]
fn subscriptions_and_connections_are_bounded() {
    let limits = Limits {
        client_subscriptions: 2,
        all_subscriptions: 3,
        connections: 2,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits, Auth::Open);
    let (a, b) = (bench.plain(), bench.plain());
    let refused = "-ERR 'maximum subscriptions exceeded'\r\n";
    // One that is there already is one too many as well, as in nats-server.
    bench.send(a, "SUB x 1\r\nSUB x 2\r\nSUB x 3\r\nSUB x 1\r\n");
    assert_eq!(bench.out(a), refused.repeat(2));
    bench.send(b, "SUB x 1\r\nSUB x 2\r\n");
    assert_eq!(bench.out(b), refused);
    let c = bench.0.add("127.0.0.1");
    assert!(
        bench
            .out(c)
            .ends_with(" \r\n-ERR 'maximum connections exceeded'\r\n")
    );
    assert_eq!(
        bench.0.take_closing(),
        [(c, CloseReason::MaxConnectionsExceeded)]
    );
}

#[test]
fn info_is_what_clients_look_for() {
    let line = info().line(5, "127.0.0.1", None);
    let text = std::str::from_utf8(&line).unwrap();
    let json: serde_json::Value = serde_json::from_str(
        text.strip_prefix("INFO ")
            .unwrap()
            .strip_suffix(" \r\n")
            .unwrap(),
    )
    .unwrap();
    let golden = include_str!("../../../tests/golden/2-nats/info_line.txt");
    let golden: serde_json::Value =
        serde_json::from_str(golden.trim().strip_prefix("INFO ").unwrap()).unwrap();
    for (member, value) in golden.as_object().unwrap() {
        assert_eq!(json[member].is_string(), value.is_string(), "{member}");
        assert_eq!(json[member].is_number(), value.is_number(), "{member}");
    }
    assert_eq!(json["max_payload"], golden["max_payload"]);
    assert_eq!(
        (&json["headers"], &json["client_ip"], &json["client_id"]),
        (&true.into(), &"127.0.0.1".into(), &5.into())
    );
}

#[test]
fn a_user_with_a_key_signs_what_it_was_told() {
    use base64::Engine as _;
    let pair = nkeys::KeyPair::new_user();
    let auth = Auth::Required(Arc::new(Authorization {
        users: vec![User {
            name: pair.public_key(),
            credential: Credential::Key,
            permissions: None,
        }],
        ..Authorization::default()
    }));
    let mut bench = Bench::new(Limits::default(), auth);
    for is_right in [true, false] {
        let id = bench.0.add("");
        let line = bench.out(id);
        let info: serde_json::Value = serde_json::from_str(&line["INFO ".len()..]).unwrap();
        let nonce = info["nonce"].as_str().unwrap();
        let signed = if is_right { nonce } else { "another nonce" };
        let signature = pair.sign(signed.as_bytes()).unwrap();
        let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature);
        let key = pair.public_key();
        bench.send(
            id,
            &format!("CONNECT {{\"nkey\":\"{key}\",\"sig\":\"{signature}\",\"verbose\":true}}\r\n"),
        );
        let answer = match is_right {
            true => "+OK\r\n",
            false => "-ERR 'Authorization Violation'\r\n",
        };
        assert_eq!(bench.out(id), answer);
    }
}

#[test]
fn whoever_publishes_to_a_client_for_whom_much_waits_is_to_slow_down() {
    let mut bench = Bench::quiet();
    let (slow, other) = (bench.plain(), bench.plain());
    bench.send(slow, "SUB > 1\r\n");
    let body = [b'x'; 64 << 10];
    let message = |subject: &'static [u8]| Publish {
        subject,
        reply: b"",
        header_len: None,
        body: &body,
        body_start: 0,
    };
    // What CIM takes is not held up by who looks on.
    let step = Limits::default().client_pending_bytes / CROWDED_STEPS as usize;
    for _ in 0..2 * step / body.len() {
        bench.0.publish(other, &message(b"LOG"), true);
        assert_eq!(bench.0.take_crowded(), None);
    }
    assert_eq!((bench.0.crowding(slow), bench.0.crowding(other)), (2, 0));
    bench.0.publish(other, &message(b"a"), false);
    assert_eq!(bench.0.take_crowded(), Some(slow));
    assert_eq!(bench.0.take_crowded(), None);
    bench.out(slow);
    bench.0.publish(other, &message(b"a"), false);
    assert_eq!(bench.0.take_crowded(), None);
    // Each has little, and all have much.
    let bytes = Limits::default().all_pending_bytes / 2;
    let others: Vec<_> = (0..10).map(|_| bench.plain()).collect();
    for &id in &others {
        bench.send(id, "SUB b 1\r\n");
    }
    while bench.0.pending < bytes {
        assert_eq!(bench.0.crowding(others[0]), 0);
        bench.0.publish(other, &message(b"b"), false);
    }
    assert_eq!(
        (bench.0.crowding(others[0]), bench.0.crowding(other)),
        (1, 0)
    );
    assert!(bench.0.take_crowded().is_some());
}

#[test]
fn the_lines_of_one_message_are_not_those_of_the_next() {
    let mut bench = Bench::quiet();
    let (plain, bare) = (bench.plain(), bench.client(r#"{"headers":false}"#));
    for id in [plain, bare] {
        bench.send(id, "SUB a.> 7\r\n");
    }
    bench.out(bare);
    let publisher = bench.plain();
    bench.send(
        publisher,
        "PUB a.b 2\r\nhi\r\nPUB a.b r 1\r\n!\r\nHPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB a.bc 3\r\nend\r\n",
    );
    assert_eq!(
        bench.out(plain),
        "MSG a.b 7 2\r\nhi\r\nMSG a.b 7 r 1\r\n!\r\nHMSG a.b 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\nMSG a.bc 7 3\r\nend\r\n"
    );
    assert_eq!(
        bench.out(bare),
        "MSG a.b 7 2\r\nhi\r\nMSG a.b 7 r 1\r\n!\r\nMSG a.b 7 2\r\nhi\r\nMSG a.bc 7 3\r\nend\r\n"
    );
}
