//! Log files and line formats, compared with the bytes of the original (`tests/golden/8-logs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use cim::logs::backups::Backup;
use cim::logs::container::{Containers, stem_prefix};
use cim::logs::disk::RealDisk;
use cim::logs::files::LogFiles;
use cim::logs::folder::{FileLimits, Now};
use cim::logs::format::LineForm;
use cim::metrics::Metrics;
use cim::settings::{Lmaas, LogFormat};

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/8-logs");
    fs::read(dir.join(name)).unwrap()
}

struct Rig {
    dir: tempfile::TempDir,
    files: LogFiles<RealDisk>,
    containers: Containers,
    now: Now,
}

impl Rig {
    fn new(lmaas: &Lmaas) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new("cnf-0").unwrap());
        Self {
            files: LogFiles::new(
                RealDisk,
                PathBuf::from(dir.path()),
                stem_prefix("cnf-0", "ns1"),
                FileLimits::from(lmaas),
                metrics,
            ),
            dir,
            containers: Containers::new("cnf-0", "ns1"),
            now: Now {
                instant: Instant::now(),
                utc: UNIX_EPOCH + Duration::from_millis(1_795_393_557_315),
            },
        }
    }

    fn line(&mut self, name: &[u8], id: &[u8], payload: &[u8]) {
        let container = self.containers.get(name, id, self.now.instant);
        self.files
            .append(&container, [payload].into_iter(), false, None, self.now);
    }

    fn finish(mut self) -> BTreeMap<String, Vec<u8>> {
        self.files.turn(true, self.now);
        fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap())
            })
            .collect()
    }
}

#[test]
fn file_names_and_contents() {
    let mut rig = Rig::new(&Lmaas::default());
    let id = b"0123456789ab";
    for line in [
        &b"hello golden line 1"[..],
        b"bytes \xff\xfe\x80 not utf-8 \xc3",
        "html <&> \"q\" é \u{2028} tab\t".as_bytes(),
    ] {
        rig.line(b"app", id, line);
    }
    rig.line(b"cim", b"", b"own");
    let files = rig.finish();
    let names: Vec<_> = files.keys().cloned().collect();
    let want = String::from_utf8(golden("file_names.txt")).unwrap();
    assert_eq!(names, want.lines().collect::<Vec<_>>());
    for name in ["fileandstdout_json.file.raw", "fileandstdout_text.file.raw"] {
        assert_eq!(files["cnf-0_ns1_app-0123456789ab.log"], golden(name));
    }
}

#[test]
fn absent_names_and_payloads() {
    let mut rig = Rig::new(&Lmaas::default());
    rig.line(b"", b"", b"no names");
    rig.line(b"", b"", b"fields absent");
    rig.line(b"nm", b"id", b"");
    rig.line(b"nm", b"id2", b"has\nnewline\n");
    let files: BTreeMap<String, String> = rig
        .finish()
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
        .collect();
    let want = golden("names_and_payloads_absent.files.json");
    let want: BTreeMap<String, String> = serde_json::from_slice(&want).unwrap();
    assert_eq!(files, want);
}

#[test]
fn rotated_files() {
    let mut rig = Rig::new(&Lmaas {
        max_file_size_in_mb: 1,
        max_backup_files: 2,
        ..Lmaas::default()
    });
    for n in 0..20_000 {
        rig.line(b"app", b"0123456789ab", format!("{n:0200}").as_bytes());
    }
    let files = rig.finish();
    let want = String::from_utf8(golden("rotation_max_1MB_2_backups.files.txt")).unwrap();
    let stem = "cnf-0_ns1_app-0123456789ab";
    // The same names but for the times; CIM's own file is not written here.
    let shape = |name: &str| match Backup::parse(name) {
        Some(backup) => format!("{} rotated", backup.stem),
        None => name.to_owned(),
    };
    let got: Vec<_> = files.keys().map(|name| shape(name)).collect();
    let want: Vec<_> = want
        .lines()
        .filter(|line| line.starts_with(stem))
        .map(|line| shape(line.split(' ').next().unwrap()))
        .collect();
    assert_eq!(got, want);
    // Better: the original leaves room that a line would still fit in.
    for (name, bytes) in &files {
        let full = (1 << 20) / 201 * 201;
        assert!(
            bytes.len() == full || name.ends_with(".log"),
            "{name}: {}",
            bytes.len()
        );
    }
}

#[test]
fn kafka_values() {
    let mut containers = Containers::new("cnf-0", "ns1");
    let app = containers.get(b"app", b"0123456789ab", Instant::now());
    let form = LineForm::new("cnf-0", "ns1");
    for n in 1..=3 {
        let text = golden(&format!("kafka_text_{n}.value.raw"));
        let mut out = Vec::new();
        form.append(LogFormat::Json, &app, &text, &mut out);
        assert_eq!(out, golden(&format!("kafka_json_{n}.value.raw")));
        out.clear();
        form.append(LogFormat::Text, &app, &text, &mut out);
        assert_eq!(out, text);
    }
}
