//! Records and what becomes of them.

use proptest::prelude::*;

use super::*;

type Header<'a> = (&'a str, Option<&'a [u8]>);

fn filter(body: &str) -> Filter {
    Filter::parse(body.as_bytes()).unwrap()
}

fn decide(filters: &[Filter], headers: &[Header<'_>]) -> Decision {
    Matcher::new(filters.iter()).decide(headers.iter().copied())
}

/// Headers as `name=value`; `name` alone is a header that is null.
fn headers(text: &str) -> Vec<Header<'_>> {
    text.split_whitespace()
        .map(|header| match header.split_once('=') {
            Some((name, value)) => (name, Some(value.as_bytes())),
            None => (header, None),
        })
        .collect()
}

#[track_caller]
fn check(filters: &[Filter], record: &str, decision: Decision) {
    assert_eq!(decide(filters, &headers(record)), decision, "{record}");
}

#[test]
fn one_subscription() {
    use Decision::*;
    let event = r#"{"localEventName":["E1","E2"]}"#;
    let two = r#"{"localEventName":["E1"],"nfNamingCode":["n1","n2"]}"#;
    for (body, record, decision) in [
        // OR within a field.
        (event, "localEventName=E1", Deliver),
        (event, "localEventName=E2", Deliver),
        (event, "localEventName=E3", NoMatch),
        (event, "localEventName=E", NoMatch),
        (event, "localEventName=E11", NoMatch),
        (event, "localEventName=e1", NoMatch),
        // Fields that are not given are not looked at.
        (event, "localEventName=E1 nfNamingCode=zz other=x", Deliver),
        (event, "other=x localEventName=E1", Deliver),
        // AND across the fields that are given.
        (two, "localEventName=E1 nfNamingCode=n2", Deliver),
        (two, "nfNamingCode=n1 localEventName=E1", Deliver),
        (two, "localEventName=E1 nfNamingCode=n3", NoMatch),
        (two, "localEventName=E2 nfNamingCode=n1", NoMatch),
        // A value in the wrong header.
        (two, "localEventName=n1 nfNamingCode=E1", NoMatch),
        // Missing headers, and null ones.
        (event, "", NoMatch),
        (event, "localEventName", NoMatch),
        (event, "localEventName=", NoMatch),
        (event, "nfNamingCode=E1", NoMatch),
        (two, "localEventName=E1", NoMatch),
        (two, "localEventName=E1 nfNamingCode", NoMatch),
        (two, "localEventName=E1 nfNamingCode=", NoMatch),
        // Several values: any of them.
        (event, "localEventName=E9 localEventName=E1", Deliver),
        (event, "localEventName=E1 localEventName=E9", Deliver),
        (event, "localEventName=E1 localEventName", Deliver),
        (
            two,
            "localEventName=E1 nfNamingCode=n9 nfNamingCode=n2",
            Deliver,
        ),
        // The header's name is not that of the member.
        (event, "LocalEventName=E1", NoMatch),
        // A record that was sent before.
        (event, "localEventName=E1 replay=true", Replay),
        (event, "replay=true localEventName=E1", Replay),
        (event, "replay=true replay=false localEventName=E1", Replay),
        (event, "replay=true localEventName=E3", Replay),
        (event, "localEventName=E1 replay=false", Deliver),
        (event, "localEventName=E1 replay=True", Deliver),
        (event, "localEventName=E1 replay=", Deliver),
        (event, "localEventName=E1 replay", Deliver),
        (event, "localEventName=E1 Replay=true", Deliver),
    ] {
        check(&[filter(body)], record, decision);
    }
}

#[test]
fn every_field_that_is_given_counts() {
    let all = r#"{"localEventName":["E1"],"nfNamingCode":["n1"],"nfcNamingCode":["c1"],"localNfId":["l1"]}"#;
    // A member localNfId is looked for in a header localNfID.
    for (values, id, decision) in [
        (["n1", "c1", "l1"], "localNfID", Decision::Deliver),
        (["n1", "c1", "l2"], "localNfID", Decision::NoMatch),
        (["n1", "c2", "l1"], "localNfID", Decision::NoMatch),
        (["n2", "c1", "l1"], "localNfID", Decision::NoMatch),
        (["n1", "c1", "l1"], "localNfId", Decision::NoMatch),
    ] {
        let [n, c, l] = values;
        let record = format!("localEventName=E1 nfNamingCode={n} nfcNamingCode={c} {id}={l}");
        check(&[filter(all)], &record, decision);
    }
}

#[test]
fn a_value_that_is_not_utf_8_is_compared_byte_by_byte() {
    let filters = [filter("{\"localEventName\":[\"\u{fffd}\",\"\u{e4}\"]}")];
    let decided = |value: &[u8]| decide(&filters, &[("localEventName", Some(value))]);
    assert_eq!(decided(b"\xff"), Decision::NoMatch);
    assert_eq!(decided(b"\xe4"), Decision::NoMatch);
    assert_eq!(decided(b"\xc3"), Decision::NoMatch);
    assert_eq!(decided("\u{e4}".as_bytes()), Decision::Deliver);
    assert_eq!(decided("a\u{308}".as_bytes()), Decision::NoMatch);
    assert_eq!(decided("\u{fffd}".as_bytes()), Decision::Deliver);
}

#[test]
fn several_subscriptions_are_not_mixed() {
    let filters = [
        filter(r#"{"localEventName":["E1"],"nfNamingCode":["n1"]}"#),
        filter(r#"{"localEventName":["E2"],"nfNamingCode":["n2"]}"#),
    ];
    for (record, decision) in [
        ("localEventName=E1 nfNamingCode=n1", Decision::Deliver),
        ("localEventName=E2 nfNamingCode=n2", Decision::Deliver),
        ("localEventName=E1 nfNamingCode=n2", Decision::NoMatch),
        ("localEventName=E2 nfNamingCode=n1", Decision::NoMatch),
    ] {
        check(&filters, record, decision);
    }
}

#[test]
fn without_a_subscription_nothing_is_wanted() {
    let record = headers("localEventName=E1");
    assert_eq!(decide(&[], &record), Decision::NoMatch);
    assert_eq!(
        Matcher::default().decide(record.into_iter()),
        Decision::NoMatch
    );
}

#[test]
fn each_subscription_up_to_the_bound_counts() {
    let event = |number| filter(&format!(r#"{{"localEventName":["E{number}"]}}"#));
    let filters: Vec<_> = (0..SUBSCRIPTIONS).map(event).collect();
    let matcher = Matcher::new(filters.iter());
    for number in 0..=SUBSCRIPTIONS {
        let name = format!("E{number}");
        let record = [("localEventName", Some(name.as_bytes()))];
        let wanted = matcher.decide(record.into_iter()) == Decision::Deliver;
        assert_eq!(wanted, number < SUBSCRIPTIONS, "{name}");
    }
}

/// The rule as it is written down, without sets.
fn oracle(filters: &[Filter], headers: &[Header<'_>]) -> Decision {
    let has = |name: &str, value: &[u8]| headers.contains(&(name, Some(value)));
    if has("replay", b"true") {
        return Decision::Replay;
    }
    let wants = |filter: &Filter| {
        HEADERS.iter().zip(filter.fields()).all(|(name, values)| {
            values.is_empty() || values.iter().any(|value| has(name, value.as_bytes()))
        })
    };
    match filters.iter().any(wants) {
        true => Decision::Deliver,
        false => Decision::NoMatch,
    }
}

/// Few values, so that they meet.
fn values(least: usize) -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[abc]", least..3)
}

prop_compose! {
    fn any_filter()(names in values(1), n in values(0), c in values(0), l in values(0)) -> Filter {
        let body = serde_json::json!({"localEventName": names, "nfNamingCode": n, "nfcNamingCode": c, "localNfId": l});
        filter(&body.to_string())
    }
}

fn any_header() -> impl Strategy<Value = (&'static str, Option<String>)> {
    let names = [&HEADERS[..], &["replay", "other"]].concat();
    let value = prop_oneof![6 => "[abc]", 1 => Just("true".to_owned()), 1 => Just(String::new())];
    (
        proptest::sample::select(names),
        proptest::option::weighted(0.9, value),
    )
}

proptest! {
    #[test]
    fn every_record_is_decided_as_the_rule_says(
        filters in proptest::collection::vec(any_filter(), 0..6),
        record in proptest::collection::vec(any_header(), 0..8),
    ) {
        let record: Vec<Header<'_>> = record
            .iter()
            .map(|(name, value)| (*name, value.as_ref().map(|value| value.as_bytes())))
            .collect();
        prop_assert_eq!(decide(&filters, &record), oracle(&filters, &record));
    }
}
