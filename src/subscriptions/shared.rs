//! The registry as all threads see it, and its file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::registry::Registry;
use super::{
    Added, ChangeError, Filter, Matcher, OpenError, Position, StoreError, StoredError, stored,
};
use crate::chain::chain;
use crate::limits::SUBSCRIPTIONS_FILE_BYTES;
use crate::logs::disk::RealDisk;
use crate::logs::disk::state::StateDisk;
use crate::random;

/// The event subscriptions. A change waits for the disk; reading never does, but for [`Self::all`], [`Self::get`] and
/// [`Self::position`], which wait for a change that is being made.
pub struct Subscriptions {
    inner: Mutex<Inner>,
    in_force: ArcSwap<InForce>,
}

struct Inner {
    registry: Registry,
    disk: Box<dyn StateDisk>,
    path: PathBuf,
    /// There was a file that was of no use.
    lost: bool,
}

/// What records are compared with.
#[derive(Default)]
struct InForce {
    era: Option<u64>,
    matcher: Arc<Matcher>,
}

impl InForce {
    fn of(registry: &Registry) -> Self {
        let filters = registry.subscriptions.iter().map(|s| &s.filter);
        Self {
            era: registry.era(),
            matcher: Arc::new(Matcher::new(filters)),
        }
    }
}

impl Subscriptions {
    /// Reads the file at `path`, if there is one. A file that is of no use is put aside, which the caller is told: CIM starts all the same.
    pub fn open(path: PathBuf) -> (Self, Option<OpenError>) {
        Self::open_on(Box::new(RealDisk), path)
    }

    pub(super) fn open_on(
        mut disk: Box<dyn StateDisk>,
        path: PathBuf,
    ) -> (Self, Option<OpenError>) {
        let (registry, problem) = match read(disk.as_mut(), &path) {
            Ok(registry) => (registry, None),
            Err(problem) => (Registry::default(), Some(problem)),
        };
        let problem = problem.map(|problem| {
            let aside = with_suffix(&path, ".damaged");
            OpenError {
                put_aside: disk.replace(&path, &aside).map(|()| aside),
                path: path.clone(),
                problem,
            }
        });
        let subscriptions = Self {
            in_force: ArcSwap::from_pointee(InForce::of(&registry)),
            inner: Mutex::new(Inner {
                registry,
                disk,
                path,
                lost: problem.is_some(),
            }),
        };
        (subscriptions, problem)
    }

    /// The number of this era, another one in each; `None`: there is no subscription.
    pub fn era(&self) -> Option<u64> {
        self.in_force.load().era
    }

    /// There was a subscription once, in this run or an earlier one.
    pub fn were_used(&self) -> bool {
        let inner = self.lock();
        inner.registry.last_era > 0 || inner.lost
    }

    /// What records are compared with from now on.
    pub fn matcher(&self) -> Arc<Matcher> {
        Arc::clone(&self.in_force.load().matcher)
    }

    /// Where the era began; `None` when it is over.
    pub fn position(&self, era: u64) -> Option<Position> {
        let registry = &self.lock().registry;
        (registry.era() == Some(era)).then(|| registry.position.clone())
    }

    /// Stores where the era began; no effect when it is over.
    ///
    /// # Errors
    /// It is not stored, and the one before still holds.
    pub fn set_position(&self, era: u64, position: Position) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.registry.era() != Some(era) || inner.registry.position == position {
            return Ok(());
        }
        let mut registry = inner.registry.clone();
        registry.position = position;
        inner.store(registry)
    }

    /// Every subscription by id.
    pub fn all(&self) -> BTreeMap<String, Filter> {
        let inner = self.lock();
        let all = inner.registry.subscriptions.iter();
        all.map(|s| (s.id.clone(), s.filter.clone())).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().registry.subscriptions.len()
    }

    /// The one with this id.
    pub fn get(&self, id: &str) -> Option<Filter> {
        self.lock().registry.get(id).cloned()
    }

    /// Adds a subscription.
    ///
    /// # Errors
    /// [`ChangeError::Full`], [`ChangeError::Store`].
    pub fn add(&self, filter: Filter) -> Result<Added, ChangeError> {
        self.change(|registry| registry.add(filter, random::number()))
    }

    /// Replaces what a subscription wants.
    ///
    /// # Errors
    /// Any [`ChangeError`].
    pub fn replace(&self, id: &str, filter: Filter) -> Result<(), ChangeError> {
        self.change(|registry| registry.replace(id, filter))
    }

    /// Removes a subscription.
    ///
    /// # Errors
    /// [`ChangeError::Unknown`], [`ChangeError::Store`].
    pub fn remove(&self, id: &str) -> Result<(), ChangeError> {
        self.change(|registry| registry.remove(id))
    }

    /// Stores what `change` makes of the registry, then puts it in force.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Registry) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let mut inner = self.lock();
        let mut registry = inner.registry.clone();
        let done = change(&mut registry)?;
        inner.store(registry)?;
        self.in_force.store(Arc::new(InForce::of(&inner.registry)));
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// `registry` takes the place of the one before, on disk and here.
    fn store(&mut self, registry: Registry) -> Result<(), StoreError> {
        let new = with_suffix(&self.path, ".tmp");
        let bytes = stored::encode(&registry).map_err(|error| self.failed(error.into()))?;
        if bytes.len() as u64 > SUBSCRIPTIONS_FILE_BYTES {
            return Err(StoreError::TooLarge(bytes.len()));
        }
        self.replace(&new, &bytes).map_err(|source| {
            // Else the next one overwrites it.
            let _ = self.disk.remove_file(&new);
            self.failed(source)
        })?;
        self.registry = registry;
        // Some file systems have no sync for directories. Only a crash of the machine could still bring the old file back.
        if let Some(dir) = self.path.parent()
            && let Err(error) = self.disk.sync(dir)
        {
            log::warn!("{} cannot be synced: {}", dir.display(), chain(&error));
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Disk {
            path: self.path.clone(),
            source,
        }
    }

    fn replace(&mut self, new: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_new(new, bytes)?;
        self.disk.sync(new)?;
        self.disk.replace(new, &self.path)
    }
}

/// What is stored.
fn read(disk: &mut dyn StateDisk, path: &Path) -> Result<Registry, String> {
    match disk.read_file(path, SUBSCRIPTIONS_FILE_BYTES) {
        Ok(bytes) => stored::decode(&bytes).map_err(|error: StoredError| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Registry::default()),
        Err(error) => Err(error.to_string()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
