//! Bodies and addresses of a registration. The original's own requests and answers: `tests/golden_registration.rs`.

use serde_json::json;

use super::*;

#[derive(Default)]
struct Fake {
    facts: Facts,
    refuse: Option<String>,
    accepted: Vec<(Application, Overrides)>,
}

impl Registrar for Fake {
    fn facts(&self) -> Facts {
        self.facts.clone()
    }

    fn accept(&mut self, application: &Application, overrides: Overrides) -> Result<(), String> {
        self.accepted.push((application.clone(), overrides));
        self.refuse.clone().map_or(Ok(()), Err)
    }
}

fn err_msg(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(response.status, 400);
    assert_eq!(body["status"], "failure");
    body["err_msg"].as_str().unwrap().to_owned()
}

#[test]
fn bodies_that_are_refused_reach_nobody() {
    for (mandatory, body, message) in [
        (false, "", BAD_BODY),
        (false, " ", BAD_BODY),
        (false, "{", BAD_BODY),
        (false, "{} {}", BAD_BODY),
        (false, "null", BAD_BODY),
        (false, "[]", BAD_BODY),
        (false, "\"app\"", BAD_BODY),
        (false, "{\"container_name\":7}", BAD_BODY),
        (false, "{\"container_id\":[]}", BAD_BODY),
        (false, "{\"lmaas\":[]}", BAD_BODY),
        (false, "{\"lmaas\":\"FILE\"}", BAD_BODY),
        (false, "{\"app_settings\":1}", BAD_BODY),
        (true, "{}", FIELDS_MISSING),
        (
            true,
            "{\"container_name\":\"a\",\"container_id\":\" \\t\"}",
            FIELDS_MISSING,
        ),
        (
            true,
            "{\"container_name\":null,\"container_id\":\"b\"}",
            FIELDS_MISSING,
        ),
        (true, "{\"container_id\":7}", BAD_BODY),
    ] {
        let mut fake = Fake::default();
        fake.facts.container_fields_mandatory = mandatory;
        let response = register(body.as_bytes(), &mut fake).unwrap_err();
        assert_eq!(err_msg(&response), message, "{body}");
        assert_eq!(fake.accepted, vec![], "{body}");
    }
    let deep = "[".repeat(100_000);
    let response = register(deep.as_bytes(), &mut Fake::default()).unwrap_err();
    assert_eq!(err_msg(&response), BAD_BODY, "deep nesting ends nothing");
    let response = register(b"{\"container_name\":\"\xff\"}", &mut Fake::default()).unwrap_err();
    assert_eq!(err_msg(&response), BAD_BODY, "not UTF-8");
}

#[test]
fn what_is_accepted_is_handed_on_as_sent() {
    let mut fake = Fake::default();
    let body = json!({
        "container_name": "app", "container_id": null, "unknown": {},
        "lmaas": {"buffer_size": -5, "logging_mode": ""}, "app_settings": {"app_port": 9996},
    });
    let application = register(body.to_string().as_bytes(), &mut fake).unwrap();
    let app = Application {
        container_name: "app".into(),
        container_id: String::new(),
    };
    let (accepted, overrides) = fake.accepted.pop().unwrap();
    assert_eq!((&app, &app), (&application, &accepted));
    assert_eq!(Value::from(overrides.lmaas), body["lmaas"]);
    assert_eq!(Value::from(overrides.app_settings), body["app_settings"]);
}

#[test]
fn overrides_that_are_refused_are_named_in_the_answer() {
    let mut fake = Fake {
        refuse: Some("lmaas.buffer_size: 5 is not in 1000..100000".into()),
        ..Fake::default()
    };
    let response = register(b"{}", &mut fake).unwrap_err();
    assert_eq!(err_msg(&response), fake.refuse.unwrap());
}

#[test]
fn addresses() {
    /// topogw.fqdn, apigw_rest_fqdn, topoengine_fqdn -> the three of the answer; the namespace is `ns1`.
    fn check(facts: [&str; 3], wanted: [&str; 3]) {
        let [topogw, apigw, topo] = facts.map(|text| (text != "-").then(|| text.to_owned()));
        let facts = Facts {
            namespace: "ns1".into(),
            topogw_fqdn: topogw,
            apigw_rest_fqdn: apigw,
            topoengine_fqdn: topo,
            ..Facts::default()
        };
        let got = Addresses::of(&facts);
        assert_eq!([&*got.tmaas, &*got.apigw_rest, &*got.topo_engine], wanted);
    }
    let topogw = "topo-gw.ns1.svc.cluster.local:8080";
    let cmaas = "cmaas.ns1.svc.cluster.local:8008";
    let tmaas = "tmaas.ns1.svc.cluster.local:8080";
    check(["-", "-", "-"], [topogw, cmaas, tmaas]);
    check(["", " ", ""], [topogw, cmaas, tmaas]);
    check(["-", "gw:1", "-"], [topogw, "gw:1", tmaas]);
    check(["-", "-", "topo:2"], [topogw, cmaas, "topo:2"]);
    let other = "topo-gw.xg.svc.cluster.local:8080";
    let (xg_cmaas, xg_tmaas) = (
        "cmaas.xg.svc.cluster.local:8008",
        "tmaas.xg.svc.cluster.local:8080",
    );
    check([other, "-", "-"], [other, xg_cmaas, xg_tmaas]);
    check([other, "gw:1", "topo:2"], [other, "gw:1", "topo:2"]);
    check(
        ["topo-gw.xg:8080", "-", "-"],
        ["topo-gw.xg:8080", xg_cmaas, xg_tmaas],
    );
    check(
        ["http://t.xg/x", "-", "-"],
        ["http://t.xg/x", xg_cmaas, xg_tmaas],
    );
    // No second label to take.
    for odd in [
        "topo-gw:8080",
        "topo-gw.",
        "10.1.2.3:8080",
        "[fd00::1]:8080",
        "fd00::1",
    ] {
        check([odd, "-", "-"], [odd, cmaas, tmaas]);
    }
}
