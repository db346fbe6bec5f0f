//! What `cim run` does before there is a thread: settings, identity, metrics, CIM's own log.

use std::sync::Arc;

use log::Level;

use crate::cli::Exit;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::options::{self, Given, Options};
use crate::own_log::{OwnLog, OwnLogError};
use crate::settings::{Shown, Store};

/// Why `cim run` does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that cannot be used, one a line.
    #[error("these settings cannot be used (`cim check` shows all):\n{0}")]
    Options(String),
    /// A mistake in the program.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] prometheus::Error),
    /// The process has a logger already.
    #[error(transparent)]
    OwnLog(#[from] OwnLogError),
}

impl StartError {
    /// How the process ends on it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Options(_) => Exit::Usage,
            Self::Metrics(_) | Self::OwnLog(_) => Exit::Failed,
        }
    }
}

/// Everything that the daemon is made from.
pub struct Start {
    /// What is fixed.
    pub options: Options,
    /// Who this sidecar is.
    pub identity: Identity,
    /// What can change.
    pub settings: Arc<Store>,
    /// Every series.
    pub metrics: Arc<Metrics>,
    /// CIM's own log, on the console until its pipeline is attached.
    pub own_log: OwnLog,
    /// What is worth a look, for CIM's own log once its pipeline is attached.
    pub remarks: Vec<(Level, String)>,
    /// Every `CIM_*` setting, secrets masked, for people who look.
    pub shown: Vec<Shown>,
}

impl Start {
    /// Reads everything, starts CIM's own log, and gathers what is worth a look.
    ///
    /// # Errors
    /// CIM must not start.
    pub fn prepare(given: &Given) -> Result<Self, StartError> {
        let resolved = options::resolve(given);
        if let Some(complaint) = resolved.complaint() {
            return Err(StartError::Options(complaint));
        }
        let absent = resolved.absent_files();
        let options = resolved.options;
        let (identity, changed) = Identity::of_process(&options);
        let settings = Store::open(options.paths.files.clone(), options.infra.clone());
        let metrics = Arc::new(Metrics::new(&identity.pod)?);
        let level = settings.load().cim.cim_settings.log_level;
        let own_log = OwnLog::start(level, Some(Arc::clone(&metrics)))?;
        own_log.apply(&settings.load().cim.cim_settings);
        let warnings = resolved
            .warnings
            .into_iter()
            .chain(absent)
            .chain(changed)
            .chain(settings.warnings());
        let refused = settings
            .refused()
            .into_iter()
            .map(|error| (Level::Error, format!("refused: {error}")));
        let origin = (Level::Info, format!("settings from {}", settings.origin()));
        let remarks = warnings
            .map(|warning| (Level::Warn, warning))
            .chain(refused)
            .chain([origin])
            .collect();
        Ok(Self {
            options,
            identity,
            settings: Arc::new(settings),
            metrics,
            own_log,
            remarks,
            shown: resolved.shown,
        })
    }
}
