//! The command line: `cim` is `cim run`.

pub mod change_set;
pub mod check;
mod client;
pub mod complete;
pub mod doctor;
pub mod emit;
mod filter;
pub mod health;
pub mod history;
pub mod journal;
mod operations;
mod show;
pub mod spool;
pub mod start;
pub mod status;
pub mod tail;
pub mod terminal;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::options::{Given, OptionArgs};
use change_set::ChangeSetArgs;
use complete::CompletionArgs;
use doctor::DoctorArgs;
use emit::EmitArgs;
use health::HealthArgs;
use history::HistoryArgs;
use journal::JournalArgs;
use spool::SpoolArgs;
use status::StatusArgs;
use tail::TailArgs;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `run`: stopped in order, everything accepted is stored.
    Done = 0,
    /// The answer is no: CIM could not start (an address in use, …), a look found something bad, a change set failed, an input or
    /// output cannot be used.
    Failed = 1,
    /// A command line or a setting that cannot be used. clap's own code for it.
    Usage = 2,
    /// Nobody answers: no CIM; for `change-set` no etcd.
    NoServer = 3,
    /// The connection was lost; what was published last may not be stored.
    Lost = 4,
    /// What was waited for did not come in time.
    TimedOut = 5,
    /// `run`: a thread of CIM ended unasked or not in time; the reason is on standard error.
    Broken = 70,
}

const EXAMPLES: &str = "\
Examples:
  cim                                 in a pod: as configured; elsewhere: files under ./cim-data
  cim --nats-port 0 --rest-port 0     on free ports, printed at the start
  CIM_LOG_DIR=/tmp/logs cim           every flag is an environment variable too; the flag wins
  cim check                           what `cim run` would use, and where each value comes from
  cim check --conf-file new/cim.json  is this file good?
  cim emit log hello                  a log line; ends when CIM has dealt with it
  cim emit event LinkUp -a port=3     an event, as an application raises it
  cim tail LOG --level warning        what applications log, as it passes, from this level on
  cim status                          is it ready, what is connected, what passes, what waits
  cim doctor                          is all that CIM needs there, and what to do if not
  cim change-set put --wait p.json    a change set, as CMaaS puts it, and what becomes of it
  cim history                         the last change sets, and what became of them
  cim health                          does it work? For health checks
  cim journal list                    the events that are stored and not yet delivered
  cim spool                           the log lines that are stored and not yet sent
  . <(cim completions bash)           the shell knows commands and options

Signals:
  SIGHUP            reads cim.json and common-infra.json again, all or nothing, and the certificates of the NATS server; logs what changed
  SIGTERM, SIGINT   stores what was accepted and stops

Exit codes, the same for every command:
  0   done; `run` stopped in order; all good
  1   the answer is no: could not start; something bad was found; a change set failed; bad input
  2   a command line or setting that cannot be used
  3   nobody answers: no CIM; `change-set`: no etcd
  4   the connection was lost; what was published last may not be stored
  5   what was waited for did not come in time
  70  a part of CIM failed while it ran; the reason is on standard error

`cim run --help` lists every setting.";

/// CIM, the Container Interface Module: the sidecar that is the pod's NATS server and writes the log lines published to it
/// into rotating files. Without a command it runs.
#[derive(Parser)]
#[command(
    name = "cim",
    version,
    override_usage = "cim [COMMAND]\n       cim [OPTIONS OF run]",
    after_help = EXAMPLES,
    max_term_width = 120,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the sidecar until SIGTERM or SIGINT [default]
    Run(Box<OptionArgs>),
    /// Check all settings and print what is in force and from where; exit 1 on an error
    Check(Box<OptionArgs>),
    /// Look whether what CIM needs is there (etcd, Kafka, ports, directories, rights, …), and say what to do; exit 1 when not
    Doctor(Box<DoctorArgs>),
    /// Publish to a running CIM as an application would
    Emit(EmitArgs),
    /// Print what passes on a subject of a running CIM
    Tail(TailArgs),
    /// Print the last 100 change sets of a running CIM: key, revision, when seen, sent, answered, committed, outcome
    History(HistoryArgs),
    /// Ask a running CIM whether it works; prints a reason when it does not
    Health(HealthArgs),
    /// Print what a running CIM is and does: its parts, rates, what waits, containers, connections, last warnings
    Status(StatusArgs),
    /// Look into the journal of events: what is stored on disk, whether CIM runs or not
    Journal(JournalArgs),
    /// Print the log lines that are stored for a remote sink, by container, whether CIM runs or not
    Spool(SpoolArgs),
    /// Put change sets into etcd as CMaaS would, and list them: for debugging
    ChangeSet(ChangeSetArgs),
    /// Print the completions of a shell
    Completions(CompletionArgs),
    /// Print the manual page, for `man -l -`
    Man,
}

/// What the process was asked to do.
pub enum Action {
    /// `cim run`.
    Run(Given),
    /// `cim check`.
    Check(Given),
    /// `cim doctor`; the findings as JSON.
    Doctor(Given, bool),
    /// `cim emit`.
    Emit(EmitArgs),
    /// `cim tail`.
    Tail(TailArgs),
    /// `cim history`.
    History(HistoryArgs),
    /// `cim health`.
    Health(HealthArgs),
    /// `cim status`.
    Status(StatusArgs),
    /// `cim journal`.
    Journal(JournalArgs),
    /// `cim spool`.
    Spool(SpoolArgs),
    /// `cim change-set`.
    ChangeSet(ChangeSetArgs),
    /// A text for standard output.
    Print(Vec<u8>),
}

/// Reads the command line and the environment.
///
/// # Errors
/// Not understood, or `--help` or `--version`: `clap` prints it and knows the exit code.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, clap::Error> {
    let matches = Cli::command().try_get_matches_from(with_command(args))?;
    let command = Cli::from_arg_matches(&matches)?.command;
    let (_, matches) = matches
        .subcommand()
        .ok_or_else(|| Cli::command().error(clap::error::ErrorKind::MissingSubcommand, ""))?;
    Ok(match command {
        Command::Run(_) => Action::Run(Given::from_matches(matches)),
        Command::Check(_) => Action::Check(Given::from_matches(matches)),
        Command::Doctor(args) => Action::Doctor(Given::from_matches(matches), args.json),
        Command::Emit(args) => Action::Emit(args),
        Command::Tail(args) => Action::Tail(args),
        Command::History(args) => Action::History(args),
        Command::Health(args) => Action::Health(args),
        Command::Status(args) => Action::Status(args),
        Command::Journal(args) => Action::Journal(args),
        Command::Spool(args) => Action::Spool(args),
        Command::ChangeSet(args) => Action::ChangeSet(args),
        Command::Completions(args) => Action::Print(complete::completions(&args, Cli::command())),
        Command::Man => Action::Print(complete::manual(Cli::command())),
    })
}

/// Puts `run` where the command is left out: `cim --log-dir x` is `cim run --log-dir x`.
fn with_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    if args.is_empty() {
        args.push("cim".into());
    }
    let top = ["-h", "--help", "-V", "--version"];
    let left_out = args.get(1).is_none_or(|first| {
        let first = first.to_string_lossy();
        first.starts_with('-') && !top.contains(&first.as_ref())
    });
    if left_out {
        args.insert(1, "run".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    fn parsed(line: &str) -> Result<Action, ErrorKind> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|e| e.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_command_that_may_be_left_out() {
        for line in [
            "cim",
            "cim run",
            "cim --log-dir x",
            "cim --log-dir=x",
            "cim run --nats-port 0",
            "",
        ] {
            assert!(matches!(parsed(line), Ok(Action::Run(_))), "{line}");
        }
        assert!(matches!(
            parsed("cim check --log-dir x"),
            Ok(Action::Check(_))
        ));
        for (line, kind) in [
            ("cim --help", ErrorKind::DisplayHelp),
            ("cim -h", ErrorKind::DisplayHelp),
            ("cim run --help", ErrorKind::DisplayHelp),
            ("cim --version", ErrorKind::DisplayVersion),
            ("cim nonsense", ErrorKind::InvalidSubcommand),
            ("cim --nonsense", ErrorKind::UnknownArgument),
            ("cim run extra", ErrorKind::UnknownArgument),
        ] {
            assert_eq!(parsed(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn the_help_tells_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NoServer,
            Exit::Lost,
            Exit::TimedOut,
            Exit::Broken,
        ] {
            assert!(help.contains(&format!("\n  {:<4}", exit as u8)), "{exit:?}");
        }
    }
}
