//! Every member at, within and beyond its range, and with wrong types.

use super::*;
use serde_json::json;

fn member(name: &str) -> &'static Member {
    MEMBERS.iter().find(|m| m.name == name).unwrap()
}

#[test]
fn every_number_is_taken_within_its_range_and_refused_next_to_it() {
    for (name, low, high, default, at_run_time) in [
        ("max_file_size_in_mb", 1_i64, 50_i64, 10, true),
        ("max_backup_files", 1, 20, 10, true),
        ("max_age", 1, 30, 7, true),
        ("buffer_size", 1000, 100_000, 10_000, true),
        ("flush_timeout", 5, 30, 30, true),
        ("num_garp_count", 0, 5, 1, true),
        ("remote_svc_retry_count", 1, 600, 60, true),
        ("ttl_timeout", 1, 600, 1, true),
        ("app_port", 1, 65_535, 9999, true),
    ] {
        let member = member(name);
        assert_eq!(member.get(&CimConfig::default()), json!(default), "{name}");
        assert_eq!(member.at_run_time, at_run_time, "{name}");
        for value in [low, high] {
            let mut config = CimConfig::default();
            assert_eq!(member.set(&mut config, &json!(value)), Ok(()), "{name}");
            assert_eq!(member.get(&config), json!(value), "{name}");
        }
        for value in [
            json!(low - 1),
            json!(high + 1),
            json!(i64::MIN),
            json!(u64::MAX),
        ] {
            let mut config = CimConfig::default();
            let result = member.set(&mut config, &value);
            assert_eq!(result, Err(Wrong::Range), "{name} {value}");
            assert_eq!(config, CimConfig::default(), "{name} {value}");
        }
        for value in [
            json!("7"),
            json!(7.5),
            json!(7.0),
            json!(null),
            json!([7]),
            json!({}),
            json!(true),
        ] {
            let mut config = CimConfig::default();
            let result = member.set(&mut config, &value);
            assert_eq!(result, Err(Wrong::Type), "{name} {value}");
            assert_eq!(config, CimConfig::default(), "{name} {value}");
        }
    }
}

#[test]
fn booleans_choices_and_texts_take_what_they_may() {
    let text = json!("x".repeat(limits::CONFIG_TEXT_BYTES));
    let long = json!("x".repeat(limits::CONFIG_TEXT_BYTES + 1));
    for (name, good, range, at_run_time) in [
        (
            "prefer_local_daemonset",
            vec![json!(true), json!(false)],
            vec![],
            false,
        ),
        ("enable_kpi", vec![json!(true), json!(false)], vec![], false),
        (
            "cim_file_log",
            vec![json!(true), json!(false)],
            vec![],
            true,
        ),
        (
            "http2_enabled",
            vec![json!(true), json!(false)],
            vec![],
            false,
        ),
        (
            "logging_mode",
            ["FILE", "TCP", "KAFKA", "STDOUT", "FILEANDSTDOUT"]
                .map(|m| json!(m))
                .to_vec(),
            vec![json!("file"), json!(""), json!("FILE ")],
            true,
        ),
        (
            "log_level",
            ["ALL", "DEBUG", "INFO", "WARNING", "ERROR", "EXCEPTION"]
                .map(|m| json!(m))
                .to_vec(),
            vec![json!("TRACE"), json!("")],
            true,
        ),
        (
            "kafka_client_id",
            vec![text, json!("a b")],
            vec![long, json!("a\nb")],
            false,
        ),
    ] {
        let member = member(name);
        assert_eq!(member.at_run_time, at_run_time, "{name}");
        for value in good {
            let mut config = CimConfig::default();
            assert_eq!(member.set(&mut config, &value), Ok(()), "{name} {value}");
            assert_eq!(member.get(&config), value, "{name}");
            let mut copy = CimConfig::default();
            member.copy(&config, &mut copy);
            assert_eq!(copy, config, "{name} {value}");
        }
        for value in range {
            let result = member.set(&mut CimConfig::default(), &value);
            assert_eq!(result, Err(Wrong::Range), "{name} {value}");
        }
        for value in [json!(1), json!(null), json!([]), json!({})] {
            let result = member.set(&mut CimConfig::default(), &value);
            assert_eq!(result, Err(Wrong::Type), "{name} {value}");
        }
    }
    let mut config = CimConfig::default();
    assert_eq!(
        member("kafka_client_id").set(&mut config, &json!("")),
        Ok(())
    );
    assert_eq!(config.cim_settings.kafka_client_id, None);
}

#[test]
fn an_application_port_outside_the_usual_ones_is_warned_about() {
    for (port, warned) in [(4999, true), (5000, false), (10_000, false), (10_001, true)] {
        let mut config = CimConfig::default();
        config.app_settings.app_port = port;
        assert_eq!(
            member("app_port").warning(&config).is_some(),
            warned,
            "{port}"
        );
    }
}

#[test]
fn an_error_names_path_value_and_what_is_allowed() {
    assert_eq!(
        member("buffer_size").problem(&json!(-5)).to_string(),
        "cimConfig.lmaas.buffer_size: -5 is not allowed; allowed: a whole number from 1000 to 100000 (bytes)"
    );
    assert_eq!(
        member("logging_mode").problem(&json!("DISK")).to_string(),
        "cimConfig.lmaas.logging_mode: \"DISK\" is not allowed; allowed: one of FILE TCP KAFKA STDOUT FILEANDSTDOUT"
    );
}
