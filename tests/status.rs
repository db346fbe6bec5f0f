//! The status of the running daemon: the document, who may have it, the command, and the page in a real browser.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "status/browser.rs"]
mod browser;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use browser::Browser;
use serde_json::{Value, json};
use support::{Answer, Cim, NatsWire, Options, PATIENCE, eventually, http};

/// A name that is markup, and one that moves a terminal's cursor.
const HOSTILE: &str = "<img src=x onerror=document.title=1>\u{1b}[2J";

fn status(cim: &Cim) -> Value {
    let answer = cim.get("/status");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn get_with(cim: &Cim, path: &str, host: &str, authorization: &str) -> Answer {
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\r\n");
    http::raw(cim.http, head.as_bytes())
}

/// A client of this name.
fn client(cim: &Cim, name: &str) -> NatsWire {
    let mut wire = NatsWire::open(cim.nats);
    let connect = json!({"verbose": false, "pedantic": false, "name": name, "lang": "go", "version": "1.48.0"});
    wire.send(format!("CONNECT {connect}\r\n").as_bytes());
    wire.ping_pong();
    wire
}

/// Three lines and an event of a container with a hostile name.
fn busy(options: Options) -> (Cim, NatsWire) {
    let cim = Cim::start(options);
    let mut wire = client(&cim, &format!("{HOSTILE}\u{202e}"));
    for line in ["one", "two", "three"] {
        wire.publish_log(HOSTILE, "0000", line.as_bytes());
    }
    wire.publish_event("LinkDown");
    wire.publish("LOG", b"no line");
    wire.ping_pong();
    (cim, wire)
}

fn token_file(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("token");
    std::fs::write(&path, "geheim\n").unwrap();
    path
}

#[test]
fn the_document_tells_what_passed_and_rates_move() {
    let (cim, _wire) = busy(Options::new().cim("lmaas.max_age", 3));
    eventually(PATIENCE, || {
        status(&cim)["containers"]["shown"][0]["file_lines"].as_u64() >= Some(3)
    });
    let document = status(&cim);
    assert_eq!(document["status"], "ready");
    assert_eq!(document["identity"]["pod"], "cnf-0");
    assert_eq!(document["cim"]["nats"], cim.nats.to_string());
    assert_eq!(document["parts"], cim.get("/readyz").json()["parts"]);
    let containers = document["containers"]["shown"].as_array().unwrap();
    let hostile = containers.iter().find(|c| c["lines"] == 3).unwrap();
    assert_eq!(hostile["name"], HOSTILE.replace('\u{1b}', "\\u{1b}"));
    assert_eq!(
        (&hostile["file_state"], &hostile["file_lines"]),
        (&json!("written"), &json!(3))
    );
    let file = cim.log_dir.join(hostile["file"].as_str().unwrap());
    assert_eq!(file.metadata().unwrap().len(), hostile["file_bytes"]);
    assert_eq!(
        document["totals"]["lines"],
        cim.metric("Total_msg_count", &[])
    );
    assert_eq!(document["dropped"], json!({"lines: malformed": 1}));
    assert_eq!(
        document["connections"]["connections"][0]["name"],
        format!("{HOSTILE}\u{202e}")
    );
    let log = document["log"].as_array().unwrap();
    assert!(
        log.iter().any(|line| line["level"] == "WARNING"
            && line["text"].as_str().unwrap().contains("1 messages on LOG")),
        "{log:?}"
    );
    let in_force = |group: &str, name: &str| -> Value {
        let rows = document["settings"][group].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        json!([row["value"], row["source"]])
    };
    assert_eq!(
        in_force("cim", "K8S_POD_ID"),
        json!(["cnf-0", "environment"])
    );
    assert_eq!(in_force("cim", "CIM_JOURNAL_FSYNC")[1], "built-in");
    assert_eq!(
        in_force("cim.json", "cimConfig.lmaas.max_age"),
        json!(["3", "file"])
    );
    // A point is there once ten seconds have passed, and everything that came is in it.
    let lines = |document: &Value| -> u64 {
        let points = document["rates"]["lines"].as_array().unwrap();
        points.iter().map(|point| point.as_u64().unwrap()).sum()
    };
    eventually(PATIENCE, || {
        let document = status(&cim);
        let steps = document["rates"]["seconds"].as_array().unwrap().len();
        lines(&document) >= 4 && steps >= 2
    });
    let document = status(&cim);
    let seconds = document["rates"]["seconds"][0].as_f64().unwrap();
    assert!((9.9..20.0).contains(&seconds), "{seconds}");
    let events = document["rates"]["events"].as_array().unwrap();
    assert!(events.iter().any(|n| n.as_u64() >= Some(1)), "{document}");
}

#[test]
fn no_secret_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "geheim\n").unwrap();
    let auth = dir.path().join("users.conf");
    std::fs::write(
        &auth,
        "authorization { users = [ {user: app, password: \"geheim\"} ] }",
    )
    .unwrap();
    let options = Options::new()
        .env("CIM_NATS_AUTH_FILE", &auth)
        .env("CIM_ETCD_USER", "root")
        .env("CIM_ETCD_PASSWORD_FILE", &password)
        .env("CIM_APIGW_USERNAME", "admin")
        .env("CIM_APIGW_PASSWORD_FILE", &password)
        .env("CIM_KAFKA_OPTS", "sasl.password=geheim");
    let cim = Cim::start(options);
    let text = cim.get("/status").text();
    assert!(!text.contains("geheim"), "{text}");
    assert!(
        text.contains(
            r#"{"name":"CIM_KAFKA_OPTS","value":"sasl.password=***","source":"environment"}"#
        ),
        "{text}"
    );
    let external = Options::new().env("CIM_NATS_URL", "nats://app:geheim@127.0.0.1:1");
    let cim = Cim::start(external);
    let text = cim.get("/status").text();
    assert!(!text.contains("geheim"), "{text}");
    assert_eq!(status(&cim)["cim"]["nats_external"], true);
    assert_eq!(status(&cim)["connections"], Value::Null);
}

#[test]
fn a_stranger_gets_neither_the_document_nor_the_page() {
    let dir = tempfile::tempdir().unwrap();
    // Open to the pod network.
    let cim = Cim::start(Options::new().env("CIM_REST_BIND", "0.0.0.0"));
    for path in ["/", "/status"] {
        assert_eq!(cim.get(path).status, 403, "{path}");
    }
    let options = Options::new()
        .env("CIM_REST_BIND", "0.0.0.0")
        .env("CIM_MONITOR_TOKEN_FILE", token_file(&dir));
    let cim = Cim::start(options);
    for path in ["/", "/status"] {
        let refused = get_with(&cim, path, "x", "");
        assert_eq!(refused.status, 401, "{path}");
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
        for (authorization, expected) in [
            ("Authorization: Bearer x\r\n", 401),
            ("Authorization: Bearer geheim\r\n", 200),
            // any:geheim
            ("Authorization: Basic YW55OmdlaGVpbQ==\r\n", 200),
        ] {
            let answer = get_with(&cim, path, "x", authorization);
            assert_eq!(answer.status, expected, "{path} {authorization}");
        }
    }
    // A web page whose name was made to mean 127.0.0.1.
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics_at = metrics.local_addr().unwrap();
    drop(metrics);
    let cim = Cim::start(Options::new().env("CIM_METRICS_BIND", metrics_at.to_string()));
    assert_eq!(get_with(&cim, "/status", "evil.example", "").status, 403);
    assert_eq!(get_with(&cim, "/status", "localhost", "").status, 200);
    for path in ["/", "/status"] {
        assert_eq!(http::get(metrics_at, path).status, 404, "{path}");
    }
    let page = cim.get("/");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert_eq!(cim.get("/status").header("cache-control"), Some("no-store"));
}

/// `cim status` with these arguments; standard output is no terminal.
fn command(server: &str, args: &[&str], environment: &[(&str, &Path)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cim"))
        .args(["status", "--server", server])
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn the_command_shows_the_document_and_ends_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let (cim, _wire) = busy(Options::new());
    let server = cim.http.to_string();
    let shown = command(&server, &[], &[]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(0), "{text}");
    for part in [
        "cnf-0 in ns1: ready",
        "\nnats             ready ",
        "LAST TEN MINUTES",
        "events (journal)",
        "<img src=x",
        "dropped, lines: malformed: 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !text.contains('\u{1b}'),
        "neither colours nor what others send: {text}"
    );
    let json = command(&server, &["--json"], &[]);
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["identity"], status(&cim)["identity"]);

    let gone = command("127.0.0.1:1", &[], &[]);
    assert_eq!(gone.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("is CIM running"));
    assert_eq!(command(&server, &["--watch=0"], &[]).status.code(), Some(2));

    // Without its NATS server CIM is not ready.
    let options = Options::new()
        .env("CIM_NATS_URL", "nats://127.0.0.1:1")
        .env("CIM_MONITOR_TOKEN_FILE", token_file(&dir));
    let cim = Cim::start(options);
    let server = cim.http.to_string();
    let token = token_file(&dir);
    let unready = command(&server, &[], &[("CIM_MONITOR_TOKEN_FILE", &token)]);
    assert_eq!(unready.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unready.stdout).contains("cnf-0 in ns1: not ready"));
    let refused = command(&server, &[], &[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("needs the token"));
}

#[test]
fn watching_prints_again_and_again_and_goes_on_while_cim_is_away() {
    use std::io::{BufRead, BufReader};
    let mut cim = Cim::start(Options::new());
    let mut watch = Command::new(env!("CARGO_BIN_EXE_cim"))
        .args([
            "status",
            "--json",
            "--watch=1",
            "--server",
            &cim.http.to_string(),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let (first, second) = (next(), next());
    assert!(second["time"].as_u64() >= first["time"].as_u64().map(|time| time + 900));
    cim.kill9();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(watch.try_wait().unwrap().is_none());
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
#[ignore = "integration"]
fn with_chromium_the_page_shows_all_in_both_themes_and_in_a_narrow_window() {
    let (cim, _wire) = busy(
        Options::new()
            .infra("etcd_url", "127.0.0.1:1")
            .env("CIM_MICROSERVICE", "ms1"),
    );
    let url = format!("http://{}/", cim.http);
    let mut browser = Browser::start();
    let mut grounds = Vec::new();
    for (width, theme) in [
        (1280, "light"),
        (1280, "dark"),
        (360, "light"),
        (360, "dark"),
    ] {
        browser.open(&url, width, theme);
        browser.until("document.getElementById('state')?.textContent === '✓ ready'");
        browser.until("document.getElementById('nats').textContent.includes('<img')");
        let case = format!("{width} {theme}");
        let name = format!("status-{width}-{theme}.png");
        browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        assert_eq!(browser.value("innerWidth"), width, "{case}");
        let wide = browser.value("[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('thead, .skip')).map(e => e.outerHTML.slice(0, 80))");
        assert_eq!(wide, json!([]), "{case}");
        assert_eq!(
            browser.value("document.documentElement.scrollWidth"),
            width,
            "{case}"
        );
        assert_eq!(
            browser.value(include_str!("status/contrast.js")),
            json!([]),
            "{case}"
        );
        // What others send is text.
        assert_eq!(
            browser.value("document.querySelectorAll('img, iframe, script[src]').length"),
            0
        );
        assert_eq!(browser.value("document.title"), "✓ cnf-0 – CIM", "{case}");
        let text = browser.value("document.body.innerText");
        let text = text.as_str().unwrap();
        for part in [
            "cnf-0",
            "in ns1",
            "Last ten minutes",
            "no connection to etcd",
            "1 messages on LOG",
            "<img src=x onerror=document.title=1>\\u{1b}[2J",
            "K8S_POD_ID",
            "go 1.48.0",
            "\\u{1b}[2J\\u{202e}",
            "malformed 1",
        ] {
            assert!(text.contains(part), "{case}: {part}: {text}");
        }
        assert!(
            !text.contains("CIM_JOURNAL_FSYNC"),
            "{case}: a built-in value"
        );
        grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1]);
    assert_eq!(grounds[..2], grounds[2..]);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
#[ignore = "integration"]
fn with_chromium_the_page_can_be_used_by_keyboard_and_says_when_cim_is_away() {
    let (mut cim, _wire) = busy(Options::new());
    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", cim.http), 1280, "light");
    browser.until("document.getElementById('state')?.textContent === '✓ ready'");
    let landmarks = "['header', 'main', 'footer', 'h1', '[role=status]', '[role=alert]', 'html[lang]', 'svg[role=img][aria-label]'].filter(s => !document.querySelector(s))";
    assert_eq!(browser.value(landmarks), json!([]));
    let mut reached = Vec::new();
    for _ in 0..6 {
        browser.press("Tab", 9);
        reached.push(browser.value(
            "document.activeElement.textContent.slice(0, 20) || document.activeElement.tagName",
        ));
    }
    let expected = ["Skip to the content", "Pause", "svg", "svg", "svg", "svg"];
    assert_eq!(reached, expected.map(Value::from));
    // Values that are built in appear on request.
    browser.value("document.getElementById('all').click()");
    browser.until("document.body.innerText.includes('CIM_JOURNAL_FSYNC')");
    // A chart is read point by point.
    browser.until("!document.getElementById('span').textContent.includes('nothing yet')");
    browser.value("document.querySelector('svg').focus()");
    browser.press("ArrowLeft", 37);
    let read = browser.value("document.querySelector('figcaption').lastChild.textContent");
    assert!(
        read.as_str().unwrap().ends_with("/s") && read.as_str().unwrap().contains(": "),
        "{read}"
    );
    // Paused, nothing is asked.
    browser.value("document.getElementById('pause').click()");
    let asked = cim.metric("cim_http_requests_total", &[]);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(cim.metric("cim_http_requests_total", &[]), asked + 1.0);
    browser.value("document.getElementById('pause').click()");
    browser.until("document.getElementById('when').textContent.startsWith('live')");
    // The policy is in force: what gets into the page all the same does not run.
    browser.value("{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); }");
    assert_eq!(browser.value("window.ran === undefined"), true);
    cim.kill9();
    browser.until(
        "document.getElementById('alert').textContent.startsWith('CIM does not answer since')",
    );
    assert_eq!(
        browser.value("document.getElementById('state').textContent"),
        "✕ no answer"
    );
}
