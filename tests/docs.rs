//! The documents say what is so: every command in them is run or looked at here, every sample is code that runs, and every name, link and
//! figure that can be checked is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "docs/document.rs"]
mod document;
#[path = "clients/harness.rs"]
mod harness;
mod servers;
#[path = "docs/session.rs"]
mod session;
mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cim::cli;
use cim::identity::{Host, Identity};
use cim::kube::Pod;
use cim::nats::config::{Authorization, Sources};
use cim::options::{self, Given, Names};
use clap::error::ErrorKind;
use document::{Block, anchors, blocks, files, inline, links, root, text, words};
use servers::{Etcd, free_port};
use session::{Standalone, command};
use support::{PATIENCE, eventually};

/// Commands that no test here runs, each with the reason.
const ELSEWHERE: [(&str, &str); 6] = [
    (
        "cim man | man -l -",
        "man is not everywhere; tests/tools.rs reads the page",
    ),
    (
        "etcd --data-dir cim-data/etcd",
        "with_etcd_… starts one, on free ports",
    ),
    (
        "cargo run --package sample",
        "with_etcd_… builds and runs it",
    ),
    (
        "(cd examples/go && go run .)",
        "tests/examples.rs builds and runs it",
    ),
    (
        "python3 -m venv venv && venv/bin/pip install --quiet -r examples/python/requirements.txt && venv/bin/python examples/python/app.py",
        "tests/examples.rs does the same, with the demo around it",
    ),
    (
        "CIM_ETCD_URL=localhost:2379 NF_CONFIG_REVISION=0 make run",
        "with_etcd_… starts the same program with this environment",
    ),
];

/// What is printed by some of the commands.
const PRINTED: [(&str, &str); 8] = [
    ("cat cim-data/logs/*_demo-0000.log", "hello world\n"),
    (
        "cat cim-data/logs/*_events.jsonl",
        "\"eventName\":\"LinkDown\"",
    ),
    ("curl -s localhost:6060/readyz", "\"ready\""),
    ("cim status", ": ready\n"),
    ("cim doctor", "Good"),
    ("cim check", "CIM_LOG_DIR"),
    ("cim journal verify", "all good"),
    ("cim tail LOG --count 1 --level warning", "ERROR: a line"),
];

/// Who deals with a command.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum By {
    Make,
    Cargo,
    Kubectl,
    /// Run beside a CIM.
    Cim,
    /// The same, with etcd and the sample application.
    Etcd,
    /// The same, with Python.
    Python,
    Elsewhere,
}

fn by(block: &Block, line: &str) -> By {
    let program = line
        .split_whitespace()
        .find(|word| !word.contains('='))
        .unwrap_or(line);
    if ELSEWHERE.iter().any(|(command, _)| *command == line) {
        return By::Elsewhere;
    }
    match program {
        "make" => By::Make,
        "cargo" => By::Cargo,
        "kubectl" => By::Kubectl,
        // What developers of the tests type besides is theirs.
        _ if block.file.starts_with("tests/") => By::Elsewhere,
        _ if block.text.contains("etcd") => By::Etcd,
        _ if block.text.contains("venv") => By::Python,
        _ => By::Cim,
    }
}

/// Every command of every document, with its block, that `who` deals with.
fn commands(who: By) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in files().iter().flat_map(|file| blocks(file)) {
        for line in block.commands() {
            if by(&block, line) == who {
                found.push((block.file.clone(), line.to_owned()));
            }
        }
    }
    assert!(!found.is_empty(), "{who:?}");
    found
}

#[test]
fn the_commands_in_the_documents_work_as_written() {
    let mut file = String::new();
    let mut cim: Option<Standalone> = None;
    let mut printed = BTreeSet::new();
    for (of, line) in commands(By::Cim) {
        // A document is read from its beginning, beside a CIM that has just been started.
        if of != file {
            end(cim.take());
            file = of;
            let fresh = Standalone::start(&[], &[]);
            let new = fresh.dir.path().join("new");
            std::fs::create_dir(&new).unwrap();
            std::fs::write(new.join("cim.json"), r#"{"cimConfig": {}}"#).unwrap();
            std::fs::write(new.join("common-infra.json"), "{}").unwrap();
            cim = Some(fresh);
        }
        let said = cim.as_mut().unwrap().run(&line);
        for (command, wanted) in PRINTED {
            if command == line {
                assert!(said.contains(wanted), "{file}: {line}: {said}");
                printed.insert(command);
            }
        }
        // Each name that is looked for among the metrics is there.
        if let Some((_, pattern)) = line.split_once("grep -E '^(") {
            for name in pattern.split(')').next().unwrap().split('|') {
                let found = said.lines().any(|line| line.starts_with(name));
                assert!(found || name.contains('('), "{name} in {said}");
            }
        }
    }
    end(cim);
    assert_eq!(printed.len(), PRINTED.len(), "{printed:?}");
}

/// SIGTERM, and the orderly end that README promises.
fn end(cim: Option<Standalone>) {
    let Some(mut cim) = cim else { return };
    let pid = rustix::process::Pid::from_child(&cim.child);
    rustix::process::kill_process(pid, support::Signal::TERM).unwrap();
    let status = support::cim::wait(&mut cim.child, Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn cim_says_first_what_the_readme_shows() {
    let cim = Standalone::start(&[], &[]);
    let shown = blocks("README.md").into_iter();
    let shown = shown.filter(|block| block.text.starts_with("cim ") && block.language == "text");
    let shown: Vec<_> = shown.map(|block| block.text).collect();
    let here = cim
        .first_line
        .replace(&cim.nats.to_string(), "127.0.0.1:4222")
        .replace(&cim.http.to_string(), "127.0.0.1:6060");
    assert_eq!(shown, [here]);
}

#[test]
fn the_commands_that_build_name_targets_packages_and_tests_that_there_are() {
    let written = files().into_iter().flat_map(|file| {
        let code = inline(&file).into_iter();
        code.filter(|code| code.split(' ').any(|word| word == "make"))
            .map(move |code| (file.clone(), code))
    });
    let makefile = text("Makefile");
    let mut targets = BTreeSet::new();
    for (file, line) in commands(By::Make).into_iter().chain(written) {
        let line = line.replace('…', "x");
        let words = words(&line);
        let at = words.iter().position(|word| word == "make").unwrap();
        for setting in &words[..at] {
            let name = setting.split('=').next().unwrap();
            assert!(settings().contains(name), "{file}: {line}: {name}");
        }
        let arguments = &words[at + 1..];
        for argument in arguments {
            match argument.split_once('=') {
                Some((name, _)) => {
                    assert!(makefile.contains(&format!("$({name})")), "{file}: {line}")
                }
                None => assert!(
                    makefile.contains(&format!("\n{argument}: ")) && makefile.contains(" ## "),
                    "{file}: {line}: no target {argument}"
                ),
            }
        }
        if targets.insert(arguments.to_vec()) {
            let mut dry = Command::new("make");
            dry.arg("-n").args(arguments).current_dir(root());
            harness::run(dry.env_remove("CI").env_remove("MAKEFLAGS"));
        }
    }
    assert!(targets.len() > 10, "{targets:?}");
    let manifest = text("Cargo.toml");
    for (file, line) in commands(By::Cargo) {
        let words = words(&line);
        let behind = |flag: &str| {
            let at = words.iter().position(|word| word == flag)?;
            words.get(at + 1)
        };
        let is_there = match (behind("--test"), behind("--example")) {
            (Some(test), _) => root().join(format!("tests/{test}.rs")).exists(),
            (None, Some(example)) => {
                manifest.contains(&format!("[[example]]\nname = \"{example}\"\n"))
            }
            (None, None) => panic!("{file}: {line}: what is it?"),
        };
        assert!(is_there, "{file}: {line}");
    }
}

#[test]
fn the_commands_for_a_cluster_name_manifests_containers_and_ports_that_there_are() {
    let container = text("deploy/sidecar.yaml") + &text("deploy/container.yaml");
    let written = files().into_iter().flat_map(|file| {
        let code = inline(&file).into_iter();
        // With arguments; `kubectl exec` alone is no command.
        code.filter(|code| code.starts_with("kubectl ") && words(code).len() > 2)
            .map(move |code| (file.clone(), code))
    });
    for (file, line) in commands(By::Kubectl).into_iter().chain(written) {
        let (kubectl, inside) = match line.split_once(" -- ") {
            Some((kubectl, inside)) => (kubectl, Some(inside)),
            None => (line.as_str(), None),
        };
        let words = words(kubectl);
        let after = |flag: &str| -> Vec<&String> {
            let pairs = words.windows(2).filter(|pair| pair[0] == flag);
            pairs.map(|pair| &pair[1]).collect()
        };
        for manifest in after("-f") {
            assert!(root().join(manifest).exists(), "{file}: {line}");
        }
        for name in after("-c") {
            assert!(
                container.contains(&format!("- name: {name}\n")),
                "{file}: {line}"
            );
        }
        let verbs = [
            "create",
            "apply",
            "exec",
            "port-forward",
            "logs",
            "describe",
        ];
        let verb = words.iter().find(|word| verbs.contains(&word.as_str()));
        let verb = verb.unwrap_or_else(|| panic!("{file}: {line}: what is it?"));
        assert!(verb != "apply" || !after("-f").is_empty(), "{file}: {line}");
        if verb == "port-forward" {
            // CIM's REST port, which is on the pod's loopback, or the one that a manifest has.
            let port = words.last().unwrap();
            let declared = container.contains(&format!("containerPort: {port}}}"));
            assert!(port == "6060" || declared, "{file}: {line}");
        }
        assert_eq!(verb == "exec", inside.is_some(), "{file}: {line}");
        if let Some(inside) = inside {
            is_understood(&file, inside);
        }
    }
}

/// CIM takes the command line.
#[track_caller]
fn is_understood(file: &str, line: &str) {
    let mut words = words(line);
    words.retain(|word| word != "--help");
    assert_eq!(
        words.first().map(String::as_str),
        Some("cim"),
        "{file}: {line}"
    );
    let group = words.len() == 2;
    let parsed = cli::parse(words.iter().map(OsString::from));
    // `cim change-set` stands for its commands.
    let with_help = words.into_iter().chain(["--help".to_owned()]);
    let help = cli::parse(with_help.map(OsString::from)).map_err(|error| error.kind());
    let is_named = group && matches!(help, Err(ErrorKind::DisplayHelp));
    assert!(parsed.is_ok() || is_named, "{file}: {line}");
}

#[test]
fn cim_takes_the_commands_that_stand_within_sentences() {
    let mut count = 0;
    for file in files() {
        for code in inline(&file) {
            // A pipe into or out of it is a command for a block.
            if code.starts_with("cim ") && !code.contains(" | man") {
                is_understood(&file, &code);
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn no_exception_is_stale() {
    let written = commands(By::Elsewhere);
    for (command, _) in ELSEWHERE {
        assert!(written.iter().any(|(_, line)| line == command), "{command}");
    }
}

#[test]
#[ignore = "integration"]
fn with_etcd_the_change_of_a_configuration_works_as_written() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "sample", "--target-dir"]);
    harness::run(build.arg(target).current_dir(root()));

    let etcd = Etcd::start();
    let app = free_port();
    let written = commands(By::Elsewhere).into_iter();
    let mut start = written.filter(|(_, line)| line.ends_with(" make run"));
    let (_, start) = start.next().unwrap();
    let pairs = start.split(' ').filter_map(|word| word.split_once('='));
    let mut settings: Vec<(String, String)> = pairs
        .map(|(name, value)| {
            (
                name.into(),
                value.replace("localhost:2379", &etcd.address().to_string()),
            )
        })
        .collect();
    settings.push(("CIM_APP_URL".into(), format!("http://127.0.0.1:{app}")));
    let instead = [("localhost:2379", etcd.address().to_string())];
    let mut cim = Standalone::start(&settings, &instead);
    cim.run(&format!(
        "export ETCDCTL_API=3 ETCDCTL_ENDPOINTS={}",
        etcd.address()
    ));
    let mut sample = command(
        &target.join("debug/sample").to_string_lossy(),
        cim.dir.path(),
    );
    sample
        .env("CIM_NATS_URL", format!("nats://{}", cim.nats))
        .env("CIM_HTTP_URL", format!("http://{}", cim.http))
        .env("APP_PORT", app.to_string());
    let _sample = harness::Program::start("sample", &mut sample);
    eventually(PATIENCE, || {
        cim.run("tail -n 100 cim-data/logs/*_sample-*.log")
            .contains("number")
    });
    for (_, line) in commands(By::Etcd) {
        let said = cim.run(&line);
        if line.starts_with("etcdctl put config/") {
            let log = "tail -n 100 cim-data/logs/*_sample-*.log";
            eventually(PATIENCE, || cim.run(log).contains("configured:"));
        }
        if line.contains("--wait") {
            assert!(said.contains("success"), "{said}");
        }
        if line.starts_with("etcdctl get ") {
            eventually(PATIENCE, || cim.run(&line).ends_with("\n2\n"));
        }
    }
    end(Some(cim));
}

#[test]
#[ignore = "integration"]
fn with_python_the_smallest_client_works_as_written() {
    let mut cim = Standalone::start(&[], &[]);
    let samples = blocks("docs/applications.md").into_iter();
    let mut samples = samples.filter(|block| block.text.contains("asyncio.run("));
    let sample = cim.here(&samples.next().unwrap().text);
    std::fs::write(cim.dir.path().join("hello.py"), sample).unwrap();
    let mut said = String::new();
    for (_, line) in commands(By::Python) {
        said = cim.run(&line);
    }
    assert_eq!(said, "hello from Python\n");
}

#[test]
#[ignore = "integration"]
fn with_java_the_sample_publishes_a_line() {
    const PROGRAM: &str = r#"
import com.google.flatbuffers.FlatBufferBuilder;
import io.nats.client.*;

class Hello {
    public static void main(String[] arguments) throws Exception {
        byte[] text = "hello from Java".getBytes("UTF-8");
        Connection nc = Nats.connect(arguments[0]);
@@SAMPLE@@
        nc.flush(java.time.Duration.ofSeconds(20));
        nc.close();
    }
}
"#;
    let project = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs-java");
    let source = project.join("src/main/java");
    std::fs::create_dir_all(&source).unwrap();
    let samples = blocks("docs/applications.md").into_iter();
    let mut samples = samples.filter(|block| block.language == "java");
    let program = PROGRAM.replace("@@SAMPLE@@", &samples.next().unwrap().text);
    std::fs::write(source.join("Hello.java"), program).unwrap();
    std::fs::write(project.join("pom.xml"), text("tests/docs/java/pom.xml")).unwrap();
    let out = project.join("out");
    harness::run(
        Command::new("mvn")
            .args([
                "--quiet",
                "--batch-mode",
                "compile",
                "dependency:copy-dependencies",
            ])
            .arg(format!("-Dout={}", out.display()))
            .current_dir(&project),
    );
    let mut cim = Standalone::start(&[], &[]);
    let classes = format!("{0}/classes:{0}/libs/*", out.display());
    let mut hello = Command::new("java");
    hello
        .args(["-cp", &classes, "Hello"])
        .arg(format!("nats://{}", cim.nats));
    harness::run(&mut hello);
    let said = cim.run("cat cim-data/logs/*_billing-*.log");
    assert_eq!(said, "hello from Java\n");
}

#[test]
fn every_sample_is_code_of_the_examples_and_every_document_in_json_or_yaml_can_be_read() {
    let mut seen = BTreeSet::new();
    for block in files().iter().flat_map(|file| blocks(file)) {
        let (at, code) = (format!("{}, {}", block.file, block.section), &block.text);
        let is_part_of =
            |file: &str| assert!(text(file).contains(code.as_str()), "{at}: not in {file}");
        match block.language.as_str() {
            // With whole programs: with_python_….
            "python" if code.contains("asyncio.run(") => {}
            "python" => is_part_of("examples/python/app.py"),
            "go" => is_part_of("examples/go/main.go"),
            // with_java_….
            "java" => {}
            "json" => {
                let read: Result<serde_json::Value, _> = serde_json::from_str(code);
                assert!(read.is_ok(), "{at}: {read:?}");
            }
            "yaml" => is_a_good_annotation(&at, code),
            "sh" => {}
            "text" => {
                let programs = [
                    "make ",
                    "cargo ",
                    "curl ",
                    "kubectl ",
                    "etcdctl ",
                    "cim emit ",
                    "$ ",
                ];
                let typed = programs
                    .iter()
                    .any(|program| code.lines().any(|line| line.starts_with(program)));
                assert!(!typed, "{at}: commands are in a block of sh: {code}");
            }
            other => {
                panic!("{at}: a block in {other:?}: sh, text, json, yaml, python, go or java?")
            }
        }
        let plain = block.file.starts_with("tests/");
        assert!(
            block.fenced || plain,
            "{at}: a block without a fence that says what it is"
        );
        seen.insert(block.language);
    }
    assert!(seen.len() > 5, "{seen:?}");
}

/// An annotation of the pod that CIM reads without a warning.
fn is_a_good_annotation(at: &str, code: &str) {
    let documents = yaml_rust2::YamlLoader::load_from_str(code).unwrap();
    let (name, value) = documents[0].as_hash().unwrap().front().unwrap();
    let (name, value) = (name.as_str().unwrap(), value.as_str().unwrap());
    let pod = serde_json::json!({"metadata": {"name": "p", "annotations": {name: value}}});
    let pod = Pod::parse(pod.to_string().as_bytes()).unwrap();
    let environment = Identity::resolve(&Names::default(), &Host::default()).0;
    let (identity, warnings) = environment.with_pod(&pod);
    assert_eq!(warnings, Vec::<String>::new(), "{at}");
    assert!(identity.mmaas.is_some(), "{at}");
}

/// The file of users as it stands there, with a password in the environment.
struct Users(String);

impl Sources for Users {
    fn file(&self, _: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "OPS_PASSWORD").then(|| "secret".into())
    }
}

#[test]
fn the_users_in_the_documents_can_log_in() {
    let shown = blocks("docs/nats.md").into_iter();
    let mut shown = shown.filter(|block| block.text.starts_with("authorization {"));
    let users = Users(shown.next().unwrap().text);
    let read = Authorization::read(Path::new("users.conf"), &users).unwrap();
    assert_eq!(read.users.len(), 2);
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for file in files() {
        let folder = Path::new(&file).parent().unwrap();
        for link in links(&file) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => PathBuf::from(&file),
                _ => folder.join(path),
            };
            assert!(root().join(&target).exists(), "{file}: {link}");
            if !anchor.is_empty() {
                let anchors = anchors(&target.to_string_lossy());
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{file}: {link}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    // What the program itself sends its users to.
    for (path, source) in sources() {
        for page in source.split("docs/").skip(1) {
            let end = page.find(".md").map_or(0, |end| end + 3);
            let page = &page[..end.min(30)];
            let is_there = root().join("docs").join(page).exists();
            assert!(
                !page.ends_with(".md") || is_there,
                "{}: docs/{page}",
                path.display()
            );
        }
    }
    // Each page is one that README knows.
    let readme = text("README.md");
    for file in files() {
        let page = file.starts_with("docs/");
        assert!(
            !page || readme.contains(&format!("({file})")) || readme.contains(&format!("({file}#")),
            "{file}"
        );
    }
}

#[test]
fn every_file_in_the_documents_is_there() {
    let folders = [
        "deploy/",
        "docs/",
        "examples/",
        "src/",
        "tests/",
        "threads/",
    ];
    let mut count = 0;
    for file in files() {
        for code in inline(&file) {
            let is_path = folders.iter().any(|folder| code.starts_with(folder));
            if is_path && !code.contains(['*', '<', ' ']) {
                assert!(root().join(&code).exists(), "{file}: {code}");
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count}");
}

fn settings() -> BTreeSet<String> {
    let shown = options::resolve(&Given::default()).shown.into_iter();
    shown.map(|setting| setting.name).collect()
}

/// What stands in `src/`, `threads/` and `deploy/`.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![
        root().join("src"),
        root().join("threads"),
        root().join("deploy"),
    ];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 100);
    found
}

#[test]
fn every_setting_and_series_in_the_documents_is_one_that_cim_has() {
    let sources = sources();
    let known = settings();
    // Of the sample applications: where CIM is, and their code.
    let of_examples = ["CIM_HTTP_URL", "cim_generated"];
    let cim = Standalone::start(&[], &[]);
    let metrics = support::http::get(cim.http, "/metrics").text();
    let mut count = 0;
    for file in files().iter().filter(|file| !file.starts_with("tests/")) {
        let text = text(file);
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            let series = word.starts_with("cim_") || word.starts_with("Total_");
            if of_examples.contains(&word) {
                continue;
            }
            if word.starts_with("CIM_") {
                assert!(known.contains(word), "{file}: {word}");
                count += 1;
            } else if series && !word.ends_with('_') {
                let is_there = sources.iter().any(|(_, text)| text.contains(word));
                assert!(is_there || metrics.contains(word), "{file}: {word}");
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_documents_and_the_help_have_the_same_exit_codes() {
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
    let document = text("docs/commands.md");
    let of_document: Vec<u8> = document
        .lines()
        .skip_while(|line| !line.starts_with("| exit code |"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(of_help, of_document);
    assert!(of_help.len() > 3);
}

#[test]
fn every_guarantee_names_tests_that_there_are() {
    let readme = text("README.md");
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
            let source = text(word);
            for name in names.drain(..) {
                let is_there = source.contains(&format!("fn {name}("));
                assert!(is_there, "{guarantee}: no {name} in {word}");
            }
        }
        assert!(names.is_empty(), "{guarantee}: {names:?} in no file");
    }
}
