//! All log files of the pod: what is written when, and what happens to lines that cannot be.
//!
//! A file that cannot be written is *held* first: its lines are kept, the caller takes no further batches and tries
//! again. After [`limits::SINK_STALL`] it is *failing*: its lines are counted and dropped, and about once a second
//! those of a fresh batch are tried; one success ends it. At every moment
//! lines in = lines written + lines dropped + [`LogFiles::lines`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits;
use crate::logs::backlog::Backlog;
use crate::logs::backlog::books::Place;
use crate::logs::board::FileState;
use crate::logs::container::Container;
use crate::logs::disk::Disk;
use crate::logs::file::LogFile;
use crate::logs::folder::{FileLimits, Folder, Now};
use crate::logs::throttle::Throttle;
use crate::logs::trouble::Trouble;
use crate::metrics::Metrics;
use crate::tap::{Failure, Outcome};

/// How a file does.
enum Health {
    Well,
    /// Cannot be written since then; its lines are kept.
    Held(Instant),
    /// Its lines are dropped; those that come after the given time are tried.
    Failing(Trouble, Instant),
}

struct Entry<F> {
    file: LogFile<F>,
    health: Health,
}

/// The log files of the pod. The only owner of what is below the log directory.
pub struct LogFiles<D: Disk> {
    folder: Folder<D>,
    entries: Vec<Entry<D::File>>,
    last: usize,
    stall: Duration,
    next_sweep: Option<Instant>,
    told: Throttle,
}

impl<D: Disk> LogFiles<D> {
    /// Files in `dir`, whose names begin with `prefix` ([`crate::logs::container::stem_prefix`]).
    pub fn new(
        disk: D,
        dir: PathBuf,
        prefix: String,
        limits: FileLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            folder: Folder::new(disk, dir, prefix, limits, metrics),
            entries: Vec::new(),
            last: 0,
            stall: limits::SINK_STALL,
            next_sweep: None,
            told: Throttle::default(),
        }
    }

    /// The same with another time for which lines are kept while they cannot be written.
    #[must_use]
    pub fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// The same with a place for lines that are still to be sent.
    #[must_use]
    pub fn with_backlog(mut self, backlog: Arc<Backlog>) -> Self {
        self.folder.backlog = Some(backlog);
        self
    }

    /// Puts limits in force: for the next line, and for the backups at the next [`LogFiles::turn`].
    pub fn set_limits(&mut self, limits: FileLimits) {
        if self.folder.limits != limits {
            self.folder.limits = limits;
            self.next_sweep = None;
        }
    }

    /// Appends lines of `container`. `ack` belongs to the last one. With `backlog` they are still to be sent, as is then all that
    /// comes behind them to the same container until the backlog is over.
    pub fn append<'a>(
        &mut self,
        container: &Arc<Container>,
        lines: impl Iterator<Item = &'a [u8]>,
        backlog: bool,
        ack: Option<&Outcome>,
        now: Now,
    ) {
        let at = self.entry(container, now);
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        entry.file.used = now.instant;
        if let Health::Failing(trouble, try_at) = &entry.health
            && now.instant < *try_at
        {
            let dropped = lines.count() as u64;
            self.folder
                .metrics()
                .dropped(trouble.reason())
                .inc_by(dropped);
            if let Some(ack) = ack {
                ack.fail(Failure::NotWritten);
            }
            return;
        }
        for line in lines {
            let Some(entry) = self.entries.get_mut(at) else {
                return;
            };
            let full = entry.file.memory_used() + line.len() > limits::FILE_BUFFER_BYTES;
            if full && entry.file.lines() > 0 && !matches!(entry.health, Health::Held(_)) {
                self.write(at, now);
            }
            // The last line still waits when this ends: so can its `ack`.
            if let Some(entry) = self.entries.get_mut(at) {
                entry.file.push(line, backlog);
                entry.file.waiting_since.get_or_insert(now.instant);
            }
        }
        if let Some(ack) = ack
            && let Some(entry) = self.entries.get_mut(at)
        {
            entry.file.watch_last(ack.clone());
        }
    }

    /// Ends a turn: writes what is due, or with `flush` all of it; looks after backups and idle files.
    pub fn turn(&mut self, flush: bool, now: Now) {
        let since = |since: Instant| now.instant.saturating_duration_since(since);
        // One line due makes all due: "everything up to here is stored" can then be said.
        let all = flush
            || self.is_holding()
            || self
                .oldest_line()
                .is_some_and(|oldest| since(oldest) >= self.folder.limits.line_age);
        for at in 0..self.entries.len() {
            let due = self.entries.get(at).is_some_and(|entry| {
                entry.file.lines() > 0
                    && (all
                        || entry.file.bytes() >= self.folder.limits.buffer_bytes
                        || matches!(entry.health, Health::Failing(..)))
            });
            if due {
                self.write(at, now);
            }
        }
        let sweep = self.next_sweep.is_none_or(|sweep| sweep <= now.instant);
        self.remove_delivered(sweep, now);
        if sweep {
            self.next_sweep = Some(now.instant + limits::BACKUP_SWEEP);
            self.folder.prune(None, now);
            self.entries.retain(|entry| {
                entry.file.lines() > 0 || since(entry.file.used) < limits::LOG_FILE_IDLE
            });
        }
        let failing = self
            .entries
            .iter()
            .any(|entry| !matches!(entry.health, Health::Well));
        self.folder.metrics().file_failing.set(i64::from(failing));
    }

    /// Removes the files of which everything is delivered, if there may be one.
    fn remove_delivered(&mut self, sweep: bool, now: Now) {
        let Some(backlog) = &self.folder.backlog else {
            return;
        };
        // Both: the hint is taken.
        if !(backlog.take_hint() | sweep) {
            return;
        }
        for done in backlog.done() {
            let mut entries = self.entries.iter_mut();
            let entry = entries.find(|entry| entry.file.container.stem == done.stem);
            if let Some(entry) = entry.filter(|_| done.place == Place::Live) {
                // Lines wait that go there: it is done with when they are delivered too.
                if entry.file.lines() > 0 {
                    continue;
                }
                entry.file.close();
            }
            self.folder.remove_delivered(&done, now);
        }
    }

    /// Lines are kept because they cannot be written now. The caller takes no further ones and calls
    /// [`LogFiles::turn`] every now and then, until this is over; it is within [`limits::SINK_STALL`].
    pub fn is_holding(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.health, Health::Held(_)))
    }

    /// Lines that wait to be written.
    pub fn lines(&self) -> usize {
        self.entries.iter().map(|entry| entry.file.lines()).sum()
    }

    /// Bytes that wait to be written.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.file.bytes()).sum()
    }

    /// When [`LogFiles::turn`] has something to do although nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        let line = self
            .oldest_line()
            .map(|at| at + self.folder.limits.line_age);
        [line, self.next_sweep].into_iter().flatten().min()
    }

    fn oldest_line(&self) -> Option<Instant> {
        self.entries
            .iter()
            .filter_map(|entry| entry.file.waiting_since)
            .min()
    }

    /// The place of `container`'s file.
    fn entry(&mut self, container: &Arc<Container>, now: Now) -> usize {
        let same = |entry: &Entry<D::File>| Arc::ptr_eq(&entry.file.container, container);
        if self.entries.get(self.last).is_some_and(same) {
            return self.last;
        }
        let known = self.entries.iter().position(same).or_else(|| {
            // A container that had lost its place and got a new one has the same file.
            let at = self
                .entries
                .iter()
                .position(|entry| entry.file.container.stem == container.stem)?;
            let entry = self.entries.get_mut(at)?;
            entry.file.container = Arc::clone(container);
            Some(at)
        });
        self.last = known.unwrap_or_else(|| {
            self.make_place();
            let path = self.folder.path(&format!("{}.log", container.stem));
            self.entries.push(Entry {
                file: LogFile::new(Arc::clone(container), path, now.instant),
                health: Health::Well,
            });
            self.entries.len() - 1
        });
        self.last
    }

    /// Forgets the file used least recently when there are many; one in trouble only when there are very many.
    fn make_place(&mut self) {
        if self.entries.len() < limits::OPEN_LOG_FILES {
            return;
        }
        let crowded = self.entries.len() >= limits::CONTAINERS;
        let victim = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.file.lines() == 0)
            .filter(|(_, entry)| crowded || matches!(entry.health, Health::Well))
            .min_by_key(|(_, entry)| entry.file.used)
            .map(|(at, _)| at);
        if let Some(at) = victim {
            self.entries.swap_remove(at);
        }
    }

    /// Closes the file used least recently when as many are open as may be.
    fn make_open_place(&mut self) {
        let open = self.entries.iter().filter(|entry| entry.file.is_open());
        if open.clone().count() < limits::OPEN_LOG_FILES {
            return;
        }
        let victim = self
            .entries
            .iter_mut()
            .filter(|entry| entry.file.is_open())
            .min_by_key(|entry| (entry.file.is_torn(), entry.file.used));
        if let Some(entry) = victim {
            entry.file.close();
        }
    }

    /// Writes the lines of one file, and decides what becomes of those that could not be.
    fn write(&mut self, at: usize, now: Now) {
        if self
            .entries
            .get(at)
            .is_some_and(|entry| !entry.file.is_open())
        {
            self.make_open_place();
        }
        let memory: usize = self.entries.iter().map(|entry| entry.file.memory()).sum();
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let slow = entry.file.waiting_since.is_some_and(|since| {
            now.instant.saturating_duration_since(since) >= self.folder.limits.line_age
        });
        let (written, result) = entry.file.write_out(&mut self.folder, now);
        let figures = &entry.file.container.figures;
        figures.wrote(written as u64, entry.file.size());
        figures.file_is(match (&result, &entry.health) {
            (Ok(()), _) => FileState::Well,
            (Err(_), Health::Failing(..)) => FileState::Failing,
            (Err(_), _) => FileState::Held,
        });
        self.folder.metrics().lines_to_file.inc_by(written as u64);
        match result {
            Ok(()) => self.succeeded(at, now),
            Err(trouble) => self.failed(at, trouble, now),
        }
        if let Some(entry) = self.entries.get_mut(at)
            && entry.file.lines() == 0
        {
            // A slow container needs no large buffer; many containers cannot all have one.
            if memory > limits::ALL_FILE_BUFFER_BYTES {
                entry.file.shrink(0);
            } else if slow {
                entry.file.shrink(self.folder.limits.buffer_bytes);
            } else {
                entry.file.shrink(limits::FILE_BUFFER_BYTES);
            }
        }
    }

    fn succeeded(&mut self, at: usize, now: Now) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        if !matches!(entry.health, Health::Well) {
            entry.health = Health::Well;
            if let Some(before) = self.told.pass(now.instant) {
                log::info!(
                    "log file of {} is written again ({before} lines about log files left out)",
                    entry.file.container.stem
                );
            }
        }
    }

    fn failed(&mut self, at: usize, trouble: Trouble, now: Now) {
        let known = self.entries.iter().enumerate().any(|(other, entry)| {
            matches!(&entry.health, Health::Failing(known, _) if other != at && known.same_cause(&trouble))
        });
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let (since, told_before) = match entry.health {
            Health::Well => (Some(now.instant), false),
            Health::Held(since) => (Some(since), true),
            Health::Failing(..) => (None, true),
        };
        let keep = since
            .filter(|since| !known && now.instant.saturating_duration_since(*since) < self.stall);
        let text = if let Some(since) = keep {
            entry.health = Health::Held(since);
            (!told_before).then_some("its lines wait")
        } else {
            let lines = entry.file.give_up();
            self.folder
                .metrics()
                .dropped(trouble.reason())
                .inc_by(lines as u64);
            since.map(|_| "its lines are dropped until it can be written")
        };
        if let Some(text) = text
            && let Some(before) = self.told.pass(now.instant)
        {
            log::error!("{trouble}: {text} ({before} lines about log files left out)");
        }
        if keep.is_none() {
            let figures = &entry.file.container.figures;
            figures.file_is(FileState::Failing);
            entry.health = Health::Failing(trouble, now.instant + limits::FILE_TRY_AGAIN);
        }
    }
}

#[cfg(test)]
mod tests;
