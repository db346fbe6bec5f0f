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

fn patch(members: &[(&str, Value)]) -> Vec<u8> {
    let operation = |(member, value): &(&str, Value)| json!({"op": "replace", "path": format!("/cimConfig/lmaas/{member}"), "value": value});
    let operations: Vec<_> = members.iter().map(operation).collect();
    json!(operations).to_string().into_bytes()
}

fn config_map(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

#[test]
fn the_config_map_lies_between_the_mounted_file_and_the_shipped_one() {
    let dir = Dir::new();
    dir.write("shipped.json", buffer_size(2000));
    let store = dir.open();
    assert_eq!(store.config_map(), None);
    let text = config_map(&json!({"cimConfig": {
        "lmaas": {"buffer_size": 3000}, "cim_settings": {"enable_kpi": false},
    }}));
    let changes = store.put_config_map(Some(&text), "7").unwrap();
    assert_eq!(
        texts(&changes),
        [
            "cimConfig.lmaas.buffer_size: 2000 -> 3000",
            "cimConfig.cim_settings.enable_kpi: true -> false",
        ],
        "read for the first time, all of it is in force: CIM has only just started"
    );
    assert!(!store.load().cim.cim_settings.enable_kpi);
    assert_eq!(store.config_map().as_deref(), Some("7"));
    assert_eq!(source(&store, "buffer_size"), Source::ConfigMap);
    assert_eq!(source(&store, "max_age"), Source::BuiltIn);
    assert!(store.origin().contains("cim.json: ConfigMap"));
    assert_eq!(store.reload().unwrap(), [], "a re-read keeps it");

    dir.write("cim.json", buffer_size(4000));
    store.reload().unwrap();
    assert_eq!(store.load().cim.lmaas.buffer_size, 4000);
    let changed = store.put_config_map(Some(&config_map(&buffer_size(5000))), "8");
    assert_eq!(changed.unwrap(), [], "the mounted file wins");
    assert_eq!(store.config_map().as_deref(), Some("8"));
    dir.remove("cim.json");
    store.reload().unwrap();
    assert_eq!(store.load().cim.lmaas.buffer_size, 5000);
}

#[test]
fn a_config_map_beside_a_mounted_file_puts_nothing_in_force() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    dir.write(
        "cim.json",
        json!({"cimConfig": {"app_settings": {"http2_enabled": true}}}),
    );
    store.reload().unwrap();
    store.put_config_map(Some(b"{}"), "1").unwrap();
    assert!(
        !store.load().cim.app_settings.http2_enabled,
        "at the next start"
    );
}

#[test]
fn a_config_map_that_cannot_be_used_exists_all_the_same() {
    let dir = Dir::new();
    dir.write("shipped.json", buffer_size(2000));
    let large = vec![b' '; limits::CONFIG_FILE_BYTES as usize + 1];
    for text in [&b"{"[..], &config_map(&buffer_size(5)), &large] {
        let store = dir.open();
        store.put_config_map(Some(text), "7").unwrap_err();
        assert_eq!(store.load().cim.lmaas.buffer_size, 2000);
        assert_eq!(store.config_map().as_deref(), Some("7"));
        let asked = Overrides::read(Some(&json!({"max_age": 3})), None).unwrap();
        assert_eq!(store.apply_registration(&asked), Registered::ConfigMapWins);
    }
    let store = dir.open();
    assert_eq!(store.put_config_map(None, "").unwrap(), []);
    assert_eq!(store.config_map().as_deref(), Some(""));
}

#[test]
fn what_a_registration_asked_for_ends_when_the_config_map_appears() {
    let dir = Dir::new();
    let store = dir.open();
    let asked = Overrides::read(Some(&json!({"max_age": 3, "buffer_size": 2000})), None).unwrap();
    store.apply_registration(&asked);
    store
        .put_config_map(Some(&config_map(&buffer_size(3000))), "1")
        .unwrap();
    let lmaas = store.load().cim.lmaas.clone();
    assert_eq!((lmaas.buffer_size, lmaas.max_age), (3000, 7));
}

#[test]
fn tmaas_stands_in_for_common_infra_as_long_as_there_is_no_file() {
    let dir = Dir::new();
    let store = dir.open();
    assert!(store.lacks_infra());
    store.put_infra(b"{").unwrap_err();
    assert!(store.lacks_infra());
    let changes = store.put_infra(br#"{"etcd_url": "etcd:1"}"#).unwrap();
    assert_eq!(texts(&changes), ["etcd_url: (not set) -> etcd:1"]);
    assert!(!store.lacks_infra());
    assert_eq!(source(&store, "etcd_url"), Source::Tmaas);
    assert_eq!(source(&store, "log_format"), Source::BuiltIn);
    assert!(store.origin().contains("common-infra.json: TMaaS"));
    dir.write("infra.json", json!({"etcd_url": "file:1"}));
    store.reload().unwrap();
    assert_eq!(store.load().infra.etcd_url.as_deref(), Some("file:1"));
    assert_eq!(source(&store, "etcd_url"), Source::File);
    assert_eq!(store.put_infra(br#"{"etcd_url": "etcd:2"}"#).unwrap(), []);
    dir.remove("infra.json");
    store.reload().unwrap();
    assert_eq!(store.load().infra.etcd_url.as_deref(), Some("etcd:2"));
}

#[test]
fn a_patch_is_in_force_at_once_where_that_is_possible() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    let patch = json!([
        {"op": "replace", "path": "/cimConfig/lmaas/buffer_size", "value": 3000},
        {"op": "add", "path": "/cimConfig/lmaas/prefer_local_daemonset", "value": true},
        {"op": "add", "path": "/cimConfig/haaas", "value": {}},
    ]);
    let changes = store.patch(patch.to_string().as_bytes()).unwrap();
    assert_eq!(
        texts(&changes),
        [
            "cimConfig.lmaas.buffer_size: 2000 -> (by a change set)",
            "cimConfig.lmaas.prefer_local_daemonset: false -> (by a change set) (takes effect at the next start of CIM)",
        ]
    );
    let lmaas = store.load().cim.lmaas.clone();
    assert_eq!(
        (lmaas.buffer_size, lmaas.prefer_local_daemonset),
        (3000, false)
    );
    assert_eq!(source(&store, "buffer_size"), Source::ChangeSet);
    let next = json!([{"op": "add", "path": "/cimConfig/haaas/x", "value": 1}]);
    store.patch(next.to_string().as_bytes()).unwrap();
    assert_eq!(
        store.document().raw["cimConfig"]["haaas"]["x"],
        1,
        "on the patched document"
    );
}

#[test]
fn a_patch_that_fails_changes_nothing() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    let (before, document) = (store.load().clone(), store.document());
    for bad in [
        patch(&[("buffer_size", json!(3000)), ("max_age", json!(3))]),
        patch(&[("buffer_size", json!(-5))]),
        b"[".to_vec(),
    ] {
        store.patch(&bad).unwrap_err();
        assert_eq!(*store.load(), before);
        assert_eq!(store.document(), document);
    }
}

#[test]
fn a_patch_stands_until_what_it_was_made_from_changes() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    store
        .patch(&patch(&[("buffer_size", json!(3000))]))
        .unwrap();
    dir.write("infra.json", json!({"log_format": "text"}));
    assert_eq!(
        texts(&store.reload().unwrap()),
        ["log_format: json -> text"]
    );
    assert_eq!(
        store.load().cim.lmaas.buffer_size,
        3000,
        "the file is as it was"
    );
    dir.write(
        "cim.json",
        json!({"cimConfig": {"lmaas": {"buffer_size": 3000, "max_age": 3}}}),
    );
    assert_eq!(
        texts(&store.reload().unwrap()),
        ["cimConfig.lmaas.max_age: 7 -> 3"],
        "the writer has put the patched value into the file"
    );
    dir.write("cim.json", buffer_size(2000));
    store.reload().unwrap();
    assert_eq!(
        store.load().cim.lmaas.buffer_size,
        2000,
        "the patch has ended"
    );
}

#[test]
fn what_patches_have_made_of_the_files_is_never_shown() {
    let dir = Dir::new();
    dir.write("cim.json", buffer_size(2000));
    let store = dir.open();
    let port =
        json!([{"op": "add", "path": "/cimConfig/app_settings", "value": {"app_port": 12345}}]);
    store.patch(port.to_string().as_bytes()).unwrap();
    store
        .patch(&patch(&[("buffer_size", json!(3000))]))
        .unwrap();
    assert_eq!(store.load().cim.app_settings.app_port, 12345);
    assert_eq!(store.warnings(), [""; 0], "the port is unusual");
    dir.write("cim.json", buffer_size(2500));
    assert_eq!(
        texts(&store.reload().unwrap()),
        [
            "cimConfig.lmaas.buffer_size: (by a change set) -> 2500",
            "cimConfig.app_settings.app_port: (by a change set) -> 9999",
        ]
    );
}

#[test]
fn a_registration_goes_over_an_earlier_patch_and_keeps_the_rest_of_it() {
    let dir = Dir::new();
    dir.write(
        "shipped.json",
        json!({"cimConfig": {"lmaas": {"buffer_size": 2000, "max_age": 5}}}),
    );
    let store = dir.open();
    store
        .patch(&patch(&[
            ("buffer_size", json!(3000)),
            ("max_age", json!(3)),
        ]))
        .unwrap();
    for asked in [3, 4] {
        let asked = Overrides::read(Some(&json!({"max_age": asked})), None).unwrap();
        store.apply_registration(&asked);
    }
    let lmaas = store.load().cim.lmaas.clone();
    assert_eq!((lmaas.buffer_size, lmaas.max_age), (3000, 4));
}

#[test]
fn patched_members_stay_over_a_config_map_that_is_read_later() {
    let dir = Dir::new();
    dir.write(
        "shipped.json",
        json!({"cimConfig": {"lmaas": {"buffer_size": 2000, "max_age": 5}}}),
    );
    let store = dir.open();
    store
        .patch(&patch(&[("buffer_size", json!(3000))]))
        .unwrap();
    let text = config_map(&json!({"cimConfig": {"lmaas": {"buffer_size": 2500, "max_age": 6}}}));
    store.put_config_map(Some(&text), "1").unwrap();
    let lmaas = store.load().cim.lmaas.clone();
    assert_eq!((lmaas.buffer_size, lmaas.max_age), (3000, 6));
    store.put_config_map(Some(&text), "1").unwrap();
    assert_eq!(store.load().cim.lmaas.buffer_size, 3000, "the same again");
    store
        .put_config_map(Some(&config_map(&buffer_size(2600))), "2")
        .unwrap();
    assert_eq!(store.load().cim.lmaas.buffer_size, 2600);
}
