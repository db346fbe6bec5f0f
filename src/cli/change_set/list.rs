//! `cim change-set list`: the change sets in etcd, and what this pod has done with them.

use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{ChangeSetCliError, Place};
use crate::change_set::calls::read_own;
use crate::change_set::key::{ChangeSetKey, Position, shown_key};
use crate::change_set::memory::{Memory, Own};
use crate::change_set::wire::Page;
use crate::etcd::{Client, KeyValue, Range};
use crate::limits::CHANGE_SETS_LISTED;
use crate::settings::problem::{cut, escaped};

/// Bytes of a commit's value that are shown: a revision has 20.
const VALUE_BYTES: usize = 32;

/// `cim change-set list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The answer as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &ListArgs, out: &mut dyn Write) -> Result<(), ChangeSetCliError> {
    let (config, own) = args.place.resolve()?;
    let mut client = Client::new(config)?;
    let there = client.range(&Range {
        keys_only: true,
        oldest_first: true,
        limit: i64::try_from(CHANGE_SETS_LISTED).unwrap_or(i64::MAX),
        ..Range::prefix(own.prefix())
    })?;
    let done = read_own(&mut client, &own)?;
    let commits = client.range(&Range {
        limit: i64::try_from(CHANGE_SETS_LISTED).unwrap_or(i64::MAX),
        ..Range::prefix(format!(
            "commit-config/{}/{}/",
            own.namespace, own.microservice
        ))
    })?;
    let more = there
        .count
        .saturating_sub(i64::try_from(there.kvs.len()).unwrap_or(i64::MAX));
    let known = Done::of(&own, &done);
    let rows: Vec<_> = there.kvs.iter().map(|kv| row(kv, &own, &known)).collect();
    let text = match args.json {
        true => as_json(&rows, &commits.kvs, more),
        false => table(&rows, &commits.kvs, more, &own),
    };
    // A reader that has gone away has seen enough.
    let _ = out.write_all(text.as_bytes());
    Ok(())
}

/// How far this pod is.
struct Done {
    memory: Option<Memory>,
    /// The value and the revision of each of its commit keys.
    commits: Vec<(Vec<u8>, i64)>,
    /// The revision at which the memory was put.
    at: i64,
}

impl Done {
    fn of(own: &Own, page: &Page) -> Self {
        let memory_key = own.memory_key();
        let (memory, commits): (Vec<_>, Vec<_>) = page
            .entries
            .iter()
            .partition(|entry| entry.key == memory_key.as_bytes());
        let memory = memory.first();
        Self {
            memory: memory.and_then(|entry| Memory::parse(&entry.value)),
            at: memory.map_or(0, |entry| entry.mod_revision),
            commits: commits
                .into_iter()
                .map(|entry| (entry.value.clone(), entry.mod_revision))
                .collect(),
        }
    }

    /// What became of the change set at `position`, in one word or a few.
    fn state(&self, position: &Position) -> &'static str {
        let Some(memory) = &self.memory else {
            return "not known";
        };
        match position.cmp(&memory.position) {
            std::cmp::Ordering::Greater => "waits",
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => {
                let commit = self.commits.iter().find(|(_, at)| *at == self.at);
                match commit.map(|(value, _)| value.as_slice()) {
                    Some(b"-1") => "failure",
                    Some(b"-2") => "unused",
                    Some(_) => "success",
                    None => "done",
                }
            }
        }
    }
}

/// One line.
struct Row {
    key: String,
    parsed: Option<ChangeSetKey>,
    etcd_revision: i64,
    state: &'static str,
}

fn row(kv: &KeyValue, own: &Own, done: &Done) -> Row {
    let parsed = ChangeSetKey::parse_bytes(&kv.key).ok();
    let state = match &parsed {
        None => "no change set",
        Some(key) if key.version() != own.version => "other version",
        Some(key) => done.state(&Position {
            revision: kv.mod_revision,
            key: key.text().to_owned(),
        }),
    };
    Row {
        key: shown_key(&kv.key),
        parsed,
        etcd_revision: kv.mod_revision,
        state,
    }
}

fn value(kv: &KeyValue) -> String {
    escaped(cut(&String::from_utf8_lossy(&kv.value), VALUE_BYTES))
}

fn table(rows: &[Row], commits: &[KeyValue], more: i64, own: &Own) -> String {
    let mut text = format!(
        "{:<10} {:<5} {:<10} {:<13} KEY\n",
        "REVISION", "LEVEL", "ETCD", "STATE"
    );
    for row in rows {
        let key = row.parsed.as_ref();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:<10} {:<5} {:<10} {:<13} {}",
            key.map_or("-".to_owned(), |key| key.number().to_string()),
            key.map_or("-", |key| key.level().label()),
            row.etcd_revision,
            row.state,
            row.key,
        );
    }
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    let _ = writeln!(
        text,
        "{} change sets; the states are those of pod {}.",
        rows.len(),
        own.pod
    );
    if !commits.is_empty() {
        let _ = writeln!(text, "\n{:<10} {:<10} KEY OF THE COMMIT", "VALUE", "ETCD");
    }
    for kv in commits {
        let _ = writeln!(
            text,
            "{:<10} {:<10} {}",
            value(kv),
            kv.mod_revision,
            shown_key(&kv.key)
        );
    }
    text
}

fn as_json(rows: &[Row], commits: &[KeyValue], more: i64) -> String {
    let row = |row: &Row| {
        let key = row.parsed.as_ref();
        json!({
            "key": row.key,
            "revision": key.map(ChangeSetKey::number),
            "level": key.map(|key| key.level().label()),
            "data_key": key.map(ChangeSetKey::data_key),
            "etcd_revision": row.etcd_revision,
            "state": row.state,
        })
    };
    let commit = |kv: &KeyValue| json!({"key": shown_key(&kv.key), "value": value(kv), "etcd_revision": kv.mod_revision});
    let object = json!({
        "change_sets": rows.iter().map(row).collect::<Value>(),
        "more": more,
        "commits": commits.iter().map(commit).collect::<Value>(),
    });
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change_set::testing::{CLUSTER, change_set, entry, own};
    use crate::change_set::wire::Header;

    #[test]
    fn the_memory_tells_what_is_done_and_the_commit_beside_it_how() {
        let own = own();
        let dealt = change_set("ms/app.json/2", 20);
        let state = |value: &str, of: &str, revision| {
            let page = Page {
                header: Header {
                    cluster_id: CLUSTER,
                    revision: 99,
                },
                entries: vec![
                    entry(&own.memory_key(), &own.memory_of(&dealt).value(), 25),
                    entry("commit-config/ns1/ms1/v1/nf/cnf-0", "1", 11),
                    entry("commit-config/ns1/ms1/v1/ms/cnf-0", value, 25),
                ],
                more: false,
            };
            let kv = KeyValue {
                key: of.as_bytes().to_vec(),
                mod_revision: revision,
                ..KeyValue::default()
            };
            row(&kv, &own, &Done::of(&own, &page)).state
        };
        let dealt = "change-set/ns1/ms1/v1/ms/app.json/2";
        assert_eq!(state("2", dealt, 20), "success");
        assert_eq!(state("-1", dealt, 20), "failure");
        assert_eq!(state("-2", dealt, 20), "unused");
        assert_eq!(
            state("2", "change-set/ns1/ms1/v1/nf/app.json/1", 10),
            "done"
        );
        assert_eq!(
            state("2", "change-set/ns1/ms1/v1/ms/app.json/3", 30),
            "waits"
        );
        assert_eq!(
            state("2", "change-set/ns1/ms1/v2/ms/app.json/3", 30),
            "other version"
        );
        assert_eq!(state("2", "change-set/ns1/ms1/x", 30), "no change set");
    }

    #[test]
    fn nothing_that_etcd_holds_moves_the_cursor() {
        let kv = KeyValue {
            key: b"change-set/ns1/ms1/\x1b[2J".to_vec(),
            value: b"\x1b[2J and more than there is room for".to_vec(),
            ..KeyValue::default()
        };
        let done = Done {
            memory: None,
            commits: Vec::new(),
            at: 0,
        };
        let rows = [row(&kv, &own(), &done)];
        let text = table(&rows, std::slice::from_ref(&kv), 3, &own());
        assert!(
            !text.contains('\x1b') && text.contains("and 3 more"),
            "{text}"
        );
        let json: Value = serde_json::from_str(&as_json(&rows, &[kv], 3)).unwrap();
        assert_eq!(json["more"], 3);
    }
}
