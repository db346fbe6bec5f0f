//! Tests of the files: what is taken, and what an error says.

use std::fs;

use super::*;

#[test]
fn files_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (pair(), pair());
    fs::write(path("cert"), own.cert.pem()).unwrap();
    fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
    fs::write(path("other key"), other.signing_key.serialize_pem()).unwrap();
    fs::write(path("text"), "none").unwrap();
    let load = |cert: &str, key: &str, ca: Option<&str>, verify: bool| {
        let options = TlsOptions {
            ca_file: ca.map(path),
            verify,
            ..TlsOptions::new(path(cert), path(key))
        };
        Tls::load(options).map_err(|error| error.to_string())
    };
    for ca in [None, Some("cert")] {
        load("cert", "key", ca, ca.is_some()).unwrap();
    }
    for (cert, key, ca, verify, expected) in [
        (
            "missing",
            "key",
            None,
            false,
            "missing: the file does not exist",
        ),
        (
            "cert",
            "missing",
            None,
            false,
            "missing: the file does not exist",
        ),
        ("text", "key", None, false, "text: no usable certificate"),
        ("cert", "text", None, false, "text: no usable private key"),
        ("cert", "other key", None, false, "cannot be used together"),
        (
            "cert",
            "key",
            Some("text"),
            true,
            "text: no usable certificate",
        ),
        (
            "cert",
            "key",
            Some("missing"),
            true,
            "missing: the file does not exist",
        ),
        ("cert", "key", None, true, "no file says which authorities"),
    ] {
        let error = load(cert, key, ca, verify).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_that_have_become_bad_leave_what_was_read_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
    let write = || {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&cert, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    };
    write();
    let tls = Tls::load(TlsOptions::new(&cert, &key)).unwrap();
    let first = tls.config();
    fs::write(&key, "").unwrap();
    tls.reload().unwrap_err();
    assert!(Arc::ptr_eq(&first, &tls.config()));
    write();
    tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.config()));
}
