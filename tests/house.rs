//! The documents name what the code has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every Rust file below a folder.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for folder in ["src", "threads", "tests"] {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//! "),
                "{} does not open with //!",
                path.display()
            );
        }
    }
}

#[test]
fn the_readme_has_every_setting_with_its_default() {
    let readme = text("README.md");
    let row = |name: &str, default: &str| {
        let row = readme
            .lines()
            .find(|line| line.starts_with("| `") && line.contains(&format!("`{name}`")))
            .unwrap_or_else(|| panic!("{name} is not in README.md"));
        assert!(
            row.contains(default),
            "{name} is {default} by default: {row}"
        );
    };
    for setting in cim::options::resolve(&cim::options::Given::default()).shown {
        let default = setting.value.replace("cim-data/logs/", "<log dir>/");
        row(&setting.name, &default);
    }
    for member in cim::settings::Store::new(cim::settings::Settings::default()).cim_members() {
        row(
            member.name.trim_start_matches("cimConfig."),
            member.value.trim_matches('"'),
        );
    }
}

#[test]
fn nothing_in_src_starts_a_thread_or_knows_the_threads() {
    for (path, text) in sources("src") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let product = text.split("#[cfg(test)]").next().unwrap();
        let test = name.contains("test")
            || path
                .parent()
                .unwrap()
                .ends_with(name.trim_end_matches(".rs"));
        let daemon = path.parent().unwrap().ends_with("src/daemon");
        if test || daemon || name == "main.rs" {
            continue;
        }
        for absent in [
            "thread::spawn",
            "thread::Builder",
            "use crate::threads",
            "crate::threads::",
        ] {
            assert!(!product.contains(absent), "{} has {absent}", path.display());
        }
    }
}

#[test]
fn architecture_names_every_thread_and_every_part() {
    let architecture = text("ARCHITECTURE.md");
    // threads/<name>.rs or threads/<name>/mod.rs; spawn.rs is how they start.
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("threads")).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .replace('_', "-");
        if !["mod", "spawn"].contains(&name.as_str()) {
            assert!(
                architecture.contains(&format!("| `{name}` |")),
                "thread {name} is not in ARCHITECTURE.md"
            );
        }
    }
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let line = if path.is_dir() {
            format!("    src/{name}/ ")
        } else {
            format!("    src/{name} ")
        };
        // A file of tests beside its subject, and the crate's root, need no line.
        if !name.contains("_tests") && name != "lib.rs" {
            assert!(
                architecture.contains(&line),
                "src/{name} is not on the map in ARCHITECTURE.md"
            );
        }
    }
}

/// `println!` and its like panic when nobody reads; the tools for a terminal (`cli`) may, and so may tests.
#[test]
fn the_daemon_prints_nothing_that_panics() {
    let [cli, schedules] = ["src/cli", "src/change_set/schedules"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    for (path, text) in ["src", "threads"].into_iter().flat_map(sources) {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let prints = ["print!(", "println!("].iter().any(|m| code.contains(m));
            assert!(
                !prints || path.starts_with(&cli) || path.starts_with(&schedules),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

/// `NAME` 16, `NAME` 5 s or `NAME` 8 MiB: the value of the constant.
#[test]
fn architecture_gives_each_bound_its_value() {
    let limits: String = sources("src/limits")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let code = limits + &text("threads/spawn.rs");
    let architecture = text("ARCHITECTURE.md");
    let mut checked = 0;
    let mut parts = architecture.split('`').peekable();
    while let Some(name) = parts.next() {
        let is_constant =
            name.len() > 3 && name.bytes().all(|b| b == b'_' || b.is_ascii_uppercase());
        let digits: String = parts
            .peek()
            .and_then(|after| after.strip_prefix(' '))
            .map(|after| after.chars().take_while(char::is_ascii_digit).collect())
            .unwrap_or_default();
        if !is_constant || digits.is_empty() {
            continue;
        }
        let (_, value) = code
            .split_once(&format!("pub const {name}: "))
            .and_then(|(_, rest)| rest.split_once(" = "))
            .unwrap_or_else(|| panic!("there is no {name}"));
        let value = value.split(';').next().unwrap();
        let forms = [
            digits.clone(),
            format!("Duration::from_secs({digits})"),
            format!("{digits} << 20"),
        ];
        assert!(forms.iter().any(|form| form == value), "{name} is {value}");
        checked += 1;
    }
    assert!(checked >= 8, "{checked} bounds found");
}
