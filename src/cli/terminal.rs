//! What is only for a terminal: colours, a screen that is drawn anew, and a line that says how far a long command is.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A command that is done sooner shows no line.
const QUIET: Duration = Duration::from_millis(500);
/// Time between two looks of the line.
const EVERY: Duration = Duration::from_millis(100);
const MIB: f64 = 1_048_576.0;

/// Puts the cursor at the line's begin and empties the line.
pub const CLEAR: &str = "\r\x1b[K";

/// A terminal that does what escape sequences say.
pub fn is_screen(stream: &impl IsTerminal) -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    stream.is_terminal() && !term.is_empty() && term != "dumb"
}

/// Columns and rows of a terminal; 80 and 24 where it does not say.
pub fn size(stream: impl AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}

/// Empties the line that a [`Bar`] may have left on standard error: for who ends the process around it.
pub fn clear_line() {
    let mut stderr = io::stderr();
    if is_screen(&stderr) {
        // Nobody need see it.
        let _ = stderr.write_all(CLEAR.as_bytes());
    }
}

/// Colours of the terminal's own sixteen, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether there are any.
    pub colours: bool,
}

impl Style {
    /// For standard output: colours on a terminal that knows them, when nobody has asked for none (no-color.org).
    pub fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colours: is_screen(&io::stdout()) && !unwanted,
        }
    }

    fn paint(self, code: u8, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// Bold.
    pub fn head(self, text: &str) -> String {
        self.paint(1, text)
    }

    /// Green.
    pub fn good(self, text: &str) -> String {
        self.paint(32, text)
    }

    /// Yellow: to be looked at.
    pub fn look_at(self, text: &str) -> String {
        self.paint(33, text)
    }

    /// Red.
    pub fn bad(self, text: &str) -> String {
        self.paint(31, text)
    }

    /// Less than the rest.
    pub fn faint(self, text: &str) -> String {
        self.paint(2, text)
    }
}

/// What draws `text` from the top of the screen on, as much of it as has room. Each line goes over the old one, so that nothing
/// flickers; what is left of the old ones goes. The cursor is below the last line then.
pub fn screenful(text: &str, (columns, rows): (usize, usize)) -> String {
    let mut page = String::from("\x1b[H");
    for line in text.lines().take(rows.saturating_sub(1)) {
        let (line, used) = narrow(line, columns);
        page.push_str(&line);
        page.push_str("\x1b[0m");
        // Behind a line that is full the cursor is still on its last character.
        if used < columns {
            page.push_str("\x1b[K");
        }
        page.push_str("\r\n");
    }
    page.push_str("\x1b[J");
    page
}

/// As much of a line as has room, and how much that is; colours take none.
fn narrow(line: &str, columns: usize) -> (String, usize) {
    let (mut out, mut used, mut in_colour) = (String::new(), 0, false);
    for c in line.chars() {
        match c {
            '\x1b' => in_colour = true,
            _ if in_colour => in_colour = c != 'm',
            _ if used == columns => continue,
            _ => used += 1,
        }
        out.push(c);
    }
    (out, used)
}

/// What a [`Bar`] counts.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// So many bytes.
    Bytes(u64),
    /// As many as come.
    Unknown,
}

/// How far something long is, on standard error when that is a terminal: `verify 42 %, 107 of 256 MiB, 118 MiB/s`, or
/// `31200 lines, 15600 lines/s, 4.1 MiB`. It goes when it is dropped.
pub struct Bar {
    what: &'static str,
    goal: Goal,
    bytes: u64,
    records: u64,
    started: Instant,
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    /// For `all` bytes. `on`: as far as standard error is a terminal.
    pub fn of_bytes(what: &'static str, all: u64, on: bool) -> Self {
        Self::new(what, Goal::Bytes(all), on)
    }

    /// For what comes, `what` is its plural.
    pub fn of_all(what: &'static str, on: bool) -> Self {
        Self::new(what, Goal::Unknown, on)
    }

    fn new(what: &'static str, goal: Goal, on: bool) -> Self {
        Self {
            what,
            goal,
            bytes: 0,
            records: 0,
            started: Instant::now(),
            shown: None,
            on: on && is_screen(&io::stderr()),
        }
    }

    /// One more is done, which has so many bytes.
    pub fn advance(&mut self, bytes: u64) {
        if !self.on {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.records += 1;
        let now = Instant::now();
        let since = self.shown.unwrap_or(self.started);
        let wait = if self.shown.is_some() { EVERY } else { QUIET };
        if now.saturating_duration_since(since) < wait {
            return;
        }
        self.shown = Some(now);
        let mut stderr = io::stderr();
        let (columns, _) = size(&stderr);
        // Not into the last column: there some terminals begin a new line.
        let (line, _) = narrow(&self.line(now - self.started), columns.saturating_sub(1));
        // Nobody need see it.
        let _ = stderr.write_all(format!("\r{line}\x1b[K").as_bytes());
    }

    /// The figures are for people: what a float loses of them does not show.
    #[allow(clippy::cast_precision_loss)]
    fn line(&self, time: Duration) -> String {
        let what = self.what;
        let mib = |bytes: u64| bytes as f64 / MIB;
        let a_second = |count: f64| count / time.as_secs_f64().max(0.001);
        match self.goal {
            Goal::Bytes(all) => {
                let done = self.bytes.min(all);
                let percent = (u128::from(done) * 100)
                    .checked_div(u128::from(all))
                    .unwrap_or(100);
                let (done, all) = (mib(done), mib(all));
                let rate = a_second(done);
                format!("{what} {percent} %, {done:.0} of {all:.0} MiB, {rate:.0} MiB/s")
            }
            Goal::Unknown => {
                let (count, bytes) = (self.records, mib(self.bytes));
                let rate = a_second(count as f64);
                format!("{count} {what}, {rate:.0} {what}/s, {bytes:.1} MiB")
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            clear_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(mut bar: Bar, records: u64, bytes: u64, time: Duration) -> String {
        (bar.records, bar.bytes) = (records, bytes);
        bar.line(time)
    }

    #[test]
    fn a_colour_is_around_the_text_or_not_at_all() {
        assert_eq!(
            Style { colours: true }.bad("failed"),
            "\x1b[31mfailed\x1b[0m"
        );
        assert_eq!(Style { colours: false }.good("ok"), "ok");
    }

    #[test]
    fn the_line_tells_how_far_and_how_fast() {
        let second = Duration::from_secs(1);
        let of = |all| Bar::of_bytes("verify", all, false);
        assert_eq!(
            line(of(256 << 20), 1, 64 << 20, second),
            "verify 25 %, 64 of 256 MiB, 64 MiB/s"
        );
        assert_eq!(
            line(of(0), 1, 5, Duration::ZERO),
            "verify 100 %, 0 of 0 MiB, 0 MiB/s"
        );
        // A journal that grows meanwhile is not read beyond its end.
        assert!(line(of(3 << 20), 1, 9 << 20, second).starts_with("verify 100 %, 3 of 3"));
        assert_eq!(
            line(Bar::of_all("lines", false), 3000, 3 << 19, 2 * second),
            "3000 lines, 1500 lines/s, 1.5 MiB"
        );
    }

    #[test]
    fn a_line_is_cut_to_the_screen_and_its_colours_are_not() {
        let red = Style { colours: true }.bad("abcdef");
        for (line, columns, expected, used) in [
            ("abc", 5, "abc", 3),
            (red.as_str(), 3, "\x1b[31mabc\x1b[0m", 3),
            ("▁▂▃", 2, "▁▂", 2),
        ] {
            assert_eq!(narrow(line, columns), (expected.to_owned(), used));
        }
        assert_eq!(
            screenful("ab\nabcd\nx\ny", (3, 4)),
            "\x1b[Hab\x1b[0m\x1b[K\r\nabc\x1b[0m\r\nx\x1b[0m\x1b[K\r\n\x1b[J"
        );
    }
}
