//! The calls to etcd that change sets need, as values of [`super::wire`].

use super::delivery::{Commit, CommitOutcome};
use super::intake::ReadFailure;
use super::memory::Own;
use super::subscription::Put;
use super::wire::{Entry, Event, Frame, Header, Page};
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
pub fn commit(client: &mut Client, commit: &Commit) -> CommitOutcome {
    let put = |key: &str, value: &str| Operation::Put {
        key: key.into(),
        value: value.into(),
    };
    let transaction = Txn {
        compare: vec![Compare {
            key: commit.memory_key.as_str().into(),
            is: Condition::Value(commit.memory_value.as_str().into()),
        }],
        success: Vec::new(),
        failure: vec![
            put(&commit.commit_key, &commit.value),
            put(&commit.memory_key, &commit.memory_value),
        ],
    };
    let mut result = client.txn(&transaction).map(drop);
    if matches!(&result, Err(error) if error.is_permission()) {
        let key = commit.commit_key.as_bytes();
        result = client.put(key, commit.value.as_bytes()).map(drop);
        if result.is_ok() {
            log::warn!(
                "etcd does not let CIM put {}: after a restart CIM may deliver change sets again",
                commit.memory_key
            );
        }
    }
    match result {
        Ok(()) => CommitOutcome::Taken,
        Err(error) => match error.recovery() {
            Recovery::GiveUp => CommitOutcome::Refused {
                error: error.to_string(),
            },
            Recovery::Retry | Recovery::Reread | Recovery::Stop => CommitOutcome::Unreachable {
                error: error.to_string(),
            },
        },
    }
}

/// Puts keys in one transaction.
///
/// # Errors
/// See [`EtcdError`].
pub fn put_all(client: &mut Client, puts: &[Put]) -> Result<(), EtcdError> {
    let put = |put: &Put| Operation::Put {
        key: put.key.as_str().into(),
        value: put.value.as_str().into(),
    };
    client
        .txn(&Txn {
            success: puts.iter().map(put).collect(),
            ..Txn::default()
        })
        .map(drop)
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
