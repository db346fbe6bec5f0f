//! CIM's own log.

use std::time::Duration;

/// Lines of CIM's own log that wait for the pipeline; the next one is dropped and counted.
pub const OWN_LOG_LINES: usize = 1024;
/// Bytes of one line of CIM's own log, line end included; a longer text is cut.
/// Linux writes up to 4096 bytes to a pipe whole or not at all, so such a line is never torn and never blocks half-way.
pub const OWN_LOG_LINE_BYTES: usize = 4096;
/// Lines that one call site of CIM's own log may write at once.
pub const OWN_LOG_BURST: u32 = 20;
/// Time after which a call site that has used up its burst may write one more line.
pub const OWN_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Call sites whose rate is watched one by one; the program has fewer, and the rest would share one.
pub const OWN_LOG_SITES: usize = 1024;
/// Time between two lines of CIM's own log on one matter.
pub const SAY_AGAIN: Duration = Duration::from_secs(10);
