//! A whole configuration of nats-server, as far as a server here has what it names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authorization::Authorization;
use super::error::{ConfigError, Fault};
use super::value::{Kind, Value};
use super::{Sources, duration, read};
use crate::nats::tls::KeyHash;

/// What a configuration says; what it leaves out is `None`, empty or false.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerConfig {
    /// `host`, `net` or the first part of `listen`.
    pub host: Option<String>,
    /// `port` or the last part of `listen`; 0: any that is free.
    pub port: Option<u16>,
    /// `http` or `http_port`: where monitoring listens.
    pub http: Option<Listen>,
    /// `https` or `https_port`.
    pub https: Option<Listen>,
    /// `server_name`.
    pub server_name: Option<String>,
    /// `client_advertise`: the address that clients are told.
    pub client_advertise: Option<String>,
    /// `max_payload`, in bytes.
    pub max_payload: Option<usize>,
    /// `max_control_line`, in bytes.
    pub max_control_line: Option<usize>,
    /// `max_pending`, in bytes.
    pub max_pending: Option<usize>,
    /// `max_connections`; 0 (or less, in the file): none may connect.
    pub max_connections: Option<usize>,
    /// `max_subscriptions` of one client.
    pub max_subscriptions: Option<usize>,
    /// `ping_interval`.
    pub ping_interval: Option<Duration>,
    /// `ping_max`.
    pub ping_max: Option<u32>,
    /// `write_deadline`.
    pub write_deadline: Option<Duration>,
    /// `no_header_support`.
    pub no_header_support: bool,
    /// `authorization`, and the users of `accounts`.
    pub authorization: Authorization,
    /// There are `accounts` that nats-server would keep apart, and this server does not.
    pub has_accounts: bool,
    /// `tls`.
    pub tls: Option<Tls>,
    /// `allow_non_tls`: clients without TLS are served too.
    pub allow_non_tls: bool,
    /// `lame_duck_duration`.
    pub lame_duck_duration: Option<Duration>,
    /// `lame_duck_grace_period`.
    pub lame_duck_grace_period: Option<Duration>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `None`: where the clients' port is.
    pub host: Option<String>,
    /// 0: any that is free.
    pub port: u16,
}

/// The block `tls`. Relative paths are as seen from the working directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `cert_file`, PEM.
    pub cert_file: PathBuf,
    /// `key_file`, PEM.
    pub key_file: PathBuf,
    /// `ca_file`, PEM.
    pub ca_file: Option<PathBuf>,
    /// `verify`: clients must show a certificate of `ca_file`.
    pub verify: bool,
    /// `verify_and_map`: and it says which user they are.
    pub map: bool,
    /// `pinned_certs`: the hashes of the public keys of which a client's certificate must have one; empty: any.
    pub pinned_certs: Vec<KeyHash>,
    /// `timeout` of the handshake.
    pub timeout: Option<Duration>,
    /// `handshake_first`: TLS begins before INFO.
    pub handshake_first: bool,
    /// With it: time after which a client that has sent nothing gets INFO in plain text.
    pub handshake_fallback: Option<Duration>,
}

/// nats-server's default of `lame_duck_duration`.
pub const LAME_DUCK_DURATION: Duration = Duration::from_secs(120);
/// nats-server's default of `lame_duck_grace_period`.
pub const LAME_DUCK_GRACE: Duration = Duration::from_secs(10);
/// The shortest `lame_duck_duration`.
const LAME_DUCK_DURATION_LEAST: Duration = Duration::from_secs(30);
/// nats-server's time for `handshake_first: auto`.
const HANDSHAKE_FALLBACK: Duration = Duration::from_millis(50);

/// Keys that say nothing that matters here: logging and diagnosis, which are CIM's own, and internals of nats-server.
const PASSED_OVER: &str = "debug trace trace_verbose trace_headers logtime logtime_utc logfile log_file logfile_size_limit \
    log_size_limit logfile_max_num log_max_num syslog remote_syslog pidfile pid_file ports_file_dir max_traced_msg_len \
    disable_sublist_cache no_sublist_cache no_system_account no_system no_sys_acc connect_error_reports \
    reconnect_error_reports server_tags server_metadata no_fast_producer_stall max_closed_clients";

/// Keys of what nats-server has and this server has not.
const UNSUPPORTED: &str = "cluster gateway leaf leafnodes jetstream store_dir storedir websocket ws mqtt operator \
    operators roots root root_operators root_operator resolver account_resolver accounts_resolver resolver_tls \
    resolver_preload resolver_pinned_accounts system_account system trusted trusted_keys mappings maps ocsp ocsp_cache \
    proxy_protocol proxies default_js_domain default_sentinel prof_port prof_block_rate http_base_path max_sub_tokens \
    max_subscription_tokens write_timeout feature_flags";

fn is_in(list: &str, key: &str) -> bool {
    list.split_whitespace().any(|word| word == key)
}

impl ServerConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no configuration, or one that this server cannot follow.
    pub fn read(path: &Path, sources: &dyn Sources) -> Result<Self, ConfigError> {
        let block = read(path, sources)?;
        let mut found = Self::default();
        let (mut accounts, mut no_auth_user, mut grace) = (None, None, None);
        for (key, value) in block.entries() {
            match key.as_str() {
                "accounts" => accounts = Some(value),
                "no_auth_user" => no_auth_user = Some(value),
                "lame_duck_grace_period" => grace = Some(value),
                _ => found.set(&key, value)?,
            }
        }
        // What these are about may stand behind them.
        if let Some(value) = accounts {
            found.authorization.add_accounts(value)?;
            found.has_accounts = true;
        }
        if let Some(value) = no_auth_user {
            found.authorization.set_no_auth_user(value)?;
        }
        if let Some(value) = grace {
            let grace = value.duration("lame_duck_grace_period")?;
            let duration = found.lame_duck_duration.unwrap_or(LAME_DUCK_DURATION);
            if grace >= duration {
                let allowed = "shorter than lame_duck_duration";
                return Err(value.wrong("lame_duck_grace_period", allowed));
            }
            found.lame_duck_grace_period = Some(grace);
        }
        Ok(found)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        match key {
            "listen" => {
                let listen = listen(key, value)?;
                self.port = Some(listen.port);
                if listen.host.is_some() {
                    self.host = listen.host;
                }
            }
            "host" | "net" => self.host = Some(value.text(key)?.to_owned()),
            "port" => self.port = Some(port(key, value)?),
            "http" => self.http = Some(listen(key, value)?),
            "http_port" | "monitor_port" => self.http = Some(port_alone(key, value)?),
            "https" => self.https = Some(listen(key, value)?),
            "https_port" => self.https = Some(port_alone(key, value)?),
            "server_name" => {
                let name = value.text(key)?;
                if name.contains(char::is_whitespace) {
                    return Err(value.wrong(key, "a name without blanks"));
                }
                self.server_name = Some(name.to_owned());
            }
            "client_advertise" => self.client_advertise = Some(value.text(key)?.to_owned()),
            "max_payload" => self.max_payload = Some(size(key, value)?),
            "max_control_line" => self.max_control_line = Some(size(key, value)?),
            "max_pending" => self.max_pending = Some(value.number(key, "a number of bytes")?),
            "max_connections" | "max_conn" => {
                self.max_connections = Some(no_limit(key, value)?.unwrap_or(0));
            }
            "max_subscriptions" | "max_subs" => {
                self.max_subscriptions = no_limit(key, value)?.filter(|&max| max > 0);
            }
            "ping_interval" => self.ping_interval = Some(value.duration(key)?),
            "ping_max" => self.ping_max = Some(value.number(key, "a number of PINGs")?),
            "write_deadline" => self.write_deadline = Some(value.duration(key)?),
            "no_header_support" => self.no_header_support = value.boolean(key)?,
            "authorization" => self.authorization = Authorization::from_value(value)?,
            "tls" => self.tls = Some(Tls::from_value(value)?),
            "allow_non_tls" => self.allow_non_tls = value.boolean(key)?,
            "lame_duck_duration" => {
                let duration = value.duration(key)?;
                if duration < LAME_DUCK_DURATION_LEAST {
                    return Err(value.wrong(key, "at least 30 s"));
                }
                self.lame_duck_duration = Some(duration);
            }
            _ if is_in(PASSED_OVER, key) => {}
            _ if is_in(UNSUPPORTED, key) => {
                return Err(value.error(Fault::Unsupported {
                    key: key.to_owned(),
                }));
            }
            _ => value.unknown(key)?,
        }
        Ok(())
    }
}

impl Tls {
    fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let mut found = Self::default();
        for (key, value) in value.block("tls")?.entries() {
            match key.as_str() {
                "cert_file" => found.cert_file = value.text(&key)?.into(),
                "key_file" => found.key_file = value.text(&key)?.into(),
                "ca_file" => found.ca_file = Some(value.text(&key)?.into()),
                "verify" => found.verify |= value.boolean(&key)?,
                "verify_and_map" => {
                    found.map = value.boolean(&key)?;
                    found.verify |= found.map;
                }
                "pinned_certs" => found.pinned_certs = pinned_certs(&key, value)?,
                "timeout" => found.timeout = Some(value.duration(&key)?),
                "handshake_first" | "first" | "immediate" => found.set_first(&key, value)?,
                // What rustls offers is good, and any client of today has some of it.
                "curve_preferences" | "cipher_suites" => {
                    value.array(&key)?;
                }
                // It is about connections that nats-server itself makes.
                "insecure" => {
                    value.boolean(&key)?;
                }
                "allow_insecure_cipher_suites"
                | "min_version"
                | "connection_rate_limit"
                | "cert_store"
                | "cert_match_by"
                | "cert_match"
                | "ca_certs_match"
                | "certs"
                | "ocsp_peer"
                | "config_ocsp"
                | "verify_cert_and_check_known_urls" => {
                    return Err(value.error(Fault::Unsupported { key }));
                }
                _ => value.unknown(&key)?,
            }
        }
        if found.cert_file.as_os_str().is_empty() || found.key_file.as_os_str().is_empty() {
            return Err(value.error(Fault::Combination("tls needs a cert_file and a key_file")));
        }
        Ok(found)
    }

    fn set_first(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        let wrong = || value.wrong(key, "true, false, auto or a duration");
        (self.handshake_first, self.handshake_fallback) = match &value.kind {
            Kind::Bool(first) => (*first, None),
            Kind::Text(text) => match text.as_str() {
                "auto" | "auto_fallback" => (true, Some(HANDSHAKE_FALLBACK)),
                "true" | "on" => (true, None),
                "false" | "off" => (false, None),
                text => match duration::parse(text) {
                    Some(fallback) => (true, Some(fallback)),
                    None => return Err(wrong()),
                },
            },
            _ => return Err(wrong()),
        };
        Ok(())
    }
}

fn pinned_certs(key: &str, value: &Value) -> Result<Vec<KeyHash>, ConfigError> {
    let hashes = value.array(key)?.iter().map(|value| {
        let hash = KeyHash::parse(value.text(key)?);
        hash.ok_or_else(|| value.wrong(key, "SHA-256 hashes, each of 64 hexadecimal digits"))
    });
    hashes.collect()
}

/// A port, or `host:port`.
fn listen(key: &str, value: &Value) -> Result<Listen, ConfigError> {
    let Kind::Text(text) = &value.kind else {
        return port_alone(key, value);
    };
    let wrong = || value.wrong(key, "a port or host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = match port {
        "-1" => 0,
        port => port.parse().map_err(|_| wrong())?,
    };
    Ok(Listen {
        host: (!host.is_empty()).then(|| host.to_owned()),
        port,
    })
}

fn port_alone(key: &str, value: &Value) -> Result<Listen, ConfigError> {
    Ok(Listen {
        host: None,
        port: port(key, value)?,
    })
}

/// -1 is any port that is free.
fn port(key: &str, value: &Value) -> Result<u16, ConfigError> {
    match value.integer(key)? {
        -1 => Ok(0),
        _ => value.number(key, "a port"),
    }
}

/// Nine digits are what fits into the protocol.
fn size(key: &str, value: &Value) -> Result<usize, ConfigError> {
    let allowed = "between 1 and 999999999 bytes";
    match value.number(key, allowed)? {
        size @ 1..=999_999_999 => Ok(size),
        _ => Err(value.wrong(key, allowed)),
    }
}

/// A number, `None` when it is negative.
fn no_limit(key: &str, value: &Value) -> Result<Option<usize>, ConfigError> {
    Ok(usize::try_from(value.integer(key)?).ok())
}

#[cfg(test)]
mod tests;
