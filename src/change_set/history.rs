//! The last change sets: what `cim history` shows. Whoever shares it between threads puts it behind a `Mutex`.

use std::collections::VecDeque;

use serde::Serialize;

use super::key::{ChangeSet, Position, shown_key};
use super::outcome::Outcome;
use crate::limits::HISTORY;

/// One change set. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its key, control characters escaped, at most [`crate::limits::SHOWN_KEY_BYTES`] of it.
    pub key: String,
    /// The revision in its key.
    pub revision: u64,
    /// When it came from etcd.
    pub seen: u64,
    /// When it was last sent to the application, or applied to CIM.
    pub sent: Option<u64>,
    /// When the application's answer came.
    pub answered: Option<u64>,
    /// When etcd had taken the commit.
    pub committed: Option<u64>,
    /// [`Outcome::label`], once it is dealt with.
    pub outcome: Option<&'static str>,
    /// Which change set this is.
    #[serde(skip)]
    position: Position,
}

/// The last [`HISTORY`] change sets, the oldest first.
#[derive(Debug, Default)]
pub struct History {
    records: VecDeque<Record>,
}

impl History {
    /// A change set has come from etcd. What is told of one that is no longer remembered is dropped.
    pub fn seen(&mut self, change_set: &ChangeSet, at: u64) {
        while self.records.len() >= HISTORY {
            self.records.pop_front();
        }
        self.records.push_back(Record {
            key: shown_key(change_set.key.text().as_bytes()),
            revision: change_set.key.number(),
            seen: at,
            sent: None,
            answered: None,
            committed: None,
            outcome: None,
            position: change_set.position.clone(),
        });
    }

    /// It was sent to the application, or applied to CIM.
    pub fn sent(&mut self, position: &Position, at: u64) {
        self.update(position, |record| record.sent = Some(at));
    }

    /// The application has answered.
    pub fn answered(&mut self, position: &Position, at: u64) {
        self.update(position, |record| record.answered = Some(at));
    }

    /// It is dealt with; committed, unless it was superseded.
    pub fn finished(&mut self, position: &Position, outcome: Outcome, at: u64) {
        self.update(position, |record| {
            record.outcome = Some(outcome.label());
            record.committed = (outcome != Outcome::Superseded).then_some(at);
        });
    }

    fn update(&mut self, position: &Position, change: impl FnOnce(&mut Record)) {
        // The newest: a replaced etcd counts its revisions anew.
        let mut newest_first = self.records.iter_mut().rev();
        if let Some(record) = newest_first.find(|record| record.position == *position) {
            change(record);
        }
    }

    /// The records, the oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn json(history: &History) -> String {
        serde_json::to_string(&history.records().collect::<Vec<_>>()).unwrap()
    }

    fn change_set(number: i64) -> ChangeSet {
        testing::change_set(&format!("ms/app.json/{number}"), number + 1000)
    }

    #[test]
    fn each_step_is_remembered() {
        let mut history = History::default();
        let [one, two, three] = [1, 2, 3].map(change_set);
        history.seen(&one, 10);
        history.sent(&one.position, 11);
        history.seen(&two, 12);
        history.seen(&three, 13);
        history.answered(&one.position, 14);
        history.finished(&one.position, Outcome::Success, 15);
        history.sent(&two.position, 16);
        history.finished(&two.position, Outcome::Superseded, 17);
        assert_eq!(
            json(&history),
            concat!(
                r#"[{"key":"change-set/ns1/ms1/v1/ms/app.json/1","revision":1,"seen":10,"sent":11,"answered":14,"#,
                r#""committed":15,"outcome":"success"},"#,
                r#"{"key":"change-set/ns1/ms1/v1/ms/app.json/2","revision":2,"seen":12,"sent":16,"answered":null,"#,
                r#""committed":null,"outcome":"superseded"},"#,
                r#"{"key":"change-set/ns1/ms1/v1/ms/app.json/3","revision":3,"seen":13,"sent":null,"answered":null,"#,
                r#""committed":null,"outcome":null}]"#
            )
        );
    }

    #[test]
    fn only_the_last_ones_are_remembered() {
        let mut history = History::default();
        assert_eq!(json(&history), "[]");
        for number in 0..HISTORY as i64 + 5 {
            history.seen(&change_set(number), 1);
        }
        assert_eq!(history.records().count(), HISTORY);
        assert_eq!(history.records().next().unwrap().revision, 5);
        history.sent(&change_set(2).position, 9);
        assert!(history.records().all(|record| record.sent.is_none()));
    }

    #[test]
    fn a_position_that_comes_again_is_the_newest_one() {
        let mut history = History::default();
        history.seen(&change_set(1), 1);
        history.seen(&change_set(1), 2);
        history.sent(&change_set(1).position, 3);
        let sent: Vec<_> = history.records().map(|record| record.sent).collect();
        assert_eq!(sent, [None, Some(3)]);
    }

    #[test]
    fn outcomes_have_names_of_their_own() {
        let mut names: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Outcome::ALL.len());
    }
}
