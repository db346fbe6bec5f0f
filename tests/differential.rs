//! nats-server and CIM's embedded server get the same random and mutated bytes, cut anywhere, and must answer the same: tests/suites/README.md.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

#[path = "differential/answers.rs"]
mod answers;
#[path = "differential/generate.rs"]
mod generate;
#[path = "clients/harness.rs"]
mod harness;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/random.rs"]
mod random;
#[path = "differential/servers.rs"]
mod servers;
#[path = "differential/session.rs"]
mod session;
#[path = "differential/shrink.rs"]
mod shrink;
#[path = "differential/stream.rs"]
mod stream;
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use play::{Player, Record};
use random::Random;
use servers::{CONFIGS, Config, Server};
use session::Session;
use support::nats_server;

/// Sessions that were answered differently once.
const KEPT: &str = include_str!("differential/kept.txt");
/// Where the random sessions begin unless `DIFFERENTIAL_SEED` says otherwise: `make integration-test` is to say the same each time.
const SEED: u64 = 1;
/// Time for them unless `DIFFERENTIAL_SECONDS` does.
const SECONDS: u64 = 20;
/// Time after which a step counts as silent.
const PATIENCE: Duration = Duration::from_millis(30);
/// The same when the answers have differed: a busy machine is no difference.
const MORE_PATIENCE: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];
/// Sessions that the search for a smaller one may play.
const TRIES: usize = 600;
/// Time for it.
const SHRINK_TIME: Duration = Duration::from_secs(8);
/// Differences to report before the test gives up.
const DIFFERENCES: usize = 3;

/// The two servers with one configuration.
struct Pair {
    real: Player,
    ours: Player,
    _servers: [Server; 2],
}

impl Pair {
    fn start(real: &Path, ours: &Path, config: Config) -> Self {
        let servers = [("nats-server", real), ("ours", ours)];
        let servers = servers.map(|(who, program)| Server::start(who, program, config));
        Self {
            real: Player::new(servers[0].address, config),
            ours: Player::new(servers[1].address, config),
            _servers: servers,
        }
    }

    fn play(&mut self, session: &Session, patience: Duration) -> Option<(Record, Record)> {
        let real = self.real.play(session, patience);
        let ours = self.ours.play(session, patience);
        (!answers::are_same(session, &real, &ours)).then_some((real, ours))
    }

    /// The answers, when they are different and stay so.
    fn difference(&mut self, session: &Session) -> Option<(Record, Record)> {
        self.play(session, PATIENCE)?;
        let mut found = None;
        for patience in MORE_PATIENCE {
            found = Some(self.play(session, patience)?);
        }
        found
    }

    /// What there is to say about the answers to `session`, when they are different.
    fn complaint(&mut self, session: &Session, name: &str) -> Option<String> {
        let (real, ours) = self.difference(session)?;
        let whole = answers::report(session, &real, &ours);
        let start = Instant::now();
        let smallest = shrink::shrink(session, TRIES, |session| {
            start.elapsed() < SHRINK_TIME
                && self.play(session, PATIENCE).is_some()
                && self.play(session, MORE_PATIENCE[0]).is_some()
        });
        let smallest_answers = match self.difference(&smallest) {
            Some((real, ours)) => answers::report(&smallest, &real, &ours),
            None => "(not different any more)\n".to_owned(),
        };
        Some(format!(
            "==== {name}\n{session}{whole}---- smallest\n{smallest}{smallest_answers}"
        ))
    }
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
#[ignore = "integration"]
fn with_go_byte_streams_are_answered_as_nats_server_answers_them() {
    let real = nats_server::program()
        .expect("go is missing: `make integration-test` says how to get it, or goes without");
    let ours = harness::front();
    let (seed, time) = (
        number("DIFFERENTIAL_SEED", SEED),
        Duration::from_secs(number("DIFFERENTIAL_SECONDS", SECONDS)),
    );
    let kept: Vec<Session> = KEPT
        .split("\n\n")
        .filter(|text| text.contains("@ "))
        .map(Session::parse)
        .collect();
    let (played, complaints) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for config in CONFIGS {
            let (real, ours, kept) = (&real, &ours, &kept);
            let (played, complaints, is_over) = (&played, &complaints, &is_over);
            scope.spawn(move || {
                let mut pair = Pair::start(real, ours, config);
                let kept = kept.iter().filter(|session| session.config == config);
                let kept = kept.map(|session| ("kept".to_owned(), session.clone()));
                let mut seeds = Random::new(seed ^ (config as u64) << 56);
                let random = std::iter::from_fn(|| {
                    let seed = seeds.number();
                    let session = generate::session(config, seed);
                    Some((format!("seed {seed:#x}"), session))
                });
                for (name, session) in kept.chain(random) {
                    let is_kept = name == "kept";
                    if is_over.load(Ordering::Relaxed) || (!is_kept && start.elapsed() > time) {
                        break;
                    }
                    if let Some(complaint) = pair.complaint(&session, &name) {
                        println!("{complaint}");
                        if complaints.fetch_add(1, Ordering::Relaxed) + 1 >= DIFFERENCES {
                            is_over.store(true, Ordering::Relaxed);
                        }
                    }
                    played.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (played, complaints) = (played.into_inner(), complaints.into_inner());
    println!(
        "{played} sessions (the kept {} among them) of seed {seed} in {} s, {complaints} answered differently",
        kept.len(),
        start.elapsed().as_secs()
    );
    assert_eq!(complaints, 0, "of {played} sessions, see above");
    assert!(played > kept.len());
}
