//! The settings in force, and how they come to be others: a re-read of the files, or a registration.
//!
//! * A re-read is all or nothing over all files: one bad file, and nothing changes. A file that has gone is as one that
//!   was never there.
//! * A member that cannot change while CIM runs keeps the value that it started with, until the next start. A registration is
//!   the start of the application, so what it asks for is in force at once, such members included.
//! * What a registration asked for stays over the shipped cim.json when that is re-read, and ends when a mounted
//!   cim.json appears: the file wins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use serde_json::Value;

use super::change::{self, Change};
use super::document::CimDocument;
use super::file::FileError;
use super::infra;
use super::model::{CommonInfra, Settings};
use super::problem::Problems;
use super::registration::Overrides;
use super::sources::{Files, Loaded, Shown, Source};
use super::table::{MEMBERS, Member};

/// Values of common-infra.json that the environment or the command line gives; they win over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InfraOverrides {
    /// `CIM_ETCD_URL`.
    pub etcd_url: Option<(String, Source)>,
    /// `CIM_KAFKA_BROKERS`.
    pub kafka_brokers: Option<(Vec<String>, Source)>,
}

/// A re-read that changed nothing, because these files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the settings stay as they are: {}", join(.0))]
pub struct ReloadError(pub Vec<FileError>);

fn join(errors: &[FileError]) -> String {
    let errors: Vec<_> = errors.iter().map(FileError::to_string).collect();
    errors.join("; ")
}

/// What became of a registration's overrides.
#[derive(Debug, PartialEq, Eq)]
pub enum Registered {
    /// The mounted cim.json exists and wins: they were not used.
    FileWins,
    /// They are in force; what they changed.
    Applied(Vec<Change>),
}

/// The settings in force, replaced whole.
#[derive(Debug)]
pub struct Store {
    current: ArcSwap<Settings>,
    state: Mutex<State>,
    files: Option<Files>,
    environment: InfraOverrides,
}

#[derive(Debug)]
struct State {
    loaded: Loaded,
    /// What registrations have asked for so far, each member once.
    asked: Vec<(&'static Member, Value)>,
    /// `loaded.cim` with `asked` over it: what is configured, in force now or at the next start.
    document: CimDocument,
}

impl Store {
    /// Holds `settings`, without files: for tests and tools.
    pub fn new(settings: Settings) -> Self {
        let loaded = Loaded::built_in();
        Self {
            current: ArcSwap::from_pointee(settings),
            state: Mutex::new(State::new(loaded)),
            files: None,
            environment: InfraOverrides::default(),
        }
    }

    /// Reads the files. One that cannot be used is passed over: [`Store::refused`] has its error.
    pub fn open(files: Files, environment: InfraOverrides) -> Self {
        let state = State::new(files.load());
        let settings = Settings {
            cim: state.document.config.clone(),
            infra: environment.over(&state.loaded.infra.infra),
        };
        Self {
            current: ArcSwap::from_pointee(settings),
            state: Mutex::new(state),
            files: Some(files),
            environment,
        }
    }

    /// The settings in force now. Hold it for a batch, not for longer.
    pub fn load(&self) -> Guard<Arc<Settings>> {
        self.current.load()
    }

    /// Puts `settings` in force at once, past the files: for tests.
    pub fn replace(&self, settings: Settings) {
        self.current.store(Arc::new(settings));
    }

    /// Reads the files again and puts in force what they say. Returns what changed.
    ///
    /// # Errors
    /// A file that cannot be used: nothing has changed.
    pub fn reload(&self) -> Result<Vec<Change>, ReloadError> {
        let Some(files) = &self.files else {
            return Ok(Vec::new());
        };
        let mut loaded = files.load();
        if !loaded.refused.is_empty() {
            return Err(ReloadError(std::mem::take(&mut loaded.refused)));
        }
        let mut state = self.state();
        let asked = if loaded.mounted {
            Vec::new()
        } else {
            state.asked.clone()
        };
        Ok(self.put(&mut state, loaded, asked, |_| false))
    }

    /// Puts in force what a registration asks for, unless a mounted cim.json exists.
    pub fn apply_registration(&self, overrides: &Overrides) -> Registered {
        let mut state = self.state();
        if state.loaded.mounted {
            return Registered::FileWins;
        }
        let mut asked = state.asked.clone();
        for (member, value) in &overrides.values {
            asked.retain(|(other, _)| !std::ptr::eq(*other, *member));
            asked.push((member, value.clone()));
        }
        let loaded = std::mem::replace(&mut state.loaded, Loaded::built_in());
        let is_asked = |member: &Member| {
            let mut members = overrides.values.iter().map(|(member, _)| *member);
            members.any(|other| std::ptr::eq(other, member))
        };
        Registered::Applied(self.put(&mut state, loaded, asked, is_asked))
    }

    /// `at_once`: members that are put in force although they cannot change while CIM runs.
    fn put(
        &self,
        state: &mut State,
        loaded: Loaded,
        asked: Vec<(&'static Member, Value)>,
        at_once: impl Fn(&Member) -> bool,
    ) -> Vec<Change> {
        let mut next = State::new(loaded);
        next.ask(asked);
        let old = self.current.load_full();
        let configured = &next.document.config;
        let mut cim = old.cim.clone();
        for member in &MEMBERS {
            if member.at_run_time || at_once(member) {
                member.copy(configured, &mut cim);
            }
        }
        let infra = self.environment.over(&next.loaded.infra.infra);
        let in_force = |member: &Member| member.get(&cim) == member.get(configured);
        let changes = change::of_cim(&state.document.config, configured, in_force)
            .chain(change::of_infra(&old.infra, &infra))
            .collect();
        let settings = Settings { cim, infra };
        if settings != *old {
            self.current.store(Arc::new(settings));
        }
        *state = next;
        changes
    }

    /// The cim.json that is configured: what a ConfigMap is made of, and what a JSON Patch applies to.
    pub fn document(&self) -> CimDocument {
        self.state().document.clone()
    }

    /// The mounted cim.json exists: it wins over a registration.
    pub fn is_mounted(&self) -> bool {
        self.state().loaded.mounted
    }

    /// The files that were there at the start and could not be used, as text.
    pub fn refused(&self) -> Vec<String> {
        let state = self.state();
        state
            .loaded
            .refused
            .iter()
            .map(FileError::to_string)
            .collect()
    }

    /// What is unusual in the files, though allowed.
    pub fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let cim = &state.document.warnings;
        let infra = &state.loaded.infra.warnings;
        let more = match cim.more() + infra.more() {
            0 => None,
            more => Some(format!("and {more} more warnings")),
        };
        cim.iter()
            .chain(infra.iter())
            .cloned()
            .chain(more)
            .collect()
    }

    /// In one line, which files the settings come from.
    pub fn origin(&self) -> String {
        let state = self.state();
        let path = |pick: fn(&Files) -> &std::path::Path| {
            let path = self
                .files
                .as_ref()
                .map(|files| pick(files).display().to_string());
            path.unwrap_or_default()
        };
        let cim = match state.loaded.cim_source {
            Source::File => path(|files| &files.cim),
            Source::Shipped => format!("{} (shipped)", path(|files| &files.shipped)),
            _ => "built-in defaults".to_owned(),
        };
        let infra = if state.loaded.infra_found {
            path(|files| &files.infra)
        } else {
            "none".to_owned()
        };
        format!("cim.json: {cim}; common-infra.json: {infra}")
    }

    /// Every member of cim.json with the value in force and where it comes from.
    pub fn cim_members(&self) -> Vec<Shown> {
        let state = self.state();
        let in_force = self.current.load();
        let shown = |member: &'static Member| Shown {
            name: member.path(),
            value: change::shown_value(&member.get(&in_force.cim)),
            source: state.source(member),
        };
        MEMBERS.iter().map(shown).collect()
    }

    /// Every member of common-infra.json with the value in force and where it comes from.
    pub fn infra_members(&self) -> Vec<Shown> {
        let state = self.state();
        let in_force = self.current.load();
        let shown = |name: &&'static str| Shown {
            name: (*name).to_owned(),
            value: infra::shown_member(&in_force.infra, name),
            source: match (*name, &self.environment) {
                (
                    "etcd_url",
                    InfraOverrides {
                        etcd_url: Some((_, source)),
                        ..
                    },
                )
                | (
                    "kafka_brokers",
                    InfraOverrides {
                        kafka_brokers: Some((_, source)),
                        ..
                    },
                ) => *source,
                _ if state.loaded.infra.given.contains(name) => Source::File,
                _ => Source::BuiltIn,
            },
        };
        infra::MEMBERS.iter().map(shown).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held ends the process anyway; the state is replaced whole, so it is never half made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(loaded: Loaded) -> Self {
        Self {
            document: loaded.cim.clone(),
            loaded,
            asked: Vec::new(),
        }
    }

    fn ask(&mut self, asked: Vec<(&'static Member, Value)>) {
        // Both parts were checked on their own, and no member depends on another: an error cannot come, and if it did,
        // the file alone would be right.
        match self.loaded.cim.with(asked.iter().cloned()) {
            Ok(document) => {
                self.document = document;
                self.asked = asked;
            }
            Err(problems) => log_impossible(&problems),
        }
    }

    fn source(&self, member: &'static Member) -> Source {
        if self
            .asked
            .iter()
            .any(|(other, _)| std::ptr::eq(*other, member))
        {
            Source::Registration
        } else if self.loaded.cim_source != Source::BuiltIn && self.loaded.cim.gives(member) {
            self.loaded.cim_source
        } else {
            Source::BuiltIn
        }
    }
}

fn log_impossible(problems: &Problems) {
    log::error!("a registration's settings could not be used: {problems}");
}

impl InfraOverrides {
    fn over(&self, file: &CommonInfra) -> CommonInfra {
        let mut infra = file.clone();
        if let Some((url, _)) = &self.etcd_url {
            infra.etcd_url = Some(url.clone());
        }
        if let Some((brokers, _)) = &self.kafka_brokers {
            infra.kafka_brokers.clone_from(brokers);
        }
        infra
    }
}

#[cfg(test)]
mod tests;
