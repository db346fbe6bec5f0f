//! The command line of `cim run` and `cim check`: each flag with its environment variable. Values are taken as text here and
//! read in [`super::resolve`], so that all mistakes are told at once, and none shows a secret.

use std::collections::HashMap;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use crate::settings::Source;

/// Every setting that is CIM's own (DESIGN section 5, CONTRACT section 1).
#[derive(Args)]
#[group(skip)]
#[allow(missing_docs)]
pub struct OptionArgs {
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    pod: PodArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Where CIM listens")]
struct Listen {
    /// Port of the NATS server; 0: any free one, printed at the start [default: 4222]
    #[arg(
        long,
        env = "CIM_NATS_PORT",
        hide_env_values = true,
        value_name = "PORT"
    )]
    nats_port: Option<String>,
    /// Port of the operations API; 0: any free one, printed at the start [default: 6060]
    #[arg(
        long,
        env = "CIM_REST_PORT",
        hide_env_values = true,
        value_name = "PORT"
    )]
    rest_port: Option<String>,
    /// Address of the NATS server [default: 127.0.0.1]
    #[arg(long, env = "CIM_NATS_BIND", hide_env_values = true, value_name = "IP")]
    nats_bind: Option<String>,
    /// External NATS server instead of the embedded one: nats://[user:password@]host:port or tls://…, several separated by commas
    #[arg(long, env = "CIM_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<String>,
    /// Address of the operations API [default: 127.0.0.1]
    #[arg(long, env = "CIM_REST_BIND", hide_env_values = true, value_name = "IP")]
    rest_bind: Option<String>,
    /// Address and port for /metrics, /healthz and /readyz alone, to open them to the pod network [default: on the REST port]
    #[arg(
        long,
        env = "CIM_METRICS_BIND",
        hide_env_values = true,
        value_name = "IP:PORT"
    )]
    metrics_bind: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Files (defaults in brackets: in a pod; standalone)")]
struct FileArgs {
    /// Directory of the log files [default: /opt/logs; ./cim-data/logs]
    #[arg(long, env = "CIM_LOG_DIR", hide_env_values = true, value_name = "DIR")]
    log_dir: Option<String>,
    /// Mounted cim.json; wins over the shipped one [default: /opt/conf/cim.json; ./cim-data/conf/cim.json]
    #[arg(
        long,
        env = "CIM_CONF_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    conf_file: Option<String>,
    /// Shipped cim.json, used when there is no mounted one [default: /opt/config/cim.json; ./cim-data/config/cim.json]
    #[arg(
        long,
        env = "CIM_SHIPPED_CONF_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    shipped_conf_file: Option<String>,
    /// common-infra.json [default: /opt/conf/static/common-infra.json; ./cim-data/conf/static/common-infra.json]
    #[arg(
        long,
        env = "CIM_INFRA_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    infra_file: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(
    next_help_heading = "Limits of the NATS server (times: 500ms, 10s, 2m; a plain number is seconds)"
)]
struct LimitArgs {
    /// Bytes of one payload, headers included [default: 1048576]
    #[arg(
        long,
        env = "CIM_NATS_MAX_PAYLOAD",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    nats_max_payload: Option<String>,
    /// Bytes of one control line [default: 4096]
    #[arg(
        long,
        env = "CIM_NATS_MAX_CONTROL_LINE",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    nats_max_control_line: Option<String>,
    /// Connections at one time [default: 1024]
    #[arg(
        long,
        env = "CIM_NATS_MAX_CONNECTIONS",
        hide_env_values = true,
        value_name = "COUNT"
    )]
    nats_max_connections: Option<String>,
    /// Bytes that may wait for one client before it is cut off [default: 8388608]
    #[arg(
        long,
        env = "CIM_NATS_MAX_PENDING",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    nats_max_pending: Option<String>,
    /// Bytes that may wait for all clients together [default: 16777216]
    #[arg(
        long,
        env = "CIM_NATS_MAX_PENDING_TOTAL",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    nats_max_pending_total: Option<String>,
    /// Time between two PINGs to an idle client [default: 120s]
    #[arg(
        long,
        env = "CIM_NATS_PING_INTERVAL",
        hide_env_values = true,
        value_name = "TIME"
    )]
    nats_ping_interval: Option<String>,
    /// PINGs without an answer before a client counts as gone [default: 2]
    #[arg(
        long,
        env = "CIM_NATS_PING_MAX",
        hide_env_values = true,
        value_name = "COUNT"
    )]
    nats_ping_max: Option<String>,
    /// Time a new client has for its CONNECT when authentication is on [default: 2s]
    #[arg(
        long,
        env = "CIM_NATS_CONNECT_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME"
    )]
    nats_connect_timeout: Option<String>,
    /// Time a client may take nothing of what waits for it [default: 10s]
    #[arg(
        long,
        env = "CIM_NATS_WRITE_DEADLINE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    nats_write_deadline: Option<String>,
    /// Microseconds between two reads of a connection that publishes a stream: more is less CPU and more delay [default: 2000]
    #[arg(
        long,
        env = "CIM_READ_COALESCE_US",
        hide_env_values = true,
        value_name = "MICROSECONDS"
    )]
    read_coalesce_us: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Credentials (secrets come from files alone)")]
struct SecretArgs {
    /// User that NATS clients must give; needs --nats-password-file [default: no authentication]
    #[arg(
        long,
        env = "CIM_NATS_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    nats_user: Option<String>,
    /// File with the password of --nats-user
    #[arg(
        long,
        env = "CIM_NATS_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_password_file: Option<String>,
    /// File with the token that NATS clients must give, instead of user and password
    #[arg(
        long,
        env = "CIM_NATS_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_token_file: Option<String>,
    /// File with the block `authorization` of nats-server's configuration: several NATS clients, hashes, permissions
    #[arg(
        long,
        env = "CIM_NATS_AUTH_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_auth_file: Option<String>,
    /// File with the token for /, /status, /varz, /connz and /subsz; without it they are for loopback alone
    #[arg(
        long,
        env = "CIM_MONITOR_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    monitor_token_file: Option<String>,
    /// Certificate of the NATS server (PEM, the chain behind it), for TLS; needs --nats-tls-key-file; with --nats-url CIM's own one as
    /// a client [default: no TLS]
    #[arg(
        long,
        env = "CIM_NATS_TLS_CERT_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_tls_cert_file: Option<String>,
    /// Private key (PEM) of --nats-tls-cert-file
    #[arg(
        long,
        env = "CIM_NATS_TLS_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_tls_key_file: Option<String>,
    /// Certificates (PEM) of which one must have signed the certificate that each NATS client then needs; with --nats-url that of the
    /// server [default: clients need none; the authorities of the system]
    #[arg(
        long,
        env = "CIM_NATS_TLS_CA_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    nats_tls_ca_file: Option<String>,
    /// User of the API gateway, as the answer to a registration tells it [default: empty]
    #[arg(
        long,
        env = "CIM_APIGW_USERNAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    apigw_username: Option<String>,
    /// File with the API gateway's password, as the answer to a registration tells it [default: empty]
    #[arg(
        long,
        env = "CIM_APIGW_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    apigw_password_file: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "The pod")]
struct PodArgs {
    /// Name of the pod; without it CIM runs standalone: identity from the host name, files under ./cim-data
    #[arg(long, env = "K8S_POD_ID", hide_env_values = true, value_name = "NAME")]
    pod_id: Option<String>,
    /// Namespace of the pod [standalone: standalone]
    #[arg(
        long,
        env = "K8S_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    namespace: Option<String>,
    /// Own container id [default: from /proc/self/cgroup, else /proc/1/cpuset, else 0000]
    #[arg(
        long,
        env = "K8S_CONTAINER_ID",
        hide_env_values = true,
        value_name = "ID"
    )]
    container_id: Option<String>,
    /// true: a registration must carry container_name and container_id [default: false]
    #[arg(
        long,
        env = "CTR_FIELDS_MANDATORY",
        hide_env_values = true,
        value_name = "BOOL"
    )]
    ctr_fields_mandatory: Option<String>,
    /// Network function, where the pod has no TMaaS annotation
    #[arg(long, env = "NF", hide_env_values = true, value_name = "ID")]
    nf: Option<String>,
    /// Its type
    #[arg(long, env = "NF_TYPE", hide_env_values = true, value_name = "TYPE")]
    nf_type: Option<String>,
    /// Its prefix [default: the namespace]
    #[arg(long, env = "NF_PREFIX", hide_env_values = true, value_name = "PREFIX")]
    nf_prefix: Option<String>,
    /// Microservice, where the pod has no label microSvcName [standalone: app]
    #[arg(
        long,
        env = "CIM_MICROSERVICE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    microservice: Option<String>,
    /// Its version, where the pod has no annotation svcVersion [default: v0]
    #[arg(
        long,
        env = "CIM_SERVICE_VERSION",
        hide_env_values = true,
        value_name = "VERSION"
    )]
    service_version: Option<String>,
    /// Address of the Kubernetes API server, as Kubernetes gives it to every pod
    #[arg(
        long,
        env = "KUBERNETES_SERVICE_HOST",
        hide_env_values = true,
        value_name = "HOST"
    )]
    kubernetes_service_host: Option<String>,
    /// Its port
    #[arg(
        long,
        env = "KUBERNETES_SERVICE_PORT",
        hide_env_values = true,
        value_name = "PORT"
    )]
    kubernetes_service_port: Option<String>,
    /// Directory of the Kubernetes service account [default: /var/run/secrets/kubernetes.io/serviceaccount]
    #[arg(
        long,
        env = "CIM_SERVICE_ACCOUNT_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    service_account_dir: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Configuration: etcd and the application")]
struct ConfigArgs {
    /// etcd endpoints, comma-separated; wins over common-infra.json
    #[arg(
        long,
        env = "CIM_ETCD_URL",
        hide_env_values = true,
        value_name = "HOST:PORT,…"
    )]
    etcd_url: Option<String>,
    /// User of etcd; needs --etcd-password-file [default: no authentication]
    #[arg(
        long,
        env = "CIM_ETCD_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    etcd_user: Option<String>,
    /// File with the password of --etcd-user
    #[arg(
        long,
        env = "CIM_ETCD_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    etcd_password_file: Option<String>,
    /// Certificates (PEM) that sign the certificate of an https:// etcd [default: the public authorities]
    #[arg(
        long,
        env = "CIM_ETCD_CA_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    etcd_ca_file: Option<String>,
    /// Client certificate (PEM) for etcd; needs --etcd-key-file
    #[arg(
        long,
        env = "CIM_ETCD_CERT_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    etcd_cert_file: Option<String>,
    /// Private key (PEM) of --etcd-cert-file
    #[arg(
        long,
        env = "CIM_ETCD_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    etcd_key_file: Option<String>,
    /// The application's HTTP side [default: http://localhost:<app_port>]
    #[arg(long, env = "CIM_APP_URL", hide_env_values = true, value_name = "URL")]
    app_url: Option<String>,
    /// Time that the application has for its answer on CONFIG to a change set [default: 60s]
    #[arg(
        long,
        env = "CIM_CONFIG_REPLY_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME"
    )]
    config_reply_timeout: Option<String>,
    /// Revision of the microservice's configuration that the pod started with
    #[arg(
        long,
        env = "MS_CONFIG_REVISION",
        hide_env_values = true,
        value_name = "REVISION"
    )]
    ms_config_revision: Option<String>,
    /// Revision of the network function's configuration that the pod started with
    #[arg(
        long,
        env = "NF_CONFIG_REVISION",
        hide_env_values = true,
        value_name = "REVISION"
    )]
    nf_config_revision: Option<String>,
    /// false: CIM does not delete its pod when it ends by itself [default: true]
    #[arg(
        long,
        env = "CIM_DELETE_POD",
        hide_env_values = true,
        value_name = "BOOL"
    )]
    delete_pod: Option<String>,
    /// CIM ends when the application is gone: no NATS connection for so long, after there was one, and nothing left to deliver; for a Job
    #[arg(
        long,
        env = "CIM_END_AFTER_APP",
        hide_env_values = true,
        value_name = "TIME"
    )]
    end_after_app: Option<String>,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Kafka and the event journal")]
struct KafkaArgs {
    /// Kafka brokers, comma-separated; wins over common-infra.json
    #[arg(
        long,
        env = "CIM_KAFKA_BROKERS",
        hide_env_values = true,
        value_name = "HOST:PORT,…"
    )]
    kafka_brokers: Option<String>,
    /// Compression towards Kafka: none, gzip, lz4, snappy, zstd [default: none]
    #[arg(
        long,
        env = "CIM_KAFKA_COMPRESSION",
        hide_env_values = true,
        value_name = "CODEC"
    )]
    kafka_compression: Option<String>,
    /// Settings for librdkafka
    #[arg(
        long,
        env = "CIM_KAFKA_OPTS",
        hide_env_values = true,
        value_name = "KEY=VALUE,…"
    )]
    kafka_opts: Option<String>,
    /// Directory of the event journal and of offsets [default: <log dir>/.cim]
    #[arg(
        long,
        env = "CIM_STATE_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    state_dir: Option<String>,
    /// When the journal is synchronised with the disk: never, interval (once a second), always [default: never]
    #[arg(
        long,
        env = "CIM_JOURNAL_FSYNC",
        hide_env_values = true,
        value_name = "WHEN"
    )]
    journal_fsync: Option<String>,
    /// Size of the journal, in MiB; when it is full, publishers of events wait [default: 256]
    #[arg(
        long,
        env = "CIM_JOURNAL_MAX_MB",
        hide_env_values = true,
        value_name = "MIB"
    )]
    journal_max_mb: Option<String>,
}

/// The settings that were given, by the name of their environment variable.
#[derive(Default)]
pub struct Given(HashMap<String, (String, Source)>);

impl Given {
    /// What the command line and the environment of this process give; the command line wins.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        let mut given = HashMap::new();
        for arg in OptionArgs::augment_args(Command::new("")).get_arguments() {
            let id = arg.get_id().as_str();
            // A command may have some of them alone.
            let Ok(Some(value)) = matches.try_get_one::<String>(id) else {
                continue;
            };
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Source::CommandLine,
                _ => Source::Environment,
            };
            if let Some(name) = arg.get_env().map(|name| name.to_string_lossy()) {
                given.insert(name.into_owned(), (value.clone(), source));
            }
        }
        Self(given)
    }

    /// As if these variables were the environment.
    pub fn from_environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let given = |(name, value): (&str, &str)| {
            (name.to_owned(), (value.to_owned(), Source::Environment))
        };
        Self(variables.into_iter().map(given).collect())
    }

    /// The value of a setting; an empty one counts as not given.
    pub(super) fn get(&self, name: &str) -> Option<(&str, Source)> {
        let (value, source) = self.0.get(name)?;
        (!value.is_empty()).then_some((value, *source))
    }
}
