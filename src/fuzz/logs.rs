//! Names and lines on their way to files and to standard output.

use std::collections::HashMap;
use std::time::Instant;

use super::split_at_byte;
use crate::limits;
use crate::logs::backups::Backup;
use crate::logs::container::{Containers, OVERFLOW};
use crate::logs::format::LineForm;
use crate::settings::LogFormat;

/// File names of containers are safe and bounded, and no two containers share one, but for the one of the overflow.
///
/// The input: pod, namespace, and then names and ids by turns, each ended by a line end.
pub fn container_names(data: &[u8]) {
    let mut rest = data;
    let mut next = || {
        let (word, after) = split_at_byte(rest, b'\n');
        rest = after;
        (word, !after.is_empty())
    };
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let (pod, namespace) = (text(next().0), text(next().0));
    let now = Instant::now();
    let mut containers = Containers::new(&pod, &namespace);
    let mut stems: HashMap<String, (&[u8], &[u8])> = HashMap::new();
    loop {
        let ((name, _), (id, more)) = (next(), next());
        let container = containers.get(name, id, now);
        let stem = &container.stem;
        assert!(stem.len() <= limits::STEM_BYTES, "{} bytes", stem.len());
        assert!(stem.starts_with(containers.prefix()));
        assert!(!stem.contains(|c: char| c.is_control() || matches!(c, '/' | '\\')));
        let file = format!("{stem}.log");
        assert_eq!(std::path::Path::new(&file).file_name(), Some(file.as_ref()));
        if *container.name == *OVERFLOW.as_bytes() {
            assert!(stems.len() >= limits::CONTAINERS || name == OVERFLOW.as_bytes());
        } else {
            assert_eq!((&*container.name, &*container.id), (name, id));
            let owner = stems.entry(stem.clone()).or_insert((name, id));
            assert_eq!(*owner, (name, id), "two containers share {stem}");
        }
        if !more {
            break;
        }
    }
}

/// A file name is no backup's, or it is exactly that of the backup read from it; and any stem and time come back.
///
/// The input: eight bytes for the time, and a file name, which is taken as a stem too.
pub fn backup_name(data: &[u8]) {
    let Some((time, name)) = data.split_first_chunk::<8>() else {
        return;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if let Some(backup) = Backup::parse(&name) {
        assert_eq!(backup.file_name().as_deref(), Some(name.as_str()));
    }
    let backup = Backup {
        ms: i64::from_le_bytes(*time),
        stem: name,
    };
    if let Some(file) = backup.file_name() {
        assert_eq!(Backup::parse(&file), Some(backup));
    }
}

/// A line on standard output is one line of valid JSON that decodes to the names and the text, each byte that is not
/// UTF-8 being U+FFFD; as text it is the line itself.
///
/// The input: container name, pod and namespace, each ended by a line end, and the line.
pub fn json_line(data: &[u8]) {
    let (name, rest) = split_at_byte(data, b'\n');
    let (pod, rest) = split_at_byte(rest, b'\n');
    let (namespace, line) = split_at_byte(rest, b'\n');
    let (pod, namespace) = (
        String::from_utf8_lossy(pod),
        String::from_utf8_lossy(namespace),
    );
    let form = LineForm::new(&pod, &namespace);
    let container = Containers::new(&pod, &namespace).get(name, b"", Instant::now());
    let append = |format| {
        let mut out = Vec::new();
        form.append(format, &container, line, &mut out);
        out
    };
    assert_eq!(append(LogFormat::Text), line);
    let json = append(LogFormat::Json);
    assert!(!json.iter().any(|&byte| byte < 0x20), "one line");
    let value: serde_json::Value = serde_json::from_slice(&json).expect("valid JSON");
    let wanted = serde_json::json!({
        "container_name": lossy(name),
        "log": lossy(line),
        "kubernetes": { "namespace_name": namespace, "pod_name": pod },
    });
    assert_eq!(value, wanted);
}

/// One U+FFFD for each byte that is not UTF-8, as Go writes it.
fn lossy(text: &[u8]) -> String {
    let mut out = String::new();
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}
