//! The first configuration, step by step.

use std::time::Duration;

use super::super::testing::{CLUSTER, entry, own};
use super::super::wire::Header;
use super::*;

const NF: &str = "config/ns1/ms1/2";
const ZERO: &str = "config/ns1/ms1/0";
const VALUE: &str = "{\"app.json\":\"{}\", \"n\": 12345678901234567890123}\n";

struct Rig {
    day_one: DayOne,
    now: Instant,
}

impl Rig {
    fn new(nf_revision: Option<&str>) -> Self {
        Self {
            day_one: DayOne::new(&own(), nf_revision),
            now: Instant::now(),
        }
    }

    /// After `NotConfigured`: the first read waits for its result.
    fn asked(nf_revision: Option<&str>) -> Self {
        let mut rig = Self::new(nf_revision);
        rig.day_one.on_not_configured();
        assert_eq!(rig.actions(), [DayOneAction::Read]);
        rig
    }

    fn actions(&mut self) -> Vec<DayOneAction> {
        self.day_one.take_actions().into()
    }

    fn read(&mut self, revision: i64, entries: &[(&str, &str, i64)]) {
        let entries = entries
            .iter()
            .map(|(key, value, at)| entry(key, value, *at));
        let page = Page {
            header: Header {
                cluster_id: CLUSTER,
                revision,
            },
            entries: entries.collect(),
            more: false,
        };
        self.day_one.on_read(Some(page), self.now, 0);
    }

    fn load(&mut self, outcome: LoadOutcome) {
        self.day_one.on_load(outcome, self.now, 0);
    }

    /// Waits for the next deadline; the answer is how long.
    fn wait(&mut self) -> Duration {
        let at = self.day_one.deadline().expect("a deadline");
        self.day_one.on_tick(at - Duration::from_nanos(1));
        assert_eq!(self.actions(), [], "too early");
        let waited = at - self.now;
        self.now = at;
        self.day_one.on_tick(at);
        waited
    }

    #[track_caller]
    fn expect_load(&mut self, value: &str) {
        assert_eq!(
            self.actions(),
            [DayOneAction::Load(value.as_bytes().into())]
        );
    }

    #[track_caller]
    fn expect_failure(&mut self, not_an_object: bool) {
        let event = OwnEvent::LoadConfigRequestFailure { not_an_object };
        assert_eq!(
            self.actions(),
            [DayOneAction::Raise(event), DayOneAction::DeletePod]
        );
        self.day_one.on_not_configured();
        assert_eq!(self.actions(), [], "the pod is to be deleted");
    }
}

#[test]
fn the_keys_are_that_of_the_nf_revision_and_that_of_revision_0() {
    for (nf_revision, keys) in [
        (Some("2"), &[NF, ZERO][..]),
        (Some("02"), &["config/ns1/ms1/02", ZERO]),
        (Some("0"), &[ZERO]),
        (Some("00"), &[ZERO]),
        (None, &[ZERO]),
    ] {
        assert_eq!(DayOne::new(&own(), nf_revision).keys(), keys);
    }
}

#[test]
fn what_is_there_at_the_nf_revision_is_loaded_byte_for_byte() {
    let mut rig = Rig::asked(Some("2"));
    rig.read(50, &[(ZERO, "{}", 49), (NF, VALUE, 10)]);
    rig.expect_load(VALUE);
    rig.load(LoadOutcome::Accepted);
    assert_eq!(rig.actions(), []);
    assert_eq!(rig.day_one.deadline(), None);
}

#[test]
fn without_an_nf_revision_what_is_there_at_0_is_loaded() {
    for nf_revision in [None, Some("0")] {
        let mut rig = Rig::asked(nf_revision);
        rig.read(50, &[(ZERO, VALUE, 10)]);
        rig.expect_load(VALUE);
    }
}

#[test]
fn while_it_waits_only_what_is_newer_than_the_first_read_counts() {
    for (entries, expected) in [
        (&[(ZERO, VALUE, 51)][..], Some(VALUE)),
        (&[(NF, VALUE, 51)], Some(VALUE)),
        (&[(ZERO, "{}", 52), (NF, VALUE, 51)], Some(VALUE)),
        (&[(ZERO, VALUE, 50)], None),
        (&[("config/ns1/ms1/3", VALUE, 51)], None),
    ] {
        let mut rig = Rig::asked(Some("2"));
        rig.read(50, &[(ZERO, "{\"old\":\"\"}", 40)]);
        assert_eq!(rig.actions(), []);
        for _ in 0..3 {
            assert_eq!(rig.wait(), DAY_ONE_POLL);
            assert_eq!(rig.actions(), [DayOneAction::Read]);
            rig.read(50, &[(ZERO, "{\"old\":\"\"}", 40)]);
        }
        rig.wait();
        rig.actions();
        rig.read(60, entries);
        match expected {
            Some(value) => rig.expect_load(value),
            None => assert_eq!(rig.actions(), []),
        }
    }
}

#[test]
fn while_etcd_is_away_it_is_asked_with_back_off_and_the_first_answer_is_the_first_read() {
    let mut rig = Rig::asked(Some("2"));
    let mut waits = Vec::new();
    for _ in 0..6 {
        rig.day_one.on_read(None, rig.now, 0);
        waits.push(rig.wait().as_millis());
        assert_eq!(rig.actions(), [DayOneAction::Read]);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 5000, 5000]);
    rig.read(50, &[(ZERO, VALUE, 50)]);
    assert_eq!(rig.actions(), [], "old at the first read");
    assert_eq!(rig.wait(), DAY_ONE_POLL);
    rig.actions();
    rig.day_one.on_read(None, rig.now, 0);
    assert_eq!(rig.wait(), DAY_ONE_POLL / 2, "a new outage");
    rig.actions();
    rig.read(51, &[(ZERO, VALUE, 51)]);
    rig.expect_load(VALUE);
}

#[test]
fn a_replaced_etcd_is_read_for_the_first_time() {
    let mut rig = Rig::asked(Some("2"));
    rig.read(50, &[]);
    rig.wait();
    rig.actions();
    rig.read(7, &[(ZERO, VALUE, 3)]);
    assert_eq!(rig.actions(), []);
    rig.wait();
    rig.actions();
    rig.read(8, &[(ZERO, VALUE, 8)]);
    rig.expect_load(VALUE);
    let mut rig = Rig::asked(Some("2"));
    rig.read(50, &[]);
    rig.wait();
    rig.actions();
    rig.read(7, &[(NF, VALUE, 3)]);
    rig.expect_load(VALUE);
}

#[test]
fn only_an_object_is_loaded() {
    for (value, is_object) in [
        ("{}", true),
        (" {\"a\":\"b\"}\r\n", true),
        ("{\"a\":{\"b\":[1,2.5e10,null,true]}}", true),
        ("{\"a\":1,\"a\":2}", true),
        ("", false),
        ("null", false),
        ("5", false),
        ("[]", false),
        ("[{}]", false),
        ("\"{}\"", false),
        ("{} {}", false),
        ("{\"a\":}", false),
        ("{\"a\":1", false),
        ("{a:1}", false),
        ("\u{feff}{}", false),
    ] {
        let mut rig = Rig::asked(None);
        rig.read(50, &[(ZERO, value, 10)]);
        if is_object {
            rig.expect_load(value);
        } else {
            rig.expect_failure(true);
        }
    }
    assert!(!is_json_object(b"{\"a\":\"\xff\"}"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(is_json_object(deep.as_bytes()));
}

#[test]
fn a_failed_load_deletes_the_pod() {
    let mut rig = Rig::asked(None);
    rig.read(50, &[(ZERO, VALUE, 10)]);
    rig.actions();
    rig.load(LoadOutcome::Failed);
    rig.expect_failure(false);
}

#[test]
fn an_application_that_does_not_listen_yet_is_tried_for_a_bounded_time() {
    let mut rig = Rig::asked(None);
    rig.read(50, &[(ZERO, VALUE, 10)]);
    let start = rig.now;
    let mut tries = 0;
    loop {
        rig.expect_load(VALUE);
        tries += 1;
        rig.load(LoadOutcome::Refused);
        if rig.day_one.deadline().is_none() {
            break;
        }
        rig.wait();
    }
    assert_eq!(rig.now - start, LOAD_RETRY_TIME);
    assert!(tries > 5, "{tries}");
    rig.expect_failure(false);

    let mut rig = Rig::asked(None);
    rig.read(50, &[(ZERO, VALUE, 10)]);
    rig.load(LoadOutcome::Refused);
    rig.actions();
    rig.wait();
    rig.expect_load(VALUE);
    rig.load(LoadOutcome::Accepted);
    assert_eq!((rig.actions(), rig.day_one.deadline()), (vec![], None));
}

/// The machine in each of its states but idle, with the name of the state.
fn states() -> Vec<(&'static str, Rig)> {
    let reading = Rig::asked(None);
    let mut waiting = Rig::asked(None);
    waiting.read(50, &[]);
    let mut loading = Rig::asked(None);
    loading.read(50, &[(ZERO, VALUE, 10)]);
    loading.actions();
    let mut pausing = Rig::asked(None);
    pausing.read(50, &[(ZERO, VALUE, 10)]);
    pausing.load(LoadOutcome::Refused);
    pausing.actions();
    let mut loaded = Rig::asked(None);
    loaded.read(50, &[(ZERO, VALUE, 10)]);
    loaded.load(LoadOutcome::Accepted);
    loaded.actions();
    let mut failed = Rig::asked(None);
    failed.read(50, &[(ZERO, "", 10)]);
    failed.actions();
    vec![
        ("reading", reading),
        ("waiting", waiting),
        ("loading", loading),
        ("pausing", pausing),
        ("loaded", loaded),
        ("failed", failed),
    ]
}

#[test]
fn a_repeated_not_configured_changes_nothing() {
    for (state, mut rig) in states() {
        let deadline = rig.day_one.deadline();
        rig.day_one.on_not_configured();
        assert_eq!(rig.actions(), [], "{state}");
        assert_eq!(rig.day_one.deadline(), deadline, "{state}");
    }
}

#[test]
fn configured_ends_the_procedure_and_a_later_not_configured_begins_anew() {
    for (state, mut rig) in states() {
        rig.day_one.on_configured();
        assert_eq!(rig.day_one.deadline(), None, "{state}");
        // What was under way when it came.
        rig.load(LoadOutcome::Failed);
        rig.read(50, &[(ZERO, VALUE, 10)]);
        assert_eq!(rig.actions(), [], "{state}");
        rig.day_one.on_not_configured();
        assert_eq!(rig.actions(), [DayOneAction::Read], "{state}");
    }
}

#[test]
fn a_registration_resets_but_the_first_one_does_not_undo_a_question_that_came_before_it() {
    for (state, mut rig) in states() {
        rig.day_one.on_registered(false);
        assert_eq!(rig.day_one.deadline(), None, "{state}");
        rig.day_one.on_not_configured();
        assert_eq!(rig.actions(), [DayOneAction::Read], "{state}");
    }
    for (state, mut rig) in states() {
        let deadline = rig.day_one.deadline();
        rig.day_one.on_registered(true);
        assert_eq!(rig.day_one.deadline(), deadline, "{state}");
        rig.day_one.on_not_configured();
        let expected: &[DayOneAction] = if ["loaded", "failed"].contains(&state) {
            &[DayOneAction::Read]
        } else {
            &[]
        };
        assert_eq!(rig.actions(), expected, "{state}");
    }
}

#[test]
fn the_configuration_is_never_shown() {
    let mut rig = Rig::asked(None);
    rig.read(50, &[(ZERO, "{\"password\":\"x\"}", 10)]);
    assert!(!format!("{:?}", rig.day_one).contains("password"));
    assert!(!format!("{:?}", rig.actions()).contains("password"));
}
