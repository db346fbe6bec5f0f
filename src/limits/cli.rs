//! The commands beside `cim run`.

use std::time::Duration;

use super::CONFIG_ADDRESSES;

/// Bytes of a container's name and id together that `cim emit` takes: beside them a line must fit one payload.
pub const EMIT_NAME_BYTES: usize = 4096;
/// Lines after which `cim emit` waits until they are stored: what it cannot vouch for when the connection is lost.
pub const EMIT_FLUSH_LINES: u64 = 8192;
/// Time that CIM may hold `cim emit` back before it takes the connection for lost. One that breaks is noticed at once.
pub const EMIT_HELD_TIME: Duration = Duration::from_secs(3600);
/// Messages that may wait for the terminal of `cim tail`; what comes while they do is dropped and counted.
pub const TAIL_PENDING_MESSAGES: usize = 4096;
/// Bytes of a message that `cim tail` cannot decode, of which it prints an excerpt.
pub const TAIL_EXCERPT_BYTES: usize = 256;
/// Time between two looks of `cim tail` at whether it is to end.
pub const TAIL_POLL: Duration = Duration::from_millis(200);
/// Records that `cim journal show` prints when no number is given.
pub const JOURNAL_SHOWN: u64 = 100;
/// Damaged places that `cim journal verify` names; the others are counted.
pub const JOURNAL_SHOWN_DAMAGE: usize = 100;
/// Time for one probe of `cim doctor`, from the start.
pub const DOCTOR_TIME: Duration = Duration::from_secs(12);
/// Time for `cim doctor` to learn from Kubernetes who the pod is: what depends on it has this much more.
pub const DOCTOR_LEARN_TIME: Duration = Duration::from_secs(8);
/// Time for one connection that `cim doctor` makes, and for one answer of etcd.
pub const DOCTOR_CONNECT_TIME: Duration = Duration::from_secs(2);
/// Time for a broker to tell `cim doctor` of its cluster: a name to be found, a TLS handshake, SASL.
pub const DOCTOR_KAFKA_TIME: Duration = Duration::from_secs(6);
const _: () = assert!(
    DOCTOR_KAFKA_TIME.as_secs() + 2 * DOCTOR_CONNECT_TIME.as_secs() < DOCTOR_TIME.as_secs(),
    "a probe that fails in time says why, one that does not only says that"
);
const _: () = assert!(DOCTOR_LEARN_TIME.as_secs() < DOCTOR_TIME.as_secs());
/// Findings of one probe that are told: one for each address of a list, a few besides.
pub const DOCTOR_FINDINGS: usize = 2 * CONFIG_ADDRESSES;
/// Bytes that must be free in a directory for `cim doctor` to find it good: less is full in the next minute.
pub const DOCTOR_FREE_BYTES: u64 = 16 << 20;

/// Bytes of a change set that `cim change-set` puts: etcd takes 1.5 MiB a request (`--max-request-bytes`), in base64 and with its key.
pub const CHANGE_SET_BYTES: usize = 1 << 20;
/// Change sets, and commits, that `cim change-set list` shows.
pub const CHANGE_SETS_LISTED: usize = 1000;
/// Revisions that `cim change-set put` tries when others take them at the same time.
pub const CHANGE_SET_REVISIONS_TRIED: u32 = 8;
