//! What `cim change-set put` puts: a JSON Patch, or the object that an application is sent with one.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::change_set::key::{ChangeSetKey, KeyError};
use crate::limits::CHANGE_SET_BYTES;
use crate::settings::patch::{self, PatchError};

/// A change set before it has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// The value to put.
    pub value: Vec<u8>,
    /// The key that came with it.
    pub key: Option<ChangeSetKey>,
}

/// Why it cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("{} cannot be read", .path.as_deref().map_or("standard input".into(), Path::to_string_lossy))]
    Read {
        /// The file; `None`: standard input.
        path: Option<PathBuf>,
        /// Why not.
        source: io::Error,
    },
    /// More than etcd takes.
    #[error("it has more than {CHANGE_SET_BYTES} bytes: etcd does not take it")]
    TooLarge,
    /// Neither a JSON Patch nor an object with one.
    #[error(
        "it is neither a JSON Patch nor an object with change-set-key and config-patch (--raw puts any bytes)"
    )]
    NoPatch(#[source] PatchError),
    /// The object's key is none.
    #[error("its change-set-key is no key of a change set")]
    Key(#[source] KeyError),
}

impl Input {
    /// Reads `path`, or standard input.
    ///
    /// # Errors
    /// It cannot be read, or, unless it is `raw`, holds no JSON Patch.
    pub fn read(path: Option<&PathBuf>, raw: bool) -> Result<Self, InputError> {
        let read = |mut from: Box<dyn Read>| {
            let mut bytes = Vec::new();
            let most = CHANGE_SET_BYTES as u64 + 1;
            from.by_ref().take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = match path {
            Some(path) => std::fs::File::open(path).and_then(|file| read(Box::new(file))),
            None => read(Box::new(io::stdin().lock())),
        };
        let bytes = bytes.map_err(|source| InputError::Read {
            path: path.cloned(),
            source,
        })?;
        Self::parse(bytes, raw)
    }

    fn parse(bytes: Vec<u8>, raw: bool) -> Result<Self, InputError> {
        if bytes.len() > CHANGE_SET_BYTES {
            return Err(InputError::TooLarge);
        }
        if raw {
            return Ok(Self {
                value: bytes,
                key: None,
            });
        }
        if let Ok(Value::Object(object)) = serde_json::from_slice(&bytes)
            && let Some(Value::String(key)) = object.get("change-set-key")
            && let Some(patch) = object.get("config-patch")
        {
            let value = match patch {
                Value::String(text) => text.clone(),
                // Nobody writes a patch as a text by hand.
                patch => patch.to_string(),
            };
            patch::check(value.as_bytes()).map_err(InputError::NoPatch)?;
            return Ok(Self {
                value: value.into(),
                key: Some(ChangeSetKey::parse(key).map_err(InputError::Key)?),
            });
        }
        patch::check(&bytes).map_err(InputError::NoPatch)?;
        Ok(Self {
            value: bytes,
            key: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Input, InputError> {
        Input::parse(text.into(), false)
    }

    #[test]
    fn a_patch_is_put_as_it_is() {
        let text = " [ {\"op\":\"replace\", \"path\":\"/a\", \"value\":1} ]\n";
        let input = parse(text).unwrap();
        assert_eq!((input.value, input.key), (text.into(), None));
        assert_eq!(parse("[]").unwrap().value, b"[]");
    }

    #[test]
    fn what_an_application_is_sent_is_taken_apart() {
        for patch in [
            r#""[{\"op\":\"remove\",\"path\":\"/a\"}]""#,
            r#"[{"op":"remove","path":"/a"}]"#,
        ] {
            let text = format!(
                r#"{{"change-set-key":"change-set/n/m/v/nf/app.json/7","data-key":"app.json","config-patch":{patch},"revision":"7"}}"#
            );
            let input = parse(&text).unwrap();
            assert_eq!(input.value, br#"[{"op":"remove","path":"/a"}]"#);
            assert_eq!(input.key.unwrap().text(), "change-set/n/m/v/nf/app.json/7");
        }
    }

    #[test]
    fn what_is_no_patch_is_refused_but_raw() {
        for text in ["", "x", "{}", "[1]", r#"[{"op":"nonsense","path":"/a"}]"#] {
            assert!(matches!(parse(text), Err(InputError::NoPatch(_))), "{text}");
            assert_eq!(
                Input::parse(text.into(), true).unwrap().value,
                text.as_bytes()
            );
        }
        let bad_key = r#"{"change-set-key":"x","config-patch":[]}"#;
        assert!(matches!(parse(bad_key), Err(InputError::Key(_))));
        let large = " ".repeat(CHANGE_SET_BYTES + 1);
        assert!(matches!(parse(&large), Err(InputError::TooLarge)));
    }
}
