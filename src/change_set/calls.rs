//! The calls to etcd that change sets need, as values of [`super::wire`].

use super::delivery::{Commit, CommitOutcome};
use super::intake::ReadFailure;
use super::memory::Own;
use super::subscription::Put;
use super::wire::{Entry, Event, Frame, Header, Page};
use crate::chain::chain;
use crate::etcd::{
    Client, Compare, Condition, EtcdError, EventKind, KeyValue, Operation, Range, RangeAnswer,
    Recovery, Txn, TxnResponse, WatchRequest, WatchStream,
};

/// Reads single keys, all at one revision.
///
/// # Errors
/// See [`EtcdError`].
pub fn read_keys(client: &mut Client, keys: &[String]) -> Result<Page, EtcdError> {
    let ranges = keys.iter().map(|key| Range::key(key.as_str()));
    let answer = client.txn(&Txn {
        success: ranges.map(Operation::Range).collect(),
        ..Txn::default()
    })?;
    let entries = answer.responses.into_iter().flat_map(|response| {
        let kvs = match response {
            TxnResponse::Range(range) => range.kvs,
            _ => Vec::new(),
        };
        kvs.into_iter().map(Entry::from)
    });
    Ok(Page {
        header: answer.header.into(),
        entries: entries.collect(),
        more: false,
    })
}

/// Reads what this pod has in etcd ([`Own::keys`]), as much of it as etcd lets CIM read: an etcd whose operator knows nothing of CIM's
/// memory may give access to change sets and commits alone.
///
/// # Errors
/// See [`EtcdError`].
pub fn read_own(client: &mut Client, own: &Own) -> Result<Page, EtcdError> {
    let keys = own.keys();
    let (memory, commits) = keys.split_at(1);
    let result = read_keys(client, &keys);
    if !matches!(&result, Err(error) if error.is_permission()) {
        return result;
    }
    log::warn!(
        "etcd does not let CIM read {}: after a restart CIM may deliver change sets again",
        memory.concat()
    );
    let result = read_keys(client, commits);
    if !matches!(&result, Err(error) if error.is_permission()) {
        return result;
    }
    let answer = client.range(&Range {
        limit: 1,
        keys_only: true,
        ..Range::prefix(own.prefix())
    })?;
    Ok(Page {
        header: answer.header.into(),
        entries: Vec::new(),
        more: false,
    })
}

/// Reads a page of the prefix of all change sets, oldest first.
///
/// # Errors
/// See [`EtcdError`].
pub fn read_prefix(
    client: &mut Client,
    own: &Own,
    at: Option<i64>,
    min_mod_revision: i64,
    limit: usize,
) -> Result<Page, EtcdError> {
    let answer = client.range(&Range {
        revision: at.unwrap_or_default(),
        min_mod_revision,
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
        oldest_first: true,
        ..Range::prefix(own.prefix())
    })?;
    Ok(answer.into())
}

/// What an error means to a read of the prefix.
pub fn read_failure(error: &EtcdError) -> ReadFailure {
    match error {
        EtcdError::TooLarge { .. } => ReadFailure::TooLarge,
        error if error.recovery() == Recovery::Reread => ReadFailure::Compacted,
        _ => ReadFailure::Other,
    }
}

/// Watches the prefix of all change sets.
///
/// # Errors
/// See [`EtcdError`].
pub fn watch(
    client: &mut Client,
    own: &Own,
    start_revision: i64,
) -> Result<WatchStream, EtcdError> {
    client.watch(&WatchRequest {
        prefix: own.prefix().into_bytes(),
        start_revision,
    })
}

/// Puts the outcome of a change set and the position of it in one transaction, unless they are there. An etcd that lets CIM put
/// the commit key alone gets that.
///
/// `memory_revision` is the revision at which CIM last saw the memory key, 0 for one that is not there, `None` before the first
/// look; the transaction does nothing when it has changed since. So a try that etcd has kept, while it stood still, for longer
/// than CIM waited, does nothing when it is let go behind later commits.
pub fn commit(
    client: &mut Client,
    commit: &Commit,
    memory_revision: &mut Option<i64>,
) -> CommitOutcome {
    let mut result = put_once(client, commit, memory_revision);
    if matches!(&result, Err(error) if error.is_permission()) {
        let key = commit.commit_key.as_bytes();
        result = client.put(key, commit.value.as_bytes()).map(|_| true);
        if result.is_ok() {
            log::warn!(
                "etcd does not let CIM read and put {}: after a restart CIM may deliver change sets again",
                commit.memory_key
            );
        }
    }
    match result {
        Ok(true) => CommitOutcome::Taken,
        Ok(false) => CommitOutcome::Unreachable {
            error: format!("{} was changed meanwhile", commit.memory_key),
        },
        Err(error) => match error.recovery() {
            Recovery::GiveUp => CommitOutcome::Refused {
                error: chain(&error),
            },
            Recovery::Retry | Recovery::Reread | Recovery::Stop => CommitOutcome::Unreachable {
                error: chain(&error),
            },
        },
    }
}

/// False when the memory key was not as it was seen last; it is looked at in that case.
fn put_once(
    client: &mut Client,
    commit: &Commit,
    memory_revision: &mut Option<i64>,
) -> Result<bool, EtcdError> {
    let memory_key = || commit.memory_key.as_str();
    let expected = match *memory_revision {
        Some(revision) => revision,
        None => {
            let page = read_keys(client, &[memory_key().to_owned()])?;
            let found = page.entries.first().map(|entry| entry.mod_revision);
            *memory_revision.insert(found.unwrap_or_default())
        }
    };
    let answer = client.txn(&Txn {
        compare: vec![unchanged(memory_key(), expected)],
        success: vec![
            put(&commit.commit_key, &commit.value),
            put(memory_key(), &commit.memory_value),
        ],
        failure: vec![Operation::Range(Range::key(memory_key()))],
    })?;
    if answer.succeeded {
        *memory_revision = Some(answer.header.revision);
        return Ok(true);
    }
    let found = answer
        .responses
        .into_iter()
        .find_map(|response| match response {
            TxnResponse::Range(range) => range.kvs.into_iter().next(),
            _ => None,
        });
    *memory_revision = Some(found.as_ref().map_or(0, |kv| kv.mod_revision));
    // By an earlier try whose answer was lost.
    Ok(found.is_some_and(|kv| kv.value == commit.memory_value.as_bytes()))
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put {
        key: key.into(),
        value: value.into(),
    }
}

fn unchanged(key: &str, mod_revision: i64) -> Compare {
    Compare {
        key: key.into(),
        is: Condition::ModRevision(mod_revision),
    }
}

/// Puts keys in one transaction, if each is still as it was `found`. False when one is not.
///
/// # Errors
/// See [`EtcdError`].
pub fn put_all(client: &mut Client, puts: &[Put], found: &Page) -> Result<bool, EtcdError> {
    if puts.is_empty() {
        return Ok(true);
    }
    let compare = |put: &Put| {
        let mut entries = found.entries.iter();
        let entry = entries.find(|entry| entry.key == put.key.as_bytes());
        unchanged(&put.key, entry.map_or(0, |entry| entry.mod_revision))
    };
    let mut transaction = Txn {
        compare: puts.iter().map(compare).collect(),
        success: puts.iter().map(|one| put(&one.key, &one.value)).collect(),
        failure: Vec::new(),
    };
    let mut result = client.txn(&transaction);
    if matches!(&result, Err(error) if error.is_permission()) {
        // To compare a key is to read it, which may not be allowed.
        transaction.compare.clear();
        result = client.txn(&transaction);
    }
    result.map(|answer| answer.succeeded)
}

impl From<crate::etcd::Header> for Header {
    fn from(header: crate::etcd::Header) -> Self {
        Self {
            cluster_id: header.cluster_id,
            revision: header.revision,
        }
    }
}

impl From<KeyValue> for Entry {
    fn from(kv: KeyValue) -> Self {
        Self {
            key: kv.key,
            value: kv.value,
            mod_revision: kv.mod_revision,
        }
    }
}

impl From<RangeAnswer> for Page {
    fn from(answer: RangeAnswer) -> Self {
        Self {
            header: answer.header.into(),
            entries: answer.kvs.into_iter().map(Entry::from).collect(),
            more: answer.more,
        }
    }
}

impl From<crate::etcd::Frame> for Frame {
    fn from(frame: crate::etcd::Frame) -> Self {
        let event = |event: crate::etcd::WatchEvent| match event.kind {
            EventKind::Put => Event::Put(event.kv.into()),
            EventKind::Delete => Event::Delete {
                key: event.kv.key,
                mod_revision: event.kv.mod_revision,
            },
        };
        Self {
            header: frame.header.into(),
            canceled: frame.canceled,
            fragment: frame.fragment,
            events: frame.events.into_iter().map(event).collect(),
        }
    }
}
