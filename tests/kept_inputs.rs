//! The fuzz targets on the inputs that are kept in `tests/fuzz/corpus`: what was once found stays mended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cim::fuzz::TARGETS;

fn path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz")
        .join(path)
}

fn names(folder: &str) -> BTreeSet<String> {
    fs::read_dir(path(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_target_holds_on_its_kept_inputs() {
    for (name, target) in TARGETS {
        let inputs = names(&format!("corpus/{name}"));
        assert!(inputs.len() > 1, "{name} has too few kept inputs");
        for input in inputs {
            let bytes = fs::read(path("corpus").join(name).join(&input)).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
                eprintln!("tests/fuzz/corpus/{name}/{input} does not hold");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What a fuzzer's first mutations would be, on every build: each kept input cut short, with a byte changed, and doubled.
#[test]
fn every_target_holds_on_what_is_like_its_kept_inputs() {
    for (name, target) in TARGETS {
        for input in names(&format!("corpus/{name}")) {
            let bytes = fs::read(path("corpus").join(name).join(input)).unwrap();
            // Some 64 places of each: a test, not a search.
            for at in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
                target(&bytes[..at]);
                for changed in [0, b'\n', b' ', b'"', 0x7f, 0xff, bytes[at] ^ 1] {
                    let mut other = bytes.clone();
                    other[at] = changed;
                    target(&other);
                }
            }
            target(&[&bytes[..], &bytes].concat());
        }
    }
}

#[test]
fn every_target_has_its_program_and_its_inputs() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names("corpus"));
    let programs: BTreeSet<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(programs, names("targets"));
    let manifest = fs::read_to_string(path("Cargo.toml")).unwrap();
    for name in targets {
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name}"
        );
        let program = fs::read_to_string(path("targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("cim::fuzz::{name}(data)")),
            "{name}"
        );
    }
}
