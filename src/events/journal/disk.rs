//! The calls of the file system that the journal makes beside those of the log files.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags};

use crate::logs::disk::{Disk, RealDisk};

/// Calls on files that are read and written at given places. Errors are those of the operating system.
pub trait JournalDisk: Disk {
    /// Opens or makes the file for reading and writing. A link at the last component is an error, a pipe does not block.
    fn open_update(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Opens the file for reading, as above.
    fn open_read(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Reads at `offset`; may read less than there is room for, 0 at the end alone.
    fn read_at(
        &mut self,
        file: &mut Self::File,
        bytes: &mut [u8],
        offset: u64,
    ) -> io::Result<usize>;
    /// Writes at `offset`; may take less than all.
    fn write_at(&mut self, file: &mut Self::File, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Returns when the file's data are on the medium.
    fn sync(&mut self, file: &mut Self::File) -> io::Result<()>;
    /// Returns when the names in `dir` are on the medium.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
}

/// Events may be nobody else's business.
const MODE: u32 = 0o600;
const FLAGS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl JournalDisk for RealDisk {
    fn open_update(&mut self, path: &Path) -> io::Result<File> {
        let flags = FLAGS | OFlags::RDWR | OFlags::CREATE;
        Ok(File::from(fs::open(
            path,
            flags,
            Mode::from_raw_mode(MODE),
        )?))
    }

    fn open_read(&mut self, path: &Path) -> io::Result<File> {
        let flags = FLAGS | OFlags::RDONLY;
        Ok(File::from(fs::open(path, flags, Mode::empty())?))
    }

    fn read_at(&mut self, file: &mut File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(file, bytes, offset)?)
    }

    fn write_at(&mut self, file: &mut File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(file, bytes, offset)?)
    }

    fn sync(&mut self, file: &mut File) -> io::Result<()> {
        Ok(fs::fdatasync(file)?)
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::fsync(fs::open(dir, flags, Mode::empty())?)?)
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::logs::disk::testing::TestDisk;

    impl JournalDisk for TestDisk {
        fn open_update(&mut self, path: &Path) -> io::Result<File> {
            self.check()?;
            RealDisk.open_update(path)
        }

        fn open_read(&mut self, path: &Path) -> io::Result<File> {
            self.check()?;
            RealDisk.open_read(path)
        }

        fn read_at(&mut self, file: &mut File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
            self.check()?;
            RealDisk.read_at(file, bytes, offset)
        }

        fn write_at(&mut self, file: &mut File, bytes: &[u8], offset: u64) -> io::Result<usize> {
            let taken = self.take(bytes.len(), offset)?;
            self.written(RealDisk.write_at(file, &bytes[..taken], offset))
        }

        fn sync(&mut self, _: &mut File) -> io::Result<()> {
            // Real ones take long, and no test sees their work.
            self.check()
        }

        fn sync_dir(&mut self, _: &Path) -> io::Result<()> {
            self.check()
        }
    }
}
