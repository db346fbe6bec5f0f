//! The original's change sets (`golden/5-config` and `golden/6-own-events`) through the whole daemon: what the application is told, what is
//! committed, which events are raised; and where ours differs on purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::io::{Cursor, Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::{Value, json};
use servers::h2c::{H2Connection, PREFACE};
use servers::scene::{
    Scene, events, events_since, golden, golden_event, golden_json, golden_request, own_log,
    register, request,
};
use servers::{Behaviour, Reply, ReplyStatus, TestApp};
use support::{Cim, PATIENCE, Signal, eventually};

const UPDATE: &str = "/updateConfig";
const HISTORY: &str = "/api/v1/_operations/config/history";
const MS: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
const NF: &str = "commit-config/ns1/ms1/v1/nf/cnf-0";
const CONFIG_MAP: &str = "svctype-cim-v1-mgmt-cfg";

/// `number` is above what the pod started with, 3: what is not would be taken for done.
fn app_key(number: u64) -> String {
    format!("change-set/ns1/ms1/v1/ms/app.json/{number}")
}

fn self_key(number: u64) -> String {
    format!("change-set/ns1/ms1/v1/ms/cim.json/{number}")
}

/// A patch that replaces members of `cimConfig`.
fn patch(members: &[(&str, Value)]) -> String {
    let operation = |(member, value): &(&str, Value)| json!({"op": "replace", "path": format!("/cimConfig/{member}"), "value": value});
    Value::from_iter(members.iter().map(operation)).to_string()
}

/// A registered application that answers on CONFIG.
struct Running {
    scene: Scene,
    cim: Cim,
}

impl Running {
    fn start(options: impl FnOnce(&Scene) -> support::Options) -> Self {
        let scene = Scene::new();
        let cim = Cim::start(options(&scene));
        scene
            .app
            .reply_with(cim.nats, Reply::of(ReplyStatus::Success));
        register(&cim);
        Self { scene, cim }
    }

    /// The values that the commit key `MS` has had since the pod's first.
    fn commits(&self) -> Vec<String> {
        let changes = self.scene.etcd.changes(MS).into_iter().skip(1);
        changes.map(|change| change.value.unwrap()).collect()
    }

    /// Puts a change set and waits until something is committed for it.
    #[track_caller]
    fn put(&self, key: &str, value: &str) -> String {
        eventually(PATIENCE, || self.scene.etcd.get(MS).is_some());
        let before = self.commits().len();
        self.scene.etcd.put(key, value);
        eventually(PATIENCE, || self.commits().len() > before);
        self.commits().pop().unwrap()
    }
}

/// The change set, the reply and the outcome of a sample; the commit keys and events must be the sample's.
#[track_caller]
fn as_the_original(running: &Running, name: &str) {
    let Running { scene, cim } = running;
    let sample = golden_json(&format!("5-config/{name}.result.json"));
    let reply = ReplyStatus::of(sample["app_reply_status"].as_str());
    scene.app.reply_with(cim.nats, Reply::of(reply));
    let (told, raised) = (scene.app.requests(UPDATE).len(), events(cim).len());
    let key = sample["change_set_key"].as_str().unwrap();
    scene
        .etcd
        .put(key, sample["change_set_value"].as_str().unwrap());

    let wanted: Vec<Value> = sample["events"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(n, event)| {
            golden_event(&format!(
                "6-own-events/{name}_{}_{}",
                n + 1,
                event.as_str().unwrap()
            ))
        })
        .collect();
    assert_eq!(events_since(cim, raised, wanted.len()), wanted, "{name}");
    for (key, value) in sample["all_commit_keys"].as_object().unwrap() {
        assert_eq!(
            scene.etcd.get(key).as_deref(),
            value.as_str(),
            "{name}: {key}"
        );
    }
    if key.contains("/cim.json/") {
        assert_eq!(
            scene.app.requests(UPDATE).len(),
            told,
            "{name} is not for the application"
        );
    } else {
        let requests = scene.app.requests(UPDATE).split_off(told);
        assert_eq!(requests.len(), 1, "{name}");
        // Byte for byte, so the order of the members too.
        assert_eq!(
            request(&requests[0]),
            golden_request(&format!("5-config/{name}"))
        );
    }
}

#[test]
fn change_sets_go_their_way_as_with_the_original() {
    let running = Running::start(Scene::mounted);
    let at_first =
        String::from_utf8(golden("5-config/keys_at_subscription_mounted_cim_json.txt")).unwrap();
    eventually(PATIENCE, || running.scene.commit_keys() == at_first);
    for name in [
        "01_ms_success",
        "02_ms_failure",
        "03_ms_unused",
        "04_nf_success",
    ] {
        as_the_original(&running, name);
    }
    // The original's keys of 07 and 08 follow its 06, where the connection was refused.
    for name in ["07_self_log_level_without_configmap", "08_self_bad_patch"] {
        as_the_original(&running, name);
    }
    // 12: a value that is no patch is for the application to judge.
    assert_eq!(running.put(&app_key(503), "nonsense"), "503");
    let requests = running.scene.app.requests(UPDATE);
    assert_eq!(
        request(requests.last().unwrap()),
        golden_request("5-config/12_value_not_a_patch")
    );
}

/// better: the original takes an answer of 500 for a success, and waits for ever.
#[test]
fn an_application_that_answers_500_has_failed() {
    let running = Running::start(Scene::mounted);
    let Running { scene, cim } = &running;
    scene.app.on(UPDATE, Behaviour::Answer(500));
    assert_eq!(running.put(&app_key(105), "[]"), "-1");
    let requests = scene.app.wait_for(UPDATE, 1);
    assert_eq!(
        request(&requests[0]),
        golden_request("5-config/05_app_answers_500_no_reply")
    );
    let wanted = [
        "02_ms_failure_1_CimConfigUpdateFailure",
        "02_ms_failure_2_CimCommitConfigSuccess",
    ];
    let wanted = wanted.map(|name| golden_event(&format!("6-own-events/{name}")));
    assert_eq!(events_since(cim, 0, 2), wanted);
}

/// better: the original commits -1 at once (06). That ours does in the end: `a_refused_connection_is_retried_for_a_bounded_time`.
#[test]
fn a_refused_connection_is_tried_again_and_the_change_set_is_delivered_once() {
    let Running { mut scene, cim } = Running::start(Scene::mounted);
    eventually(PATIENCE, || scene.etcd.get(MS).is_some());
    scene.app.refuse();
    scene.etcd.put(&app_key(106), "[]");
    let tries = || own_log(&cim).matches("app.json/106: no connection").count();
    eventually(PATIENCE, || tries() >= 2);
    assert_eq!(
        scene.etcd.get(MS).as_deref(),
        Some("3"),
        "nothing is committed yet"
    );
    scene.app.restart();
    eventually(PATIENCE, || scene.etcd.get(MS).as_deref() == Some("106"));
    assert_eq!(scene.app.requests(UPDATE).len(), 1);
}

#[test]
fn a_config_map_that_a_registration_makes_has_a_commit_key_of_its_own() {
    let Running { scene, cim } = Running::start(Scene::options);
    let keys = |name: &str| String::from_utf8(golden(&format!("5-config/{name}"))).unwrap();
    let at_first = keys("keys_at_subscription_new_configmap.txt");
    eventually(PATIENCE, || scene.commit_keys() == at_first);
    assert!(
        scene
            .kube
            .object(&format!("/api/v1/namespaces/ns1/configmaps/{CONFIG_MAP}"))
            .is_some()
    );

    scene.etcd.put(
        &self_key(202),
        &patch(&[("cim_settings/log_level", "INFO".into())]),
    );
    let wanted = ["1_CimConfigUpdateSuccess", "2_CimCommitConfigSuccess"];
    let wanted = wanted.map(|name| {
        golden_event(&format!(
            "6-own-events/10_self_log_level_with_configmap_{name}"
        ))
    });
    assert_eq!(events_since(&cim, 0, 2), wanted);
    assert_eq!(
        scene.commit_keys(),
        keys("10_self_log_level_with_configmap.keys.txt")
    );
}

#[test]
fn the_revision_of_a_config_map_that_exists_is_committed_at_the_registration() {
    let scene = Scene::new();
    scene.kube.put_config_map(json!({
        "metadata": {"name": CONFIG_MAP, "namespace": "ns1"},
        "data": {"cim.json": json!({"cimConfig": {}}).to_string(), "revision": "7"},
    }));
    let cim = Cim::start(scene.options());
    eventually(PATIENCE, || {
        cim.get("/readyz")
            .text()
            .contains("watching change-set/ns1/ms1/")
    });
    assert_eq!(scene.commit_keys(), "", "nobody has registered");
    register(&cim);
    let at_first = String::from_utf8(golden(
        "5-config/keys_at_subscription_existing_configmap_revision_7.txt",
    ))
    .unwrap();
    eventually(PATIENCE, || scene.commit_keys() == at_first);
    register(&cim);
    scene.etcd.put(&self_key(8), "[]");
    eventually(PATIENCE, || {
        scene.commit_keys() == at_first.replace("\n7\n", "\n8\n")
    });
}

/// Reads from one, writes to nowhere.
struct Bytes<'a>(Cursor<&'a [u8]>);

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the original does here after 10 s, -1 for an application that never answers, is in
/// `no_answer_in_time_is_a_time_out` and `a_post_that_fails_is_a_failure_at_once`.
#[test]
fn http2_is_spoken_with_prior_knowledge() {
    let running = Running::start(|scene| scene.mounted().cim("app_settings.http2_enabled", true));
    let bytes = golden("5-config/11_http2_enabled_client_bytes.bin");
    let mut bytes = Bytes(Cursor::new(bytes.strip_prefix(PREFACE).unwrap()));
    let golden = H2Connection::default()
        .request(&mut bytes)
        .unwrap()
        .unwrap();
    let json: Value = serde_json::from_slice(&golden.body).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    assert_eq!(
        running.put(&text("change-set-key"), &text("config-patch")),
        text("revision")
    );
    let ours = running.scene.app.wait_for(UPDATE, 1).remove(0);
    for name in [":method", ":path", ":scheme", "content-type"] {
        let header = golden.headers.iter().find(|(n, _)| n == name);
        assert_eq!(
            ours.header(name),
            header.map(|(_, value)| value.as_str()),
            "{name}"
        );
    }
    assert_eq!(ours.body, golden.body);

    running.scene.app.on(UPDATE, Behaviour::CloseAfter);
    assert_eq!(running.put(&app_key(900), "[]"), "-1");
}

#[test]
fn an_application_that_accepts_and_never_answers_on_config_has_failed() {
    let running = Running::start(|scene| scene.mounted().env("CIM_CONFIG_REPLY_TIMEOUT", "1s"));
    running.scene.app.reply_nothing();
    assert_eq!(running.put(&app_key(111), "[]"), "-1");
    let failure = golden_event("6-own-events/02_ms_failure_1_CimConfigUpdateFailure");
    assert_eq!(events_since(&running.cim, 0, 2)[0], failure);
}

/// better: the original drops an answer whose revision is a number, ends on a short key, and commits answers for others.
#[test]
fn a_number_is_a_revision_and_what_is_short_or_foreign_is_passed_over() {
    let running = Running::start(Scene::mounted);
    let Running { scene, cim } = &running;
    scene.app.reply_with(
        cim.nats,
        Reply {
            number: true,
            ..Reply::of(ReplyStatus::Success)
        },
    );
    assert_eq!(running.put(&app_key(120), "[]"), "120");

    let skipped = |reason: &str| cim.metric("cim_config_skipped_total", &[("reason", reason)]);
    for short in [
        "change-set/ns1/ms1/",
        "change-set/ns1/ms1/v1/ms/121",
        "change-set/ns1/ms1/v1/ms/app.json/x",
        "change-set/ns1/ms1/v1/ms/a/b/121",
    ] {
        scene.etcd.put(short, "[]");
    }
    eventually(PATIENCE, || skipped("malformed_key") == 4.0);
    // Another microservice and another version are nobody's fault; they are others'.
    scene
        .etcd
        .put("change-set/ns1/ms1x/v1/ms/app.json/122", "[]");
    scene
        .etcd
        .put("change-set/ns1/ms1/v2/ms/app.json/122", "[]");

    scene.app.reply_nothing();
    let told = scene.app.requests(UPDATE).len();
    scene.etcd.put(&app_key(123), "[]");
    let change_set = scene.app.wait_for(UPDATE, told + 1).pop().unwrap().json();
    assert_eq!(change_set["change-set-key"], app_key(123));
    let mut wire = cim.client();
    let foreign = [
        app_key(122),
        app_key(120),
        "change-set/ns1/ms2/v1/ms/app.json/123".to_owned(),
    ];
    for key in foreign {
        let reply = Reply {
            key: Some(key),
            ..Reply::of(ReplyStatus::Failure)
        };
        wire.publish("CONFIG", &reply.message(&change_set));
    }
    for bad in [
        &b"{"[..],
        b"\xff",
        b"[]",
        b"{}",
        br#"{"change-set-key":1}"#,
        b"",
    ] {
        wire.publish("CONFIG", bad);
    }
    eventually(PATIENCE, || skipped("foreign_answer") == 3.0);
    assert_eq!(
        running.commits(),
        ["120"],
        "no answer is for the one that is waited for"
    );
    wire.publish(
        "CONFIG",
        &Reply::of(ReplyStatus::Success).message(&change_set),
    );
    eventually(PATIENCE, || running.commits() == ["120", "123"]);
    let others = scene
        .etcd
        .changes("commit-config/")
        .into_iter()
        .filter(|change| change.key != MS && change.key != NF);
    assert_eq!(others.count(), 0);
}

/// better: the original delivers each in a goroutine of its own, in any order.
#[test]
fn change_sets_that_come_at_one_time_are_delivered_in_etcds_order() {
    let running = Running::start(Scene::mounted);
    let Running { scene, .. } = &running;
    eventually(PATIENCE, || scene.etcd.get(MS).is_some());
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let etcd = &scene.etcd;
            scope.spawn(move || {
                for n in 0..15 {
                    let level = if n % 2 == 0 { "ms" } else { "nf" };
                    let number = 1000 + writer * 100 + n;
                    etcd.put(
                        &format!("change-set/ns1/ms1/v1/{level}/app.json/{number}"),
                        "[]",
                    );
                }
            });
        }
    });
    let told = scene.app.wait_for(UPDATE, 60);
    let told: Vec<_> = told
        .iter()
        .map(|request| request.change_set_key())
        .collect();
    let put: Vec<_> = scene
        .etcd
        .changes("change-set/")
        .into_iter()
        .map(|change| change.key)
        .collect();
    assert_eq!(told, put);
    let commits = || scene.etcd.changes("commit-config/").len() - 2;
    eventually(PATIENCE, || commits() == 60);
}

#[test]
fn a_change_of_cims_own_settings_takes_effect_at_once() {
    let running = Running::start(Scene::mounted);
    let Running { scene, cim } = &running;
    let log_level = |level: &str| patch(&[("cim_settings/log_level", level.into())]);
    assert_eq!(running.put(&self_key(11), &log_level("ERROR")), "11");
    assert_eq!(running.put(&app_key(12), "[]"), "12");
    assert_eq!(running.put(&self_key(13), &log_level("ALL")), "13");
    assert_eq!(running.put(&app_key(14), "[]"), "14");
    // The commit is told after it is in etcd.
    let committed = |number: u64| own_log(cim).contains(&format!("commit {MS} = {number}]"));
    eventually(PATIENCE, || committed(14));
    assert!(
        !own_log(cim).contains("app.json/12"),
        "nothing below ERROR is told"
    );

    let mut wire = cim.client();
    let mut publish = |line: &str| {
        wire.publish_log("app", "1", line.as_bytes());
        wire.ping_pong();
    };
    publish("into the file");
    assert_eq!(
        running.put(
            &self_key(15),
            &patch(&[("lmaas/logging_mode", "STDOUT".into())])
        ),
        "15"
    );
    publish("onto the console");
    eventually(PATIENCE, || cim.stdout.text().contains("onto the console"));
    assert_eq!(
        running.put(
            &self_key(16),
            &patch(&[
                ("lmaas/logging_mode", "FILE".into()),
                ("lmaas/max_file_size_in_mb", 1.into()),
                ("lmaas/max_backup_files", 1.into())
            ])
        ),
        "16"
    );
    assert!(!cim.stdout.text().contains("into the file"));
    let line = "x".repeat(100_000);
    for _ in 0..33 {
        publish(&line);
    }
    // Three files of 1 MiB would be there by now.
    let files = cim.files_of("app");
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() <= 1 << 20)
    );
    let text = String::from_utf8_lossy(&cim.text_of("app")).into_owned();
    assert!(!text.contains("onto the console"));

    let before = running.commits();
    assert_eq!(
        running.put(
            &self_key(17),
            &patch(&[("cim_settings/cim_file_log", false.into())])
        ),
        "17"
    );
    assert_eq!(running.put(&app_key(18), "[]"), "18");
    eventually(PATIENCE, || cim.stdout.text().contains("app.json/18"));
    assert!(!own_log(cim).contains("app.json/18"));
    assert_eq!(running.commits().len(), before.len() + 2);
    assert_eq!(scene.app.requests(UPDATE).len(), 3);
}

/// better: the original goes on with the old port.
#[test]
fn another_port_of_the_application_counts_from_the_next_call_on() {
    let running = Running::start(|scene| {
        scene
            .mounted()
            .env("CIM_APP_URL", "")
            .cim("app_settings.app_port", scene.app.port())
    });
    let other = TestApp::start_on(Ipv4Addr::LOCALHOST.into());
    other.reply_with(running.cim.nats, Reply::of(ReplyStatus::Success));
    assert_eq!(running.put(&app_key(11), "[]"), "11");
    assert_eq!(
        running.put(
            &self_key(12),
            &patch(&[("app_settings/app_port", other.port().into())])
        ),
        "12"
    );
    assert_eq!(running.put(&app_key(13), "[]"), "13");
    let numbers = |app: &TestApp| -> Vec<_> {
        app.requests(UPDATE)
            .iter()
            .map(|request| request.json()["revision"].clone())
            .collect()
    };
    assert_eq!(
        (numbers(&running.scene.app), numbers(&other)),
        (vec!["11".into()], vec!["13".into()])
    );
}

/// better: the original takes it, and commits the revision.
#[test]
fn a_value_outside_its_range_is_refused_and_changes_nothing() {
    let running = Running::start(Scene::mounted);
    let both = [
        ("cim_settings/cim_file_log", false.into()),
        ("lmaas/buffer_size", (-5).into()),
    ];
    assert_eq!(running.put(&self_key(130), &patch(&both)), "-1");
    let failure = golden_event("6-own-events/08_self_bad_patch_1_CimConfigUpdateFailure");
    assert_eq!(events_since(&running.cim, 0, 2)[0], failure);
    eventually(PATIENCE, || {
        own_log(&running.cim).contains("cim.json/130 changes nothing: the configuration would not be valid: cimConfig.lmaas.buffer_size")
    });
}

/// Every file below CIM's directory and all that it has printed, as one text.
fn everything(cim: &Cim) -> String {
    let mut text = cim.stdout.text() + &cim.stderr.text();
    let mut folders = vec![cim.dir().to_owned(), cim.log_dir.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    text
}

fn history(cim: &Cim, json: bool) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cim"));
    command.args(["history", "--server", &format!("http://{}", cim.http)]);
    if json {
        command.arg("--json");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_values_of_patches_are_never_shown() {
    const SECRET: &str = "hunter2-Xyzzy";
    let running = Running::start(Scene::mounted);
    let Running { scene, cim } = &running;
    let value = json!([{"op": "replace", "path": "/password", "value": SECRET}]).to_string();
    for (number, status) in [
        (11, ReplyStatus::Success),
        (12, ReplyStatus::Unused),
        (13, ReplyStatus::Failure),
    ] {
        scene.app.reply_with(cim.nats, Reply::of(status));
        running.put(&app_key(number), &value);
    }
    scene.app.on(UPDATE, Behaviour::Answer(500));
    running.put(&app_key(14), &value);
    scene.app.on(UPDATE, Behaviour::CloseAfter);
    running.put(&app_key(15), &value);
    running.put(&app_key(16), SECRET);
    // CIM's own: taken, out of range, another type, no patch, a test that fails, unknown members.
    let own = [
        json!([{"op": "add", "path": "/cimConfig/cim_settings/kafka_client_id", "value": SECRET}]),
        json!([{"op": "replace", "path": "/cimConfig/cim_settings/log_level", "value": SECRET}]),
        json!([{"op": "replace", "path": "/cimConfig/lmaas/buffer_size", "value": {"x": SECRET}}]),
        json!([{"op": SECRET}]),
        json!([{"op": "test", "path": "/cimConfig/lmaas/max_age", "value": SECRET}]),
        json!([{"op": "add", "path": "/cimConfig/haaas", "value": {"x": SECRET}}]),
        json!({"x": SECRET}),
    ];
    for (number, patch) in (20_u64..).zip(&own) {
        running.put(&self_key(number), &patch.to_string());
    }
    running.put(&self_key(30), SECRET);
    scene.etcd.put("change-set/ns1/ms1/v1/ms/1", SECRET);
    // The first configuration is as secret.
    scene
        .app
        .on("/api/v1/_operations/loadConfig", Behaviour::Answer(500));
    scene
        .etcd
        .put("config/ns1/ms1/2", &json!({"app.json": SECRET}).to_string());
    cim.client().publish_event("NotConfigured");
    let failed = [("event", "LoadConfigRequestFailure")];
    eventually(PATIENCE, || {
        cim.metric("cim_own_events_total", &failed) == 1.0
    });
    // A file that ends what patches have made: what was in force is not told either.
    cim.write_cim_json(&json!({"cimConfig": {"lmaas": {"max_age": 9}}}));
    cim.signal(Signal::HUP);
    eventually(PATIENCE, || own_log(cim).contains("settings read again: "));

    let (table, json) = (history(cim, false), history(cim, true));
    let answers = ["/metrics", "/readyz", "/healthz", HISTORY].map(|path| cim.get(path).text());
    let mut running = running;
    assert_eq!(running.cim.stop(Signal::TERM).code(), Some(0));
    let texts = [everything(&running.cim), table, json, answers.concat()];
    for text in &texts {
        let found = text.lines().find(|line| line.contains(SECRET));
        assert_eq!(found, None);
    }
    assert!(texts[0].contains(&app_key(11)), "keys are shown");
    assert!(texts[0].contains("settings read again: "));
}

#[test]
fn cim_history_prints_what_has_happened() {
    let running = Running::start(Scene::mounted);
    let Running { scene, cim } = &running;
    running.put(&app_key(7), "[]");
    running.put(&self_key(8), "nonsense");
    scene.app.on(UPDATE, Behaviour::Never);
    scene.etcd.put(&app_key(9), "[]");
    scene.app.wait_for(UPDATE, 2);
    let json: Value = serde_json::from_str(&history(cim, true)).unwrap();
    assert_eq!(json, cim.get(HISTORY).json());
    let list = json["change_sets"].as_array().unwrap();
    let order = ["seen", "sent", "answered", "committed"];
    let wanted = [
        (app_key(7), 7, json!("success"), &order[..]),
        (
            self_key(8),
            8,
            json!("self_refused"),
            &["seen", "sent", "committed"],
        ),
        (app_key(9), 9, Value::Null, &["seen", "sent"]),
    ];
    assert_eq!(list.len(), wanted.len());
    for (entry, (key, revision, outcome, times)) in list.iter().zip(wanted) {
        assert_eq!(
            (&entry["key"], &entry["revision"], &entry["outcome"]),
            (&json!(key), &json!(revision), &outcome)
        );
        let given = order.into_iter().filter(|name| entry[name].is_u64());
        assert_eq!(given.collect::<Vec<_>>(), times, "{entry}");
        let times: Vec<_> = times
            .iter()
            .map(|name| entry[name].as_u64().unwrap())
            .collect();
        assert!(times.is_sorted(), "{entry}");
    }
    let table = history(cim, false);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    for (line, words) in
        lines[1..]
            .iter()
            .zip([["7", "success"], ["8", "self_refused"], ["9", "-"]])
    {
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), words);
        assert!(line.contains("change-set/ns1/ms1/v1/ms/"));
    }
}
