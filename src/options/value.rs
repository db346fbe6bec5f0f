//! Reads one setting after the other; keeps what is in force and where it comes from, warnings and problems.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::LOOPBACK;
use super::args::Given;
use crate::limits;
use crate::secret::{self, Secret};
use crate::settings::problem::{Problem, Problems, escaped, mask_credentials, shown};
use crate::settings::{Shown, Source};

/// See the module.
pub(super) struct Reader<'a> {
    given: &'a Given,
    pub shown: Vec<Shown>,
    pub warnings: Vec<String>,
    pub problems: Problems,
}

impl<'a> Reader<'a> {
    pub fn new(given: &'a Given) -> Self {
        Self {
            given,
            shown: Vec::new(),
            warnings: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// The setting was given.
    pub fn has(&self, name: &str) -> bool {
        self.given.get(name).is_some()
    }

    /// Where the setting comes from.
    pub fn source(&self, name: &str) -> Source {
        self.given
            .get(name)
            .map_or(Source::BuiltIn, |(_, source)| source)
    }

    fn show(&mut self, name: &str, value: impl Display) {
        let value = mask_credentials(&escaped(&value.to_string()));
        self.shown.push(Shown {
            name: name.to_owned(),
            value,
            source: self.source(name),
        });
    }

    pub fn problem(&mut self, name: &str, value: String, allowed: &str) {
        self.problems.push(Problem {
            path: name.to_owned(),
            value,
            allowed: allowed.to_owned(),
        });
    }

    /// The text of a setting, `None` when it is not given or not good; the latter is a problem.
    fn checked(
        &mut self,
        name: &str,
        allowed: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let (value, _) = self.given.get(name)?;
        let plain = value.len() <= limits::OPTION_BYTES && !value.chars().any(char::is_control);
        if plain && is_good(value) {
            return Some(value.to_owned());
        }
        self.problem(name, shown(value), allowed);
        None
    }

    /// A text that `is_good` likes.
    pub fn text(
        &mut self,
        name: &str,
        allowed: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let value = self.checked(name, allowed, is_good);
        self.show(name, value.as_deref().unwrap_or_default());
        value
    }

    /// Any text without control characters.
    pub fn any_text(&mut self, name: &str) -> Option<String> {
        self.text(name, "a text without control characters", |_| true)
    }

    /// A value that may hold a password anywhere: `show` says what may be seen.
    pub fn secret_text<T>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let Some((value, _)) = self.given.get(name) else {
            self.show(name, "");
            return None;
        };
        let parsed = parse(value).filter(|_| value.len() <= limits::OPTION_BYTES);
        match &parsed {
            Some(value) => {
                let text = show(value);
                self.show(name, text);
            }
            None => {
                self.show(name, "");
                self.problem(name, "the value (not shown)".to_owned(), allowed);
            }
        }
        parsed
    }

    /// A whole number.
    pub fn number<T>(&mut self, name: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        let (low, high) = (range.start(), range.end());
        let allowed = format!("a whole number from {low} to {high}");
        let parse = |text: &str| text.parse().ok().filter(|n| range.contains(n));
        let value = self.checked(name, &allowed, |text| parse(text).is_some());
        let value = value.and_then(|text| parse(&text)).unwrap_or(default);
        self.show(name, &value);
        value
    }

    /// One of a few words.
    pub fn choice<T>(&mut self, name: &str, words: &[(&'static str, T)], default: T) -> T
    where
        T: Copy + PartialEq,
    {
        let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        let find = |text: &str| words.iter().find(|(word, _)| *word == text);
        let allowed = format!("one of {}", allowed.join(" "));
        let value = self.checked(name, &allowed, |text| find(text).is_some());
        let chosen = value.and_then(|text| find(&text)).map_or(default, |c| c.1);
        let word = words.iter().find(|(_, value)| *value == chosen);
        self.show(name, word.map_or("", |(word, _)| word));
        chosen
    }

    /// A time: `500ms`, `10s`, `2m`; a plain number is seconds.
    pub fn time(
        &mut self,
        name: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let value = self.given_time(name, &range).unwrap_or(default);
        self.show(name, shown_time(value));
        value
    }

    /// As [`Reader::time`], without a default.
    pub fn optional_time(
        &mut self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = self.given_time(name, &range);
        self.show(name, value.map(shown_time).unwrap_or_default());
        value
    }

    fn given_time(&mut self, name: &str, range: &RangeInclusive<Duration>) -> Option<Duration> {
        let (low, high) = (shown_time(*range.start()), shown_time(*range.end()));
        let allowed = format!("a time from {low} to {high}, such as 500ms, 10s or 2m");
        let parse = |text: &str| parse_time(text).filter(|time| range.contains(time));
        let value = self.checked(name, &allowed, |text| parse(text).is_some());
        value.and_then(|text| parse(&text))
    }

    /// A port, 0 for any. CONTRACT section 1: a bad value in the environment is warned about, and the default used.
    pub fn port(&mut self, name: &str, default: u16) -> u16 {
        let lenient = self.source(name) == Source::Environment;
        let value = match self.given.get(name) {
            Some((text, _)) if lenient && text.trim().parse::<u16>().is_err() => {
                let text = shown(text);
                let warning =
                    format!("{name}: {text} is not a port (0 to 65535); {default} is used");
                self.warnings.push(warning);
                default
            }
            Some((text, _)) if lenient => text.trim().parse().unwrap_or(default),
            _ => return self.number(name, 0..=u16::MAX, default),
        };
        self.show(name, value);
        value
    }

    /// An IP address, or `localhost`.
    pub fn address(&mut self, name: &str) -> IpAddr {
        let parse = |text: &str| match text {
            "localhost" => Some(LOOPBACK),
            text => text.parse::<IpAddr>().ok(),
        };
        let value = self.checked(name, "an IP address, without a port", |text| {
            parse(text).is_some()
        });
        let value = value.and_then(|text| parse(&text)).unwrap_or(LOOPBACK);
        self.show(name, value);
        if !value.is_loopback() {
            let warning = format!("{name}: {value} is open to more than this pod");
            self.warnings.push(warning);
        }
        value
    }

    /// An IP address with a port; `localhost` and a missing host (`:9090`, every address) are taken too.
    pub fn socket_address(&mut self, name: &str) -> Option<SocketAddr> {
        let parse = |text: &str| match text.rsplit_once(':') {
            Some(("localhost", port)) => port
                .parse()
                .ok()
                .map(|port| SocketAddr::new(LOOPBACK, port)),
            Some(("", port)) => {
                let every = std::net::Ipv4Addr::UNSPECIFIED;
                port.parse()
                    .ok()
                    .map(|port| SocketAddr::new(every.into(), port))
            }
            _ => text.parse::<SocketAddr>().ok(),
        };
        let value = self.checked(name, "an IP address and a port, ip:port", |text| {
            parse(text).is_some()
        });
        let value = value.and_then(|text| parse(&text));
        self.show(name, value.map(|v| v.to_string()).unwrap_or_default());
        value
    }

    /// A path.
    pub fn path(&mut self, name: &str, default: &Path) -> PathBuf {
        let value = self.checked(name, "a path of at most 4096 bytes", |_| true);
        let path = value.map_or_else(|| default.to_owned(), PathBuf::from);
        self.show(name, path.display());
        path
    }

    /// The secret in a file.
    pub fn secret_file(&mut self, name: &str) -> Option<Secret> {
        let path = self.checked(name, "a path of at most 4096 bytes", |_| true);
        self.show(name, path.as_deref().unwrap_or_default());
        let path = path?;
        match secret::read(Path::new(&path)) {
            Ok(secret) => Some(secret),
            Err(e) => {
                let allowed = format!("a file with one line of text ({e})");
                self.problem(name, shown(&path), &allowed);
                None
            }
        }
    }

    /// The path of a file that was read, to read it again.
    pub fn path_of_secret(&self, name: &str) -> Option<PathBuf> {
        self.given.get(name).map(|(path, _)| PathBuf::from(path))
    }

    /// A file that is read later.
    pub fn file(&mut self, name: &str) -> Option<PathBuf> {
        let path = self.checked(name, "a path of at most 4096 bytes", |_| true);
        self.show(name, path.as_deref().unwrap_or_default());
        path.map(PathBuf::from)
    }

    /// One of two settings alone is a problem.
    pub fn together(&mut self, one: &str, other: &str) {
        let (there, missing) = match (self.has(one), self.has(other)) {
            (true, false) => (one, other),
            (false, true) => (other, one),
            _ => return,
        };
        let allowed = format!("together with {missing}");
        self.problem(there, "alone, it".to_owned(), &allowed);
    }

    /// `true` or `false`; anything else is warned about and taken as false, as in the original.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        let on = match self.given.get(name).map(|(text, _)| text) {
            None => default,
            Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(text) => {
                let text = shown(text);
                self.warnings.push(format!(
                    "{name}: {text} is taken as false; only true is true"
                ));
                false
            }
        };
        self.show(name, on);
        on
    }
}

/// A time as settings have it: `500ms`, `10s`, `2m`; a plain number is seconds.
pub fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

fn shown_time(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}
