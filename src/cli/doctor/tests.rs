//! What single probes find, and how it is printed.

use super::*;
use std::os::unix::fs::PermissionsExt;

use crate::limits::DOCTOR_FINDINGS;

/// What the probe `name` finds with these settings.
fn found(name: &str, variables: &[(&str, &str)]) -> Vec<Finding> {
    let given = Given::from_environment(variables.iter().copied());
    let host = Host {
        name: "box".to_owned(),
        ..Host::default()
    };
    let probes = probes(&given, &host);
    let probe = probes.into_iter().find(|probe| probe.name == name);
    let (sender, findings) = crossbeam_channel::bounded(DOCTOR_FINDINGS);
    let probe = probe.expect(name);
    (probe.run)(&Out::new(probe.name, sender));
    findings.try_iter().collect()
}

fn levels(findings: &[Finding]) -> Vec<Level> {
    findings.iter().map(|finding| finding.level).collect()
}

#[test]
fn a_finding_is_one_line_whatever_is_in_it() {
    let finding = Finding::failed("etcd", "no\nanswer \x1b[2J").advice("start it");
    assert_eq!(
        line(&finding, Style { colours: false }),
        "failed   etcd               no\\nanswer \\u{1b}[2J -> start it\n"
    );
    let coloured = line(&finding, Style { colours: true });
    assert!(coloured.starts_with("\x1b[31mfailed \x1b[0m  etcd"));
    assert!(!coloured.contains("[2J\x1b"));
}

#[test]
fn what_failed_decides_and_warnings_do_not() {
    let ok = Finding::new("a", Level::Ok, "x");
    let warning = Finding::new("a", Level::Warning, "x");
    let failed = Finding::failed("a", "x").advice("y");
    assert_eq!(verdict(std::slice::from_ref(&ok)), "All good.\n");
    let some = [ok, warning];
    assert!(is_good(&some));
    assert_eq!(verdict(&some), "Good; to look at: 1.\n");
    let all = [&some[..], &[failed]].concat();
    assert!(!is_good(&all));
    assert_eq!(verdict(&all), "Failed: 1; to look at: 1.\n");
    let json: serde_json::Value = serde_json::from_str(&as_json(&all)).unwrap();
    assert_eq!((&json["ok"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(json["findings"][2]["to_do"], "y");
    assert_eq!(json["findings"][2]["level"], "failed");
    assert!(json["findings"][0].get("to_do").is_none());
}

#[test]
fn directories_are_tried_and_left_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let logs = path("logs");
    let absent = found("log directory", &[("CIM_LOG_DIR", &logs)]);
    assert_eq!(absent[0].level, Level::Ok);
    assert!(absent[0].text.contains("not there yet"), "{absent:?}");
    std::fs::create_dir(&logs).unwrap();
    let there = found("log directory", &[("CIM_LOG_DIR", &logs)]);
    assert!(there[0].text.contains("writes"), "{there:?}");
    assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 0);

    let file = path("file");
    std::fs::write(&file, "").unwrap();
    let no_directory = found("log directory", &[("CIM_LOG_DIR", &file)]);
    assert_eq!(levels(&no_directory), [Level::Failed]);
    let below = path("file/below");
    let impossible = found("log directory", &[("CIM_LOG_DIR", &below)]);
    assert_eq!(levels(&impossible), [Level::Failed], "{impossible:?}");

    // The superuser may write everywhere but where nobody may.
    let sealed = path("sealed");
    std::fs::create_dir(&sealed).unwrap();
    std::fs::set_permissions(&sealed, PermissionsExt::from_mode(0o500)).unwrap();
    let sealed = if rustix::process::geteuid().is_root() {
        "/proc/1"
    } else {
        &sealed
    };
    let refused = found("log directory", &[("CIM_LOG_DIR", sealed)]);
    assert_eq!(levels(&refused), [Level::Failed], "{refused:?}");
    let to_do = refused[0].to_do.as_deref().unwrap();
    assert!(to_do.contains("CIM_LOG_DIR"), "{to_do}");
}

#[test]
fn a_port_is_free_or_somebody_elses() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let port = address.port().to_string();
    let greets = std::thread::spawn(move || {
        use std::io::Write;
        for greeting in [
            "SSH-2.0\r\n",
            "INFO {\"server_name\":\"n\",\"version\":\"2.11.0\",\"go\":\"go1.24\"}\r\n",
        ] {
            let (mut stream, _) = silent.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
        }
        drop(silent);
    });
    let of = |port: &str| found("NATS", &[("CIM_NATS_PORT", port)]);
    let foreign = of(&port);
    assert!(foreign[0].text.contains("no NATS server"), "{foreign:?}");
    let other = of(&port);
    assert!(other[0].text.contains("nats-server 2.11.0"), "{other:?}");
    assert_eq!(levels(&[foreign, other].concat()), [Level::Failed; 2]);
    greets.join().unwrap();
    assert_eq!(levels(&of(&port)), [Level::Ok]);
    assert_eq!(levels(&of("0")), [Level::Ok]);
    let elsewhere = found("NATS", &[("CIM_NATS_BIND", "192.0.2.1")]);
    assert!(
        elsewhere[0]
            .to_do
            .as_deref()
            .unwrap()
            .contains("CIM_NATS_BIND"),
        "{elsewhere:?}"
    );
}

#[test]
fn nobody_is_there_and_each_line_says_what_to_do() {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (etcd, app) = (free(), format!("http://{}", free()));
    let variables = [("CIM_ETCD_URL", etcd.as_str()), ("CIM_APP_URL", &app)];
    for (name, level) in [("etcd", Level::Failed), ("application", Level::Warning)] {
        let findings = found(name, &variables);
        assert_eq!(levels(&findings), [level], "{findings:?}");
        assert!(findings[0].to_do.is_some(), "{findings:?}");
    }
    let url = format!("nats://user:secret@{}", free());
    let external = found("NATS", &[("CIM_NATS_URL", &url)]);
    assert_eq!(levels(&external), [Level::Failed]);
    assert!(!external[0].text.contains("secret"), "{external:?}");
}

#[test]
fn standalone_nothing_is_missed_and_in_a_pod_it_is() {
    for name in ["etcd", "Kafka", "Kubernetes"] {
        assert_eq!(levels(&found(name, &[])), [Level::Ok], "{name}");
        let in_a_pod = found(name, &[("K8S_POD_ID", "p")]);
        assert_eq!(levels(&in_a_pod), [Level::Warning], "{name}: {in_a_pod:?}");
    }
    let wrong = found("settings", &[("CIM_NATS_MAX_PAYLOAD", "5")]);
    assert_eq!(levels(&wrong), [Level::Failed]);
}
