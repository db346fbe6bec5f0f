//! FlatBuffers tables of CONTRACT section 2 (`cim.fbs`): readers of what applications send, and encoders.
//!
//! The readers are written by hand, for two reasons. Code that `flatc` generates for Rust needs `unsafe`, which this
//! crate forbids. And its verifier refuses strings that are not UTF-8, which applications send and which must arrive
//! unchanged. Every offset is verified before it is followed: root, table to vtable, length of the vtable, fields,
//! vectors, length of strings. Any bytes give an error or slices that lie in the buffer; nothing panics.
//!
//! A buffer with further bytes after its data is accepted, as are an absent field (empty) and a string without its
//! final zero byte: all of these occur in the field, and the original reads them.

mod encode;
mod event;
mod log_message;
mod table;
#[cfg(test)]
mod tests;

pub use encode::{EventFields, encode_event, encode_log};
pub use event::{Event, KeyValue, KeyValues};
pub use log_message::LogMessage;
pub use table::WireError;
