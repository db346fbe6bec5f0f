//! The mark of a container's backlog: which pieces of its log files are still to be sent, and as whose lines.
//!
//! A file for each container, `<stem>.mark`, replaced whole: a line `cim-backlog 1 <CRC-32 of the rest, 8 hex digits>`, and a line
//! of JSON. Files are known by their inode, so a mark does not go stale when one gets its backup's name.
//!
//! ```text
//! {"owners":[{"name":"<base64>","id":"<base64>"}],
//!  "pieces":[{"inode":7,"begin":0,"sent":120,"end":4096,"lines":31,"since":1795393557315,"only":true,"owner":0}, …]}
//! ```
//!
//! A piece: the bytes of a file from `begin` to `end` (none: to the end of the file), delivered up to `sent`; `lines` that are
//! left, as far as known; `since` when the first of them was written, in ms; `only`: nothing else is in the file up to there.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::limits::{BACKLOG_MARK_BYTES, BACKLOG_PIECES};

const HEAD: &[u8] = b"cim-backlog 1 ";
/// [`HEAD`], eight digits and a line end.
const HEAD_BYTES: usize = HEAD.len() + 9;

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Names and ids, any bytes.
    pub owners: Vec<(Vec<u8>, Vec<u8>)>,
    /// Oldest first; at most [`BACKLOG_PIECES`].
    pub pieces: Vec<MarkedPiece>,
}

/// A piece of a file. `begin <= sent <= end`, and `owner` is one of [`Mark::owners`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkedPiece {
    /// The file.
    pub inode: u64,
    /// Offset of its first byte.
    pub begin: u64,
    /// Offset up to which it is delivered.
    pub sent: u64,
    /// Offset of its end; `None`: that of the file.
    pub end: Option<u64>,
    /// Lines from `sent` on.
    pub lines: Option<u64>,
    /// When the first line was written, in milliseconds since the epoch.
    pub since: u64,
    /// The file holds nothing but backlog up to its end.
    pub only: bool,
    /// Whose lines.
    pub owner: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    owners: Vec<Owner>,
    pieces: Vec<MarkedPiece>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    name: String,
    id: String,
}

/// Why a file is no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Another beginning.
    #[error("it does not begin with `cim-backlog 1` and a check sum")]
    Head,
    /// The check sum is not that of the rest.
    #[error("its check sum is wrong")]
    CheckSum,
    /// Not the JSON of a mark.
    #[error("it is not the JSON of a mark: {0}")]
    Json(String),
    /// A value that no mark has.
    #[error("its {0} cannot be")]
    Value(&'static str),
    /// More than can be read again.
    #[error("it would have {0} bytes")]
    TooLarge(usize),
}

impl Mark {
    /// The file's content.
    ///
    /// # Errors
    /// [`MarkError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, MarkError> {
        let text = Text {
            owners: self
                .owners
                .iter()
                .map(|(name, id)| Owner {
                    name: STANDARD.encode(name),
                    id: STANDARD.encode(id),
                })
                .collect(),
            pieces: self.pieces.clone(),
        };
        let mut json =
            serde_json::to_vec(&text).map_err(|error| MarkError::Json(error.to_string()))?;
        json.push(b'\n');
        let bytes = HEAD_BYTES + json.len();
        if bytes as u64 > BACKLOG_MARK_BYTES {
            return Err(MarkError::TooLarge(bytes));
        }
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(HEAD);
        out.extend_from_slice(format!("{:08x}\n", crc32fast::hash(&json)).as_bytes());
        out.extend_from_slice(&json);
        Ok(out)
    }

    /// Reads what [`Mark::encode`] has written.
    ///
    /// # Errors
    /// It is something else; everything but [`MarkError::TooLarge`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MarkError> {
        let rest = bytes.strip_prefix(HEAD).ok_or(MarkError::Head)?;
        let (sum, json) = rest.split_at_checked(9).ok_or(MarkError::Head)?;
        if sum != format!("{:08x}\n", crc32fast::hash(json)).as_bytes() {
            return Err(MarkError::CheckSum);
        }
        let text: Text =
            serde_json::from_slice(json).map_err(|error| MarkError::Json(error.to_string()))?;
        let plain = |text: &str| STANDARD.decode(text).map_err(|_| MarkError::Value("owner"));
        let owners = text
            .owners
            .iter()
            .map(|owner| Ok((plain(&owner.name)?, plain(&owner.id)?)))
            .collect::<Result<Vec<_>, MarkError>>()?;
        if text.pieces.is_empty() || text.pieces.len() > BACKLOG_PIECES {
            return Err(MarkError::Value("number of pieces"));
        }
        for piece in &text.pieces {
            let end = piece.end.unwrap_or(i64::MAX as u64);
            if piece.begin > piece.sent || piece.sent > end || end > i64::MAX as u64 {
                return Err(MarkError::Value("offset"));
            }
            if piece.owner >= owners.len() {
                return Err(MarkError::Value("owner"));
            }
        }
        Ok(Self {
            owners,
            pieces: text.pieces,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark() -> Mark {
        Mark {
            owners: vec![(b"app\xff\n".to_vec(), b"".to_vec())],
            pieces: vec![MarkedPiece {
                inode: 7,
                begin: 1,
                sent: 2,
                end: Some(3),
                lines: None,
                since: 4,
                only: false,
                owner: 0,
            }],
        }
    }

    #[test]
    fn a_mark_with_any_one_byte_changed_or_missing_is_refused() {
        let good = mark().encode().unwrap();
        assert_eq!(Mark::decode(&good), Ok(mark()));
        for at in 0..good.len() {
            assert!(Mark::decode(&good[..at]).is_err(), "cut at {at}");
            let mut other = good.clone();
            other[at] ^= 1;
            assert!(Mark::decode(&other).is_err(), "changed at {at}");
        }
        assert_eq!(
            Mark::decode(&[&good[..], b"\n"].concat()),
            Err(MarkError::CheckSum)
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut Mark)| {
            let mut bad = mark();
            change(&mut bad);
            Mark::decode(&bad.encode().unwrap()).unwrap_err()
        };
        assert_eq!(
            refused(&|m| m.pieces[0].owner = 1),
            MarkError::Value("owner")
        );
        for change in [
            |m: &mut Mark| m.pieces[0].sent = 0,
            |m: &mut Mark| m.pieces[0].sent = 4,
            |m: &mut Mark| m.pieces[0].end = Some(u64::MAX),
        ] {
            assert_eq!(refused(&change), MarkError::Value("offset"));
        }
        let pieces = MarkError::Value("number of pieces");
        assert_eq!(refused(&|m| m.pieces.clear()), pieces);
        assert_eq!(
            refused(&|m| m.pieces = vec![m.pieces[0].clone(); BACKLOG_PIECES + 1]),
            pieces
        );
    }

    #[test]
    fn a_name_that_is_too_long_to_be_read_again_is_not_written() {
        let mut large = mark();
        large.owners[0].0 = vec![b'x'; 4 << 20];
        assert!(matches!(large.encode(), Err(MarkError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn any_names_are_read_back(names in proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 1..4)) {
            let mut some = mark();
            some.owners = names;
            prop_assert_eq!(Mark::decode(&some.encode().unwrap()), Ok(some));
        }
    }
}
