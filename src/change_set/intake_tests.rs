//! What comes out of reads and frames, case by case. Random ones: `schedules`.

use super::super::testing::etcd::Etcd;
use super::super::testing::{CLUSTER, entry, own};
use super::*;

const PREFIX: &str = "change-set/ns1/ms1/";

fn key(tail: &str) -> String {
    format!("change-set/ns1/ms1/v1/{tail}")
}

/// An intake, what it is given, and what has come out of it.
struct Rig {
    etcd: Etcd,
    intake: Intake,
    /// `<level>/<data key>/<revision>`.
    handed_on: Vec<String>,
    malformed: Vec<String>,
    replaced: usize,
}

impl Rig {
    fn new(etcd: Etcd, started: StartedWith) -> Self {
        Self {
            etcd,
            intake: Intake::new(own(), started),
            handed_on: Vec::new(),
            malformed: Vec::new(),
            replaced: 0,
        }
    }

    fn empty() -> Self {
        Self::new(Etcd::new(CLUSTER), StartedWith::default())
    }

    fn keep(&mut self, output: Output) {
        let tails = output.change_sets.iter().map(|change_set| {
            let tail = change_set.key.text().strip_prefix("change-set/ns1/ms1/v1/");
            tail.unwrap().to_owned()
        });
        self.handed_on.extend(tails);
        for Skipped::Malformed { key, .. } in output.skipped {
            self.malformed.push(key);
        }
        self.replaced += usize::from(output.replaced);
    }

    /// Reads until there is nothing to do but watch.
    fn settle(&mut self) {
        loop {
            match self.intake.step() {
                Step::ReadOwn => self.intake.on_own(&self.etcd.read(&own().keys())),
                Step::ReadPrefix {
                    at,
                    min_mod_revision,
                    limit,
                } => match self.etcd.read_prefix(PREFIX, at, min_mod_revision, limit) {
                    Ok(page) => {
                        let output = self.intake.on_page(page);
                        self.keep(output);
                    }
                    Err(failure) => self.intake.on_read_failed(failure),
                },
                Step::Watch { .. } => return,
            }
        }
    }

    fn put(&mut self, tails: &[&str]) -> i64 {
        let keys: Vec<String> = tails.iter().map(|tail| key(tail)).collect();
        let puts: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "[]")).collect();
        self.etcd.put(&puts)
    }

    /// A frame with puts at revisions.
    fn frame(&mut self, fragment: bool, puts: &[(i64, &str)]) {
        let events = puts
            .iter()
            .map(|(revision, tail)| Event::Put(entry(&key(tail), "[]", *revision)));
        let frame = Frame {
            header: Header {
                cluster_id: CLUSTER,
                revision: puts.iter().map(|put| put.0).max().unwrap_or(1),
            },
            canceled: false,
            fragment,
            events: events.collect(),
        };
        let output = self.intake.on_frame(frame);
        self.keep(output);
    }

    #[track_caller]
    fn expect(&mut self, tails: &[&str]) {
        assert_eq!(std::mem::take(&mut self.handed_on), tails);
    }

    #[track_caller]
    fn expect_watch_from(&self, start_revision: i64) {
        assert_eq!(self.intake.step(), Step::Watch { start_revision });
    }
}

#[test]
fn at_the_start_the_prefix_is_read_at_one_revision_and_then_watched() {
    let mut rig = Rig::empty();
    rig.put(&["ms/b.json/2", "ms/a.json/2", "nf/a.json/1"]);
    let last = rig.put(&["ms/a.json/10"]);
    assert_eq!(rig.intake.step(), Step::ReadOwn);
    rig.intake.on_own(&rig.etcd.read(&own().keys()));
    assert_eq!(
        rig.intake.step(),
        Step::ReadPrefix {
            at: Some(last),
            min_mod_revision: 1,
            limit: PREFIX_PAGE
        }
    );
    // Put between the two reads: the watch brings it.
    rig.put(&["ms/a.json/11"]);
    rig.settle();
    rig.expect(&["ms/a.json/2", "ms/b.json/2", "nf/a.json/1", "ms/a.json/10"]);
    rig.expect_watch_from(last + 1);
    assert_eq!(rig.intake.revision(), last + 1);
}

#[test]
fn without_a_memory_what_is_above_the_floor_of_its_level_is_handed_on() {
    let none: &[(&str, &str)] = &[];
    let ms = "commit-config/ns1/ms1/v1/ms/cnf-0";
    let nf = "commit-config/ns1/ms1/v1/nf/cnf-0";
    let cim = "commit-config/ns1/ms1/v1/ms/cim/cnf-0";
    let cim_nf = "commit-config/ns1/ms1/v1/nf/cim/cnf-0";
    let memory = "cim-position/ns1/ms1/v1/cnf-0";
    let other_cluster = format!(
        r#"{{"pod_uid":"u-1","cluster_id":"5","revision":900,"key":"{}"}}"#,
        key("nf/a/5")
    );
    let other_pod = other_cluster.replace("u-1", "u-2");
    let all = ["ms/a/5", "nf/a/5", "ms/cim.json/5", "nf/cim.json/5"];
    for (started, own_keys, expected) in [
        ([None, None, None], none, &all[..]),
        ([Some("4"), None, None], none, &all),
        (
            [Some("5"), None, None],
            none,
            &["nf/a/5", "ms/cim.json/5", "nf/cim.json/5"],
        ),
        (
            [None, Some("05"), None],
            none,
            &["ms/a/5", "ms/cim.json/5", "nf/cim.json/5"],
        ),
        (
            [None, None, Some("7")],
            none,
            &["ms/a/5", "nf/a/5", "nf/cim.json/5"],
        ),
        ([Some("x"), Some("-1"), Some("")], none, &all),
        (
            [None; 3],
            &[(ms, "5")],
            &["nf/a/5", "ms/cim.json/5", "nf/cim.json/5"],
        ),
        (
            [None; 3],
            &[(ms, "4"), (nf, "6"), (cim, "5"), (cim_nf, "5")],
            &["ms/a/5"],
        ),
        (
            [Some("5"), None, None],
            &[(ms, "-1")],
            &["nf/a/5", "ms/cim.json/5", "nf/cim.json/5"],
        ),
        ([None; 3], &[(ms, "-1"), (nf, "-2"), (cim, "")], &all),
        // This pod has dealt with it in another etcd; another pod has not.
        (
            [None; 3],
            &[(memory, &other_cluster)],
            &["ms/a/5", "ms/cim.json/5", "nf/cim.json/5"],
        ),
        ([None; 3], &[(memory, &other_pod)], &all),
        ([None; 3], &[(memory, "garbage")], &all),
    ] {
        let [ms, nf, config_map] = started.map(|text| text.map(str::to_owned));
        let mut rig = Rig::new(Etcd::new(CLUSTER), StartedWith { ms, nf, config_map });
        for tail in all {
            rig.put(&[tail]);
        }
        for put in own_keys {
            rig.etcd.put(&[*put]);
        }
        rig.settle();
        assert_eq!(rig.handed_on, expected, "{started:?} {own_keys:?}");
    }
}

#[test]
fn with_a_memory_what_is_behind_its_position_is_handed_on_whatever_its_number() {
    let mut rig = Rig::new(
        Etcd::new(CLUSTER),
        StartedWith {
            ms: Some("100".into()),
            ..StartedWith::default()
        },
    );
    rig.put(&["ms/a/9"]);
    let revision = rig.put(&["ms/d/10", "ms/b/10", "ms/c/10"]);
    rig.put(&["ms/a/3"]);
    let memory = Memory {
        pod_uid: own().pod_uid,
        cluster_id: CLUSTER,
        position: Position {
            revision,
            key: key("ms/b/10"),
        },
    };
    rig.etcd.put(&[(&own().memory_key(), &memory.value())]);
    rig.settle();
    rig.expect(&["ms/c/10", "ms/d/10", "ms/a/3"]);
}

#[test]
fn what_the_watch_brings_is_new_whatever_its_number() {
    let mut rig = Rig::new(
        Etcd::new(CLUSTER),
        StartedWith {
            ms: Some("100".into()),
            ..StartedWith::default()
        },
    );
    rig.settle();
    rig.frame(false, &[(2, "ms/a/7"), (3, "ms/a/6")]);
    rig.expect(&["ms/a/7", "ms/a/6"]);
}

#[test]
fn others_are_skipped_and_malformed_keys_are_told() {
    let mut rig = Rig::empty();
    let keys = [
        "change-set/ns1/ms1/v2/ms/a/1",
        "change-set/ns1/ms1/v2/ms/cim.json/1",
        "change-set/ns1/ms1/v1/ms/a",
        "change-set/ns1/ms1/v1/ms/a/b/1",
        "change-set/ns1/ms1/v1/ms/a/x",
        "change-set/ns1/ms1/v1/ms/a\n/-1",
        "change-set/ns1/ms1/v1/ms/a/1",
        "change-set/ns1/ms1x/v1/ms/a/1",
    ];
    let malformed = [
        "change-set/ns1/ms1/v1/ms/a",
        "change-set/ns1/ms1/v1/ms/a/b/1",
        "change-set/ns1/ms1/v1/ms/a/x",
        "change-set/ns1/ms1/v1/ms/a\\n/-1",
    ];
    for key in keys {
        rig.etcd.put(&[(key, "")]);
    }
    rig.settle();
    rig.expect(&["ms/a/1"]);
    assert_eq!(std::mem::take(&mut rig.malformed), malformed);

    let revision = rig.intake.revision() + 1;
    let mut events: Vec<Event> = keys
        .iter()
        .map(|key| Event::Put(entry(key, "", revision)))
        .collect();
    for key in keys {
        events.push(Event::Delete {
            key: key.into(),
            mod_revision: revision,
        });
    }
    events.push(Event::Put(Entry {
        key: b"change-set/ns1/ms1/v1/ms/\xff/1".to_vec(),
        value: Vec::new(),
        mod_revision: revision,
    }));
    let header = Header {
        cluster_id: CLUSTER,
        revision,
    };
    let output = rig.intake.on_frame(Frame {
        header,
        canceled: false,
        fragment: false,
        events,
    });
    rig.keep(output);
    rig.expect(&["ms/a/1"]);
    assert_eq!(rig.malformed.len(), malformed.len() + 1);
}

#[test]
fn a_value_that_is_not_text_is_handed_on() {
    let mut rig = Rig::empty();
    rig.settle();
    let event = Entry {
        value: b"\xff".to_vec(),
        ..entry(&key("ms/a/1"), "", 2)
    };
    let output = rig.intake.on_frame(Frame {
        header: rig.etcd.header(),
        canceled: false,
        fragment: false,
        events: vec![Event::Put(event)],
    });
    assert_eq!(output.change_sets[0].patch(), "\u{fffd}");
    assert_eq!(output.change_sets[0].cluster_id, CLUSTER);
}

#[test]
fn keys_of_one_transaction_come_in_their_order_although_fragments_part_them() {
    let mut rig = Rig::empty();
    rig.settle();
    rig.frame(true, &[(2, "ms/a/1"), (3, "ms/z/2")]);
    rig.expect(&["ms/a/1"]);
    rig.expect_watch_from(3);
    rig.frame(true, &[(3, "ms/c/2"), (3, "ms/b/2")]);
    rig.expect(&[]);
    rig.frame(false, &[(3, "ms/a/2"), (4, "ms/b/3"), (4, "ms/a/3")]);
    rig.expect(&["ms/a/2", "ms/b/2", "ms/c/2", "ms/z/2", "ms/a/3", "ms/b/3"]);
    rig.expect_watch_from(5);
}

#[test]
fn a_break_between_fragments_loses_and_doubles_nothing() {
    let mut rig = Rig::empty();
    rig.settle();
    rig.frame(true, &[(2, "ms/a/1"), (3, "ms/b/2")]);
    rig.expect(&["ms/a/1"]);
    rig.intake.on_break();
    rig.expect_watch_from(3);
    rig.frame(false, &[(3, "ms/b/2"), (3, "ms/a/2")]);
    rig.expect(&["ms/a/2", "ms/b/2"]);
    rig.intake.on_break();
    rig.expect_watch_from(4);
    // A watch that begins too early.
    rig.frame(
        false,
        &[(2, "ms/a/1"), (3, "ms/a/2"), (3, "ms/b/2"), (4, "ms/a/3")],
    );
    rig.expect(&["ms/a/3"]);
}

#[test]
fn frames_without_events_move_nothing() {
    let mut rig = Rig::empty();
    rig.settle();
    rig.frame(false, &[(2, "ms/a/1")]);
    for _ in 0..2 {
        let output = rig.intake.on_frame(Frame {
            header: Header {
                cluster_id: CLUSTER,
                revision: 50,
            },
            canceled: false,
            fragment: false,
            events: Vec::new(),
        });
        assert!(output.change_sets.is_empty());
    }
    assert_eq!(rig.intake.revision(), 50);
    rig.expect_watch_from(3);
    rig.expect(&["ms/a/1"]);
    // etcd may send progress ahead of events; its header then counts on.
    let events = vec![Event::Put(entry(&key("ms/a/2"), "[]", 40))];
    let output = rig.intake.on_frame(Frame {
        header: Header {
            cluster_id: CLUSTER,
            revision: 50,
        },
        canceled: false,
        fragment: false,
        events,
    });
    rig.keep(output);
    rig.expect(&["ms/a/2"]);
}

#[test]
fn a_cancelled_watch_reads_the_prefix_and_goes_on() {
    let mut rig = Rig::empty();
    rig.put(&["ms/a/1"]);
    rig.settle();
    rig.expect(&["ms/a/1"]);
    // Missed by the watch: two are there, of one only the last put, one is deleted.
    rig.put(&["ms/b/2"]);
    rig.put(&["ms/gone/3"]);
    rig.put(&["ms/c/4"]);
    rig.etcd.delete(&key("ms/gone/3"));
    let last = rig.put(&["ms/b/2"]);
    rig.etcd.compact(last);
    let canceled = Frame {
        header: Header {
            cluster_id: CLUSTER,
            revision: 0,
        },
        canceled: true,
        fragment: false,
        events: Vec::new(),
    };
    let output = rig.intake.on_frame(canceled);
    assert!(output.change_sets.is_empty());
    assert_eq!(
        rig.intake.step(),
        Step::ReadPrefix {
            at: None,
            min_mod_revision: 3,
            limit: PREFIX_PAGE
        }
    );
    rig.settle();
    rig.expect(&["ms/c/4", "ms/b/2"]);
    rig.expect_watch_from(last + 1);
    assert_eq!(rig.replaced, 0);
}

#[test]
fn what_has_expired_after_the_watch_brought_it_is_handed_on() {
    let mut rig = Rig::empty();
    rig.settle();
    let put = Event::Put(entry(&key("ms/a/1"), "[]", 2));
    let delete = Event::Delete {
        key: key("ms/a/1").into(),
        mod_revision: 3,
    };
    let output = rig.intake.on_frame(Frame {
        header: Header {
            cluster_id: CLUSTER,
            revision: 3,
        },
        canceled: false,
        fragment: false,
        events: vec![put, delete],
    });
    rig.keep(output);
    rig.expect(&["ms/a/1"]);
    rig.expect_watch_from(4);
}

#[test]
fn a_large_prefix_is_read_page_by_page_at_one_revision() {
    let mut rig = Rig::empty();
    let mut expected = Vec::new();
    for number in 0..PREFIX_PAGE + 10 {
        let tail = format!("ms/a/{number}");
        rig.put(&[&tail]);
        expected.push(tail);
    }
    // A transaction across the end of the second page.
    let pairs: Vec<String> = (0..PREFIX_PAGE).map(|n| format!("nf/{n:04}/7")).collect();
    let tails: Vec<&str> = pairs.iter().map(String::as_str).collect();
    rig.put(&tails);
    expected.extend(pairs);
    rig.put(&["ms/z/9999"]);
    expected.push("ms/z/9999".into());
    rig.settle();
    assert_eq!(rig.handed_on, expected);
}

#[test]
fn a_transaction_larger_than_a_page_makes_the_page_grow() {
    let mut rig = Rig::empty();
    let keys: Vec<String> = (0..5 * PREFIX_PAGE)
        .map(|n| format!("ms/{n:05}/1"))
        .collect();
    let tails: Vec<&str> = keys.iter().map(String::as_str).collect();
    rig.put(&tails);
    rig.put(&["ms/a/2"]);
    rig.settle();
    assert_eq!(rig.handed_on.len(), keys.len() + 1);
    assert!(rig.handed_on[..keys.len()].is_sorted());
}

#[test]
fn a_page_that_is_too_large_is_halved() {
    let mut rig = Rig::empty();
    rig.put(&["ms/a/1"]);
    rig.intake.on_own(&rig.etcd.read(&own().keys()));
    for expected in [64, 32, 16, 8, 4, 2, 1, 1] {
        rig.intake.on_read_failed(ReadFailure::TooLarge);
        let Step::ReadPrefix { limit, .. } = rig.intake.step() else {
            panic!("{:?}", rig.intake.step());
        };
        assert_eq!(limit, expected);
    }
    rig.settle();
    rig.expect(&["ms/a/1"]);
}

#[test]
fn a_compaction_between_two_pages_begins_the_read_at_a_newer_revision() {
    let mut rig = Rig::empty();
    for number in 0..PREFIX_PAGE + 5 {
        rig.put(&[&format!("ms/a/{number}")]);
    }
    rig.intake.on_own(&rig.etcd.read(&own().keys()));
    let Step::ReadPrefix {
        at,
        min_mod_revision,
        limit,
    } = rig.intake.step()
    else {
        panic!("{:?}", rig.intake.step());
    };
    let page = rig.etcd.read_prefix(PREFIX, at, min_mod_revision, limit);
    let output = rig.intake.on_page(page.unwrap());
    rig.keep(output);
    let first = rig.handed_on.len();
    assert!(0 < first && first < PREFIX_PAGE + 5);
    let last = rig.put(&["ms/z/1"]);
    rig.etcd.compact(last);
    rig.settle();
    assert_eq!(rig.handed_on.len(), PREFIX_PAGE + 6);
    assert_eq!(rig.handed_on.last().unwrap(), "ms/z/1");
    rig.expect_watch_from(last + 1);
}

/// An intake that watches, after these change sets.
fn watching(tails: &[&str]) -> Rig {
    let mut rig = Rig::empty();
    for tail in tails {
        rig.put(&[tail]);
    }
    rig.settle();
    rig.expect(tails);
    rig
}

fn created(header: Header) -> Frame {
    Frame {
        header,
        canceled: false,
        fragment: false,
        events: Vec::new(),
    }
}

#[test]
fn a_replaced_etcd_is_read_and_what_is_above_the_numbers_handed_on_comes_out() {
    for cluster_id in [CLUSTER + 1, CLUSTER] {
        let mut rig = watching(&["ms/a/5", "nf/a/3", "ms/a/4", "ms/cim.json/2"]);
        // A new cluster, or a backup from before all that, with what came since.
        rig.etcd = Etcd::new(cluster_id);
        rig.put(&[
            "nf/b/4",
            "ms/a/5",
            "ms/b/6",
            "nf/a/3",
            "nf/cim.json/1",
            "ms/cim.json/2",
            "ms/cim.json/3",
        ]);
        let output = rig.intake.on_frame(created(rig.etcd.header()));
        assert!(output.change_sets.is_empty() && !output.replaced);
        rig.settle();
        assert_eq!(rig.replaced, 1);
        rig.expect(&["ms/b/6", "ms/cim.json/3", "nf/b/4", "nf/cim.json/1"]);
        rig.expect_watch_from(rig.etcd.revision() + 1);
        // Floors hold for that read alone.
        let revision = rig.etcd.revision() + 1;
        let events = vec![Event::Put(entry(&key("ms/a/1"), "[]", revision))];
        let output = rig.intake.on_frame(Frame {
            events,
            ..created(Header {
                cluster_id,
                revision,
            })
        });
        assert_eq!(output.change_sets[0].cluster_id, cluster_id);
        rig.keep(output);
        rig.expect(&["ms/a/1"]);
    }
}

#[test]
fn a_member_that_lags_is_not_a_replaced_etcd() {
    let mut rig = watching(&["ms/a/5", "ms/a/6"]);
    let lagging = Header {
        cluster_id: CLUSTER,
        revision: rig.etcd.revision() - 1,
    };
    rig.put(&["ms/a/1"]);
    rig.intake.on_frame(created(lagging));
    assert!(matches!(
        rig.intake.step(),
        Step::ReadPrefix { at: None, .. }
    ));
    rig.settle();
    assert_eq!(rig.replaced, 0);
    rig.expect(&["ms/a/1"]);
    rig.expect_watch_from(rig.etcd.revision() + 1);
}

#[test]
fn an_etcd_that_is_replaced_between_two_pages_is_read_anew() {
    let mut rig = Rig::empty();
    for number in 0..PREFIX_PAGE + 5 {
        rig.put(&[&format!("ms/a/{number}")]);
    }
    rig.intake.on_own(&rig.etcd.read(&own().keys()));
    let page = rig.etcd.read_prefix(PREFIX, None, 0, PREFIX_PAGE).unwrap();
    let output = rig.intake.on_page(page);
    rig.keep(output);
    let handed_on = rig.handed_on.len();
    rig.etcd = Etcd::new(CLUSTER + 1);
    for number in (0..PREFIX_PAGE + 8).rev() {
        rig.put(&[&format!("ms/a/{number}")]);
    }
    rig.settle();
    assert_eq!(rig.replaced, 1);
    let again: Vec<String> = (handed_on..PREFIX_PAGE + 8)
        .rev()
        .map(|number| format!("ms/a/{number}"))
        .collect();
    assert_eq!(rig.handed_on[handed_on..], again);
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut rig = Rig::empty();
    let page = rig.etcd.read_prefix(PREFIX, None, 0, 1).unwrap();
    assert!(rig.intake.on_page(page.clone()).change_sets.is_empty());
    rig.intake.on_frame(created(rig.etcd.header()));
    rig.intake.on_read_failed(ReadFailure::Compacted);
    assert_eq!(rig.intake.step(), Step::ReadOwn);
    rig.settle();
    rig.intake.on_own(&rig.etcd.read(&own().keys()));
    rig.intake.on_page(page);
    rig.expect_watch_from(rig.etcd.revision() + 1);
}
