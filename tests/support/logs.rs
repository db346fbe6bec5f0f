//! Log files: which there are, and what is in them.

use std::path::{Path, PathBuf};

/// The log files in `dir` whose name begins with `stem`: backups by time, then the live one.
pub fn files(dir: &Path, stem: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(stem))
        .filter(|name| name.ends_with(".log") || name.ends_with(".log_bkp"))
        .collect();
    // The time is part of a backup's name.
    files.sort_by_cached_key(|name| (name.ends_with(".log"), name.clone()));
    files.into_iter().map(|name| dir.join(name)).collect()
}

/// The bytes of `files`, one after another. One that rotation renamed or removed meanwhile is left out.
pub fn text(files: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend(std::fs::read(file).unwrap_or_default());
    }
    text
}

/// The lines of `text`, each of which must be complete.
#[track_caller]
pub fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let (lines, torn) = lines_and_torn(text);
    assert!(
        torn.is_empty(),
        "the last line is torn: {:?}",
        String::from_utf8_lossy(torn)
    );
    lines
}

/// The complete lines of `text`, and what follows the last line end.
pub fn lines_and_torn(text: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let end = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
    let (whole, torn) = text.split_at(end);
    let lines = whole
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| line[..line.len() - 1].to_vec())
        .collect();
    (lines, torn)
}
