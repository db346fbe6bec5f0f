//! Every setting: default, range, source, and no secret anywhere.

use std::path::Path;

use clap::{Args, Command};

use super::*;
use crate::secret::Secret;
use crate::settings::Source;

fn from(variables: &[(&str, &str)]) -> Resolved {
    resolve(&Given::from_environment(variables.iter().copied()))
}

fn value<'a>(resolved: &'a Resolved, name: &str) -> &'a str {
    let shown = resolved.shown.iter().find(|s| s.name == name);
    shown.map_or("(absent)", |s| &s.value)
}

fn command() -> Command {
    OptionArgs::augment_args(Command::new("cim"))
}

#[test]
fn numbers_and_times_have_ranges_and_defaults() {
    for (name, default, low, high, below, above) in [
        (
            "CIM_NATS_MAX_PAYLOAD",
            "1048576",
            "1024",
            "1048576",
            "1023",
            "1048577",
        ),
        (
            "CIM_NATS_MAX_CONTROL_LINE",
            "4096",
            "512",
            "32768",
            "511",
            "65537",
        ),
        (
            "CIM_NATS_MAX_CONNECTIONS",
            "1024",
            "1",
            "65536",
            "0",
            "65537",
        ),
        (
            "CIM_NATS_MAX_PENDING",
            "8388608",
            "4096",
            "1073741824",
            "4095",
            "1073741825",
        ),
        (
            "CIM_NATS_MAX_PENDING_TOTAL",
            "16777216",
            "4096",
            "1073741824",
            "4095",
            "1073741825",
        ),
        (
            "CIM_NATS_PING_INTERVAL",
            "120s",
            "10ms",
            "3600s",
            "9ms",
            "3601s",
        ),
        ("CIM_NATS_PING_MAX", "2", "1", "100", "0", "101"),
        (
            "CIM_NATS_CONNECT_TIMEOUT",
            "2s",
            "10ms",
            "60s",
            "9ms",
            "61s",
        ),
        (
            "CIM_NATS_WRITE_DEADLINE",
            "10s",
            "10ms",
            "3600s",
            "9ms",
            "3601s",
        ),
        (
            "CIM_READ_COALESCE_US",
            "2000",
            "0",
            "100000",
            "-1",
            "100001",
        ),
    ] {
        assert_eq!(value(&from(&[]), name), default);
        let help = command().render_long_help().to_string();
        let own = help
            .split("--")
            .find(|part| part.contains(name))
            .unwrap_or_default();
        assert!(
            own.contains(&format!("[default: {default}]")),
            "{name}: {own}"
        );
        for good in [low, high] {
            // The other limits wide open, so that only the own range counts.
            let resolved = from(&[
                ("CIM_NATS_MAX_PAYLOAD", "1024"),
                ("CIM_NATS_MAX_CONTROL_LINE", "512"),
                ("CIM_NATS_MAX_PENDING", "1049088"),
                ("CIM_NATS_MAX_PENDING_TOTAL", "1073741824"),
                (name, good),
            ]);
            assert_eq!(value(&resolved, name), good, "{name}");
            if name != "CIM_NATS_MAX_PENDING_TOTAL" {
                let complaint = resolved.complaint();
                assert_eq!(
                    complaint.filter(|c| c.contains("number") || c.contains("time")),
                    None
                );
            }
        }
        for bad in [below, above, "x", "1.5", "99999999999999999999", "1 000"] {
            let resolved = from(&[(name, bad)]);
            let complaint = resolved.complaint().unwrap();
            assert!(
                complaint.starts_with(&format!("{name}: \"{bad}\" is not allowed; allowed: a ")),
                "{complaint}"
            );
            assert_eq!(value(&resolved, name), default, "{name}");
        }
        assert!(
            from(&[(name, "")]).problems.is_empty(),
            "empty is not given"
        );
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let small = from(&[("CIM_NATS_MAX_PENDING", "100000")]);
    assert!(small.complaint().unwrap().contains("at least one message"));
    let total = from(&[("CIM_NATS_MAX_PENDING_TOTAL", "2000000")]);
    assert!(
        total
            .complaint()
            .unwrap()
            .contains("at least CIM_NATS_MAX_PENDING: 8388608")
    );
    let ports = from(&[("CIM_REST_PORT", "4222")]);
    assert!(ports.complaint().unwrap().contains("another port"));
    assert!(
        from(&[("CIM_REST_PORT", "0"), ("CIM_NATS_PORT", "0")])
            .problems
            .is_empty()
    );
}

#[test]
fn times_have_units() {
    for (text, expected) in [
        ("1500ms", "1500ms"),
        ("90", "90s"),
        ("2m", "120s"),
        ("2 s", "2s"),
    ] {
        assert_eq!(
            value(
                &from(&[("CIM_NATS_PING_INTERVAL", text)]),
                "CIM_NATS_PING_INTERVAL"
            ),
            expected
        );
    }
    for bad in [
        "2h",
        "ms",
        "-1s",
        "1.5s",
        "99999999999999999999m",
        "307445734561825861m",
    ] {
        assert!(
            !from(&[("CIM_NATS_PING_INTERVAL", bad)]).problems.is_empty(),
            "{bad}"
        );
    }
}

#[test]
fn a_bad_port_in_the_environment_is_warned_about_and_on_the_command_line_refused() {
    for bad in ["x", "-1", "65536", "4222.0"] {
        let resolved = from(&[("CIM_NATS_PORT", bad), ("CIM_REST_PORT", bad)]);
        assert!(resolved.problems.is_empty());
        assert_eq!(
            (resolved.options.nats.port(), resolved.options.rest.port()),
            (4222, 6060)
        );
        assert_eq!(resolved.warnings.len(), 2, "{:?}", resolved.warnings);
        let flag = format!("--nats-port={bad}");
        let matches = command().try_get_matches_from(["cim", &flag]).unwrap();
        let resolved = resolve(&Given::from_matches(&matches));
        assert!(
            resolved.complaint().unwrap().starts_with("CIM_NATS_PORT"),
            "{bad}"
        );
    }
    let resolved = from(&[("CIM_NATS_PORT", "0"), ("CIM_REST_PORT", "65535")]);
    assert_eq!(
        (resolved.options.nats.port(), resolved.options.rest.port()),
        (0, 65535)
    );
}

#[test]
fn every_name_of_the_design_is_a_variable_with_the_same_named_flag() {
    let command = command();
    let args: Vec<_> = command.get_arguments().collect();
    for name in [
        "CIM_NATS_PORT",
        "CIM_REST_PORT",
        "CIM_NATS_BIND",
        "CIM_REST_BIND",
        "CIM_METRICS_BIND",
        "CIM_LOG_DIR",
        "CIM_STATE_DIR",
        "CIM_CONF_FILE",
        "CIM_SHIPPED_CONF_FILE",
        "CIM_INFRA_FILE",
        "CIM_SERVICE_ACCOUNT_DIR",
        "CIM_ETCD_URL",
        "CIM_KAFKA_BROKERS",
        "CIM_NATS_URL",
        "CIM_APP_URL",
        "CIM_KAFKA_OPTS",
    ] {
        let arg = args
            .iter()
            .find(|arg| arg.get_env().is_some_and(|env| env == name))
            .expect(name);
        let flag = name
            .trim_start_matches("CIM_")
            .to_lowercase()
            .replace('_', "-");
        assert_eq!(arg.get_long(), Some(flag.as_str()), "{name}");
    }
    // What is listed in the help is read, and what is read is in the help.
    let all: Vec<_> = args
        .iter()
        .map(|arg| arg.get_env().unwrap().to_str().unwrap())
        .collect();
    let resolved = resolve(&Given::from_environment(
        all.iter().map(|name| (*name, "\u{1}")),
    ));
    let mut seen: Vec<_> = resolved.shown.iter().map(|s| s.name.as_str()).collect();
    seen.extend(resolved.problems.iter().map(|p| p.path.as_str()));
    for name in &all {
        assert!(seen.contains(name), "{name} is not read");
    }
    for name in seen {
        assert!(all.contains(&name), "{name} has no flag");
    }
}

#[test]
fn the_command_line_wins_and_sources_are_told() {
    let matches = command()
        .try_get_matches_from(["cim", "--log-dir", "/x"])
        .unwrap();
    let resolved = resolve(&Given::from_matches(&matches));
    let shown = resolved
        .shown
        .iter()
        .find(|s| s.name == "CIM_LOG_DIR")
        .unwrap();
    assert_eq!(
        (shown.value.as_str(), shown.source),
        ("/x", Source::CommandLine)
    );
    assert_eq!(resolved.options.paths.state_dir, PathBuf::from("/x/.cim"));
    let resolved = from(&[("CIM_LOG_DIR", "/y")]);
    let shown = resolved
        .shown
        .iter()
        .find(|s| s.name == "CIM_LOG_DIR")
        .unwrap();
    assert_eq!(
        (shown.value.as_str(), shown.source),
        ("/y", Source::Environment)
    );
}

#[test]
fn standalone_keeps_its_files_in_cim_data_and_a_pod_in_opt() {
    let alone = from(&[]).options;
    assert!(alone.standalone);
    assert_eq!(alone.paths.log_dir, PathBuf::from("cim-data/logs"));
    assert_eq!(
        alone.paths.files.cim,
        PathBuf::from("cim-data/conf/cim.json")
    );
    let pod = from(&[("K8S_POD_ID", "p"), ("K8S_NAMESPACE", "n")]).options;
    assert!(!pod.standalone);
    assert_eq!(pod.paths.log_dir, PathBuf::from("/opt/logs"));
    assert_eq!(pod.paths.files.cim, PathBuf::from("/opt/conf/cim.json"));
    assert_eq!(
        pod.paths.files.shipped,
        PathBuf::from("/opt/config/cim.json")
    );
    assert_eq!(
        pod.paths.files.infra,
        PathBuf::from("/opt/conf/static/common-infra.json")
    );
}

#[test]
fn addresses_are_checked() {
    for (name, text, shown) in [
        ("CIM_NATS_BIND", "localhost", "127.0.0.1"),
        ("CIM_REST_BIND", "::1", "::1"),
        ("CIM_METRICS_BIND", "0.0.0.0:9090", "0.0.0.0:9090"),
        ("CIM_METRICS_BIND", ":9090", "0.0.0.0:9090"),
        ("CIM_METRICS_BIND", "[::]:0", "[::]:0"),
        ("CIM_ETCD_URL", "a:1,https://b:2", "a:1,https://b:2"),
        ("CIM_KAFKA_BROKERS", "a:1,b:2", "a:1,b:2"),
        ("CIM_APP_URL", "http://app:1", "http://app:1"),
        ("CIM_NATS_URL", "nats://h:1", "nats://h:1"),
        ("CIM_NATS_URL", "nats://u:p@h:1", "nats://***@h:1"),
        (
            "CIM_NATS_URL",
            "u:p@h:1, tls://i:2",
            "nats://***@h:1,tls://i:2",
        ),
        (
            "CIM_KAFKA_OPTS",
            "linger.ms=9, client.id=e=f",
            "linger.ms=***,client.id=***",
        ),
    ] {
        let resolved = from(&[(name, text)]);
        assert_eq!(resolved.complaint(), None);
        assert_eq!(value(&resolved, name), shown, "{name}");
    }
    for (name, text) in [
        ("CIM_NATS_BIND", "host"),
        ("CIM_NATS_BIND", "127.0.0.1:4222"),
        ("CIM_METRICS_BIND", "9090"),
        ("CIM_METRICS_BIND", "0.0.0.0"),
        ("CIM_ETCD_URL", "a"),
        ("CIM_KAFKA_BROKERS", "http://a:1"),
        ("CIM_APP_URL", "app:1"),
        ("CIM_NATS_URL", "http://h:1"),
        ("CIM_KAFKA_OPTS", "novalue"),
        ("CIM_KAFKA_OPTS", "no.such.key=1"),
        ("CIM_KAFKA_OPTS", "linger.ms=5,acks=1"),
        ("CIM_LOG_DIR", "a\nb"),
    ] {
        assert!(
            from(&[(name, text)]).complaint().unwrap().starts_with(name),
            "{name}"
        );
    }
    let open = from(&[("CIM_NATS_BIND", "0.0.0.0")]);
    assert!(open.warnings[0].contains("open to more than this pod"));
}

#[test]
fn credentials_come_from_files_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let user = [("CIM_NATS_USER", "u"), ("CIM_NATS_PASSWORD_FILE", path)];
    let token = [("CIM_NATS_TOKEN_FILE", path)];
    let gateway = [
        ("CIM_APIGW_USERNAME", "g"),
        ("CIM_APIGW_PASSWORD_FILE", path),
    ];
    let others = [
        ("CIM_KAFKA_OPTS", "sasl.password=hunter2"),
        ("CIM_NATS_URL", "nats://u:hunter2@h:1"),
    ];
    let bad = [
        ("CIM_KAFKA_OPTS", "linger.ms=hunter2"),
        ("CIM_NATS_URL", "nats://u:hunter2@h"),
        ("CIM_ETCD_URL", "http://u:hunter2@h:1"),
        ("CIM_APP_URL", "http://u:hunter2@h:1"),
    ];
    let all = [&user[..], &token, &gateway, &others, &bad].map(from);
    for resolved in &all {
        assert!(!format!("{resolved:?}{:?}", resolved.complaint()).contains("hunter2"));
    }
    let [user, token, gateway, others, bad] = &all;
    let secret = || Secret::new("hunter2");
    assert_eq!(user.options.nats_auth, Auth::user("u".into(), secret()));
    assert_eq!(token.options.nats_auth, Auth::token(secret()));
    assert_eq!(
        gateway
            .options
            .api_gateway
            .password
            .as_ref()
            .unwrap()
            .reveal(),
        "hunter2"
    );
    assert_eq!(others.options.kafka.opts[0].1.reveal(), "hunter2");
    assert_eq!(bad.problems.iter().count(), 4);
    for (variables, error) in [
        (
            vec![("CIM_NATS_USER", "u")],
            "CIM_NATS_USER: alone, it is not allowed; allowed: together with CIM_NATS_PASSWORD_FILE",
        ),
        (
            vec![("CIM_NATS_PASSWORD_FILE", path)],
            "CIM_NATS_PASSWORD_FILE: alone",
        ),
        (
            vec![
                ("CIM_NATS_USER", "u"),
                ("CIM_NATS_PASSWORD_FILE", path),
                ("CIM_NATS_TOKEN_FILE", path),
            ],
            "CIM_NATS_TOKEN_FILE: with CIM_NATS_USER",
        ),
        (
            vec![("CIM_NATS_TOKEN_FILE", "/nowhere/x")],
            "CIM_NATS_TOKEN_FILE: \"/nowhere/x\"",
        ),
    ] {
        let complaint = from(&variables).complaint().unwrap();
        assert!(complaint.contains(error), "{complaint}");
    }
}

#[test]
fn users_come_from_a_file_in_nats_servers_syntax_and_their_secrets_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.conf");
    let text = path.to_str().unwrap();
    let with = |content: &str| {
        std::fs::write(&path, content).unwrap();
        from(&[("CIM_NATS_AUTH_FILE", text)])
    };
    let good = with(
        r#"authorization { users = [ {user: app, password: hunter2, permissions: {publish: [LOG]}}, {user: ops, password: hunter2} ] }"#,
    );
    let Auth::Required(authorization) = &good.options.nats_auth else {
        panic!("{good:?}");
    };
    assert_eq!(authorization.users.len(), 2);
    let permissions = authorization.users[0].permissions.as_ref().unwrap();
    assert!(permissions.may_publish(b"LOG") && !permissions.may_publish(b"EVENT"));
    for bad in [
        "authorization { users = [ {user: app, password: hunter2 ",
        "authorization { user: app, hunter2: 5 }",
        "authorization { }",
        "",
    ] {
        let bad = with(bad);
        let complaint = bad.complaint().unwrap();
        assert!(complaint.contains("CIM_NATS_AUTH_FILE"), "{complaint}");
    }
    for resolved in [&good, &with("authorization { token: hunter2, x: y }")] {
        assert!(!format!("{resolved:?}{:?}", resolved.complaint()).contains("hunter2"));
    }
    let both = from(&[("CIM_NATS_AUTH_FILE", text), ("CIM_NATS_USER", "u")]);
    assert!(
        both.complaint()
            .unwrap()
            .contains("CIM_NATS_AUTH_FILE: with others")
    );
}

#[test]
fn only_true_makes_the_container_fields_mandatory() {
    for (text, on, warns) in [
        ("true", true, false),
        ("false", false, false),
        ("", false, false),
        ("yes", false, true),
    ] {
        let resolved = from(&[("CTR_FIELDS_MANDATORY", text)]);
        assert_eq!(resolved.options.ctr_fields_mandatory, on, "{text}");
        assert_eq!(!resolved.warnings.is_empty(), warns, "{text}");
        assert!(resolved.problems.is_empty());
    }
}

#[test]
fn the_settings_of_etcd_and_of_the_pods_revisions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let all = from(&[
        ("CIM_ETCD_USER", "u"),
        ("CIM_ETCD_PASSWORD_FILE", path),
        ("CIM_ETCD_CA_FILE", "ca.pem"),
        ("CIM_ETCD_CERT_FILE", "c.pem"),
        ("CIM_ETCD_KEY_FILE", "k.pem"),
        ("MS_CONFIG_REVISION", "7"),
        ("NF_CONFIG_REVISION", "seven"),
        ("KUBERNETES_SERVICE_HOST", "fd00::1"),
    ]);
    assert!(!format!("{all:?}").contains("hunter2"));
    let options = &all.options;
    let (user, password) = options.etcd.user.as_ref().unwrap();
    assert_eq!((user.as_str(), password.reveal()), ("u", "hunter2"));
    assert_eq!(options.etcd.password_file.as_deref(), Some(Path::new(path)));
    assert_eq!(options.etcd.key_file.as_deref(), Some(Path::new("k.pem")));
    let revisions = Revisions {
        ms: Some("7".into()),
        nf: Some("seven".into()),
    };
    assert_eq!(options.revisions, revisions);
    assert!(all.warnings[0].starts_with("NF_CONFIG_REVISION: \"seven\""));
    assert_eq!(options.kubernetes.0.as_deref(), Some("fd00::1"));
    assert!(options.delete_pod);
    assert!(!from(&[("CIM_DELETE_POD", "false")]).options.delete_pod);
    assert_eq!(options.end_after_app, None);
    let job = from(&[("CIM_END_AFTER_APP", "10s")]);
    assert_eq!(job.options.end_after_app, Some(Duration::from_secs(10)));
    for (variables, error) in [
        (
            vec![("CIM_ETCD_USER", "u")],
            "CIM_ETCD_USER: alone, it is not allowed",
        ),
        (
            vec![("CIM_ETCD_KEY_FILE", "k.pem")],
            "CIM_ETCD_KEY_FILE: alone, it is not allowed",
        ),
        (
            vec![("CIM_CONFIG_REPLY_TIMEOUT", "121s")],
            "CIM_CONFIG_REPLY_TIMEOUT: \"121s\" is not allowed",
        ),
        (
            vec![("CIM_END_AFTER_APP", "0")],
            "CIM_END_AFTER_APP: \"0\" is not allowed",
        ),
        (
            vec![("CIM_END_AFTER_APP", "10s"), ("CIM_NATS_URL", "h:1")],
            "CIM_END_AFTER_APP: it is not allowed",
        ),
        (
            vec![("CIM_APP_URL", "https://h:1")],
            "CIM_APP_URL: \"https://h:1\" is not allowed",
        ),
    ] {
        let complaint = from(&variables).complaint().unwrap();
        assert!(complaint.contains(error), "{complaint}");
    }
}

#[test]
fn an_external_nats_server_takes_the_place_of_the_embedded_one_and_of_its_settings() {
    let resolved = from(&[
        ("CIM_NATS_URL", "tls://t@h:1"),
        ("CIM_NATS_PORT", "4333"),
        ("CIM_NATS_TLS_CA_FILE", "/ca"),
    ]);
    assert_eq!(resolved.complaint(), None);
    assert!(resolved.options.nats_tls.is_none());
    let external = resolved.options.external.unwrap();
    assert_eq!(external.ca_file, Some(PathBuf::from("/ca")));
    assert_eq!(external.certificate, None);
    assert_eq!(external.servers[0].url, "tls://h:1");
    let expected = "CIM_NATS_PORT: not used together with CIM_NATS_URL";
    assert!(resolved.warnings.iter().any(|warning| warning == expected));
    let half = from(&[("CIM_NATS_URL", "h:1"), ("CIM_NATS_TLS_CERT_FILE", "/cert")]);
    assert!(half.complaint().unwrap().contains("CIM_NATS_TLS_KEY_FILE"));
}
