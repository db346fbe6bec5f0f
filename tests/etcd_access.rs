//! The daemon and an etcd that wants to know who CIM is, and lets it touch the keys of the contract alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use serde_json::json;
use servers::{Etcd, Reply, ReplyStatus, TestApp, base64, prefix_end};
use support::{Cim, Options, PATIENCE, eventually, http};

const COMMIT: &str = "commit-config/ns1/ms1/v0/ms/cnf-0";

/// root and the user cim, who may read and write below these prefixes.
fn with_users(etcd: &Etcd, prefixes: &[(&str, &str)]) {
    for (user, password) in [("root", "pw"), ("cim", "s3cret")] {
        etcd.call(
            "auth/user/add",
            &json!({"name": user, "password": password}),
        );
        etcd.call("auth/role/add", &json!({"name": user}));
        etcd.call("auth/user/grant", &json!({"user": user, "role": user}));
    }
    for (prefix, right) in prefixes {
        let end = base64(prefix_end(prefix));
        let permission = json!({"permType": right, "key": base64(prefix), "range_end": end});
        etcd.call(
            "auth/role/grant",
            &json!({"name": "cim", "perm": permission}),
        );
    }
    etcd.call("auth/enable", &json!({}));
}

/// As root, with a token.
fn root(etcd: &Etcd, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let user = json!({"name": "root", "password": "pw"});
    let token = etcd.call("auth/authenticate", &user)["token"].clone();
    let body = body.to_string();
    let head = format!(
        "POST /v3/{path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        token.as_str().unwrap(),
        body.len()
    );
    let answer = http::raw(etcd.address(), &[head.as_bytes(), body.as_bytes()].concat());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What `cim doctor` says of etcd; its exit code.
fn doctor(options: &Options, dir: &std::path::Path) -> (Option<i32>, String) {
    let mut command = support::cim::command(options, dir, &dir.join("logs"));
    let output = support::forks::output(command.arg("doctor")).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.contains("  etcd  "));
    let lines: Vec<_> = lines.collect();
    (output.status.code(), lines.join("\n"))
}

fn delivers(prefixes: &[(&str, &str)]) {
    let (mut etcd, app, dir) = (
        Etcd::start(),
        TestApp::start(),
        tempfile::tempdir().unwrap(),
    );
    let password = dir.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    with_users(&etcd, prefixes);
    let options = Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_ETCD_USER", "cim")
        .env("CIM_ETCD_PASSWORD_FILE", password)
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1")
        .env("MS_CONFIG_REVISION", "3");
    let (code, text) = doctor(&options, dir.path());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("reads change-set/ns1/ms1/"), "{text}");
    let whole = prefixes
        .iter()
        .any(|(prefix, _)| *prefix == "cim-position/ns1/");
    assert_eq!(
        text.contains("may not put CIM's position"),
        !whole,
        "{text}"
    );
    let cim = Cim::start(options);
    app.reply_with(cim.nats, Reply::of(ReplyStatus::Success));
    cim.post("/api/v1/_operations/xgvela/register", b"{}");
    let committed = |etcd: &Etcd, value: &str| {
        eventually(PATIENCE, || {
            let answer = root(etcd, "kv/range", &json!({"key": base64(COMMIT)}));
            answer["kvs"][0]["value"] == base64(value)
        });
    };
    committed(&etcd, "3");
    for number in [4, 5] {
        let key = base64(format!("change-set/ns1/ms1/v0/ms/app.json/{number}"));
        root(&etcd, "kv/put", &json!({"key": key, "value": base64("[]")}));
        committed(&etcd, &number.to_string());
        // Simple tokens are in etcd's memory alone: CIM's is not known any more.
        etcd.restart();
    }
    assert_eq!(app.requests("/updateConfig").len(), 2);
    assert!(!String::from_utf8_lossy(&cim.text_of("cim")).contains("s3cret"));
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_user_that_may_do_what_cim_needs() {
    delivers(&[
        ("change-set/ns1/", "READ"),
        ("commit-config/ns1/", "READWRITE"),
        ("cim-position/ns1/", "READWRITE"),
    ]);
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_user_that_may_touch_the_keys_of_the_contract_alone() {
    delivers(&[
        ("change-set/ns1/", "READ"),
        ("commit-config/ns1/", "READWRITE"),
    ]);
}

#[test]
#[ignore = "integration"]
fn with_etcd_a_user_that_may_write_commits_and_not_read_them() {
    delivers(&[("change-set/ns1/", "READ"), ("commit-config/ns1/", "WRITE")]);
}

#[test]
#[ignore = "integration"]
fn with_etcd_the_doctor_says_what_the_user_lacks() {
    let (etcd, dir) = (Etcd::start(), tempfile::tempdir().unwrap());
    let password = dir.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    with_users(
        &etcd,
        &[("change-set/ns1/", "READ"), ("commit-config/ns1/", "READ")],
    );
    let nobody = Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_MICROSERVICE", "ms1");
    let user = |name: &str| {
        let user = nobody.clone().env("CIM_ETCD_USER", name);
        user.env("CIM_ETCD_PASSWORD_FILE", &password)
    };
    for (options, words) in [
        (&nobody, "set CIM_ETCD_USER and CIM_ETCD_PASSWORD_FILE"),
        (&user("root"), "put CIM_ETCD_USER and the password"),
        (&user("cim"), "readwrite of commit-config/ns1/ms1/"),
        (
            &user("cim")
                .env("CIM_MICROSERVICE", "ms1")
                .env("K8S_NAMESPACE", "ns2"),
            "read of change-set/ns2/ms1/",
        ),
    ] {
        let (code, text) = doctor(options, dir.path());
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(words), "{words}: {text}");
        assert!(
            text.contains("etcd 3.") && !text.contains("s3cret"),
            "{text}"
        );
    }
    // Nothing was put by it.
    assert!(root(&etcd, "kv/range", &json!({"key": base64(COMMIT)}))["kvs"].is_null());
}
