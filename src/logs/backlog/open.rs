//! What an earlier run has left: its marks, and the files that they speak of.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::books::{Books, Loss, Piece, Place};
use super::mark::{Mark, MarkedPiece};
use super::split::WHOLE_BYTES;
use super::times::Times;
use super::{BAD_MARK, Backlog, Inner, MARK, NEW_MARK, WHOLES};
use crate::limits;
use crate::logs::backups::Backup;
use crate::logs::container::Container;
use crate::logs::disk::state::{StateDisk, open_to_read, read_at};
use crate::logs::disk::{Disk, RealDisk};
use crate::logs::throttle::Throttle;
use crate::metrics::Metrics;

/// A file of a container, as the log directory has it.
struct Found {
    place: Place,
    len: u64,
}

/// The files of a container, by inode.
type Files = HashMap<u64, Found>;

impl Backlog {
    /// Reads the marks in `<state_dir>/backlog` about files of `log_dir` whose names begin with `prefix`; others are not this pod's. Always
    /// succeeds: what cannot be read is counted, logged, and a bad mark is put aside under another name.
    pub fn open(
        mut disk: Box<dyn StateDisk>,
        state_dir: &Path,
        log_dir: PathBuf,
        prefix: &str,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let dir = state_dir.join("backlog");
        let mut names = Vec::new();
        let listed = disk.names(&dir, &mut |name| {
            let name = name.to_str().filter(|name| name.starts_with(prefix));
            if names.len() < limits::BACKUPS_LISTED {
                names.extend(name.map(str::to_owned));
            }
        });
        let backlog = Self {
            inner: Mutex::new(Inner {
                books: Books::default(),
                disk,
                told: Throttle::default(),
            }),
            done: AtomicBool::new(true),
            dir,
            log_dir,
            metrics,
        };
        let mut inner = backlog.lock();
        if let Err(error) = listed
            && error.kind() != io::ErrorKind::NotFound
        {
            backlog.failed(&mut inner, &backlog.dir, &error);
        }
        let marked: HashSet<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(MARK))
            .collect();
        let mut files = backlog.log_files(&mut inner, &marked);
        let mut kept = HashSet::new();
        for stem in &marked {
            let files = files.remove(*stem).unwrap_or_default();
            backlog.take_mark(&mut inner, stem, &files, &mut kept);
        }
        // Lists whose mark is gone, and marks that were never finished.
        for name in &names {
            let stray = name.ends_with(NEW_MARK) || name.ends_with(WHOLES);
            let path = backlog.dir.join(name);
            if stray && !kept.contains(&path) {
                backlog.remove_file(&mut inner, &path);
            }
        }
        backlog.publish(&mut inner);
        drop(inner);
        Arc::new(backlog)
    }

    /// The log files of the stems `marked`.
    fn log_files(&self, inner: &mut Inner, marked: &HashSet<&str>) -> HashMap<String, Files> {
        let mut names: Vec<(String, Place)> = Vec::new();
        let mut add = |name: &str| {
            let (stem, place) = match Backup::parse(name) {
                Some(backup) => (backup.stem, Place::Backup(backup.ms)),
                None => (name.strip_suffix(".log")?.to_owned(), Place::Live),
            };
            let wanted = marked.contains(stem.as_str()) && names.len() < limits::BACKUPS_LISTED;
            wanted.then(|| names.push((stem, place)))
        };
        let mut disk = RealDisk;
        let listed = (!marked.is_empty()).then(|| {
            disk.list(&self.log_dir, &mut |name| {
                name.to_str().and_then(&mut add);
            })
        });
        if let Some(Err(error)) = listed
            && error.kind() != io::ErrorKind::NotFound
        {
            self.failed(inner, &self.log_dir, &error);
        }
        let mut files: HashMap<String, Files> = HashMap::new();
        for (stem, place) in names {
            let path = place.file_name(&stem).map(|name| self.log_dir.join(name));
            let stat = path.and_then(|path| disk.stat_path(&path).ok().flatten());
            if let Some(stat) = stat.filter(|stat| stat.regular) {
                let found = Found {
                    place,
                    len: stat.len,
                };
                files.entry(stem).or_default().insert(stat.id.1, found);
            }
        }
        files
    }

    /// Takes over what the mark of `stem` says. `kept`: the lists that are still needed.
    fn take_mark(&self, inner: &mut Inner, stem: &str, files: &Files, kept: &mut HashSet<PathBuf>) {
        let path = self.mark_path(stem, MARK);
        let mark = match inner.disk.read_file(&path, limits::BACKLOG_MARK_BYTES) {
            Ok(bytes) => Mark::decode(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error.to_string()),
            Err(error) => return self.failed(inner, &path, &error),
        };
        let mark = match mark {
            Ok(mark) => mark,
            Err(error) => {
                self.metrics.file_errors.with_label_values(&["mark"]).inc();
                log::error!(
                    "{} is no mark of a backlog and is put aside ({error}): what its log files hold is not sent",
                    path.display()
                );
                if let Err(error) = inner.disk.replace(&path, &self.mark_path(stem, BAD_MARK)) {
                    self.failed(inner, &path, &error);
                }
                return;
            }
        };
        let owners: Vec<Arc<Container>> = mark
            .owners
            .iter()
            .map(|(name, id)| Container::new(name, id, stem.to_owned()))
            .collect();
        let mut gone = 0;
        for (n, marked) in mark.pieces.iter().enumerate() {
            let next = mark.pieces.get(n + 1..).unwrap_or_default();
            // The piece that was being written has no end of its own: that of the file, or where the next one begins.
            let until = next.iter().find(|next| next.inode == marked.inode);
            let piece = owners
                .get(marked.owner)
                .and_then(|owner| self.piece(owner, marked, until.map(|next| next.begin), files));
            let Some(mut piece) = piece else {
                if marked.end != Some(marked.sent) {
                    gone += 1;
                    inner
                        .books
                        .lose(Loss::Removed, marked.lines.unwrap_or(1).max(1));
                }
                continue;
            };
            let list = self.list_path(stem, piece.inode);
            let bytes = inner.disk.length(&list).ok().flatten().unwrap_or(0);
            piece.wholes = bytes - bytes % WHOLE_BYTES as u64;
            kept.insert(list);
            let lines = piece.lines;
            if !inner.books.restore(stem, piece) {
                inner.books.lose(Loss::Limit, lines.unwrap_or(1).max(1));
            }
        }
        if gone > 0 {
            log::warn!(
                "{gone} of the log files that {} speaks of are gone or were cut: their lines are not sent",
                path.display()
            );
        }
        match inner.books.sequence(stem) {
            Some(_) => self.store(inner, stem, Instant::now()),
            None => self.remove_file(inner, &path),
        }
    }

    /// The piece as its file is now; `None` when it is gone, or shorter than what it held.
    fn piece(
        &self,
        owner: &Arc<Container>,
        marked: &MarkedPiece,
        until: Option<u64>,
        files: &Files,
    ) -> Option<Piece> {
        let found = files.get(&marked.inode)?;
        let path = self.log_dir.join(found.place.file_name(&owner.stem)?);
        let (end, tail) = match (marked.end, until) {
            (Some(end), None) if found.len > end => {
                let unended = whole_until(&path, end, found.len)? == end;
                (end, if unended { found.len } else { end })
            }
            (Some(end), _) | (None, Some(end)) => (end, end),
            (None, None) => (whole_until(&path, marked.begin, found.len)?, found.len),
        };
        if found.len < end || end < marked.sent {
            return None;
        }
        Some(Piece {
            serial: 0,
            inode: marked.inode,
            place: found.place,
            owner: Arc::clone(owner),
            begin: marked.begin,
            sent: marked.sent,
            read: marked.sent,
            end,
            tail,
            closed: true,
            lines: if end == marked.sent {
                Some(0)
            } else {
                marked.lines.filter(|_| marked.end.is_some())
            },
            only: marked.only,
            wholes: 0,
            wholes_read: 0,
            times: Times::new(marked.begin, marked.since),
        })
    }
}

/// Where the last whole line between `begin` and `len` ends: a killed CIM may have left a part of one behind it.
fn whole_until(path: &Path, begin: u64, len: u64) -> Option<u64> {
    let (file, _) = open_to_read(path).ok()??;
    let mut end = len;
    // A part of a line is shorter than a payload and its line end.
    let oldest = begin.max(len.saturating_sub(limits::PAYLOAD_BYTES as u64 + 1));
    while end > oldest {
        let start = oldest.max(end.saturating_sub(64 << 10));
        let bytes = read_at(&file, start, usize::try_from(end - start).ok()?).ok()?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Some(start + at as u64 + 1);
        }
        end = start;
    }
    // No line end at all: nothing whole, or not lines of ours.
    Some(if oldest == begin { begin.min(len) } else { len })
}
