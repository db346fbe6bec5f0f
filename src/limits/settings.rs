//! Settings, secrets, and who this sidecar is.

/// Bytes of cim.json or common-infra.json.
pub const CONFIG_FILE_BYTES: u64 = 1 << 20;
/// JSON values in cim.json or common-infra.json. Each takes some 72 bytes once read: without this bound one file of
/// [`CONFIG_FILE_BYTES`] full of `0,` would take 37 MB.
pub const CONFIG_VALUES: usize = 16_384;
/// Errors, and warnings, that are kept for one document; the others are only counted.
pub const CONFIG_PROBLEMS: usize = 32;
/// Bytes of a bad value that an error shows.
pub const SHOWN_VALUE_BYTES: usize = 64;
/// Bytes of a text in cim.json and common-infra.json, and of each address in a list. A DNS name has 253.
pub const CONFIG_TEXT_BYTES: usize = 512;
/// Addresses in one list (etcd endpoints, Kafka brokers).
pub const CONFIG_ADDRESSES: usize = 64;
/// Bytes of a `CIM_*` setting: a path has at most 4096.
pub const OPTION_BYTES: usize = 4096;
/// Bytes of a file with a password or token.
pub const SECRET_FILE_BYTES: u64 = 4096;
/// Bytes of a name that says who this sidecar is. Kubernetes: 253.
pub const IDENTITY_BYTES: usize = 253;
/// Bytes read from the files in /proc that may name the own container.
pub const PROC_FILE_BYTES: u64 = 64 << 10;
