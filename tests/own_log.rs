//! CIM's own log as the process's logger: attach, level at run time, `cim_file_log`, detach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use cim::metrics::Metrics;
use cim::own_log::{OwnLine, OwnLog};
use cim::settings::reread::reread;
use cim::settings::{CimSettings, Files, InfraOverrides, LogLevel, Store};
use crossbeam_channel::{Receiver, bounded};

fn texts(lines: &Receiver<OwnLine>) -> Vec<String> {
    let text = |OwnLine(line)| {
        let line = String::from_utf8(line).unwrap();
        let (level, rest) = line.split_once("] : ").unwrap();
        let (_, text) = rest.split_once(" -> [").unwrap();
        format!("{} {}", &level[1..], text.strip_suffix(']').unwrap())
    };
    lines.try_iter().map(text).collect()
}

/// One call site for each level, all with a target of CIM's.
fn log_everything() {
    log::trace!(target: "cim::x", "t");
    log::debug!(target: "cim::x", "d");
    log::info!(target: "cim::x", "i");
    log::warn!(target: "cim::x", "w");
    log::error!(target: "cim::x", "e");
    cim::exception!("x {}", 1);
    log::debug!(target: "foreign", "not ours");
}

// One test: a process has one logger.
#[test]
fn the_log_follows_its_settings_while_it_runs() {
    let log = OwnLog::start(LogLevel::Info, None).unwrap();
    assert!(OwnLog::start(LogLevel::Info, None).is_err());
    let (sender, lines) = bounded(100);
    log::info!("to the console");
    assert!(lines.is_empty());

    log.attach(sender);
    log_everything();
    assert_eq!(
        texts(&lines),
        ["INFO i", "WARNING w", "ERROR e", "EXCEPTION x 1"]
    );

    let apply = |log_level, cim_file_log| {
        log.apply(&CimSettings {
            log_level,
            cim_file_log,
            ..CimSettings::default()
        });
    };
    apply(LogLevel::Exception, true);
    log_everything();
    assert_eq!(texts(&lines), ["EXCEPTION x 1"]);

    apply(LogLevel::All, true);
    log_everything();
    assert_eq!(
        texts(&lines),
        [
            "DEBUG t",
            "DEBUG d",
            "INFO i",
            "WARNING w",
            "ERROR e",
            "EXCEPTION x 1"
        ]
    );

    apply(LogLevel::All, false);
    log_everything();
    assert!(lines.is_empty());

    // SIGHUP: told at whichever level lets more through.
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = Files {
        cim: path("cim.json"),
        shipped: path("shipped.json"),
        infra: path("infra.json"),
    };
    let metrics = Metrics::new("p").unwrap();
    apply(LogLevel::All, true);
    let store = Store::open(files, InfraOverrides::default());
    let change = "settings read again: cimConfig.cim_settings.log_level";
    for (file, told, count) in [
        (
            r#"{"log_level":"ERROR"}"#,
            format!("INFO {change}: ALL -> ERROR"),
            ("changed", 1),
        ),
        (
            "7",
            "ERROR settings read again: the settings stay as they are".to_owned(),
            ("refused", 1),
        ),
        (
            r#"{"log_level":"INFO"}"#,
            format!("INFO {change}: ERROR -> INFO"),
            ("changed", 2),
        ),
        (
            r#"{"log_level":"INFO"}"#,
            "INFO settings read again: nothing changed".to_owned(),
            ("unchanged", 1),
        ),
    ] {
        std::fs::write(
            path("cim.json"),
            format!(r#"{{"cimConfig":{{"cim_settings":{file}}}}}"#),
        )
        .unwrap();
        reread(&store, &log, &metrics);
        let texts = texts(&lines);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].starts_with(&told), "{texts:?}");
        assert_eq!(
            metrics.config_reloads.with_label_values(&[count.0]).get(),
            count.1
        );
    }

    apply(LogLevel::All, true);
    log::info!("first\nsecond");
    assert_eq!(texts(&lines), ["INFO first\\nsecond"]);
    log.detach();
    log_everything();
    assert!(lines.is_empty());
    assert!(lines.recv().is_err(), "the sender has gone");
}
