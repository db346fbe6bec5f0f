//! Which change sets are done already, where no position says so: the highest number that is known to be, for each level and
//! kind. Numbers of one level and kind rise; those of different ones say nothing about each other.

use super::key::{ChangeSetKey, Level, revision_number};
use super::memory::{Memory, Own};
use super::wire::Entry;

/// The configuration that the pod started with; each as it was found, `None` where nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartedWith {
    /// `MS_CONFIG_REVISION`.
    pub ms: Option<String>,
    /// `NF_CONFIG_REVISION`.
    pub nf: Option<String>,
    /// The data key `revision` of the ConfigMap with CIM's own configuration.
    pub config_map: Option<String>,
}

/// The highest number that is done; `None`: nothing is known, all are new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Floors {
    ms: Option<u64>,
    nf: Option<u64>,
    self_ms: Option<u64>,
    self_nf: Option<u64>,
}

impl Floors {
    /// What the pod started with, its own commit keys where they hold a number (`-1` and `-2` do not say whose they
    /// are), and the last change set in this pod's memory, whatever etcd that was of.
    pub(super) fn known(
        own: &Own,
        entries: &[Entry],
        started: &StartedWith,
        memory: Option<&Memory>,
    ) -> Self {
        let mut floors = Self::default();
        let started_with = [
            (Level::Ms, false, &started.ms),
            (Level::Nf, false, &started.nf),
            (Level::Ms, true, &started.config_map),
        ];
        for (level, cim, text) in started_with {
            floors.raise(level, cim, text.as_deref().and_then(revision_number));
        }
        for (level, cim) in [
            (Level::Ms, false),
            (Level::Nf, false),
            (Level::Ms, true),
            (Level::Nf, true),
        ] {
            let key = own.commit_key(level, cim);
            floors.raise(
                level,
                cim,
                Entry::find(entries, &key).and_then(committed_number),
            );
        }
        let remembered = memory.filter(|memory| memory.pod_uid == own.pod_uid);
        if let Some(key) = remembered.and_then(|m| ChangeSetKey::parse(&m.position.key).ok()) {
            floors.pass(&key);
        }
        floors
    }

    fn floor(&mut self, level: Level, cim: bool) -> &mut Option<u64> {
        match (level, cim) {
            (Level::Ms, false) => &mut self.ms,
            (Level::Nf, false) => &mut self.nf,
            (Level::Ms, true) => &mut self.self_ms,
            (Level::Nf, true) => &mut self.self_nf,
        }
    }

    fn raise(&mut self, level: Level, cim: bool, to: Option<u64>) {
        let floor = self.floor(level, cim);
        *floor = (*floor).max(to);
    }

    /// `key` is handed on, and done with that.
    pub(super) fn pass(&mut self, key: &ChangeSetKey) {
        self.raise(key.level(), key.is_self(), Some(key.number()));
    }

    /// `key` is not done yet.
    pub(super) fn is_above(&self, key: &ChangeSetKey) -> bool {
        let floor = match (key.level(), key.is_self()) {
            (Level::Ms, false) => self.ms,
            (Level::Nf, false) => self.nf,
            (Level::Ms, true) => self.self_ms,
            (Level::Nf, true) => self.self_nf,
        };
        floor < Some(key.number())
    }
}

/// The number in the value of a commit key; `None` for `-1`, `-2` and what is no revision.
pub(super) fn committed_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok().and_then(revision_number)
}
