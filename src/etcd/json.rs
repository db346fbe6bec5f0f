//! The bodies of requests, and what answers say (etcd `rpc.proto`, as JSON: see the module above).

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::limits;

/// Which keys to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    /// The key, or the first one.
    pub key: Vec<u8>,
    /// The first key beyond; empty: `key` alone.
    pub range_end: Vec<u8>,
    /// The state to read; 0: the present one.
    pub revision: i64,
    /// Only keys that were last changed at this revision or after; 0: all.
    pub min_mod_revision: i64,
    /// At most so many keys; 0: no limit (and see [`limits::ETCD_ANSWER_BYTES`], [`limits::ETCD_ITEMS`]).
    pub limit: i64,
    /// Without the values.
    pub keys_only: bool,
    /// Ordered by the revision of the last change, the oldest first; else by key. Keys of one revision are in no order.
    pub oldest_first: bool,
}

impl Range {
    /// One key.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    /// Every key that begins with `prefix`, which is not empty.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let key = prefix.into();
        Self {
            range_end: prefix_end(&key),
            key,
            ..Self::default()
        }
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({"key": base64(&self.key)});
        let mut set = |name: &str, value: Value, is_default: bool| {
            if let (false, Some(members)) = (is_default, body.as_object_mut()) {
                members.insert(name.to_owned(), value);
            }
        };
        let number = |n: i64| Value::from(n.to_string());
        let end = &self.range_end;
        set("range_end", base64(end).into(), end.is_empty());
        set("revision", number(self.revision), self.revision == 0);
        let oldest = self.min_mod_revision;
        set("min_mod_revision", number(oldest), oldest == 0);
        set("limit", number(self.limit), self.limit == 0);
        set("keys_only", true.into(), !self.keys_only);
        set("sort_target", "MOD".into(), !self.oldest_first);
        set("sort_order", "ASCEND".into(), !self.oldest_first);
        body
    }
}

/// The first key beyond those that begin with `prefix` (etcd: the prefix with one added to its last byte that is not 0xff, and
/// cut after it; a zero byte when there is none, which means "to the end").
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

/// A transaction: `success` when every comparison holds, else `failure`; all of it or nothing, at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compare: Vec<Compare>,
    /// What is done when it does. No key may be put twice.
    pub success: Vec<Operation>,
    /// What is done when it does not.
    pub failure: Vec<Operation>,
}

/// A key must be in a certain condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Vec<u8>,
    /// What must be true of it.
    pub is: Condition,
}

/// What a key may be compared with. Each means "equal".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its value. Does not hold for a key that does not exist.
    Value(Vec<u8>),
    /// The revision of its last change; 0: it does not exist.
    ModRevision(i64),
    /// How often it was put since it was made; 0: it does not exist.
    Version(i64),
}

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Range(Range),
    /// Puts a key.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// Deletes one key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Txn {
    pub(super) fn body(&self) -> Value {
        let all = |operations: &[Operation]| -> Value {
            operations.iter().map(Operation::body).collect()
        };
        json!({
            "compare": self.compare.iter().map(Compare::body).collect::<Value>(),
            "success": all(&self.success),
            "failure": all(&self.failure),
        })
    }

    /// The revision that its reads ask for, for errors.
    pub(super) fn revision(&self) -> i64 {
        let mut operations = self.success.iter().chain(&self.failure);
        let found = operations.find_map(|operation| match operation {
            Operation::Range(range) if range.revision != 0 => Some(range.revision),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

impl Compare {
    fn body(&self) -> Value {
        let (target, member, value) = match &self.is {
            Condition::Value(value) => ("VALUE", "value", base64(value)),
            Condition::ModRevision(revision) => ("MOD", "mod_revision", revision.to_string()),
            Condition::Version(version) => ("VERSION", "version", version.to_string()),
        };
        json!({"key": base64(&self.key), "result": "EQUAL", "target": target, member: value})
    }
}

impl Operation {
    fn body(&self) -> Value {
        match self {
            Self::Range(range) => json!({"request_range": range.body()}),
            Self::Put { key, value } => json!({"request_put": put_body(key, value)}),
            Self::Delete { key } => json!({"request_delete_range": {"key": base64(key)}}),
        }
    }
}

pub(super) fn put_body(key: &[u8], value: &[u8]) -> Value {
    json!({"key": base64(key), "value": base64(value)})
}

/// A transaction that puts a key that is not there.
pub(super) fn create_body(key: &[u8], value: &[u8], lease: i64) -> Value {
    let absent = Compare {
        key: key.into(),
        is: Condition::Version(0),
    };
    let mut put = put_body(key, value);
    if let (true, Some(members)) = (lease != 0, put.as_object_mut()) {
        members.insert("lease".to_owned(), lease.to_string().into());
    }
    json!({"compare": [absent.body()], "success": [{"request_put": put}], "failure": []})
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What every answer says of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Which cluster: another one has other revisions.
    #[serde(deserialize_with = "number")]
    pub cluster_id: u64,
    /// The cluster's revision when it answered. 0: not said.
    #[serde(deserialize_with = "number")]
    pub revision: i64,
}

/// A key and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct KeyValue {
    /// The key.
    #[serde(deserialize_with = "bytes")]
    pub key: Vec<u8>,
    /// Its value; empty in a read of keys alone, and for a key that was deleted.
    #[serde(deserialize_with = "bytes")]
    pub value: Vec<u8>,
    /// The revision of its last change.
    #[serde(deserialize_with = "number")]
    pub mod_revision: i64,
    /// The revision at which it was made.
    #[serde(deserialize_with = "number")]
    pub create_revision: i64,
    /// How often it was put since it was made.
    #[serde(deserialize_with = "number")]
    pub version: i64,
    /// The lease it goes with; 0: none.
    #[serde(deserialize_with = "number")]
    pub lease: i64,
}

/// The answer to a read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RangeAnswer {
    /// The cluster.
    pub header: Header,
    /// The keys, at most [`limits::ETCD_ITEMS`].
    #[serde(deserialize_with = "items")]
    pub kvs: Vec<KeyValue>,
    /// There are more keys than the limit of the request.
    pub more: bool,
    /// How many keys there are in the range, whatever the limit.
    #[serde(deserialize_with = "number")]
    pub count: i64,
}

/// The answer to a put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PutAnswer {
    /// The cluster; its revision is that of the put.
    pub header: Header,
}

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeleteAnswer {
    /// The cluster.
    pub header: Header,
    /// How many keys are gone.
    #[serde(deserialize_with = "number")]
    pub deleted: i64,
}

/// The answer to a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TxnAnswer {
    /// The cluster.
    pub header: Header,
    /// The comparisons held.
    pub succeeded: bool,
    /// One for each step that was done, in order.
    #[serde(deserialize_with = "items")]
    pub responses: Vec<TxnResponse>,
}

/// The answer to a step of a transaction. Their headers have the revision alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum TxnResponse {
    /// To a read.
    #[serde(rename = "response_range")]
    Range(RangeAnswer),
    /// To a put.
    #[serde(rename = "response_put")]
    Put(PutAnswer),
    /// To a deletion.
    #[serde(rename = "response_delete_range")]
    Delete(DeleteAnswer),
}

/// The answer to a question for the state of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The cluster.
    pub header: Header,
    /// etcd's version.
    pub version: String,
    /// The member that leads; 0: there is none.
    #[serde(deserialize_with = "number")]
    pub leader: u64,
}

/// The answer to user and password.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Authenticated {
    /// What to show with every request.
    pub(super) token: String,
}

/// The answer to a request for a lease.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Granted {
    /// The lease.
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, without its content, which may be a secret.
pub fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax => "no JSON",
            serde_json::error::Category::Data | serde_json::error::Category::Io => {
                "not what the gateway sends"
            }
        };
        let (line, column) = (error.line(), error.column());
        format!(
            "{kind}, line {line} column {column} of {} bytes",
            body.len()
        )
    })
}

/// The gRPC code and the text of an error's body; `None` when it is not the gateway's.
pub(super) fn gateway_error(body: &[u8]) -> Option<(i64, String)> {
    let error: GatewayError = serde_json::from_slice(body).ok()?;
    Some((error.code?, error.message))
}

/// The body of an error, and the member `error` of a watch's last line, where older gateways say `grpc_code`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayError {
    #[serde(alias = "grpc_code")]
    pub(super) code: Option<i64>,
    pub(super) message: String,
}

/// A number, as a text or as it is.
pub(super) fn number<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
where
    T: FromStr + TryFrom<i64> + TryFrom<u64>,
{
    struct Number<T>(PhantomData<T>);
    impl<T: FromStr + TryFrom<i64> + TryFrom<u64>> Visitor<'_> for Number<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of 64 bits")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(|_| E::custom("no number"))
        }
        fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
            T::try_from(value).map_err(|_| E::custom("out of range"))
        }
        fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
            T::try_from(value).map_err(|_| E::custom("out of range"))
        }
    }
    from.deserialize_any(Number(PhantomData))
}

/// Bytes in base64.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    struct Base64;
    impl Visitor<'_> for Base64 {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("base64")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<u8>, E> {
            STANDARD.decode(text).map_err(|_| E::custom("no base64"))
        }
    }
    from.deserialize_str(Base64)
}

/// A list of at most [`limits::ETCD_ITEMS`].
pub(super) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = from.next_element()? {
                if items.len() == limits::ETCD_ITEMS {
                    return Err(A::Error::custom("too many items"));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    from.deserialize_seq(Items(PhantomData))
}

#[cfg(test)]
mod tests;
