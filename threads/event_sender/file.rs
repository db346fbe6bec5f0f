//! Events as JSON Lines in a rotating file beside the logs: where there is no Kafka.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::EventSender;
use super::work::Work;
use crate::backoff::Backoff;
use crate::events::delivery::Journal;
use crate::identity::Identity;
use crate::limits::{EVENT_FILE_BYTES, EVENTS_A_TURN, FILE_RETRY_FIRST, FILE_TRY_AGAIN};
use crate::logs::container::{Container, stem_prefix};
use crate::logs::disk::{Disk, RealDisk};
use crate::logs::file::LogFile;
use crate::logs::folder::{FileLimits, Folder, Now};
use crate::logs::throttle::Throttle;
use crate::random;

const SINK: &str = "file";

/// The file. Nothing is dropped: what cannot be written stays in the journal.
pub struct ToFile<D: Disk = RealDisk> {
    folder: Folder<D>,
    file: LogFile<D::File>,
    path: PathBuf,
    /// The events in `file` that are not written yet, in order.
    waiting: VecDeque<u64>,
    retry_at: Option<Instant>,
    backoff: Backoff,
    told: Throttle,
}

impl ToFile {
    /// The file of the pod that `identity` describes: `<pod>_<ns>_events.jsonl`. Rotation and limits are those of the log files; a
    /// log file's name has a `-` behind the pod's part, so none of theirs is ours.
    pub fn new<J>(parts: &EventSender<J>, identity: &Identity, now: Instant) -> Self {
        let prefix = stem_prefix(&identity.pod, &identity.namespace);
        let stem = format!("{prefix}events");
        let limits = FileLimits::from(&parts.settings.load().cim.lmaas);
        let metrics = Arc::clone(&parts.metrics);
        let dir = parts.log_dir.clone();
        let folder = Folder::new(RealDisk, dir, prefix, limits, metrics);
        let path = folder.path(&format!("{stem}.jsonl"));
        let container = Container {
            name: Box::default(),
            id: Box::default(),
            stem,
            json_head: Box::default(),
            figures: Default::default(),
        };
        Self {
            file: LogFile::new(Arc::new(container), path.clone(), now),
            folder,
            path,
            waiting: VecDeque::new(),
            retry_at: None,
            backoff: Backoff::new(FILE_RETRY_FIRST, FILE_TRY_AGAIN),
            told: Throttle::default(),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is there; how long it may wait then.
    pub fn turn<J: Journal>(&mut self, work: &mut Work<J>, now: Instant) -> Duration {
        if let Some(at) = self.retry_at.filter(|at| now < *at) {
            return at - now;
        }
        self.folder.limits = FileLimits::from(&work.parts.settings.load().cim.lmaas);
        while self.waiting.len() < EVENTS_A_TURN
            && self.file.bytes() < EVENT_FILE_BYTES
            && work.next(now)
        {
            self.file.push(&work.ready.value, false);
            self.waiting.push_back(work.ready.seq);
            work.sent(SINK);
        }
        if self.waiting.is_empty() {
            return Duration::MAX;
        }
        let clocks = Now {
            instant: now,
            utc: SystemTime::now(),
        };
        let (written, result) = self.file.write_out(&mut self.folder, clocks);
        for seq in self.waiting.drain(..written.min(self.waiting.len())) {
            work.arrived(seq, SINK);
        }
        self.file.shrink(EVENT_FILE_BYTES);
        let Err(trouble) = result else {
            if self.retry_at.take().is_some() {
                log::info!("{} is written again", self.path.display());
                self.backoff.reset();
            }
            return Duration::ZERO;
        };
        if let Some(before) = self.told.pass(now) {
            log::error!(
                "{trouble}: events wait in the journal ({before} lines about this left out)"
            );
        }
        let pause = self.backoff.next(random::number());
        self.retry_at = Some(now + pause);
        pause
    }
}
