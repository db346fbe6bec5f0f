//! `/varz`, `/connz` and `/subsz` of the running daemon, with nats-server's names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use chrono::DateTime;
use serde_json::{Value, json};
use support::nats_server::{self, NatsServer};
use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually, http};

/// A client of this name.
fn client(cim: &Cim, name: &str) -> NatsWire {
    client_at(cim.nats, name)
}

fn client_at(address: SocketAddr, name: &str) -> NatsWire {
    let mut wire = NatsWire::open(address);
    let connect = json!({"verbose": false, "pedantic": false, "name": name, "lang": "rust", "version": "1", "protocol": 1});
    wire.send(format!("CONNECT {connect}\r\n").as_bytes());
    wire.ping_pong();
    wire
}

fn page(cim: &Cim, path: &str) -> Value {
    let answer = cim.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn the_pages_tell_who_is_connected_and_what_was_sent() {
    let cim = Cim::start(Options::new());
    let mut publisher = client(&cim, "publisher");
    let mut subscriber = client(&cim, "subscriber");
    subscriber.send(b"SUB a.* 1\r\nSUB b q 2\r\nUNSUB 2 5\r\n");
    subscriber.ping_pong();
    publisher.send(b"PUB a.1 5\r\nhello\r\nPUB x 2\r\nxx\r\n");
    publisher.ping_pong();

    let varz = page(&cim, "/varz");
    assert_eq!(varz["connections"], 2);
    assert_eq!(
        [
            "in_msgs",
            "in_bytes",
            "out_msgs",
            "out_bytes",
            "subscriptions"
        ]
        .map(|name| &varz[name]),
        [2, 7, 1, 5, 2].map(Value::from).each_ref()
    );
    assert_eq!(varz["max_payload"], 1 << 20);
    assert_eq!(varz["ping_interval"], 120_000_000_000u64);
    assert!(varz["mem"].as_u64().unwrap() > 1 << 20);
    assert!(varz["slow_consumer_stats"]["clients"] == 0 && varz["cluster"].is_object());

    let connz = page(&cim, "/connz?subs=detail&sort=bytes_from");
    assert_eq!(
        (&connz["num_connections"], &connz["total"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(connz["server_id"], varz["server_id"]);
    let [first, second] = &connz["connections"].as_array().unwrap()[..] else {
        panic!("{connz}");
    };
    assert_eq!(
        (&first["name"], &second["name"]),
        (&json!("publisher"), &json!("subscriber"))
    );
    assert_eq!(
        (&first["in_msgs"], &first["in_bytes"]),
        (&json!(2), &json!(7))
    );
    assert_eq!(
        (&second["out_msgs"], &second["subscriptions"]),
        (&json!(1), &json!(2))
    );
    let mut detail = second["subscriptions_list_detail"]
        .as_array()
        .unwrap()
        .clone();
    detail.sort_by_key(|sub| sub["sid"].to_string());
    assert_eq!(
        detail,
        [
            json!({"subject": "a.*", "sid": "1", "msgs": 1, "cid": second["cid"]}),
            json!({"subject": "b", "qgroup": "q", "sid": "2", "msgs": 0, "max": 5, "cid": second["cid"]}),
        ]
    );

    let subsz = page(&cim, "/subsz?subs=1&test=a.5");
    assert_eq!(
        (&subsz["num_subscriptions"], &subsz["total"]),
        (&json!(2), &json!(1))
    );

    let cid = second["cid"].clone();
    drop(subscriber);
    let closed = || page(&cim, "/connz?state=closed")["connections"].clone();
    eventually(PATIENCE, || closed().as_array().unwrap().len() == 1);
    assert_eq!(closed()[0]["cid"], cid);
    assert_eq!(closed()[0]["reason"], "Client Closed");
    let varz = page(&cim, "/varz");
    assert_eq!(
        ["connections", "total_connections", "stale_connections"].map(|name| &varz[name]),
        [1, 2, 0].map(Value::from).each_ref()
    );
    assert_eq!(varz["http_port"], cim.http.port());
    assert_eq!(varz["http_req_stats"]["/varz"], 2);
}

#[test]
fn the_time_to_a_client_and_back_is_measured_when_it_is_asked_for() {
    let cim = Cim::start(Options::new());
    let mut app = client(&cim, "app");
    let rtt = || page(&cim, "/connz?sort=rtt")["connections"][0]["rtt"].clone();
    app.patience = Duration::from_millis(50);
    let mut looks = 0;
    eventually(PATIENCE, || {
        looks += 1;
        let is_known = rtt() != "0s";
        // While it reads it answers PINGs.
        let _ = app.try_line();
        is_known
    });
    assert!(looks > 1, "at first it is not known");
}

#[test]
fn who_comes_by_ipv4_to_a_socket_of_ipv6_is_shown_as_such() {
    if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        // No IPv6 here.
        return;
    }
    let cim = Cim::start(Options::new().env("CIM_NATS_BIND", "::"));
    let mut wire = NatsWire::open((Ipv4Addr::LOCALHOST, cim.nats.port()).into());
    assert!(wire.info.contains(r#""client_ip":"127.0.0.1""#));
    wire.ping_pong();
    assert_eq!(page(&cim, "/connz")["connections"][0]["ip"], "127.0.0.1");
}

#[test]
fn a_question_that_cannot_be_answered_says_why() {
    let cim = Cim::start(Options::new());
    for path in ["/connz?limit=x", "/connz?sort=size", "/subsz?offset=x"] {
        let answer = cim.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(cim.post("/varz", b"").status, 405);
}

#[test]
fn clients_are_told_at_once_that_the_end_is_near() {
    let mut cim = Cim::start(Options::new());
    let mut wire = client(&cim, "app");
    cim.signal(Signal::TERM);
    let info = wire.line();
    let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
    assert_eq!(info["ldm"], true);
    assert_eq!(cim.wait(PATIENCE).code(), Some(0));
}

/// What a member must be for those who read it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A number without a point or an exponent: Go takes no other one for an integer.
    Whole,
    Number,
    Text,
    /// A point in time, RFC 3339.
    Time,
    /// Whole numbers with the units `y`, `d`, `h`, `m` and `s`.
    Age,
    /// A time as Go's `time.ParseDuration` takes it.
    Duration,
}

impl Kind {
    fn is(self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        match self {
            Self::Whole => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Text => !text.is_empty(),
            Self::Time => DateTime::parse_from_rfc3339(text).is_ok(),
            Self::Age => {
                let digits =
                    |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                let parts = text
                    .strip_suffix('s')
                    .map(|text| text.split(['y', 'd', 'h', 'm']));
                parts.is_some_and(|mut parts| parts.all(digits))
            }
            Self::Duration => {
                let unit = rest
                    .trim_start_matches('.')
                    .trim_start_matches(|c: char| c.is_ascii_digit());
                rest.len() < text.len() && ["ns", "µs", "ms", "s"].contains(&unit)
            }
        }
    }
}

/// The pages that `nats-top` and the Prometheus NATS exporter (`-varz -connz_detailed -subz -healthz`) ask for, the part of the page, and
/// the members of it that they read.
const READ: [(&str, &str, Kind, &[&str]); 15] = [
    (
        "/varz",
        "",
        Kind::Text,
        &["server_id", "server_name", "version"],
    ),
    (
        "/varz",
        "",
        Kind::Time,
        &["now", "start", "config_load_time"],
    ),
    ("/varz", "", Kind::Age, &["uptime"]),
    (
        "/varz",
        "",
        Kind::Number,
        &["cpu", "auth_timeout", "tls_timeout"],
    ),
    (
        "/varz",
        "",
        Kind::Whole,
        &[
            "connections",
            "cores",
            "gomaxprocs",
            "http_port",
            "https_port",
            "in_bytes",
            "in_msgs",
            "leafnodes",
            "max_connections",
            "max_control_line",
            "max_payload",
            "max_pending",
            "mem",
            "out_bytes",
            "out_msgs",
            "ping_interval",
            "ping_max",
            "port",
            "proto",
            "remotes",
            "routes",
            "slow_consumers",
            "stale_connections",
            "stalled_clients",
            "subscriptions",
            "total_connections",
            "write_deadline",
        ],
    ),
    (
        "/varz",
        "/http_req_stats",
        Kind::Whole,
        &["~1varz", "~1connz", "~1subsz"],
    ),
    (
        "/varz",
        "/slow_consumer_stats",
        Kind::Whole,
        &["clients", "routes", "gateways", "leafs"],
    ),
    (
        "/varz",
        "/stale_connection_stats",
        Kind::Whole,
        &["clients", "routes", "gateways", "leafs"],
    ),
    (
        "/connz",
        "",
        Kind::Whole,
        &["num_connections", "total", "offset", "limit"],
    ),
    (
        "/connz",
        "/connections/0",
        Kind::Text,
        &[
            "kind",
            "type",
            "ip",
            "name",
            "lang",
            "version",
            "subscriptions_list/0",
        ],
    ),
    (
        "/connz",
        "/connections/0",
        Kind::Whole,
        &[
            "cid",
            "port",
            "pending_bytes",
            "in_msgs",
            "out_msgs",
            "in_bytes",
            "out_bytes",
            "subscriptions",
        ],
    ),
    (
        "/connz",
        "/connections/0",
        Kind::Time,
        &["start", "last_activity"],
    ),
    ("/connz", "/connections/0", Kind::Duration, &["rtt"]),
    ("/connz", "/connections/0", Kind::Age, &["uptime", "idle"]),
    (
        "/subsz",
        "",
        Kind::Number,
        &[
            "num_subscriptions",
            "num_cache",
            "num_inserts",
            "num_removes",
            "num_matches",
            "cache_hit_rate",
            "max_fanout",
            "avg_fanout",
            "total",
            "offset",
            "limit",
        ],
    ),
];

/// The four pages of the server whose clients are at `nats` and whose pages at `pages`, with one client that is subscribed.
fn pages(nats: SocketAddr, pages: SocketAddr) -> [(&'static str, Value); 4] {
    let mut app = client_at(nats, "app");
    app.send(b"SUB a 1\r\nPUB a 2\r\nxx\r\nPING\r\n");
    // A real server says INFO once more.
    while app.line() != "PONG" {}
    let paths = [
        ("/connz", "/connz?auth=true&limit=1024&sort=cid&subs=1"),
        ("/subsz", "/subsz"),
        ("/varz", "/varz"),
        ("/healthz", "/healthz"),
    ];
    paths.map(|(name, path)| {
        let answer = http::get(pages, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        (name, answer.json())
    })
}

fn member<'a>(pages: &'a [(&str, Value)], name: &str, pointer: &str) -> Option<&'a Value> {
    let (_, page) = pages.iter().find(|(page, _)| *page == name)?;
    page.pointer(pointer)
}

/// What is not there, or not of its kind.
fn amiss(pages: &[(&str, Value)]) -> Vec<String> {
    let mut amiss = Vec::new();
    for (page, part, kind, names) in READ {
        for name in names {
            let value = member(pages, page, &format!("{part}/{name}"));
            if !value.is_some_and(|value| kind.is(value)) {
                amiss.push(format!("{page}: {part}/{name} {kind:?} {value:?}"));
            }
        }
    }
    if member(pages, "/healthz", "/status") != Some(&json!("ok")) {
        amiss.push("/healthz: status".to_owned());
    }
    amiss
}

#[test]
fn nats_top_and_the_exporter_find_each_member_that_they_read() {
    let cim = Cim::start(Options::new());
    assert_eq!(amiss(&pages(cim.nats, cim.http)), Vec::<String>::new());
}

/// Members of a real server's pages that are of accounts, of its configuration file, or of pages that are asked for elsewhere.
const OF_ITS_OWN: [&str; 5] = [
    "/varz/system_account",
    "/varz/config_digest",
    "/varz/http_req_stats//healthz",
    "/varz/http_req_stats//",
    "/connz/connections/0/name_tag",
];

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Each member of `real` that `ours` has not, or has of another kind.
fn differing(path: &str, real: &Value, ours: Option<&Value>, found: &mut Vec<String>) {
    if OF_ITS_OWN.contains(&path) {
        return;
    }
    if ours.is_none_or(|ours| kind(ours) != kind(real)) {
        found.push(format!("{path}: {real} {ours:?}"));
    }
    if let Some(members) = real.as_object() {
        for (name, value) in members {
            let other = ours.and_then(|ours| ours.get(name));
            differing(&format!("{path}/{name}"), value, other, found);
        }
    }
    if let Some(value) = real.get(0) {
        let other = ours.and_then(|ours| ours.get(0));
        differing(&format!("{path}/0"), value, other, found);
    }
}

#[test]
#[ignore = "integration"]
fn with_go_each_member_of_a_real_nats_servers_pages_is_here_and_of_its_kind() {
    let program = nats_server::program()
        .expect("go is missing: `make integration-test` says how to get it, or goes without");
    let free = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let (port, monitor) = (free(), free());
    let server = NatsServer::start_with(&program, port, &["-m", &monitor.to_string()]);
    server.ready();
    let real = pages(server.address, (Ipv4Addr::LOCALHOST, monitor).into());
    assert_eq!(
        amiss(&real),
        Vec::<String>::new(),
        "the table says too much"
    );
    let cim = Cim::start(Options::new());
    let ours = pages(cim.nats, cim.http);
    let mut found = Vec::new();
    for ((name, real), (_, ours)) in real.iter().zip(&ours) {
        differing(name, real, Some(ours), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}
