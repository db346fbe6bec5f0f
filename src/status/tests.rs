//! The document's members and their bounds.

use super::*;
use crate::limits::RATE_STEP;
use crate::logs::board::FileState;
use crate::logs::container::Containers;
use crate::settings::{Settings, Source};

struct Bench {
    status: Status,
    health: Health,
    settings: Store,
    history: Mutex<History>,
    start: Instant,
}

impl Bench {
    fn new(sources: Sources) -> Self {
        let (metrics, start) = (Arc::new(Metrics::new("p").unwrap()), Instant::now());
        Self {
            status: Status::new(sources, metrics, start),
            health: Health::new(),
            settings: Store::new(Settings::default()),
            history: Mutex::default(),
            start,
        }
    }

    fn document(&self) -> Value {
        let shared = Shared {
            health: &self.health,
            settings: &self.settings,
            history: &self.history,
        };
        self.status.document(&shared, self.start + RATE_STEP)
    }
}

#[test]
fn the_document_has_its_members() {
    let bench = Bench::new(Sources::default());
    let document = bench.document();
    let members: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "time",
            "status",
            "failure",
            "cim",
            "identity",
            "logging_mode",
            "parts",
            "totals",
            "dropped",
            "rates",
            "backlogs",
            "containers",
            "change_sets",
            "event_subscriptions",
            "settings",
            "log"
        ]
    );
    assert_eq!(document["cim"]["uptime_seconds"], 10);
    assert_eq!(document["logging_mode"], "FILE");
    assert_eq!(document["settings"]["cim"], json!([]));
    assert_eq!(document["dropped"], json!({}));
    assert!(document["backlogs"]["journal"]["oldest_seconds"].is_null());
    let parts = document["parts"].as_object().unwrap();
    assert_eq!(parts.len(), Part::ALL.len());
}

#[test]
fn the_status_is_that_of_the_parts_until_a_thread_has_died() {
    let bench = Bench::new(Sources::default());
    assert_eq!(bench.document()["status"], "not ready");
    bench.health.set(Part::Nats, State::Ready, "listening");
    bench.health.set(Part::Http, State::Ready, "");
    assert_eq!(bench.document()["status"], "ready");
    assert_eq!(
        bench.document()["parts"]["nats"],
        json!({"state": "ready", "needed": true, "reason": "listening"})
    );
    bench.health.fail("thread x panicked");
    let document = bench.document();
    assert_eq!(document["status"], "failed");
    assert_eq!(document["failure"], "thread x panicked");
}

#[test]
fn a_point_is_added_once_a_step() {
    let mut bench = Bench::new(Sources::default());
    let points = |bench: &Bench| bench.document()["rates"]["lines"].clone();
    bench.status.metrics.lines_in.inc_by(3);
    let due = bench.start + RATE_STEP;
    assert_eq!(bench.status.tick(bench.start), due);
    assert_eq!(points(&bench), json!([3]), "the step under way");
    assert_eq!(bench.status.tick(due), due + RATE_STEP);
    assert_eq!(bench.status.tick(due), due + RATE_STEP);
    assert_eq!(
        points(&bench),
        json!([3]),
        "the document is of the same moment"
    );
    assert_eq!(bench.document()["totals"]["lines"], 3);
}

#[test]
fn containers_settings_and_log_lines_are_shown() {
    let mut containers = Containers::new("p", "n");
    let hostile = format!("<img src=x>\u{1b}[2J{}", "é".repeat(100));
    let container = containers.get(hostile.as_bytes(), b"\xff", Instant::now());
    container.figures.came(4, 77);
    container.figures.wrote(3, Some(100));
    container.figures.file_is(FileState::Held);
    let recent = Recent::default();
    recent.keep("[WARNING] : 2026-11-23T00:00:00.000000001 -> [a -> [b]]");
    recent.keep("[ERROR] : 2026-11-23T00:00:00.000000001 -> [cut");
    let setting = Shown {
        name: "CIM_X".into(),
        value: "***".into(),
        source: Source::Environment,
    };
    let bench = Bench::new(Sources {
        board: containers.board(),
        recent: Arc::new(recent),
        fixed: Fixed {
            settings: vec![setting],
            ..Fixed::default()
        },
        ..Sources::default()
    });
    let document = bench.document();
    let shown = &document["containers"]["shown"][0];
    let text = shown["name"].as_str().unwrap();
    assert!(
        text.starts_with("<img src=x>\\u{1b}[2Jé") && text.ends_with("é…"),
        "{text}"
    );
    assert_eq!(shown["id"], "\u{fffd}");
    assert_eq!(
        (
            &shown["lines"],
            &shown["last"],
            &shown["file_lines"],
            &shown["file_state"]
        ),
        (&json!(4), &json!(77), &json!(3), &json!("waiting"))
    );
    assert_eq!(
        document["log"],
        json!([
            {"level": "WARNING", "time": "2026-11-23T00:00:00.000000001Z", "text": "a -> [b]"},
            {"level": "ERROR", "time": "2026-11-23T00:00:00.000000001Z", "text": "cut"},
        ])
    );
    assert_eq!(
        document["settings"]["cim"],
        json!([{"name": "CIM_X", "value": "***", "source": "environment"}])
    );
}

#[test]
fn the_document_of_a_crowd_is_bounded() {
    let mut containers = Containers::new("p", "n");
    for n in 0..2 * STATUS_CONTAINERS {
        let name = format!("{n}{}", "\u{1}".repeat(1000));
        let container = containers.get(name.as_bytes(), name.as_bytes(), Instant::now());
        container.figures.came(1, n as u64);
    }
    let bench = Bench::new(Sources {
        board: containers.board(),
        ..Sources::default()
    });
    let document = bench.document();
    assert_eq!(document["containers"]["total"], 2 * STATUS_CONTAINERS);
    let shown = document["containers"]["shown"].as_array().unwrap();
    assert_eq!(shown.len(), STATUS_CONTAINERS);
    assert!(document.to_string().len() < 512 << 10);
}
