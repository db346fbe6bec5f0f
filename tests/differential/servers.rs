//! The two servers: nats-server from its Go module, and CIM's behind nats-server's flags (tests/suites/front); each with every configuration.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time for the start of a server.
const START: Duration = Duration::from_secs(20);

/// How a pair of servers is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config {
    /// As it comes.
    Plain,
    /// Low limits.
    Tight,
    /// Several users with permissions.
    Users,
    /// A token, and no headers.
    Token,
    /// One user.
    User,
}

pub const CONFIGS: [Config; 5] = [
    Config::Plain,
    Config::Tight,
    Config::Users,
    Config::Token,
    Config::User,
];

/// Bounds of [`Config::Tight`].
pub const TIGHT_PAYLOAD: usize = 64;
pub const TIGHT_LINE: usize = 256;
const LINE: usize = 4096;
const PAYLOAD: usize = 1 << 20;

impl Config {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tight => "tight",
            Self::Users => "users",
            Self::Token => "token",
            Self::User => "user",
        }
    }

    pub fn named(name: &str) -> Self {
        let found = CONFIGS.into_iter().find(|config| config.name() == name);
        found.unwrap_or_else(|| panic!("no configuration {name}"))
    }

    pub fn control_line(self) -> usize {
        match self {
            Self::Tight => TIGHT_LINE,
            _ => LINE,
        }
    }

    pub fn payload(self) -> usize {
        match self {
            Self::Tight => TIGHT_PAYLOAD,
            _ => PAYLOAD,
        }
    }

    /// CONNECT of a client that may do everything.
    pub fn connect(self) -> &'static str {
        match self {
            Self::Plain | Self::Tight => r#"{"verbose":false,"pedantic":false}"#,
            Self::User => r#"{"verbose":false,"pedantic":false,"user":"u","pass":"p"}"#,
            Self::Users => r#"{"verbose":false,"pedantic":false,"user":"admin","pass":"x"}"#,
            Self::Token => r#"{"verbose":false,"pedantic":false,"auth_token":"secret"}"#,
        }
    }

    /// Permissions without two things that nats-server allows and CIM does not: with `x.*` a subscription to `x.>`, and with `x.y.>` denied
    /// to get `x.y.z` by a subscription to `x.*.z`.
    fn text(self) -> String {
        match self {
            Self::Plain => String::new(),
            Self::Tight => format!(
                "max_payload: {TIGHT_PAYLOAD}\nmax_control_line: {TIGHT_LINE}\nmax_subscriptions: 3\n"
            ),
            Self::User => "authorization { user: u, password: p }\n".to_owned(),
            Self::Token => "authorization { token: secret }\nno_header_support: true\n".to_owned(),
            Self::Users => {
                let hash = bcrypt::hash("d", 4).unwrap();
                format!(
                    r#"authorization {{
  default_permissions: {{publish: ["_b.>", "foo.>", "bar"], subscribe: ["foo.>", "_INBOX.>"]}}
  users: [
    {{user: admin, password: x, permissions: {{publish: ">", subscribe: ">"}}}}
    {{user: alice, password: a, permissions: {{
      publish: {{allow: ["_b.>", "foo", "foo.*", "a.>"], deny: ["foo.secret", "a.b.c"]}}
      subscribe: {{allow: ["foo.>", "foo", "bar", "q.> team", "a.*.c"], deny: ["foo.secret", "bar blocked", "a.x.y"]}}
    }}}}
    {{user: bob, password: b}}
    {{user: carol, password: c, permissions: {{
      publish: ["_b.>", "bar"], subscribe: ["foo", "foo.>"], allow_responses: {{max: 2, expires: "5m"}}
    }}}}
    {{user: dave, password: "{hash}", permissions: {{subscribe: {{deny: [">"]}}}}}}
  ]
}}
"#
                )
            }
        }
    }
}

/// A running server; killed with its owner.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it on a free port, and waits until it serves.
    pub fn start(who: &str, program: &Path, config: Config) -> Self {
        let name = format!("{}-{who}", config.name());
        let path = |ending: &str| work().join(format!("{name}.{ending}"));
        fs::write(path("conf"), config.text()).unwrap();
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", "-1", "-c"])
            .arg(path("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn();
        let mut server = Self {
            child: child.unwrap(),
            address: SocketAddr::from(([0; 4], 0)),
        };
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(path("log")).unwrap_or_default();
            let listens = log.split_once("Listening for client connections on ");
            if let Some((_, text)) = listens.filter(|_| log.contains("Server is ready")) {
                let address = text.lines().next().unwrap_or_default();
                server.address = address.trim().parse().unwrap();
                return server;
            }
            assert!(start.elapsed() < START, "{} says {log}", program.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where everything is kept between runs.
pub fn work() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential");
    fs::create_dir_all(&dir).unwrap();
    dir
}
