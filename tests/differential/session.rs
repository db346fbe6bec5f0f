//! A session: what some clients send to a server, and in which order; and its form as text, in which it is kept and reported.

use std::fmt;

use super::servers::Config;

/// What a client sends after the step before has been dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// From 0.
    pub client: usize,
    pub bytes: Vec<u8>,
    /// Where it is cut into several writes.
    pub cuts: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub config: Config,
    pub steps: Vec<Step>,
    /// Its last step is not waited for: the client ends its side right behind it.
    pub hasty: bool,
}

impl Step {
    pub fn new(client: usize, bytes: Vec<u8>) -> Self {
        let cuts = Vec::new();
        Self {
            client,
            bytes,
            cuts,
        }
    }

    /// What is written at a time.
    pub fn writes(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        ends.scan(0, |start, end| {
            let write = &self.bytes[*start..end];
            *start = end;
            Some(write)
        })
    }
}

impl Session {
    pub fn clients(&self) -> usize {
        let clients = self.steps.iter().map(|step| step.client + 1);
        clients.max().unwrap_or(0)
    }

    /// All that a client sends.
    pub fn stream(&self, client: usize) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.client == client)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Self {
        let mut session = Self {
            config: Config::Plain,
            steps: Vec::new(),
            hasty: false,
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(head) = line.strip_prefix("@ ") {
                let (config, hasty) = match head.strip_suffix(" hasty") {
                    Some(config) => (config, true),
                    None => (head, false),
                };
                session.config = Config::named(config);
                session.hasty = hasty;
                continue;
            }
            let (client, text) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let client: usize = client.parse().unwrap_or_else(|_| panic!("{line}"));
            let mut step = Step::new(client - 1, Vec::new());
            for (at, part) in text.split('|').enumerate() {
                if at > 0 {
                    step.cuts.push(step.bytes.len());
                }
                unescape(part, &mut step.bytes);
            }
            session.steps.push(step);
        }
        assert!(!session.steps.is_empty(), "no session: {text}");
        session
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hasty = if self.hasty { " hasty" } else { "" };
        writeln!(f, "@ {}{hasty}", self.config.name())?;
        for step in &self.steps {
            let writes: Vec<String> = step.writes().map(escaped).collect();
            writeln!(f, "{}: {}", step.client + 1, writes.join("|"))?;
        }
        Ok(())
    }
}

/// Bytes as one line of text.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' if byte != b'|' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

fn unescape(text: &str, bytes: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                tail
            }
            (b'\\', [letter, tail @ ..]) => {
                bytes.push(match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'\\' => b'\\',
                    _ => panic!("{text}"),
                });
                tail
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
}

#[test]
fn a_session_is_read_as_it_was_written() {
    let mut session = Session {
        config: Config::Users,
        steps: vec![
            Step::new(1, (0..=255).collect()),
            Step::new(0, b"a: b|c\\n# ".to_vec()),
        ],
        hasty: true,
    };
    session.steps[0].cuts = vec![1, 10, 10, 256];
    assert_eq!(Session::parse(&session.to_string()), session);
    assert_eq!(session.steps[0].writes().count(), 5);
    assert_eq!(session.clients(), 2);
}
