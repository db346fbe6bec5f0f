//! Backlogs seen from outside, without changing anything: for `cim spool`.
//!
//! A CIM that runs on them changes them meanwhile; what is shown is what its marks said, and they lag behind what has been sent by some
//! seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;

use super::MARK;
use super::mark::Mark;
use crate::limits;
use crate::logs::disk::state::StateDisk;
use crate::logs::disk::{Disk, RealDisk};

/// What waits of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Its name as sent.
    pub name: Vec<u8>,
    /// Its id as sent.
    pub id: Vec<u8>,
    /// Bytes that are still to be sent.
    pub bytes: u64,
    /// Lines, where all of them are counted.
    pub lines: Option<u64>,
    /// When the oldest was written, in milliseconds since the epoch.
    pub oldest_ms: u64,
    /// Log files that they lie in.
    pub files: usize,
}

/// A mark that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Looks into `<state_dir>/backlog`; one that is not there holds nothing.
///
/// # Errors
/// A directory cannot be listed.
pub fn look(state_dir: &Path, log_dir: &Path) -> io::Result<(Vec<Waiting>, Vec<Unreadable>)> {
    let mut disk = RealDisk;
    let dir = state_dir.join("backlog");
    let mut names = BTreeSet::new();
    let listed = disk.names(&dir, &mut |name| {
        let name = name.to_str().filter(|name| name.ends_with(MARK));
        if names.len() < limits::BACKUPS_LISTED {
            names.extend(name.map(str::to_owned));
        }
    });
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Without a state directory it is the wrong place.
            std::fs::metadata(state_dir)?;
        }
        other => other?,
    }
    let lengths = match names.is_empty() {
        true => HashMap::new(),
        false => lengths(&mut disk, log_dir)?,
    };
    let (mut waiting, mut unreadable) = (Vec::new(), Vec::new());
    for name in names {
        let read = disk.read_file(&dir.join(&name), limits::BACKLOG_MARK_BYTES);
        let mark = match read {
            // All of it has been sent meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error.to_string()),
            Ok(bytes) => Mark::decode(&bytes).map_err(|error| error.to_string()),
        };
        match mark {
            Ok(mark) => waiting.extend(of_mark(&mark, &lengths)),
            Err(reason) => unreadable.push(Unreadable { name, reason }),
        }
    }
    Ok((waiting, unreadable))
}

/// The length of each log file, by its inode.
fn lengths(disk: &mut RealDisk, log_dir: &Path) -> io::Result<HashMap<u64, u64>> {
    let mut names = Vec::new();
    disk.list(log_dir, &mut |name| {
        if names.len() < limits::BACKUPS_LISTED {
            names.push(log_dir.join(name));
        }
    })?;
    let mut lengths = HashMap::new();
    for path in names {
        if let Ok(Some(stat)) = disk.stat_path(&path)
            && stat.regular
        {
            lengths.insert(stat.id.1, stat.len);
        }
    }
    Ok(lengths)
}

fn of_mark(mark: &Mark, lengths: &HashMap<u64, u64>) -> Vec<Waiting> {
    let mut of_owners: BTreeMap<usize, (Waiting, BTreeSet<u64>)> = BTreeMap::new();
    for (n, piece) in mark.pieces.iter().enumerate() {
        // A file that has gone takes its lines along.
        let Some(len) = lengths.get(&piece.inode) else {
            continue;
        };
        // The piece that is being written has no end of its own: that of the file, or where the next one begins.
        let next = mark.pieces.get(n + 1..).unwrap_or_default();
        let next = next.iter().find(|next| next.inode == piece.inode);
        let end = piece.end.or(next.map(|next| next.begin)).unwrap_or(*len);
        let bytes = end.min(*len).saturating_sub(piece.sent);
        if bytes == 0 {
            continue;
        }
        let Some((name, id)) = mark.owners.get(piece.owner) else {
            continue;
        };
        let (waiting, files) = of_owners.entry(piece.owner).or_insert_with(|| {
            let waiting = Waiting {
                name: name.clone(),
                id: id.clone(),
                lines: Some(0),
                oldest_ms: piece.since,
                ..Waiting::default()
            };
            (waiting, BTreeSet::new())
        });
        waiting.bytes += bytes;
        let lines = piece.lines.filter(|_| piece.end.is_some());
        waiting.lines = waiting.lines.zip(lines).map(|(all, more)| all + more);
        waiting.oldest_ms = waiting.oldest_ms.min(piece.since);
        files.insert(piece.inode);
        waiting.files = files.len();
    }
    of_owners
        .into_values()
        .map(|(waiting, _)| waiting)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::mark::MarkedPiece;
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn piece(inode: u64, sent: u64, end: Option<u64>, since: u64, owner: usize) -> MarkedPiece {
        MarkedPiece {
            inode,
            begin: 0,
            sent,
            end,
            lines: end.map(|_| 3),
            since,
            only: true,
            owner,
        }
    }

    #[test]
    fn what_is_left_is_summed_for_each_container() {
        let state = tempfile::tempdir().unwrap();
        let logs = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: usize| {
            let path = logs.path().join(name);
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            fs::metadata(&path).unwrap().ino()
        };
        let (old, live, gone) = (file("a.log_bkp", 100), file("a.log", 50), file("b.log", 1));
        fs::remove_file(logs.path().join("b.log")).unwrap();
        let mark = Mark {
            owners: vec![
                (b"app".to_vec(), b"1".to_vec()),
                (b"db".to_vec(), b"2".to_vec()),
            ],
            pieces: vec![
                piece(old, 40, Some(100), 7_000, 0),
                piece(gone, 0, Some(99), 1, 1),
                piece(live, 10, None, 9_000, 0),
            ],
        };
        assert_eq!(look(state.path(), logs.path()).unwrap(), (vec![], vec![]));
        let dir = state.path().join("backlog");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("p_n_app-1.mark"), mark.encode().unwrap()).unwrap();
        fs::write(dir.join("p_n_bad-1.mark"), "nonsense").unwrap();
        fs::write(dir.join("p_n_app-1.tmp"), "half").unwrap();
        let (waiting, unreadable) = look(state.path(), logs.path()).unwrap();
        let expected = Waiting {
            name: b"app".to_vec(),
            id: b"1".to_vec(),
            bytes: 60 + 40,
            lines: None,
            oldest_ms: 7_000,
            files: 2,
        };
        assert_eq!(waiting, [expected]);
        assert_eq!(unreadable.len(), 1);
        assert_eq!(unreadable[0].name, "p_n_bad-1.mark");
        assert!(look(&state.path().join("nowhere"), logs.path()).is_err());
    }
}
