//! The command `cim`. Only this file ends the process.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use cim::chain::chain;
use cim::cli::{
    self, Action, Exit, change_set, check, doctor, emit, health, history, journal, spool,
    start::Start, status, tail, terminal,
};
use cim::daemon::{Daemon, End};
use cim::identity::Host;
use cim::options::Given;
use cim::settings::problem::escaped;
use cim::threads::probes;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Action::Run(given)) => match Start::prepare(&given) {
            Ok(start) => run(start),
            Err(e) => {
                complain(&e);
                code(e.exit())
            }
        },
        Ok(Action::Check(given)) => {
            let report = check::check(&given, &Host::read());
            // A reader that has gone away has seen enough.
            let _ = std::io::stdout().write_all(report.text.as_bytes());
            code(if report.good {
                Exit::Done
            } else {
                Exit::Failed
            })
        }
        Ok(Action::Doctor(given, json)) => examine(&given, json),
        Ok(Action::Emit(args)) => {
            let lost = |error: emit::EmitError| {
                terminal::clear_line();
                complain(&error);
                // The client still waits for its PONG on the main thread, and would for ever.
                std::process::exit(i32::from(error.exit() as u8));
            };
            ended(emit::run(&args, lost), emit::EmitError::exit)
        }
        Ok(Action::Tail(args)) => ended(tail::run(&args), tail::TailError::exit),
        Ok(Action::History(args)) => ended(history::run(&args), history::HistoryError::exit),
        Ok(Action::Health(args)) => ended(health::run(&args), health::HealthError::exit),
        Ok(Action::Status(args)) => answered(status::run(&args), status::StatusError::exit),
        Ok(Action::Journal(args)) => {
            answered(journal::run(&args, &mut std::io::stdout().lock()), |_| {
                Exit::Failed
            })
        }
        Ok(Action::Spool(args)) => ended(spool::run(&args, &mut std::io::stdout().lock()), |_| {
            Exit::Failed
        }),
        Ok(Action::ChangeSet(args)) => answered(
            change_set::run(&args, &mut std::io::stdout().lock()),
            change_set::ChangeSetCliError::exit,
        ),
        Ok(Action::Print(text)) => {
            // A reader that has gone away has seen enough.
            let _ = std::io::stdout().write_all(&text);
            code(Exit::Done)
        }
        Err(e) => {
            // Help and version go to standard output, mistakes to standard error.
            let _ = e.print();
            ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(Exit::Usage as u8))
        }
    }
}

fn run(start: Start) -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !cim::kafka::is_caught(panic) {
            usual(panic);
        }
    }));
    let logs = start.options.paths.log_dir.display().to_string();
    match Daemon::start(start) {
        Ok(daemon) => {
            let version = env!("CARGO_PKG_VERSION");
            let (nats, rest) = (&daemon.nats, daemon.rest);
            // Nobody may be reading: that is no reason not to run.
            let _ = writeln!(
                std::io::stdout(),
                "cim {version}: NATS on {nats}, HTTP on {rest}, logs in {logs}"
            );
            code(match daemon.run() {
                End::InOrder => Exit::Done,
                End::Failed => Exit::Broken,
            })
        }
        Err(e) => {
            complain(&e);
            code(Exit::Failed)
        }
    }
}

fn examine(given: &Given, json: bool) -> ExitCode {
    let mut findings = Vec::new();
    let mut out = std::io::stdout();
    let style = terminal::Style::of_stdout();
    // A reader that has gone away has seen enough; the exit code is for others.
    probes::run(doctor::probes(given, &Host::read()), |finding| {
        if !json {
            let _ = out.write_all(doctor::line(&finding, style).as_bytes());
        }
        findings.push(finding);
    });
    let text = match json {
        true => doctor::as_json(&findings),
        false => doctor::verdict(&findings),
    };
    let _ = out.write_all(text.as_bytes());
    code(match doctor::is_good(&findings) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn ended<E: Error>(result: Result<(), E>, exit: impl Fn(&E) -> Exit) -> ExitCode {
    answered(result.map(|()| true), exit)
}

/// With false the command has done what it was asked, and the answer is no.
fn answered<E: Error>(result: Result<bool, E>, exit: impl Fn(&E) -> Exit) -> ExitCode {
    match result {
        Ok(true) => code(Exit::Done),
        Ok(false) => code(Exit::Failed),
        Err(error) => {
            complain(&error);
            code(exit(&error))
        }
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

/// The whole chain of causes on standard error. Texts of others may be in it: they move no cursor.
fn complain(error: &dyn Error) {
    let text = chain(error);
    let lines: Vec<_> = text.lines().map(escaped).collect();
    let _ = writeln!(std::io::stderr(), "cim: {}", lines.join("\n"));
}
