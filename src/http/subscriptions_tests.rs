//! What each request about event subscriptions is answered, when, and what is left of it.

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use serde_json::Value;

use super::*;
use crate::http::Version;

/// The routes, and the consumer's end of the channel.
struct Desk {
    routes: EventSubscriptions,
    changes: Receiver<Changed>,
    dir: tempfile::TempDir,
}

impl Desk {
    /// The channel has room for so many.
    fn new(room: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (changed, changes) = bounded(room);
        Self {
            routes: routes(dir.path(), changed),
            changes,
            dir,
        }
    }

    fn ask(&self, method: Method, id: Option<&str>, body: &str) -> Answer {
        let request = request(method, body);
        match id {
            None => self.routes.all(&request, &Wake::new(|| {})),
            Some(id) => Answer::Now(self.routes.one(id, &request)),
        }
    }

    /// Status and body of an answer that is there at once.
    #[track_caller]
    fn now(&self, method: Method, id: Option<&str>, body: &str) -> (u16, Value) {
        match self.ask(method, id, body) {
            Answer::Now(response) => parts(&response),
            Answer::Later(_) => panic!("later"),
        }
    }

    fn count(&self) -> i64 {
        self.routes.metrics.notifications.subscriptions.get()
    }

    /// The id of a further subscription.
    fn add(&self, body: &str) -> String {
        let response = match self.ask(Method::Post, None, body) {
            Answer::Now(response) => response,
            Answer::Later(answer) => {
                let (replier, response) = self.changes.try_recv().unwrap().answer.unwrap();
                replier.send(response);
                answer.try_recv().unwrap()
            }
        };
        let (status, value) = parts(&response);
        assert_eq!(status, 200, "{value}");
        value["subscriptionId"].as_str().unwrap().to_owned()
    }
}

fn routes(dir: &std::path::Path, changed: Sender<Changed>) -> EventSubscriptions {
    let (subscriptions, _) = Subscriptions::open(dir.join("subscriptions.json"));
    let metrics = Arc::new(Metrics::new("p").unwrap());
    EventSubscriptions::new(subscriptions.into(), changed, metrics)
}

fn request(method: Method, body: &str) -> Request {
    Request {
        method,
        path: SUBSCRIPTIONS_PATH.into(),
        query: None,
        host: None,
        origin: None,
        authorization: None,
        body: body.into(),
        keep_alive: true,
        version: Version::Http11,
    }
}

fn parts(response: &Response) -> (u16, Value) {
    if response.body.is_empty() {
        return (response.status, Value::Null);
    }
    assert_eq!(response.content_type, "application/json");
    (
        response.status,
        serde_json::from_slice(&response.body).unwrap(),
    )
}

const E1: &str = r#"{"localEventName":["E1"]}"#;
const E2: &str = r#"{"localEventName":["E2"],"nfNamingCode":["n"]}"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_subscription_is_added_read_replaced_and_deleted() {
    let desk = Desk::new(8);
    assert_eq!(desk.now(Method::Get, None, ""), (200, json!({})));
    let id = desk.add(E1);
    let one = Some(&*id);
    assert_eq!(
        desk.now(Method::Get, None, ""),
        (200, json!({&id: value(E1)}))
    );
    assert_eq!(desk.now(Method::Get, one, ""), (200, value(E1)));
    assert_eq!(desk.now(Method::Head, one, ""), (200, value(E1)));
    let updated = (200, "subscribed event updated successfully".into());
    assert_eq!(desk.now(Method::Put, one, E2), updated);
    assert_eq!(desk.now(Method::Get, one, ""), (200, value(E2)));
    assert_eq!(desk.count(), 1);
    assert_eq!(desk.now(Method::Delete, one, ""), (204, Value::Null));
    assert_eq!(desk.count(), 0);
    let unknown = (404, json!({"error": "Subscription ID does not exist."}));
    for method in [Method::Get, Method::Put, Method::Delete] {
        assert_eq!(desk.now(method, one, E1), unknown);
    }
    // The id is looked at before the body.
    assert_eq!(desk.now(Method::Put, one, "{"), unknown);
}

#[test]
fn a_bad_body_changes_nothing() {
    let desk = Desk::new(8);
    let id = desk.add(E1);
    let body = (400, json!({"error": "Invalid request body."}));
    let name = (400, json!({"error": "LocalEventName must not be empty."}));
    for (text, answer) in [("{", body), ("{}", name)] {
        assert_eq!(desk.now(Method::Post, None, text), answer);
        assert_eq!(desk.now(Method::Put, Some(&id), text), answer);
    }
    assert_eq!(
        desk.now(Method::Get, None, ""),
        (200, json!({id: value(E1)}))
    );
    assert!(desk.changes.is_empty(), "nobody is told");
}

#[test]
fn the_answer_that_begins_an_era_is_the_consumers_to_give() {
    let desk = Desk::new(8);
    let Answer::Later(answer) = desk.ask(Method::Post, None, E1) else {
        panic!("at once");
    };
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    // It is stored by then, and counted.
    assert_eq!(desk.count(), 1);
    let (replier, response) = desk.changes.try_recv().unwrap().answer.unwrap();
    replier.send(response);
    let (status, first) = parts(&answer.try_recv().unwrap());
    assert_eq!(status, 200);

    // Further ones, and changes, do not wait, and the consumer is told.
    let second = desk.now(Method::Post, None, E2).1;
    assert!(desk.changes.try_recv().unwrap().answer.is_none());
    let id = first["subscriptionId"].as_str();
    desk.now(Method::Put, id, E2);
    assert!(desk.changes.try_recv().unwrap().answer.is_none());
    for id in [id, second["subscriptionId"].as_str()] {
        desk.now(Method::Delete, id, "");
        assert!(desk.changes.try_recv().unwrap().answer.is_none());
    }
    // Then the next era.
    assert!(matches!(desk.ask(Method::Post, None, E1), Answer::Later(_)));
}

/// What a promise holds that was kept before anybody looked.
fn kept(answer: Answer) -> u16 {
    match answer {
        Answer::Later(answer) => answer.try_recv().unwrap().status,
        Answer::Now(response) => response.status,
    }
}

#[test]
fn nobody_waits_for_a_consumer_that_is_gone_or_has_too_much_to_do() {
    let desk = Desk::new(1);
    let id = desk.add(E1);
    desk.add(E2);
    assert!(desk.changes.is_full());
    desk.now(Method::Delete, Some(&id), "");
    let (_, all) = desk.now(Method::Get, None, "");
    let id = all.as_object().unwrap().keys().next().cloned();
    desk.now(Method::Delete, id.as_deref(), "");
    assert_eq!(kept(desk.ask(Method::Post, None, E1)), 200);

    let mut desk = Desk::new(1);
    desk.changes = bounded(0).1;
    assert_eq!(kept(desk.ask(Method::Post, None, E1)), 200);
    assert_eq!(desk.count(), 1);
}

#[test]
fn too_many_are_refused() {
    // As an earlier run has left them.
    let one = |number: usize| json!({"id": (100_000 + number).to_string(), "filter": {"localEventName": [number.to_string()]}});
    let all: Vec<_> = (0..crate::limits::SUBSCRIPTIONS).map(one).collect();
    let position = json!({"ends": null, "joined": false});
    let file = json!({"version": 1, "era": 1, "position": position, "subscriptions": all});
    let mut desk = Desk::new(8);
    let path = desk.dir.path().join("subscriptions.json");
    std::fs::write(path, file.to_string()).unwrap();
    desk.routes = routes(desk.dir.path(), bounded(8).0);
    assert_eq!(desk.count(), 256);
    let (status, answer) = desk.now(Method::Post, None, E1);
    assert_eq!(status, 429);
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains("at most 256"), "{text}");
    // One that is wanted once more takes the other's place.
    let (status, _) = desk.now(Method::Post, None, r#"{"localEventName":["7"]}"#);
    assert_eq!(status, 200);
    assert_eq!(desk.count(), 256);
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let desk = Desk::new(8);
    std::fs::create_dir(desk.dir.path().join("subscriptions.json.tmp")).unwrap();
    let (status, answer) = desk.now(Method::Post, None, E1);
    assert_eq!(status, 503);
    let text = answer["error"].as_str().unwrap();
    assert!(text.contains("cannot be stored"), "{text}");
    assert_eq!(desk.now(Method::Get, None, ""), (200, json!({})));
    assert_eq!(desk.count(), 0);
    assert!(desk.changes.is_empty());
}

#[test]
fn the_paths_are_there_at_once_when_there_was_a_subscription_in_an_earlier_run() {
    let desk = Desk::new(8);
    assert!(!desk.routes.is_open());
    let id = desk.add(E1);
    let again = || routes(desk.dir.path(), bounded(1).0);
    let routes = again();
    assert!(routes.is_open());
    assert_eq!(routes.metrics.notifications.subscriptions.get(), 1);
    // Also when none is left: the application knows that it has registered.
    desk.now(Method::Delete, Some(&id), "");
    assert!(again().is_open());
}
