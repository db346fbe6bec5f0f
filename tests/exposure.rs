//! DESIGN's guarantee "Exposure": who can reach CIM, who may connect, and that secrets stay secret.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use support::{Cim, NatsWire, Options};

const SECRET: &str = "correct-horse-battery";

/// The addresses on which process `pid` listens, as /proc/net/tcp and tcp6 write them.
fn listeners(pid: u32) -> Vec<String> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    ["tcp", "tcp6"]
        .into_iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields[3] == "0A" && sockets.iter().any(|socket| socket == fields[9]);
            listens.then(|| fields[1].to_owned())
        })
        .collect()
}

#[test]
fn nats_and_the_operations_api_listen_on_loopback_alone() {
    let cim = Cim::start(Options::new());
    let listeners = listeners(cim.pid());
    assert_eq!(listeners.len(), 2, "{listeners:?}");
    // 127.0.0.1 in network order, read as a little-endian number.
    assert!(
        listeners
            .iter()
            .all(|address| address.starts_with("0100007F:")),
        "{listeners:?}"
    );
}

#[test]
fn credentials_are_asked_for_when_told_so_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, SECRET).unwrap();
    let path = file.to_str().unwrap();
    let options = Options::new()
        .env("CIM_NATS_USER", "app")
        .env("CIM_NATS_PASSWORD_FILE", path)
        .env("CIM_APIGW_USERNAME", "gateway")
        .env("CIM_APIGW_PASSWORD_FILE", path);
    let mut cim = Cim::start(options);

    let connect = |user: &str, password: &str| {
        let mut wire = NatsWire::open(cim.nats);
        wire.send(
            format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nPING\r\n").as_bytes(),
        );
        wire
    };
    connect("app", SECRET).expect("PONG");
    for (user, password) in [("app", "guess"), ("other", SECRET), ("", "")] {
        let mut wire = connect(user, password);
        wire.expect("-ERR 'Authorization Violation'");
        wire.expect_closed();
    }
    let mut silent = NatsWire::open(cim.nats);
    silent.send(b"PING\r\n");
    silent.expect("-ERR 'Authorization Violation'");
    silent.expect_closed();

    // Whoever registers is on loopback and is told the gateway's password: that is what it is for. Nobody else is.
    let answer = cim
        .post("/api/v1/_operations/xgvela/register", b"{}")
        .json();
    assert_eq!(
        (
            answer["apigw_username"].as_str(),
            answer["apigw_password"].as_str()
        ),
        (Some("gateway"), Some(SECRET))
    );
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert!(!cim.get(path).text().contains(SECRET), "{path}");
    }
    cim.stop(support::Signal::TERM);
    let own_log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
    assert!(own_log.contains("Authentication Failure"), "{own_log}");
    assert!(
        !own_log.contains(SECRET) && !own_log.contains("guess"),
        "{own_log}"
    );
    let printed = cim.stdout.lines().concat();
    assert!(!String::from_utf8_lossy(&printed).contains(SECRET));
}

#[test]
fn users_with_hashes_and_permissions_do_what_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.conf");
    let hash = bcrypt::hash(SECRET, 6).unwrap();
    let text = format!(
        "authorization {{\n  users = [\n    {{user: app, password: \"{hash}\", permissions: {{publish: [LOG, EVENT], subscribe: \"own.>\"}}}}\n    {{user: ops, password: {SECRET}}}\n  ]\n}}\n"
    );
    std::fs::write(&users, text).unwrap();
    let mut cim = Cim::start(Options::new().env("CIM_NATS_AUTH_FILE", &users));
    let connect = |user: &str, password: &str, more: &str| {
        let mut wire = NatsWire::open(cim.nats);
        wire.send(
            format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\n{more}")
                .as_bytes(),
        );
        wire
    };
    let mut ops = connect("ops", SECRET, "SUB > 1\r\nPING\r\n");
    ops.expect("PONG");
    // What is sent behind the credentials waits until they are looked at.
    let mut app = connect(
        "app",
        SECRET,
        "PUB other 0\r\n\r\nSUB own.a 1\r\nSUB > 2\r\nPUB EVENT 1\r\nx\r\nPING\r\n",
    );
    app.expect("-ERR 'Permissions Violation for Publish to \"other\"'");
    app.expect("-ERR 'Permissions Violation for Subscription to \">\"'");
    app.expect("PONG");
    assert_eq!(ops.delivered().subject, "EVENT");
    // Guesses, many at one time, do not hold up who is in.
    let mut guesses: Vec<_> = (0..20)
        .map(|_| connect("app", "guess", "PING\r\n"))
        .collect();
    for _ in 0..20 {
        assert!(ops.ping_pong() < support::PATIENCE / 4);
    }
    for guess in &mut guesses {
        guess.expect("-ERR 'Authorization Violation'");
        guess.expect_closed();
    }
    let rows = cim.get("/connz?auth=1&subs=1").json();
    let rows = rows["connections"].as_array().unwrap();
    assert_eq!(rows[1]["authorized_user"], "app", "{rows:?}");
    assert_eq!(rows[1]["subscriptions_list"][0], "own.a");
    cim.stop(support::Signal::TERM);
    let own_log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
    assert!(
        !own_log.contains(SECRET) && !own_log.contains(&hash),
        "{own_log}"
    );
}

#[test]
fn other_users_are_in_force_after_a_hangup_and_who_may_stay_stays() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.conf");
    let write = |list: &str| {
        std::fs::write(&users, format!("authorization {{ users: [{list}] }}")).unwrap()
    };
    write("{user: a, password: p1}, {user: b, password: p2}");
    let mut cim = Cim::start(Options::new().env("CIM_NATS_AUTH_FILE", &users));
    let connect = |user: &str, password: &str| {
        let mut wire = NatsWire::open(cim.nats);
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
        );
        wire.send(connect.as_bytes());
        wire
    };
    let (mut stays, mut goes) = (connect("a", "p1"), connect("b", "p2"));
    stays.expect("PONG");
    goes.expect("PONG");
    write("{user: a, password: p1, permissions: {publish: {deny: x}}}, {user: c, password: p3}");
    cim.signal(support::Signal::HUP);
    goes.expect("-ERR 'Authorization Violation'");
    goes.expect_closed();
    connect("c", "p3").expect("PONG");
    stays.send(b"PUB x 0\r\n\r\n");
    stays.expect("-ERR 'Permissions Violation for Publish to \"x\"'");
    // What cannot be read changes nothing.
    write("{user: a");
    cim.signal(support::Signal::HUP);
    connect("c", "p3").expect("PONG");
    stays.ping_pong();
    cim.stop(support::Signal::TERM);
    let own_log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
    assert!(own_log.contains("the old ones stay in force"), "{own_log}");
}
