//! One delivery after the other, step by step.

use super::super::memory::Memory;
use super::super::testing::{change_set, own};
use super::*;
use crate::limits::CONFIG_REPLY_TIME;

const MS: &str = "commit-config/ns1/ms1/v1/ms/cnf-0";

/// A machine with its time.
struct Rig {
    delivery: Delivery,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let mut delivery = Delivery::new(own(), CONFIG_REPLY_TIME);
        delivery.on_registered();
        Self {
            delivery,
            now: Instant::now(),
        }
    }

    fn take(&mut self, tail: &str, revision: i64) -> Arc<ChangeSet> {
        let taken = change_set(tail, revision);
        self.delivery.take(taken.clone(), self.now).unwrap();
        Arc::new(taken)
    }

    /// Everything up to a POST that waits for its result.
    fn posted(&mut self, tail: &str, revision: i64) -> Arc<ChangeSet> {
        let taken = self.take(tail, revision);
        assert_eq!(self.actions(), [Action::Post(Arc::clone(&taken))]);
        taken
    }

    fn post(&mut self, outcome: PostOutcome) {
        self.delivery.on_post(outcome, self.now, 0);
    }

    fn answer(&mut self, tail: &str, status: &str) -> Heard {
        let key = format!("change-set/ns1/ms1/v1/{tail}");
        let revision = tail.rsplit('/').next().unwrap();
        let text =
            format!(r#"{{"change-set-key":"{key}","revision":"{revision}","status":"{status}"}}"#);
        let answer = ConfigAnswer::parse(text.as_bytes()).unwrap();
        self.delivery.on_answer(&answer, self.now)
    }

    fn commit(&mut self, outcome: CommitOutcome) {
        self.delivery.on_commit(outcome, self.now, 0);
    }

    fn actions(&mut self) -> Vec<Action> {
        self.delivery.take_actions().into()
    }

    /// Waits for the next deadline; the answer is how long.
    fn wait(&mut self) -> Duration {
        let at = self.delivery.deadline().expect("a deadline");
        self.delivery.on_tick(at - Duration::from_nanos(1));
        assert_eq!(self.actions(), [], "too early");
        let waited = at - self.now;
        self.now = at;
        self.delivery.on_tick(at);
        waited
    }

    /// What must come when the outcome of `taken` is known.
    #[track_caller]
    fn expect_commit(&mut self, taken: &ChangeSet, commit_key: &str, value: &str) {
        let event = match value {
            "-1" => OwnEvent::ConfigUpdateFailure,
            "-2" => OwnEvent::ConfigUpdateUnused,
            _ => OwnEvent::ConfigUpdateSuccess {
                commit_key: commit_key.into(),
            },
        };
        let memory = Memory {
            pod_uid: "u-1".into(),
            cluster_id: taken.cluster_id,
            position: taken.position.clone(),
        };
        let commit = Commit {
            commit_key: commit_key.into(),
            value: value.into(),
            memory_key: "cim-position/ns1/ms1/v1/cnf-0".into(),
            memory_value: memory.value(),
        };
        assert_eq!(
            self.actions(),
            [Action::Raise(event), Action::Commit(commit)]
        );
    }

    /// The commit is taken: what must come then. The answer is what the machine says of it.
    #[track_caller]
    fn expect_end(&mut self, commit_key: &str, outcome: Outcome) -> Finished {
        self.commit(CommitOutcome::Taken);
        let commit_key = commit_key.into();
        let mut actions = self.actions();
        let Some(Action::Finished(finished)) = actions.pop() else {
            panic!("{actions:?}");
        };
        assert_eq!(finished.outcome, outcome);
        assert_eq!(
            actions,
            [Action::Raise(OwnEvent::CommitConfigSuccess { commit_key })]
        );
        assert!(self.delivery.wants_change_set());
        assert_eq!(self.delivery.deadline(), None);
        finished
    }
}

fn refused() -> CommitOutcome {
    CommitOutcome::Refused {
        error: "permission denied".into(),
    }
}

fn unreachable() -> CommitOutcome {
    CommitOutcome::Unreachable {
        error: "no answer".into(),
    }
}

#[test]
fn nothing_is_delivered_before_the_registration() {
    let mut delivery = Delivery::new(own(), CONFIG_REPLY_TIME);
    let now = Instant::now();
    assert!(!delivery.wants_change_set());
    let given_back = delivery.take(change_set("ms/app.json/1", 5), now);
    assert_eq!(given_back, Err(change_set("ms/app.json/1", 5)));
    assert!(delivery.take_actions().is_empty());
    delivery.on_registered();
    assert!(delivery.wants_change_set());
    delivery.take(change_set("ms/app.json/1", 5), now).unwrap();
    assert_eq!(delivery.take_actions().len(), 1);
    assert!(!delivery.wants_change_set(), "one in flight");
}

#[test]
fn what_the_application_answers_is_committed() {
    for (status, value, outcome) in [
        ("success", "0101", Outcome::Success),
        ("unused", "-2", Outcome::Unused),
        ("failure", "-1", Outcome::Failure),
        ("whatever", "-1", Outcome::Failure),
    ] {
        let mut rig = Rig::new();
        let start = rig.now;
        let taken = rig.posted("ms/app.json/0101", 5);
        rig.now += Duration::from_millis(3);
        rig.post(PostOutcome::Accepted);
        assert_eq!(rig.actions(), []);
        rig.now += Duration::from_secs(59);
        let decided = rig.now;
        let heard = rig.answer("ms/app.json/0101", status);
        assert_eq!(
            heard,
            Heard::Counts {
                another_revision: false
            }
        );
        rig.expect_commit(&taken, MS, value);
        rig.now += Duration::from_millis(2);
        let finished = rig.expect_end(MS, outcome);
        assert_eq!(
            finished,
            Finished {
                change_set: taken,
                outcome,
                taken: start,
                sent: start,
                decided,
                ended: rig.now
            }
        );
    }
}

#[test]
fn no_answer_in_time_is_a_failure() {
    let mut rig = Rig::new();
    let taken = rig.posted("nf/app.json/7", 5);
    rig.post(PostOutcome::Accepted);
    assert_eq!(rig.wait(), CONFIG_REPLY_TIME);
    let nf = "commit-config/ns1/ms1/v1/nf/cnf-0";
    rig.expect_commit(&taken, nf, "-1");
    assert_eq!(
        rig.answer("nf/app.json/7", "success"),
        Heard::Foreign,
        "too late"
    );
    rig.expect_end(nf, Outcome::NoAnswer);
}

#[test]
fn a_post_that_fails_is_a_failure_at_once() {
    for (post, outcome) in [
        (PostOutcome::Rejected { status: 400 }, Outcome::Rejected),
        (PostOutcome::Rejected { status: 500 }, Outcome::Rejected),
        (PostOutcome::Failed, Outcome::Broken),
    ] {
        let mut rig = Rig::new();
        let taken = rig.posted("ms/app.json/1", 5);
        rig.post(post);
        rig.expect_commit(&taken, MS, "-1");
        rig.expect_end(MS, outcome);
    }
}

#[test]
fn an_answer_counts_whatever_becomes_of_the_post() {
    for post in [
        PostOutcome::Accepted,
        PostOutcome::Rejected { status: 500 },
        PostOutcome::Failed,
        PostOutcome::Refused,
    ] {
        let mut rig = Rig::new();
        let taken = rig.posted("ms/app.json/1", 5);
        assert!(matches!(
            rig.answer("ms/app.json/1", "success"),
            Heard::Counts { .. }
        ));
        assert_eq!(
            rig.answer("ms/app.json/1", "failure"),
            Heard::Foreign,
            "the first one counts"
        );
        assert_eq!(rig.actions(), [], "the POST is not over");
        rig.post(post);
        rig.expect_commit(&taken, MS, "1");
        rig.expect_end(MS, Outcome::Success);
    }
}

#[test]
fn a_refused_connection_is_retried_for_a_bounded_time() {
    let mut rig = Rig::new();
    let start = rig.now;
    let taken = rig.posted("ms/app.json/1", 5);
    let mut waits = Vec::new();
    loop {
        rig.post(PostOutcome::Refused);
        if rig.delivery.deadline().is_none() {
            break;
        }
        waits.push(rig.wait().as_millis());
        assert_eq!(rig.actions(), [Action::Post(Arc::clone(&taken))]);
    }
    // Random numbers of 0: the half of each step.
    assert_eq!(
        waits.get(..7).unwrap(),
        [100, 200, 400, 800, 1600, 2500, 2500]
    );
    assert_eq!(rig.now - start, APP_RETRY_TIME);
    rig.expect_commit(&taken, MS, "-1");
    let finished = rig.expect_end(MS, Outcome::Unreachable);
    assert_eq!(finished.sent, rig.now);
}

#[test]
fn an_application_that_comes_back_in_time_gets_the_change_set() {
    let mut rig = Rig::new();
    let taken = rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Refused);
    rig.wait();
    assert_eq!(rig.actions(), [Action::Post(Arc::clone(&taken))]);
    rig.post(PostOutcome::Accepted);
    assert_eq!(rig.wait(), CONFIG_REPLY_TIME, "all of it from now on");
}

#[test]
fn an_answer_while_the_connection_is_refused_ends_the_tries() {
    let mut rig = Rig::new();
    let taken = rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Refused);
    rig.answer("ms/app.json/1", "success");
    rig.expect_commit(&taken, MS, "1");
    assert_eq!(rig.delivery.deadline(), None);
    rig.expect_end(MS, Outcome::Success);
}

#[test]
fn answers_for_others_are_skipped() {
    let mut rig = Rig::new();
    assert_eq!(rig.answer("ms/app.json/1", "success"), Heard::Foreign);
    let taken = rig.posted("ms/app.json/2", 5);
    rig.post(PostOutcome::Accepted);
    for other in ["ms/app.json/1", "nf/app.json/2", "ms/app.json/02"] {
        assert_eq!(rig.answer(other, "success"), Heard::Foreign);
    }
    assert_eq!(rig.actions(), []);
    rig.answer("ms/app.json/2", "success");
    rig.expect_commit(&taken, MS, "2");
    assert_eq!(rig.answer("ms/app.json/2", "failure"), Heard::Foreign);
    rig.expect_end(MS, Outcome::Success);
}

#[test]
fn the_revision_of_the_key_is_committed_whatever_the_answer_says() {
    let mut rig = Rig::new();
    let taken = rig.posted("ms/app.json/2", 5);
    rig.post(PostOutcome::Accepted);
    let key = taken.key.text();
    let text = format!(r#"{{"change-set-key":"{key}","revision":3,"status":"success"}}"#);
    let answer = ConfigAnswer::parse(text.as_bytes()).unwrap();
    assert_eq!(
        rig.delivery.on_answer(&answer, rig.now),
        Heard::Counts {
            another_revision: true
        }
    );
    rig.expect_commit(&taken, MS, "2");
}

#[test]
fn cims_own_configuration_is_applied_and_committed_where_its_config_map_says() {
    let cim = "commit-config/ns1/ms1/v1/ms/cim/cnf-0";
    for (with_config_map, applied, commit_key, value, outcome) in [
        (true, true, cim, "7", Outcome::SelfApplied),
        (false, true, MS, "7", Outcome::SelfApplied),
        (true, false, cim, "-1", Outcome::SelfRefused),
        (false, false, MS, "-1", Outcome::SelfRefused),
    ] {
        let mut rig = Rig::new();
        rig.delivery.set_self_with_config_map(!with_config_map);
        let taken = rig.take("ms/cim.json/7", 5);
        assert_eq!(rig.actions(), [Action::ApplySelf(Arc::clone(&taken))]);
        assert_eq!(rig.delivery.deadline(), None);
        assert_eq!(
            rig.answer("ms/cim.json/7", "success"),
            Heard::Foreign,
            "the application is not asked"
        );
        rig.delivery.set_self_with_config_map(with_config_map);
        rig.delivery.on_self(applied, rig.now);
        rig.expect_commit(&taken, commit_key, value);
        rig.expect_end(commit_key, outcome);
    }
}

#[test]
fn a_commit_is_tried_until_it_is_taken_and_nothing_else_is_delivered() {
    let mut rig = Rig::new();
    rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Failed);
    let commit = rig.actions().pop().unwrap();
    let mut waits = Vec::new();
    for attempt in 0..20 {
        rig.commit(unreachable());
        let expected: &[Action] = if attempt == 0 {
            &[Action::Raise(OwnEvent::CommitConfigFailure {
                commit_key: MS.into(),
                error: "no answer".into(),
            })]
        } else {
            &[]
        };
        assert_eq!(rig.actions(), expected, "one event for each commit");
        assert!(!rig.delivery.wants_change_set());
        rig.commit(CommitOutcome::Taken);
        assert_eq!(rig.actions(), [], "no try is under way");
        waits.push(rig.wait().as_millis());
        assert_eq!(rig.actions(), std::slice::from_ref(&commit));
    }
    assert_eq!(
        waits.get(..7).unwrap(),
        [50, 100, 200, 400, 800, 1600, 2500]
    );
    rig.expect_end(MS, Outcome::Broken);
}

#[test]
fn a_commit_that_is_refused_is_superseded_once_a_newer_change_set_waits() {
    let mut rig = Rig::new();
    let first = rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Failed);
    rig.actions();
    rig.commit(refused());
    let since = rig.now;
    assert!(rig.delivery.wants_change_set());
    let second = rig.take("ms/app.json/2", 6);
    assert!(!rig.delivery.wants_change_set(), "one waits");
    rig.actions();
    loop {
        rig.wait();
        assert!(matches!(rig.actions()[..], [Action::Commit(_)]));
        rig.commit(refused());
        let mut actions = rig.actions();
        if actions.is_empty() {
            assert!(rig.now - since < COMMIT_REFUSED_TIME);
            continue;
        }
        assert!(rig.now - since >= COMMIT_REFUSED_TIME);
        assert_eq!(actions.pop(), Some(Action::Post(Arc::clone(&second))));
        let Some(Action::Finished(finished)) = actions.pop() else {
            panic!("{actions:?}");
        };
        assert_eq!(
            (&finished.change_set, finished.outcome),
            (&first, Outcome::Superseded)
        );
        assert_eq!(actions, []);
        break;
    }
    rig.post(PostOutcome::Failed);
    rig.expect_commit(&second, MS, "-1");
    rig.expect_end(MS, Outcome::Broken);
}

#[test]
fn a_commit_that_is_refused_while_nothing_waits_is_tried_on() {
    let mut rig = Rig::new();
    rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Failed);
    rig.actions();
    for _ in 0..50 {
        rig.commit(refused());
        rig.actions();
        rig.wait();
    }
    rig.actions();
    // A newer one comes long after: between two tries it supersedes at once, during one its result is waited for.
    let second = rig.take("ms/app.json/2", 6);
    assert_eq!(rig.actions(), []);
    rig.commit(refused());
    assert!(matches!(
        &rig.actions()[..],
        [Action::Finished(Finished { outcome: Outcome::Superseded, .. }), Action::Post(posted)] if *posted == second
    ));
}

#[test]
fn an_outage_between_refusals_gives_the_commit_its_whole_time_again() {
    let mut rig = Rig::new();
    rig.posted("ms/app.json/1", 5);
    rig.post(PostOutcome::Failed);
    rig.actions();
    rig.commit(refused());
    rig.take("ms/app.json/2", 6);
    rig.actions();
    rig.wait();
    rig.commit(unreachable());
    rig.now += COMMIT_REFUSED_TIME * 2;
    rig.delivery.on_tick(rig.now);
    rig.actions();
    rig.commit(refused());
    assert_eq!(rig.actions(), [], "refused for no time yet");
    rig.wait();
    rig.commit(CommitOutcome::Taken);
    let actions = rig.actions();
    assert!(
        matches!(
            &actions[..],
            [
                Action::Commit(_),
                Action::Raise(OwnEvent::CommitConfigSuccess { .. }),
                Action::Finished(Finished {
                    outcome: Outcome::Broken,
                    ..
                }),
                Action::Post(_)
            ]
        ),
        "{actions:?}"
    );
}

#[test]
fn results_that_nobody_waits_for_change_nothing() {
    let mut rig = Rig::new();
    rig.post(PostOutcome::Accepted);
    rig.commit(CommitOutcome::Taken);
    rig.delivery.on_self(true, rig.now);
    rig.delivery.on_tick(rig.now + CONFIG_REPLY_TIME * 100);
    assert_eq!(rig.actions(), []);
    rig.posted("ms/app.json/1", 5);
    rig.commit(CommitOutcome::Taken);
    rig.delivery.on_self(true, rig.now);
    rig.delivery.on_tick(rig.now + CONFIG_REPLY_TIME * 100);
    assert_eq!(rig.actions(), []);
    rig.post(PostOutcome::Accepted);
    rig.post(PostOutcome::Failed);
    assert_eq!(rig.actions(), []);
}
