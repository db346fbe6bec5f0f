//! One owner: a lock on the file `owner`, which the operating system takes back when its holder ends, however it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::OpenError;
use crate::limits::{JOURNAL_OWNER_PAUSE, JOURNAL_OWNER_TRIES};
use crate::logs::trouble::Operation;

/// The file's name.
const FILE: &str = "owner";

/// The lock. It ends with this value.
#[derive(Debug)]
pub struct Owner {
    _file: File,
}

impl Owner {
    /// Becomes the owner of `dir`.
    ///
    /// # Errors
    /// Another process is; the file cannot be opened or made.
    pub fn new(dir: &Path) -> Result<Self, OpenError> {
        let mut file =
            open(dir, OFlags::RDWR | OFlags::CREATE).map_err(|error| OpenError::Directory {
                dir: dir.to_owned(),
                operation: Operation::Open,
                source: error.into(),
            })?;
        for tries in 1.. {
            match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if tries < JOURNAL_OWNER_TRIES => {
                    std::thread::sleep(JOURNAL_OWNER_PAUSE);
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(OpenError::InUse {
                        dir: dir.to_owned(),
                        pid: pid(&mut file),
                    });
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    log::warn!(
                        "{} has no locks ({error}): nothing keeps a second CIM from the event journal",
                        dir.display()
                    );
                    break;
                }
            }
        }
        // For people, and for the message above: the lock holds without it.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// Whether somebody owns `dir` now, and who.
pub fn owner_of(dir: &Path) -> Option<Option<u32>> {
    let mut file = open(dir, OFlags::RDONLY).ok()?;
    // Given back at once; a CIM that starts right now tries again.
    match fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(pid(&mut file)),
        _ => None,
    }
}

fn open(dir: &Path, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::open(dir.join(FILE), flags, Mode::from_raw_mode(0o600)).map(File::from)
}

fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    let read: io::Result<_> = file.take(16).read_to_string(&mut text);
    read.ok()?;
    text.trim().parse().ok()
}
