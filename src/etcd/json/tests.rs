//! Bodies and answers as etcd 3.4 has them.

use super::*;

#[test]
fn requests_leave_out_what_is_default() {
    let all = Range {
        key: b"a".into(),
        range_end: b"b".into(),
        revision: 1,
        min_mod_revision: 2,
        limit: 3,
        keys_only: true,
        oldest_first: true,
    };
    for (body, expected) in [
        (Range::key("a").body(), r#"{"key":"YQ=="}"#),
        (
            Range::prefix("a").body(),
            r#"{"key":"YQ==","range_end":"Yg=="}"#,
        ),
        (
            all.body(),
            r#"{"key":"YQ==","range_end":"Yg==","revision":"1","min_mod_revision":"2","limit":"3","keys_only":true,"sort_target":"MOD","sort_order":"ASCEND"}"#,
        ),
        (put_body(b"a", b""), r#"{"key":"YQ==","value":""}"#),
        (
            Txn::default().body(),
            r#"{"compare":[],"success":[],"failure":[]}"#,
        ),
    ] {
        assert_eq!(body.to_string(), expected);
    }
}

#[test]
fn a_transaction_has_comparisons_and_steps() {
    let compare = |is| Compare {
        key: b"k".into(),
        is,
    };
    let txn = Txn {
        compare: vec![
            compare(Condition::Value(b"v".into())),
            compare(Condition::ModRevision(5)),
            compare(Condition::Version(0)),
        ],
        success: vec![Operation::Put {
            key: b"a".into(),
            value: b"b".into(),
        }],
        failure: vec![
            Operation::Range(Range {
                revision: 9,
                ..Range::key("a")
            }),
            Operation::Delete { key: b"a".into() },
        ],
    };
    assert_eq!(
        txn.body(),
        json!({
            "compare": [
                {"key": "aw==", "result": "EQUAL", "target": "VALUE", "value": "dg=="},
                {"key": "aw==", "result": "EQUAL", "target": "MOD", "mod_revision": "5"},
                {"key": "aw==", "result": "EQUAL", "target": "VERSION", "version": "0"},
            ],
            "success": [{"request_put": {"key": "YQ==", "value": "Yg=="}}],
            "failure": [
                {"request_range": {"key": "YQ==", "revision": "9"}},
                {"request_delete_range": {"key": "YQ=="}},
            ],
        })
    );
    assert_eq!((txn.revision(), Txn::default().revision()), (9, 0));
}

#[test]
fn the_end_of_a_prefix() {
    for (prefix, end) in [
        (&b"a"[..], &b"b"[..]),
        (b"a/", b"a0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b"\0"),
        (b"", b"\0"),
    ] {
        assert_eq!(prefix_end(prefix), end, "{prefix:?}");
    }
}

#[test]
fn answers_of_etcd_3_4() {
    let header = r#""header":{"cluster_id":"18446744073709551615","member_id":"1","revision":"9223372036854775807","raft_term":"2"}"#;
    let expected = Header {
        cluster_id: u64::MAX,
        revision: i64::MAX,
    };
    let range: RangeAnswer = answer(
        format!(r#"{{{header},"kvs":[{{"key":"YWE=","create_revision":"2","mod_revision":"3","version":"2","value":"Yg=="}}],"more":true,"count":"5"}}"#).as_bytes(),
    )
    .unwrap();
    let kv = KeyValue {
        key: b"aa".into(),
        value: b"b".into(),
        mod_revision: 3,
        create_revision: 2,
        version: 2,
        lease: 0,
    };
    assert_eq!(
        range,
        RangeAnswer {
            header: expected,
            kvs: vec![kv.clone()],
            more: true,
            count: 5
        }
    );
    let put: PutAnswer = answer(format!("{{{header}}}").as_bytes()).unwrap();
    assert_eq!(put.header, expected);
    let deleted: DeleteAnswer = answer(br#"{"deleted":"1"}"#).unwrap();
    assert_eq!((deleted.deleted, deleted.header), (1, Header::default()));
    let txn: TxnAnswer = answer(
        br#"{"succeeded":true,"responses":[{"response_put":{"header":{"revision":"4"}}},{"response_range":{"header":{"revision":"4"},"kvs":[{"key":"YWE=","create_revision":"2","mod_revision":"3","version":"2","value":"Yg=="}],"count":"1"}},{"response_delete_range":{"header":{"revision":"4"},"deleted":"1"}}]}"#,
    )
    .unwrap();
    let header = Header {
        cluster_id: 0,
        revision: 4,
    };
    assert_eq!(
        txn.responses,
        [
            TxnResponse::Put(PutAnswer { header }),
            TxnResponse::Range(RangeAnswer {
                header,
                kvs: vec![kv],
                more: false,
                count: 1
            }),
            TxnResponse::Delete(DeleteAnswer { header, deleted: 1 }),
        ]
    );
    let status: Status =
        answer(br#"{"header":{"cluster_id":3},"version":"3.4.23","leader":"7","dbSize":"1"}"#)
            .unwrap();
    assert_eq!(
        (status.header.cluster_id, status.leader, &*status.version),
        (3, 7, "3.4.23")
    );
}

#[test]
fn an_answer_has_a_bounded_number_of_items() {
    let body = |n: usize| format!(r#"{{"kvs":[{}{{}}]}}"#, "{},".repeat(n - 1));
    let full: RangeAnswer = answer(body(limits::ETCD_ITEMS).as_bytes()).unwrap();
    assert_eq!(full.kvs.len(), limits::ETCD_ITEMS);
    assert!(answer::<RangeAnswer>(body(limits::ETCD_ITEMS + 1).as_bytes()).is_err());
}

#[test]
fn what_cannot_be_read_is_told_without_its_content() {
    for (body, start) in [
        (&b"{"[..], "it ends too early"),
        (b"<html>secret", "no JSON"),
        (br#"{"kvs":"secret"}"#, "not what the gateway sends"),
        (br#"{"count":"secret"}"#, "not what the gateway sends"),
        (br#"{"more":"secret"}"#, "not what the gateway sends"),
    ] {
        let what = answer::<RangeAnswer>(body).unwrap_err();
        assert!(
            what.starts_with(start) && !what.contains("secret"),
            "{what}"
        );
    }
}

#[test]
fn the_gateways_error_is_told_from_others() {
    for (body, expected) in [
        (
            r#"{"error":"x","message":"m","code":5}"#,
            Some((5, "m".to_owned())),
        ),
        (
            r#"{"code":5,"message":"m","details":[]}"#,
            Some((5, "m".to_owned())),
        ),
        (r#"{"message":"m"}"#, None),
        ("<html>", None),
        ("", None),
    ] {
        assert_eq!(gateway_error(body.as_bytes()), expected);
    }
}
