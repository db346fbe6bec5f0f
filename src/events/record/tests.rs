//! The original's own records, and what it does not have.

use flatbuffers::FlatBufferBuilder;
use serde_json::Value;

use super::*;
use crate::wire::{EventFields, encode_event};

/// The pod of the golden samples.
fn identity() -> Identity {
    Identity {
        pod: "cnf-0".into(),
        namespace: "ns1".into(),
        pod_uid: Some("11111111-2222-3333-4444-555555555555".into()),
        microservice: Some("ms1".into()),
        version: "v1".into(),
        standalone: false,
        tmaas: Some(TmaasAnnotation {
            vendor_id: "v1".into(),
            xgvela_id: "xgvela1".into(),
            nf_class: "nfc".into(),
            nf_type: "nft".into(),
            nf_id: "nf1".into(),
            nf_service_id: "svc1".into(),
            nf_service_type: "svctype".into(),
        }),
        nf_prefix: "ns1".into(),
        uhn: Some("uhn1".into()),
        cnfc_uuid: Some("cnfc1".into()),
        ..bare()
    }
}

/// Nothing is known but the names.
fn bare() -> Identity {
    Identity::resolve(&Default::default(), &Default::default()).0
}

fn encoded(event: &EventFields<'_>) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    encode_event(event, &mut builder);
    builder.finished_data().to_vec()
}

fn json(source: &Source, buffer: &[u8]) -> Result<String, TooLarge> {
    let mut out = Vec::new();
    source.append(&Event::read(buffer).unwrap(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

macro_rules! golden {
    ($name:literal) => {
        (
            &include_bytes!(concat!("../../../tests/golden/1-inputs/", $name, ".fb"))[..],
            include_str!(concat!(
                "../../../tests/golden/2-kafka-events/",
                $name,
                ".key.raw"
            )),
            include_str!(concat!(
                "../../../tests/golden/2-kafka-events/",
                $name,
                ".value.raw"
            )),
        )
    };
}

#[test]
fn every_event_has_the_bytes_of_the_original() {
    let source = Source::new(&identity());
    for (input, key, value) in [
        golden!("event_empty_lists"),
        golden!("event_minimal"),
        golden!("event_name_not_utf8"),
        golden!("event_no_managed_object"),
    ] {
        assert_eq!(json(&source, input).unwrap(), value);
        assert_eq!(source.key(), key.as_bytes());
    }
}

#[test]
fn what_the_original_drops_is_carried() {
    let (input, _, value) = golden!("event_full");
    let json = json(&Source::new(&identity()), input).unwrap();
    let event = Event::read(input).unwrap();
    let pairs = |list: KeyValues<'_>| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = list
            .iter()
            .map(|entry| serde_json::json!({"name": text(entry.key), "value": text(entry.value)}));
        Value::Array(pairs.collect()).to_string()
    };
    let (threshold, monitored) = (
        pairs(event.threshold_info),
        pairs(event.monitored_attributes),
    );
    assert!(threshold.len() > 10 && monitored.len() > 10);
    let ours = value
        .replace(
            ",\"stateChangeDefinition\":",
            &format!(",\"thresholdInfo\":{threshold},\"stateChangeDefinition\":"),
        )
        .replace(
            ",\"sourceHeaders\":",
            &format!(",\"monitoredAttributes\":{monitored},\"sourceHeaders\":"),
        );
    assert_eq!(json, ours);
}

#[test]
fn what_is_not_known_is_empty_or_left_out() {
    let source = Source::new(&bare());
    let json = json(&source, &encoded(&EventFields::default())).unwrap();
    assert_eq!(
        json,
        r#"{"eventName":"","eventTime":0,"managedObject":null,"sourceHeaders":{"podId":"localhost","microservice":"app","nf":"","nfPrefix":"standalone","nfType":"","svcVersion":"v0"},"containerId":""}"#
    );
    // The MD5 of two colons.
    assert_eq!(source.key(), b"4501c091b0366d76ea3218b6cfdd8097");
}

#[test]
fn an_event_beyond_the_bound_is_refused_before_it_takes_the_memory() {
    let source = Source::new(&identity());
    let long = vec![b'<'; EVENT_JSON_BYTES / 8];
    let fits = EventFields {
        event_name: &long,
        ..EventFields::default()
    };
    assert!(json(&source, &encoded(&fits)).is_ok());
    let entries = vec![(&b"k"[..], &long[..]); 2];
    for too_large in [
        EventFields {
            additional_info: &entries,
            ..fits.clone()
        },
        EventFields {
            source_id: &long,
            source_name: &long,
            ..fits.clone()
        },
        EventFields {
            container_id: &long,
            event_source_type: &long,
            ..fits.clone()
        },
    ] {
        let buffer = encoded(&too_large);
        let mut out = Vec::new();
        let event = Event::read(&buffer).unwrap();
        assert_eq!(source.append(&event, &mut out), Err(TooLarge));
        assert!(out.len() <= EVENT_JSON_BYTES + 6 * long.len() + 1024);
    }
}

#[test]
fn the_records_time_is_the_events_unless_kafka_would_refuse_it() {
    let stored = 1_767_225_600_123;
    let ahead = EVENT_TIME_AHEAD.as_millis() as i64;
    for (time, expected) in [
        (1, 1),
        (stored - 1, stored - 1),
        (stored + ahead, stored + ahead),
        (stored + ahead + 1, stored),
        (0, stored),
        (-1, stored),
        (i64::MIN, stored),
        (i64::MAX, stored),
        (stored * 1000, stored),
    ] {
        assert_eq!(timestamp(time, stored as u64), expected, "{time}");
    }
    assert_eq!(timestamp(5, u64::MAX), 5);
}
