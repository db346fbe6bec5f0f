//! Reads one configuration file whole, within a bound. Kubernetes swaps a mounted file by a symbolic link (`..data`), so it is
//! opened by its path each time. A directory, FIFO or device in its place is an error and holds nobody up.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::document::DocumentError;

/// A configuration file that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: FileCause,
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum FileCause {
    /// A directory, FIFO, socket or device.
    #[error("not a regular file")]
    NotAFile,
    /// Larger than its bound.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// No permission, a broken disk, …
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// Read, but what it says cannot be used.
    #[error(transparent)]
    Content(#[from] DocumentError),
}

/// The bytes of the file at `path`, `None` when there is none.
///
/// # Errors
/// Something is there, but it is no regular file, has more than `limit` bytes, or cannot be read.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    let error = |cause| FileError {
        path: path.to_owned(),
        cause,
    };
    match read_regular(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileCause::Unreadable(e)) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(error(cause)),
    }
}

fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, FileCause> {
    // Looked at before it is opened, because opening alone can set a device off; and after, because it may be another now.
    regular(&fs::metadata(path).map_err(FileCause::Unreadable)?)?;
    let file = open(path).map_err(FileCause::Unreadable)?;
    regular(&file.metadata().map_err(FileCause::Unreadable)?)?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(FileCause::Unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(FileCause::TooLarge(limit));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn regular(metadata: &Metadata) -> Result<(), FileCause> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(FileCause::NotAFile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_read_through_links_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cim.json");
        assert!(read(&path, 10).unwrap().is_none());
        // The way Kubernetes mounts a ConfigMap: cim.json -> ..data/cim.json, ..data -> a directory, swapped by rename.
        for version in ["one", "two"] {
            let versioned = dir.path().join(version);
            fs::create_dir(&versioned).unwrap();
            fs::write(versioned.join("cim.json"), version).unwrap();
            symlink(version, dir.path().join("new")).unwrap();
            fs::rename(dir.path().join("new"), dir.path().join("..data")).unwrap();
            if version == "one" {
                symlink("..data/cim.json", &path).unwrap();
            }
            assert_eq!(read(&path, 10).unwrap().unwrap(), version.as_bytes());
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        for path in [dir.path(), &fifo, Path::new("/dev/zero")] {
            let error = read(path, 10).unwrap_err();
            assert!(matches!(error.cause, FileCause::NotAFile), "{error}");
        }
        let below_a_file = dir.path().join("file/cim.json");
        fs::write(dir.path().join("file"), "").unwrap();
        let error = read(&below_a_file, 10).unwrap_err();
        assert!(matches!(error.cause, FileCause::Unreadable(_)), "{error}");
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cim.json");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap().unwrap().len(), 10);
        let error = read(&path, 9).unwrap_err();
        assert!(matches!(error.cause, FileCause::TooLarge(9)), "{error}");
    }
}
