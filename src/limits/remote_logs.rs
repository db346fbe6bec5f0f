//! Log lines to a TCP collector or to Kafka, and what of them is stored meanwhile.

use std::time::Duration;

use super::{CONTAINERS, LINE_BATCHES, LOG_BYTES, PAYLOAD_BYTES, READ_BLOCK_BYTES, SINK_STALL};

/// Time for a TCP connection to one address of a log collector. It is one network hop away; a lost packet is the next try's matter.
pub const TCP_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Time for the look-up of a log collector's name and the connection to one of its addresses, all tries together.
pub const TCP_FIND_TIME: Duration = Duration::from_secs(3);
/// Bytes of formatted lines that wait for the socket of a log collector; a line begun below it is taken whole.
pub const TCP_WAITING_BYTES: usize = 256 << 10;
/// Bytes that the kernel is asked to hold of them at most (it takes twice as much, for its own needs). They are in limbo when the
/// connection breaks, so they are few; 128 KiB at a round trip of 1 ms are 128 MB/s.
pub const TCP_KERNEL_BYTES: usize = 128 << 10;
/// Lines of one chunk that arrive together are counted together up to this many bytes, so that short lines need little memory.
pub const TCP_MARK_BYTES: u64 = 1 << 10;
/// Such groups that wait for their acknowledgement: 192 KiB of memory.
pub const TCP_MARKS: usize = 8192;
const _: () = assert!(
    TCP_MARKS as u64 * TCP_MARK_BYTES >= 8 * (TCP_WAITING_BYTES + TCP_KERNEL_BYTES) as u64,
    "ordinary chunks must be bounded by bytes alone"
);
/// Time without a byte after which the kernel asks whether a log collector is still there.
pub const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// Time between two such questions.
pub const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Such questions without an answer after which the connection is broken.
pub const TCP_KEEPALIVE_PROBES: u32 = 3;
/// Time bytes may go without an acknowledgement, or without room at the peer, before the connection is broken.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
const _: () = assert!(
    TCP_USER_TIMEOUT.as_secs() > SINK_STALL.as_secs(),
    "lines have taken another way before a collector that only hiccups is cut off"
);
/// Time between two questions to the kernel for what the peer has acknowledged while nothing else happens: the first one,
/// doubled up to the last one. On loopback an acknowledgement takes some 50 µs, in a cluster less than a millisecond.
pub const TCP_LOOK_FIRST: Duration = Duration::from_micros(200);
/// See [`TCP_LOOK_FIRST`].
pub const TCP_LOOK_LAST: Duration = Duration::from_millis(10);
/// The same where the kernel must be asked through /proc, which lists all sockets each time.
pub const TCP_LOOK_LISTED: Duration = Duration::from_millis(100);
/// Bytes of /proc/self/net/tcp that are read: some 100,000 sockets.
pub const TCP_LISTED_BYTES: u64 = 16 << 20;
/// Bytes of what a log collector sends that are read, and thrown away, in one go.
pub const TCP_DISCARDED_BYTES: usize = 64 << 10;

/// Containers with a backlog of log lines at one time. More than [`CONTAINERS`]: those of earlier runs are among them.
pub const BACKLOG_CONTAINERS: usize = 2 * CONTAINERS;
/// Pieces of files that the backlog of one container may have: `max_backup_files` is at most 20, and a file may have a few.
/// Beyond it the oldest is not sent any more.
pub const BACKLOG_PIECES: usize = 32;
/// Bytes of a mark. Name and id of a container come in one payload, and base64 makes 3 bytes 4.
pub const BACKLOG_MARK_BYTES: u64 = 4 << 20;
const _: () = assert!(BACKLOG_MARK_BYTES >= 2 * PAYLOAD_BYTES as u64);
/// Bytes of the list of lines of one file that hold line ends: some 200,000, as many stack traces as 50 MB can be.
/// Further ones are sent as several lines.
pub const BACKLOG_WHOLE_BYTES: u64 = 4 << 20;
/// Entries of that list that are read at one time: 64 KiB.
pub const BACKLOG_WHOLE_READ: usize = 3276;
/// Bytes that are read of a backlog at one time, and of one chunk unless a line is longer.
pub const BACKLOG_CHUNK_BYTES: usize = 256 << 10;
/// Lines of one chunk.
pub const BACKLOG_CHUNK_LINES: usize = 8192;
/// Time between two writes of what is delivered of a backlog: what may be sent twice after kill -9.
pub const BACKLOG_STORE_INTERVAL: Duration = Duration::from_millis(100);
/// Points in time that are kept of one file of a backlog: how old the oldest line is.
pub const BACKLOG_TIMES: usize = 32;
/// Pieces of forgotten backlogs whose lines are still to be counted.
pub const BACKLOG_UNCOUNTED: usize = 4096;

/// Bytes of log lines in flight to a remote sink, as they were read. Kafka on the same machine acknowledges within some 20 ms: 200 MB/s.
pub const REMOTE_WINDOW_BYTES: usize = 4 << 20;
const _: () = assert!(
    REMOTE_WINDOW_BYTES + LINE_BATCHES * READ_BLOCK_BYTES <= LOG_BYTES,
    "a sink that stands still must not use up what all sinks share"
);
/// Bytes of log lines from the files in flight to a remote sink.
pub const REPLAY_WINDOW_BYTES: usize = 1 << 20;
/// Bytes of log lines that are read from a file at one time, if it is more than one line.
pub const REPLAY_CHUNK_BYTES: usize = 256 << 10;
/// Time that lines from the files have to arrive when CIM stops; then they are sent again by the next run.
pub const REPLAY_STOP_TIME: Duration = Duration::from_secs(1);
/// Bytes left in the files at which nothing further is written behind them for a while, so that the sink catches up.
pub const CATCH_UP_BYTES: u64 = 256 << 10;
/// Time that publishers are held back for it at the most: they must not notice a sink that is slow.
pub const CATCH_UP_HOLD: Duration = Duration::from_secs(2);
/// Time before they may be held back again.
pub const CATCH_UP_PAUSE: Duration = Duration::from_secs(10);
/// Pause after the first failed try to reach a remote sink.
pub const REMOTE_RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest pause between two tries to reach a remote sink.
pub const REMOTE_RETRY_LAST: Duration = Duration::from_secs(30);
/// Time that a remote sink has to work before its next failure counts as the first one again.
pub const REMOTE_STEADY: Duration = Duration::from_secs(30);

/// Log lines that are on their way to Kafka: at 400,000 a second and 50 ms to the acknowledgement 20,000 are. Each takes some 200 bytes
/// in librdkafka besides its own.
pub const KAFKA_LOGS_IN_FLIGHT: usize = 40_000;
/// Bytes of their records: the part of the memory budget that they may take.
pub const KAFKA_LOG_BYTES_IN_FLIGHT: usize = 8 << 20;
/// Time in which a broker has to say how many partitions the topic has.
pub const KAFKA_TOPIC_TIME: Duration = Duration::from_secs(5);

/// Time that Kubernetes has to tell of the log collector on the own node.
pub const LOCAL_COLLECTOR_TIME: Duration = Duration::from_secs(3);

/// Bytes of log lines that are kept after the collector's kernel has acknowledged them: what a kernel may hold unread, some 3 MiB where
/// nobody has changed it.
pub const TCP_TAIL_BYTES: usize = 4 << 20;
/// Time that they are kept: a collector that has not read them by then lets others wait for longer than [`SINK_STALL`].
pub const TCP_TAIL_TIME: Duration = Duration::from_secs(10);
