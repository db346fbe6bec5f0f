//! Runs suites of Go tests, written against nats-server's package, with a server outside: fetches the modules at their versions, patches
//! nats-server's so that its `Server` is a process (outside.go), builds, runs within time limits, and compares with the exclusions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::{front, run};

/// One suite.
pub struct Suite {
    /// Its name, for its log.
    pub name: &'static str,
    /// Where its folder `test` is.
    pub module: Module,
    /// Files of it: `NAME_test.go`.
    pub files: &'static str,
    /// See the files in `exclusions/`.
    pub exclusions: &'static str,
    /// Time for one test.
    pub test_time: Duration,
    /// Time for all of them.
    pub time: Duration,
}

/// A Go module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Module {
    path: &'static str,
    version: &'static str,
}

pub const NATS_SERVER: Module = Module {
    path: "github.com/nats-io/nats-server/v2",
    version: "v2.12.1",
};
/// Later versions need a nats-server of their own.
pub const NATS_GO: Module = Module {
    path: "github.com/nats-io/nats.go",
    version: "v1.48.0",
};

/// What takes the place of the methods below.
const OUTSIDE: &str = include_str!("outside.go");
/// Functions of nats-server's package `server` that are renamed, and their files.
const RENAMED: [(&str, &str); 11] = [
    ("server.go", "(s *Server) Start("),
    ("server.go", "(s *Server) Shutdown("),
    ("server.go", "(s *Server) ReadyForConnections("),
    ("server.go", "(s *Server) Addr("),
    ("server.go", "(s *Server) NumClients("),
    ("server.go", "(s *Server) NumSubscriptions("),
    ("server.go", "(s *Server) NumSlowConsumers("),
    ("monitor.go", "(s *Server) Varz("),
    ("monitor.go", "(s *Server) Connz("),
    ("reload.go", "(s *Server) Reload("),
    ("opts.go", "GenTLSConfig("),
];

/// Suites use fixed ports, and both CPUs: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Failed tests that may try again: more than so many are no accident.
const TRIED_AGAIN: usize = 3;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Skip,
    Fail,
}

/// Everything that is not excluded must pass.
pub fn passes(suite: &Suite) {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let front = front();
    let server = patched_server();
    let (binary, folder) = built(suite, &server);
    let names = names(suite, &folder);
    let excluded = excluded(suite, &names);
    let only = std::env::var("ONLY").ok();
    let is_wanted = |name: &&str| match &only {
        Some(only) => name.contains(only.as_str()),
        None => !excluded.contains(name),
    };
    let wanted: Vec<&str> = names.iter().map(String::as_str).filter(is_wanted).collect();

    let started = Instant::now();
    let log_path = work().join(format!("{}.log", suite.name));
    let mut run = Run {
        suite,
        binary: &binary,
        folder: &folder,
        front: &front,
        end: started + suite.time,
        log: File::create(&log_path).unwrap(),
        verdicts: BTreeMap::new(),
    };
    let left = run.all(wanted.clone());
    // Some measure tens of milliseconds, which a busy machine does not have: a few may try again, while nothing else runs.
    let failed = |run: &Run<'_>| -> Vec<&str> {
        let is_bad = |name: &&str| run.verdicts.get(*name) == Some(&Verdict::Fail);
        wanted.iter().copied().filter(is_bad).collect()
    };
    let again = failed(&run);
    if (1..=TRIED_AGAIN).contains(&again.len()) {
        println!("{}: once more {again:?}", suite.name);
        run.verdicts.retain(|_, verdict| *verdict != Verdict::Fail);
        run.all(again);
    }
    let verdicts = &run.verdicts;
    let count = |wanted| {
        verdicts
            .values()
            .filter(|&&verdict| verdict == wanted)
            .count()
    };
    println!(
        "{}: {} passed, {} skipped, {} failed, {} not reached, {} excluded, {} s",
        suite.name,
        count(Verdict::Pass),
        count(Verdict::Skip),
        count(Verdict::Fail),
        left.len(),
        excluded.len(),
        started.elapsed().as_secs()
    );
    let bad = |name: &&&str| !matches!(verdicts.get(**name), Some(Verdict::Pass | Verdict::Skip));
    let bad: Vec<&&str> = wanted.iter().filter(bad).collect();
    assert!(
        bad.is_empty(),
        "{} of {} failed, see {}: {bad:?}",
        bad.len(),
        suite.name,
        log_path.display()
    );
}

/// Where everything is kept between runs.
fn work() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A copy of the module that may be written to; `patch` changes it before it counts as whole.
fn copy(module: Module, key: &str, patch: impl FnOnce(&Path)) -> PathBuf {
    let name = module
        .path
        .trim_end_matches("/v2")
        .rsplit('/')
        .next()
        .unwrap();
    let dir = work().join(format!("{name}-{}{key}", module.version));
    if dir.exists() {
        return dir;
    }
    let output = Command::new("go")
        .args(["mod", "download", "-json"])
        .arg(format!("{}@{}", module.path, module.version))
        .env("GOFLAGS", "-mod=mod")
        .current_dir(work())
        .output()
        .expect("go is missing: `make integration-test` says how to get it, or goes without");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let source = answer["Dir"]
        .as_str()
        .unwrap_or_else(|| panic!("{} cannot be fetched: {answer}", module.path));
    let part = dir.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    run(Command::new("cp").args(["-r", source]).arg(&part));
    run(Command::new("chmod").args(["-R", "u+w"]).arg(&part));
    patch(&part);
    fs::rename(&part, &dir).unwrap();
    dir
}

/// nats-server's module, whose `Server` is outside.
fn patched_server() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (OUTSIDE, RENAMED).hash(&mut hasher);
    copy(NATS_SERVER, &format!("-{:016x}", hasher.finish()), |dir| {
        let dir = dir.join("server");
        for (file, function) in RENAMED {
            let text = fs::read_to_string(dir.join(file)).unwrap();
            let (receiver, name) = function.rsplit_once(' ').unwrap_or(("", function));
            let old = format!("\nfunc {function}");
            let new = format!("\nfunc {receiver} inside{name}");
            assert_eq!(text.matches(&old).count(), 1, "{function} in {file}");
            fs::write(dir.join(file), text.replace(&old, &new)).unwrap();
        }
        fs::write(dir.join("outside.go"), OUTSIDE).unwrap();
    })
}

/// The suite as one program, and the folder that it runs in.
fn built(suite: &Suite, server: &Path) -> (PathBuf, PathBuf) {
    let mut build = Command::new("go");
    build.arg("test");
    let source = if suite.module == NATS_SERVER {
        server.to_owned()
    } else {
        let source = copy(suite.module, "", |_| ());
        // The suite's own list of modules, with nats-server's from here.
        let list = work().join(format!("{}.mod", suite.name));
        fs::copy(source.join("go_test.mod"), &list).unwrap();
        fs::copy(source.join("go_test.sum"), list.with_extension("sum")).unwrap();
        let replace = format!("-replace={}={}", NATS_SERVER.path, server.display());
        run(Command::new("go")
            .args(["mod", "edit", &replace])
            .arg(&list));
        build
            .arg("-mod=mod")
            .arg(format!("-modfile={}", list.display()));
        source
    };
    let binary = work().join(format!("{}.test", suite.name));
    // Go's own cache knows what has changed.
    run(build
        .args(["-c", "-o"])
        .arg(&binary)
        .arg("./test")
        .current_dir(&source));
    (binary, source.join("test"))
}

/// The tests in the files of the suite, in their order.
fn names(suite: &Suite, folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for file in suite.files.split_whitespace() {
        let text = fs::read_to_string(folder.join(format!("{file}_test.go"))).unwrap();
        let tests = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("func ")?.split_once('(')?;
            (name.starts_with("Test") && rest.starts_with("t *testing.T")).then(|| name.to_owned())
        });
        names.extend(tests);
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

/// Those that are left out. Each line of the list is for at least one test and says why.
fn excluded<'a>(suite: &Suite, names: &'a [String]) -> BTreeSet<&'a str> {
    let mut excluded = BTreeSet::new();
    for line in suite
        .exclusions
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (pattern, reason) = line
            .split_once('#')
            .unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(!reason.trim().is_empty(), "no reason: {line}");
        let pattern = pattern.trim();
        let is_meant = |name: &&String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name.as_str() == pattern,
        };
        let before = excluded.len();
        excluded.extend(names.iter().filter(is_meant).map(String::as_str));
        assert!(
            excluded.len() > before,
            "{pattern} is no test, or is there twice"
        );
    }
    excluded
}

/// A command that runs what its arguments say where no port is taken, if that is allowed.
fn apart() -> Option<Command> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("-r");
        }
        unshare.args(["-n", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-c"]);
        unshare
    };
    let mut probe = unshare();
    probe.arg("ip link set lo up").stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        println!(
            "no network of their own for the suites: their ports, 4222 and 8222 and others, must be free"
        );
        return None;
    }
    let mut command = unshare();
    // The shell stays: what its end leaves behind in the namespace ends with it.
    command.args(["ip link set lo up; \"$@\"; exit $?", "sh"]);
    Some(command)
}

/// A suite under way.
struct Run<'a> {
    suite: &'a Suite,
    binary: &'a Path,
    folder: &'a Path,
    front: &'a Path,
    end: Instant,
    log: File,
    verdicts: BTreeMap<String, Verdict>,
}

impl Run<'_> {
    /// Runs the tests, in further processes when one ends; returns those that were not reached.
    fn all<'n>(&mut self, names: Vec<&'n str>) -> Vec<&'n str> {
        let mut left = names;
        while !left.is_empty() && Instant::now() < self.end {
            self.process(&left);
            left.retain(|name| !self.verdicts.contains_key(*name));
        }
        left
    }

    /// Runs the tests in one process until it ends, or one of them takes too long.
    fn process(&mut self, names: &[&str]) {
        let (suite, end) = (self.suite, self.end);
        let (log, verdicts) = (&mut self.log, &mut self.verdicts);
        let mut command = match apart() {
            Some(mut command) => {
                command.arg(self.binary);
                command
            }
            None => Command::new(self.binary),
        };
        let temporary = tempfile::tempdir().unwrap();
        command
            .args(["-test.v=test2json", "-test.timeout=0", "-test.run"])
            .arg(format!("^({})$", names.join("|")))
            .current_dir(self.folder)
            .env("NATS_FRONT", self.front)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().unwrap())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = super::harness::lines(child.stdout.take().unwrap());
        let mut current: Option<String> = None;
        let mut hung = false;
        loop {
            let limit = suite
                .test_time
                .min(end.saturating_duration_since(Instant::now()));
            let line = match lines.recv_timeout(limit) {
                Ok(line) => line,
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    hung = true;
                    break;
                }
            };
            writeln!(log, "{line}").unwrap();
            // A test that prints without a line end is no reason to miss its verdict.
            let mark = line.rsplit('\x16').next().unwrap_or_default();
            if let Some(name) = mark.strip_prefix("=== RUN ").map(str::trim) {
                if !name.contains('/') {
                    current = Some(name.to_owned());
                }
                continue;
            }
            for (start, verdict) in [
                ("--- PASS: ", Verdict::Pass),
                ("--- SKIP: ", Verdict::Skip),
                ("--- FAIL: ", Verdict::Fail),
            ] {
                let name = mark
                    .strip_prefix(start)
                    .and_then(|rest| rest.split(' ').next());
                if let Some(name) = name.filter(|name| !name.contains('/')) {
                    verdicts.insert(name.to_owned(), verdict);
                    current = None;
                }
            }
        }
        // Whatever is left of it, its servers too.
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let status = child.wait().unwrap();
        let guilty = current.or_else(|| {
            let none = !names.iter().any(|name| verdicts.contains_key(*name));
            none.then(|| names.first().map(|name| (*name).to_owned()))
                .flatten()
        });
        if let Some(name) = guilty {
            let why = if hung {
                "takes too long"
            } else {
                "has ended the tests"
            };
            writeln!(log, "{name} {why}: {status}").unwrap();
            verdicts.insert(name, Verdict::Fail);
        }
    }
}
