//! All settings that are CIM's own, from text to values. Reads no file but those of secrets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::Given;
use super::value::Reader;
use super::{
    ApiGateway, EtcdAccess, JournalOptions, KafkaOptions, Names, Options, Paths, Revisions,
};
use crate::chain::chain;
use crate::events::journal::Fsync;
use crate::http::Access;
use crate::kafka::{Compression, check_options};
use crate::limits;
use crate::nats::config::{self, Authorization};
use crate::nats::external::{ALLOWED, External, Server};
use crate::nats::tls::{Tls, TlsOptions};
use crate::nats::{self, auth::Auth};
use crate::secret::Secret;
use crate::settings::address::{self, ENDPOINTS, HOST_PORT};
use crate::settings::problem::{Problem, Problems, shown};
use crate::settings::{Files, InfraOverrides, Shown, Source};

/// Settings as resolved, and what is to be said about them.
#[derive(Debug)]
pub struct Resolved {
    /// What is in force; only to be used when there are no `problems`.
    pub options: Options,
    /// Every setting, its value and where it comes from; secrets masked.
    pub shown: Vec<Shown>,
    /// Taken, but worth a look.
    pub warnings: Vec<String>,
    /// Not taken: CIM must not start.
    pub problems: Problems,
}

const SECOND: Duration = Duration::from_secs(1);
const MS_10: Duration = Duration::from_millis(10);
const CERT: &str = "CIM_NATS_TLS_CERT_FILE";
const KEY: &str = "CIM_NATS_TLS_KEY_FILE";
const CA: &str = "CIM_NATS_TLS_CA_FILE";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Reads all settings; collects every mistake.
pub fn resolve(given: &Given) -> Resolved {
    let mut reader = Reader::new(given);
    let r = &mut reader;
    let standalone = !r.has("K8S_POD_ID");
    let (nats_port, rest_port) = (r.port("CIM_NATS_PORT", 4222), r.port("CIM_REST_PORT", 6060));
    let nats = SocketAddr::new(r.address("CIM_NATS_BIND"), nats_port);
    let rest = SocketAddr::new(r.address("CIM_REST_BIND"), rest_port);
    if nats == rest && nats_port != 0 {
        r.problem(
            "CIM_REST_PORT",
            rest_port.to_string(),
            "another port than CIM_NATS_PORT",
        );
    }
    let tls_files;
    let options = Options {
        standalone,
        nats,
        rest,
        metrics: r.socket_address("CIM_METRICS_BIND"),
        paths: paths(r, standalone),
        nats_limits: nats_limits(r),
        nats_auth: nats_auth(r),
        nats_auth_file: r.path_of_secret("CIM_NATS_AUTH_FILE"),
        monitor: match r.secret_file("CIM_MONITOR_TOKEN_FILE") {
            Some(token) => Access::Token(token),
            None if rest.ip().is_loopback() => Access::Open,
            None => Access::Closed,
        },
        nats_tls: {
            tls_files = [CERT, KEY, CA].map(|name| r.file(name));
            nats_tls(r, &tls_files)
        },
        api_gateway: api_gateway(r),
        names: names(r),
        kubernetes: (
            r.any_text("KUBERNETES_SERVICE_HOST"),
            r.any_text("KUBERNETES_SERVICE_PORT"),
        ),
        ctr_fields_mandatory: r.flag("CTR_FIELDS_MANDATORY", false),
        infra: infra(r),
        etcd: etcd(r),
        app_url: r.text("CIM_APP_URL", "http://host:port", |url| {
            url.starts_with("http://") && address::is_http_url(url)
        }),
        reply_timeout: r.time(
            "CIM_CONFIG_REPLY_TIMEOUT",
            SECOND..=limits::CONFIG_REPLY_TIME_MAX,
            limits::CONFIG_REPLY_TIME,
        ),
        revisions: Revisions {
            ms: revision(r, "MS_CONFIG_REVISION"),
            nf: revision(r, "NF_CONFIG_REVISION"),
        },
        delete_pod: r.flag("CIM_DELETE_POD", true),
        end_after_app: end_after_app(r),
        kafka: kafka(r),
        journal: journal(r),
        external: external(r, tls_files),
    };
    Resolved {
        options,
        shown: reader.shown,
        warnings: reader.warnings,
        problems: reader.problems,
    }
}

fn paths(r: &mut Reader<'_>, standalone: bool) -> Paths {
    let [log, conf, shipped, infra] = if standalone {
        [
            "cim-data/logs",
            "cim-data/conf/cim.json",
            "cim-data/config/cim.json",
            "cim-data/conf/static/common-infra.json",
        ]
    } else {
        [
            "/opt/logs",
            "/opt/conf/cim.json",
            "/opt/config/cim.json",
            "/opt/conf/static/common-infra.json",
        ]
    };
    let log_dir = r.path("CIM_LOG_DIR", Path::new(log));
    Paths {
        state_dir: r.path("CIM_STATE_DIR", &log_dir.join(".cim")),
        files: Files {
            cim: r.path("CIM_CONF_FILE", Path::new(conf)),
            shipped: r.path("CIM_SHIPPED_CONF_FILE", Path::new(shipped)),
            infra: r.path("CIM_INFRA_FILE", Path::new(infra)),
        },
        service_account_dir: r.path(
            "CIM_SERVICE_ACCOUNT_DIR",
            Path::new("/var/run/secrets/kubernetes.io/serviceaccount"),
        ),
        log_dir,
    }
}

fn nats_limits(r: &mut Reader<'_>) -> nats::Limits {
    let d = nats::Limits::default();
    let control_lines = 512..=limits::READ_BLOCK_BYTES / 2;
    let limits = nats::Limits {
        payload_bytes: r.number(
            "CIM_NATS_MAX_PAYLOAD",
            1024..=limits::PAYLOAD_BYTES,
            d.payload_bytes,
        ),
        control_line_bytes: r.number(
            "CIM_NATS_MAX_CONTROL_LINE",
            control_lines,
            d.control_line_bytes,
        ),
        connections: r.number("CIM_NATS_MAX_CONNECTIONS", 1..=65_536, d.connections),
        client_pending_bytes: r.number(
            "CIM_NATS_MAX_PENDING",
            4096..=1 << 30,
            d.client_pending_bytes,
        ),
        all_pending_bytes: r.number(
            "CIM_NATS_MAX_PENDING_TOTAL",
            4096..=1 << 30,
            d.all_pending_bytes,
        ),
        ping_interval: r.time("CIM_NATS_PING_INTERVAL", MS_10..=HOUR, d.ping_interval),
        pings_outstanding: r.number("CIM_NATS_PING_MAX", 1..=100, d.pings_outstanding),
        connect_timeout: r.time(
            "CIM_NATS_CONNECT_TIMEOUT",
            MS_10..=MINUTE,
            d.connect_timeout,
        ),
        write_deadline: r.time("CIM_NATS_WRITE_DEADLINE", MS_10..=HOUR, d.write_deadline),
        read_coalesce: Duration::from_micros(r.number(
            "CIM_READ_COALESCE_US",
            0..=100_000,
            u64::try_from(d.read_coalesce.as_micros()).unwrap_or(u64::MAX),
        )),
        ..d
    };
    let one_message = limits.payload_bytes + limits.control_line_bytes;
    if limits.client_pending_bytes < one_message {
        let allowed = format!("at least one message: {one_message} (payload and control line)");
        r.problem(
            "CIM_NATS_MAX_PENDING",
            limits.client_pending_bytes.to_string(),
            &allowed,
        );
    }
    if limits.all_pending_bytes < limits.client_pending_bytes {
        let allowed = format!(
            "at least CIM_NATS_MAX_PENDING: {}",
            limits.client_pending_bytes
        );
        let value = limits.all_pending_bytes.to_string();
        r.problem("CIM_NATS_MAX_PENDING_TOTAL", value, &allowed);
    }
    limits
}

fn nats_auth(r: &mut Reader<'_>) -> Auth {
    let user = r.any_text("CIM_NATS_USER");
    let password = r.secret_file("CIM_NATS_PASSWORD_FILE");
    let token = r.secret_file("CIM_NATS_TOKEN_FILE");
    r.together("CIM_NATS_USER", "CIM_NATS_PASSWORD_FILE");
    let has_user = r.has("CIM_NATS_USER") || r.has("CIM_NATS_PASSWORD_FILE");
    if let Some(path) = r.file("CIM_NATS_AUTH_FILE") {
        if has_user || r.has("CIM_NATS_TOKEN_FILE") {
            let allowed = "either it, or CIM_NATS_USER, or CIM_NATS_TOKEN_FILE";
            r.problem("CIM_NATS_AUTH_FILE", "with others, it".to_owned(), allowed);
        }
        return match Authorization::read(&path, &config::Files) {
            Ok(authorization) => authorization.auth(),
            Err(error) => {
                let allowed = format!("a block authorization ({})", chain(&error));
                r.problem(
                    "CIM_NATS_AUTH_FILE",
                    shown(&path.to_string_lossy()),
                    &allowed,
                );
                Auth::Open
            }
        };
    }
    if r.has("CIM_NATS_TOKEN_FILE") && has_user {
        let allowed = "either a token, or user and password";
        r.problem(
            "CIM_NATS_TOKEN_FILE",
            "with CIM_NATS_USER, it".to_owned(),
            allowed,
        );
    }
    match (user, password, token) {
        (_, _, Some(token)) => Auth::token(token),
        (Some(user), Some(password), None) => Auth::user(user, password),
        _ => Auth::Open,
    }
}

/// The files are read to be checked, and again by the server.
fn nats_tls(r: &mut Reader<'_>, files: &[Option<PathBuf>; 3]) -> Option<TlsOptions> {
    r.together(CERT, KEY);
    if r.has("CIM_NATS_URL") {
        return None;
    }
    let [Some(cert), Some(key), ca] = files.clone() else {
        if r.has(CA) && !r.has(CERT) {
            r.problem(
                CA,
                "alone, it".to_owned(),
                "together with CIM_NATS_TLS_CERT_FILE",
            );
        }
        return None;
    };
    let options = TlsOptions {
        verify: ca.is_some(),
        ca_file: ca,
        ..TlsOptions::new(cert, key)
    };
    if let Err(error) = Tls::load(options.clone()) {
        let allowed = format!("with files that can be used ({})", chain(&error));
        r.problem(CERT, "TLS for NATS clients".to_owned(), &allowed);
    }
    Some(options)
}

fn api_gateway(r: &mut Reader<'_>) -> ApiGateway {
    let gateway = ApiGateway {
        username: r.any_text("CIM_APIGW_USERNAME"),
        password: r.secret_file("CIM_APIGW_PASSWORD_FILE"),
    };
    if r.has("CIM_APIGW_USERNAME") != r.has("CIM_APIGW_PASSWORD_FILE") {
        let warning =
            "CIM_APIGW_USERNAME and CIM_APIGW_PASSWORD_FILE belong together; only one is given";
        r.warnings.push(warning.to_owned());
    }
    gateway
}

fn names(r: &mut Reader<'_>) -> Names {
    // Made safe and warned about in `identity`: the platform gives them, and CIM must come up.
    Names {
        pod: r.any_text("K8S_POD_ID"),
        namespace: r.any_text("K8S_NAMESPACE"),
        container_id: r.any_text("K8S_CONTAINER_ID"),
        nf: r.any_text("NF"),
        nf_type: r.any_text("NF_TYPE"),
        nf_prefix: r.any_text("NF_PREFIX"),
        microservice: r.any_text("CIM_MICROSERVICE"),
        version: r.any_text("CIM_SERVICE_VERSION"),
    }
}

fn infra(r: &mut Reader<'_>) -> InfraOverrides {
    let etcd =
        |list: &str| address::is_list(list, |one| address::is_endpoint(one, &["http", "https"]));
    let etcd_url = r.text("CIM_ETCD_URL", ENDPOINTS, etcd);
    let brokers = |list: &str| address::is_list(list, address::is_host_port);
    let allowed = format!("{HOST_PORT}, several separated by commas");
    let kafka = r.text("CIM_KAFKA_BROKERS", &allowed, brokers);
    let kafka = kafka.map(|list| address::items(&list).map(str::to_owned).collect());
    InfraOverrides {
        etcd_url: etcd_url.map(|url| (url, r.source("CIM_ETCD_URL"))),
        kafka_brokers: kafka.map(|list| (list, r.source("CIM_KAFKA_BROKERS"))),
    }
}

fn etcd(r: &mut Reader<'_>) -> EtcdAccess {
    let user = r.any_text("CIM_ETCD_USER");
    let password = r.secret_file("CIM_ETCD_PASSWORD_FILE");
    let access = EtcdAccess {
        user: user.zip(password),
        password_file: r.path_of_secret("CIM_ETCD_PASSWORD_FILE"),
        ca_file: r.file("CIM_ETCD_CA_FILE"),
        cert_file: r.file("CIM_ETCD_CERT_FILE"),
        key_file: r.file("CIM_ETCD_KEY_FILE"),
    };
    for (one, other) in [
        ("CIM_ETCD_USER", "CIM_ETCD_PASSWORD_FILE"),
        ("CIM_ETCD_CERT_FILE", "CIM_ETCD_KEY_FILE"),
    ] {
        r.together(one, other);
    }
    access
}

/// Put into etcd as it is, so it is kept as it is; only a number says which change sets are done.
fn revision(r: &mut Reader<'_>, name: &str) -> Option<String> {
    let text = r.any_text(name)?;
    if text.parse::<u64>().is_err() {
        let text = shown(&text);
        r.warnings
            .push(format!("{name}: {text} is no revision number"));
    }
    Some(text)
}

/// What concerns the embedded server alone.
const OF_THE_EMBEDDED_SERVER: [&str; 6] = [
    "CIM_NATS_PORT",
    "CIM_NATS_BIND",
    "CIM_NATS_USER",
    "CIM_NATS_PASSWORD_FILE",
    "CIM_NATS_TOKEN_FILE",
    "CIM_NATS_AUTH_FILE",
];

fn external(r: &mut Reader<'_>, tls_files: [Option<PathBuf>; 3]) -> Option<External> {
    let shown = |servers: &Vec<Server>| {
        let shown: Vec<_> = servers.iter().map(Server::shown).collect();
        shown.join(",")
    };
    let servers = r.secret_text("CIM_NATS_URL", ALLOWED, Server::parse_list, shown)?;
    for name in OF_THE_EMBEDDED_SERVER {
        if r.has(name) {
            let warning = format!("{name}: not used together with CIM_NATS_URL");
            r.warnings.push(warning);
        }
    }
    let [certificate, key, ca_file] = tls_files;
    Some(External {
        servers,
        ca_file,
        certificate: certificate.zip(key),
    })
}

fn end_after_app(r: &mut Reader<'_>) -> Option<Duration> {
    let name = "CIM_END_AFTER_APP";
    let time = r.optional_time(name, SECOND..=HOUR);
    if time.is_some() && r.has("CIM_NATS_URL") {
        let allowed = "without CIM_NATS_URL: the connections of another server are not seen";
        r.problem(name, "it".to_owned(), allowed);
    }
    time
}

fn kafka(r: &mut Reader<'_>) -> KafkaOptions {
    let keys = |opts: &Vec<(String, Secret)>| {
        let shown: Vec<_> = opts.iter().map(|(key, _)| format!("{key}=***")).collect();
        shown.join(",")
    };
    let allowed = "key=value, several separated by commas";
    let opts = r.secret_text("CIM_KAFKA_OPTS", allowed, kafka_opts, keys);
    if let Some(Err(error)) = opts.as_deref().map(check_options) {
        let allowed = format!("options of librdkafka that CIM's guarantees leave free ({error})");
        r.problem("CIM_KAFKA_OPTS", error.key().to_owned(), &allowed);
    }
    KafkaOptions {
        compression: r.choice(
            "CIM_KAFKA_COMPRESSION",
            &Compression::NAMES,
            Compression::None,
        ),
        opts: opts.unwrap_or_default(),
    }
}

fn journal(r: &mut Reader<'_>) -> JournalOptions {
    let mib = r.number(
        "CIM_JOURNAL_MAX_MB",
        limits::JOURNAL_MB,
        limits::JOURNAL_MB_DEFAULT,
    );
    JournalOptions {
        fsync: r.choice("CIM_JOURNAL_FSYNC", &Fsync::NAMES, Fsync::Never),
        bytes_max: mib << 20,
    }
}

fn kafka_opts(text: &str) -> Option<Vec<(String, Secret)>> {
    let is_key = |key: &str| {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        !key.is_empty() && key.bytes().all(good)
    };
    let option = |item: &str| {
        let (key, value) = item.split_once('=')?;
        let key = key.trim();
        is_key(key).then(|| (key.to_owned(), Secret::new(value)))
    };
    address::items(text).map(option).collect()
}

impl Resolved {
    /// The configuration files that were named and do not exist: a slip, most likely. Looks at the file system.
    pub fn absent_files(&self) -> Vec<String> {
        let files = &self.options.paths.files;
        let named = |name: &str| {
            let mut given = self.shown.iter().filter(|s| s.source != Source::BuiltIn);
            given.any(|s| s.name == name)
        };
        [
            ("CIM_CONF_FILE", &files.cim),
            ("CIM_SHIPPED_CONF_FILE", &files.shipped),
            ("CIM_INFRA_FILE", &files.infra),
        ]
        .into_iter()
        .filter(|(name, path)| named(name) && !path.exists())
        .map(|(name, path)| format!("{name}: {} does not exist", path.display()))
        .collect()
    }

    /// The problems, one a line, for standard error.
    pub fn complaint(&self) -> Option<String> {
        let lines: Vec<_> = self.problems.iter().map(Problem::to_string).collect();
        let more = match self.problems.more() {
            0 => String::new(),
            more => format!("\nand {more} more"),
        };
        (!lines.is_empty()).then(|| format!("{}{more}", lines.join("\n")))
    }
}
