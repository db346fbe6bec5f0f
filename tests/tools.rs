//! `cim doctor`, `change-set`, `spool`, `emit`, `tail` with filters, `completions` and `man`, as a user types them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use servers::scene::{Scene, register};
use servers::{EtcdGateway, MockKafka, Reply, ReplyStatus, TestApp, free_port, loopback};
use support::pod::Pod;
use support::{Cim, Options, PATIENCE, Signal, eventually, eventually_some, forks};
use tempfile::TempDir;

/// One tool, with the environment that a CIM with `options` would have in `dir`; `input` is its standard input.
fn tool_with(options: &Options, dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let json = |name: &str, value: Option<&Value>| {
        if let Some(value) = value {
            std::fs::write(dir.join(name), value.to_string()).unwrap();
        }
    };
    json("cim.json", options.cim_json.as_ref());
    json("common-infra.json", options.infra_json.as_ref());
    let logs = options.log_dir.clone().unwrap_or_else(|| dir.join("logs"));
    let mut command = support::cim::command(options, dir, &logs);
    let mut child = forks::spawn(command.args(args).stdin(Stdio::piped())).unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn tool(options: &Options, dir: &TempDir, args: &[&str]) -> Output {
    tool_with(options, dir.path(), args, b"")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("cim-tools-")
        .tempdir()
        .unwrap()
}

/// The findings of `cim doctor`, as (check, level, text, what to do).
fn doctor(options: &Options, dir: &TempDir, code: i32) -> Vec<[String; 4]> {
    let output = tool(options, dir, &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|finding| ["check", "level", "text", "to_do"].map(|name| word(finding, name)))
        .collect()
}

/// A finding of `check` with this level whose text and advice have these words.
#[track_caller]
fn has(findings: &[[String; 4]], check: &str, level: &str, words: &str, to_do: &str) {
    let found = findings.iter().any(|finding| {
        finding[0] == check
            && finding[1] == level
            && finding[2].contains(words)
            && finding[3].contains(to_do)
    });
    assert!(found, "{check} {level} {words:?} {to_do:?}: {findings:#?}");
}

/// A pod where everything is there: Kubernetes, etcd, application, Kafka.
fn whole(scene: &Scene, kafka: &MockKafka) -> Options {
    scene
        .mounted()
        .mode("KAFKA", "json")
        .env("CIM_KAFKA_BROKERS", kafka.bootstrap().join(","))
}

#[test]
fn the_doctor_finds_nothing_where_all_is_there_and_changes_nothing() {
    let (scene, kafka, dir) = (Scene::new(), MockKafka::start(), dir());
    for topic in ["EVENT", "LOGS", "FMAASEVENTS"] {
        kafka.create_topic(topic, 1);
    }
    scene.etcd.put("change-set/ns1/ms1/v1/ms/app.json/1", "[]");
    let before = scene.etcd.revision();
    let options = whole(&scene, &kafka);
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let shipped = support::options::default_cim_json().to_string();
    std::fs::write(dir.path().join("shipped-cim.json"), shipped).unwrap();
    let findings = doctor(&options, &dir, 0);
    let bad = findings.iter().filter(|finding| finding[1] != "ok");
    assert_eq!(bad.count(), 0, "{findings:#?}");
    for (check, words) in [
        ("settings", "all good"),
        ("log directory", "writes"),
        ("state directory", "no CIM works with it"),
        ("NATS", "any free port"),
        ("Kubernetes", "microservice ms1, version v1"),
        (
            "Kubernetes",
            "there is no ConfigMap svctype-cim-v1-mgmt-cfg",
        ),
        ("Kubernetes rights", "get pods, delete pods"),
        ("etcd", "etcd 3.4.23"),
        ("etcd", "reads change-set/ns1/ms1/ (keys there: 1)"),
        ("etcd", "may put the outcomes"),
        ("Kafka", "topics: EVENT, LOGS, FMAASEVENTS"),
        ("Kafka", "brokers: 127.0.0.1:"),
        ("log collector", "go to Kafka"),
        ("application", "takes connections"),
    ] {
        has(&findings, check, "ok", words, "");
    }
    assert_eq!(scene.etcd.revision(), before);
    assert_eq!(
        std::fs::read_dir(dir.path().join("logs")).unwrap().count(),
        0
    );
    assert!(!dir.path().join("state").exists());
    let asked = scene.kube.requests();
    let changing = asked
        .iter()
        .filter(|seen| seen.method != "GET" && !seen.path.ends_with("/selfsubjectaccessreviews"));
    assert_eq!(changing.count(), 0, "{asked:?}");
    assert_eq!(scene.app.requests("/updateConfig").len(), 0);
}

#[test]
fn the_doctor_says_which_right_and_which_part_is_missing() {
    let (scene, kafka, dir) = (Scene::new(), MockKafka::start(), dir());
    for right in ["delete pods", "create configmaps"] {
        scene.kube.forbid(right, true);
    }
    scene.etcd.deny_puts(true);
    let app = format!("http://{}", loopback(free_port()));
    let options = whole(&scene, &kafka).env("CIM_APP_URL", app);
    let findings = doctor(&options, &dir, 1);
    has(
        &findings,
        "Kubernetes rights",
        "failed",
        "may not delete pods",
        "Role",
    );
    has(
        &findings,
        "Kubernetes rights",
        "warning",
        "may not create configmaps",
        "Role",
    );
    has(&findings, "etcd", "ok", "reads change-set/ns1/ms1/", "");
    has(
        &findings,
        "etcd",
        "failed",
        "permission denied",
        "readwrite of commit-config/ns1/ms1/",
    );
    has(&findings, "Kafka", "warning", "no topic EVENT", "make it");
    has(
        &findings,
        "application",
        "warning",
        "no connection",
        "CIM_APP_URL",
    );

    scene.etcd.deny_prefix("change-set/");
    scene.kube.forbid("get pods", true);
    let findings = doctor(&options, &dir, 1);
    has(&findings, "Kubernetes", "failed", "403", "pods get");
    has(
        &findings,
        "etcd",
        "failed",
        "the microservice is not known",
        "microSvcName",
    );
    let findings = doctor(&options.env("CIM_MICROSERVICE", "ms1"), &dir, 1);
    has(
        &findings,
        "etcd",
        "failed",
        "permission denied",
        "read of change-set/ns1/ms1/",
    );
}

#[test]
fn the_doctor_ends_in_time_when_nobody_answers() {
    let (scene, dir) = (Scene::new(), dir());
    scene.etcd.hang(true);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = scene
        .mounted()
        .env("CIM_KAFKA_BROKERS", loopback(free_port()).to_string())
        .env(
            "CIM_NATS_PORT",
            silent.local_addr().unwrap().port().to_string(),
        );
    let start = Instant::now();
    let findings = doctor(&options, &dir, 1);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    has(&findings, "etcd", "failed", "in time", "CIM_ETCD_URL");
    has(
        &findings,
        "Kafka",
        "failed",
        "answers within",
        "CIM_KAFKA_BROKERS",
    );
    has(
        &findings,
        "NATS",
        "failed",
        "nothing answers there",
        "CIM_NATS_PORT",
    );
}

#[test]
fn the_doctor_knows_a_cim_that_runs() {
    let (pod, dir) = (Pod::new(), dir());
    let cim = Cim::start(pod.options(Options::new()));
    let options = pod
        .options(Options::new())
        .env("CIM_NATS_PORT", cim.nats.port().to_string())
        .env("CIM_REST_PORT", cim.http.port().to_string());
    let findings = doctor(&options, &dir, 0);
    has(&findings, "NATS", "ok", "a CIM answers", "");
    has(&findings, "operations API", "ok", "a CIM answers", "");
    let process = format!("process {}", cim.pid());
    has(&findings, "state directory", "ok", &process, "");
    // The text has a line for each finding and its verdict.
    let output = tool(&options, &dir, &["doctor"]);
    let text = text(&output);
    assert_eq!(text.lines().count(), findings.len() + 1, "{text}");
    assert!(
        !text.contains('\x1b') && text.contains("Good; to look at:"),
        "{text}"
    );
}

const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";

/// etcd, and how CIM and the tools get there.
fn configured() -> (EtcdGateway, TestApp, Options) {
    let (etcd, app) = (EtcdGateway::start(), TestApp::start());
    let options = Options::new()
        .env("CIM_ETCD_URL", etcd.client_url())
        .env("CIM_APP_URL", app.url())
        .env("CIM_MICROSERVICE", "ms1")
        .env("CIM_SERVICE_VERSION", "v1");
    (etcd, app, options)
}

#[test]
fn a_change_set_is_put_as_cmaas_does_and_its_outcome_is_the_exit_code() {
    let (etcd, app, options) = configured();
    let dir = dir();
    let cim = Cim::start(options.clone());
    register(&cim);
    let patch = br#"[{"op":"replace","path":"/a","value":1}]"#;
    for (status, code, outcome, value) in [
        (ReplyStatus::Success, 0, "success", "1"),
        (ReplyStatus::Failure, 1, "failure", "-1"),
        (ReplyStatus::Unused, 0, "unused", "-2"),
    ] {
        app.reply_with(cim.nats, Reply::of(status));
        let put = ["change-set", "put", "--wait", "--json"];
        let output = tool_with(&options, dir.path(), &put, patch);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&answer["outcome"], &answer["pod"]),
            (&outcome.into(), &"cnf-0".into())
        );
        let key = answer["key"].as_str().unwrap();
        assert_eq!(
            etcd.get(key).as_deref(),
            Some(std::str::from_utf8(patch).unwrap())
        );
        assert_eq!(etcd.get(COMMIT).as_deref(), Some(value));
    }
    let sent = app.requests("/updateConfig");
    let keys: Vec<_> = sent
        .iter()
        .map(|request| request.change_set_key())
        .collect();
    let expected = [1, 2, 3].map(|n| format!("change-set/ns1/ms1/v1/ms/app.json/{n}"));
    assert_eq!(keys, expected);

    // CIM's own configuration.
    let own = br#"[{"op":"replace","path":"/cimConfig/lmaas/max_age","value":3}]"#;
    let put = ["change-set", "put", "--data-key", "cim.json", "--wait"];
    let output = tool_with(&options, dir.path(), &put, own);
    assert!(text(&output).contains(": success"), "{}", text(&output));

    let list = tool(&options, &dir, &["change-set", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let states: Vec<_> = list["change_sets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, ["done", "done", "done", "success"]);
    let commit = list["commits"]
        .as_array()
        .unwrap()
        .iter()
        .find(|commit| commit["key"] == COMMIT);
    assert_eq!(commit.unwrap()["value"], "4");
}

#[test]
fn a_change_set_that_cannot_be_put_or_is_not_committed_says_so() {
    let (etcd, _app, options) = configured();
    let dir = dir();
    let file = dir.path().join("patch.json");
    std::fs::write(&file, "[]").unwrap();
    let file = file.to_str().unwrap();
    let check = |args: &[&str], options: &Options, code: i32, words: &str| {
        let args = [&["change-set"], args].concat();
        let output = tool(options, &dir, &args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&output)
        );
        assert!(text(&output).contains(words), "{args:?}: {}", text(&output));
    };
    check(
        &["put", file, "--revision", "07", "--level", "nf"],
        &options,
        0,
        "at revision 2 of etcd",
    );
    assert_eq!(
        etcd.get("change-set/ns1/ms1/v1/nf/app.json/7").as_deref(),
        Some("[]")
    );
    check(
        &["put", file, "--revision", "7", "--level", "nf"],
        &options,
        1,
        "is there already",
    );
    // No CIM runs.
    check(
        &["put", file, "--wait=200ms"],
        &options,
        5,
        "has not committed it",
    );
    assert!(etcd.get("change-set/ns1/ms1/v1/ms/app.json/8").is_some());
    check(&["list"], &options, 0, "not known");
    check(&["put", "/nowhere"], &options, 1, "cannot be read");
    check(&["put"], &options, 1, "neither a JSON Patch");
    check(
        &["put", "--raw", "--data-key", "a/b"],
        &options,
        2,
        "7 parts",
    );
    etcd.deny_puts(true);
    check(&["put", file], &options, 1, "permission denied");
    let nobody = options
        .clone()
        .env("CIM_ETCD_URL", loopback(free_port()).to_string());
    check(&["list"], &nobody, 3, "no connection to etcd");
    check(
        &["list"],
        &Options::new().env("CIM_MICROSERVICE", "m"),
        2,
        "CIM_ETCD_URL",
    );
    // The object that an application is sent.
    etcd.deny_puts(false);
    let sent = json!({"change-set-key": "change-set/n/m/v/ms/x.json/9", "config-patch": "[]", "revision": "9"});
    let output = tool_with(
        &options,
        dir.path(),
        &["change-set", "put", "-"],
        sent.to_string().as_bytes(),
    );
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(
        etcd.get("change-set/n/m/v/ms/x.json/9").as_deref(),
        Some("[]")
    );
}

#[test]
fn events_and_answers_are_published_and_tail_shows_what_is_asked_for() {
    let dir = dir();
    let cim = Cim::start(Options::new());
    let at = |options: Options| options.env("CIM_NATS_PORT", cim.nats.port().to_string());
    let options = at(Options::new());
    let tail = |args: &'static [&str]| {
        let options = options.clone();
        let path = dir.path().to_owned();
        std::thread::spawn(move || tool_with(&options, &path, args, b""))
    };
    let logs = tail(&[
        "tail",
        ">",
        "--container",
        "app",
        "--level",
        "warning",
        "--count",
        "2",
    ]);
    let events = tail(&[
        "tail", ">", "--event", "Link*", "--text", "port", "--count", "2",
    ]);
    let answers = tail(&["tail", "CONFIG", "--count", "1"]);
    eventually(PATIENCE, || {
        let pages = cim.get("/connz?subs=1").json();
        let connections = pages["connections"].as_array().unwrap().clone();
        connections
            .iter()
            .filter(|one| one["subscriptions"] == 1)
            .count()
            >= 3
    });
    let emit = |args: &[&str], input: &[u8]| {
        let args = [&["emit"], args].concat();
        let output = tool_with(&options, dir.path(), &args, input);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
    };
    emit(&["log", "--container", "web", "ERROR web"], b"");
    emit(
        &["log", "--container", "app"],
        b"[INFO] one\n[WARNING] two\nthree\nlevel=error four\n",
    );
    emit(
        &[
            "event",
            "LinkDown",
            "-o",
            "if=eth0",
            "-a",
            "port=3",
            "--source-name",
            "é",
        ],
        b"",
    );
    emit(&["event", "Other", "-a", "port=3"], b"");
    let lines = "{\"event_name\":\"LinkUp\"}\n\n{\"event_name\":\"LinkUp\",\"event_time\":5,\"additional_info\":[{\"port\":\"4\"}]}\n";
    emit(&["event", "-"], lines.as_bytes());
    emit(
        &[
            "config",
            "change-set/n/m/v/ms/app.json/7",
            "--status",
            "failure",
            "--remarks",
            "no",
        ],
        b"",
    );

    let printed = |thread: std::thread::JoinHandle<Output>| {
        let output = thread.join().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        printed(logs),
        "LOG: app: [WARNING] two\nLOG: app: level=error four\n".replace("LOG: ", "")
    );
    let events = printed(events);
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["managed_object"], json!([{"if": "eth0"}]));
    assert_eq!(
        (&events[0]["source_name"], &events[1]["event_time"]),
        (&"é".into(), &5.into())
    );
    let answer: Value = serde_json::from_str(&printed(answers)).unwrap();
    assert_eq!(
        answer,
        json!({"change-set-key": "change-set/n/m/v/ms/app.json/7", "revision": "7", "status": "failure", "remarks": "no"})
    );

    // Events are in the journal, or on their way from there.
    assert!(cim.metric("cim_events_stored_total", &[]) >= 4.0);
    let bad = tool_with(&options, dir.path(), &["emit", "event", "-"], b"{}\n");
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad).contains("line 1 of standard input is no event"),
        "{}",
        text(&bad)
    );
}

#[test]
fn the_spool_shows_what_waits_while_cim_runs_and_when_it_does_not() {
    let (pod, dir) = (Pod::new(), dir());
    let options = Options::new()
        .mode("TCP", "text")
        .infra("logging_svc_url", loopback(free_port()).to_string())
        .infra("enable_retrx", "true");
    let options = pod.options(options);
    let spool = || {
        let output = tool(&options, &dir, &["spool", "--json"]);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let nothing = tool(&options, &dir, &["spool"]);
    assert_eq!(
        nothing.status.code(),
        Some(1),
        "there is no state directory: {}",
        text(&nothing)
    );
    let mut cim = Cim::start(options.clone());
    let mut wire = cim.client();
    for n in 0..100 {
        wire.publish_log("app", "7", format!("line {n:04}").as_bytes());
    }
    wire.ping_pong();
    let found = eventually_some(PATIENCE, || {
        let found = spool();
        let app = found["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["container"] == "app")
            .cloned();
        app.filter(|app| app["bytes"] == 1000)
    });
    assert_eq!(
        (&found["container_id"], &found["files"]),
        (&"7".into(), &1.into())
    );
    cim.stop(Signal::TERM);
    let after = spool();
    assert!(after["bytes"].as_u64().unwrap() >= 1000, "{after}");
    let table = text(&tool(&options, &dir, &["spool"]));
    assert!(
        table
            .lines()
            .any(|line| line.contains("1000") && line.ends_with(" app")),
        "{table}"
    );
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let dir = dir();
    for shell in ["bash", "zsh", "fish"] {
        let output = tool(&Options::new(), &dir, &["completions", shell]);
        assert!(output.status.success(), "{}", text(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["change-set", "doctor", "additional-info"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        if shell == "bash" {
            let script = dir.path().join("script");
            std::fs::write(
                &script,
                text(&tool(&Options::new(), &dir, &["completions", shell])),
            )
            .unwrap();
            let mut check = std::process::Command::new("bash");
            let checked = forks::output(check.arg("-n").arg(&script)).unwrap();
            assert!(checked.status.success(), "{}", text(&checked));
        }
    }
    let page = text(&tool(&Options::new(), &dir, &["man"]));
    assert!(page.contains(".TH cim 1"), "{page}");
    for name in ["CHANGE\\-SET PUT", "JOURNAL VERIFY", "EMIT EVENT", "DOCTOR"] {
        assert!(page.contains(&format!(".SH CIM {name}\n")), "{name}");
    }
    assert!(page.contains("\n  3   nobody answers"), "{page}");
}

#[test]
fn waiting_for_a_commit_ends_with_its_time_and_not_before_a_late_answer() {
    let (_etcd, app, options) = configured();
    let dir = dir();
    let cim = Cim::start(options.clone());
    register(&cim);
    let held = Reply {
        held: true,
        ..Reply::of(ReplyStatus::Success)
    };
    app.reply_with(cim.nats, held);
    std::thread::scope(|scope| {
        let put = scope.spawn(|| {
            let put = ["change-set", "put", "--wait=20s"];
            tool_with(&options, dir.path(), &put, b"[]")
        });
        app.wait_for("/updateConfig", 1);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!put.is_finished());
        app.release_replies();
        let output = put.join().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    });
}
