//! One log file: lines that wait in memory, and how they get to the disk whole, once, and in order.
//!
//! Lines count as written when the kernel has them *and* the file still has a name: what went into a file that was
//! removed in the meantime is written again. A part of a line that could not be completed is cut off at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use crate::limits;
use crate::logs::backlog::books::Written;
use crate::logs::backups::{Backup, millis};
use crate::logs::container::Container;
use crate::logs::disk::Disk;
use crate::logs::folder::{Folder, Now, Open, Tail};
use crate::logs::trouble::{Operation, Trouble};
use crate::tap::{Failure, Outcome};

/// The log file of one container.
#[derive(Debug)]
pub struct LogFile<F> {
    /// Whose lines.
    pub container: Arc<Container>,
    /// When the oldest line that waits came; `None` when none waits.
    pub waiting_since: Option<Instant>,
    /// When the last line came.
    pub used: Instant,
    path: PathBuf,
    open: Option<Open<F>>,
    buffer: Vec<u8>,
    /// Where each line ends in `buffer`: a line may hold line ends itself.
    ends: Vec<u32>,
    /// Lines in front that are not to be sent; all behind them are.
    plain: usize,
    /// Who waits for which of the lines.
    acks: Vec<(usize, Outcome)>,
    last_backup_ms: Option<i64>,
}

/// What a look at a file's path showed.
enum Place {
    /// Still there.
    Here,
    /// Under another name: what was written is kept, what follows goes to a new file.
    Moved,
    /// Removed, with what was written.
    Gone,
}

impl<F> LogFile<F> {
    /// The file of `container` at `path`, not opened yet.
    pub fn new(container: Arc<Container>, path: PathBuf, now: Instant) -> Self {
        Self {
            container,
            waiting_since: None,
            used: now,
            path,
            open: None,
            buffer: Vec::new(),
            ends: Vec::new(),
            plain: 0,
            acks: Vec::new(),
            last_backup_ms: None,
        }
    }

    /// Adds a line. At most [`limits::PAYLOAD_BYTES`] each, so 32 bits hold any buffer that is written in time. With `backlog` it is still to
    /// be sent, and so is what follows it.
    pub fn push(&mut self, line: &[u8], backlog: bool) {
        if !backlog && self.plain == self.ends.len() {
            self.plain += 1;
        }
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        self.ends
            .push(u32::try_from(self.buffer.len()).unwrap_or(u32::MAX));
    }

    /// The publisher of the last line waits for it.
    pub fn watch_last(&mut self, ack: Outcome) {
        if let Some(last) = self.ends.len().checked_sub(1) {
            self.acks.push((last, ack));
        }
    }

    /// Lines that wait.
    pub fn lines(&self) -> usize {
        self.ends.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Memory that the waiting lines take.
    pub fn memory_used(&self) -> usize {
        self.buffer.len() + self.ends.len() * size_of::<u32>()
    }

    /// Memory of the buffer.
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Gives the buffer's memory back, all but `bytes`. Waiting lines stay.
    pub fn shrink(&mut self, bytes: usize) {
        self.buffer.shrink_to(bytes);
        self.ends.shrink_to(bytes / size_of::<u32>());
    }

    /// Bytes of the file, as last seen; `None` while it is closed.
    pub fn size(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.len)
    }

    /// The file is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The file ends in a part of a line that could not be cut off yet.
    pub fn is_torn(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| matches!(open.tail, Tail::Torn(_)))
    }

    /// Closes the file; the next write opens it again.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Gives the waiting lines up; returns how many there were.
    pub fn give_up(&mut self) -> usize {
        for (_, ack) in self.acks.drain(..) {
            ack.fail(Failure::NotWritten);
        }
        let lines = self.ends.len();
        self.ends.clear();
        self.plain = 0;
        self.buffer.clear();
        self.waiting_since = None;
        lines
    }

    /// Forgets the first `lines` lines: they are written.
    fn forget(&mut self, lines: usize) {
        if lines == 0 {
            return;
        }
        self.plain = self.plain.saturating_sub(lines);
        let Some(bytes) = (lines < self.ends.len()).then(|| self.start_of(lines)) else {
            self.acks.clear();
            self.ends.clear();
            self.buffer.clear();
            self.waiting_since = None;
            return;
        };
        self.acks.retain_mut(|(line, _)| {
            let waits = *line >= lines;
            *line = line.saturating_sub(lines);
            waits
        });
        self.buffer.drain(..bytes);
        self.ends.drain(..lines);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
    }

    /// Where line `line` begins.
    fn start_of(&self, line: usize) -> usize {
        line.checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or(0, |end| *end as usize)
    }

    /// Line `line` without its line end.
    fn payload(&self, line: usize) -> &[u8] {
        let (from, to) = (self.start_of(line), self.start_of(line + 1));
        self.buffer
            .get(from..to.saturating_sub(1))
            .unwrap_or_default()
    }

    /// The first line after `line` that no longer lies within `room` bytes from the start of `line`.
    fn fitting(&self, line: usize, room: u64) -> usize {
        let limit = self.start_of(line) as u64 + room;
        match self.ends.last() {
            Some(last) if u64::from(*last) <= limit => self.ends.len(),
            _ => self.ends.partition_point(|end| u64::from(*end) <= limit),
        }
    }
}

impl<F> LogFile<F> {
    /// Writes all lines that wait; returns how many were written, and what stopped it.
    pub fn write_out<D: Disk<File = F>>(
        &mut self,
        folder: &mut Folder<D>,
        now: Now,
    ) -> (usize, Result<(), Trouble>) {
        let mut written = 0;
        let mut reopens = 0;
        let result = loop {
            if written == self.ends.len() {
                break Ok(());
            }
            let was_written = written;
            match self.step(folder, now, &mut written, &mut reopens) {
                Ok(()) => {}
                Err(trouble) if trouble.source.kind() == io::ErrorKind::Interrupted => {}
                Err(trouble) if trouble.no_space() && folder.make_room(now) => {}
                Err(trouble) if trouble.too_big() && self.has_lines() && !self.is_torn() => {
                    // The file may not grow, another one may: a limit below ours.
                    if let Err(trouble) = self.rotate(folder, now) {
                        break Err(trouble);
                    }
                }
                Err(trouble) if trouble.too_big() && written > was_written => {}
                Err(trouble) => break Err(trouble),
            }
        };
        self.forget(written);
        (written, result)
    }

    fn has_lines(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.len > 0)
    }

    /// Does what comes next: open, mend, rotate, or write as much as the file may take.
    fn step<D: Disk<File = F>>(
        &mut self,
        folder: &mut Folder<D>,
        now: Now,
        written: &mut usize,
        reopens: &mut u32,
    ) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else {
            self.open = Some(folder.open(&self.path)?);
            return Ok(());
        };
        if open.tail != Tail::Whole {
            mend(folder, &self.path, open)?;
        }
        let (before, file_bytes) = (open.len, folder.limits.file_bytes);
        let fitting = self.fitting(*written, file_bytes.saturating_sub(before));
        if fitting == *written && before > 0 {
            return self.rotate(folder, now);
        }
        let backlog = folder
            .backlog
            .clone()
            .filter(|backlog| self.plain <= *written || backlog.holds(&self.container.stem));
        let mut until = fitting.max(*written + 1);
        if backlog.is_none() && *written < self.plain {
            until = until.min(self.plain);
        }
        let (from, to) = (self.start_of(*written), self.start_of(until));
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Some(backlog) = &backlog {
            backlog.begin(&self.container, open.id.1, before, now);
        }
        let bytes = self.buffer.get(from..to).unwrap_or_default();
        let (taken, result) = write_all(&mut folder.disk, &mut open.file, bytes);
        open.len = before + taken as u64;
        let whole = self.fitting(*written, taken as u64);
        let whole_bytes = self.start_of(whole) - from;
        let result = result.map_err(|e| folder.failed(Operation::Write, &self.path, e));

        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if taken > whole_bytes {
            open.tail = Tail::Torn(before + whole_bytes as u64);
            // Tried again before the next write when it does not work now.
            let _ = mend(folder, &self.path, open);
        }
        let (inode, expected) = (open.id.1, open.len);
        let place = whereabouts(folder, &self.path, open);
        if let Some(backlog) = &backlog {
            let is = Written {
                inode,
                start: before,
                bytes: whole_bytes as u64,
                lines: (whole - *written) as u64,
                expected,
                len: open.len,
            };
            match place {
                Place::Here | Place::Moved if whole > *written => {
                    let bytes = self
                        .buffer
                        .get(from..from + whole_bytes)
                        .unwrap_or_default();
                    let payloads = (*written..whole).map(|line| self.payload(line));
                    backlog.wrote(&self.container, is, bytes, payloads, now);
                }
                Place::Here | Place::Moved => {}
                Place::Gone => backlog.removed(&self.container.stem, inode),
            }
        }
        match place {
            Place::Here => *written = whole,
            Place::Moved => {
                *written = whole;
                self.open = None;
            }
            Place::Gone => {
                self.open = None;
                *reopens += 1;
                if *reopens > limits::FILE_REOPENS {
                    let error = io::Error::other("it is removed again and again");
                    return Err(folder.failed(Operation::Open, &self.path, error));
                }
            }
        }
        result
    }

    /// Gives the full file its backup's name.
    fn rotate<D: Disk<File = F>>(
        &mut self,
        folder: &mut Folder<D>,
        now: Now,
    ) -> Result<(), Trouble> {
        let newest = folder
            .backups(Some(&self.container.stem))
            .into_iter()
            .map(|backup| backup.ms)
            .chain(self.last_backup_ms)
            .max();
        let clock = millis(now.utc);
        let step = i64::try_from(limits::BACKUP_CLOCK_STEP.as_millis()).unwrap_or(i64::MAX);
        let mut backup = Backup {
            stem: self.container.stem.clone(),
            ms: match newest {
                Some(newest) if newest >= clock && newest - clock < step => newest + 1,
                _ => clock,
            },
        };
        let backlog = folder.backlog.clone();
        let stem = self.container.stem.as_str();
        // However far the clock went back: the names of a backlog tell its order, unless no time is left that has a name.
        let newest = backlog.as_ref().and_then(|known| known.newest_backup(stem));
        if let Some(newest) = newest.filter(|newest| *newest >= backup.ms) {
            let after = Backup {
                stem: stem.to_owned(),
                ms: newest + 1,
            };
            if after.file_name().is_some() {
                backup = after;
            }
        }
        let inode = self.open.as_ref().map(|open| open.id.1);
        for _ in 0..limits::BACKUP_NAMES_TRIED {
            let Some(name) = backup.file_name() else {
                break;
            };
            let to = folder.path(&name);
            let mut rename = || folder.disk.rename_new(&self.path, &to);
            let renamed = match (&backlog, inode) {
                (Some(backlog), Some(inode)) => backlog.rename(stem, inode, backup.ms, now, rename),
                _ => rename(),
            };
            match renamed {
                Ok(()) => {
                    self.open = None;
                    self.last_backup_ms = Some(backup.ms);
                    folder.metrics().file_rotations.inc();
                    folder.prune(Some(&self.container.stem), now);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => backup.ms += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Taken away by somebody else: as good as rotated.
                    if let (Some(backlog), Some(inode)) = (&backlog, inode) {
                        backlog.removed(stem, inode);
                    }
                    self.open = None;
                    return Ok(());
                }
                Err(error) => return Err(folder.failed(Operation::Rename, &self.path, error)),
            }
        }
        let error = io::Error::other("no free name for the backup");
        Err(folder.failed(Operation::Rename, &self.path, error))
    }
}

/// Writes `bytes` in as many calls as it takes; returns how many the kernel has, and what stopped it.
fn write_all<D: Disk>(disk: &mut D, file: &mut D::File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        match disk.write(file, rest) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => taken += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// Makes the file end with a whole line: cuts our own part of a line off, or ends somebody else's.
fn mend<D: Disk>(
    folder: &mut Folder<D>,
    path: &Path,
    open: &mut Open<D::File>,
) -> Result<(), Trouble> {
    if let Tail::Torn(boundary) = open.tail {
        let stat = folder
            .disk
            .stat(&mut open.file)
            .map_err(|e| folder.failed(Operation::Stat, path, e))?;
        // Of another length, somebody cut or filled it: then it is not ours to cut.
        if stat.len == open.len {
            match folder.disk.set_len(&mut open.file, boundary) {
                Ok(()) => {
                    open.len = boundary;
                    open.tail = Tail::Whole;
                    return Ok(());
                }
                // A file that may only be appended to.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    folder.failed(Operation::Truncate, path, error);
                    open.tail = Tail::Unended;
                }
                Err(error) => return Err(folder.failed(Operation::Truncate, path, error)),
            }
        } else {
            open.len = stat.len;
            folder.look_at_tail(path, open)?;
        }
    }
    // A full file is left as it is: the next line goes to the next one.
    if open.tail == Tail::Unended && open.len < folder.limits.file_bytes {
        match folder.disk.write(&mut open.file, b"\n") {
            Ok(1) => {
                open.len += 1;
                open.tail = Tail::Whole;
            }
            Ok(_) => {
                let error = Errno::IO.into();
                return Err(folder.failed(Operation::Write, path, error));
            }
            Err(error) => return Err(folder.failed(Operation::Write, path, error)),
        }
    }
    Ok(())
}

/// Looks whether `path` still leads to the open file, and takes its length over.
fn whereabouts<D: Disk>(folder: &mut Folder<D>, path: &Path, open: &mut Open<D::File>) -> Place {
    match folder.disk.stat_path(path) {
        Ok(Some(stat)) if stat.id == open.id => {
            open.len = stat.len;
            return Place::Here;
        }
        Ok(_) => {}
        Err(error) => {
            folder.failed(Operation::Stat, path, error);
            return Place::Here;
        }
    }
    match folder.disk.stat(&mut open.file) {
        Ok(stat) if stat.links == 0 => Place::Gone,
        Ok(_) => Place::Moved,
        Err(error) => {
            folder.failed(Operation::Stat, path, error);
            Place::Moved
        }
    }
}
