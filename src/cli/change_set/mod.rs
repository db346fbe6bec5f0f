//! `cim change-set`: puts a change set into etcd as CMaaS would (CONTRACT section 4), and shows those that are there. For debugging: it
//! talks to etcd alone, whether CIM runs or not.
//!
//! ```text
//! input.rs  what is put: a JSON Patch, or what an application is sent     put.rs   put, and wait for the commit     list.rs   what is there
//! ```

mod input;
mod list;
mod put;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use crate::change_set::key::{KeyError, Level};
use crate::change_set::memory::Own;
use crate::etcd::{self, EtcdError};
use crate::identity::{Host, Identity};
use crate::kube::{Client, KubeError, ServerAddress, ServiceAccount};
use crate::limits::KUBE_CALL_TIME;
use crate::metrics::Metrics;
use crate::options::{self, Choice, Chosen, Options};
use crate::settings::Store;
use crate::surroundings::{NotKnown, Surroundings};
use input::InputError;

/// `cim change-set`.
#[derive(Debug, Args)]
pub struct ChangeSetArgs {
    #[command(subcommand)]
    command: ChangeSetCommand,
}

#[derive(Debug, Subcommand)]
enum ChangeSetCommand {
    /// Put a change set into etcd as CMaaS would; with --wait, wait for what becomes of it
    ///
    /// Exit codes: 0 put, and with --wait committed as success or unused; 1 refused, or committed as a failure; 2 settings that
    /// cannot be used; 3 etcd does not answer; 5 no commit within the time of --wait.
    Put(put::PutArgs),
    /// Print the change sets that are in etcd, what this pod has done with them, and the commits of all pods
    List(list::ListArgs),
}

/// Where etcd is, and whose change sets they are: as `cim run` has it.
type Place = Chosen<EtcdAndPod>;

/// The settings that say so.
#[derive(Debug)]
struct EtcdAndPod;

impl Choice for EtcdAndPod {
    const HEADING: Option<&'static str> = Some("As for `cim run`");
    const SHOWN: &'static [(&'static str, Option<&'static str>)] = &[
        ("etcd_url", None),
        ("infra_file", Some("common-infra.json, for etcd_url")),
        ("namespace", Some("Namespace [standalone: standalone]")),
        ("microservice", Some("Microservice [standalone: app]")),
        (
            "service_version",
            Some("Version of the microservice [default: v0]"),
        ),
        (
            "pod_id",
            Some("Pod whose commits are meant [default: the host's name]"),
        ),
    ];
    const HIDDEN: &'static [&'static str] = &[
        "etcd_user",
        "etcd_password_file",
        "etcd_ca_file",
        "etcd_cert_file",
        "etcd_key_file",
        "kubernetes_service_host",
        "kubernetes_service_port",
        "service_account_dir",
    ];
}

/// `ms` or `nf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LevelArg {
    Ms,
    Nf,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Ms => Self::Ms,
            LevelArg::Nf => Self::Nf,
        }
    }
}

/// Why nothing was put, or shown, or no commit came.
#[derive(Debug, thiserror::Error)]
pub enum ChangeSetCliError {
    /// Settings that cannot be used, one a line.
    #[error("these settings cannot be used:\n{0}")]
    Settings(String),
    /// Where etcd is, or whose change sets they are, is not known.
    #[error("{0} (--etcd-url, --microservice)")]
    NotKnown(NotKnown),
    /// The pod's label names the microservice, and Kubernetes does not tell it.
    #[error("the microservice is not known; name it with --microservice, or CIM_MICROSERVICE")]
    Kubernetes(#[source] KubeError),
    /// The input cannot be read or used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The parts make no key of a change set.
    #[error("{key} is no key of a change set")]
    Key {
        /// What they make.
        key: String,
        /// Why it is none.
        source: KeyError,
    },
    /// etcd refuses or does not answer.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// Somebody has put this key.
    #[error("{0} is there already: choose another --revision, or leave it out")]
    Exists(String),
    /// No commit in time.
    #[error(
        "{key} is put, and {pod} has not committed it within {seconds} s: does CIM run, and has the application registered? (`cim history`, `cim doctor`)"
    )]
    NoCommit {
        /// The change set.
        key: String,
        /// The pod.
        pod: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl ChangeSetCliError {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_) | Self::NotKnown(_) | Self::Kubernetes(_) | Self::Key { .. } => {
                Exit::Usage
            }
            Self::Input(_) | Self::Exists(_) => Exit::Failed,
            Self::Etcd(
                EtcdError::Unreachable { .. }
                | EtcdError::TimedOut { .. }
                | EtcdError::Unavailable { .. }
                | EtcdError::NotEtcd { .. },
            ) => Exit::NoServer,
            Self::Etcd(EtcdError::Config(_)) => Exit::Usage,
            Self::Etcd(_) => Exit::Failed,
            Self::NoCommit { .. } => Exit::TimedOut,
        }
    }
}

/// Puts or lists, and prints to `out`; false: the change set was committed as a failure. A reader of `out` that has gone away has seen
/// enough.
///
/// # Errors
/// Nothing was put, or no commit came.
pub fn run(args: &ChangeSetArgs, out: &mut dyn Write) -> Result<bool, ChangeSetCliError> {
    match &args.command {
        ChangeSetCommand::Put(args) => put::run(args, out),
        ChangeSetCommand::List(args) => list::run(args, out).map(|()| true),
    }
}

impl Place {
    /// Where etcd is and whose change sets they are.
    fn resolve(&self) -> Result<(etcd::Config, Own), ChangeSetCliError> {
        let resolved = options::resolve(&self.given);
        if let Some(complaint) = resolved.complaint() {
            return Err(ChangeSetCliError::Settings(complaint));
        }
        let options = resolved.options;
        let (identity, _) = Identity::resolve(&options.names, &Host::read());
        let identity = of_pod(&options, identity)?;
        let settings = Store::open(options.paths.files.clone(), options.infra.clone());
        let surroundings = Surroundings {
            settings: settings.into(),
            options: options.into(),
            identity: crate::identity::Current::new(identity, true).into(),
        };
        let config = surroundings.etcd().map_err(ChangeSetCliError::NotKnown)?;
        let own = surroundings.own().map_err(ChangeSetCliError::NotKnown)?;
        Ok((config, own))
    }
}

/// With what the pod's labels say, where Kubernetes is there to be asked; what is named is named.
fn of_pod(options: &Options, identity: Identity) -> Result<Identity, ChangeSetCliError> {
    let (host, port) = &options.kubernetes;
    let address = ServerAddress::new(host.as_deref(), port.as_deref());
    let (Ok(address), Ok(metrics), None) =
        (address, Metrics::new("cim"), &options.names.microservice)
    else {
        return Ok(identity);
    };
    if options.standalone {
        return Ok(identity);
    }
    let account = ServiceAccount::new(&options.paths.service_account_dir);
    let client = Client::new(&address, account, metrics.into());
    let pod = client
        .get_pod(&identity.namespace, &identity.pod, KUBE_CALL_TIME)
        .map_err(ChangeSetCliError::Kubernetes)?;
    Ok(identity.with_pod(&pod).0)
}

/// Of an argument: a time as settings have it.
fn time(text: &str) -> Result<std::time::Duration, String> {
    options::parse_time(text)
        .ok_or_else(|| "a time such as 500ms, 10s or 2m; a plain number is seconds".to_owned())
}

/// `-`, or nothing, is standard input.
fn file(given: Option<&PathBuf>) -> Option<&PathBuf> {
    given.filter(|path| path.as_os_str() != "-")
}
