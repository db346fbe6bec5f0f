//! What is only for a terminal: colours, and a line that says how far a long reading is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A reading that is done sooner shows no line.
const QUIET: Duration = Duration::from_millis(500);
/// Time between two looks of the line.
const EVERY: Duration = Duration::from_millis(100);
/// Records between two looks at the clock, and bytes.
const RECORDS: u32 = 256;
const BYTES: u64 = 1 << 20;
const MIB: f64 = 1_048_576.0;

/// A colour of the terminal's own sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Good.
    Green,
    /// To be looked at.
    Yellow,
    /// Bad.
    Red,
}

impl Colour {
    /// `text` in this colour; as it is when `on` is not set.
    pub fn paint(self, text: &str, on: bool) -> String {
        let code = match self {
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        match on {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Standard output is a terminal that knows colours, and nobody has asked for none (no-color.org).
pub fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let dumb = set("TERM").is_none_or(|term| term == "dumb");
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && !dumb
}

/// How far a reading of so many bytes is, on standard error when that is a terminal: `verify 42 %, 107 of 256 MiB, 118 MiB/s`.
pub struct Bar {
    what: &'static str,
    all: u64,
    done: u64,
    started: Instant,
    shown: Option<Instant>,
    records: u32,
    bytes: u64,
    on: bool,
}

impl Bar {
    /// For `all` bytes. `on`: as far as standard error is a terminal.
    pub fn new(what: &'static str, all: u64, on: bool) -> Self {
        Self {
            what,
            all,
            done: 0,
            started: Instant::now(),
            shown: None,
            records: 0,
            bytes: 0,
            on: on && std::io::stderr().is_terminal(),
        }
    }

    /// So many more bytes are read.
    pub fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        self.records += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.records >= RECORDS || self.bytes >= BYTES {
            (self.records, self.bytes) = (0, 0);
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        if !self.on {
            return;
        }
        let since = self.shown.unwrap_or(self.started);
        let wait = if self.shown.is_some() { EVERY } else { QUIET };
        if now.saturating_duration_since(since) < wait {
            return;
        }
        self.shown = Some(now);
        let line = line(self.what, self.done, self.all, now - self.started);
        // Nobody need see it.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The figures are for people: what a float loses of them does not show.
#[allow(clippy::cast_precision_loss)]
fn line(what: &str, done: u64, all: u64, time: Duration) -> String {
    let done = done.min(all);
    let percent = (u128::from(done) * 100)
        .checked_div(u128::from(all))
        .unwrap_or(100);
    let (done, all) = (done as f64 / MIB, all as f64 / MIB);
    let rate = done / time.as_secs_f64().max(0.001);
    format!("{what} {percent} %, {done:.0} of {all:.0} MiB, {rate:.0} MiB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_around_the_text_or_not_at_all() {
        assert_eq!(Colour::Red.paint("failed", true), "\x1b[31mfailed\x1b[0m");
        assert_eq!(Colour::Green.paint("ok", false), "ok");
    }

    #[test]
    fn the_line_tells_how_far_and_how_fast() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("verify", 64 << 20, 256 << 20, second),
            "verify 25 %, 64 of 256 MiB, 64 MiB/s"
        );
        assert_eq!(
            line("x", 5, 0, Duration::ZERO),
            "x 100 %, 0 of 0 MiB, 0 MiB/s"
        );
        // A journal that grows meanwhile is not read beyond its end.
        assert!(line("x", 9 << 20, 3 << 20, second).starts_with("x 100 %, 3 of 3"));
    }
}
