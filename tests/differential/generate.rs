//! Random sessions: operations that are right, or wrong in ways that are worth it; then bytes are changed, and the streams cut.

use super::random::Random;
use super::servers::{CONFIGS, Config};
use super::session::{Session, Step};
use super::stream::is_arbitrary;

/// Subjects without `LOG`, `EVENT`, `CONFIG` and `TEST`, which CIM takes itself, and without `$` and `_R_`, which nats-server does.
const SUBJECTS: [&[u8]; 26] = [
    b"foo",
    b"foo",
    b"foo",
    b"bar",
    b"foo.bar",
    b"foo.baz",
    b"foo.secret",
    b"a.b.c",
    b"a.x.c",
    b"a.x.y",
    b"q.1",
    b"req.1",
    b"_INBOX.x.1",
    b"_INBOX.x.2",
    b"Foo",
    b"foo.bar.baz.qux.1.2.3",
    b"f",
    b"foo..bar",
    b".foo",
    b"foo.",
    b".",
    b"caf\xc3\xa9",
    b"\xff\xfe.\x01",
    b"a\x7f\"b\\c",
    b"foo'",
    b"\xe2\x80\xa8.\xc2\xa0",
];
const PATTERNS: [&[u8]; 14] = [
    b">",
    b"*",
    b"foo.*",
    b"foo.>",
    b"*.bar",
    b"*.*",
    b"a.*.c",
    b"_INBOX.x.*",
    b"_INBOX.>",
    b"foo.>.bar",
    b"foo*",
    b"f>",
    b"*.>",
    b"foo.**",
];
const QUEUES: [&[u8]; 5] = [b"team", b"blocked", b"workers.1", b"q", b"*"];
const SIDS: [&[u8]; 8] = [b"1", b"2", b"3", b"4", b"1", b"2", b"sid-x", b"00"];

/// Longest stream of one client, but for those with large payloads.
const STEPS: usize = 4;
const OPERATIONS: usize = 6;

struct Generator<'a> {
    random: &'a mut Random,
    config: Config,
}

/// The session of a seed.
pub fn session(config: Config, seed: u64) -> Session {
    let mut random = Random::new(seed);
    loop {
        let session = one(config, &mut random);
        if !is_arbitrary(&session) {
            return session;
        }
    }
}

fn one(config: Config, random: &mut Random) -> Session {
    let mut generator = Generator { random, config };
    let clients = [1, 1, 1, 2, 2, 3][generator.random.below(6)];
    let mut steps = Vec::new();
    for client in 0..clients {
        let bytes = generator.first();
        steps.push(Step::new(client, bytes));
    }
    for _ in 0..generator.random.between(1, STEPS) {
        let client = generator.random.below(clients);
        let mut bytes = Vec::new();
        for _ in 0..generator.random.between(1, OPERATIONS) {
            generator.operation(&mut bytes);
        }
        steps.push(Step::new(client, bytes));
    }
    if generator.random.once_in(3) {
        // All at once.
        let mut joined: Vec<Step> = Vec::new();
        for step in steps {
            match joined.last_mut() {
                Some(last) if last.client == step.client => last.bytes.extend(step.bytes),
                _ => joined.push(step),
            }
        }
        steps = joined;
    }
    if generator.random.once_in(2) {
        for _ in 0..generator.random.between(1, 3) {
            let at = generator.random.below(steps.len());
            let other = generator.random.below(steps.len());
            let other = steps[other].bytes.clone();
            mutate(&mut steps[at].bytes, &other, generator.random);
        }
    }
    let hasty = clients == 1 && generator.random.once_in(3);
    for step in &mut steps {
        cut(step, generator.random);
    }
    steps.retain(|step| !step.bytes.is_empty());
    if steps.is_empty() {
        steps.push(Step::new(0, b"PING\r\n".to_vec()));
    }
    // A client that nothing is left of is none.
    let mut known: Vec<usize> = steps.iter().map(|step| step.client).collect();
    known.sort_unstable();
    known.dedup();
    for step in &mut steps {
        step.client = known.binary_search(&step.client).unwrap_or(0);
    }
    Session {
        config,
        steps,
        hasty,
    }
}

impl Generator<'_> {
    /// How most clients begin.
    fn first(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.random.once_in(12) {
            self.connect(&mut bytes);
        }
        if self.random.once_in(2) {
            self.subscribe(&mut bytes);
        }
        bytes
    }

    fn operation(&mut self, to: &mut Vec<u8>) {
        match self.random.below(40) {
            0..=12 => self.publish(to),
            13..=16 => self.publish_with_headers(to),
            17..=25 => self.subscribe(to),
            26..=29 => self.unsubscribe(to),
            30..=33 => self.bare(
                to,
                &[
                    "PING", "ping", "PiNg", "PING ", "PING x", "PONG", "pong", "+OK", "+ok", "+OK.",
                ],
            ),
            34..=36 => self.connect(to),
            37 => self.with_json(to, "INFO"),
            38 => {
                let text = self.random.pick(&[
                    &b"-ERR 'x'"[..],
                    b"-err",
                    b"-ERR  ",
                    b"-ERR x",
                    b"-ERR\t'Stale Connection'",
                ]);
                to.extend_from_slice(text);
                self.end(to);
            }
            _ => self.garbage(to),
        }
    }

    fn end(&mut self, to: &mut Vec<u8>) {
        let end: &[u8] = if self.random.once_in(12) {
            b"\n"
        } else {
            b"\r\n"
        };
        to.extend_from_slice(end);
    }

    fn blank(&mut self, to: &mut Vec<u8>) {
        let blank: &[u8] = match self.random.below(16) {
            0 => b"\t",
            1 => b"  ",
            2 => b" \t ",
            _ => b" ",
        };
        to.extend_from_slice(blank);
    }

    fn verb(&mut self, to: &mut Vec<u8>, name: &str) {
        for letter in name.bytes() {
            let other = self.random.once_in(60);
            to.push(if other {
                letter.to_ascii_lowercase()
            } else {
                letter
            });
        }
        self.blank(to);
    }

    /// Words with blanks between them, and the end of the line.
    fn words(&mut self, to: &mut Vec<u8>, words: &[&[u8]]) {
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                self.blank(to);
            }
            to.extend_from_slice(word);
        }
        if self.random.once_in(20) {
            self.blank(to);
        }
        if self.random.once_in(40) {
            to.extend_from_slice(b" more");
        }
        self.end(to);
    }

    fn subject(&mut self) -> Vec<u8> {
        match self.random.below(40) {
            0..=2 => self.random.pick(&PATTERNS).to_vec(),
            3 => self.long(),
            // The common ones are in front.
            4..=27 => SUBJECTS[self.random.below(14)].to_vec(),
            _ => self.random.pick(&SUBJECTS).to_vec(),
        }
    }

    fn pattern(&mut self) -> Vec<u8> {
        if self.random.once_in(3) {
            self.random.pick(&PATTERNS).to_vec()
        } else {
            self.subject()
        }
    }

    /// A word at about the limit of a line, or not.
    fn long(&mut self) -> Vec<u8> {
        let limit = self.config.control_line();
        let len = if self.random.once_in(2) {
            (limit + self.random.below(24)).saturating_sub(16)
        } else {
            self.random.between(20, 300)
        };
        vec![b'l'; len]
    }

    fn size(&mut self, len: usize) -> Vec<u8> {
        let limit = self.config.payload();
        match self.random.below(60) {
            0 => format!("{}", len + 1),
            1 => format!("{}", len.saturating_sub(1)),
            2 => format!("00{len}"),
            3 => format!("+{len}"),
            4 => format!("-{len}"),
            5 => format!("{len}x"),
            6 => format!("{}", limit + self.random.below(2)),
            7 => "999999999".to_owned(),
            8 => "1000000000".to_owned(),
            9 => "99999999999999999999".to_owned(),
            10 => "0".to_owned(),
            _ => format!("{len}"),
        }
        .into_bytes()
    }

    fn payload(&mut self) -> Vec<u8> {
        let limit = self.config.payload();
        match self.random.below(24) {
            0..=5 => Vec::new(),
            6 => b"\r\n".to_vec(),
            7 => b"PING\r\nPUB foo 0\r\n\r\n".to_vec(),
            8 => (0..=255).collect(),
            9 if self.config == Config::Tight => vec![b'p'; limit - 1 + self.random.below(3)],
            // Larger than one read.
            10 if self.random.once_in(8) => vec![b'p'; self.random.between(30_000, 200_000)],
            11 if self.random.once_in(60) => vec![b'p'; limit - 1 + self.random.below(3)],
            _ => {
                let len = self.random.between(1, 20);
                (0..len)
                    .map(|_| b'a' + self.random.below(26) as u8)
                    .collect()
            }
        }
    }

    fn reply(&mut self) -> Option<Vec<u8>> {
        match self.random.below(6) {
            0 => Some(
                self.random
                    .pick(&[&b"_INBOX.x.1"[..], b"_INBOX.x.2", b"foo", b"rep"])
                    .to_vec(),
            ),
            1 => Some(self.subject()),
            _ => None,
        }
    }

    fn publish(&mut self, to: &mut Vec<u8>) {
        let (subject, reply, payload) = (self.subject(), self.reply(), self.payload());
        let size = self.size(payload.len());
        self.verb(to, "PUB");
        let words: Vec<&[u8]> = [&subject[..]]
            .into_iter()
            .chain(reply.as_deref())
            .chain([&size[..]])
            .collect();
        self.words(to, &words);
        to.extend_from_slice(&payload);
        self.end_of_payload(to);
    }

    fn end_of_payload(&mut self, to: &mut Vec<u8>) {
        if !self.random.once_in(50) {
            to.extend_from_slice(b"\r\n");
        }
    }

    fn publish_with_headers(&mut self, to: &mut Vec<u8>) {
        let (subject, reply, payload) = (self.subject(), self.reply(), self.payload());
        let headers = self.random.pick(&[
            &b"NATS/1.0\r\nA: b\r\n\r\n"[..],
            b"NATS/1.0\r\n\r\n",
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0\r\nA:b\r\na:\r\nB: c, d\r\n\r\n",
            b"",
            b"no headers",
        ]);
        let mut body = headers.to_vec();
        body.extend_from_slice(&payload);
        let header = if self.random.once_in(12) {
            let len = self.random.below(body.len() + 3);
            self.size(len)
        } else {
            self.size(headers.len())
        };
        let size = self.size(body.len());
        self.verb(to, "HPUB");
        let words: Vec<&[u8]> = [&subject[..]]
            .into_iter()
            .chain(reply.as_deref())
            .chain([&header[..], &size])
            .collect();
        self.words(to, &words);
        to.extend_from_slice(&body);
        self.end_of_payload(to);
    }

    fn subscribe(&mut self, to: &mut Vec<u8>) {
        let pattern = self.pattern();
        let sid = self.random.pick(&SIDS);
        // Mostly one for each group: who of several gets a message is chance.
        let queue = match self.random.below(12) {
            0 => Some(self.random.pick(&QUEUES).to_vec()),
            1 | 2 => Some(format!("g{}", self.random.below(1000)).into_bytes()),
            _ => None,
        };
        self.verb(to, "SUB");
        let words: Vec<&[u8]> = [&pattern[..]]
            .into_iter()
            .chain(queue.as_deref())
            .chain([sid])
            .collect();
        self.words(to, &words);
    }

    fn unsubscribe(&mut self, to: &mut Vec<u8>) {
        let sid = self.random.pick(&SIDS);
        let max = match self.random.below(8) {
            0..=3 => None,
            4 => Some(
                self.random
                    .pick(&[&b"-1"[..], b"x", b"999999999", b"1000000000", b"00002"])
                    .to_vec(),
            ),
            _ => Some(self.random.below(4).to_string().into_bytes()),
        };
        self.verb(to, "UNSUB");
        let words: Vec<&[u8]> = [sid].into_iter().chain(max.as_deref()).collect();
        self.words(to, &words);
    }

    fn bare(&mut self, to: &mut Vec<u8>, names: &[&str]) {
        to.extend_from_slice(self.random.pick(names).as_bytes());
        self.end(to);
    }

    fn with_json(&mut self, to: &mut Vec<u8>, name: &str) {
        let json = self.random.pick(&[
            "{}",
            "[]",
            "null",
            "5",
            "\"x\"",
            "{",
            "",
            "{\"a\":1}",
            "{}{}",
            "{\"verbose\":tru}",
            " {} ",
            "{\"a\":{\"b\":[1,2,{}]}}",
            "true",
            "\n{}",
            "{\"a\":1e400}",
            "{\"a\":01}",
            "{\"a\":1,}",
            "{\"\":null}",
            "{\"a\":\"\u{e9}\"}",
        ]);
        self.verb(to, name);
        to.extend_from_slice(json.as_bytes());
        self.end(to);
    }

    fn connect(&mut self, to: &mut Vec<u8>) {
        if self.random.once_in(20) {
            return self.with_json(to, "CONNECT");
        }
        let mut members: Vec<String> = Vec::new();
        let flag = |random: &mut Random| *random.pick(&[&"true", &"false"]);
        // Quiet clients tell more about what follows.
        if !self.random.once_in(6) {
            let value = if self.random.once_in(4) {
                "true"
            } else {
                "false"
            };
            members.push(format!("\"verbose\":{value}"));
        }
        if !self.random.once_in(8) {
            let value = if self.random.once_in(4) {
                "true"
            } else {
                "false"
            };
            members.push(format!("\"pedantic\":{value}"));
        }
        if !self.random.once_in(4) {
            let value = if self.random.once_in(6) {
                "false"
            } else {
                "true"
            };
            members.push(format!("\"headers\":{value}"));
            if self.random.once_in(2) {
                members.push(format!("\"no_responders\":{value}"));
            }
        }
        if self.random.once_in(4) {
            members.push(format!("\"echo\":{}", flag(self.random)));
        }
        if self.random.once_in(3) {
            let value = self
                .random
                .pick(&["1", "1", "0", "1", "2", "-1", "1.0", "null", "\"1\"", "1e0"]);
            members.push(format!("\"protocol\":{value}"));
        }
        if self.random.once_in(4) {
            let name = self.random.pick(&[
                "verbose",
                "pedantic",
                "echo",
                "headers",
                "no_responders",
                "name",
                "lang",
                "version",
                "user",
                "pass",
                "auth_token",
                "nkey",
                "sig",
                "jwt",
                "tls_required",
                "account",
                "new_account",
                "unknown",
                "remote_account",
                "proxy_sig",
                "Verbose",
                "VERBOSE",
                "Echo",
                "no_Responders",
                "PROTOCOL",
            ]);
            let value = self.random.pick(&[
                "true",
                "false",
                "null",
                "0",
                "1",
                "\"\"",
                "\"x\"",
                "{}",
                "[]",
                "\"a\\u0000b\"",
                "1.5",
                "\"python\"",
            ]);
            members.push(format!("\"{name}\":{value}"));
        }
        let credentials = match self.config {
            Config::Users => self.random.pick(&[
                r#""user":"alice","pass":"a""#,
                r#""user":"alice","pass":"a""#,
                r#""user":"alice","pass":"a""#,
                r#""user":"bob","pass":"b""#,
                r#""user":"bob","pass":"b""#,
                r#""user":"carol","pass":"c""#,
                r#""user":"carol","pass":"c""#,
                r#""user":"dave","pass":"d""#,
                r#""user":"admin","pass":"x""#,
                r#""user":"alice","pass":"b""#,
                r#""user":"alice""#,
                r#""user":"dave","pass":"x""#,
                r#""user":"","pass":"""#,
                r#""auth_token":"a""#,
                "",
            ]),
            Config::Token => self.random.pick(&[
                r#""auth_token":"secret""#,
                r#""auth_token":"secret""#,
                r#""auth_token":"secret""#,
                r#""auth_token":"secret","user":"u","pass":"p""#,
                r#""auth_token":"Secret""#,
                r#""user":"secret""#,
                r#""pass":"secret""#,
                "",
            ]),
            Config::User => self.random.pick(&[
                r#""user":"u","pass":"p""#,
                r#""user":"u","pass":"p""#,
                r#""user":"u","pass":"p""#,
                r#""user":"u","pass":"p","auth_token":"p""#,
                r#""user":"u","pass":"P""#,
                r#""user":"v","pass":"p""#,
                r#""pass":"p""#,
                "",
            ]),
            Config::Plain | Config::Tight if self.random.once_in(12) => r#""user":"u","pass":"p""#,
            Config::Plain | Config::Tight => "",
        };
        if !credentials.is_empty() {
            let at = self.random.below(members.len() + 1);
            members.insert(at, credentials.to_owned());
        }
        self.verb(to, "CONNECT");
        let json = format!("{{{}}}", members.join(","));
        to.extend_from_slice(json.as_bytes());
        self.end(to);
    }

    fn garbage(&mut self, to: &mut Vec<u8>) {
        let text = self.random.pick(&[
            &b"\r\n"[..],
            b"\n",
            b" ",
            b"MSG foo 1 2\r\nab\r\n",
            b"HMSG",
            b"RS+ foo\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"PUB",
            b"PUB\r\n",
            b"SUB\r\n",
            b"SUB \n",
            b"UNSUB \r\n",
            b"CONNECT\r\n",
            b"CONNECT{}\r\n",
            b"INFO{}\r\n",
            b"PUB \nfoo 0\r\n\r\n",
            b"SUBx\r\n",
            b"PINGPONG\r\n",
            b"PI",
            b"A+ x\r\n",
            b"+OK",
            b"\x00",
            b"\xff\xff",
        ]);
        to.extend_from_slice(text);
    }
}

/// Changes some bytes.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let len = bytes.len();
    let at = random.below(len + 1);
    let piece = |random: &mut Random, of: &[u8]| {
        let from = random.below(of.len() + 1);
        let to = (from + random.below(24)).min(of.len());
        of[from..to].to_vec()
    };
    match random.below(8) {
        0 if at < len => bytes[at] ^= 1 << random.below(8),
        1 if at < len => bytes[at] = random.number() as u8,
        2 => {
            let byte = random.pick(&[
                &b' ', &b'\t', &b'\n', &b'\r', &b'.', &b'*', &b'>', &b'0', &b'9', &b'"', &b'{', &0,
                &0xff,
            ]);
            bytes.insert(at, *byte);
        }
        3 if at < len => {
            let to = (at + random.between(1, 6)).min(len);
            bytes.drain(at..to);
        }
        4 => {
            let piece = piece(random, bytes);
            bytes.splice(at..at, piece);
        }
        5 => {
            let piece = piece(random, other);
            bytes.splice(at..at, piece);
        }
        6 => {
            let piece = piece(random, other);
            let to = (at + piece.len()).min(len);
            bytes.splice(at..to, piece);
        }
        _ => bytes.truncate(at),
    }
}

fn cut(step: &mut Step, random: &mut Random) {
    let len = step.bytes.len();
    if len < 2 || random.once_in(2) {
        return;
    }
    let mut cuts: Vec<usize> = match random.below(4) {
        // Around a line's end, where most goes on.
        0 => {
            let ends = step
                .bytes
                .windows(2)
                .enumerate()
                .filter(|(_, two)| *two == b"\r\n");
            let ends: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
            let near = |random: &mut Random| {
                ends.get(random.below(ends.len()))
                    .map(|at| at + random.below(3))
            };
            (0..2).filter_map(|_| near(random)).collect()
        }
        // Byte by byte.
        1 if len < 40 => (1..len).collect(),
        _ => (0..random.between(1, 4))
            .map(|_| random.between(1, len - 1))
            .collect(),
    };
    cuts.retain(|&cut| cut > 0 && cut < len);
    cuts.sort_unstable();
    cuts.dedup();
    step.cuts = cuts;
}

#[test]
fn a_seed_says_what_a_session_is() {
    let mut seen = Vec::new();
    for seed in 0..200 {
        let config = CONFIGS[seed as usize % CONFIGS.len()];
        let session = session(config, seed);
        assert_eq!(session, self::session(config, seed));
        assert_eq!(session, Session::parse(&session.to_string()));
        assert!(!seen.contains(&session));
        seen.push(session);
    }
    assert!(seen.iter().any(|session| session.clients() == 3));
}
