//! What is shown of a document.

use super::*;
use serde_json::json;

fn document() -> Value {
    json!({
        "time": 1_795_392_944_000_u64, "status": "not ready", "failure": null, "logging_mode": "TCP",
        "cim": {"version": "0.1.0", "uptime_seconds": 3700, "resident_bytes": 9_437_184, "nats": "127.0.0.1:4222", "log_dir": "/opt/logs"},
        "identity": {"pod": "cnf-0\u{1b}[2J", "namespace": "ns1"},
        "parts": {
            "nats": {"state": "not ready", "needed": true, "reason": "gone"},
            "etcd": {"state": "not ready", "needed": false, "reason": "refused"},
            "http": {"state": "ready", "needed": true, "reason": "listening"},
            "kafka": {"state": "disabled", "needed": false, "reason": "no brokers"},
        },
        "totals": {"lines": 1_234_567, "events": 2, "change_sets": 1, "dropped": 3},
        "dropped": {"lines: no_space": 3},
        "rates": {"until": 1, "seconds": [10.0, 10.0, 20.0], "lines": [0, 5, 100], "events": [0, 0, 2], "change_sets": [0, 0, 0], "dropped": [3, 0, 0]},
        "backlogs": {
            "journal": {"records": 0, "bytes": 0, "bytes_max": 1, "oldest_seconds": null},
            "log_lines": {"records": 7, "bytes": 2048, "oldest_seconds": 90_061.5, "lost": 0},
            "set_aside": 1,
        },
        "containers": {"total": 70, "shown": (0..9).map(|n| json!({
            "name": format!("{n}{}", "x".repeat(40)), "id": "", "lines": 4, "last": 1_795_392_940_000_u64, "file_state": "failing", "file_bytes": 10,
        })).collect::<Vec<_>>()},
        "connections": {"total": 1, "connections": [{"name": "app", "in_msgs": 5, "out_msgs": 6, "pending_bytes": 0, "lang": "go", "version": "1.48.0"}]},
        "change_sets": [{"key": "k/1", "revision": 1, "seen": 1000, "outcome": "success"}, {"key": "k/2", "revision": 2, "seen": 2000, "outcome": null}],
        "log": [{"level": "WARNING", "time": "2026-11-23T00:00:00.000000001Z", "text": "w\u{7}"}],
    })
}

#[test]
fn the_page_of_a_document() {
    let text = page(&document(), Style { colours: false });
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{7}'),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let plain = page(&document(), Style { colours: false });
    let coloured = page(&document(), Style { colours: true });
    assert!(
        coloured.contains("\x1b[31mnot ready \x1b[0m gone"),
        "{coloured}"
    );
    assert!(
        coloured.contains("\x1b[33mnot ready \x1b[0m refused"),
        "{coloured}"
    );
    let mut stripped = String::new();
    for piece in coloured.split("\x1b[") {
        let text = piece
            .split_once('m')
            .filter(|(code, _)| code.parse::<u8>().is_ok());
        stripped.push_str(text.map_or(piece, |(_, text)| text));
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_document_with_nothing_in_it_is_no_trouble() {
    for document in [
        json!({}),
        json!({"parts": {"x": 1}, "rates": {"lines": [1, "x"]}, "containers": [], "log": {}}),
    ] {
        let text = page(&document, Style { colours: true });
        assert!(text.contains("PART"), "{text}");
    }
}

#[test]
fn numbers_have_units() {
    assert_eq!(
        [0.0, 1023.0, 1536.0, 1_048_576.0, 5e9].map(bytes),
        ["0 B", "1023 B", "1.5 KiB", "1.0 MiB", "4.7 GiB"]
    );
    assert_eq!(
        [0.0, 59.9, 61.0, 3700.0, 90_061.0].map(span),
        ["0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    );
    assert_eq!(
        [0.0, 0.25, 9.94, 1234.5].map(rate),
        ["0", "0.2", "9.9", "1234"]
    );
}
