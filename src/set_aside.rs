//! Records that nobody takes, kept for people: JSON Lines in a file of bounded size.
//!
//! ```text
//! {"time":"2026-11-23T07:00:00.000Z","topic":"EVENT","reason":"…","bytes":17,"key":"…","payload":"…"}
//! ```
//!
//! A key or payload that is not UTF-8 is `key_base64` or `payload_base64`. `bytes` are those of the payload, of which at most
//! [`SET_ASIDE_PAYLOAD_BYTES`] are kept. A full file becomes `<name>.1`, and the one that had this name before goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat};

use crate::limits::SET_ASIDE_PAYLOAD_BYTES;
use crate::logs::json;

/// A record could not be set aside.
#[derive(Debug, thiserror::Error)]
#[error("{}: a record that nobody takes could not be kept there, and is gone", .path.display())]
pub struct SetAsideError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The file, and the one before it. Shared by threads; a call holds the others up for one write.
#[derive(Debug)]
pub struct SetAside {
    path: PathBuf,
    bytes_max: u64,
    /// Bytes of the file, once it was opened.
    open: Mutex<Option<(File, u64)>>,
}

impl SetAside {
    /// Nothing is opened before there is something to keep. `bytes_max`: of both generations together.
    pub fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self {
            path,
            bytes_max,
            open: Mutex::new(None),
        }
    }

    /// Keeps a record of `topic`, for `reason`, at `now_ms` milliseconds since the epoch.
    ///
    /// # Errors
    /// The file cannot be opened or written; the record is not kept, and the file holds whole lines.
    pub fn keep(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        payload: &[u8],
        reason: &str,
        now_ms: u64,
    ) -> Result<(), SetAsideError> {
        let generation = self.bytes_max / 2;
        let mut kept = payload.len().min(SET_ASIDE_PAYLOAD_BYTES);
        let line = loop {
            let part = payload.get(..kept).unwrap_or(payload);
            let line = line(topic, key, part, payload.len(), reason, now_ms);
            if line.len() as u64 <= generation || kept == 0 {
                break line;
            }
            kept /= 2;
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut open, &line, generation).map_err(|source| {
            *open = None;
            SetAsideError {
                path: self.path.clone(),
                source,
            }
        })
    }

    fn write(
        &self,
        open: &mut Option<(File, u64)>,
        line: &[u8],
        generation: u64,
    ) -> io::Result<()> {
        let line_bytes = line.len() as u64;
        if line_bytes > generation {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (mut file, len) = match open.take() {
            Some(open) => open,
            None => self.opened()?,
        };
        if len + line_bytes > generation {
            fs::rename(&self.path, self.older())?;
            (file, _) = self.opened()?;
            return self.append(open, file, 0, line);
        }
        self.append(open, file, len, line)
    }

    fn append(
        &self,
        open: &mut Option<(File, u64)>,
        mut file: File,
        len: u64,
        line: &[u8],
    ) -> io::Result<()> {
        file.write_all(line).inspect_err(|_| {
            // What cannot be cut off is a line without its end, which the next opening cuts off.
            let _ = file.set_len(len);
        })?;
        *open = Some((file, len + line.len() as u64));
        Ok(())
    }

    /// Opens the file for appending, and cuts off a line without its end.
    fn opened(&self) -> io::Result<(File, u64)> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&self.path)?;
        let len = file.metadata()?.len();
        let whole = whole_lines(&file, len)?;
        if whole < len {
            file.set_len(whole)?;
        }
        Ok((file, whole))
    }

    /// The generation before.
    fn older(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }

    /// The file of the newer generation.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Bytes of the file up to its last line end.
fn whole_lines(file: &File, len: u64) -> io::Result<u64> {
    let mut block = vec![0; 4096];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let wanted = usize::try_from(end - start).unwrap_or(block.len());
        let read = rustix::io::pread(file, block.get_mut(..wanted).unwrap_or_default(), start)?;
        let found = memchr::memrchr(b'\n', block.get(..read).unwrap_or_default());
        if let Some(at) = found {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn line(
    topic: &str,
    key: Option<&[u8]>,
    payload: &[u8],
    bytes: usize,
    reason: &str,
    now_ms: u64,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + payload.len() / 2 + 512);
    let time = i64::try_from(now_ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    let time = time.map_or_else(
        || now_ms.to_string(),
        |time| time.to_rfc3339_opts(SecondsFormat::Millis, true),
    );
    out.push(b'{');
    json::member("time", time.as_bytes(), &mut out);
    out.push(b',');
    json::member("topic", topic.as_bytes(), &mut out);
    out.push(b',');
    json::member("reason", reason.as_bytes(), &mut out);
    out.extend_from_slice(format!(",\"bytes\":{bytes}").as_bytes());
    if let Some(key) = key {
        out.push(b',');
        text_or_base64(["key", "key_base64"], key, false, &mut out);
    }
    out.push(b',');
    let is_cut = payload.len() < bytes;
    text_or_base64(["payload", "payload_base64"], payload, is_cut, &mut out);
    out.extend_from_slice(b"}\n");
    out
}

/// As text, when it is; a character at the end that was cut in two is left out.
fn text_or_base64([text, base64]: [&str; 2], bytes: &[u8], is_cut: bool, out: &mut Vec<u8>) {
    let valid = match std::str::from_utf8(bytes) {
        Ok(valid) => Some(valid.as_bytes()),
        Err(error) if is_cut && error.error_len().is_none() => bytes.get(..error.valid_up_to()),
        Err(_) => None,
    };
    match valid {
        Some(valid) => json::member(text, valid, out),
        None => json::member(base64, BASE64_STANDARD.encode(bytes).as_bytes(), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'));
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn a_record_is_one_line_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/aside.jsonl");
        let aside = SetAside::new(path.clone(), 1 << 20);
        aside
            .keep("EVENT", Some(b"k"), b"{\"a\":\"b\nc\"}", "too large", 1)
            .unwrap();
        aside.keep("LOGS", None, b"\xff\x00", "", u64::MAX).unwrap();
        let lines = lines(&path);
        assert_eq!(
            lines[0],
            serde_json::json!({
                "time": "1970-01-01T00:00:00.001Z", "topic": "EVENT", "reason": "too large", "bytes": 11,
                "key": "k", "payload": "{\"a\":\"b\nc\"}",
            })
        );
        assert_eq!(lines[1]["payload_base64"], "/wA=");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn two_generations_stay_within_their_bound_and_hold_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aside.jsonl");
        let mut aside = SetAside::new(path.clone(), 4000);
        for n in 0..200 {
            if n % 7 == 0 {
                aside = SetAside::new(path.clone(), 4000);
            }
            aside
                .keep("T", None, n.to_string().as_bytes(), "r", 1)
                .unwrap();
            let files = fs::read_dir(dir.path()).unwrap();
            let bytes: u64 = files.map(|f| f.unwrap().metadata().unwrap().len()).sum();
            assert!(bytes <= 4000, "{bytes}");
        }
        let all = [lines(&aside.older()), lines(&path)].concat();
        let kept: Vec<u64> = all
            .iter()
            .map(|line| line["payload"].as_str().unwrap().parse().unwrap())
            .collect();
        assert!(kept.len() > 20 && fs::read_dir(dir.path()).unwrap().count() == 2);
        assert_eq!(kept, (200 - kept.len() as u64..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_payload_that_is_too_long_is_cut_and_its_size_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aside.jsonl");
        for (bytes_max, text) in [
            (16 << 20, "é".repeat(2 << 20)),
            (2000, "\u{1}".repeat(5000)),
        ] {
            let aside = SetAside::new(path.clone(), bytes_max);
            aside.keep("T", None, text.as_bytes(), "r", 1).unwrap();
            let line = lines(&path).pop().unwrap();
            assert_eq!(line["bytes"], text.len());
            let kept = line["payload"].as_str().unwrap();
            assert!(text.starts_with(kept) && kept.len() <= SET_ASIDE_PAYLOAD_BYTES);
            assert!(kept.len() > 50 && fs::metadata(&path).unwrap().len() <= bytes_max);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_line_that_was_torn_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aside.jsonl");
        for torn in ["{\"time", "{\"a\":1}\n{", &"x".repeat(10_000)] {
            fs::write(&path, torn).unwrap();
            let aside = SetAside::new(path.clone(), 1 << 20);
            aside.keep("T", None, b"p", "r", 1).unwrap();
            let whole = torn.matches('\n').count();
            assert_eq!(lines(&path).len(), whole + 1);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let aside = SetAside::new(dir.path().into(), 1 << 20);
        let error = aside.keep("T", None, b"p", "r", 1).unwrap_err();
        assert!(error.to_string().contains(dir.path().to_str().unwrap()));
        let small = SetAside::new(dir.path().join("a"), 100);
        assert!(small.keep("T", None, b"p", "r", 1).is_err());
    }
}
