//! Paths, methods and states of the operations API.

use serde_json::Value;

use super::*;
use crate::health::PartReport;
use crate::http::{Access, Version};
use crate::metrics::aligned::Snapshot;
use crate::nats::monitor::Asker;
use crate::registration::{Application, Facts, Overrides};
use crate::settings::Settings;
use crate::status::Sources;
use crate::subscriptions::Subscriptions;

struct Fake;

impl Registrar for Fake {
    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn accept(&mut self, _: &Application, _: Overrides) -> Result<(), String> {
        Ok(())
    }
}

/// No event subscriptions, and no file for them.
fn none_yet(metrics: &Arc<Metrics>) -> EventSubscriptions {
    let (subscriptions, _) = Subscriptions::open("/nowhere/subscriptions.json".into());
    let (changed, _) = crossbeam_channel::bounded(1);
    EventSubscriptions::new(subscriptions.into(), changed, Arc::clone(metrics))
}

fn operations() -> Operations<Fake> {
    let metrics = Arc::new(Metrics::new("p").unwrap());
    Operations {
        subscriptions: none_yet(&metrics),
        status: Status::new(Sources::default(), Arc::clone(&metrics), Instant::now()),
        metrics: Arc::clone(&metrics),
        aligned: Arc::new(Exporter::new(metrics)),
        settings: Arc::new(Store::new(Settings::default())),
        health: Arc::new(Health::new()),
        history: Default::default(),
        monitor: Monitor::new(
            Some(Asker::new(crossbeam_channel::bounded(1).0, || {})),
            Access::Open,
        ),
        registrar: Fake,
    }
}

fn request(method: Method, path: &str) -> Request {
    Request {
        method,
        path: path.into(),
        query: Some("x=y".into()),
        host: Some("localhost:6060".into()),
        origin: None,
        authorization: None,
        body: b"{}".to_vec(),
        keep_alive: true,
        version: Version::Http11,
    }
}

/// The answer, which is there at once.
fn respond(operations: &mut Operations<Fake>, scope: Scope, request: &Request) -> Response {
    match operations.answer(scope, request, &Wake::new(|| {})) {
        Answer::Now(response) => response,
        Answer::Later(_) => panic!("later"),
    }
}

fn json(response: &Response) -> Value {
    assert_eq!(response.content_type, "application/json");
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn paths_and_methods() {
    use Method::*;
    use Scope::*;
    for (scope, method, path, status, allow) in [
        (All, Get, "/metrics", 200, None),
        (All, Head, "/metrics", 200, None),
        (All, Get, "/metrics/", 200, None),
        (All, Get, "/metrics/aligned", 503, None),
        (All, Head, "/metrics/aligned/", 503, None),
        (All, Post, "/metrics/aligned", 405, Some("GET, HEAD")),
        (All, Get, "/metrics/other", 404, None),
        (MetricsOnly, Get, "/metrics/aligned", 503, None),
        (All, Get, "/healthz", 200, None),
        (All, Get, "/readyz", 503, None),
        (All, Post, registration::PATH, 200, None),
        (All, Post, "/api/v1/_operations/xgvela/register/", 200, None),
        (MetricsOnly, Get, "/metrics", 200, None),
        (MetricsOnly, Get, "/healthz", 200, None),
        (MetricsOnly, Get, "/readyz", 503, None),
        (MetricsOnly, Post, registration::PATH, 404, None),
        (MetricsOnly, Get, registration::PATH, 404, None),
        (All, Get, ALL, 404, None),
        (All, Post, ALL, 404, None),
        (All, Delete, ONE, 404, None),
        (All, Other, ALL, 404, None),
        (All, Get, "/", 200, None),
        (All, Post, "/", 405, Some("GET, HEAD")),
        (All, Post, STATUS_PATH, 405, Some("GET, HEAD")),
        (MetricsOnly, Get, "/", 404, None),
        (MetricsOnly, Get, STATUS_PATH, 404, None),
        (All, Get, "//", 404, None),
        (All, Get, "//metrics", 404, None),
        (All, Get, "/metrics//", 404, None),
        (All, Get, "/Metrics", 404, None),
        (All, Other, "*", 404, None),
        (All, Post, "/metrics", 405, Some("GET, HEAD")),
        (All, Other, "/healthz", 405, Some("GET, HEAD")),
        (All, Get, registration::PATH, 405, Some("POST")),
        (All, Head, registration::PATH, 405, Some("POST")),
    ] {
        let response = respond(&mut operations(), scope, &request(method, path));
        assert_eq!(
            (response.status, response.allow),
            (status, allow),
            "{method:?} {path} {scope:?}"
        );
        if status >= 400 && status != 503 {
            assert!(json(&response)["error"].is_string(), "{path}");
        }
    }
}

const ALL: &str = SUBSCRIPTIONS_PATH;
const ONE: &str = "/api/v1/_operations/event/subscriptions/123456";

#[test]
fn event_subscriptions_are_there_once_the_application_has_registered() {
    use Method::*;
    use Scope::*;
    let mut operations = operations();
    let before = respond(&mut operations, All, &request(Get, ALL));
    assert_eq!(before.status, 404);
    let text = json(&before).to_string();
    assert!(text.contains("has registered"), "{text}");
    let registered = respond(&mut operations, All, &request(Post, registration::PATH));
    assert_eq!(registered.status, 200);
    let (all, one) = (Some("GET, HEAD, POST"), Some("GET, HEAD, PUT, DELETE"));
    for (scope, method, path, status, allow) in [
        (All, Get, ALL, 200, None),
        (All, Head, ALL, 200, None),
        (
            All,
            Get,
            "/api/v1/_operations/event/subscriptions/",
            200,
            None,
        ),
        (All, Post, ALL, 400, None),
        (All, Put, ALL, 405, all),
        (All, Delete, ALL, 405, all),
        (All, Other, ALL, 405, all),
        // No subscription has this id.
        (All, Get, ONE, 404, None),
        (All, Put, ONE, 404, None),
        (All, Delete, ONE, 404, None),
        (All, Post, ONE, 405, one),
        (All, Other, ONE, 405, one),
        (
            All,
            Get,
            "/api/v1/_operations/event/subscriptions//",
            404,
            None,
        ),
        (
            All,
            Get,
            "/api/v1/_operations/event/subscriptions/1/2",
            404,
            None,
        ),
        (
            All,
            Get,
            "/api/v1/_operations/event/subscriptionsx",
            404,
            None,
        ),
        (MetricsOnly, Get, ALL, 404, None),
        (MetricsOnly, Post, ALL, 404, None),
        (MetricsOnly, Delete, ONE, 404, None),
    ] {
        let response = respond(&mut operations, scope, &request(method, path));
        assert_eq!(
            (response.status, response.allow),
            (status, allow),
            "{method:?} {path} {scope:?}"
        );
    }
}

#[test]
fn a_web_page_from_elsewhere_cannot_subscribe() {
    let mut operations = operations();
    respond(
        &mut operations,
        Scope::All,
        &request(Method::Post, registration::PATH),
    );
    let mut request = request(Method::Post, ALL);
    request.body = br#"{"localEventName":["E"]}"#.to_vec();
    request.origin = Some("https://evil.example".into());
    assert_eq!(respond(&mut operations, Scope::All, &request).status, 403);
}

#[test]
fn metrics_text() {
    let response = respond(
        &mut operations(),
        Scope::All,
        &request(Method::Get, "/metrics"),
    );
    assert_eq!(response.content_type, METRICS_TYPE);
    let text = String::from_utf8(response.body).unwrap();
    assert!(text.contains("cim_registrations_total{pod=\"p\"} 0\n"));
}

#[test]
fn metrics_say_how_each_part_is() {
    let mut operations = operations();
    let line = |operations: &mut Operations<Fake>| {
        let answer = respond(operations, Scope::All, &request(Method::Get, "/metrics"));
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find(|line| line.contains("part=\"etcd\""));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    for (state, value) in [
        (State::Ready, Some("1")),
        (State::NotReady, Some("0")),
        (State::Disabled, None),
        (State::Ready, Some("1")),
    ] {
        operations.health.set(Part::Etcd, state, "");
        assert_eq!(line(&mut operations).as_deref(), value, "{state:?}");
    }
}

#[test]
fn aligned_metrics_are_handed_out_as_the_query_says_and_not_to_head() {
    let mut operations = operations();
    operations.aligned.switch_on(10);
    let mut ask = |method, query: &str| {
        let request = Request {
            query: Some(query.into()),
            ..request(method, "/metrics/aligned")
        };
        let response = respond(&mut operations, Scope::All, &request);
        assert_eq!(
            (response.status, response.content_type),
            (200, METRICS_TYPE)
        );
        let left = operations.metrics.aligned.snapshots.get();
        if left == 0 {
            (0..5).for_each(|at| operations.aligned.push(Snapshot::new(at * 1000)));
        }
        left
    };
    assert_eq!(ask(Method::Get, ""), 0);
    assert_eq!(ask(Method::Head, ""), 5);
    assert_eq!(ask(Method::Get, "snapshot=1"), 4);
    assert_eq!(ask(Method::Get, "x&snapshot=1&y=z"), 3);
    assert_eq!(ask(Method::Head, "snapshot=1"), 3);
    assert_eq!(ask(Method::Get, "snapshot=10&x"), 0);
    assert_eq!(ask(Method::Get, "a"), 0);
}

#[test]
fn aligned_metrics_that_are_off_say_why() {
    let mut operations = operations();
    for (why, status) in [
        (Unavailable::Off("nobody asks".into()), 404),
        (Unavailable::NotReady("a wrong text".into()), 503),
    ] {
        let (Unavailable::Off(reason) | Unavailable::NotReady(reason)) = why.clone();
        operations.aligned.switch_off(why);
        let request = request(Method::Get, "/metrics/aligned");
        let response = respond(&mut operations, Scope::All, &request);
        assert_eq!(response.status, status);
        let error = json(&response)["error"].as_str().unwrap().to_owned();
        assert!(error.ends_with(&reason), "{error}");
    }
}

#[test]
fn metrics_that_are_off_say_so() {
    let mut operations = operations();
    let mut settings = Settings::default();
    settings.cim.cim_settings.enable_kpi = false;
    operations.settings.replace(settings);
    let response = respond(
        &mut operations,
        Scope::All,
        &request(Method::Get, "/metrics"),
    );
    assert_eq!(response.status, 404);
    assert!(
        json(&response)["error"]
            .as_str()
            .unwrap()
            .contains("enable_kpi")
    );
}

#[test]
fn a_web_page_from_elsewhere_cannot_register() {
    let mut operations = operations();
    let mut request = request(Method::Post, registration::PATH);
    request.origin = Some("https://evil.example".into());
    assert_eq!(respond(&mut operations, Scope::All, &request).status, 403);
    assert_eq!(operations.metrics.registrations.get(), 0);
}

#[test]
fn a_registration_is_counted_and_shown() {
    let mut operations = operations();
    let mut request = request(Method::Post, registration::PATH);
    request.body = br#"{"container_name":"a\u0007b","container_id":"1"}"#.to_vec();
    assert_eq!(respond(&mut operations, Scope::All, &request).status, 200);
    request.body = b"{".to_vec();
    assert_eq!(respond(&mut operations, Scope::All, &request).status, 400);
    assert_eq!(operations.metrics.registrations.get(), 1);
    let report = operations.health.report();
    let part = report
        .parts
        .iter()
        .find(|p| p.part == Part::Application)
        .unwrap();
    assert_eq!(part.state, State::Ready);
    assert_eq!(part.reason, r#"registered: container "a\u{7}b", id "1""#);
}

#[test]
fn health_and_readiness() {
    let mut operations = operations();
    let metrics = Arc::clone(&operations.metrics);
    let mut get = |path: &str, health: &dyn Fn(&Health)| {
        health(&operations.health);
        let response = respond(&mut operations, Scope::All, &request(Method::Get, path));
        (response.status, json(&response).to_string())
    };
    assert_eq!(get("/healthz", &|_| {}), (200, r#"{"status":"ok"}"#.into()));
    // Nobody has said anything of the others.
    let others = Health::new().report().parts.into_iter().skip(3);
    let others: String = others
        .map(|PartReport { part, reason, .. }| {
            let (name, reason) = (part.name(), Value::from(reason));
            format!(r#","{name}":{{"state":"not ready","needed":false,"reason":{reason}}}"#)
        })
        .collect();
    let parts = |nats: &str, logs: &str| {
        format!(
            r#""parts":{{"nats":{{{nats}}},"logs":{{{logs}}},"http":{{"state":"ready","needed":true,"reason":""}}{others}}}}}"#
        )
    };
    let written = r#""state":"ready","needed":false,"reason":"log lines are written""#;
    let (status, text) = get("/readyz", &|h| {
        h.set(Part::Nats, State::NotReady, "gone");
        h.set(Part::Http, State::Ready, "");
    });
    let expected = parts(
        r#""state":"not ready","needed":true,"reason":"gone""#,
        written,
    );
    assert_eq!(
        (status, text),
        (503, format!(r#"{{"status":"not ready",{expected}"#))
    );
    metrics.file_failing.set(1);
    let (status, text) = get("/readyz", &|h| h.set(Part::Nats, State::Ready, ""));
    let failing = r#""state":"not ready","needed":false,"reason":"log files cannot be written (`cim status` has the last errors, `cim doctor` looks at the directory); their lines are dropped and counted, CIM tries again every second""#;
    let expected = parts(r#""state":"ready","needed":true,"reason":"""#, failing);
    assert_eq!(
        (status, text),
        (200, format!(r#"{{"status":"ready",{expected}"#))
    );
    let (status, text) = get("/healthz", &|h| h.fail("thread file-writer panicked"));
    assert_eq!(
        (status, text),
        (
            503,
            r#"{"status":"failed","reason":"thread file-writer panicked"}"#.into()
        )
    );
}

/// Operations with this access, and the way of questions to the NATS server.
fn operations_for(access: Access) -> (Operations<Fake>, crate::nats::monitor::Questions) {
    let (to, questions) = crossbeam_channel::bounded(1);
    let mut operations = operations();
    operations.monitor = Monitor::new(Some(Asker::new(to, || {})), access);
    (operations, questions)
}

fn request_of(path: &str, host: &str, authorization: Option<&str>) -> Request {
    Request {
        host: Some(host.into()),
        authorization: authorization.map(crate::secret::Secret::new),
        ..request(Method::Get, path)
    }
}

#[test]
fn the_page_and_its_document_are_for_loopback_or_whoever_has_the_token() {
    let token = || Access::Token(crate::secret::Secret::new("t"));
    for path in ["/", STATUS_PATH] {
        for (access, host, authorization, status) in [
            (Access::Open, "localhost:6060", None, 200),
            (Access::Open, "127.0.0.1:6060", None, 200),
            (Access::Open, "evil.example:6060", None, 403),
            (Access::Closed, "10.0.0.1", None, 403),
            (Access::Closed, "10.0.0.1", Some("Bearer t"), 403),
            (token(), "10.0.0.1", None, 401),
            (token(), "10.0.0.1", Some("Bearer x"), 401),
            (token(), "10.0.0.1", Some("Bearer t"), 200),
            (token(), "cim.example", Some("Basic YW55OnQ="), 200),
        ] {
            let (mut operations, questions) = operations_for(access);
            drop(questions);
            let request = request_of(path, host, authorization);
            let response = respond(&mut operations, Scope::All, &request);
            assert_eq!(response.status, status, "{path} {host} {authorization:?}");
            let names: Vec<_> = response.headers.iter().map(|(name, _)| *name).collect();
            assert_eq!(names.contains(&"WWW-Authenticate"), status == 401);
            assert_eq!(names.contains(&"Cache-Control"), status == 200);
        }
    }
}

#[test]
fn the_document_carries_the_connections_or_null() {
    let (mut operations, questions) = operations_for(Access::Open);
    let ask = request_of(STATUS_PATH, "localhost", None);
    let wake = Wake::new(|| {});
    let connections = Response::json(200, &json!({"total": 1, "connections": [{"cid": 1}]}));
    for (reply, expected) in [
        (
            connections,
            json!({"total": 1, "connections": [{"cid": 1}]}),
        ),
        (Response::error(503, "x"), Value::Null),
    ] {
        let Answer::Later(answer) = operations.answer(Scope::All, &ask, &wake) else {
            panic!("not asked");
        };
        questions.recv().unwrap().reply.send(reply);
        let document = json(&answer.recv().unwrap());
        assert_eq!(document["connections"], expected);
        assert_eq!(document["status"], "not ready");
    }
    // One question waits already; then there is nobody any more.
    let Answer::Later(_) = operations.answer(Scope::All, &ask, &wake) else {
        panic!("not asked");
    };
    let crowded = json(&respond(&mut operations, Scope::All, &ask));
    assert_eq!(crowded["connections"], Value::Null);
    operations.monitor = Monitor::new(None, Access::Open);
    let external = json(&respond(&mut operations, Scope::All, &ask));
    assert_eq!(external["connections"], Value::Null);
}

#[test]
fn the_parts_are_those_of_readyz_and_the_history_is_its_own() {
    let mut operations = operations();
    operations.monitor = Monitor::new(None, Access::Open);
    operations.health.set(Part::Nats, State::NotReady, "gone");
    operations.metrics.file_failing.set(1);
    let mut get = |path: &str| {
        json(&respond(
            &mut operations,
            Scope::All,
            &request(Method::Get, path),
        ))
    };
    let (status, ready, history) = (get(STATUS_PATH), get("/readyz"), get(HISTORY_PATH));
    assert_eq!(status["parts"], ready["parts"]);
    assert_eq!(status["status"], ready["status"]);
    assert_eq!(status["parts"]["logs"]["state"], "not ready");
    assert_eq!(status["change_sets"], history["change_sets"]);
}

#[test]
fn the_server_is_told_when_the_next_point_is_due() {
    let mut operations = operations();
    let now = Instant::now();
    let due = operations.tick(now).unwrap();
    assert!(due > now && due <= now + crate::limits::RATE_STEP);
    assert!(operations.tick(due).unwrap() > due);
}
