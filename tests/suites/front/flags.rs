//! nats-server's flags: with one dash or two, the value behind a blank or `=`.

use cim::secret::Secret;

/// What the command line asks for.
pub enum Wanted {
    Start(Box<Flags>),
    Version,
}

/// What a flag says over the configuration file.
#[derive(Default)]
pub struct Flags {
    pub config: Option<String>,
    pub log: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub http_port: Option<u16>,
    pub server_name: Option<String>,
    pub client_advertise: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub tls: bool,
    pub tls_verify: bool,
    pub tls_cert: Option<String>,
    pub tls_key: Option<String>,
    pub tls_ca: Option<String>,
}

/// Flags of what this server does not have.
const UNSUPPORTED: [&str; 23] = [
    "cluster",
    "cluster_listen",
    "cluster_name",
    "cluster_advertise",
    "routes",
    "no_advertise",
    "connect_retries",
    "js",
    "jetstream",
    "sd",
    "store_dir",
    "ms",
    "https_port",
    "profile",
    "signal",
    "sl",
    "s",
    "syslog",
    "r",
    "remote_syslog",
    "ports_file_dir",
    "P",
    "pid",
];

/// Reads the arguments.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut flags = Flags::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let name = argument
            .strip_prefix('-')
            .map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        let Some(name) = name else {
            return Err(format!("unexpected argument {argument:?}"));
        };
        let (name, mut given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        if UNSUPPORTED.contains(&name) {
            return Err(format!("--{name} is not supported by this server"));
        }
        if let Some(switch) = flags.switch(name) {
            *switch = match given.as_deref() {
                None | Some("true") => true,
                Some("false") => false,
                Some(_) => return Err(format!("--{name} is true or false")),
            };
            continue;
        }
        if matches!(name, "v" | "version") {
            return Ok(Wanted::Version);
        }
        // What CIM's log says is its own matter.
        if matches!(
            name,
            "D" | "V" | "DV" | "VV" | "DVV" | "debug" | "trace" | "T" | "logtime"
        ) {
            continue;
        }
        given = given.or_else(|| arguments.next());
        let value = given.ok_or_else(|| format!("--{name} needs a value"))?;
        flags.set(name, value)?;
    }
    Ok(Wanted::Start(Box::new(flags)))
}

/// -1 is any port that is free.
fn port(name: &str, value: &str) -> Result<Option<u16>, String> {
    match value {
        "-1" => Ok(Some(0)),
        _ => match value.parse() {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(format!("--{name} is a port, not {value:?}")),
        },
    }
}

impl Flags {
    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "tls" => Some(&mut self.tls),
            "tlsverify" => Some(&mut self.tls_verify),
            _ => None,
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "p" | "port" => self.port = port(name, &value)?,
            "m" | "http_port" => self.http_port = port(name, &value)?,
            "pass" => self.password = Some(Secret::new(value)),
            "auth" => self.token = Some(Secret::new(value)),
            "c" | "config" => self.config = Some(value),
            "l" | "log" => self.log = Some(value),
            "a" | "addr" | "net" => self.host = Some(value),
            "n" | "name" | "server_name" => self.server_name = Some(value),
            "client_advertise" => self.client_advertise = Some(value),
            "user" => self.user = Some(value),
            "tlscert" => self.tls_cert = Some(value),
            "tlskey" => self.tls_key = Some(value),
            "tlscacert" => self.tls_ca = Some(value),
            _ => return Err(format!("unknown flag --{name}")),
        }
        Ok(())
    }
}
