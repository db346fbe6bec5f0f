//! The file system as the log files need it: a trait, so that a test can let any call fail, and the real one.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

pub mod state;
#[cfg(test)]
pub(crate) mod testing;

/// What a file is, or what a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device and inode.
    pub id: (u64, u64),
    /// Bytes in the file.
    pub len: u64,
    /// Names that the file has; 0: removed.
    pub links: u64,
    /// A regular file: not a directory, a link, a pipe or a device.
    pub regular: bool,
}

/// The calls that log files make. Errors are those of the operating system.
pub trait Disk {
    /// An open file.
    type File;
    /// Makes `dir` and what is missing above it.
    fn create_dir_all(&mut self, dir: &Path) -> io::Result<()>;
    /// Opens or makes the file for appending. A link at the last component is an error, a pipe does not block.
    fn open_append(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Appends; may take less than all.
    fn write(&mut self, file: &mut Self::File, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file.
    fn set_len(&mut self, file: &mut Self::File, len: u64) -> io::Result<()>;
    /// The byte at `offset`, `None` at the end.
    fn byte_at(&mut self, file: &mut Self::File, offset: u64) -> io::Result<Option<u8>>;
    /// What is open.
    fn stat(&mut self, file: &mut Self::File) -> io::Result<Stat>;
    /// What `path` leads to now, links not followed; `None` when nothing is there.
    fn stat_path(&mut self, path: &Path) -> io::Result<Option<Stat>>;
    /// Renames; [`io::ErrorKind::AlreadyExists`] when `to` is there.
    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Calls `each` with the names in `dir`.
    fn list(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug, Clone, Default)]
pub struct RealDisk;

// The types of the fields differ between processors.
#[allow(clippy::unnecessary_cast)]
fn stat_of(stat: &fs::Stat) -> Stat {
    Stat {
        id: (stat.st_dev as u64, stat.st_ino as u64),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        links: stat.st_nlink as u64,
        regular: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
    }
}

impl Disk for RealDisk {
    type File = File;

    fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn open_append(&mut self, path: &Path) -> io::Result<File> {
        // Read too: whether the last line is whole. Fluent Bit may run as somebody else: 0644.
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY;
        Ok(File::from(fs::open(
            path,
            flags,
            Mode::from_raw_mode(0o644),
        )?))
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(file, bytes)?)
    }

    fn set_len(&mut self, file: &mut File, len: u64) -> io::Result<()> {
        Ok(fs::ftruncate(file, len)?)
    }

    fn byte_at(&mut self, file: &mut File, offset: u64) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = rustix::io::pread(file, &mut byte, offset)?;
        Ok(byte.first().copied().filter(|_| read == 1))
    }

    fn stat(&mut self, file: &mut File) -> io::Result<Stat> {
        Ok(stat_of(&fs::fstat(file)?))
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat_of(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can: nobody else makes files of this name, so two steps do.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if self.stat_path(to)?.is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Ok(fs::rename(from, to)?)
            }
            result => Ok(result?),
        }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        Ok(fs::unlink(path)?)
    }

    fn list(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::open(dir, flags, Mode::empty())?;
        for entry in fs::Dir::new(dir)? {
            each(OsStr::from_bytes(entry?.file_name().to_bytes()));
        }
        Ok(())
    }
}
