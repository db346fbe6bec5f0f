//! The directories: there, writable, with room, and nobody else's.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

use super::{Known, Out};
use crate::cli::journal::JOURNAL_DIR;
use crate::events::journal::inspect::owner_of;
use crate::limits::DOCTOR_FREE_BYTES;

const MIB: u64 = 1 << 20;

pub(super) fn logs(known: &Known, out: &Out) {
    let dir = &known.surroundings.options.paths.log_dir;
    let lmaas = &known.surroundings.settings.load().cim.lmaas;
    // One container with all of its backups.
    let wanted = u64::from(lmaas.max_file_size_in_mb) * u64::from(lmaas.max_backup_files + 1) * MIB;
    let what =
        "one container's log file and its backups may take (max_file_size_in_mb, max_backup_files)";
    look(dir, "CIM_LOG_DIR", wanted, what, out);
}

pub(super) fn state(known: &Known, out: &Out) {
    let options = &known.surroundings.options;
    let dir = &options.paths.state_dir;
    let what = "the event journal may take (CIM_JOURNAL_MAX_MB)";
    look(dir, "CIM_STATE_DIR", options.journal.bytes_max, what, out);
    match owner_of(&dir.join(JOURNAL_DIR)) {
        None => out.ok("no CIM works with it now"),
        Some(pid) => {
            let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
            out.ok(format!(
                "a CIM works with it{pid}; a second one would not start"
            ));
        }
    }
}

/// `wanted`: bytes that `what` says may be needed.
fn look(dir: &Path, setting: &str, wanted: u64, what: &str, out: &Out) {
    let shown = dir.display();
    let there = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Some(found),
        Ok(_) => {
            return out.failed(
                format!("{shown} is no directory"),
                format!("remove it, or name another one with {setting}"),
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return out.failed(
                format!("{shown}: {error}"),
                format!(
                    "let user {} into it, or name another one with {setting}",
                    user()
                ),
            );
        }
    };
    // CIM makes it, with what is missing above it.
    let Some(nearest) = dir.ancestors().map(named).find(|above| above.is_dir()) else {
        return out.failed(
            format!("{shown} cannot be made"),
            format!("name another one with {setting}"),
        );
    };
    if let Err(error) = try_file(nearest) {
        let owner = fs::metadata(nearest)
            .map_or_else(|_| "somebody".into(), |found| found.uid().to_string());
        return out.failed(
            format!(
                "{shown}: user {} cannot write {}, which is user {owner}'s: {error}",
                user(),
                nearest.display()
            ),
            format!(
                "mount a volume that this user may write (securityContext.fsGroup), or name another directory with {setting}"
            ),
        );
    }
    match there {
        Some(found) => out.ok(format!(
            "{shown}: user {} writes, user {} owns it",
            user(),
            found.uid()
        )),
        None => out.ok(format!("{shown}: not there yet, CIM can make it")),
    }
    match statvfs(nearest) {
        Ok(found) => space(&found, wanted, what, out),
        Err(error) => out.warn(format!("{shown}: its free space is not known: {error}")),
    }
}

fn space(found: &StatVfs, wanted: u64, what: &str, out: &Out) {
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let shown = format!("{} MiB free", free / MIB);
    if free < DOCTOR_FREE_BYTES {
        out.failed(
            shown,
            "make room on this volume: lines and events are dropped or held back when it is full",
        );
    } else if found.f_files > 0 && found.f_favail == 0 {
        out.failed(
            format!("{shown}, but no file can be made"),
            "remove files from this volume: its inodes are used up",
        );
    } else if free < wanted {
        out.warning(
            format!("{shown}; {what} {} MiB", wanted / MIB),
            "give the volume more room, or lower the settings",
        );
    } else {
        out.ok(shown);
    }
}

/// `.` for the empty path above a relative one.
fn named(path: &Path) -> &Path {
    match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    }
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a file with a byte in it, and removes it.
fn try_file(dir: &Path) -> io::Result<()> {
    use std::io::Write;
    let path = dir.join(format!(
        ".cim-doctor-{}-{}",
        std::process::id(),
        crate::random::number()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let written = file.write_all(b"\n");
    drop(file);
    fs::remove_file(&path)?;
    written
}
