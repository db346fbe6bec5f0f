//! README's first five minutes, to the letter but for the ports: what a new user types works and shows what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{cim, http};

struct Standalone {
    child: Child,
    dir: tempfile::TempDir,
    nats: SocketAddr,
    http: SocketAddr,
    first_line: String,
}

impl Standalone {
    /// CIM as `make run` starts it, on free ports and with its files in a directory of its own.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = command(env!("CARGO_BIN_EXE_cim"), dir.path())
            .env("CIM_NATS_PORT", "0")
            .env("CIM_REST_PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut first_line)
            .unwrap();
        let (nats, http, _) = cim::addresses(first_line.trim_end()).expect("the first line");
        Self {
            child,
            dir,
            nats,
            http,
            first_line,
        }
    }

    /// Runs one line of the README in a shell, as if `cim` were the alias.
    fn shell(&self, line: &str) -> String {
        let script = format!("cim() {{ \"$CIM\" \"$@\"; }}\n{line}");
        let output = command("/bin/sh", self.dir.path())
            .args(["-ec", &script])
            .env("CIM", env!("CARGO_BIN_EXE_cim"))
            .env("CIM_NATS_PORT", self.nats.port().to_string())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The answer to one of README's curl commands. No curl is needed to test it.
    fn curl(&self, line: &str) -> String {
        let (_, rest) = line.split_once("curl -s localhost:6060").expect(line);
        let path = rest.split_whitespace().next().unwrap();
        let answer = match rest.split_once("-d '") {
            Some((_, data)) => {
                http::post(self.http, path, data.split('\'').next().unwrap().as_bytes())
            }
            None => http::get(self.http, path),
        };
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        answer.text()
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The indented lines of a section that begin with `start`, without their comments.
fn lines(section: &str, start: &str) -> Vec<String> {
    let readme = readme();
    let (_, rest) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let lines: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(start))
        .map(|line| line.split(" #").next().unwrap().trim().to_owned())
        .collect();
    assert!(!lines.is_empty(), "{start}");
    lines
}

#[test]
fn the_first_five_minutes_work_as_written() {
    let mut cim = Standalone::start();
    let section = "The first five minutes";
    let promised = lines("Two commands", "cim ").remove(0);
    let as_promised = cim
        .first_line
        .replace(&cim.nats.to_string(), "127.0.0.1:4222")
        .replace(&cim.http.to_string(), "127.0.0.1:6060");
    assert_eq!(as_promised.trim_end(), promised);

    for line in lines(section, "cim emit") {
        cim.shell(&line);
    }
    let files = lines(section, "cat ");
    assert_eq!(cim.shell(&files[0]), "hello world\n");
    for line in lines(section, "curl") {
        let answer = cim.curl(&line);
        if let Some((_, pattern)) = line.split_once("grep -E '^(") {
            for name in pattern.split(')').next().unwrap().split('|') {
                let found = answer.lines().any(|line| line.starts_with(name));
                assert!(found, "{name} in {answer}");
            }
        }
    }
    cim.shell("printf 'one\\ntwo\\n' | cim emit log --container some-program -");
    let text = cim.shell("cat cim-data/logs/*_some-program-0000.log");
    assert_eq!(text, "one\ntwo\n");
    let pid = rustix::process::Pid::from_child(&cim.child);
    rustix::process::kill_process(pid, support::Signal::TERM).unwrap();
    let status = support::cim::wait(&mut cim.child, Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_readme_and_the_help_have_the_same_exit_codes() {
    let cim = env!("CARGO_BIN_EXE_cim");
    let help = Command::new(cim).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let (_, codes) = help
        .split_once("Exit codes, the same for every command:\n")
        .unwrap();
    let of_help: Vec<u8> = codes
        .lines()
        .map_while(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let readme = readme();
    let of_readme: Vec<u8> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| exit code |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(of_help, of_readme);
    assert!(of_help.len() > 3);
}

#[test]
fn every_guarantee_names_tests_that_there_are() {
    let readme = readme();
    let (_, rest) = readme.split_once("\n| guarantee | test |\n").unwrap();
    let rows: Vec<_> = rest
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("| ")?.rsplit_once(" | "))
        .collect();
    assert!(rows.len() > 10);
    for (guarantee, tests) in rows {
        let quoted: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        let mut names = Vec::new();
        assert!(
            quoted.iter().any(|word| word.ends_with(".rs")),
            "{guarantee}"
        );
        for word in quoted {
            if !word.ends_with(".rs") {
                names.push(word);
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(word);
            let source = std::fs::read_to_string(path).unwrap();
            for name in names.drain(..) {
                let is_there = source.contains(&format!("fn {name}("));
                assert!(is_there, "{guarantee}: no {name} in {word}");
            }
        }
        assert!(names.is_empty(), "{guarantee}: {names:?} in no file");
    }
}
