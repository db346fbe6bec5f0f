//! The settings that are CIM's own: `CIM_*` environment variables with the same-named flags, and the environment that a pod
//! is given (DESIGN section 5, CONTRACT section 1). Resolved once at the start into one immutable value.
//!
//! ```text
//! args.rs   flags, variables, help     resolve.rs   text -> values, every mistake collected
//! value.rs  reading one value          choice.rs    some of them, for other commands
//! ```
//!
//! An empty value counts as not given. A bad one keeps CIM from starting, but for the two ports of CONTRACT section 1 when they come
//! from the environment, and `CTR_FIELDS_MANDATORY`: those are warned about, and the default is used.

mod args;
mod choice;
mod resolve;
mod value;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use crate::secret::Secret;
pub use args::{Given, OptionArgs};
pub use choice::{Choice, Chosen};
pub use resolve::{Resolved, resolve};
pub use value::parse_time;

use crate::events::journal::Fsync;
use crate::http::Access;
use crate::kafka::Compression;
use crate::nats;
use crate::nats::auth::Auth;
use crate::nats::external::External;
use crate::nats::tls::TlsOptions;
use crate::settings::{Files, InfraOverrides};

/// Everything that is fixed when CIM starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// No `K8S_POD_ID`: not in a pod.
    pub standalone: bool,
    /// Where the NATS server listens; port 0: any free one.
    pub nats: SocketAddr,
    /// Where the operations API listens; port 0: any free one.
    pub rest: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are besides, when asked for.
    pub metrics: Option<SocketAddr>,
    /// Files and directories.
    pub paths: Paths,
    /// Limits of the NATS server.
    pub nats_limits: nats::Limits,
    /// What NATS clients must give.
    pub nats_auth: Auth,
    /// The file that says so, which can change while CIM runs.
    pub nats_auth_file: Option<PathBuf>,
    /// Who may look at the monitoring pages of the NATS server.
    pub monitor: Access,
    /// TLS towards NATS clients; `None`: plain connections.
    pub nats_tls: Option<TlsOptions>,
    /// What the answer to a registration says about the API gateway.
    pub api_gateway: ApiGateway,
    /// A registration must carry both container fields.
    pub ctr_fields_mandatory: bool,
    /// Who the environment says that this sidecar is.
    pub names: Names,
    /// Where the Kubernetes API server is: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, as given.
    pub kubernetes: (Option<String>, Option<String>),
    /// etcd and Kafka addresses that win over common-infra.json.
    pub infra: InfraOverrides,
    /// How to get into etcd.
    pub etcd: EtcdAccess,
    /// Where the application's HTTP side is; `None`: `http://localhost:<app_port>`.
    pub app_url: Option<String>,
    /// Time that the application has for its answer on CONFIG.
    pub reply_timeout: Duration,
    /// What the pod started with.
    pub revisions: Revisions,
    /// CIM deletes its pod when it ends by itself.
    pub delete_pod: bool,
    /// CIM ends once the application has had no NATS connection for so long.
    pub end_after_app: Option<Duration>,
    /// How Kafka is spoken to.
    pub kafka: KafkaOptions,
    /// The journal of events.
    pub journal: JournalOptions,
    /// `CIM_NATS_URL`: external NATS servers instead of the embedded one. The NATS settings above are not used then.
    pub external: Option<External>,
}

/// How to get into etcd. The files are read when the client is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdAccess {
    /// `CIM_ETCD_USER` and the password, as it was at the start.
    pub user: Option<(String, Secret)>,
    /// `CIM_ETCD_PASSWORD_FILE`: a password that is changed there counts.
    pub password_file: Option<PathBuf>,
    /// `CIM_ETCD_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `CIM_ETCD_CERT_FILE`; `key_file` is there too.
    pub cert_file: Option<PathBuf>,
    /// `CIM_ETCD_KEY_FILE`.
    pub key_file: Option<PathBuf>,
}

/// Revisions of the configuration that the pod started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revisions {
    /// `MS_CONFIG_REVISION`.
    pub ms: Option<String>,
    /// `NF_CONFIG_REVISION`.
    pub nf: Option<String>,
}

/// Files and directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Log files.
    pub log_dir: PathBuf,
    /// Journal and offsets.
    pub state_dir: PathBuf,
    /// Configuration.
    pub files: Files,
    /// Token, CA and namespace of the service account.
    pub service_account_dir: PathBuf,
}

/// What the answer to a registration says about the API gateway; `None` is an empty text there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiGateway {
    /// `apigw_username`.
    pub username: Option<String>,
    /// `apigw_password`.
    pub password: Option<Secret>,
}

/// Who the environment says that this sidecar is. Untrusted text: [`crate::identity`] makes it safe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// `K8S_POD_ID`.
    pub pod: Option<String>,
    /// `K8S_NAMESPACE`.
    pub namespace: Option<String>,
    /// `K8S_CONTAINER_ID`.
    pub container_id: Option<String>,
    /// `NF`.
    pub nf: Option<String>,
    /// `NF_TYPE`.
    pub nf_type: Option<String>,
    /// `NF_PREFIX`.
    pub nf_prefix: Option<String>,
    /// `CIM_MICROSERVICE`.
    pub microservice: Option<String>,
    /// `CIM_SERVICE_VERSION`.
    pub version: Option<String>,
}

/// How Kafka is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `CIM_KAFKA_COMPRESSION`.
    pub compression: Compression,
    /// `CIM_KAFKA_OPTS`, in order; a value may be a password.
    pub opts: Vec<(String, Secret)>,
}

/// The journal of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    /// `CIM_JOURNAL_FSYNC`.
    pub fsync: Fsync,
    /// `CIM_JOURNAL_MAX_MB`, in bytes.
    pub bytes_max: u64,
}

/// Loopback, where everything listens unless told otherwise.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests;
