//! `cim doctor`: whether what CIM needs is there, and what to do when it is not. It reads the settings as `cim run` would, uses the
//! daemon's own clients, and changes nothing: in the directories it makes a file and removes it, etcd and Kubernetes are asked alone.
//!
//! ```text
//! places.rs   directories, owner, free space     ports.rs   what CIM would listen on, external NATS servers
//! kube.rs     who the pod is, and its rights     stores.rs  etcd, Kafka       network.rs   collector, application
//! ```

mod kube;
mod network;
mod places;
mod ports;
mod stores;

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use serde_json::json;

use super::check;
use super::terminal::Style;
use crate::identity::{Current, Host, Identity};
use crate::kube::{AddressError, ServerAddress};
use crate::limits::{DOCTOR_LEARN_TIME, DOCTOR_TIME};
use crate::options::{self, Given, OptionArgs};
use crate::settings::Store;
use crate::settings::problem::escaped;
use crate::surroundings::Surroundings;

/// `cim doctor`.
#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    options: OptionArgs,
    /// The findings as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works, or is not used.
    Ok,
    /// CIM works without it, though not as it might.
    Warning,
    /// CIM does not start, or does not do one of its duties.
    Failed,
}

impl Level {
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }

    fn paint(self, text: &str, style: Style) -> String {
        match self {
            Self::Ok => style.good(text),
            Self::Warning => style.look_at(text),
            Self::Failed => style.bad(text),
        }
    }
}

/// What one look has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(rename = "to_do", skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            check,
            level,
            text: text.into(),
            to_do: None,
        }
    }

    /// A look at `check` that shows something bad.
    pub fn failed(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Failed, text)
    }

    /// With what to do about it.
    #[must_use]
    pub fn advice(self, to_do: impl Into<String>) -> Self {
        Self {
            to_do: Some(to_do.into()),
            ..self
        }
    }
}

/// Where a probe says what it finds.
pub struct Out {
    check: &'static str,
    findings: Sender<Finding>,
}

impl Out {
    /// For the probe `check`.
    pub fn new(check: &'static str, findings: Sender<Finding>) -> Self {
        Self { check, findings }
    }

    fn say(&self, level: Level, text: String, to_do: Option<String>) {
        // Nobody listens any more when the time is over; a probe with more findings than there is room for has said enough.
        let _ = self.findings.try_send(Finding {
            check: self.check,
            level,
            text,
            to_do,
        });
    }

    /// It works, or is not used.
    pub fn ok(&self, text: impl Into<String>) {
        self.say(Level::Ok, text.into(), None);
    }

    /// Worth a look, though nothing need be done.
    pub fn warn(&self, text: impl Into<String>) {
        self.say(Level::Warning, text.into(), None);
    }

    /// Something should be done.
    pub fn warning(&self, text: impl Into<String>, to_do: impl Into<String>) {
        self.say(Level::Warning, text.into(), Some(to_do.into()));
    }

    /// Something must be done.
    pub fn failed(&self, text: impl Into<String>, to_do: impl Into<String>) {
        self.say(Level::Failed, text.into(), Some(to_do.into()));
    }
}

/// One look, or a few at the same thing.
pub struct Probe {
    /// What is looked at.
    pub name: &'static str,
    /// How long it may take, from the start of all of them.
    pub time: Duration,
    /// The look.
    pub run: Box<dyn FnOnce(&Out) + Send>,
}

impl Probe {
    /// A look at `name`.
    pub fn new(
        name: &'static str,
        time: Duration,
        run: impl FnOnce(&Out) + Send + 'static,
    ) -> Self {
        Self {
            name,
            time,
            run: Box::new(run),
        }
    }
}

/// What every probe may know.
#[derive(Clone)]
struct Known {
    surroundings: Surroundings,
    /// Where the API server is; `None` when CIM is in no pod.
    api: Option<Result<ServerAddress, AddressError>>,
    /// Closed once Kubernetes has said, or will not say, who the pod is.
    settled: Receiver<Infallible>,
}

impl Known {
    /// Waits until it is known whose change sets they are, and where everything is.
    fn wait(&self) {
        let _ = self.settled.recv_timeout(DOCTOR_LEARN_TIME);
    }
}

/// All probes for the settings `given`.
pub fn probes(given: &Given, host: &Host) -> Vec<Probe> {
    let report = check::check(given, host);
    let resolved = options::resolve(given);
    let options = Arc::new(resolved.options);
    let (identity, _) = Identity::resolve(&options.names, host);
    let settings = Store::open(options.paths.files.clone(), options.infra.clone());
    let api = (!options.standalone).then(|| {
        let (host, port) = &options.kubernetes;
        ServerAddress::new(host.as_deref(), port.as_deref())
    });
    let asks = matches!(api, Some(Ok(_)));
    let (learning, settled) = bounded(0);
    let known = Known {
        surroundings: Surroundings {
            settings: Arc::new(settings),
            options,
            identity: Arc::new(Current::new(identity, !asks)),
        },
        api,
        settled,
    };
    let later = if asks {
        DOCTOR_LEARN_TIME + DOCTOR_TIME
    } else {
        DOCTOR_TIME
    };
    let probe = |name, time, run: fn(&Known, &Out)| {
        let known = known.clone();
        Probe::new(name, time, move |out| run(&known, out))
    };
    let learns = known.clone();
    vec![
        Probe::new("settings", DOCTOR_TIME, move |out| {
            settings_as(&report, out)
        }),
        probe("log directory", DOCTOR_TIME, places::logs),
        probe("state directory", DOCTOR_TIME, places::state),
        probe("NATS", DOCTOR_TIME, ports::nats),
        probe("operations API", DOCTOR_TIME, ports::rest),
        Probe::new("Kubernetes", DOCTOR_TIME, move |out| {
            kube::learn(&learns, out);
            learns.surroundings.identity.settle();
            drop(learning);
        }),
        probe("Kubernetes rights", later, kube::rights),
        probe("etcd", later, stores::etcd),
        probe("Kafka", later, stores::kafka),
        probe("log collector", later, network::collector),
        probe("application", later, network::application),
    ]
}

fn settings_as(report: &check::Report, out: &Out) {
    for error in &report.errors {
        out.failed(
            error,
            "put it right; `cim check` shows every setting and where it comes from",
        );
    }
    for warning in &report.warnings {
        out.warning(warning, "look at it with `cim check`");
    }
    if report.errors.is_empty() && report.warnings.is_empty() {
        out.ok("all good (`cim check` shows them)");
    }
}

/// One line, with its `\n`.
pub fn line(finding: &Finding, style: Style) -> String {
    let Finding {
        check, level, text, ..
    } = finding;
    let label = level.paint(&format!("{:<7}", level.label()), style);
    // Texts of others are in it: they move no cursor.
    let mut line = format!("{label}  {check:<17}  {}", escaped(text));
    if let Some(to_do) = &finding.to_do {
        // Writing into a String does not fail.
        let _ = write!(line, " -> {}", escaped(to_do));
    }
    line.push('\n');
    line
}

/// The last line.
pub fn verdict(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    match (count(Level::Failed), count(Level::Warning)) {
        (0, 0) => "All good.\n".to_owned(),
        (0, warnings) => format!("Good; to look at: {warnings}.\n"),
        (failed, warnings) => format!("Failed: {failed}; to look at: {warnings}.\n"),
    }
}

/// All findings as one JSON object, with a line end.
pub fn as_json(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ok": count(Level::Ok),
        "warnings": count(Level::Warning),
        "failed": count(Level::Failed),
        "findings": findings,
    });
    format!("{object:#}\n")
}

/// Nothing failed.
pub fn is_good(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.level != Level::Failed)
}

#[cfg(test)]
mod tests;
