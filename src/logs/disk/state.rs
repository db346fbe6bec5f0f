//! The file system as what is kept in the state directory needs it (marks of a backlog, event subscriptions), and how log files are read.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Disk, RealDisk, Stat, stat_of};

/// The calls that are made below the state directory. Errors are those of the operating system.
pub trait StateDisk: Send {
    /// Makes `dir` and what is missing above it.
    fn make_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// Calls `each` with the names in `dir`.
    fn names(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()>;
    /// The whole file; an error when it has more than `max` bytes.
    fn read_file(&mut self, path: &Path, max: u64) -> io::Result<Vec<u8>>;
    /// Bytes in the file; `None` when nothing is there.
    fn length(&mut self, path: &Path) -> io::Result<Option<u64>>;
    /// Writes `bytes` at `offset`, the file made when it is missing.
    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes a file that holds `bytes` alone.
    fn write_new(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Renames; what is at `to` is replaced.
    fn replace(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until what the file or directory holds is on the medium.
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&mut self, path: &Path) -> io::Result<()>;
}

/// Files below the state directory are nobody else's: 0600. A link or a pipe in their place is an error.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(fs::open(
        path,
        flags,
        Mode::from_raw_mode(0o600),
    )?))
}

impl StateDisk for RealDisk {
    fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn names(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        self.list(dir, each)
    }

    fn read_file(&mut self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = open(path, OFlags::RDONLY)?;
        let stat = stat_of(&fs::fstat(&file)?);
        if !stat.regular || stat.len > max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too large, or not a regular file",
            ));
        }
        read_at(&file, 0, usize::try_from(stat.len).unwrap_or(0))
    }

    fn length(&mut self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.stat_path(path)?.map(|stat| stat.len))
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        open(path, OFlags::WRONLY | OFlags::CREATE)?.write_all_at(bytes, offset)
    }

    fn write_new(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::io::Write;
        open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?.write_all(bytes)
    }

    fn replace(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(fs::renameat(CWD, from, CWD, to)?)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        open(path, OFlags::RDONLY)?.sync_all()
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.remove(path)
    }
}

/// Opens a file to read it; `None` when nothing is there, or a link. A pipe does not block.
///
/// # Errors
/// Those of the operating system.
pub fn open_to_read(path: &Path) -> io::Result<Option<(File, Stat)>> {
    match open(path, OFlags::RDONLY) {
        Ok(file) => {
            let stat = stat_of(&fs::fstat(&file)?);
            Ok(Some((file, stat)))
        }
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            _ => Err(error),
        },
    }
}

/// `bytes` bytes of `file` from `offset` on, fewer at its end. The memory is not written twice.
///
/// # Errors
/// Those of the operating system.
pub fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(bytes);
    while buffer.len() < bytes {
        let at = offset + buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    buffer.truncate(bytes);
    Ok(buffer)
}
