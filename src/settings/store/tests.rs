//! Which source wins, re-reads, registrations.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::settings::{CimConfig, LogFormat, LogLevel};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn files(&self) -> Files {
        let path = |name: &str| self.0.path().join(name);
        Files {
            cim: path("cim.json"),
            shipped: path("shipped.json"),
            infra: path("infra.json"),
        }
    }

    fn write(&self, name: &str, text: impl ToString) {
        fs::write(self.0.path().join(name), text.to_string()).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn open(&self) -> Store {
        Store::open(self.files(), InfraOverrides::default())
    }
}

fn buffer_size(bytes: i64) -> Value {
    json!({"cimConfig": {"lmaas": {"buffer_size": bytes}}})
}

fn source(store: &Store, name: &str) -> Source {
    let members = [store.cim_members(), store.infra_members()].concat();
    members
        .iter()
        .find(|m| m.name.ends_with(name))
        .unwrap()
        .source
}

fn texts(changes: &[Change]) -> Vec<String> {
    changes.iter().map(Change::to_string).collect()
}

#[test]
fn the_mounted_file_wins_over_the_shipped_one_and_that_over_the_defaults() {
    let dir = Dir::new();
    let store = dir.open();
    assert_eq!(store.load().cim, CimConfig::default());
    assert_eq!(source(&store, "buffer_size"), Source::BuiltIn);
    dir.write("shipped.json", buffer_size(2000));
    let store = dir.open();
    assert_eq!(store.load().cim.lmaas.buffer_size, 2000);
    assert_eq!(source(&store, "buffer_size"), Source::Shipped);
    assert_eq!(source(&store, "max_age"), Source::BuiltIn);
    dir.write("cim.json", buffer_size(3000));
    let store = dir.open();
    assert_eq!(store.load().cim.lmaas.buffer_size, 3000);
    assert_eq!(source(&store, "buffer_size"), Source::File);
    assert!(store.refused().is_empty());
}

#[test]
fn a_bad_file_is_refused_and_the_next_source_used() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(-5));
    dir.write("infra.json", "{");
    let store = dir.open();
    assert_eq!(store.load().cim, CimConfig::default());
    let refused = store.refused();
    assert_eq!(refused.len(), 2);
    assert!(refused[0].contains("cim.json: cimConfig.lmaas.buffer_size: -5 is not allowed; allowed: a whole number from 1000 to 100000"), "{refused:?}");
    assert!(
        refused[1].contains("infra.json: not valid JSON"),
        "{refused:?}"
    );
    dir.write("shipped.json", buffer_size(2000));
    let store = dir.open();
    assert_eq!(store.load().cim.lmaas.buffer_size, 2000);
    assert_eq!(store.refused().len(), 2);
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    let dir = Dir::new();
    fs::create_dir(dir.0.path().join("cim.json")).unwrap();
    let refused = dir.open().refused();
    assert!(
        refused[0].ends_with("cim.json: not a regular file"),
        "{refused:?}"
    );
}

#[test]
fn a_reload_says_what_changed_and_what_waits_for_the_next_start() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    assert_eq!(store.reload().unwrap(), []);
    let before = store.load().clone();
    dir.write(
        "cim.json",
        json!({"cimConfig": {
            "lmaas": {"buffer_size": 3000, "prefer_local_daemonset": true},
            "cim_settings": {"log_level": "ERROR", "enable_kpi": false, "kafka_client_id": "c"},
            "app_settings": {"http2_enabled": true},
        }}),
    );
    dir.write("infra.json", json!({"log_format": "text"}));
    let later = "(takes effect at the next start of CIM)";
    assert_eq!(
        texts(&store.reload().unwrap()),
        [
            "cimConfig.lmaas.buffer_size: 2000 -> 3000".to_owned(),
            format!("cimConfig.lmaas.prefer_local_daemonset: false -> true {later}"),
            format!("cimConfig.cim_settings.enable_kpi: true -> false {later}"),
            "cimConfig.cim_settings.log_level: ALL -> ERROR".to_owned(),
            format!("cimConfig.cim_settings.kafka_client_id: (not set) -> c {later}"),
            format!("cimConfig.app_settings.http2_enabled: false -> true {later}"),
            "log_format: json -> text".to_owned(),
        ]
    );
    let now = store.load();
    assert_eq!(now.cim.lmaas.buffer_size, 3000);
    assert_eq!(now.cim.cim_settings.log_level, LogLevel::Error);
    assert_eq!(now.infra.log_format, LogFormat::Text);
    assert!(now.cim.cim_settings.enable_kpi && !now.cim.app_settings.http2_enabled);
    assert!(!now.cim.lmaas.prefer_local_daemonset);
    assert_eq!(now.cim.cim_settings.kafka_client_id, None);
    assert_eq!(
        before.cim.lmaas.buffer_size, 2000,
        "a snapshot never changes"
    );
    assert_eq!(store.reload().unwrap(), [], "said once");
    assert!(store.document().config.app_settings.http2_enabled);
}

#[test]
fn a_reload_is_all_or_nothing_over_both_files() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    dir.write("infra.json", json!({"log_format": "text"}));
    let store = dir.open();
    let before = store.load().clone();
    for (cim, infra, error) in [
        (
            buffer_size(3000).to_string(),
            "{".to_owned(),
            "infra.json: not valid JSON",
        ),
        (
            buffer_size(3).to_string(),
            "{}".to_owned(),
            "buffer_size: 3 is not allowed",
        ),
        ("[]".to_owned(), "[]".to_owned(), "cim.json"),
    ] {
        dir.write("cim.json", cim);
        dir.write("infra.json", infra);
        let refused = store.reload().unwrap_err().to_string();
        assert!(refused.contains(error), "{refused}");
        assert_eq!(*store.load(), before);
        assert_eq!(store.document().config.lmaas.buffer_size, 2000);
    }
    dir.write("cim.json", buffer_size(3000));
    dir.write("infra.json", "{}");
    assert_eq!(store.reload().unwrap().len(), 2);
    dir.remove("cim.json");
    assert_eq!(
        texts(&store.reload().unwrap()),
        ["cimConfig.lmaas.buffer_size: 3000 -> 10000"],
        "a file that has gone is as one that was never there"
    );
}

#[test]
fn the_environment_wins_over_common_infra() {
    let dir = Dir::new();
    dir.write(
        "infra.json",
        json!({"etcd_url": "a:1", "kafka_brokers": ["b:1"]}),
    );
    let environment = InfraOverrides {
        etcd_url: Some(("e:1".to_owned(), Source::Environment)),
        kafka_brokers: None,
    };
    let store = Store::open(dir.files(), environment);
    assert_eq!(store.load().infra.etcd_url.as_deref(), Some("e:1"));
    assert_eq!(store.load().infra.kafka_brokers, ["b:1"]);
    assert_eq!(source(&store, "etcd_url"), Source::Environment);
    assert_eq!(source(&store, "kafka_brokers"), Source::File);
    dir.write("infra.json", json!({"etcd_url": "c:1"}));
    assert_eq!(
        texts(&store.reload().unwrap()),
        ["kafka_brokers: b:1 -> (not set)"]
    );
    assert_eq!(store.load().infra.etcd_url.as_deref(), Some("e:1"));
}

#[test]
fn a_registration_counts_only_without_a_mounted_file() {
    let asks = |lmaas: Value, app: Value| Overrides::read(Some(&lmaas), Some(&app)).unwrap();
    let dir = Dir::new();
    dir.write("cim.json", "bad");
    let store = dir.open();
    let first = asks(json!({"buffer_size": 2000}), json!({"http2_enabled": true}));
    assert_eq!(
        store.apply_registration(&first),
        Registered::FileWins,
        "a bad file is there too"
    );
    assert_eq!(store.load().cim, CimConfig::default());

    dir.remove("cim.json");
    dir.write("shipped.json", buffer_size(1500));
    let store = dir.open();
    let Registered::Applied(changes) = store.apply_registration(&first) else {
        panic!("no file");
    };
    assert_eq!(
        texts(&changes),
        [
            "cimConfig.lmaas.buffer_size: 1500 -> 2000",
            "cimConfig.app_settings.http2_enabled: false -> true",
        ],
        "in force at once, http2_enabled too"
    );
    assert!(store.load().cim.app_settings.http2_enabled);
    assert_eq!(source(&store, "buffer_size"), Source::Registration);

    let second = asks(json!({"buffer_size": 0, "max_age": 3}), json!(null));
    store.apply_registration(&second);
    assert_eq!(store.load().cim.lmaas.buffer_size, 2000, "kept");
    assert_eq!(store.load().cim.lmaas.max_age, 3);

    dir.write(
        "shipped.json",
        json!({"cimConfig": {"lmaas": {"buffer_size": 1600, "flush_timeout": 6}}}),
    );
    assert_eq!(
        texts(&store.reload().unwrap()),
        ["cimConfig.lmaas.flush_timeout: 30 -> 6"]
    );
    dir.write("cim.json", buffer_size(4000));
    let changes = texts(&store.reload().unwrap());
    assert_eq!(changes[0], "cimConfig.lmaas.max_age: 3 -> 7");
    assert!(changes.contains(&"cimConfig.lmaas.buffer_size: 2000 -> 4000".to_owned()));
    assert_eq!(source(&store, "buffer_size"), Source::File);
    assert_eq!(store.apply_registration(&second), Registered::FileWins);
}

#[test]
fn golden_registration_08_gives_the_cim_json_of_the_original() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/3-registration");
    let request =
        fs::read(golden.join("08_success_with_overrides_creates_configmap.request.raw")).unwrap();
    let body = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let body: Value = serde_json::from_slice(&request[body..]).unwrap();
    let post = fs::read(golden.join("08_configmap_post.pretty.json")).unwrap();
    let post: Value = serde_json::from_slice(&post).unwrap();
    let expected: Value = serde_json::from_str(post["data"]["cim.json"].as_str().unwrap()).unwrap();

    let dir = Dir::new();
    // The sample's shipped file keeps 20 backups.
    let mut shipped = CimDocument::built_in().raw;
    shipped["cimConfig"]["lmaas"]["max_backup_files"] = json!(20);
    dir.write("shipped.json", shipped);
    let store = dir.open();
    let overrides = Overrides::read(body.get("lmaas"), body.get("app_settings")).unwrap();
    assert!(matches!(
        store.apply_registration(&overrides),
        Registered::Applied(_)
    ));
    assert_eq!(store.document().raw, expected);
}
