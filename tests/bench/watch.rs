//! Watches the file grow while lines are published: when each line became readable.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::generator::Times;
use crate::lines::{LINE_BYTES, Lines, read_digits};
use crate::verify::files;

/// Time between two looks at the file: the latencies are exact to about this.
const LOOK: Duration = Duration::from_micros(500);

/// Looks without a new byte between two looks at the directory.
const QUIET_LOOKS: u32 = 20;

/// Latencies from publish to readable, in nanoseconds, until `stop` is set.
pub fn watch(dir: &Path, lines: &Lines, times: &Times, stop: &AtomicBool) -> Vec<u64> {
    let mut latencies = Vec::new();
    let mut open: Option<(File, u64)> = None;
    let mut held = Vec::new();
    let mut quiet = 0_u32;
    loop {
        // Read once more after the end.
        let last = stop.load(Relaxed);
        if open.is_none() {
            open = live(dir).and_then(|path| {
                let file = File::open(path).ok()?;
                let inode = file.metadata().ok()?.ino();
                Some((file, inode))
            });
        }
        if let Some((file, inode)) = &mut open {
            let read = file.read_to_end(&mut held).unwrap_or(0);
            let now = times.base.elapsed().as_nanos() as u64;
            let whole = held.len() / (LINE_BYTES + 1) * (LINE_BYTES + 1);
            for line in held[..whole].chunks_exact(LINE_BYTES + 1) {
                let connection = read_digits(&line[lines.connection_at()]);
                let number = read_digits(&line[lines.number_at()]);
                if let (Some(connection), Some(number)) = (connection, number)
                    && let Some(published) = times.get(connection, number)
                {
                    latencies.push(now.saturating_sub(published));
                }
            }
            held.drain(..whole);
            quiet = if read == 0 { quiet + 1 } else { 0 };
            // Rotated: the new file has another inode. A look at the directory costs more than one at the file.
            if quiet % QUIET_LOOKS == 1 {
                let current = live(dir).and_then(|path| std::fs::metadata(path).ok());
                if current.is_some_and(|data| data.ino() != *inode) {
                    open = None;
                    held.clear();
                }
            }
        }
        if last {
            return latencies;
        }
        std::thread::sleep(LOOK);
    }
}

/// The file that is being written.
fn live(dir: &Path) -> Option<PathBuf> {
    files(dir)
        .into_iter()
        .rfind(|path| path.extension().is_none_or(|ext| ext != "log_bkp"))
}
