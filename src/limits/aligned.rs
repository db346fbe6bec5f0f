//! Metrics scraped at aligned times.

use std::time::Duration;

/// Ports of the application that are scraped at aligned times. A pod has a few; each one more is a thread for a moment.
pub const ALIGNED_PORTS: usize = 16;
/// Bytes of the path that is scraped, its query included.
pub const ALIGNED_PATH_BYTES: usize = 1024;
/// The shortest time between two aligned scrapes, in ms: stamps are told apart by whole seconds.
pub const ALIGNED_INTERVAL_FIRST_MS: u64 = 1_000;
/// The longest time between two aligned scrapes, in ms.
pub const ALIGNED_INTERVAL_LAST_MS: u64 = 3_600_000;
/// Bytes of the text of a time span.
pub const ALIGNED_SPAN_BYTES: usize = 64;
/// The longest time between two looks at the clock while scrapes are on: a clock that was set is noticed within it.
pub const ALIGNED_LOOK: Duration = Duration::from_secs(1);
/// Milliseconds after an aligned time within which a scrape still counts as that time's, if it is less than a quarter of the interval.
pub const ALIGNED_LATE_MS: u64 = 1_000;
/// Time for the answer of one port, if the interval is not shorter.
pub const ALIGNED_SCRAPE_TIME: Duration = Duration::from_secs(10);
/// Time for one TCP connection to a port of the own pod: loopback answers at once, and nothing can cut a connection off that is not there yet.
pub const ALIGNED_CONNECT_TIME: Duration = Duration::from_secs(1);
/// Bytes of one port's answer.
pub const ALIGNED_BODY_BYTES: usize = 4 << 20;
/// Bytes of the answers of all ports that wait to be read, together.
pub const ALIGNED_BODIES_BYTES: usize = 8 << 20;
const _: () = assert!(ALIGNED_BODIES_BYTES >= 2 * ALIGNED_BODY_BYTES);
/// Bytes of an answer that are read at one time.
pub const ALIGNED_READ_BYTES: usize = 16 << 10;
/// Bytes of each of the two buffers of a connection to a port, and of the head of its answer.
pub const ALIGNED_BUFFER_BYTES: usize = 16 << 10;
/// Bytes of the snapshots in one answer, if it is more than one; the others are in the next. Its text is there twice for a moment.
pub const ALIGNED_ANSWER_BYTES: usize = 8 << 20;
/// Snapshots that are kept at most.
pub const ALIGNED_SNAPSHOTS: usize = 1000;

/// Bytes of the text of one scrape. 50,000 series take some 4 MiB.
pub const EXPOSITION_BYTES: usize = 4 << 20;
/// Bytes of one of its lines. A label value that is a stack trace has some 10 KiB.
pub const EXPOSITION_LINE_BYTES: usize = 64 << 10;
/// Bytes of one name of a metric or label. Prometheus: no limit; the longest names in use have some 150.
pub const EXPOSITION_NAME_BYTES: usize = 1024;
/// Labels of one sample. Prometheus: no limit; Mimir: 30.
pub const EXPOSITION_LABELS: usize = 64;
/// Metric families of one scrape, those without a sample too: each takes some 200 bytes besides its text. Kubernetes' API server
/// has some 400.
pub const EXPOSITION_FAMILIES: usize = 10_000;
/// Samples of one snapshot, over all of its ports.
pub const SNAPSHOT_SERIES: usize = 50_000;
/// Bytes that all snapshots together have when they are handed out: the part of the memory budget that they may take. It is
/// taken twice for the moment in which their text is made.
pub const SNAPSHOT_BYTES: usize = 16 << 20;
/// Bytes of a sample's value that are kept as they came; a longer one is written anew. The longest that is needed has 24.
pub const SAMPLE_VALUE_BYTES: usize = 32;
/// Bytes of bad text that an error shows.
pub const EXPOSITION_SNIPPET_BYTES: usize = 32;
