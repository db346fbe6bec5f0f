//! The settings in force, and how they come to be others: a re-read of the files, the ConfigMap, TMaaS, a registration, or
//! a patch that came through etcd.
//!
//! * A re-read is all or nothing over all files: one bad file, and nothing changes. A file that has gone is as one that
//!   was never there. What the ConfigMap and TMaaS said stays.
//! * A member that cannot change while CIM runs keeps the value that it started with, until the next start. A registration is
//!   the start of the application, so what it asks for is in force at once, such members included; so is the ConfigMap when
//!   it is read for the first time, because CIM starts before it can be read.
//! * What a registration asked for stays over the shipped cim.json when that is re-read, and ends when a mounted
//!   cim.json or the ConfigMap appears: they win.
//! * A patch stands as long as what it was made from says the same: a re-read of an unchanged file keeps it, a file with
//!   another content ends it (whoever writes both writes the patched values into the file). A registration later than a patch goes over it.
//!   When the ConfigMap is read for the first time, the members that patches have changed stay over it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use serde_json::Value;

use super::change::{self, Change, Configured};
use super::document::{CimDocument, DocumentError};
use super::file::FileError;
use super::infra::{self, InfraDocument};
use super::model::{CommonInfra, Settings};
use super::patch::{self, PatchError};
use super::registration::Overrides;
use super::sources::{Files, Loaded, Shown, Source};
use super::table::{MEMBERS, Member};
use crate::limits;

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
    /// The ConfigMap exists and wins: they were not used.
    ConfigMapWins,
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
    sources: Sources,
    /// What the sources say, without patches.
    base: CimDocument,
    /// What is configured, in force now or at the next start: `base`, or what patches have made of it.
    document: CimDocument,
}

/// Everything that settings are made from.
#[derive(Debug)]
struct Sources {
    loaded: Loaded,
    config_map: Option<ConfigMap>,
    /// What TMaaS says instead of common-infra.json.
    tmaas: Option<InfraDocument>,
    /// What registrations have asked for so far, each member once.
    asked: Vec<(&'static Member, Value)>,
    /// What patches have made of the base.
    patched: Option<CimDocument>,
}

/// What becomes of earlier patches when the base becomes another one.
enum Patches {
    /// They end.
    OfSameBase,
    /// The members that they have changed stay over it.
    Carried,
    /// They have been made to fit already.
    AsMade,
}

/// The pod's ConfigMap as it was read or made.
#[derive(Debug)]
struct ConfigMap {
    /// Its cim.json; `None` when it has none that can be used.
    document: Option<CimDocument>,
    revision: String,
}

impl Store {
    /// Holds `settings`, without files: for tests and tools.
    pub fn new(settings: Settings) -> Self {
        Self {
            current: ArcSwap::from_pointee(settings),
            state: Mutex::new(State::new(Loaded::built_in())),
            files: None,
            environment: InfraOverrides::default(),
        }
    }

    /// Reads the files. One that cannot be used is passed over: [`Store::refused`] has its error.
    pub fn open(files: Files, environment: InfraOverrides) -> Self {
        let state = State::new(files.load());
        let settings = Settings {
            cim: state.document.config.clone(),
            infra: environment.over(&state.sources.infra().infra),
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
        let edit = |sources: &mut Sources| {
            if loaded.mounted {
                sources.asked.clear();
            }
            sources.loaded = loaded;
            Patches::OfSameBase
        };
        Ok(self.put(&mut self.state(), edit, |_| false))
    }

    /// Puts in force what a registration asks for, unless a mounted cim.json or the ConfigMap exists.
    pub fn apply_registration(&self, overrides: &Overrides) -> Registered {
        let mut state = self.state();
        if state.sources.loaded.mounted {
            return Registered::FileWins;
        }
        if state.sources.config_map.is_some() {
            return Registered::ConfigMapWins;
        }
        let is_asked = |member: &Member| {
            let mut members = overrides.values.iter().map(|(member, _)| *member);
            members.any(|other| std::ptr::eq(other, member))
        };
        let values = || overrides.values.iter().cloned();
        let edit = |sources: &mut Sources| {
            sources.asked.retain(|(member, _)| !is_asked(member));
            sources.asked.extend(values());
            sources.patched = sources
                .patched
                .take()
                .and_then(|patched| over(&patched, values()));
            Patches::AsMade
        };
        Registered::Applied(self.put(&mut state, edit, is_asked))
    }

    /// Takes the ConfigMap as it is in Kubernetes: `text` is its `cim.json`, `None` when it has none. It exists from now on,
    /// be its text good or bad. What a registration asked for ends.
    ///
    /// # Errors
    /// The text cannot be used, and is passed over.
    pub fn put_config_map(
        &self,
        text: Option<&[u8]>,
        revision: &str,
    ) -> Result<Vec<Change>, DocumentError> {
        let (document, error) = match text.map(parse_bounded) {
            None => (None, None),
            Some(Ok(document)) => (Some(document), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let mut state = self.state();
        let first = state.sources.config_map.is_none();
        let edit = |sources: &mut Sources| {
            sources.config_map = Some(ConfigMap {
                document,
                revision: revision.to_owned(),
            });
            sources.asked.clear();
            if first {
                Patches::Carried
            } else {
                Patches::OfSameBase
            }
        };
        let counts = first && state.sources.loaded.cim_source != Source::File;
        let changes = self.put(&mut state, edit, |_| counts);
        error.map_or(Ok(changes), Err)
    }

    /// Takes the text of a common-infra.json that TMaaS gave; it is used as long as there is no file.
    ///
    /// # Errors
    /// The text cannot be used: nothing has changed.
    pub fn put_infra(&self, text: &[u8]) -> Result<Vec<Change>, DocumentError> {
        let document = InfraDocument::parse(text)?;
        let edit = |sources: &mut Sources| {
            sources.tmaas = Some(document);
            Patches::OfSameBase
        };
        Ok(self.put(&mut self.state(), edit, |_| false))
    }

    /// Applies a JSON Patch to what is configured, all or nothing.
    ///
    /// # Errors
    /// Not a patch, not applicable, or a configuration that is not valid: nothing has changed. The text shows no value.
    pub fn patch(&self, patch: &[u8]) -> Result<Vec<Change>, PatchError> {
        let mut state = self.state();
        let patched = patch::patched(&state.document, patch)?;
        let edit = |sources: &mut Sources| {
            sources.patched = Some(patched);
            Patches::AsMade
        };
        Ok(self.put(&mut state, edit, |_| false))
    }

    /// `at_once`: members that are put in force although they cannot change while CIM runs.
    fn put(
        &self,
        state: &mut State,
        edit: impl FnOnce(&mut Sources) -> Patches,
        at_once: impl Fn(&Member) -> bool,
    ) -> Vec<Change> {
        let base = state.base.config.clone();
        let before = state.edit(edit);
        let before = Configured {
            base: &base,
            config: &before.config,
        };
        let old = self.current.load_full();
        let configured = &state.document.config;
        let now = Configured {
            base: &state.base.config,
            config: configured,
        };
        let mut cim = old.cim.clone();
        for member in &MEMBERS {
            if member.at_run_time || at_once(member) {
                member.copy(configured, &mut cim);
            }
        }
        let infra = self.environment.over(&state.sources.infra().infra);
        let in_force = |member: &Member| member.get(&cim) == member.get(configured);
        let changes = change::of_cim(before, now, in_force)
            .chain(change::of_infra(&old.infra, &infra))
            .collect();
        let settings = Settings { cim, infra };
        if settings != *old {
            self.current.store(Arc::new(settings));
        }
        changes
    }

    /// The cim.json that is configured: what a ConfigMap is made of, and what a JSON Patch applies to.
    pub fn document(&self) -> CimDocument {
        self.state().document.clone()
    }

    /// The mounted cim.json exists: it wins over a registration.
    pub fn is_mounted(&self) -> bool {
        self.state().sources.loaded.mounted
    }

    /// The `revision` of the ConfigMap, empty when it has none; `None` as long as no ConfigMap is known to exist.
    pub fn config_map(&self) -> Option<String> {
        let state = self.state();
        let config_map = state.sources.config_map.as_ref();
        config_map.map(|config_map| config_map.revision.clone())
    }

    /// There is neither a common-infra.json that can be used nor an answer of TMaaS.
    pub fn lacks_infra(&self) -> bool {
        let state = self.state();
        !state.sources.loaded.infra_found && state.sources.tmaas.is_none()
    }

    /// The files that were there at the start and could not be used, as text.
    pub fn refused(&self) -> Vec<String> {
        let state = self.state();
        state
            .sources
            .loaded
            .refused
            .iter()
            .map(FileError::to_string)
            .collect()
    }

    /// What is unusual in the files, though allowed; what patches have made of them is left out, because it is never shown.
    pub fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let cim = &state.base.warnings;
        let infra = &state.sources.infra().warnings;
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

    /// In one line, where the settings come from.
    pub fn origin(&self) -> String {
        let state = self.state();
        let path = |pick: fn(&Files) -> &std::path::Path| {
            let path = self
                .files
                .as_ref()
                .map(|files| pick(files).display().to_string());
            path.unwrap_or_default()
        };
        let cim = match state.sources.base().1 {
            Source::File => path(|files| &files.cim),
            Source::ConfigMap => "ConfigMap".to_owned(),
            Source::Shipped => format!("{} (shipped)", path(|files| &files.shipped)),
            _ => "built-in defaults".to_owned(),
        };
        let infra = match (state.sources.loaded.infra_found, &state.sources.tmaas) {
            (true, _) => path(|files| &files.infra),
            (false, Some(_)) => "TMaaS".to_owned(),
            (false, None) => "none".to_owned(),
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
                _ if !state.sources.infra().given.contains(name) => Source::BuiltIn,
                _ if state.sources.loaded.infra_found => Source::File,
                _ => Source::Tmaas,
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
            base: loaded.cim.clone(),
            document: loaded.cim.clone(),
            sources: Sources {
                loaded,
                config_map: None,
                tmaas: None,
                asked: Vec::new(),
                patched: None,
            },
        }
    }

    /// Returns what was configured before.
    fn edit(&mut self, edit: impl FnOnce(&mut Sources) -> Patches) -> CimDocument {
        let carried = self.patched_members();
        let patches = edit(&mut self.sources);
        let (base, _) = self.sources.base();
        if base.raw != self.base.raw {
            match patches {
                Patches::OfSameBase => self.sources.patched = None,
                Patches::Carried if carried.is_empty() => self.sources.patched = None,
                Patches::Carried => self.sources.patched = over(&base, carried),
                Patches::AsMade => {}
            }
        }
        let patched = self.sources.patched.as_ref();
        let document = patched.unwrap_or(&base).clone();
        self.base = base;
        std::mem::replace(&mut self.document, document)
    }

    /// The members that patches have given other values than the base has.
    fn patched_members(&self) -> Vec<(&'static Member, Value)> {
        let Some(patched) = &self.sources.patched else {
            return Vec::new();
        };
        MEMBERS
            .iter()
            .map(|member| (member, member.get(&patched.config)))
            .filter(|(member, value)| !value.is_null() && *value != member.get(&self.base.config))
            .collect()
    }

    fn source(&self, member: &'static Member) -> Source {
        let (base, source) = self.sources.base();
        let asked = &self.sources.asked;
        if member.get(&self.document.config) != member.get(&base.config) {
            Source::ChangeSet
        } else if asked.iter().any(|(other, _)| std::ptr::eq(*other, member)) {
            Source::Registration
        } else if source != Source::BuiltIn && base.gives(member) {
            source
        } else {
            Source::BuiltIn
        }
    }
}

impl Sources {
    /// The cim.json that counts, with what registrations have asked for; and which one it is.
    fn base(&self) -> (CimDocument, Source) {
        let in_config_map = self
            .config_map
            .as_ref()
            .and_then(|map| map.document.as_ref());
        let (document, source) = match (self.loaded.cim_source, in_config_map) {
            (Source::File, _) | (_, None) => (&self.loaded.cim, self.loaded.cim_source),
            (_, Some(document)) => (document, Source::ConfigMap),
        };
        let asked = over(document, self.asked.iter().cloned());
        (asked.unwrap_or_else(|| document.clone()), source)
    }

    fn infra(&self) -> &InfraDocument {
        match &self.tmaas {
            Some(tmaas) if !self.loaded.infra_found => tmaas,
            _ => &self.loaded.infra,
        }
    }
}

/// `document` with other values for some members.
fn over(
    document: &CimDocument,
    values: impl IntoIterator<Item = (&'static Member, Value)>,
) -> Option<CimDocument> {
    // Both parts were checked on their own, and no member depends on another: an error cannot come, and if it did, the
    // document alone would be right.
    let document = document.with(values);
    document
        .inspect_err(|problems| {
            log::error!("settings that were checked could not be used: {problems}")
        })
        .ok()
}

/// A ConfigMap has at most 1 MiB in Kubernetes; the answer that it came in may have more.
fn parse_bounded(text: &[u8]) -> Result<CimDocument, DocumentError> {
    if text.len() as u64 > limits::CONFIG_FILE_BYTES {
        return Err(DocumentError::TooManyValues);
    }
    CimDocument::parse(text)
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
