//! Lines that a remote sink could not take: in the log files, with a stored position, until they are sent.
//!
//! Lines handed over by `log_sender` lie in the ordinary log files of their container. A *mark* in the state directory says from where on
//! they are still to be sent; it is stored before the first of them is written, and from then on everything written to that container's
//! files is backlog, until all of it is delivered and the mark goes.
//!
//! ```text
//! mark.rs    the mark's file: bytes <-> values      books/     what is left of which file, without a file
//! split.rs   bytes -> lines                         times.rs   how old they are
//! read.rs    a stretch of a file                    open.rs    what an earlier run has left
//! replay.rs  chunks for `log_sender`                inspect.rs for `cim spool`
//! ```
//!
//! Two threads share a [`Backlog`]: `file_writer`, the only one that changes the log directory, and `log_sender`, which reads with a
//! [`Replay`]. All that both have to agree on is under one mutex, and so is every renaming and removal of a file of the backlog: a file
//! that is not where the books say is gone.
//!
//! Why "caught up" is certain: `file_writer` enters lines in the books before it says `done(Lane::Remote, seq)`. Once that is said for the
//! last batch handed over, [`Backlog::is_empty`] speaks of all of them.
//!
//! A mark that cannot be stored keeps nothing from being written: the backlog is then known to this run alone, the failure is counted and
//! logged, and it is tried again.

pub mod books;
pub mod inspect;
pub mod mark;
mod open;
mod read;
pub mod replay;
pub mod split;
mod times;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use std::sync::Arc;

use crate::limits;
use crate::logs::backlog::books::{Begun, Books, Done, Loss, Piece, Task, Written};
use crate::logs::backlog::split::{WHOLE_BYTES, Whole};
use crate::logs::backups::millis;
use crate::logs::container::Container;
use crate::logs::disk::state::{StateDisk, open_to_read};
use crate::logs::folder::Now;
use crate::logs::throttle::Throttle;
use crate::metrics::Metrics;

pub use replay::{Replay, ReplayError, StoredChunk};

/// Names of the files in the directory of the marks.
const MARK: &str = ".mark";
const NEW_MARK: &str = ".tmp";
const WHOLES: &str = ".whole";
const BAD_MARK: &str = ".bad";

/// What is still to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Lines, as far as counted: those of an earlier run are counted by [`Replay::survey`], or when they are read.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The backlogs of all containers of the pod.
pub struct Backlog {
    inner: Mutex<Inner>,
    /// Where the marks are.
    dir: PathBuf,
    log_dir: PathBuf,
    metrics: Arc<Metrics>,
    /// Some file may be removed.
    done: AtomicBool,
}

struct Inner {
    books: Books,
    disk: Box<dyn StateDisk>,
    told: Throttle,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is left to be sent.
    pub fn is_empty(&self) -> bool {
        self.lock().books.bytes() == 0
    }

    /// How much is left to be sent.
    pub fn remaining(&self) -> Remaining {
        let inner = self.lock();
        Remaining {
            lines: inner.books.lines(),
            bytes: inner.books.bytes(),
        }
    }

    /// The mode became one without a remote sink: the lines stay in the files and are not sent. No line of a backlog may be under way to
    /// the file writer.
    pub fn forget(&self) {
        let mut inner = self.lock();
        for (stem, lists) in inner.books.forget() {
            self.remove_file(&mut inner, &self.mark_path(&stem, MARK));
            for (inode, needed) in lists {
                if !needed {
                    self.remove_file(&mut inner, &self.list_path(&stem, inode));
                }
            }
        }
        self.publish(&mut inner);
    }

    /// Brings the series up to date.
    fn publish(&self, inner: &mut Inner) {
        let gauge = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let remote = &self.metrics.remote;
        remote.backlog_lines.set(gauge(inner.books.lines()));
        remote.backlog_bytes.set(gauge(inner.books.bytes()));
        remote.backlog_oldest.set(inner.books.oldest_ms());
        for (loss, lines) in inner.books.take_lost() {
            let lost = remote.backlog_lost.with_label_values(&[loss.label()]);
            lost.inc_by(lines);
        }
    }

    fn mark_path(&self, stem: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{stem}{extension}"))
    }

    /// Path of the list of lines that hold line ends.
    fn list_path(&self, stem: &str, inode: u64) -> PathBuf {
        self.dir.join(format!("{stem}.{inode:016x}{WHOLES}"))
    }

    /// Counts a failed operation on a mark, and says so now and then.
    fn failed(&self, inner: &mut Inner, path: &Path, error: &dyn std::fmt::Display) {
        self.metrics.file_errors.with_label_values(&["mark"]).inc();
        if let Some(before) = inner.told.pass(Instant::now()) {
            log::error!(
                "the backlog's position in {} is not up to date: {error}: after a kill its lines may be sent again or not \
                 at all ({before} lines about this left out)",
                path.display()
            );
        }
    }

    fn remove_file(&self, inner: &mut Inner, path: &Path) {
        match inner.disk.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.failed(inner, path, &error);
            }
            _ => {}
        }
    }

    /// Stores what the mark of `stem` has to say; without a piece it goes.
    fn store(&self, inner: &mut Inner, stem: &str, now: Instant) {
        let Some(sequence) = inner.books.sequence(stem) else {
            return;
        };
        let path = self.mark_path(stem, MARK);
        if sequence.pieces.is_empty() {
            inner.books.end(stem);
            return self.remove_file(inner, &path);
        }
        let recently = |failed| now.saturating_duration_since(failed) < limits::FILE_TRY_AGAIN;
        if sequence.failed.is_some_and(recently) {
            return;
        }
        let result = match sequence.mark().encode() {
            Ok(bytes) => self.replace(inner, &self.mark_path(stem, NEW_MARK), &path, &bytes),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        if let Some(sequence) = inner.books.sequence(stem) {
            sequence.dirty = result.is_err();
            sequence.failed = result.is_err().then_some(now);
        }
        if let Err(error) = result {
            self.failed(inner, &path, &error);
        }
    }

    fn replace(&self, inner: &mut Inner, new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut written = inner.disk.write_new(new, bytes);
        if matches!(&written, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            inner.disk.make_dir(&self.dir)?;
            written = inner.disk.write_new(new, bytes);
        }
        written?;
        inner.disk.replace(new, path)
    }

    /// Drops pieces that will not be sent, and what was kept about their files.
    fn lose(&self, inner: &mut Inner, stem: &str, loss: Loss, which: impl Fn(&Piece) -> bool) {
        let gone = inner.books.drop_pieces(stem, loss, which);
        for inode in &gone {
            self.remove_file(inner, &self.list_path(stem, *inode));
        }
        self.store(inner, stem, Instant::now());
        self.publish(inner);
    }

    /// Opens the file of `piece`; `None` when it is gone, which is then in the books.
    fn open_file(&self, piece: &Piece, forgotten: bool) -> io::Result<Option<File>> {
        let stem = piece.owner.stem.as_str();
        // With the lock held nobody gives it another name.
        let mut inner = self.lock();
        let place = match inner.books.piece(piece) {
            Some(now) => now.place,
            None if forgotten => piece.place,
            None => return Ok(None),
        };
        let opened = match place.file_name(stem) {
            Some(name) => open_to_read(&self.log_dir.join(name))?,
            None => None,
        };
        if let Some((file, stat)) = opened
            && stat.regular
            && stat.id.1 == piece.inode
        {
            return Ok(Some(file));
        }
        if !forgotten {
            self.lose(&mut inner, stem, Loss::Removed, |lost| {
                lost.inode == piece.inode
            });
        }
        Ok(None)
    }

    /// The file of `piece` is shorter than what was written to it: what is left of it is not sent.
    fn cut(&self, piece: &Piece) {
        let mut inner = self.lock();
        let stem = piece.owner.stem.as_str();
        self.lose(&mut inner, stem, Loss::Removed, |lost| {
            lost.serial == piece.serial
        });
    }

    /// Counts the lines of a piece.
    fn count(&self, task: &Task) -> io::Result<()> {
        let piece = &task.piece;
        let list = self.list_path(&piece.owner.stem, piece.inode);
        let mut counted = None;
        if let Some(file) = self.open_file(piece, task.forgotten)? {
            counted = read::count(&file, &list, piece, limits::BACKLOG_CHUNK_BYTES)?;
            if counted.is_none() {
                self.cut(piece);
            }
        }
        let mut inner = self.lock();
        match counted {
            Some(lines) => {
                inner.books.counted(task, lines);
            }
            // At the least one.
            None if task.forgotten => inner.books.lose(Loss::Mode, 1),
            None => {}
        }
        // A backlog that has begun since has its own list there.
        if task.forgotten && !inner.books.holds(&piece.owner.stem) {
            self.remove_file(&mut inner, &list);
        }
        self.publish(&mut inner);
        Ok(())
    }
}

/// The side of the file writer.
impl Backlog {
    /// Everything written to the files of `stem` is backlog.
    pub fn holds(&self, stem: &str) -> bool {
        self.lock().books.holds(stem)
    }

    /// Lines are about to be appended to the file of `owner`, which has `len` bytes: stores a mark unless one says so already.
    pub fn begin(&self, owner: &Arc<Container>, inode: u64, len: u64, now: Now) {
        let mut inner = self.lock();
        let begun = inner.books.begin(owner, inode, len, clock_ms(now));
        if let Begun::New(first) = begun {
            if first {
                // Of a file that had the same inode.
                self.remove_file(&mut inner, &self.list_path(&owner.stem, inode));
            }
            self.publish(&mut inner);
        }
        let failed = |inner: &mut Inner| {
            let sequence = inner.books.sequence(&owner.stem);
            sequence.is_some_and(|sequence| sequence.failed.is_some())
        };
        if matches!(begun, Begun::New(_)) || failed(&mut inner) {
            self.store(&mut inner, &owner.stem, now.instant);
        }
    }

    /// The lines that [`Backlog::begin`] announced are written: `bytes`, which are `payloads`, each with a line end.
    pub fn wrote<'a>(
        &self,
        owner: &Arc<Container>,
        mut written: Written,
        bytes: &[u8],
        payloads: impl Iterator<Item = &'a [u8]>,
        now: Now,
    ) {
        let ends = memchr::memchr_iter(b'\n', bytes).count() as u64;
        let mut inner = self.lock();
        if ends != written.lines {
            let listed = (written.len == written.expected)
                .then(|| self.list(&mut inner, &owner.stem, &written, payloads));
            written.lines = listed.flatten().unwrap_or(ends);
        }
        inner.books.wrote(owner, &written, clock_ms(now));
        if written.len != written.expected {
            self.store(&mut inner, &owner.stem, now.instant);
        }
        self.publish(&mut inner);
    }

    /// Lists the payloads that hold line ends; returns how many lines there are to be read. `None`: the list could not be written.
    fn list<'a>(
        &self,
        inner: &mut Inner,
        stem: &str,
        written: &Written,
        payloads: impl Iterator<Item = &'a [u8]>,
    ) -> Option<u64> {
        let before = inner.books.wholes(stem);
        let room = usize::try_from(limits::BACKLOG_WHOLE_BYTES.saturating_sub(before)).unwrap_or(0);
        let (mut entries, mut at, mut lines) = (Vec::new(), written.start, 0);
        for payload in payloads {
            let ends = memchr::memchr_iter(b'\n', payload).count() as u64;
            lines += 1;
            if ends > 0 {
                match Whole::of(at, payload).filter(|_| entries.len() + WHOLE_BYTES <= room) {
                    Some(whole) => entries.extend_from_slice(&whole.encode()),
                    None => lines += ends,
                }
            }
            at += payload.len() as u64 + 1;
        }
        let path = self.list_path(stem, written.inode);
        let mut result = inner.disk.write_at(&path, before, &entries);
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            result = inner
                .disk
                .make_dir(&self.dir)
                .and_then(|()| inner.disk.write_at(&path, before, &entries));
        }
        match result {
            Ok(()) => {
                inner.books.add_wholes(stem, entries.len() as u64);
                Some(lines)
            }
            Err(error) => {
                self.failed(inner, &path, &error);
                None
            }
        }
    }

    /// The time that the next backup of `stem` has to be behind, so that names keep the order of the lines.
    pub fn newest_backup(&self, stem: &str) -> Option<i64> {
        self.lock().books.newest_backup(stem)
    }

    /// Gives a file its backup's name with `rename`.
    ///
    /// # Errors
    /// That of `rename`.
    pub fn rename(
        &self,
        stem: &str,
        inode: u64,
        ms: i64,
        now: Now,
        rename: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut inner = self.lock();
        rename()?;
        if inner.books.holds(stem) {
            inner.books.renamed(stem, inode, ms);
            self.store(&mut inner, stem, now.instant);
        }
        Ok(())
    }

    /// Removes a backup with `remove`: what it holds is lost.
    ///
    /// # Errors
    /// That of `remove`.
    pub fn remove_backup(
        &self,
        stem: &str,
        ms: i64,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let uncounted = self.lock().books.uncounted_in(stem, ms);
        for task in uncounted {
            // When that fails the file is removed all the same, and its piece counts as one line.
            if let Err(error) = self.count(&task) {
                let mut inner = self.lock();
                self.failed(&mut inner, &self.log_dir.join(stem), &error);
            }
        }
        let mut inner = self.lock();
        remove()?;
        if inner.books.holds(stem) {
            let place = books::Place::Backup(ms);
            self.lose(&mut inner, stem, Loss::Retention, |piece| {
                piece.place == place
            });
        }
        Ok(())
    }

    /// Somebody else has removed the file.
    pub fn removed(&self, stem: &str, inode: u64) {
        let mut inner = self.lock();
        if inner.books.holds(stem) {
            self.lose(&mut inner, stem, Loss::Removed, |piece| {
                piece.inode == inode
            });
        }
    }

    /// Some file may be done with: [`Backlog::done`] says which. True once.
    pub fn take_hint(&self) -> bool {
        self.done.load(Ordering::Relaxed) && self.done.swap(false, Ordering::AcqRel)
    }

    /// The files of which everything is delivered.
    pub fn done(&self) -> Vec<Done> {
        self.lock().books.done()
    }

    /// Ends the backlog of a file of which everything is delivered; with its last one the mark goes. `remove` removes the file. The
    /// caller has no lines that wait for it.
    pub fn finish(&self, done: &Done, now: Now, remove: impl FnOnce()) {
        let mut inner = self.lock();
        if !inner.books.close_done(done) {
            return;
        }
        // First the mark says that all is delivered: were CIM killed behind the next step, it would look for the file in vain.
        self.store(&mut inner, &done.stem, now.instant);
        remove();
        self.lose(&mut inner, &done.stem, Loss::Removed, |piece| {
            piece.inode == done.inode
        });
    }
}

fn clock_ms(now: Now) -> u64 {
    u64::try_from(millis(now.utc)).unwrap_or(0)
}
