//! What nats-server's monitoring port tells, with its JSON names: `/varz`, `/connz`, `/subsz`. Source: nats-server 2.12 (`Varz`, `Connz`,
//! `Subsz`), as `nats-top` and the Prometheus NATS exporter read it. What is out of scope here (routes, accounts, JetStream) is empty.

mod connz;
mod query;
mod subsz;
mod varz;

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use crossbeam_channel::{Receiver, Sender};

pub use connz::{Closed, ConnInfo, Connz};
pub use query::{ConnState, ConnzQuery, QueryError, Show, Sort, SubszQuery};
pub use subsz::{SubInfo, SublistStats, Subsz};
pub use varz::{Asked, Varz};

use crate::http::Replier;

/// Which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The server.
    Varz,
    /// Its connections.
    Connz(ConnzQuery),
    /// Its subscriptions.
    Subsz(SubszQuery),
}

/// A question to the server, whose thread answers it.
pub struct Question {
    /// What is asked.
    pub page: Page,
    /// Where the answer goes.
    pub reply: Replier,
}

/// The way of questions to the server.
pub type Questions = Receiver<Question>;

/// Asks the server.
#[derive(Clone)]
pub struct Asker {
    to: Sender<Question>,
    wake: std::sync::Arc<dyn Fn() + Send + Sync>,
}

impl Asker {
    /// `wake` tells the server's thread that there is a question.
    pub fn new(to: Sender<Question>, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            to,
            wake: std::sync::Arc::new(wake),
        }
    }

    /// Asks; false when too many questions wait already.
    pub fn ask(&self, page: Page, reply: Replier) -> bool {
        let asked = self.to.try_send(Question { page, reply }).is_ok();
        (self.wake)();
        asked
    }
}

/// A time as Go writes it in JSON.
fn time(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// A duration as Go writes it: `362µs`, `1.5s`, `2m0.25s`.
fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let (unit, nanos_of_it) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let (mut whole, part) = (nanos / nanos_of_it, nanos % nanos_of_it);
    let mut text = String::new();
    if unit == "s" && whole >= 60 {
        if whole >= 3600 {
            text = format!("{}h", whole / 3600);
        }
        text.push_str(&format!("{}m", whole / 60 % 60));
        whole %= 60;
    }
    text.push_str(&whole.to_string());
    if part > 0 {
        let digits = nanos_of_it.ilog10() as usize;
        let part = format!(".{part:0digits$}");
        text.push_str(part.trim_end_matches('0'));
    }
    text + unit
}

/// A duration as nats-server writes `uptime` and `idle`: `1d2h3m4s`, `2m0s`, `5s`.
fn uptime(time: Duration) -> String {
    const UNITS: [(&str, u64); 5] = [
        ("y", 365 * 86_400),
        ("d", 86_400),
        ("h", 3600),
        ("m", 60),
        ("s", 1),
    ];
    let mut left = time.as_secs();
    let mut text = String::new();
    for (unit, seconds) in UNITS {
        if !text.is_empty() || left >= seconds || seconds == 1 {
            text.push_str(&format!("{}{unit}", left / seconds));
            left %= seconds;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_nats_server_does() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (120, "2m0s"),
            (3661, "1h1m1s"),
            (86_400, "1d0h0m0s"),
            (365 * 86_400 + 1, "1y0d0h0m1s"),
        ] {
            assert_eq!(uptime(Duration::from_secs(seconds)), expected);
        }
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (362_000, "362µs"),
            (5_971_200, "5.9712ms"),
            (1_000_000_000, "1s"),
            (1_050_000_000, "1.05s"),
            (60_000_000_000, "1m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), expected);
        }
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_795_392_944, 5);
        assert_eq!(time(at), "2026-11-23T00:15:44.000000005Z");
    }
}
