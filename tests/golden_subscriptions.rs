//! The original's event subscriptions (`golden/10-subscriptions`) through the whole daemon: the requests as they were sent, in their
//! order, and the answers byte for byte, but for ids and headers; then what a restart leaves of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::http::{self, Answer};
use support::pod::Pod;
use support::{Cim, Options, PATIENCE, Signal, eventually};

const PATH: &str = "/api/v1/_operations/event/subscriptions";
const REGISTER: &str = "/api/v1/_operations/xgvela/register";

fn sample(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/10-subscriptions");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

/// Ids are random: those of the samples, and ours.
#[derive(Default)]
struct Ids(Vec<(String, String)>);

impl Ids {
    /// `text` of the samples with our ids.
    fn ours(&self, text: &str) -> String {
        let replaced =
            |text: String, (theirs, ours): &(_, String)| text.replace::<&String>(theirs, ours);
        self.0.iter().fold(text.to_owned(), replaced)
    }

    fn learn(&mut self, theirs: &str, ours: &str) {
        let id = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            body["subscriptionId"].as_str().unwrap().to_owned()
        };
        let ours = id(ours);
        assert!(
            ours.len() == 6 && ours.bytes().all(|b| b.is_ascii_digit()),
            "{ours}"
        );
        self.0.push((id(theirs), ours));
    }
}

/// Status, type and body of a captured answer.
fn captured(name: &str) -> (u16, String, String) {
    let text = sample(&format!("{name}.response.raw"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: "));
    (status, kind.unwrap().to_owned(), body.to_owned())
}

/// Sends the captured request, with our ids.
fn send(cim: &Cim, name: &str, ids: &Ids) -> Answer {
    let request = ids.ours(&sample(&format!("{name}.request.raw")));
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    http::raw(cim.http, request.as_bytes())
}

/// Sends the captured request; the answer must be the captured one.
#[track_caller]
fn check_same(cim: &Cim, name: &str, ids: &mut Ids) {
    let answer = send(cim, name, ids);
    let (status, kind, body) = captured(name);
    assert_eq!(answer.status, status, "{name}");
    if status != 204 {
        assert_eq!(answer.header("content-type"), Some(&*kind), "{name}");
    }
    if body.contains("subscriptionId") {
        ids.learn(&body, &answer.text());
    }
    let mut ours = ids.ours(&body);
    if let Ok(members) = serde_json::from_str::<BTreeMap<String, Value>>(&ours) {
        // In the order of our ids.
        ours = serde_json::to_string(&members).unwrap() + "\n";
    }
    assert_eq!(answer.text(), ours, "{name}");
}

#[test]
fn the_exchanges_are_the_originals() {
    let cim = Cim::start(Options::new());
    // better: what is not there yet says so in JSON.
    for name in ["01_post_before_registration", "02_get_before_registration"] {
        let answer = send(&cim, name, &Ids::default());
        assert_eq!(answer.status, captured(name).0, "{name}");
        assert!(answer.json()["error"].is_string(), "{name}");
    }
    assert_eq!(cim.post(REGISTER, b"{}").status, 200);
    let mut ids = Ids::default();
    for name in [
        "03_get_empty",
        "04_post_bad_json",
        "05_post_no_event_name",
        "05b_post_wrong_type",
        "06_post_event_name",
        "07_post_all_fields",
        "08_get_two",
        "09_put_unknown_id",
        "10_put_bad_json",
        "11_put_replace",
        "12_get_after_put",
        "13_delete_unknown_id",
    ] {
        check_same(&cim, name, &mut ids);
    }
    assert_eq!(cim.metric("cim_event_subscriptions", &[]), 2.0);
    for name in ["30_delete", "31_delete_again", "32_delete_last"] {
        check_same(&cim, name, &mut ids);
    }
    assert_eq!(cim.metric("cim_event_subscriptions", &[]), 0.0);
}

fn subscribe(cim: &Cim, name: &str) -> String {
    let body = json!({"localEventName": [name]}).to_string();
    let answer = cim.post(PATH, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["subscriptionId"].as_str().unwrap().to_owned()
}

#[test]
fn subscriptions_keep_their_ids_across_restarts_and_kill_9() {
    let pod = Pod::new();
    let mut expected = BTreeMap::new();
    for round in 0..4 {
        // At once, though the application does not register again.
        let mut cim = Cim::start(pod.options(Options::new()));
        if round == 0 {
            assert_eq!(cim.get(PATH).status, 404);
            assert_eq!(cim.post(REGISTER, b"{}").status, 200);
        }
        assert_eq!(cim.get(PATH).json(), json!(expected), "round {round}");
        assert_eq!(
            cim.metric("cim_event_subscriptions", &[]),
            expected.len() as f64
        );
        for number in 0..2 {
            let name = format!("E{round}{number}");
            let id = subscribe(&cim, &name);
            expected.insert(id, json!({"localEventName": [name]}));
        }
        let mut ids = expected.keys().cloned();
        let (changed, deleted) = (ids.next().unwrap(), ids.next_back().unwrap());
        let wish = json!({"localEventName": ["new"], "localNfId": [round.to_string()]});
        let put = |id: &str, body: &Value| {
            let body = body.to_string();
            let path = format!("{PATH}/{id}");
            http::request(cim.http, "PUT", &path, body.as_bytes()).status
        };
        assert_eq!(put(&changed, &wish), 200);
        let gone = http::request(cim.http, "DELETE", &format!("{PATH}/{deleted}"), b"");
        assert_eq!(gone.status, 204);
        expected.insert(changed, wish);
        expected.remove(&deleted);
        if round % 2 == 0 {
            cim.kill9();
        } else {
            assert!(cim.stop(Signal::TERM).success());
        }
    }
    assert_eq!(expected.len(), 4);
}

#[test]
fn a_damaged_file_is_put_aside_with_a_warning_and_cim_starts() {
    let pod = Pod::new();
    let options = pod.options(Options::new());
    let state = options.env.iter().find(|(name, _)| name == "CIM_STATE_DIR");
    let file = std::path::PathBuf::from(&state.unwrap().1).join("subscriptions.json");
    let mut cim = Cim::start(options.clone());
    assert_eq!(cim.post(REGISTER, b"{}").status, 200);
    subscribe(&cim, "E");
    cim.kill9();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();

    let cim = Cim::start(options);
    assert_eq!(cim.get(PATH).json(), json!({}));
    subscribe(&cim, "E");
    eventually(PATIENCE, || {
        let log = String::from_utf8_lossy(&cim.text_of("cim")).into_owned();
        log.contains("subscriptions.json.damaged")
    });
    let aside = file.with_file_name("subscriptions.json.damaged");
    assert_eq!(std::fs::read(aside).unwrap(), bytes[..bytes.len() / 2]);
}
