//! The thread `kafka-consumer` with librdkafka's mock brokers, and an application that is a vector.
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
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cim::health::State;
use cim::kafka::is_caught;
use servers::MockKafka;
use servers::fmaas::{Rig, Writer};
use support::{PATIENCE, eventually};

const TOPIC: &str = "FMAASEVENTS";
const E1: &str = r#"{"localEventName":["E1"]}"#;

fn mock(partitions: i32) -> MockKafka {
    let kafka = MockKafka::start();
    kafka.create_topic(TOPIC, partitions);
    kafka
}

/// A consumer that has begun to read what is subscribed to, and who writes it.
fn reading(kafka: &MockKafka) -> (Rig, Writer) {
    let writer = Writer::new(&kafka.bootstrap());
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.subscribe(E1);
    rig.start();
    rig.ready();
    (rig, writer)
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Waits for the records and makes sure that no other one comes.
#[track_caller]
fn gets(rig: &Rig, expected: &[String]) {
    eventually(PATIENCE, || rig.got().len() >= expected.len());
    rig.quiet();
    assert!(rig.got() == expected, "{:?}", rig.got());
}

/// The same with several partitions, between which there is no order.
#[track_caller]
fn gets_all(rig: &Rig, expected: std::ops::Range<u32>) {
    eventually(PATIENCE, || rig.got().len() >= expected.len());
    rig.quiet();
    let got: Result<Vec<u32>, _> = rig.got().iter().map(|n| n.parse()).collect();
    let mut got = got.unwrap();
    got.sort_unstable();
    assert!(got.iter().copied().eq(expected), "{got:?}");
}

#[test]
fn of_a_thousand_records_those_that_are_wanted_arrive_once_and_in_order() {
    let kafka = mock(1);
    let writer = Writer::new(&kafka.bootstrap());
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.subscribe(r#"{"localEventName":["E1","E2"],"nfNamingCode":["n1"]}"#);
    rig.start();
    rig.ready();
    let mut wanted = Vec::new();
    for n in 0..1000u32 {
        let value = n.to_string();
        let e = ("localEventName", Some(if n % 2 == 0 { "E1" } else { "E2" }));
        let n1 = ("nfNamingCode", Some("n1"));
        let large = "x".repeat(rig.bytes_max() + 1);
        match n % 8 {
            0 | 3 => {
                wanted.push(value.clone());
                writer.write(&[e, n1], &value);
            }
            1 => writer.write(&[e, n1, ("replay", Some("true"))], &value),
            2 => writer.write(&[e], &value),
            4 => writer.write(&[], &value),
            5 => writer.write(&[e, n1], &large),
            6 => writer.write(&[("localEventName", None), n1], &value),
            _ => {
                wanted.push(value.clone());
                let other = ("localEventName", Some("E9"));
                writer.write(&[other, n1, e, ("replay", Some("false"))], &value);
            }
        }
    }
    writer.flush();
    gets(&rig, &wanted);
    let metrics = &rig.metrics.notifications;
    let skipped = |reason| metrics.skipped.with_label_values(&[reason]).get();
    assert_eq!(metrics.consumed.get(), 1000);
    assert_eq!(metrics.delivered.get(), 375);
    assert_eq!(skipped("replay"), 125);
    assert_eq!(skipped("too_large"), 125);
    assert_eq!(skipped("no_match"), 375);
    eventually(PATIENCE, || rig.committed() == [(0, 1000)]);
}

#[test]
fn a_restart_goes_on_where_it_was_and_one_after_a_crash_repeats_what_was_not_committed_alone() {
    let kafka = mock(1);
    let (mut rig, writer) = reading(&kafka);
    writer.numbers(0..50);
    gets(&rig, &numbers(0..50));
    eventually(PATIENCE, || rig.committed() == [(0, 50)]);
    // From here on no commit gets through: the end is as sudden as a kill.
    kafka.refuse_commits(true);
    writer.numbers(50..80);
    gets(&rig, &numbers(0..80));
    rig.stop();
    kafka.refuse_commits(false);
    assert_eq!(rig.committed(), [(0, 50)]);
    writer.numbers(80..90);
    rig.start();
    let again: Vec<_> = numbers(0..80).into_iter().chain(numbers(50..90)).collect();
    gets(&rig, &again);
}

#[test]
fn what_comes_right_behind_the_answer_to_the_first_subscription_is_delivered_and_nothing_before_it()
{
    let kafka = mock(2);
    let writer = Writer::new(&kafka.bootstrap());
    writer.numbers(0..10);
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.start();
    eventually(PATIENCE, || rig.state().0 == State::Disabled);
    rig.answered(E1, PATIENCE);
    let position = rig.position();
    let ends: i64 = position.ends.unwrap().values().sum();
    assert_eq!((ends, position.joined), (10, false));
    writer.numbers(10..20);
    gets_all(&rig, 10..20);
    assert!(rig.position().joined);
}

#[test]
fn brokers_that_are_down_delay_the_answer_by_a_second_and_lose_nothing() {
    let kafka = mock(1);
    kafka.down();
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.start();
    let start = Instant::now();
    rig.answered(E1, PATIENCE);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert_eq!(rig.position().ends, None);
    eventually(PATIENCE, || rig.state().0 == State::NotReady);
    kafka.up();
    rig.ready();
    let writer = Writer::new(&kafka.bootstrap());
    writer.numbers(0..10);
    gets(&rig, &numbers(0..10));
    kafka.down();
    eventually(PATIENCE, || rig.state().0 == State::NotReady);
    kafka.up();
    writer.numbers(10..20);
    gets(&rig, &numbers(0..20));
    rig.ready();
}

#[test]
fn a_topic_that_comes_later_is_read_from_its_beginning() {
    let kafka = MockKafka::start();
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.start();
    rig.answered(E1, PATIENCE);
    assert_eq!(rig.position().ends.map(|ends| ends.len()), Some(0));
    eventually(PATIENCE, || rig.state().1.contains("is not there yet"));
    kafka.create_topic(TOPIC, 2);
    let writer = Writer::new(&kafka.bootstrap());
    writer.numbers(0..10);
    gets_all(&rig, 0..10);
    rig.ready();
    assert_eq!(rig.position().ends.map(|ends| ends.len()), Some(2));
}

#[test]
fn records_wait_until_somebody_hears_them() {
    let kafka = mock(1);
    let writer = Writer::new(&kafka.bootstrap());
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.ear.heard(false);
    rig.subscribe(E1);
    rig.start();
    rig.ready();
    writer.numbers(0..20);
    eventually(PATIENCE, || rig.state().1.contains("nobody is subscribed"));
    // Long enough for Kafka to be told to wait.
    rig.quiet();
    assert_eq!((rig.got().len(), rig.committed()), (0, vec![(0, 0)]));
    rig.ear.heard(true);
    gets(&rig, &numbers(0..20));
    rig.ready();
}

#[test]
fn a_slow_application_is_waited_for() {
    let kafka = mock(1);
    let (rig, writer) = reading(&kafka);
    rig.ear.delivers(false);
    writer.numbers(0..3000);
    eventually(PATIENCE, || rig.ear.taken() >= 1024);
    rig.quiet();
    assert_eq!(rig.ear.taken(), 1024, "what is under way is bounded");
    assert_eq!(rig.committed(), [(0, 0)]);
    rig.ear.delivers(true);
    gets(&rig, &numbers(0..3000));
    eventually(PATIENCE, || rig.committed() == [(0, 3000)]);
}

#[test]
fn the_stop_waits_for_what_is_under_way_and_commits_it() {
    let kafka = mock(1);
    let (mut rig, writer) = reading(&kafka);
    rig.ear.delivers(false);
    writer.numbers(0..10);
    eventually(PATIENCE, || rig.ear.taken() == 10);
    rig.stop.stop();
    rig.ear.delivers(true);
    rig.stop();
    assert_eq!(rig.committed(), [(0, 10)]);
}

#[test]
fn other_brokers_are_read_as_soon_as_they_are_named() {
    let (first, second) = (mock(1), mock(1));
    let (mut rig, writer) = reading(&first);
    writer.numbers(0..10);
    gets(&rig, &numbers(0..10));
    rig.brokers(&second.bootstrap());
    eventually(PATIENCE, || rig.state().1.contains(&second.bootstrap()[0]));
    rig.ready();
    writer.numbers(90..99);
    Writer::new(&second.bootstrap()).numbers(10..20);
    gets(&rig, &numbers(0..20));
    assert_eq!(rig.committed_at(&first.bootstrap()), [(0, 10)]);
    rig.brokers(&[]);
    eventually(PATIENCE, || rig.state().0 != State::Ready);
}

#[test]
fn without_a_subscription_nothing_is_read_and_the_next_one_begins_at_the_end() {
    let kafka = mock(1);
    let writer = Writer::new(&kafka.bootstrap());
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.start();
    rig.answered(E1, PATIENCE);
    rig.ready();
    writer.numbers(0..10);
    gets(&rig, &numbers(0..10));
    rig.unsubscribe();
    eventually(PATIENCE, || rig.state().0 == State::Disabled);
    writer.numbers(10..20);
    rig.answered(E1, PATIENCE);
    writer.numbers(20..30);
    let expected: Vec<_> = numbers(0..10).into_iter().chain(numbers(20..30)).collect();
    gets(&rig, &expected);
}

#[test]
fn a_header_whose_name_is_no_text_is_neither_a_reason_to_end_nor_told_as_a_panic() {
    let (caught, other) = (Arc::new(AtomicU32::new(0)), std::panic::take_hook());
    let count = Arc::clone(&caught);
    std::panic::set_hook(Box::new(move |panic| {
        if is_caught(panic) {
            count.fetch_add(1, SeqCst);
        } else {
            other(panic);
        }
    }));
    let kafka = mock(1);
    let (rig, writer) = reading(&kafka);
    let headers: [(&[u8], &[u8]); 3] = [
        (b"\xff\xfe", b"E1"),
        (b"localEventName", b"E1"),
        (b"local\xc3", b"\xff"),
    ];
    servers::fmaas::produce_raw(&kafka.bootstrap()[0], &headers, b"0");
    writer.numbers(1..2);
    gets(&rig, &numbers(0..2));
    assert_eq!(caught.load(SeqCst), 2);
}

#[test]
fn a_consumer_that_is_fenced_is_replaced() {
    let kafka = mock(1);
    let (rig, writer) = reading(&kafka);
    writer.numbers(0..10);
    gets(&rig, &numbers(0..10));
    kafka.fence();
    let replaced = &rig.metrics.notifications.consumers_replaced;
    eventually(PATIENCE, || {
        replaced.with_label_values(&["fenced"]).get() == 1
    });
    writer.numbers(10..20);
    gets(&rig, &numbers(0..20));
    rig.ready();
}

#[test]
fn a_group_that_cannot_be_committed_to_is_tried_again_and_nothing_is_read_before() {
    let kafka = mock(1);
    let writer = Writer::new(&kafka.bootstrap());
    let mut rig = Rig::new(&kafka.bootstrap());
    rig.subscribe(E1);
    kafka.refuse_commits(true);
    rig.start();
    let replaced = &rig.metrics.notifications.consumers_replaced;
    eventually(PATIENCE, || {
        replaced.with_label_values(&["commit"]).get() > 0
    });
    writer.numbers(0..10);
    assert_eq!(rig.got().len(), 0);
    kafka.refuse_commits(false);
    gets(&rig, &numbers(0..10));
}
