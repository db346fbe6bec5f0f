//! Change sets and the first configuration: their keys, their delivery, their commits.

use std::time::Duration;

/// Operations of one JSON Patch. One that sets every member of cim.json has 16.
pub const PATCH_OPERATIONS: usize = 256;
/// Levels of a cim.json after a patch: what is written must be readable again, and JSON is read up to 128.
pub const CONFIG_DEPTH: usize = 120;
/// Bytes of a change set's key. Kubernetes: namespace and label 63, data key 253; the version is an annotation.
pub const CHANGE_SET_KEY_BYTES: usize = 1024;
/// Bytes of a key that a log line, an error or the history shows.
pub const SHOWN_KEY_BYTES: usize = 256;
/// Bytes of the memory key's value: a key, of which JSON may write each byte as six, and a few short texts.
pub const MEMORY_BYTES: usize = 8 * CHANGE_SET_KEY_BYTES;
/// Change sets in one page of the prefix, at first: etcd takes 128 puts in one transaction by default. Halved while the
/// answer is too large, doubled while one transaction fills the page.
pub const PREFIX_PAGE: usize = 128;
/// Time between two tries to reach an application that refuses the connection: the first one, doubled up to the last one.
pub const APP_RETRY_FIRST: Duration = Duration::from_millis(200);
/// See [`APP_RETRY_FIRST`].
pub const APP_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time an application may refuse the connection before a change set has failed: that of a restart.
pub const APP_RETRY_TIME: Duration = Duration::from_secs(30);
/// Time for one POST of a change set, answer included. The original: 10 s.
pub const UPDATE_CONFIG_TIME: Duration = Duration::from_secs(10);
/// Time the application has for its answer on CONFIG once it has accepted a change set: default of a setting.
pub const CONFIG_REPLY_TIME: Duration = Duration::from_secs(60);
/// The longest that the setting may ask for.
pub const CONFIG_REPLY_TIME_MAX: Duration = Duration::from_secs(120);
/// Time after which CMaaS's lease on a change set ends, and with it CMaaS's patience.
pub const CHANGE_SET_LEASE: Duration = Duration::from_secs(180);
const _: () = assert!(
    (APP_RETRY_TIME.as_secs() + UPDATE_CONFIG_TIME.as_secs() + CONFIG_REPLY_TIME.as_secs()) * 3
        <= CHANGE_SET_LEASE.as_secs() * 2
        && APP_RETRY_TIME.as_secs()
            + UPDATE_CONFIG_TIME.as_secs()
            + CONFIG_REPLY_TIME_MAX.as_secs()
            < CHANGE_SET_LEASE.as_secs(),
    "the slowest delivery must be committed well before CMaaS looks at the commit keys"
);
/// Time between two tries of a commit that etcd does not take: the first one, doubled up to the last one.
pub const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(100);
/// See [`COMMIT_RETRY_FIRST`].
pub const COMMIT_RETRY_LAST: Duration = Duration::from_secs(5);
/// Time etcd may refuse a commit before a newer change set that waits supersedes it.
pub const COMMIT_REFUSED_TIME: Duration = Duration::from_secs(30);
/// Time between two reads of the first configuration while it is not there.
pub const DAY_ONE_POLL: Duration = Duration::from_secs(1);
/// Time between two reads of the first configuration that fail: [`DAY_ONE_POLL`] at first, doubled up to this.
pub const DAY_ONE_RETRY_LAST: Duration = Duration::from_secs(10);
/// Time an application that asked for its first configuration may refuse the connection: it may not listen yet.
pub const LOAD_RETRY_TIME: Duration = Duration::from_secs(10);
/// Bytes of the remarks in an answer on CONFIG that are kept for the log.
pub const REMARKS_BYTES: usize = 256;
/// Change sets that the history remembers.
pub const HISTORY: usize = 100;

/// Change sets between the watch and the delivery, each of at most 1.5 MiB: one in flight and a few to keep it busy. What is
/// more stays in etcd.
pub const CHANGE_SETS: usize = 4;
/// Answers of the application on CONFIG that wait while a call is under way, each of at most a key and its remarks. One change set
/// is in flight, so one answer is due.
pub const CONFIG_ANSWERS: usize = 64;
/// Events of the application that CIM acts upon, waiting while a call is under way.
pub const APP_SIGNALS: usize = 16;
/// Time in which a pending commit is finished once nothing more can come.
pub const CONFIG_STOP_TIME: Duration = Duration::from_secs(2);
