//! The thread `aligned-scraper` alone: it follows the annotation, and ends at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use cim::health::{Health, Part, State};
use cim::identity::{Current, Host, Identity};
use cim::interrupt::{Interrupter, interrupt};
use cim::metrics::Metrics;
use cim::metrics::aligned::exporter::{Exporter, Unavailable};
use cim::options::Names;
use cim::settings::{Settings, Store};
use cim::threads::aligned_scraper::AlignedScraper;
use cim::threads::spawn::NOTICES;
use crossbeam_channel::bounded;
use serde_json::json;
use servers::{Behaviour, TestApp};
use support::{PATIENCE, eventually};

const OWN_PORT: u16 = 6060;

struct Running {
    identity: Arc<Current>,
    exporter: Arc<Exporter>,
    health: Arc<Health>,
    settings: Arc<Store>,
    metrics: Arc<Metrics>,
    interrupter: Interrupter,
    thread: JoinHandle<()>,
}

fn identity() -> Identity {
    Identity::resolve(&Names::default(), &Host::default()).0
}

fn annotation(path: &str, ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    json!({
        "scrape": "true", "path": path, "ports": ports, "scheme": "http",
        "measurementInterval": "1s", "maxRetention": "1000",
    })
    .to_string()
}

impl Running {
    fn start() -> Self {
        let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
        let identity = Arc::new(Current::new(identity(), false));
        let exporter = Arc::new(Exporter::new(Arc::clone(&metrics)));
        let health = Arc::new(Health::new());
        let settings = Arc::new(Store::new(Settings::default()));
        let (interrupter, interrupt) = interrupt();
        let thread = AlignedScraper {
            identity: Arc::clone(&identity),
            settings: Arc::clone(&settings),
            exporter: Arc::clone(&exporter),
            own_port: OWN_PORT,
            interrupt,
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
        };
        let thread = thread.spawn(&bounded(NOTICES).0).unwrap();
        Self {
            identity,
            exporter,
            health,
            settings,
            metrics,
            interrupter,
            thread,
        }
    }

    /// Kubernetes says that the pod has this annotation.
    fn annotate(&self, text: Option<String>) {
        self.identity.store(Identity {
            mmaas: text,
            ..identity()
        });
        self.identity.settle();
        self.interrupter.wake();
    }

    fn part(&self) -> (State, String) {
        let parts = self.health.report().parts;
        let part = parts
            .into_iter()
            .find(|part| part.part == Part::AlignedMetrics);
        part.map(|part| (part.state, part.reason)).unwrap()
    }

    #[track_caller]
    fn until(&self, state: State, reason: &str) {
        eventually(PATIENCE, || {
            let part = self.part();
            part.0 == state && part.1.contains(reason)
        });
    }

    /// What was handed out, once it has this.
    #[track_caller]
    fn until_text(&self, part: &str) -> String {
        let mut text = String::new();
        eventually(PATIENCE, || {
            let more = self.exporter.hand_out(usize::MAX).unwrap_or_default();
            text += &String::from_utf8(more).unwrap();
            text.contains(part)
        });
        text
    }

    fn scrapes(&self, result: &str) -> u64 {
        let scrapes = &self.metrics.aligned.scrapes;
        scrapes.with_label_values(&[result]).get()
    }

    /// Ends the thread, which must be soon.
    #[track_caller]
    fn stop(self) {
        let start = Instant::now();
        self.interrupter.stop();
        self.thread.join().unwrap();
        assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
    }
}

fn app(text: &str) -> TestApp {
    let app = TestApp::start();
    app.on("/metrics", Behaviour::Text(200, text.into()));
    app
}

#[test]
fn the_annotation_comes_changes_and_goes() {
    let (first, second) = (app("first 1\n"), app("second 1\n"));
    let running = Running::start();
    running.until(State::NotReady, "Kubernetes has not said yet");
    let not_yet = running.exporter.hand_out(1).unwrap_err();
    assert!(matches!(not_yet, Unavailable::NotReady(_)), "{not_yet:?}");

    running.annotate(None);
    running.until(State::Disabled, "no annotation xgvela.com/mmaas");
    let off = running.exporter.hand_out(1).unwrap_err();
    assert!(matches!(off, Unavailable::Off(_)), "{off:?}");

    running.annotate(Some(annotation("/metrics", &[first.port()])));
    running.until_text("first{");
    let (state, reason) = running.part();
    assert_eq!(state, State::Ready);
    assert_eq!(
        reason,
        format!("every 1s ports {} and CIM itself", first.port())
    );

    running.annotate(Some(annotation("/metrics", &[second.port(), OWN_PORT])));
    let text = running.until_text("second{");
    let own = format!("source_port=\"{OWN_PORT}\"");
    let own: Vec<&str> = text.lines().filter(|line| line.contains(&own)).collect();
    assert!(
        own.iter()
            .all(|line| line.contains("pod=\"cnf-0\"") || line.starts_with("process_"))
    );
    assert_eq!(running.scrapes("failure"), 0, "the own port is not asked");

    running.annotate(Some("{\"scrape\":\"true\"}".to_owned()));
    running.until(State::NotReady, "measurementInterval is missing; it may be");
    let wrong = running.exporter.hand_out(1).unwrap_err();
    assert!(
        matches!(wrong, Unavailable::NotReady(ref why) if why.contains("xgvela.com/mmaas")),
        "{wrong:?}"
    );

    running.annotate(Some("{\"scrape\":\"false\"}".to_owned()));
    running.until(State::Disabled, "scrape is not \"true\"");
    let quiet = (first.accepted(), second.accepted());
    running.stop();
    assert_eq!((first.accepted(), second.accepted()), quiet);
}

#[test]
fn own_series_are_left_out_where_metrics_are_off() {
    let app = app("of_the_app 1\n");
    let running = Running::start();
    let mut settings = Settings::default();
    settings.cim.cim_settings.enable_kpi = false;
    running.settings.replace(settings);
    running.annotate(Some(annotation("/metrics", &[app.port()])));
    let text = running.until_text("of_the_app{");
    assert!(!text.contains("cim_total_messages_counter"), "{text}");
    running.stop();
}

#[test]
fn it_ends_at_once_while_every_port_hangs() {
    let (one, two) = (TestApp::start(), TestApp::start());
    for app in [&one, &two] {
        app.on("/metrics", Behaviour::Never);
    }
    let running = Running::start();
    let mut plan: serde_json::Value =
        serde_json::from_str(&annotation("/metrics", &[one.port(), two.port()])).unwrap();
    plan["measurementInterval"] = "2s".into();
    running.annotate(Some(plan.to_string()));
    one.wait_for("/metrics", 1);
    two.wait_for("/metrics", 1);
    running.stop();
}
