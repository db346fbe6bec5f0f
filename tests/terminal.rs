//! What the commands do on a terminal, a pseudo-terminal with an emulator behind it, and do not do elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod servers;
mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use servers::{free_port, loopback};
use support::capture::Capture;
use support::cim::wait;
use support::{Cim, NatsWire, Options, PATIENCE, Signal, eventually, eventually_some, forks};

/// What a terminal acts upon, in a text from outside.
const NASTY: &str = "\u{1b}[2Jred\u{1b}[31m\u{7}\u{9b}5n";

/// A pseudo-terminal. What is written to it is collected, and drawn by an emulator whenever somebody looks.
struct Terminal {
    columns: u16,
    rows: u16,
    path: std::path::PathBuf,
    written: Capture,
    /// Open as long as the terminal is: what a program has written stays readable after its end.
    _held: File,
}

impl Terminal {
    fn open(columns: u16, rows: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(path.to_str().unwrap()).to_owned();
        let held = other_end(&path);
        Self {
            columns,
            rows,
            path,
            written: Capture::start(File::from(master), false),
            _held: held,
        }
    }

    /// For a program.
    fn end(&self) -> Stdio {
        other_end(&self.path).into()
    }

    /// All that was written, as it came.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.bytes()).into_owned()
    }

    /// What a user sees.
    fn screen(&self) -> vt100::Screen {
        let size = |size| NonZero::new(size).unwrap();
        let mut emulator = vt100::Parser::new(size(self.rows), size(self.columns), 0);
        emulator.process(&self.written.bytes());
        emulator.screen().clone()
    }

    /// The lines that a user sees.
    fn lines(&self) -> Vec<String> {
        self.screen().rows(0, self.columns).collect()
    }

    /// Waits until a line that a user sees has `words`, and returns it.
    #[track_caller]
    fn shows(&self, words: &str) -> String {
        let look = || self.lines().into_iter().find(|line| line.contains(words));
        eventually_some(PATIENCE, look)
    }

    /// No line was longer than the terminal is wide.
    #[track_caller]
    fn is_not_too_narrow(&self) {
        assert_eq!(self.too_long(), Vec::<String>::new());
    }

    /// The lines that are longer, as far as they are on the first row.
    fn too_long(&self) -> Vec<String> {
        let screen = self.screen();
        let rows = self.lines().into_iter().zip(0..);
        rows.filter(|(_, row)| screen.row_wrapped(*row))
            .map(|(line, _)| line)
            .collect()
    }
}

fn other_end(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits().cast_signed())
        .open(path)
        .unwrap()
}

/// Ended with its owner.
struct Tool(Child);

impl Tool {
    /// `cim` with these arguments and streams, beside `cim`.
    fn start(cim: &Cim, args: &[&str], env: &[(&str, &str)], streams: [Stdio; 3]) -> Self {
        let mut command = support::cim::command(&cim.options, cim.dir(), &cim.log_dir);
        let [stdin, stdout, stderr] = streams;
        command
            .args(args)
            .env("TERM", "xterm-256color")
            .env("CIM_NATS_PORT", cim.nats.port().to_string())
            .env("CIM_REST_PORT", cim.http.port().to_string())
            .envs(env.iter().copied())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr);
        Self(forks::spawn(&mut command).unwrap())
    }

    /// With standard output and standard error on `terminal`.
    fn on(terminal: &Terminal, cim: &Cim, args: &[&str], env: &[(&str, &str)]) -> Self {
        let streams = [Stdio::null(), terminal.end(), terminal.end()];
        Self::start(cim, args, env, streams)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    #[track_caller]
    fn exit_code(mut self) -> Option<i32> {
        wait(&mut self.0, PATIENCE).expect("it ends in time").code()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No character that a terminal acts upon, but for line ends and tabs.
#[track_caller]
fn moves_no_cursor(text: &str) {
    let bad = text
        .chars()
        .find(|c| c.is_control() && !['\r', '\n', '\t'].contains(c));
    assert_eq!(bad, None, "{text:?}");
}

#[test]
fn colours_are_for_terminals_alone_and_for_who_wants_them() {
    let cim = Cim::start(Options::new());
    for (env, coloured) in [
        (&[][..], true),
        // no-color.org: only when it is not empty.
        (&[("NO_COLOR", "")], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[("TERM", "")], false),
    ] {
        for args in [&["status"][..], &["doctor"]] {
            let terminal = Terminal::open(120, 50);
            let tool = Tool::on(&terminal, &cim, args, env);
            assert_eq!(tool.exit_code(), Some(0), "{}", terminal.text());
            // It may not have been read yet.
            terminal.shows("NATS");
            eventually(PATIENCE, || terminal.text().ends_with('\n'));
            let text = terminal.text();
            assert_eq!(
                text.contains("\x1b[32m"),
                coloured,
                "{args:?} {env:?} {text:?}"
            );
            if !coloured {
                moves_no_cursor(&text);
            }
            // Standard error is a terminal, standard output is not: it is what colours would go to.
            let streams = [Stdio::null(), Stdio::piped(), terminal.end()];
            let mut piped = Tool::start(&cim, args, env, streams);
            let out = Capture::start(piped.0.stdout.take().unwrap(), false);
            assert_eq!(piped.exit_code(), Some(0));
            assert!(out.wait_closed(PATIENCE));
            moves_no_cursor(&out.text());
        }
    }
}

#[test]
fn a_watched_status_stays_in_its_place_and_leaves_the_terminal_as_it_was() {
    let cim = Cim::start(Options::new());
    let mut wire = cim.client();
    wire.publish_log(&"long".repeat(20), "7", b"line");
    wire.ping_pong();
    for (signal, columns, rows) in [(Signal::INT, 60, 20), (Signal::TERM, 100, 60)] {
        let terminal = Terminal::open(columns, rows);
        let tool = Tool::on(&terminal, &cim, &["status", "--watch=1"], &[]);
        let drawn = || terminal.text().matches("\x1b[H").count();
        eventually(PATIENCE, || drawn() >= 3);
        let seen = terminal.lines();
        assert!(seen[0].contains("cnf-0 in ns1: ready"), "{seen:#?}");
        let parts = seen.iter().filter(|line| line.starts_with("PART "));
        assert_eq!(parts.count(), 1, "{seen:#?}");
        terminal.is_not_too_narrow();

        tool.signal(signal);
        assert_eq!(tool.exit_code(), Some(0), "{}", terminal.text());
        eventually(PATIENCE, || terminal.text().ends_with("\r\x1b[K"));
        let screen = terminal.screen();
        assert!(!screen.hide_cursor() && !screen.alternate_screen());
        assert_eq!(screen.fgcolor(), vt100::Color::Default);
        // The prompt comes below the page.
        let (row, column) = screen.cursor_position();
        let seen = terminal.lines();
        let below = seen.iter().rposition(|line| !line.is_empty()).unwrap() + 1;
        assert_eq!((usize::from(row), column), (below, 0), "{seen:#?}");
        assert!(seen[0].contains("ready"), "{seen:#?}");
    }
}

#[test]
fn a_watched_status_says_that_cim_has_gone_and_goes_on_looking() {
    let mut cim = Cim::start(Options::new());
    let terminal = Terminal::open(60, 20);
    let tool = Tool::on(&terminal, &cim, &["status", "--watch=1"], &[]);
    terminal.shows("PART");
    cim.stop(Signal::TERM);
    terminal.shows("no answer from http://127.0.0.1:");
    tool.signal(Signal::INT);
    assert_eq!(tool.exit_code(), Some(1));
}

#[test]
fn a_terminal_that_knows_nothing_gets_one_page_after_the_other() {
    let cim = Cim::start(Options::new());
    let terminal = Terminal::open(80, 200);
    let tool = Tool::on(
        &terminal,
        &cim,
        &["status", "--watch=1"],
        &[("TERM", "dumb")],
    );
    let pages = || terminal.text().matches("cnf-0 in ns1").count();
    eventually(PATIENCE, || pages() >= 2);
    drop(tool);
    moves_no_cursor(&terminal.text());
}

#[test]
fn texts_from_outside_move_no_cursor() {
    // Nobody takes the events: they stay in the journal.
    let brokers = loopback(free_port()).to_string();
    let cim = Cim::start(Options::new().env("CIM_KAFKA_BROKERS", brokers));
    let mut wire = NatsWire::open(cim.nats);
    let connect = serde_json::json!({"name": NASTY, "verbose": false, "pedantic": false});
    wire.send(format!("CONNECT {connect}\r\n").as_bytes());

    let tail = Terminal::open(120, 20);
    let tailing = Tool::on(&tail, &cim, &["tail", ">", "--count", "3"], &[]);
    tail.shows("listening to >");
    wire.publish_log(&format!("app{NASTY}"), NASTY, NASTY.as_bytes());
    wire.publish_event(&format!("Event{NASTY}"));
    wire.publish("other", NASTY.as_bytes());
    wire.ping_pong();
    assert_eq!(tailing.exit_code(), Some(0), "{}", tail.text());
    let shown = tail.shows("app");
    assert!(
        shown.contains("\\x1b[2Jred\\x1b[31m\\x07\\x9b5n"),
        "{shown}"
    );
    tail.shows("other: ");
    moves_no_cursor(&tail.text());

    eventually(PATIENCE, || {
        cim.metric("cim_events_stored_total", &[]) >= 1.0
    });
    let asked: [(&[&str], _); 4] = [
        (&["journal", "show"], "\"event\":\"Event"),
        (&["journal", "list"], "1 events wait"),
        (&["status"], "app"),
        (&["spool"], "containers"),
    ];
    for (args, words) in asked {
        let terminal = Terminal::open(120, 60);
        let tool = Tool::on(&terminal, &cim, args, &[("NO_COLOR", "1")]);
        assert_eq!(tool.exit_code(), Some(0), "{args:?}: {}", terminal.text());
        terminal.shows(words);
        moves_no_cursor(&terminal.text());
    }
}

#[test]
fn an_error_of_others_moves_no_cursor() {
    let cim = Cim::start(Options::new());
    let terminal = Terminal::open(120, 20);
    let file = cim.dir().join(NASTY);
    let args = ["emit", "log", "x", "--ca-file", file.to_str().unwrap()];
    let tool = Tool::on(&terminal, &cim, &args, &[]);
    assert_eq!(tool.exit_code(), Some(2), "{}", terminal.text());
    terminal.shows("cim: ");
    moves_no_cursor(&terminal.text());
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    let cim = Cim::start(Options::new());
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["emit", "event", "--help"],
        &["change-set", "put", "--help"],
        &["status", "--help"],
    ] {
        let terminal = Terminal::open(60, 600);
        let tool = Tool::on(&terminal, &cim, args, &[("NO_COLOR", "1")]);
        assert_eq!(tool.exit_code(), Some(0));
        terminal.shows("Usage: cim");
        eventually(PATIENCE, || terminal.text().ends_with('\n'));
        // Headings are as long as they are.
        let mut texts = terminal.too_long();
        texts.retain(|line| line.starts_with(' '));
        assert_eq!(texts, Vec::<String>::new());
    }
}

/// Writes `line` to `to` again and again until `condition` holds.
#[track_caller]
fn feed(to: &mut dyn Write, line: &[u8], mut condition: impl FnMut() -> bool) {
    let block = line.repeat(100);
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE);
        to.write_all(&block).unwrap();
    }
}

#[test]
fn a_long_emit_says_on_a_terminal_how_far_it_is_and_nothing_in_a_pipe() {
    let cim = Cim::start(Options::new().large_files());
    for (args, line, words) in [
        (
            &["emit", "log", "-"],
            &b"a line of some length\n"[..],
            "lines/s, ",
        ),
        (
            &["emit", "event", "-"],
            b"{\"event_name\":\"LinkUp\"}\n",
            "events/s, ",
        ),
    ] {
        // It begins before the other one, so its time for a line is over when the other one has shown its own.
        let streams = [Stdio::piped(), Stdio::null(), Stdio::piped()];
        let mut piped = Tool::start(&cim, args, &[], streams);
        let mut quiet = piped.0.stdin.take().unwrap();
        quiet.write_all(line).unwrap();
        let said = Capture::start(piped.0.stderr.take().unwrap(), false);
        let dumb = Terminal::open(80, 5);
        let streams = [Stdio::piped(), Stdio::null(), dumb.end()];
        let mut on_dumb = Tool::start(&cim, args, &[("TERM", "dumb")], streams);
        let mut dumb_input = on_dumb.0.stdin.take().unwrap();
        dumb_input.write_all(line).unwrap();

        for columns in [60, 20] {
            let terminal = Terminal::open(columns, 5);
            let streams = [Stdio::piped(), Stdio::null(), terminal.end()];
            let mut tool = Tool::start(&cim, args, &[], streams);
            let mut input = tool.0.stdin.take().unwrap();
            let mut lines = Vec::new();
            feed(&mut input, line, || {
                lines = terminal.lines();
                !lines[0].is_empty()
            });
            assert_eq!(lines[0].contains(words), columns == 60, "{lines:?}");
            // Only what has been said is shown: a count, a rate, an amount.
            let count: u64 = lines[0].split(' ').next().unwrap().parse().unwrap();
            assert!(count > 0, "{lines:?}");
            terminal.is_not_too_narrow();
            drop(input);
            assert_eq!(tool.exit_code(), Some(0), "{}", terminal.text());
            eventually(PATIENCE, || terminal.screen().contents().is_empty());
            assert_eq!(terminal.screen().cursor_position(), (0, 0));
        }

        let start = Instant::now();
        let enough = || start.elapsed() > Duration::from_millis(100);
        feed(&mut quiet, line, enough);
        feed(&mut dumb_input, line, enough);
        drop((quiet, dumb_input));
        assert_eq!(piped.exit_code(), Some(0), "{}", said.text());
        assert_eq!(on_dumb.exit_code(), Some(0));
        assert!(said.wait_closed(PATIENCE));
        assert_eq!((said.text(), dumb.text()), Default::default());
    }
}

#[test]
fn an_error_takes_the_place_of_the_line_that_says_how_far() {
    let mut cim = Cim::start(Options::new().large_files());
    let terminal = Terminal::open(100, 5);
    let streams = [Stdio::piped(), Stdio::null(), terminal.end()];
    let mut tool = Tool::start(&cim, &["emit", "log", "-"], &[], streams);
    let mut input = tool.0.stdin.take().unwrap();
    feed(&mut input, b"a line\n", || !terminal.lines()[0].is_empty());
    cim.kill9();
    drop(input);
    assert_eq!(tool.exit_code(), Some(4), "{}", terminal.text());
    let first = terminal.shows("cim: ");
    assert!(first.starts_with("cim: nats://127.0.0.1:"), "{first}");
    assert!(!terminal.screen().contents().contains("lines/s"));
}
