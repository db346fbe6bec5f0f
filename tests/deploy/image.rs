//! The image without a container engine: the files that the Dockerfile and the Makefile name, and CIM in the file system that it would have.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cim::cli::{self, Action};
use rustix::process::{Pid, Signal, getuid, kill_process};

use super::manifest::text;
use crate::support::{Cim, NatsWire, Options, cim as running};

/// The user of the image.
pub const USER: u32 = 10001;

/// The arguments of an instruction of the Dockerfile, joined lines as one.
fn instructions(name: &str) -> Vec<String> {
    let dockerfile = text("Dockerfile").replace("\\\n", " ");
    let lines = dockerfile.lines();
    let arguments = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    arguments.map(str::to_owned).collect()
}

#[test]
fn the_dockerfile_names_targets_and_files_that_are_there() {
    let makefile = text("Makefile");
    for run in instructions("RUN") {
        let mut words = run.split_whitespace();
        assert_eq!(
            words.next(),
            Some("make"),
            "what is built is in the Makefile: {run}"
        );
        let target = words.next().unwrap();
        assert!(makefile.contains(&format!("\n{target}: ")), "make {target}");
    }
    // What the build stage gets is all that its steps read.
    let (_, sent) = makefile.split_once("tar -c ").unwrap();
    let sent: Vec<_> = sent
        .split(" | ")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    for path in &sent {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
            "{path}"
        );
    }
    for needed in [
        "Cargo.lock",
        "LICENSE",
        "Makefile",
        "deploy",
        "src",
        "threads",
        "tests",
    ] {
        assert!(sent.contains(&needed), "{needed}");
    }
    let user = USER.to_string();
    assert!(text("deploy/image-root.sh").contains(&format!("\nuser={user}\n")));
    assert_eq!(instructions("USER"), [format!("{user}:{user}")]);
    assert!(instructions("COPY")[1].ends_with("/cim/target/image-root/ /"));
    let from = instructions("FROM");
    assert_eq!(from.last().unwrap(), "scratch", "no shell");
}

/// `["a", "b"]`: without a shell only this form can be run.
fn command_line(json: &str) -> Vec<OsString> {
    let words: Vec<String> = serde_json::from_str(json).expect("the form without a shell");
    words.into_iter().map(OsString::from).collect()
}

#[test]
fn the_image_starts_cim_and_asks_it_how_it_is() {
    let entry = command_line(&instructions("ENTRYPOINT")[0]);
    assert_eq!(entry, ["/usr/local/bin/cim"]);
    assert!(matches!(cli::parse(entry), Ok(Action::Run(_))));
    let check = &instructions("HEALTHCHECK")[0];
    let check = command_line(check.split_once("CMD ").unwrap().1);
    assert!(matches!(cli::parse(check), Ok(Action::Health(_))));
    let labels = &instructions("LABEL")[0];
    for label in [
        "title",
        "description",
        "licenses",
        "version",
        "revision",
        "created",
    ] {
        assert!(
            labels.contains(&format!("org.opencontainers.image.{label}=")),
            "{label}"
        );
    }
}

#[track_caller]
fn health(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cim"))
        .arg("health")
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn health_says_whether_cim_works_and_which_part_is_missing() {
    let mut cim = Cim::start(Options::new());
    let server = cim.http.to_string();
    assert_eq!(health(&["--server", &server]), (Some(0), String::new()));
    assert_eq!(
        health(&["--ready", "--server", &server]),
        (Some(0), String::new())
    );
    cim.kill9();
    let (code, said) = health(&["--server", &server]);
    assert_eq!(code, Some(3));
    assert!(said.contains("no answer from"), "{said}");
    // The external server is not there.
    let cim = Cim::start(Options::new().env("CIM_NATS_URL", "nats://127.0.0.1:1"));
    let server = cim.http.to_string();
    assert_eq!(
        health(&["--server", &server]).0,
        Some(0),
        "it works all the same"
    );
    let (code, said) = health(&["--ready", "--server", &server]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("cim: not ready: nats: "), "{said}");
}

#[test]
#[ignore = "integration"]
fn with_hadolint_the_dockerfile_has_no_fault() {
    let output = Command::new("hadolint")
        .arg("Dockerfile")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("hadolint is missing: `make integration-test` says how to get it, or goes without");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// A program in the image's file system, as its user where this process may say so.
fn within(root: &Path) -> Command {
    let mut command = match getuid().is_root() {
        true => {
            let mut command = Command::new("chroot");
            command.arg(format!("--userspec={USER}:{USER}"));
            command
        }
        false => {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "chroot"]);
            command
        }
    };
    command
        .arg(root)
        .arg("/usr/local/bin/cim")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("K8S_POD_ID", "p")
        .env("K8S_NAMESPACE", "n")
        .env("CIM_NATS_PORT", "0")
        .env("CIM_REST_PORT", "0")
        .stdin(Stdio::null());
    command
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every file below `folder`, with when its content or its name last changed.
fn files(folder: &Path, found: &mut BTreeMap<PathBuf, (i64, i64)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            files(&path, found);
        }
        found.insert(path, (metadata.ctime(), metadata.ctime_nsec()));
    }
}

#[test]
#[ignore = "integration"]
fn with_chroot_cim_works_in_the_images_file_system_and_writes_to_its_volume_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let made = Command::new("deploy/image-root.sh")
        .arg(env!("CARGO_BIN_EXE_cim"))
        .arg(&root)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let listed = || {
        let mut found = BTreeMap::new();
        files(&root, &mut found);
        found.retain(|path, _| !path.starts_with(root.join("opt/logs")));
        found
    };
    let before = listed();
    assert!(!before.keys().any(|path| path.ends_with("sh")), "no shell");

    let child = within(&root).stdout(Stdio::piped()).spawn().unwrap();
    let mut cim = Ended(child);
    let mut line = String::new();
    let mut stdout = BufReader::new(cim.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let (nats, http, logs) = running::addresses(line.trim_end()).expect("the first line");
    assert_eq!(logs, Path::new("/opt/logs"));
    let healthy = within(&root)
        .args(["health", "--ready"])
        .env("CIM_REST_PORT", http.port().to_string())
        .status();
    assert_eq!(healthy.unwrap().code(), Some(0));
    let mut wire = NatsWire::connect(nats);
    wire.publish_log("app", "1", b"a line");
    wire.ping_pong();
    let file = root.join("opt/logs/p_n_app-1.log");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "a line\n");
    kill_process(Pid::from_child(&cim.0), Signal::TERM).unwrap();
    let status = running::wait(&mut cim.0, Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(listed(), before, "the root file system may be read-only");
}
