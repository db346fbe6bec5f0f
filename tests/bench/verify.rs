//! Reads the files back: which lines are there, once, whole and in order. One pass.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::lines::{Lines, read_digits};

/// Bytes of one read.
const BLOCK_BYTES: usize = 1 << 20;

/// What the files hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Different lines.
    pub written: u64,
    /// Lines that were sent and are not there.
    pub lost: u64,
    /// Further copies of lines.
    pub doubled: u64,
    /// Lines that stand after a later one of the same connection and container.
    pub reordered: u64,
    /// Lines that nobody sent: torn, or changed.
    pub damaged: u64,
}

impl Found {
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0
    }
}

/// The files of a directory that may hold lines of a run: all but CIM's own log and hidden ones.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            !name.contains("_cim-") && !name.starts_with('.')
        })
        .collect();
    files.sort_by_cached_key(|path| {
        let (group, backup) = group(path);
        // Backups by the time in their name, then the live file.
        (group, !backup, path.clone())
    });
    files
}

/// The bytes of these files together.
pub fn bytes(dir: &Path) -> u64 {
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    files(dir).into_iter().map(size).sum()
}

/// The name that a live file and its backups share, and whether this is a backup.
fn group(path: &Path) -> (String, bool) {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let time = "-2006-01-02T15-04-05.000".len();
    match name.strip_suffix(".log_bkp") {
        Some(stem) if stem.is_char_boundary(stem.len().saturating_sub(time)) => {
            (stem[..stem.len().saturating_sub(time)].to_owned(), true)
        }
        _ => (name.strip_suffix(".log").unwrap_or(&name).to_owned(), false),
    }
}

/// Looks for the lines 0..`sent[n]` of each connection n in the files of `dir`.
pub fn verify(dir: &Path, lines: &Lines, sent: &[u64]) -> Found {
    let mut check = Check::new(lines, sent.to_vec());
    let mut last_group = String::new();
    for path in files(dir) {
        let (group, _) = group(&path);
        if group != last_group {
            check.next.fill(0);
            last_group = group;
        }
        check.file(&path);
    }
    check.found()
}

/// Takes lines one by one, as they are found.
pub struct Check {
    lines: Lines,
    sent: Vec<u64>,
    /// The first line of each connection: what every line looks like but for its number.
    first: Vec<Vec<u8>>,
    /// A bit for each line.
    seen: Vec<Vec<u64>>,
    /// One more than the highest number of each connection so far in this container.
    next: Vec<u64>,
    found: Found,
}

impl Check {
    /// For the lines 0..`sent[n]` of each connection n.
    pub fn new(lines: &Lines, sent: Vec<u64>) -> Self {
        Self {
            lines: lines.clone(),
            first: (0..sent.len()).map(|n| lines.first(n as u32)).collect(),
            seen: sent
                .iter()
                .map(|&sent| vec![0; sent as usize / 64 + 1])
                .collect(),
            next: vec![0; sent.len()],
            found: Found::default(),
            sent,
        }
    }

    /// What was found so far; the rest is lost.
    pub fn found(&self) -> Found {
        Found {
            lost: self.sent.iter().sum::<u64>() - self.found.written,
            ..self.found.clone()
        }
    }

    fn file(&mut self, path: &Path) {
        let Ok(mut file) = File::open(path) else {
            return;
        };
        let mut block = vec![0; BLOCK_BYTES];
        let mut held = 0;
        while let Ok(read @ 1..) = file.read(&mut block[held..]) {
            let end = held + read;
            let mut at = 0;
            while let Some(length) = memchr::memchr(b'\n', &block[at..end]) {
                self.line(&block[at..at + length]);
                at += length + 1;
            }
            block.copy_within(at..end, 0);
            held = end - at;
            if held == block.len() {
                self.found.damaged += 1;
                held = 0;
            }
        }
        self.found.damaged += u64::from(held > 0);
    }

    /// The next line.
    pub fn line(&mut self, line: &[u8]) {
        if self.lines.is_of_another_run(line) {
            return;
        }
        let Some((connection, number)) = self.parse(line) else {
            self.found.damaged += 1;
            return;
        };
        let seen = &mut self.seen[connection][number as usize / 64];
        let bit = 1 << (number % 64);
        if *seen & bit != 0 {
            self.found.doubled += 1;
            return;
        }
        *seen |= bit;
        self.found.written += 1;
        let next = &mut self.next[connection];
        if number < *next {
            self.found.reordered += 1;
        } else {
            *next = number + 1;
        }
    }

    fn parse(&self, line: &[u8]) -> Option<(usize, u64)> {
        if line.len() != self.lines.bytes() {
            return None;
        }
        let connection = read_digits(&line[self.lines.connection_at()])? as usize;
        let at = self.lines.number_at();
        let number = read_digits(&line[at.clone()])?;
        let first = self.first.get(connection)?;
        let same = line[..at.start] == first[..at.start] && line[at.end..] == first[at.end..];
        (same && number < self.sent[connection]).then_some((connection, number))
    }
}
