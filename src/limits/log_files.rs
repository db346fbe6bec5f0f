//! Containers, their log files and backups, and standard output.

use std::time::Duration;

use super::LINE_BATCHES;

/// Age at which a line that waits in a file buffer is written although the buffer is not full.
pub const LINE_AGE: Duration = Duration::from_millis(10);
/// Bytes a file buffer may grow to within a batch before it is written.
pub const FILE_BUFFER_BYTES: usize = 256 << 10;
/// Containers with a log file of their own; the names come from the application. Beyond it: the container `%overflow`.
pub const CONTAINERS: usize = 256;
/// Time without a line after which a container's place may be given to a new one.
pub const CONTAINER_IDLE: Duration = Duration::from_secs(3600);
/// Log files open at one time; the least recently used one is closed first.
pub const OPEN_LOG_FILES: usize = 64;
/// Bytes of a container name or id that reach a file name; a longer one is cut and marked with its hash.
/// A container runtime's id has 64 hex digits, a Kubernetes container name at most 63 bytes.
pub const NAME_BYTES: usize = 64;
/// Bytes of the pod's name, and of its namespace, that reach a file name. Kubernetes: 63.
pub const POD_NAME_BYTES: usize = 63;
/// Bytes of a log file's name without `.log`: a file name has 255 on Linux, and a backup's time and extension take 32.
/// When pod and namespace leave less than 2 [`NAME_BYTES`], container name and id share what is left.
pub const STEM_BYTES: usize = 255 - "-2026-11-23T00-25-57.315.log_bkp".len();
/// Bytes of all file buffers together beyond which a buffer's memory is given back as soon as it is written.
pub const ALL_FILE_BUFFER_BYTES: usize = 2 << 20;
/// Line batches that are appended before what is due is written.
pub const BATCHES_A_TURN: usize = LINE_BATCHES;
/// Time between two tries to write a log file while its lines are kept: the first one, doubled up to the last one.
pub const FILE_RETRY_FIRST: Duration = Duration::from_millis(10);
/// See [`FILE_RETRY_FIRST`]. Space that becomes free is then used within a quarter of a second.
pub const FILE_RETRY_LAST: Duration = Duration::from_millis(250);
/// Time between two tries to write a log file whose lines are dropped.
pub const FILE_TRY_AGAIN: Duration = Duration::from_secs(1);
/// Times a log file is made again within one write because somebody removes it.
pub const FILE_REOPENS: u32 = 8;
/// Time between two looks at the age of the backups of all log files of this pod.
pub const BACKUP_SWEEP: Duration = Duration::from_secs(60);
/// Backups that one look at the log directory takes in: the directory is shared with the application, who may fill it.
pub const BACKUPS_LISTED: usize = 8192;
/// Names that are tried for one backup when others have the same millisecond.
pub const BACKUP_NAMES_TRIED: u32 = 1000;
/// Clock steps back up to this long keep backups in order: the next one is named after the newest. Beyond it the clock is believed.
pub const BACKUP_CLOCK_STEP: Duration = Duration::from_secs(24 * 3600);
/// Time without a line after which a log file is closed and its buffer freed.
pub const LOG_FILE_IDLE: Duration = Duration::from_secs(300);
/// Bytes of one write to standard output when it is no regular file: PIPE_BUF, so that a pipe with room takes it whole.
pub const STDOUT_WRITE_BYTES: usize = 4096;
/// Bytes of formatted lines that are collected for standard output. A 1 MiB payload may become 6 MiB of JSON.
pub const STDOUT_BLOCK_BYTES: usize = 64 << 10;
/// Time between two looks whether standard output takes lines again.
pub const STDOUT_TRY_AGAIN: Duration = Duration::from_secs(1);
