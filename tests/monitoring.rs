//! `/varz`, `/connz` and `/subsz` of the running daemon, with nats-server's names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually};

/// A client of this name.
fn client(cim: &Cim, name: &str) -> NatsWire {
    let mut wire = NatsWire::open(cim.nats);
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
