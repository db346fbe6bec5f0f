//! `cim tail SUBJECT`: prints what passes on a subject.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Exit;
use super::client::{ConnectError, Connection, ServerArgs, Target};
use super::filter::FilterArgs;
use super::show::show;
use crate::limits::{TAIL_PENDING_MESSAGES, TAIL_POLL};
use crate::settings::problem::escaped;

/// `cim tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Subject, wildcards `*` and `>` allowed: LOG, EVENT, CONFIG, `>`
    #[arg(value_name = "SUBJECT")]
    pub subject: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Which of them.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Why `cim tail` ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not take the subscription.
    #[error("cannot subscribe to {subject:?} at {server}")]
    Subscribe {
        /// Where, without credentials.
        server: String,
        /// To what.
        subject: String,
        /// What the client met.
        source: io::Error,
    },
    /// The connection was lost, and could not be made again.
    #[error("the connection to {server} was lost")]
    Lost {
        /// Where, without credentials.
        server: String,
    },
    /// Signals cannot be handled.
    #[error("cannot handle SIGINT and SIGTERM")]
    Signals(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("standard output cannot be written")]
    Output(#[source] io::Error),
}

impl TailError {
    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) => error.exit(),
            Self::Lost { .. } => Exit::Lost,
            Self::Subscribe { .. } | Self::Signals(_) | Self::Output(_) => Exit::Failed,
        }
    }
}

/// Runs `cim tail` until SIGINT, SIGTERM, the end of `--count`, or nobody reads standard output any more: all of these
/// are success. Each message is visible at once. When the connection is lost the client connects again; what passed in
/// between is missed, and that is said on standard error.
///
/// # Errors
/// [`TailError`].
pub fn run(args: &TailArgs) -> Result<(), TailError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(TailError::Signals)?;
    }
    let target = Target::new(&args.server, |name| std::env::var(name).ok())?;
    let server = target.shown();
    let closed = Arc::new(AtomicBool::new(false));
    let connection = connect(&target, &closed)?;
    let refused = |source| TailError::Subscribe {
        server: server.to_owned(),
        subject: args.subject.clone(),
        source,
    };
    let messages = connection.subscribe(&args.subject).map_err(refused)?;
    messages.set_message_limits(TAIL_PENDING_MESSAGES);
    connection.flush().map_err(refused)?;
    eprintln!("cim tail: listening to {} at {}", args.subject, server);

    let printed = print(args, &messages, &stop, &closed);
    if let Ok(dropped @ 1..) = messages.dropped_messages() {
        eprintln!(
            "cim tail: {dropped} messages were dropped, the reader of this output was too slow"
        );
    }
    match printed {
        Ok(End::Done) => Ok(()),
        Ok(End::Closed) => Err(TailError::Lost {
            server: server.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(TailError::Output(error)),
    }
}

fn connect(target: &Target<'_>, closed: &Arc<AtomicBool>) -> Result<Connection, ConnectError> {
    let closed = Arc::clone(closed);
    let options = target
        .options()
        .with_name("cim-tail")
        .error_callback(|error| {
            // Those of a full subscription are counted instead.
            if !error.to_string().contains("slow consumer") {
                eprintln!("cim tail: {}", escaped(&error.to_string()));
            }
        })
        .disconnect_callback(|| {
            eprintln!("cim tail: connection lost, trying again; what passes now is missed");
        })
        .reconnect_callback(|| eprintln!("cim tail: connected again"))
        .close_callback(move || closed.store(true, Ordering::Relaxed));
    target.connect(options)
}

enum End {
    /// Told to end, or nobody reads any more.
    Done,
    /// The client gave the connection up.
    Closed,
}

fn print(
    args: &TailArgs,
    messages: &nats::Subscription,
    stop: &AtomicBool,
    closed: &AtomicBool,
) -> io::Result<End> {
    let mut left = args.count;
    let name_subject = args.subject.contains(['*', '>']);
    let mut text = String::new();
    let mut out = io::stdout().lock();
    while !stop.load(Ordering::Relaxed) && left != Some(0) {
        // Many small messages go out together, but none waits for the next.
        let message = match messages.try_next() {
            Some(message) => message,
            None => {
                out.flush()?;
                match messages.next_timeout(TAIL_POLL) {
                    Ok(message) => message,
                    Err(_) if closed.load(Ordering::Relaxed) => return Ok(End::Closed),
                    Err(_) if nobody_reads(&out) => return Ok(End::Done),
                    Err(_) => continue,
                }
            }
        };
        if !args.filter.takes(&message.subject, &message.data) {
            continue;
        }
        text.clear();
        show(&message.subject, &message.data, name_subject, &mut text);
        if !args.filter.takes_line(&text) {
            continue;
        }
        out.write_all(text.as_bytes())?;
        left = left.map(|left| left - 1);
    }
    out.flush()?;
    Ok(End::Done)
}

/// Standard output is a pipe or a socket whose other end is closed: without messages no write would tell.
fn nobody_reads(out: &impl std::os::fd::AsFd) -> bool {
    let mut fds = [PollFd::new(out, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&now)), Ok(1..))
        && fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}
