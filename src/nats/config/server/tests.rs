//! Whole configurations.

use std::io;

use super::*;

/// One file.
struct One(String);

impl Sources for One {
    fn file(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

fn read_text(text: &str) -> Result<ServerConfig, ConfigError> {
    ServerConfig::read(Path::new("nats.conf"), &One(text.to_owned()))
}

#[test]
fn everything_there_is() {
    let found = read_text(
        r#"
        listen: "localhost:5222"
        http: 127.0.0.1:8222
        https_port: 11522
        server_name: n1
        client_advertise: "example.org:4222"
        max_payload: 2mb
        max_control_line: 2048
        max_pending: 10MB
        max_connections: 5
        max_subs: 100
        ping_interval: "20s"
        ping_max: 3
        write_deadline: 2
        no_header_support: true
        no_auth_user: a
        allow_non_tls: true
        lame_duck_duration: "30s"
        lame_duck_grace_period: 10s
        debug: true
        logfile: /dev/null
        no_sys_acc: true
        Authorization { user a, password b }
        accounts { X { users [{user: c}] }, Y { users: [{user: d, pass: e}] } }
        tls {
          cert_file: ./cert.pem
          key_file: ./key.pem
          ca_file: ./ca.pem
          verify_and_map: true
          timeout: 0.5
          pinned_certs: ["bf6f821f09fde09451411ba3b42c0f74727d61a974c69fd3cf5257f39c75f0e9"]
          handshake_first: 300ms
          curve_preferences: [CurveP256]
        }"#,
    )
    .unwrap();
    let listen = |host: Option<&str>, port| Listen {
        host: host.map(str::to_owned),
        port,
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let expected = ServerConfig {
        host: Some("localhost".into()),
        port: Some(5222),
        http: Some(listen(Some("127.0.0.1"), 8222)),
        https: Some(listen(None, 11522)),
        server_name: Some("n1".into()),
        client_advertise: Some("example.org:4222".into()),
        max_payload: Some(2 << 20),
        max_control_line: Some(2048),
        max_pending: Some(10 << 20),
        max_connections: Some(5),
        max_subscriptions: Some(100),
        ping_interval: seconds(20),
        ping_max: Some(3),
        write_deadline: seconds(2),
        no_header_support: true,
        authorization: found.authorization.clone(),
        has_accounts: true,
        tls: Some(Tls {
            cert_file: "./cert.pem".into(),
            key_file: "./key.pem".into(),
            ca_file: Some("./ca.pem".into()),
            verify: true,
            map: true,
            pinned_certs: found.tls.clone().unwrap().pinned_certs,
            timeout: Some(Duration::from_millis(500)),
            handshake_first: true,
            handshake_fallback: Some(Duration::from_millis(300)),
        }),
        allow_non_tls: true,
        lame_duck_duration: seconds(30),
        lame_duck_grace_period: seconds(10),
    };
    assert_eq!(found, expected);
    let users = found.authorization.users.iter();
    assert_eq!(
        users.map(|user| user.name.as_str()).collect::<Vec<_>>(),
        ["a", "c", "d"]
    );
    assert_eq!(found.authorization.no_auth_user.as_deref(), Some("a"));
    assert_eq!(expected.tls.unwrap().pinned_certs.len(), 1);
    assert_eq!(read_text("").unwrap(), ServerConfig::default());
}

#[test]
fn addresses_and_bounds_have_several_forms() {
    let address = |text: &str| {
        let found = read_text(&format!("listen: {text}")).ok()?;
        Some((found.host, found.port?))
    };
    for (text, expected) in [
        ("4222", Some((None, 4222))),
        ("-1", Some((None, 0))),
        ("\"host:1\"", Some((Some("host"), 1))),
        ("127.0.0.1:-1", Some((Some("127.0.0.1"), 0))),
        ("\"[::1]:4222\"", Some((Some("::1"), 4222))),
        ("\":4222\"", Some((None, 4222))),
        ("\"::1:4222\"", None),
        ("host", None),
        ("\"host:\"", None),
        ("\"host:70000\"", None),
        ("70000", None),
        ("true", None),
    ] {
        let expected = expected.map(|(host, port)| (host.map(str::to_owned), port));
        assert_eq!(address(text), expected, "{text}");
    }
    let connections = |text: &str| {
        read_text(&format!("max_connections: {text}"))
            .unwrap()
            .max_connections
    };
    assert_eq!(connections("-1"), Some(0));
    assert_eq!(connections("0"), Some(0));
    assert_eq!(connections("7"), Some(7));
    assert_eq!(
        read_text("max_subscriptions: -1")
            .unwrap()
            .max_subscriptions,
        None
    );
    for (text, expected) in [
        ("true", (true, None)),
        ("off", (false, None)),
        ("\"on\"", (true, None)),
        ("auto", (true, Some(50))),
        ("1s", (true, Some(1000))),
    ] {
        let text = format!("tls {{cert_file a, key_file b, handshake_first: {text}}}");
        let tls = read_text(&text).unwrap().tls.unwrap();
        let expected = (expected.0, expected.1.map(Duration::from_millis));
        assert_eq!(
            (tls.handshake_first, tls.handshake_fallback),
            expected,
            "{text}"
        );
    }
}

#[test]
fn what_the_server_cannot_follow_is_refused() {
    for (text, expected) in [
        (
            "jetstream: enabled",
            "nats.conf:1: \"jetstream\" is not supported by this server",
        ),
        (
            "\ncluster { port: 1 }",
            "nats.conf:2: \"cluster\" is not supported",
        ),
        ("prot: 4222", "nats.conf:1: unknown key \"prot\""),
        ("port: 65536", "\"port\" must be a port"),
        ("port: x", "\"port\" must be an integer"),
        ("server_name: \"a b\"", "must be a name without blanks"),
        ("max_payload: 0", "between 1 and 999999999 bytes"),
        ("max_payload: 1gb", "between 1 and 999999999 bytes"),
        ("max_pending: -1", "a number of bytes"),
        ("ping_interval: often", "must be a duration"),
        ("ping_max: -1", "a number of PINGs"),
        ("debug: true\nno_header_support: 1", "must be true or false"),
        ("tls {}", "needs a cert_file and a key_file"),
        ("tls {cert_file a}", "needs a cert_file and a key_file"),
        (
            "tls {cert_file a, key_file b, pinned_certs: [00]}",
            "must be a text",
        ),
        (
            "tls {cert_file a, key_file b, pinned_certs: [\"00\"]}",
            "64 hexadecimal digits",
        ),
        (
            "tls {cert_file a, key_file b, cert_store: x}",
            "not supported",
        ),
        (
            "no_auth_user: guest",
            "\"no_auth_user\" must be one of the users",
        ),
        (
            "accounts { A { exports: [] } }",
            "\"exports\" is not supported",
        ),
        (
            "accounts { A { users: [{user: a}] }, B { users: [{user: a}] } }",
            "the user \"a\" is there twice",
        ),
        ("lame_duck_duration: \"29s\"", "at least 30 s"),
        (
            "lame_duck_duration: \"30s\", lame_duck_grace_period: \"30s\"",
            "shorter than lame_duck_duration",
        ),
        (
            "tls {cert_file a, key_file b, handshake_first: maybe}",
            "true, false, auto or a duration",
        ),
    ] {
        let error = read_text(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    // But as a variable any name will do.
    assert_eq!(read_text("p = 5\nport = $p").unwrap().port, Some(5));
}
