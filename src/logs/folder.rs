//! The log directory: opening files in it, and its backups. Only names that are exactly those of this pod's backups
//! are ever removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::limits;
use crate::logs::backlog::Backlog;
use crate::logs::backlog::books::Done;
use crate::logs::backups::{Backup, Surplus, millis, surplus};
use crate::logs::disk::Disk;
use crate::logs::throttle::Throttle;
use crate::logs::trouble::{Operation, Trouble};
use crate::metrics::Metrics;
use crate::settings::Lmaas;

/// The moment, on both clocks. State machines get it as an argument.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For ages.
    pub instant: Instant,
    /// For names.
    pub utc: SystemTime,
}

/// What `lmaas` says about files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of a file, if it holds more than one line.
    pub file_bytes: u64,
    /// Backups of each log file.
    pub backups: usize,
    /// Age of a backup.
    pub age: Duration,
    /// Bytes of a buffer at which it is written at the end of a turn.
    pub buffer_bytes: usize,
    /// Time that a line may wait in a buffer.
    pub line_age: Duration,
}

impl From<&Lmaas> for FileLimits {
    fn from(lmaas: &Lmaas) -> Self {
        Self {
            file_bytes: u64::from(lmaas.max_file_size_in_mb) << 20,
            backups: lmaas.max_backup_files as usize,
            age: Duration::from_secs(u64::from(lmaas.max_age) * 24 * 3600),
            buffer_bytes: lmaas.buffer_size as usize,
            line_age: limits::LINE_AGE.min(Duration::from_secs(u64::from(lmaas.flush_timeout))),
        }
    }
}

/// How a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With a line end, or it is empty.
    Whole,
    /// Without a line end: whoever wrote it died in the middle, or somebody cut the file. A line end comes first.
    Unended,
    /// With a part of a line that is to be written again: to be cut at this length.
    Torn(u64),
}

/// An open log file.
#[derive(Debug)]
pub struct Open<F> {
    /// The file.
    pub file: F,
    /// Device and inode.
    pub id: (u64, u64),
    /// Bytes in it, as last seen.
    pub len: u64,
    /// How it ends.
    pub tail: Tail,
}

/// The log directory of this pod.
pub struct Folder<D> {
    /// The file system.
    pub disk: D,
    /// The limits in force.
    pub limits: FileLimits,
    /// Lines that are still to be sent.
    pub backlog: Option<Arc<Backlog>>,
    dir: PathBuf,
    prefix: String,
    metrics: Arc<Metrics>,
    room_told: Throttle,
}

impl<D: Disk> Folder<D> {
    /// The files in `dir` whose names begin with `prefix` are this pod's.
    pub fn new(
        disk: D,
        dir: PathBuf,
        prefix: String,
        limits: FileLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            disk,
            limits,
            backlog: None,
            dir,
            prefix,
            metrics,
            room_told: Throttle::default(),
        }
    }

    /// The series that files move.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The path of a file in the directory.
    pub fn path(&self, file_name: &str) -> PathBuf {
        self.dir.join(file_name)
    }

    /// Counts a failed operation.
    pub fn failed(&self, operation: Operation, path: &Path, error: io::Error) -> Trouble {
        self.metrics
            .file_errors
            .with_label_values(&[operation.label()])
            .inc();
        Trouble::new(operation, path, error)
    }

    /// Opens `path`, the directory made when it is missing.
    ///
    /// # Errors
    /// Any operation on the way; a path that is no regular file.
    pub fn open(&mut self, path: &Path) -> Result<Open<D::File>, Trouble> {
        let mut opened = self.disk.open_append(path);
        if matches!(&opened, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            self.disk
                .create_dir_all(&self.dir)
                .map_err(|e| self.failed(Operation::MakeDirectory, &self.dir, e))?;
            opened = self.disk.open_append(path);
        }
        let mut file = opened.map_err(|e| self.failed(Operation::Open, path, e))?;
        let stat = self
            .disk
            .stat(&mut file)
            .map_err(|e| self.failed(Operation::Stat, path, e))?;
        if !stat.regular {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(self.failed(Operation::Open, path, error));
        }
        let mut open = Open {
            file,
            id: stat.id,
            len: stat.len,
            tail: Tail::Whole,
        };
        self.look_at_tail(path, &mut open)?;
        Ok(open)
    }

    /// Sets `tail` from the last byte of the file.
    ///
    /// # Errors
    /// The byte cannot be read.
    pub fn look_at_tail(&mut self, path: &Path, open: &mut Open<D::File>) -> Result<(), Trouble> {
        open.tail = match open.len.checked_sub(1) {
            None => Tail::Whole,
            Some(last) => match self.disk.byte_at(&mut open.file, last) {
                Ok(Some(b'\n') | None) => Tail::Whole,
                Ok(Some(_)) => Tail::Unended,
                Err(error) => return Err(self.failed(Operation::Read, path, error)),
            },
        };
        Ok(())
    }

    /// The backups of `stem`, or of all of this pod's log files: at most [`limits::BACKUPS_LISTED`].
    pub fn backups(&mut self, stem: Option<&str>) -> Vec<Backup> {
        let mut found = Vec::new();
        let prefix = self.prefix.as_str();
        let listed = self.disk.list(&self.dir, &mut |name| {
            let backup = name
                .to_str()
                .filter(|name| found.len() < limits::BACKUPS_LISTED && name.starts_with(prefix))
                .and_then(Backup::parse)
                .filter(|backup| {
                    stem.map_or(backup.stem.starts_with(prefix), |stem| backup.stem == stem)
                });
            found.extend(backup);
        });
        match listed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.failed(Operation::List, &self.dir, error);
            }
            _ => {}
        }
        found
    }

    /// Removes the backups of `stem`, or of all of this pod's log files, that are beyond count or age.
    pub fn prune(&mut self, stem: Option<&str>, now: Now) {
        let age = i64::try_from(self.limits.age.as_millis()).unwrap_or(i64::MAX);
        let oldest = millis(now.utc).saturating_sub(age);
        let backups = self.backups(stem);
        for (backup, reason) in surplus(backups, self.limits.backups, oldest) {
            self.remove(&backup, reason);
        }
    }

    /// Removes the oldest backup of this pod; false when there is none that can be removed.
    pub fn make_room(&mut self, now: Now) -> bool {
        let mut backups = self.backups(None);
        backups.sort_unstable();
        for backup in backups {
            if self.remove(&backup, Surplus::Space) {
                if let Some(before) = self.room_told.pass(now.instant) {
                    log::warn!(
                        "no space for log files in {}: removed the oldest backup, of {} ({before} more before)",
                        self.dir.display(),
                        backup.stem,
                    );
                }
                return true;
            }
        }
        false
    }

    fn remove(&mut self, backup: &Backup, reason: Surplus) -> bool {
        let Some(name) = backup.file_name() else {
            return false;
        };
        let path = self.dir.join(name);
        let disk = &mut self.disk;
        let result = match &self.backlog {
            Some(backlog) => backlog.remove_backup(&backup.stem, backup.ms, || disk.remove(&path)),
            None => disk.remove(&path),
        };
        match result {
            Ok(()) => {
                let label = &[reason.label()];
                self.metrics.backups_removed.with_label_values(label).inc();
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                self.failed(Operation::Remove, &path, error);
                false
            }
        }
    }

    /// Removes a file of which everything is delivered, if it is still the one, and nothing was added to it.
    pub fn remove_delivered(&mut self, done: &Done, now: Now) {
        let Some(backlog) = self.backlog.clone() else {
            return;
        };
        let path = done
            .place
            .file_name(&done.stem)
            .map(|name| self.dir.join(name));
        backlog.finish(done, now, || {
            let Some(path) = path.filter(|_| done.only) else {
                return;
            };
            let is_same = match self.disk.stat_path(&path) {
                Ok(stat) => {
                    stat.is_some_and(|stat| stat.id.1 == done.inode && stat.len == done.len)
                }
                Err(error) => {
                    self.failed(Operation::Stat, &path, error);
                    false
                }
            };
            match is_same.then(|| self.disk.remove(&path)) {
                Some(Ok(())) => {
                    let label = &["delivered"];
                    self.metrics.backups_removed.with_label_values(label).inc();
                }
                Some(Err(error)) => {
                    self.failed(Operation::Remove, &path, error);
                }
                None => {}
            }
        });
    }
}
