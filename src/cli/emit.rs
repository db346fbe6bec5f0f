//! `cim emit`: publishes what an application would, as a stock client does: log lines, events, answers to change sets.
//!
//! It ends with a `flush()`: CIM answers that only when all is stored, so exit code 0 means stored.

mod config;
mod event;

use std::io::{self, BufRead, IsTerminal, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use clap::{Args, Subcommand};
use flatbuffers::FlatBufferBuilder;

use super::Exit;
use super::client::{ConnectError, Connection, ServerArgs, Target};
use super::terminal::Bar;
use crate::change_set::key::KeyError;
use crate::limits::{EMIT_FLUSH_LINES, EMIT_HELD_TIME, EMIT_NAME_BYTES, PAYLOAD_BYTES};
use crate::wire::encode_log;

/// `cim emit`.
#[derive(Debug, Args)]
pub struct EmitArgs {
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// What to publish.
    #[command(subcommand)]
    pub what: Emit,
}

/// What `cim emit` can publish.
#[derive(Debug, Subcommand)]
pub enum Emit {
    /// Publish a log line, or standard input line by line
    ///
    /// When that takes long, a line on a terminal (standard error) says how far it is.
    ///
    /// Exit codes: 0 CIM has stored all lines, or counted as dropped what it could not store; 1 standard input cannot be
    /// read, or the names are too long; 3 no server answers; 4 the connection was lost, and the last lines may not be stored.
    Log(EmitLogArgs),
    /// Publish an event, or standard input as JSON Lines
    ///
    /// Exit code 0: CIM has stored all events, and delivers them. The others as for `cim emit log`.
    Event(event::EmitEventArgs),
    /// Publish an answer to a change set, as the application gives it on CONFIG
    ///
    /// Exit code 0: CIM has it. What it makes of it is in `cim history`.
    Config(config::EmitConfigArgs),
}

/// `cim emit log`.
#[derive(Debug, Args)]
pub struct EmitLogArgs {
    /// Name of the container that the line belongs to
    #[arg(long, value_name = "NAME", default_value = "emit")]
    pub container: String,
    /// Id of the container
    #[arg(long, value_name = "ID", default_value = "0000")]
    pub container_id: String,
    /// The line; `-` or nothing publishes standard input line by line
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,
}

/// Why lines may not be stored.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke before everything was acknowledged, or the server reported an error.
    #[error(
        "{server} lost or refused the connection{reason}: {stored} messages are stored, of up to {unsure} more it is not known"
    )]
    Lost {
        /// Where, without credentials.
        server: String,
        /// What the server said last, as `: text`, or nothing.
        reason: String,
        /// Messages that a flush acknowledged.
        stored: u64,
        /// Those published after it.
        unsure: u64,
    },
    /// Standard input cannot be read.
    #[error("standard input cannot be read after line {line}")]
    Input {
        /// The last line that was read, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// The names would not leave room for the line.
    #[error(
        "the container's name and id have {bytes} bytes together, at most {EMIT_NAME_BYTES} are allowed"
    )]
    Names {
        /// What they have.
        bytes: usize,
    },
    /// A line of standard input is no event.
    #[error("line {line} of standard input is no event: {reason}")]
    Event {
        /// Which, counted from 1.
        line: u64,
        /// Why not.
        reason: String,
    },
    /// More than a message may have.
    #[error("it has {bytes} bytes, {server} takes {most} at most")]
    TooLarge {
        /// Where, without credentials.
        server: String,
        /// What it has.
        bytes: usize,
        /// What it may have.
        most: usize,
    },
    /// Not what a change set is called.
    #[error("{key:?} is no key of a change set")]
    Key {
        /// What was given.
        key: String,
        /// Why it is none.
        source: KeyError,
    },
}

impl EmitError {
    /// The code that the process ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) => error.exit(),
            Self::Lost { .. } => Exit::Lost,
            Self::Input { .. }
            | Self::Names { .. }
            | Self::Event { .. }
            | Self::TooLarge { .. }
            | Self::Key { .. } => Exit::Failed,
        }
    }
}

/// What the client's callbacks share with the publisher.
#[derive(Debug, Default)]
struct Shared {
    published: AtomicU64,
    stored: AtomicU64,
    /// Everything is acknowledged, or a loss was reported: a broken connection is nobody's concern any more.
    over: AtomicBool,
    /// The last `-ERR` of the server.
    said: Mutex<Option<String>>,
}

impl Shared {
    /// The loss, for whoever asks first.
    fn loss(&self, server: &str) -> Option<EmitError> {
        if self.over.swap(true, Ordering::SeqCst) {
            return None;
        }
        let said = self.said.lock().ok().and_then(|mut said| said.take());
        let stored = self.stored.load(Ordering::SeqCst);
        Some(EmitError::Lost {
            server: server.to_owned(),
            reason: said.map(|text| format!(": {text}")).unwrap_or_default(),
            stored,
            unsure: self.published.load(Ordering::SeqCst).saturating_sub(stored),
        })
    }
}

/// Runs `cim emit`. `lost` must report the error and end the process: the client waits for ever in `flush()` when its
/// connection breaks, and after a reconnection takes the flush for done. It is called at most once, from a thread of
/// the client.
///
/// # Errors
/// [`EmitError`]; after success every line is stored.
pub fn run(
    args: &EmitArgs,
    lost: impl Fn(EmitError) + Send + Sync + 'static,
) -> Result<(), EmitError> {
    if let Emit::Log(args) = &args.what {
        let names = args.container.len() + args.container_id.len();
        if names > EMIT_NAME_BYTES {
            return Err(EmitError::Names { bytes: names });
        }
    }
    let target = Target::new(&args.server, |name| std::env::var(name).ok())?;
    let server = target.shown();
    let shared = Arc::new(Shared::default());
    let connection = connect(&target, &shared, lost)?;
    let mut publisher = Publisher {
        server,
        connection: &connection,
        shared: &shared,
        builder: FlatBufferBuilder::new(),
    };
    match &args.what {
        Emit::Log(args) => publisher.log(args)?,
        Emit::Event(args) => event::publish(args, &mut publisher)?,
        Emit::Config(args) => config::publish(args, &mut publisher)?,
    }
    publisher.flush()?;
    // An -ERR stands before the PONG of the flush.
    if shared.said.lock().is_ok_and(|said| said.is_some())
        && let Some(error) = shared.loss(server)
    {
        return Err(error);
    }
    shared.over.store(true, Ordering::SeqCst);
    Ok(())
}

fn connect(
    target: &Target<'_>,
    shared: &Arc<Shared>,
    lost: impl Fn(EmitError) + Send + Sync + 'static,
) -> Result<Connection, ConnectError> {
    let (of_errors, of_loss) = (Arc::clone(shared), Arc::clone(shared));
    let address = target.shown().to_owned();
    let options = target
        .options()
        .with_name("cim-emit")
        .no_echo()
        .error_callback(move |error| {
            if let Ok(mut said) = of_errors.said.lock() {
                *said = Some(error.to_string());
            }
        })
        .disconnect_callback(move || {
            if let Some(error) = of_loss.loss(&address) {
                lost(error);
            }
        });
    target.connect(options)
}

struct Publisher<'a> {
    server: &'a str,
    connection: &'a Connection,
    shared: &'a Shared,
    builder: FlatBufferBuilder<'static>,
}

impl Publisher<'_> {
    fn log(&mut self, args: &EmitLogArgs) -> Result<(), EmitError> {
        let words = match args.words.as_slice() {
            [] => None,
            [dash] if dash == "-" => None,
            words => Some(words.join(" ")),
        };
        if let Some(line) = words {
            return self.line(args, line.as_bytes());
        }
        let room = self.room().saturating_sub(2 * EMIT_NAME_BYTES).max(1);
        let mut bar = input_bar("lines");
        let mut lines = Lines::new(io::stdin().lock(), room);
        let mut number = 0;
        while let Some(line) = lines.next().map_err(|source| EmitError::Input {
            line: number,
            source,
        })? {
            self.line(args, line)?;
            number += 1;
            bar.advance(line.len() as u64);
        }
        Ok(())
    }

    fn line(&mut self, args: &EmitLogArgs, line: &[u8]) -> Result<(), EmitError> {
        let (name, id) = (args.container.as_bytes(), args.container_id.as_bytes());
        encode_log(name, id, line, &mut self.builder);
        self.publish("LOG", self.builder.finished_data())
    }

    /// Bytes of a payload at most.
    fn room(&self) -> usize {
        self.connection.max_payload().min(PAYLOAD_BYTES)
    }

    fn publish(&self, subject: &str, payload: &[u8]) -> Result<(), EmitError> {
        let most = self.room();
        if payload.len() > most {
            return Err(EmitError::TooLarge {
                server: self.server.to_owned(),
                bytes: payload.len(),
                most,
            });
        }
        self.connection
            .publish(subject, payload)
            .map_err(|_| self.lost())?;
        let published = self.shared.published.fetch_add(1, Ordering::SeqCst) + 1;
        if published.is_multiple_of(EMIT_FLUSH_LINES) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EmitError> {
        let published = self.shared.published.load(Ordering::SeqCst);
        // The crate's own 10 s are for the write, which CIM may hold up for longer.
        self.connection
            .flush_timeout(EMIT_HELD_TIME)
            .map_err(|_| self.lost())?;
        self.shared.stored.store(published, Ordering::SeqCst);
        Ok(())
    }

    /// The loss; the callback may have reported it already, then the same is said once more at the most.
    fn lost(&self) -> EmitError {
        self.shared.loss(self.server).unwrap_or(EmitError::Lost {
            server: self.server.to_owned(),
            reason: String::new(),
            stored: self.shared.stored.load(Ordering::SeqCst),
            unsure: 0,
        })
    }
}

/// For what comes from standard input; who types it sees it anyway.
fn input_bar(what: &'static str) -> Bar {
    Bar::of_all(what, !io::stdin().is_terminal())
}

/// Lines of bytes, without their `\n`. One that is longer than `max` comes in several pieces: memory stays bounded and
/// no byte is lost.
struct Lines<R> {
    input: R,
    max: usize,
    line: Vec<u8>,
    /// The last piece did not end with its line.
    within: bool,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R, max: usize) -> Self {
        Self {
            input,
            max,
            line: Vec::new(),
            within: false,
        }
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.read()? {
            return Ok(None);
        }
        // The end of a line whose pieces were full is no line of its own.
        if self.within && self.line == b"\n" && !self.read()? {
            return Ok(None);
        }
        self.within = self.line.pop_if(|last| *last == b'\n').is_none();
        Ok(Some(&self.line))
    }

    fn read(&mut self) -> io::Result<bool> {
        self.line.clear();
        let limit = u64::try_from(self.max).unwrap_or(u64::MAX);
        self.input
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut self.line)?;
        Ok(!self.line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], max: usize, expected: &[&[u8]]) {
        for capacity in [1, 3, 1024] {
            let mut lines = Lines::new(io::BufReader::with_capacity(capacity, input), max);
            let mut read = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                read.push(line.to_vec());
            }
            assert_eq!(read, expected, "{input:?} cut at {max}");
        }
    }

    #[test]
    fn lines_are_bytes_and_end_at_newlines() {
        check(b"", 9, &[]);
        check(b"\n", 9, &[b""]);
        check(b"a\n\nb\n", 9, &[b"a", b"", b"b"]);
        check(b"no end", 9, &[b"no end"]);
        check(b"\xff\x00\r\n\xc3", 9, &[b"\xff\x00\r", b"\xc3"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        check(b"abcde\nf\n", 4, &[b"abcd", b"e", b"f"]);
        check(b"abcd\n\nefgh\ni", 4, &[b"abcd", b"", b"efgh", b"i"]);
        check(b"abcdefgh\n", 4, &[b"abcd", b"efgh"]);
        check(b"abcd", 4, &[b"abcd"]);
    }

    #[test]
    fn nobody_there_is_said_with_the_address_and_without_the_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let args = EmitArgs {
            server: ServerArgs {
                server: Some(format!("nats://user:secret@127.0.0.1:{port}")),
                ..ServerArgs::default()
            },
            what: Emit::Log(EmitLogArgs {
                container: "c".into(),
                container_id: "i".into(),
                words: vec!["x".into()],
            }),
        };
        let error = run(&args, |_| {}).unwrap_err();
        assert_eq!(error.exit(), Exit::NoServer);
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
