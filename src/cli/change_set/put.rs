//! `cim change-set put`: the next revision, the put, and the wait for the commit.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::input::Input;
use super::{ChangeSetCliError, LevelArg, Place, file, time};
use crate::change_set::calls::read_own;
use crate::change_set::key::{ChangeSetKey, Level, Position};
use crate::change_set::memory::{Memory, Own};
use crate::etcd::{Client, Config, EtcdError, EventKind, Range, Recovery, WatchRequest};
use crate::limits::{CHANGE_SET_REVISIONS_TRIED, ETCD_RETRY_FIRST};

/// `cim change-set put`.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// The JSON Patch, or the object that an application is sent with one; `-` or nothing reads standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration that it changes; cim.json is CIM's own
    #[arg(long, value_name = "NAME", default_value = "app.json")]
    data_key: String,
    /// Whose configuration: the microservice's or the network function's
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "ms")]
    level: LevelArg,
    /// Its revision [default: one more than the highest that is there]
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// How long etcd keeps it, 0 for ever; CMaaS gives 180s
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "180s")]
    lease: Duration,
    /// Put any bytes, JSON Patch or not
    #[arg(long)]
    raw: bool,
    /// Wait until the pod has committed it, for this time at most
    #[arg(long, value_name = "TIME", value_parser = time, num_args = 0..=1, require_equals = true, default_missing_value = "90s")]
    wait: Option<Duration>,
    /// What was done, as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What became of a change set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Unused,
    Failure,
    /// CIM has dealt with a later one, and not with this one: its version is another one's, its revision too low.
    PassedOver,
}

impl Outcome {
    /// CONTRACT section 4.
    fn of_commit(value: &[u8]) -> Self {
        match value {
            b"-1" => Self::Failure,
            b"-2" => Self::Unused,
            _ => Self::Success,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Unused => "unused",
            Self::Failure => "failure",
            Self::PassedOver => "passed over",
        }
    }

    fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::Unused)
    }
}

pub(super) fn run(args: &PutArgs, out: &mut dyn Write) -> Result<bool, ChangeSetCliError> {
    let input = Input::read(file(args.file.as_ref()), args.raw)?;
    let (config, own) = args.place.resolve()?;
    let mut client = Client::new(config.clone())?;
    let lease = match args.lease.is_zero() {
        true => 0,
        false => client.grant(i64::try_from(args.lease.as_secs().max(1)).unwrap_or(i64::MAX))?,
    };
    let (key, revision) = put(args, input, &own, &mut client, lease)?;
    if !args.json {
        // A reader that has gone away has seen enough.
        let _ = writeln!(out, "put {} at revision {revision} of etcd", key.text());
        let _ = out.flush();
    }
    let start = Instant::now();
    let Some(limit) = args.wait else {
        if args.json {
            let _ = writeln!(
                out,
                "{}",
                json!({"key": key.text(), "etcd_revision": revision})
            );
        }
        return Ok(true);
    };
    let at = Position {
        revision,
        key: key.text().to_owned(),
    };
    let outcome = wait(&config, &own, &key, &at, limit)?;
    let outcome = outcome.ok_or_else(|| ChangeSetCliError::NoCommit {
        key: at.key.clone(),
        pod: own.pod.clone(),
        seconds: limit.as_secs(),
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let _ = match args.json {
        true => writeln!(
            out,
            "{}",
            json!({"key": at.key, "etcd_revision": revision, "pod": own.pod, "outcome": outcome.label(), "seconds": seconds})
        ),
        false => writeln!(out, "{} after {seconds:.1} s: {}", own.pod, outcome.label()),
    };
    Ok(outcome.is_good())
}

/// Puts it under its key, or the next that is free.
fn put(
    args: &PutArgs,
    input: Input,
    own: &Own,
    client: &mut Client,
    lease: i64,
) -> Result<(ChangeSetKey, i64), ChangeSetCliError> {
    if let Some(key) = input.key {
        return create(client, key, &input.value, lease)?;
    }
    let key = |revision: u64| {
        let level = Level::from(args.level).label();
        let text = format!(
            "{}{}/{level}/{}/{revision}",
            own.prefix(),
            own.version,
            args.data_key
        );
        ChangeSetKey::parse(&text).map_err(|source| ChangeSetCliError::Key { key: text, source })
    };
    if let Some(revision) = args.revision {
        return create(client, key(revision)?, &input.value, lease)?;
    }
    let mut next = highest(client, own)?.saturating_add(1);
    let mut tries = 0;
    loop {
        match create(client, key(next)?, &input.value, lease)? {
            // Somebody else was faster.
            Err(ChangeSetCliError::Exists(_)) if tries < CHANGE_SET_REVISIONS_TRIED => {
                (next, tries) = (next.saturating_add(1), tries + 1);
            }
            done => return done,
        }
    }
}

type Put = Result<(ChangeSetKey, i64), ChangeSetCliError>;

fn create(
    client: &mut Client,
    key: ChangeSetKey,
    value: &[u8],
    lease: i64,
) -> Result<Put, ChangeSetCliError> {
    let revision = client.create(key.text().as_bytes(), value, lease)?;
    Ok(match revision {
        Some(revision) => Ok((key, revision)),
        None => Err(ChangeSetCliError::Exists(key.text().to_owned())),
    })
}

/// The highest revision of all change sets of this version that are there, and of what this pod has committed.
fn highest(client: &mut Client, own: &Own) -> Result<u64, EtcdError> {
    let there = client.range(&Range {
        keys_only: true,
        ..Range::prefix(own.prefix())
    })?;
    let numbers = there.kvs.iter().filter_map(|kv| {
        let key = ChangeSetKey::parse_bytes(&kv.key).ok()?;
        (key.version() == own.version).then(|| key.number())
    });
    let committed = read_own(client, own)?;
    let committed = committed.entries.iter().filter_map(|entry| {
        if let Some(memory) = Memory::parse(&entry.value) {
            return ChangeSetKey::parse(&memory.position.key)
                .ok()
                .map(|key| key.number());
        }
        std::str::from_utf8(&entry.value).ok()?.parse().ok()
    });
    Ok(numbers.chain(committed).max().unwrap_or_default())
}

/// Watches this pod's commits. What the memory says at the revision of a commit tells whose it is: it is put in the same transaction.
fn wait(
    config: &Config,
    own: &Own,
    key: &ChangeSetKey,
    at: &Position,
    limit: Duration,
) -> Result<Option<Outcome>, ChangeSetCliError> {
    let until = Instant::now() + limit;
    let commits = [
        key.commit_key(&own.pod, false),
        key.commit_key(&own.pod, true),
    ];
    let prefix = commits.iter().map(String::len).min().unwrap_or_default() - own.pod.len();
    let prefix = commits[0].get(..prefix).unwrap_or_default().to_owned();
    let mut next = at.revision + 1;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut config = config.clone();
        config.timeouts.stream = left;
        let mut client = Client::new(config)?;
        let request = WatchRequest {
            prefix: prefix.clone().into_bytes(),
            start_revision: next,
        };
        match look(&mut client, &request, own, &commits, at, &mut next) {
            Ok(Some(outcome)) => return Ok(Some(outcome)),
            Ok(None) => {}
            // Not permitted, as a rule.
            Err(error @ EtcdError::Canceled { .. }) => return Err(error.into()),
            Err(error) if error.recovery() == Recovery::Retry => {
                std::thread::sleep(ETCD_RETRY_FIRST.min(left));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Until the stream ends. `next`: where to go on.
fn look(
    client: &mut Client,
    request: &WatchRequest,
    own: &Own,
    commits: &[String],
    at: &Position,
    next: &mut i64,
) -> Result<Option<Outcome>, EtcdError> {
    let mut stream = client.watch(request)?;
    while let Some(frame) = stream.next_frame()? {
        if let Some(error) = frame.cancellation(request.start_revision) {
            return Err(error);
        }
        for event in &frame.events {
            let kv = &event.kv;
            let ours = commits.iter().any(|commit| commit.as_bytes() == kv.key);
            if event.kind == EventKind::Put && ours {
                let outcome = judged(client, own, kv.mod_revision, &kv.value, at)?;
                if outcome.is_some() {
                    return Ok(outcome);
                }
            }
            *next = (*next).max(kv.mod_revision + 1);
        }
    }
    Ok(None)
}

/// What a commit at `revision` with `value` says of the change set at `at`; `None`: nothing.
fn judged(
    client: &mut Client,
    own: &Own,
    revision: i64,
    value: &[u8],
    at: &Position,
) -> Result<Option<Outcome>, EtcdError> {
    let memory = client.range(&Range {
        revision,
        ..Range::key(own.memory_key())
    });
    let memory = match memory {
        Ok(answer) => answer.kvs.first().and_then(|kv| Memory::parse(&kv.value)),
        // An etcd that lets CIM put commits alone.
        Err(error) if error.is_permission() => None,
        Err(error) => return Err(error),
    };
    Ok(match memory {
        Some(memory) if memory.position == *at => Some(Outcome::of_commit(value)),
        Some(memory) if memory.position > *at => Some(Outcome::PassedOver),
        Some(_) => None,
        // As good as can be told.
        None => Some(Outcome::of_commit(value)),
    })
}
