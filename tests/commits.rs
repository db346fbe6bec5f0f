//! The transaction that commits a change set, against a stand-in for etcd: once, and never backwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use cim::change_set::calls;
use cim::change_set::delivery::{Commit, CommitOutcome};
use cim::etcd::{Client, Config};
use servers::EtcdGateway;

const COMMIT: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";
const MEMORY: &str = "cim-position/ns1/ms1/v1/cnf-0";

fn commit(number: u32) -> Commit {
    Commit {
        commit_key: COMMIT.into(),
        value: "-1".into(),
        memory_key: MEMORY.into(),
        memory_value: format!("position {number}"),
    }
}

fn client(etcd: &EtcdGateway) -> Client {
    Client::new(Config {
        endpoints: vec![etcd.client_url()],
        ..Config::default()
    })
    .unwrap()
}

fn values(etcd: &EtcdGateway, key: &str) -> Vec<String> {
    let changes = etcd.changes(key).into_iter();
    changes.filter_map(|change| change.value).collect()
}

#[test]
fn a_try_whose_answer_was_lost_is_not_put_twice() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd);
    let mut seen = None;
    for _ in 0..2 {
        // As after a lost answer: CIM knows the state from before the first try.
        let mut seen_before = seen;
        let outcome = calls::commit(&mut client, &commit(1), &mut seen_before);
        assert_eq!(outcome, CommitOutcome::Taken);
        seen = seen.or(Some(0));
    }
    assert_eq!(values(&etcd, COMMIT), ["-1"]);
    assert_eq!(values(&etcd, MEMORY), ["position 1"]);
}

#[test]
fn a_try_that_etcd_lets_go_behind_later_commits_does_nothing() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd);
    let mut seen = Some(0);
    let mut late = seen;
    for number in 1..=3 {
        let outcome = calls::commit(&mut client, &commit(number), &mut seen);
        assert_eq!(outcome, CommitOutcome::Taken);
    }
    let outcome = calls::commit(&mut client, &commit(1), &mut late);
    assert!(matches!(outcome, CommitOutcome::Unreachable { .. }));
    assert_eq!(
        values(&etcd, MEMORY),
        ["position 1", "position 2", "position 3"]
    );
}

#[test]
fn a_memory_that_was_changed_by_another_is_seen_and_the_next_try_is_taken() {
    let etcd = EtcdGateway::start();
    let mut client = client(&etcd);
    let mut seen = None;
    calls::commit(&mut client, &commit(1), &mut seen);
    etcd.put(MEMORY, "somebody else's");
    let outcome = calls::commit(&mut client, &commit(2), &mut seen);
    assert!(matches!(outcome, CommitOutcome::Unreachable { .. }));
    let outcome = calls::commit(&mut client, &commit(2), &mut seen);
    assert_eq!(outcome, CommitOutcome::Taken);
    assert_eq!(etcd.get(MEMORY).as_deref(), Some("position 2"));
}
