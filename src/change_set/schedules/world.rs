//! The world of one schedule.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::super::answer::{ConfigAnswer, Status};
use super::super::delivery::{Action, Commit, CommitOutcome, Heard, PostOutcome};
use super::super::intake::{Output, ReadFailure, Step};
use super::super::key::{ChangeSet, ChangeSetKey, Position};
use super::super::memory::{Memory, Own};
use super::super::outcome::Outcome;
use super::super::testing::etcd::Etcd;
use super::super::testing::random::Random;
use super::super::testing::{CLUSTER, own};
use super::cim::{Cim, Io};
use super::oracle::Oracle;
use crate::limits::{APP_RETRY_TIME, UPDATE_CONFIG_TIME};

/// Steps with faults in a schedule.
const STEPS: usize = 600;
/// Steps after them in which all must come to an end.
const SETTLING_STEPS: usize = 50_000;
const PREFIX: &str = "change-set/ns1/ms1/";

/// How often what the schedules are about has happened.
#[derive(Debug, Default)]
pub struct Seen {
    counts: BTreeMap<&'static str, usize>,
}

impl Seen {
    fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// A schedule that never does what it is for would prove nothing.
    pub fn assert_everything_happened(&self) {
        for what in [
            "transaction of several",
            "change set expired",
            "compaction",
            "watch cancelled",
            "watch broken",
            "watch broken between fragments",
            "etcd away",
            "commit refused",
            "commit applied, answer lost",
            "commit applied before a retry",
            "killed",
            "killed in flight",
            "killed before the commit's answer",
            "application restarted",
            "early answer",
            "early answer, POST failed",
            "foreign answer",
            "answer too late",
            "change set held back",
        ] {
            assert!(self.counts.contains_key(what), "{what} never: {self:?}");
        }
        for outcome in Outcome::ALL {
            let label = outcome.label();
            assert!(self.counts.contains_key(label), "{label} never: {self:?}");
        }
    }
}

/// An answer that the application is going to publish.
struct Planned {
    at: Instant,
    key: String,
    status: Status,
}

pub struct World {
    random: Random,
    tell: bool,
    /// What has happened, when it is to be told.
    pub told: RefCell<Vec<String>>,
    now: Instant,
    own: Own,
    self_with_config_map: bool,

    etcd: Etcd,
    etcd_is_away: bool,
    etcd_refuses: bool,
    /// Own change sets in etcd's order.
    expected: Vec<Position>,
    number: u64,
    /// Applied commits, in order.
    committed: Vec<(Position, Commit)>,
    /// Given up, because etcd refused the commit.
    superseded: BTreeSet<Position>,

    cim: Cim,
    app_is_away_until: Option<Instant>,
    planned: Vec<Planned>,
    healed: bool,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64, tell: bool) -> Self {
        let mut random = Random::new(seed);
        let self_with_config_map = random.chance(50);
        Self {
            random,
            tell,
            told: RefCell::default(),
            now: Instant::now(),
            own: own(),
            self_with_config_map,
            etcd: Etcd::new(CLUSTER),
            etcd_is_away: false,
            etcd_refuses: false,
            expected: Vec::new(),
            number: 0,
            committed: Vec::new(),
            superseded: BTreeSet::new(),
            cim: Cim::start(own(), self_with_config_map),
            app_is_away_until: None,
            planned: Vec::new(),
            healed: false,
            seen: Seen::default(),
        }
    }

    pub fn run(&mut self) -> Seen {
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..10 => self.put(),
                10..17 => self.expire(),
                17..19 => self.compact(),
                19..22 => self.break_watch(),
                22..24 => self.etcd_goes_or_comes(),
                24..26 => self.etcd_refuses_or_not(),
                26 if self.random.chance(50) => self.kill(),
                27..29 => self.restart_application(),
                29..31 => self.publish_foreign_answer(),
                31..42 => self.pass_time(),
                _ => {
                    self.work();
                }
            }
            self.settle_actions();
        }
        self.heal();
        for _ in 0..SETTLING_STEPS {
            if self.is_done() {
                self.assert_end();
                return std::mem::take(&mut self.seen);
            }
            if !self.work() {
                self.pass_time();
            }
            self.settle_actions();
        }
        panic!(
            "not done: {:?}, {} of {} committed",
            self.cim.oracle,
            self.committed.len(),
            self.expected.len()
        );
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.tell {
            self.told.borrow_mut().push(what());
        }
    }

    // ---- etcd and who writes to it

    fn put(&mut self) {
        let count = if self.random.chance(60) {
            1
        } else {
            2 + self.random.below(3)
        };
        let mut puts = BTreeMap::new();
        for _ in 0..count {
            let key = if self.random.chance(6) {
                // One that is dealt with is written once more. (Of two that wait, a read would see the last one alone.)
                match self.committed.last() {
                    Some((done, _)) if !self.is_pending(done) => done.key.clone(),
                    _ => continue,
                }
            } else {
                self.number += 1;
                let number = self.number;
                let version = if self.random.chance(10) { "v2" } else { "v1" };
                let level = self.random.pick(&["ms", "nf", "ms", "ms", "xx"]);
                let data_key = self
                    .random
                    .pick(&["b.json", "a.json", "cim.json", "c.json"]);
                format!("{PREFIX}{version}/{level}/{data_key}/{number}")
            };
            puts.insert(key, format!("patch {}", self.number));
        }
        if puts.is_empty() {
            return;
        }
        let mut pairs: Vec<(&str, &str)> = puts.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        self.random.shuffle(&mut pairs);
        let revision = self.etcd.put(&pairs);
        self.say(|| format!("put {:?} at {revision}", puts.keys()));
        let mut own_keys = 0;
        for key in puts.into_keys() {
            let parsed = ChangeSetKey::parse(&key);
            if parsed.is_ok_and(|key| key.version() == self.own.version) {
                self.expected.push(Position { revision, key });
                own_keys += 1;
            }
        }
        if own_keys > 1 {
            self.seen.note("transaction of several");
        }
    }

    /// The lease of one that is dealt with ends.
    fn expire(&mut self) {
        let Some((position, _)) = self.committed.last() else {
            return;
        };
        let pending = self
            .expected
            .iter()
            .any(|p| p.key == position.key && p > position);
        if !pending && self.etcd.value(&position.key).is_some() {
            let key = position.key.clone();
            self.say(|| format!("expired {key}"));
            self.etcd.delete(&key);
            self.seen.note("change set expired");
        }
    }

    /// It was put again, and that is not dealt with.
    fn is_pending(&self, done: &Position) -> bool {
        self.expected.iter().any(|p| p.key == done.key && p > done)
    }

    fn compact(&mut self) {
        let behind = self.random.below(4) as i64;
        self.etcd.compact(self.etcd.revision() - behind);
        self.say(|| format!("compacted {behind} before {}", self.etcd.revision()));
        self.seen.note("compaction");
    }

    fn break_watch(&mut self) {
        if self.cim.stream.take().is_some() {
            self.cim.intake.on_break();
            self.say(|| "watch broken".into());
            self.seen.note("watch broken");
        }
    }

    /// A restart of etcd, or of the network: what it has stays.
    fn etcd_goes_or_comes(&mut self) {
        self.etcd_is_away = !self.etcd_is_away;
        self.say(|| format!("etcd away: {}", self.etcd_is_away));
        if self.etcd_is_away {
            self.seen.note("etcd away");
            self.break_watch();
        }
    }

    fn etcd_refuses_or_not(&mut self) {
        self.etcd_refuses = !self.etcd_refuses && self.random.chance(40);
        self.say(|| format!("etcd refuses commits: {}", self.etcd_refuses));
    }

    /// The transaction of a commit.
    fn apply(&mut self, commit: &Commit) {
        if self.etcd.value(&commit.memory_key).as_deref() == Some(&commit.memory_value) {
            self.seen.note("commit applied before a retry");
            return;
        }
        self.etcd.put(&[
            (&commit.commit_key, &commit.value),
            (&commit.memory_key, &commit.memory_value),
        ]);
        let memory = Memory::parse(commit.memory_value.as_bytes()).unwrap();
        assert_eq!(memory.cluster_id, CLUSTER);
        let position = memory.position;
        self.say(|| format!("committed {} = {}", position.key, commit.value));
        if let Some((last, _)) = self.committed.last() {
            assert!(*last < position, "{position:?} committed after {last:?}");
        }
        assert!(self.expected.contains(&position), "{position:?}");
        self.superseded.remove(&position);
        self.committed.push((position, commit.clone()));
    }

    // ---- CIM

    fn kill(&mut self) {
        self.say(|| "CIM killed".into());
        self.seen.note("killed");
        if self.cim.oracle.is_some() {
            self.seen.note("killed in flight");
        }
        match self.cim.io.take() {
            // The application may have got it, and etcd may have taken it.
            Some(Io::Post(change_set, _)) if self.random.chance(50) => {
                self.application_gets(&change_set);
            }
            Some(Io::Commit(commit)) => {
                self.seen.note("killed before the commit's answer");
                if !self.etcd_is_away && !self.etcd_refuses && self.random.chance(50) {
                    self.apply(&commit);
                }
            }
            _ => {}
        }
        self.cim = Cim::start(self.own.clone(), self.self_with_config_map);
    }

    /// One step of one of CIM's threads; false when none has anything to do.
    fn work(&mut self) -> bool {
        let mut order = [0, 1, 2, 3, 4, 5, 6];
        self.random.shuffle(&mut order);
        order.into_iter().any(|which| match which {
            0 => self.read_or_watch(),
            1 => self.cim.move_held(),
            2 => self.take(),
            3 => self.finish_io(),
            4 => self.hear(),
            5 => self.register(),
            _ => self.publish(),
        })
    }

    fn register(&mut self) -> bool {
        let registers = !self.cim.registered && (self.healed || self.random.chance(20));
        if registers {
            self.say(|| "application registers".into());
            self.cim.registered = true;
            self.cim.delivery.on_registered();
        }
        registers
    }

    fn read_or_watch(&mut self) -> bool {
        if !self.cim.held.is_empty() {
            self.seen.note("change set held back");
            return false;
        }
        if self.etcd_is_away {
            let failed = !self.cim.watches();
            if failed {
                self.cim.intake.on_read_failed(ReadFailure::Other);
            }
            return failed;
        }
        match self.cim.intake.step() {
            Step::ReadOwn => {
                let page = self.etcd.read(&self.own.keys());
                let memory = self.etcd.value(&self.own.memory_key());
                let memory = memory.and_then(|value| Memory::parse(value.as_bytes()));
                self.cim.next = Some(memory.map_or(0, |memory| 1 + self.index(&memory.position)));
                self.cim.intake.on_own(&page);
            }
            Step::ReadPrefix {
                at,
                min_mod_revision,
                limit,
            } => {
                // Pages of every size, as if values were large.
                let limit = limit.min(1 + self.random.below(limit.min(6)));
                let read = self.etcd.read_prefix(PREFIX, at, min_mod_revision, limit);
                let page = match read {
                    Err(failure) => return self.read_failed(failure),
                    Ok(_) if !self.healed && self.random.chance(10) => {
                        return self.read_failed(ReadFailure::TooLarge);
                    }
                    // A page within one transaction needs the limit that was asked for.
                    Ok(page) if page.more => {
                        let Step::ReadPrefix { limit, .. } = self.cim.intake.step() else {
                            unreachable!();
                        };
                        let whole = self.etcd.read_prefix(PREFIX, at, min_mod_revision, limit);
                        let one_revision = page
                            .entries
                            .windows(2)
                            .all(|two| two[0].mod_revision == two[1].mod_revision);
                        if one_revision { whole.unwrap() } else { page }
                    }
                    Ok(page) => page,
                };
                let output = self.cim.intake.on_page(page);
                self.hand_on(output);
            }
            Step::Watch { start_revision } => {
                let Some(stream) = &mut self.cim.stream else {
                    self.say(|| format!("watch from {start_revision}"));
                    self.cim.stream = Some(self.etcd.watch(PREFIX, start_revision));
                    return true;
                };
                let Some(frame) = stream.frame(&self.etcd, &mut self.random) else {
                    return false;
                };
                if frame.canceled {
                    self.seen.note("watch cancelled");
                }
                let fragment = frame.fragment;
                let output = self.cim.intake.on_frame(frame);
                self.hand_on(output);
                if !self.cim.watches() {
                    self.cim.stream = None;
                    self.cim.intake.on_break();
                } else if fragment && !self.healed && self.random.chance(20) {
                    self.seen.note("watch broken between fragments");
                    self.break_watch();
                }
            }
        }
        true
    }

    fn read_failed(&mut self, failure: ReadFailure) -> bool {
        self.say(|| format!("read failed: {failure:?}"));
        self.cim.intake.on_read_failed(failure);
        true
    }

    fn hand_on(&mut self, output: Output) {
        assert!(!output.replaced);
        for change_set in &output.change_sets {
            self.say(|| format!("seen {:?}", change_set.position));
        }
        self.cim.held.extend(output.change_sets);
    }

    fn index(&self, position: &Position) -> usize {
        let index = self.expected.iter().position(|p| p == position);
        index.unwrap_or_else(|| panic!("{position:?} was never put"))
    }

    fn take(&mut self) -> bool {
        // Answers and time go first, as in the loop.
        if !self.cim.delivery.wants_change_set() || !self.cim.answers.is_empty() {
            return false;
        }
        let Some(change_set) = self.cim.channel.pop_front() else {
            return false;
        };
        let taken = self.cim.delivery.take(change_set, self.now);
        assert_eq!(taken, Ok(()));
        true
    }

    /// Begins the IO that is asked for, and checks each action.
    fn settle_actions(&mut self) {
        for action in self.cim.delivery.take_actions() {
            match action {
                Action::Post(change_set) => {
                    assert!(self.cim.registered);
                    assert!(!change_set.key.is_self());
                    let until = self.now + UPDATE_CONFIG_TIME;
                    self.begins(&change_set, |change_set| Io::Post(change_set, until));
                }
                Action::ApplySelf(change_set) => {
                    assert!(change_set.key.is_self());
                    self.begins(&change_set, |_| Io::ApplySelf);
                }
                Action::Commit(commit) => {
                    let oracle = self.cim.oracle.as_ref().expect("one in flight");
                    oracle.assert_commits(&commit.value);
                    let key = &oracle.change_set.key;
                    assert_eq!(
                        commit.commit_key,
                        key.commit_key(&self.own.pod, self.self_with_config_map)
                    );
                    let memory = Memory::parse(commit.memory_value.as_bytes()).unwrap();
                    assert_eq!(memory.position, oracle.change_set.position);
                    assert!(self.cim.io.is_none(), "one thing at a time");
                    self.cim.io = Some(Io::Commit(commit));
                }
                Action::Raise(event) => {
                    let oracle = self.cim.oracle.as_mut().expect("one in flight");
                    oracle.on_event(event);
                }
                Action::Finished(finished) => {
                    let oracle = self.cim.oracle.take().expect("one in flight");
                    oracle.assert_finished(&finished);
                    let position = &finished.change_set.position;
                    if finished.outcome == Outcome::Superseded {
                        if self.committed.iter().all(|(p, _)| p != position) {
                            self.superseded.insert(position.clone());
                        }
                    } else {
                        assert_eq!(&self.committed.last().unwrap().0, position);
                    }
                    self.seen.note(finished.outcome.label());
                }
            }
        }
    }

    fn begins(&mut self, change_set: &ChangeSet, io: impl FnOnce(ChangeSet) -> Io) {
        assert!(self.cim.io.is_none(), "one thing at a time");
        self.cim.io = Some(io(change_set.clone()));
        if let Some(oracle) = &mut self.cim.oracle {
            assert_eq!(oracle.change_set, *change_set, "two in flight");
            assert!(!oracle.is_decided());
            oracle.posting = true;
            return;
        }
        self.say(|| format!("delivery of {:?}", change_set.position));
        let next = self.cim.next.expect("a position");
        assert_eq!(
            self.expected.get(next),
            Some(&change_set.position),
            "in etcd's order, without gap or repeat"
        );
        self.cim.next = Some(next + 1);
        self.cim.oracle = Some(Oracle::new(change_set.clone(), self.now));
    }

    fn finish_io(&mut self) -> bool {
        let random = self.random.next();
        match self.cim.io.take() {
            None => return false,
            Some(Io::Post(change_set, _)) => {
                let outcome = self.post(&change_set);
                // What the application published in its handler has come before its answer to the POST.
                let early = self.cim.answers.len();
                while self.hear() {}
                if early > 0 && outcome == PostOutcome::Failed {
                    self.seen.note("early answer, POST failed");
                }
                self.say(|| format!("POST: {outcome:?}"));
                let oracle = self.cim.oracle.as_mut().unwrap();
                oracle.on_post(outcome, self.now);
                self.cim.delivery.on_post(outcome, self.now, random);
            }
            Some(Io::ApplySelf) => {
                let applied = self.random.chance(70);
                self.cim.oracle.as_mut().unwrap().on_self(applied);
                self.cim.delivery.on_self(applied, self.now);
            }
            Some(Io::Commit(commit)) => {
                let outcome = self.commit(&commit);
                self.say(|| format!("commit: {outcome:?}"));
                if matches!(outcome, CommitOutcome::Refused { .. }) {
                    self.cim.oracle.as_mut().unwrap().commit_refused = true;
                    self.seen.note("commit refused");
                }
                self.cim.delivery.on_commit(outcome, self.now, random);
            }
        }
        true
    }

    fn commit(&mut self, commit: &Commit) -> CommitOutcome {
        let error = "no".to_owned();
        if self.etcd_is_away {
            return CommitOutcome::Unreachable { error };
        }
        if self.etcd_refuses {
            return CommitOutcome::Refused { error };
        }
        self.apply(commit);
        if !self.healed && self.random.chance(20) {
            self.seen.note("commit applied, answer lost");
            return CommitOutcome::Unreachable { error };
        }
        CommitOutcome::Taken
    }

    fn hear(&mut self) -> bool {
        let Some(payload) = self.cim.answers.pop_front() else {
            return false;
        };
        let answer = ConfigAnswer::parse(&payload).unwrap();
        let is_for = |oracle: &Oracle| oracle.change_set.key.text() == answer.change_set_key;
        let counts = match &mut self.cim.oracle {
            Some(oracle)
                if is_for(oracle) && !oracle.change_set.key.is_self() && !oracle.is_decided() =>
            {
                if oracle.posting {
                    self.seen.note("early answer");
                }
                // A second one during the POST is none.
                let first = !oracle.is_early();
                oracle.on_answer(answer.status);
                first
            }
            Some(oracle) if is_for(oracle) => {
                self.seen.note("answer too late");
                false
            }
            _ => {
                self.seen.note("foreign answer");
                false
            }
        };
        self.say(|| format!("answer for {}: {:?}", answer.change_set_key, answer.status));
        let heard = self.cim.delivery.on_answer(&answer, self.now);
        assert_eq!(heard != Heard::Foreign, counts, "{answer:?}");
        true
    }

    // ---- the application

    fn post(&mut self, change_set: &ChangeSet) -> PostOutcome {
        if self.app_is_away_until.is_some() {
            return PostOutcome::Refused;
        }
        match self.random.below(20) {
            0 => PostOutcome::Rejected { status: 400 },
            1 => PostOutcome::Rejected { status: 500 },
            2 => PostOutcome::Failed,
            3 => {
                self.application_gets(change_set);
                while self.publish() {}
                self.random
                    .pick(&[PostOutcome::Failed, PostOutcome::Rejected { status: 503 }])
            }
            _ => {
                self.application_gets(change_set);
                PostOutcome::Accepted
            }
        }
    }

    /// The application handles a change set, and answers when it likes; sometimes within its handler.
    fn application_gets(&mut self, change_set: &ChangeSet) {
        let delay_ms = match self.random.below(20) {
            0..7 => 0,
            7..15 => self.random.below(3_000),
            15..17 => self.random.below(58_000),
            17 => 61_000 + self.random.below(20_000),
            _ => return,
        };
        let status = self.random.pick(&[
            Status::Success,
            Status::Success,
            Status::Unused,
            Status::Failure,
        ]);
        let answers = if self.random.chance(10) { 2 } else { 1 };
        for _ in 0..answers {
            self.planned.push(Planned {
                at: self.now + Duration::from_millis(delay_ms as u64),
                key: change_set.key.text().to_owned(),
                status,
            });
        }
    }

    /// An answer that is due is published.
    fn publish(&mut self) -> bool {
        let due = self
            .planned
            .iter()
            .position(|planned| planned.at <= self.now);
        let Some(due) = due else {
            return false;
        };
        let Planned { key, status, .. } = self.planned.remove(due);
        self.send_answer(&key, status);
        true
    }

    fn send_answer(&mut self, key: &str, status: Status) {
        let status = match status {
            Status::Success => "success",
            Status::Unused => "unused",
            Status::Failure => "failure",
        };
        let text = format!(r#"{{"change-set-key":"{key}","revision":"1","status":"{status}"}}"#);
        self.cim.answers.push_back(text.into());
    }

    fn publish_foreign_answer(&mut self) {
        let key = if self.expected.is_empty() {
            format!("{PREFIX}v1/ms/a.json/1")
        } else {
            let any = self.random.below(self.expected.len());
            self.expected[any].key.clone()
        };
        self.send_answer(&key, Status::Success);
    }

    fn restart_application(&mut self) {
        self.seen.note("application restarted");
        // Shorter or longer than CIM has patience.
        let away_ms = if self.random.chance(70) {
            self.random.below(20_000)
        } else {
            self.random.below(2 * APP_RETRY_TIME.as_millis() as usize)
        };
        self.say(|| format!("application away for {away_ms} ms"));
        self.app_is_away_until = Some(self.now + Duration::from_millis(away_ms as u64));
        self.planned.clear();
        self.cim.delivery.on_registered();
        self.cim.registered = true;
    }

    // ---- time and the end

    /// To the next moment at which something is due, or a part of the way.
    fn pass_time(&mut self) {
        let post_ends = match self.cim.io {
            Some(Io::Post(_, at)) if at <= self.now => {
                self.finish_io();
                return;
            }
            Some(Io::Post(_, at)) => Some(at),
            _ => None,
        };
        let due = [
            self.cim.delivery.deadline(),
            self.app_is_away_until,
            post_ends,
        ]
        .into_iter()
        .flatten()
        .chain(self.planned.iter().map(|planned| planned.at))
        .filter(|at| *at > self.now)
        .min();
        let Some(due) = due else {
            return self.on_time();
        };
        self.now = if self.random.chance(70) {
            due
        } else {
            self.now + (due - self.now) / 2
        };
        self.on_time();
    }

    fn on_time(&mut self) {
        if self
            .app_is_away_until
            .is_some_and(|until| self.now >= until)
        {
            self.app_is_away_until = None;
        }
        // Answers that are there go first.
        while self.publish() {}
        while self.hear() {}
        self.settle_actions();
        let now = self.now;
        if let Some(oracle) = &mut self.cim.oracle {
            oracle.on_time(now);
        }
        if self.cim.delivery.deadline().is_some_and(|at| at <= now) {
            self.cim.delivery.on_tick(now);
        }
    }

    fn heal(&mut self) {
        self.say(|| "healed".into());
        self.healed = true;
        self.etcd_is_away = false;
        self.etcd_refuses = false;
        self.app_is_away_until = None;
    }

    fn is_done(&self) -> bool {
        let next = self.cim.next;
        next == Some(self.expected.len()) && self.cim.oracle.is_none() && self.cim.io.is_none()
    }

    fn assert_end(&self) {
        // Each has exactly one commit, in order; but those that newer ones superseded.
        let committed: Vec<&Position> = self.committed.iter().map(|(p, _)| p).collect();
        let expected: Vec<&Position> = self
            .expected
            .iter()
            .filter(|position| !self.superseded.contains(position))
            .collect();
        assert_eq!(committed, expected);
        // What is in etcd is the last of each key.
        let last: BTreeMap<&str, &str> = self
            .committed
            .iter()
            .map(|(_, commit)| (&commit.commit_key[..], &commit.value[..]))
            .collect();
        for (key, value) in last {
            assert_eq!(self.etcd.value(key).as_deref(), Some(value));
        }
    }
}
