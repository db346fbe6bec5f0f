//! Thread `file-writer`: the only owner of the pod's log files.
//!
//! In: `batches`, from `nats_subscriptions` (lane File) and from `stdout_writer` (lane Stdout, when its sink stands
//! still), and from `log_sender` (lane Remote, when its sink is down); `commands`, from `log_sender`. Out: `progress`, for all lanes. While lines cannot be written it takes no batches, for
//! [`limits::SINK_STALL`] at the most; then lines are dropped and counted.
//! Ends when no sender of `batches` is left and every line is written or dropped.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvError, Sender, never, select};

use crate::limits;
use crate::logs::batch::LineBatch;
use crate::logs::disk::{Disk, RealDisk};
use crate::logs::files::LogFiles;
use crate::logs::folder::{FileLimits, Now};
use crate::progress::{Lane, Progress};
use crate::settings::Store;
use crate::threads::spawn::{Notice, spawn};

/// What the thread owns.
pub struct FileWriter<D: Disk = RealDisk> {
    /// Lines to write.
    pub batches: Receiver<LineBatch>,
    /// Wake-ups; one that waits stands for any number of them, so a channel for one and `try_send` do.
    pub commands: Receiver<FileCommand>,
    /// The files.
    pub files: LogFiles<D>,
    /// Limits of the files, looked at once a turn.
    pub settings: Arc<Store>,
    /// Where it says what is stored.
    pub progress: Arc<Progress>,
}

/// What `log_sender` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCommand {
    /// Remove the files of the backlog of which everything is delivered; the backlog knows which.
    RemoveDelivered,
}

/// The last batch of each lane that was taken and is not yet said to be done.
#[derive(Default)]
struct Taken {
    file: Option<u64>,
    stdout: Option<u64>,
    remote: Option<u64>,
    /// Batches of lane Remote.
    handed_over: u64,
}

impl Taken {
    /// `None`: no line comes this way.
    fn lane(&mut self, lane: Lane) -> Option<&mut Option<u64>> {
        match lane {
            Lane::File => Some(&mut self.file),
            Lane::Stdout => Some(&mut self.stdout),
            Lane::Remote => Some(&mut self.remote),
            Lane::Journal => None,
        }
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        utc: SystemTime::now(),
    }
}

impl<D: Disk + Send + 'static> FileWriter<D>
where
    D::File: Send,
{
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn spawn(self, notices: &Sender<Notice>) -> io::Result<JoinHandle<()>> {
        spawn("file-writer", notices, || self.run())
    }

    fn run(mut self) {
        let mut taken = Taken::default();
        // Backups may have become too old while nobody looked.
        self.finish_turn(false, &mut taken);
        loop {
            let now = Instant::now();
            let deadline = self.files.deadline();
            let wait =
                deadline.map_or(limits::BACKUP_SWEEP, |at| at.saturating_duration_since(now));
            select! {
                recv(self.batches) -> first => match first {
                    Ok(first) => {
                        let flush = self.take(first, &mut taken);
                        self.finish_turn(flush, &mut taken);
                    }
                    Err(RecvError) => break,
                },
                recv(self.commands) -> command => match command {
                    // Every turn looks which files may go.
                    Ok(FileCommand::RemoveDelivered) => self.finish_turn(false, &mut taken),
                    Err(RecvError) => self.commands = never(),
                },
                default(wait) => self.finish_turn(false, &mut taken),
            }
        }
        self.finish_turn(true, &mut taken);
    }

    /// Appends `first` and what waits behind it, up to one that has to be written at once.
    fn take(&mut self, first: LineBatch, taken: &mut Taken) -> bool {
        let limits = FileLimits::from(&self.settings.load().cim.lmaas);
        self.files.set_limits(limits);
        let now = now();
        let mut batch = first;
        for _ in 1..limits::BATCHES_A_TURN {
            if self.append(batch, taken, now) || self.files.bytes() >= limits::FILE_BUFFER_BYTES {
                return true;
            }
            match self.batches.try_recv() {
                Ok(next) => batch = next,
                Err(_) => return false,
            }
        }
        self.append(batch, taken, now)
    }

    /// Returns whether somebody waits for the batch.
    fn append(&mut self, batch: LineBatch, taken: &mut Taken, now: Now) -> bool {
        for (container, lines) in batch.lines.runs() {
            let ack = batch.lines.ack.as_ref();
            self.files.append(container, lines, batch.backlog, ack, now);
        }
        taken.handed_over += u64::from(batch.lane == Lane::Remote);
        if let Some(lane) = taken.lane(batch.lane) {
            *lane = (*lane).max(Some(batch.seq));
        }
        batch.flush
    }

    /// Writes what is due, keeps at it while lines are held, and says what is done.
    fn finish_turn(&mut self, flush: bool, taken: &mut Taken) {
        self.files.turn(flush, now());
        let mut pause = limits::FILE_RETRY_FIRST;
        while self.files.is_holding() {
            thread::sleep(pause);
            pause = (pause * 2).min(limits::FILE_RETRY_LAST);
            self.files.turn(true, now());
        }
        if self.files.lines() == 0 {
            self.progress.wrote(std::mem::take(&mut taken.handed_over));
            for lane in [Lane::File, Lane::Stdout, Lane::Remote] {
                if let Some(seq) = taken.lane(lane).and_then(Option::take) {
                    self.progress.done(lane, seq);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
