//! A disk for tests: real files, of which chosen calls fail, or which has only so much space.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use super::state::StateDisk;
use super::{Disk, RealDisk, Stat};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this error.
    Error(Errno),
    /// A write takes half; other calls work.
    Short,
    /// The first write takes half, it and everything else then fails.
    Torn(Errno),
}

/// What goes wrong and when.
#[derive(Debug)]
pub struct Plan {
    /// Calls made so far.
    pub calls: u64,
    /// Calls that fail.
    pub fail: Range<u64>,
    /// How they fail.
    pub fault: Fault,
    /// A directory and the bytes that may be in it.
    pub budget: Option<(PathBuf, u64)>,
    /// Bytes that a file may have.
    pub file_bytes_max: u64,
    /// Every file is removed as soon as somebody looks where it is.
    pub vanish: bool,
    /// Bytes of each successful write.
    pub writes: Vec<usize>,
}

/// The disk; clones share the plan.
#[derive(Debug, Clone)]
pub struct TestDisk(Arc<Mutex<Plan>>);

impl TestDisk {
    /// A disk on which nothing goes wrong.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Plan {
            calls: 0,
            fail: 0..0,
            fault: Fault::Error(Errno::IO),
            budget: None,
            file_bytes_max: u64::MAX,
            vanish: false,
            writes: Vec::new(),
        })))
    }

    /// What goes wrong and when.
    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap()
    }

    /// Every call fails from now on.
    pub fn break_with(&self, errno: Errno) {
        let mut plan = self.plan();
        plan.fault = Fault::Error(errno);
        plan.fail = 0..u64::MAX;
    }

    /// Every call works from now on.
    pub fn repair(&self) {
        self.plan().fail = 0..0;
    }

    /// Counts a call: the fault it meets.
    fn call(&self) -> Option<Fault> {
        let mut plan = self.plan();
        let call = plan.calls;
        plan.calls += 1;
        plan.fail.contains(&call).then_some(plan.fault)
    }

    /// Counts a call that is no write.
    pub fn check(&self) -> io::Result<()> {
        match self.call() {
            Some(Fault::Error(errno) | Fault::Torn(errno)) => Err(errno.into()),
            Some(Fault::Short) | None => Ok(()),
        }
    }

    /// Counts a write of `len` bytes at `offset`: how many of them are taken.
    pub fn take(&self, mut len: usize, offset: u64) -> io::Result<usize> {
        match self.call() {
            Some(Fault::Error(errno)) => return Err(errno.into()),
            Some(Fault::Short) => len = len.div_ceil(2),
            Some(Fault::Torn(errno)) => {
                if len < 2 {
                    return Err(errno.into());
                }
                len /= 2;
                self.plan().fault = Fault::Error(errno);
            }
            None => {}
        }
        let plan = self.plan();
        if let Some((dir, budget)) = &plan.budget {
            let left = budget.saturating_sub(used(dir));
            len = len.min(left as usize);
            if len == 0 {
                return Err(Errno::NOSPC.into());
            }
        }
        if plan.file_bytes_max < u64::MAX {
            let left = plan.file_bytes_max.saturating_sub(offset);
            len = len.min(left as usize);
            if len == 0 {
                return Err(Errno::FBIG.into());
            }
        }
        Ok(len)
    }

    /// Notes a successful write.
    pub fn written(&self, written: io::Result<usize>) -> io::Result<usize> {
        self.plan().writes.extend(written.as_ref().ok());
        written
    }
}

fn used(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.metadata().map_or(0, |meta| meta.len()))
        .sum()
}

impl Disk for TestDisk {
    type File = File;

    fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.create_dir_all(dir)
    }

    fn open_append(&mut self, path: &Path) -> io::Result<File> {
        self.check()?;
        RealDisk.open_append(path)
    }

    fn write(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<usize> {
        let len = file.metadata().unwrap().len();
        let taken = self.take(bytes.len(), len)?;
        self.written(RealDisk.write(file, &bytes[..taken]))
    }

    fn set_len(&mut self, file: &mut File, len: u64) -> io::Result<()> {
        self.check()?;
        RealDisk.set_len(file, len)
    }

    fn byte_at(&mut self, file: &mut File, offset: u64) -> io::Result<Option<u8>> {
        self.check()?;
        RealDisk.byte_at(file, offset)
    }

    fn stat(&mut self, file: &mut File) -> io::Result<Stat> {
        self.check()?;
        RealDisk.stat(file)
    }

    fn stat_path(&mut self, path: &Path) -> io::Result<Option<Stat>> {
        self.check()?;
        if self.plan().vanish {
            std::fs::remove_file(path)?;
        }
        RealDisk.stat_path(path)
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.rename_new(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.remove(path)
    }

    fn list(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        self.check()?;
        RealDisk.list(dir, each)
    }
}

impl StateDisk for TestDisk {
    fn make_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.make_dir(dir)
    }

    fn names(&mut self, dir: &Path, each: &mut dyn FnMut(&OsStr)) -> io::Result<()> {
        self.check()?;
        RealDisk.names(dir, each)
    }

    fn read_file(&mut self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        self.check()?;
        RealDisk.read_file(path, max)
    }

    fn length(&mut self, path: &Path) -> io::Result<Option<u64>> {
        self.check()?;
        RealDisk.length(path)
    }

    fn write_at(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        match self.call() {
            Some(Fault::Error(errno)) => Err(errno.into()),
            Some(Fault::Torn(errno)) => {
                RealDisk.write_at(path, offset, half)?;
                Err(errno.into())
            }
            Some(Fault::Short) | None => RealDisk.write_at(path, offset, bytes),
        }
    }

    fn write_new(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
        match self.call() {
            Some(Fault::Error(errno)) => Err(errno.into()),
            Some(Fault::Torn(errno)) => {
                RealDisk.write_new(path, half)?;
                Err(errno.into())
            }
            Some(Fault::Short) | None => RealDisk.write_new(path, bytes),
        }
    }

    fn replace(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.replace(from, to)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.check()?;
        // No machine crashes in a test: the sync itself would cost time alone.
        path.metadata().map(drop)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.check()?;
        RealDisk.remove_file(path)
    }
}
