//! The way of messages from the NATS server's reads to the threads that store them.

use std::time::Duration;

use super::CONTROL_LINE_BYTES;

/// Bytes of one read from a NATS connection, and of one batch of the data path.
/// Large enough that a wake-up is spread over some 200 lines of 256 bytes, small enough to stay in the L2 cache.
pub const READ_BLOCK_BYTES: usize = 64 << 10;
const _: () = assert!(
    READ_BLOCK_BYTES >= 2 * CONTROL_LINE_BYTES,
    "a control line and more must fit one read"
);
/// Read blocks that are kept for reuse. More than are in flight in the steady state would only be memory.
pub const READ_BLOCKS_KEPT: usize = 16;
/// Time between two reads of a connection that publishes a stream: reads then come in bulk.
pub const READ_COALESCE: Duration = Duration::from_micros(2000);

/// LOG batches between `nats_server` and `nats_subscriptions` (each at most [`READ_BLOCK_BYTES`], or one payload).
pub const LOG_BATCHES: usize = 16;
/// Bytes of the batches on their way through the data path beyond which LOG has no room. All channels full of blocks are
/// 6 MiB; full of payloads of 1 MiB they would be 48, more than CIM may take.
pub const LOG_BYTES: usize = 8 << 20;
const _: () = assert!(
    LOG_BYTES >= (LOG_BATCHES + 2 * LINE_BATCHES) * READ_BLOCK_BYTES,
    "ordinary lines must be bounded by the channels alone"
);
/// EVENT batches between `nats_server` and `nats_subscriptions`, and from there to `journal_writer`.
pub const EVENT_BATCHES: usize = 16;
/// Batches of CONFIG and TEST between `nats_server` and `nats_subscriptions`.
pub const CONTROL_BATCHES: usize = 16;
/// Line batches that wait for a writer (file, stdout).
pub const LINE_BATCHES: usize = 16;
/// Replies (`{"stream":…}`) that may wait for their message to be stored; beyond it their publisher is held back.
pub const ACKS_WAITING: usize = 4096;
/// Bytes of the reply subjects of those acknowledgements, for each stream: one may be as long as a control line.
pub const ACK_BYTES_WAITING: usize = 1 << 20;
/// PINGs of one connection that wait behind different batches; further ones are answered together with the last of them.
/// A client that waits for its PONG has one; 64 times 1024 connections take 1.5 MiB.
pub const PONGS_WAITING: usize = 64;

/// Time a log sink may stand still before its lines take another way (stdout: to the file; the file: counted and dropped).
pub const SINK_STALL: Duration = Duration::from_secs(5);

/// Messages on EVENT that are no events and are set aside within [`SAY_AGAIN`](super::SAY_AGAIN); the others are only counted.
pub const MALFORMED_KEPT: u32 = 16;
/// Bytes of one of them that are kept.
pub const MALFORMED_KEPT_BYTES: usize = 64 << 10;
