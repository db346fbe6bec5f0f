//! The NATS server: connections, what waits for them, TLS, its configuration, and an external server in its place.

use std::time::Duration;

use super::READ_BLOCK_BYTES;

/// Bytes of one NATS control line without its CR LF. nats-server: 4096.
pub const CONTROL_LINE_BYTES: usize = 4096;
/// Bytes of one NATS payload, headers included. nats-server: 1 MiB; the original announces the same.
pub const PAYLOAD_BYTES: usize = 1 << 20;
/// NATS connections at one time. nats-server: 65,536; a pod has a handful of clients, and each may hold buffers.
pub const CONNECTIONS: usize = 1024;
/// Bytes that may wait for one NATS client before it is cut off as a slow consumer. nats-server: 64 MiB; a sidecar has less.
pub const CLIENT_PENDING_BYTES: usize = 8 << 20;
/// Bytes that may wait for all NATS clients together: the part of the memory budget that slow subscribers can take.
pub const ALL_PENDING_BYTES: usize = 16 << 20;
/// Bytes of half-received messages over all NATS connections: what clients that stop in the middle can take.
pub const ALL_PARTIAL_BYTES: usize = 8 << 20;
/// Subscriptions of one NATS connection. nats-server: no limit; here the table must be bounded.
pub const CLIENT_SUBSCRIPTIONS: usize = 4096;
/// Subscriptions of all NATS connections together.
pub const ALL_SUBSCRIPTIONS: usize = 65_536;
/// Bytes of the subjects and queue names of all subscriptions together.
pub const ALL_SUBSCRIPTION_BYTES: usize = 4 << 20;
/// Time between two PINGs to an idle NATS client. nats-server: 2 minutes.
pub const PING_INTERVAL: Duration = Duration::from_secs(120);
/// Time from CONNECT to a NATS client's first PING, unless [`PING_INTERVAL`] is shorter: it tells how long the way there and back takes, and
/// nats.java's test rig waits for a line behind its CONNECT. nats-server: 2 s, and up to a fifth more.
pub const FIRST_PING: Duration = Duration::from_secs(2);
/// PINGs without an answer before a NATS client counts as gone. nats-server: 2.
pub const PINGS_OUTSTANDING: u32 = 2;
/// Time a new NATS connection has for its CONNECT when authentication is on. nats-server: 2 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time a NATS client may take no byte of what waits for it. nats-server: 10 s.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Reply subjects of requests that one NATS client may answer at one time (`allow_responses`). nats-server: 4096.
pub const ANSWERS_ALLOWED: usize = 4096;
/// Connections of NATS clients that `/connz?state=closed` still tells of. nats-server: 10000.
pub const CLOSED_CONNECTIONS: usize = 64;
/// Bytes of the subscriptions of each that are kept.
pub const CLOSED_CONNECTION_BYTES: usize = 4096;
/// Questions on monitoring pages that wait for the NATS server's thread.
pub const MONITOR_QUESTIONS: usize = 4;

/// Bytes of a configuration in nats-server's syntax, with all that it includes and what its variables repeat: thousands of users.
pub const NATS_CONFIG_BYTES: usize = 1 << 20;
/// Values in it, repeated ones too.
pub const NATS_CONFIG_VALUES: usize = 64 << 10;
/// Blocks, arrays and files within each other.
pub const NATS_CONFIG_DEPTH: usize = 32;
/// Files of it.
pub const NATS_CONFIG_FILES: usize = 64;

/// Time that a TLS handshake with a NATS client may take. nats-server: 2 s.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(2);
/// TLS handshakes with NATS clients at one time; further clients wait for their turn. Each may hold 64 KiB, the longest handshake message
/// that rustls takes, and one round of the thread does no more signatures than this: some 30 ms with RSA of 2048 bits.
pub const TLS_HANDSHAKES: usize = 32;
/// Bytes of one TLS record as it is sent at most, header and tag included (RFC 8446 section 5.2): what may wait for its end in each
/// connection.
pub const TLS_RECORD_BYTES: usize = 5 + (16 << 10) + 2048;
const _: () = assert!(
    TLS_RECORD_BYTES + 2 * CONTROL_LINE_BYTES <= READ_BLOCK_BYTES / 2,
    "a block that is half full must have room for what one more read may decrypt to"
);
/// Bytes for one client that are encrypted and not yet sent. They count among those that wait for it until they are.
pub const TLS_WRITE_BYTES: usize = 64 << 10;
/// Reads of one TLS connection in one round when nothing in them is for NATS: handshake messages, parts of a record.
pub const TLS_READS_A_ROUND: u32 = 16;
/// Bytes that are looked at in a certificate's name: one value, or one text in all.
pub const CERTIFICATE_NAME_BYTES: usize = 4096;
/// Names that are taken from a certificate.
pub const CERTIFICATE_NAMES: usize = 64;

/// Bytes of LOG, and of EVENT, from an external NATS server that may wait for room in the data path; what comes then is lost.
pub const EXTERNAL_HELD_BYTES: usize = 16 << 20;
/// From so many on no more is read from the external server, which then keeps it.
pub const EXTERNAL_HOLD_BYTES: usize = 4 << 20;
/// Longest time for which nothing is read from it: after its write deadline (10 s) it would cut CIM off, and EVENT and CONFIG come
/// the same way as LOG.
pub const EXTERNAL_HOLD_TIME: Duration = Duration::from_secs(5);
/// Reads of [`READ_BLOCK_BYTES`] from an external server before anything else has its turn.
pub const EXTERNAL_READS_A_ROUND: u32 = 16;
/// Bytes of a line of an external server. Its INFO names all servers of a cluster.
pub const EXTERNAL_LINE_BYTES: usize = 64 << 10;
/// Bytes of a message of an external server, headers included: nats-server lets nobody set more.
pub const EXTERNAL_PAYLOAD_BYTES: usize = 64 << 20;
/// Time for a TCP connection to an external NATS server, and then until it has let CIM in.
pub const EXTERNAL_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Time between two PINGs by which CIM knows that its connection works.
pub const EXTERNAL_PING_INTERVAL: Duration = Duration::from_secs(10);
/// Time after which the PONG counts as lost, and the connection with it.
pub const EXTERNAL_PONG_TIME: Duration = Duration::from_secs(10);
/// First and longest wait between two tries to connect.
pub const EXTERNAL_RETRY: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes that are published and not yet known to be with the server; a larger message goes alone.
pub const EXTERNAL_UNDER_WAY_BYTES: usize = 64 << 10;
/// Bytes of a chunk of what waits for a NATS client: the unit in which memory comes and goes. As much as one write takes at least.
pub const OUTBOUND_CHUNK_BYTES: usize = 64 << 10;
/// Bytes after which a client is flushed in the middle of a batch, so that a burst does not look like a slow consumer; enough that it is woken
/// up seldom.
pub const FLUSH_EARLY_BYTES: usize = 4 * OUTBOUND_CHUNK_BYTES;
/// Such chunks that are kept for the next bytes: 1 MiB.
pub const OUTBOUND_CHUNKS_KEPT: usize = 16;
/// So many steps there are on the way of a client from nothing that waits for it to being cut off. From the first one on whoever publishes to
/// it waits too, for [`CROWDED_TIME`] and step after each read at most: a burst does not cut off a subscriber that is only a little slower. The
/// second half of [`ALL_PENDING_BYTES`] has as many.
pub const CROWDED_STEPS: u32 = 8;
/// See [`CROWDED_STEPS`]: a subscriber of 8 MiB that takes nothing is cut off after 5 s, and one that takes 1 MB a second is not. nats-server:
/// 10 ms at any step, in the second half of 64 MiB.
pub const CROWDED_TIME: Duration = Duration::from_millis(10);
/// Clients whose first waiting bytes get a whole chunk at once, though they may be few: 2 MiB, whatever the number of clients.
pub const OUTBOUND_CHUNKS_FIRST: usize = 32;
