//! The commands on journals that were made for them.

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::cli::{Action, parse};
use crate::events::journal::{self, Fsync, JournalLimits, JournalReader, JournalWriter};
use crate::metrics::Metrics;

const EVENT: &[u8] = include_bytes!("../../../tests/golden/1-inputs/event_full.fb");

struct Rig {
    dir: TempDir,
    ends: Option<(JournalWriter, JournalReader)>,
}

impl Rig {
    /// Events with a raised one among them; the first two are delivered.
    fn new(events: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let limits = JournalLimits {
            segment_bytes: 3000,
            ..JournalLimits::new(8 << 20, Fsync::Never)
        };
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let path = dir.path().join(JOURNAL_DIR);
        let (mut writer, mut reader) = journal::open(&path, limits, &metrics).unwrap();
        for n in 0..events {
            let time = 1_767_225_600_000 + n as u64;
            if n == 3 {
                let raised = b"{\"eventName\":\"Cim\\u009b\"}";
                writer.append(Kind::Raised, raised, time).unwrap();
            } else {
                writer.append(Kind::Event, EVENT, time).unwrap();
            }
        }
        writer.commit(Instant::now()).unwrap();
        while reader.next().unwrap().is_some() {}
        reader.ack(2).unwrap();
        Self {
            dir,
            ends: Some((writer, reader)),
        }
    }

    fn run(&self, line: &str) -> (bool, String) {
        let dir = self.dir.path().to_str().unwrap();
        let words = ["cim", "journal"]
            .into_iter()
            .chain(line.split_whitespace());
        let words = words.chain(["--state-dir", dir]).map(OsString::from);
        let Ok(Action::Journal(args)) = parse(words) else {
            panic!("{line}");
        };
        let mut out = Vec::new();
        let good = run(&args, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir.path().join(JOURNAL_DIR)).unwrap();
        let mut found: Vec<_> = files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "seg"))
            .collect();
        found.sort();
        found
    }
}

#[test]
fn list_has_a_line_for_each_segment_and_the_sum() {
    let mut rig = Rig::new(20);
    for runs in [true, false] {
        if !runs {
            rig.ends = None;
        }
        let (good, text) = rig.run("list");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), rig.segments().len() + 2, "{text}");
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(
            words[1..7],
            [
                "6",
                words[2],
                "1",
                "6",
                "2026-01-01T00:00:00.000Z",
                "2026-01-01T00:00:00.005Z"
            ]
        );
        assert_eq!(words[7], "2");
        let sum = lines.last().unwrap();
        assert!(
            sum.contains("18 events wait") && sum.contains("up to 2."),
            "{sum}"
        );
        assert_eq!(sum.contains("CIM runs on it (process"), runs, "{sum}");
        assert!(good);
    }
}

#[test]
fn show_prints_events_with_their_fields() {
    let rig = Rig::new(20);
    let lines = |line: &str| -> Vec<Value> {
        let (_, text) = rig.run(line);
        assert!(!text.contains('\u{9b}'), "moves the cursor");
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    };
    let all = lines("show");
    assert_eq!(all.len(), 18);
    assert_eq!(all[0]["seq"], 3);
    assert_eq!(all[0]["kind"], "event");
    assert_eq!(all[0]["event"], "GoldenEvent");
    assert_eq!(all[0]["bytes"], EVENT.len());
    assert_eq!(all[0]["fields"]["event_time"], 1_767_225_600_123_i64);
    assert_eq!(all[0]["time"], "2026-01-01T00:00:00.002Z");
    assert_eq!(
        (&all[1]["kind"], &all[1]["event"]),
        (&"raised".into(), &"Cim\u{9b}".into())
    );
    let some = lines("show --from 1 --count 3");
    assert_eq!(some.len(), 3);
    assert_eq!(
        (&some[1]["delivered"], &some[2]["delivered"]),
        (&true.into(), &false.into())
    );
    let some = lines("show --from 14 --count 3");
    assert_eq!(
        [14, 15, 16],
        [0, 1, 2].map(|n| some[n]["seq"].as_u64().unwrap())
    );
    assert!(lines("show --from 21").is_empty());
    assert!(lines("show --from 1 --count 0").is_empty());
}

#[test]
fn verify_tells_what_is_damaged_torn_or_missing() {
    let mut rig = Rig::new(20);
    let (good, text) = rig.run("verify");
    assert!(good && text.contains("20 events: all good."), "{text}");
    rig.ends = None;
    assert!(rig.run("verify").0);

    let segments = rig.segments();
    let mut bytes = fs::read(&segments[1]).unwrap();
    bytes[50] ^= 1;
    fs::write(&segments[1], bytes).unwrap();
    fs::remove_file(&segments[2]).unwrap();
    let last = segments.last().unwrap();
    let mut bytes = fs::read(last).unwrap();
    bytes.extend_from_slice(b"torn");
    fs::write(last, bytes).unwrap();
    let (good, text) = rig.run("verify");
    assert!(!good);
    for said in [
        "bytes 8 to ",
        "event 7 is missing",
        "events 12 to 16 are missing",
        "the end is torn",
        "4 wrong",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn the_end_that_a_running_cim_writes_is_not_wrong() {
    let rig = Rig::new(20);
    let last = rig.segments().pop().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    bytes.extend_from_slice(b"\xc1JR\x01half");
    fs::write(&last, bytes).unwrap();
    assert!(rig.run("verify").0);
}

#[test]
fn looking_does_not_keep_a_cim_from_starting_and_changes_nothing() {
    let mut rig = Rig::new(20);
    rig.ends = None;
    let files = || {
        let files = fs::read_dir(rig.dir.path().join(JOURNAL_DIR)).unwrap();
        let mut all: Vec<_> = files
            .map(|file| file.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        all.sort();
        all
    };
    let before = files();
    for line in ["list", "show", "verify"] {
        rig.run(line);
    }
    assert_eq!(files(), before);
    let metrics = Arc::new(Metrics::new("p").unwrap());
    let limits = JournalLimits::new(8 << 20, Fsync::Never);
    journal::open(&rig.dir.path().join(JOURNAL_DIR), limits, &metrics).unwrap();
}

#[test]
fn the_place_is_the_one_of_cim_run() {
    let dir = |line: &str| {
        let words = line.split_whitespace().map(OsString::from);
        match parse(words).ok().unwrap() {
            Action::Journal(JournalArgs {
                command: JournalCommand::List { place },
            }) => place.dir(),
            _ => panic!("{line}"),
        }
    };
    for (line, path) in [
        ("cim journal list --state-dir /s", "/s/journal"),
        ("cim journal list --log-dir /l", "/l/.cim/journal"),
        ("cim journal list --log-dir /l --state-dir /s", "/s/journal"),
        ("cim journal list --pod-id p", "/opt/logs/.cim/journal"),
        ("cim journal list", "cim-data/logs/.cim/journal"),
    ] {
        assert_eq!(dir(line), Path::new(path), "{line}");
    }
}

#[test]
fn no_journal_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let error = look(&dir.path().join("journal")).unwrap_err();
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let rig = Rig::new(20);
    let seen = look(&rig.dir.path().join(JOURNAL_DIR)).unwrap();
    list(&seen, &mut Gone).unwrap();
    show(&seen, 1, 100, &mut Gone).unwrap();
    assert!(verify(&seen, &mut Gone).unwrap());
}
