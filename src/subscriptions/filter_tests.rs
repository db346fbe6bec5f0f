//! Bodies of requests.

use serde_json::json;

use super::*;

/// What a body says, written as `GET` gives it.
fn parsed(body: &str) -> Result<String, FilterError> {
    Filter::parse(body.as_bytes()).map(|filter| serde_json::to_string(&filter).unwrap())
}

#[test]
fn bodies() {
    use FilterError::{Body, NoEventName};
    for (body, expected) in [
        (
            r#"{"localEventName":["E1","E2"]}"#,
            Ok(r#"{"localEventName":["E1","E2"]}"#),
        ),
        // Whatever the order, the answer has the original's.
        (
            r#"{"localNfId":["l"],"nfcNamingCode":["c"],"nfNamingCode":["n"],"localEventName":["E"]}"#,
            Ok(
                r#"{"localEventName":["E"],"nfNamingCode":["n"],"nfcNamingCode":["c"],"localNfId":["l"]}"#,
            ),
        ),
        // Members whatever their case, as Go reads them; the last one holds.
        (
            r#"{"LOCALEVENTNAME":["E"],"localNfID":["l"]}"#,
            Ok(r#"{"localEventName":["E"],"localNfId":["l"]}"#),
        ),
        (
            r#"{"localEventName":["E"],"localeventname":["F"]}"#,
            Ok(r#"{"localEventName":["F"]}"#),
        ),
        // What is not given.
        (
            r#"{"localEventName":["E"],"nfNamingCode":null,"nfcNamingCode":[],"localNfId":["",null]}"#,
            Ok(r#"{"localEventName":["E"]}"#),
        ),
        (
            r#"{"localEventName":["","E"],"more":{"a":[1]}}"#,
            Ok(r#"{"localEventName":["E"]}"#),
        ),
        (
            r#"{"localEventName":["E"]} "#,
            Ok(r#"{"localEventName":["E"]}"#),
        ),
        (
            "{\"localEventName\":[\"\u{e4}\\u0000\"]}",
            Ok("{\"localEventName\":[\"\u{e4}\\u0000\"]}"),
        ),
        ("", Err(Body)),
        ("{", Err(Body)),
        ("null", Err(Body)),
        (r#"["localEventName"]"#, Err(Body)),
        (r#"{"localEventName":"E"}"#, Err(Body)),
        (r#"{"localEventName":[1]}"#, Err(Body)),
        (r#"{"localEventName":["E"],"localNfId":"l"}"#, Err(Body)),
        (r#"{"nfNamingCode":[{}]}"#, Err(Body)),
        (r#"{"localEventName":["E"]} {}"#, Err(Body)),
        ("{}", Err(NoEventName)),
        (r#"{"nfNamingCode":["n"]}"#, Err(NoEventName)),
        (r#"{"localEventName":null}"#, Err(NoEventName)),
        (r#"{"localEventName":[]}"#, Err(NoEventName)),
        (r#"{"localEventName":["",null]}"#, Err(NoEventName)),
        (
            r#"{"localEventName":["E"],"localEventName":null}"#,
            Err(NoEventName),
        ),
    ] {
        assert_eq!(parsed(body), expected.map(str::to_owned), "{body}");
    }
    assert_eq!(Filter::parse(b"{\"localEventName\":[\"\xff\"]}"), Err(Body));
}

#[test]
fn the_bounds_are_reached_and_not_passed() {
    let body = |values: usize, bytes: usize| {
        let values: Vec<_> = (0..values).map(|_| "x".repeat(bytes)).collect();
        json!({"localEventName": ["E"], "nfcNamingCode": values}).to_string()
    };
    assert!(parsed(&body(SUBSCRIPTION_VALUES, SUBSCRIPTION_VALUE_BYTES)).is_ok());
    assert_eq!(
        parsed(&body(SUBSCRIPTION_VALUES + 1, 1)),
        Err(FilterError::TooManyValues("nfcNamingCode"))
    );
    let error = parsed(&body(1, SUBSCRIPTION_VALUE_BYTES + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "nfcNamingCode has a value of more than 256 bytes."
    );
}

#[test]
fn the_same_wish_in_another_order_is_the_same() {
    let filter = |body: &str| Filter::parse(body.as_bytes()).unwrap();
    let one = filter(r#"{"localEventName":["E","F"],"nfNamingCode":["n"]}"#);
    for (body, same) in [
        (r#"{"localEventName":["F","E"],"nfNamingCode":["n"]}"#, true),
        (
            r#"{"localEventName":["F","E","F"],"nfNamingCode":["n"]}"#,
            true,
        ),
        (r#"{"localEventName":["E"],"nfNamingCode":["n"]}"#, false),
        (r#"{"localEventName":["E","F"]}"#, false),
        (r#"{"localEventName":["E","F"],"localNfId":["n"]}"#, false),
    ] {
        assert_eq!(one.is_same(&filter(body)), same, "{body}");
    }
}
