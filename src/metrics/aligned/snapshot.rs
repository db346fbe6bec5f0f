//! What was scraped at one aligned time, and the snapshots that wait to be handed out.

use std::collections::VecDeque;

use super::family::Family;
use crate::limits;

/// A scrape that would make the snapshot too large. Nothing of it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Too many samples.
    #[error("with the {series} samples of port {port} the snapshot has more than {limit}", limit = limits::SNAPSHOT_SERIES)]
    Series {
        /// Where they come from.
        port: u16,
        /// Those of this port.
        series: usize,
    },
    /// Too many bytes.
    #[error("with the {bytes} bytes of port {port} the snapshot has more than {limit}", limit = limits::SNAPSHOT_BYTES)]
    Bytes {
        /// Where they come from.
        port: u16,
        /// Those of this port, as they would be handed out.
        bytes: usize,
    },
}

/// The families of all ports at one aligned time.
#[derive(Debug)]
pub struct Snapshot {
    aligned_ms: u64,
    /// In the order in which they were added.
    ports: Vec<(u16, Vec<Family>)>,
    series: usize,
    bytes: usize,
}

impl Snapshot {
    /// One of `aligned_ms`, milliseconds since the epoch.
    pub fn new(aligned_ms: u64) -> Self {
        Self {
            aligned_ms,
            ports: Vec::new(),
            series: 0,
            bytes: 0,
        }
    }

    /// Adds what was scraped from `port`.
    ///
    /// # Errors
    /// The snapshot would be too large: it stays as it is.
    pub fn add(&mut self, port: u16, families: Vec<Family>) -> Result<(), TooLarge> {
        let series: usize = families.iter().map(Family::series).sum();
        let bytes: usize = families.iter().map(Family::bytes).sum();
        if self.series + series > limits::SNAPSHOT_SERIES {
            return Err(TooLarge::Series { port, series });
        }
        if self.bytes + bytes > limits::SNAPSHOT_BYTES {
            return Err(TooLarge::Bytes { port, bytes });
        }
        self.series += series;
        self.bytes += bytes;
        self.ports.push((port, families));
        Ok(())
    }

    /// Its time, milliseconds since the epoch.
    pub fn aligned_ms(&self) -> u64 {
        self.aligned_ms
    }

    /// Number of samples.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Bytes that it has at the most, in memory or when it is handed out.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn families(&self) -> impl Iterator<Item = (u16, &Family)> {
        let ports = self.ports.iter();
        ports.flat_map(|(port, families)| families.iter().map(|family| (*port, family)))
    }
}

/// Snapshots that were dropped because younger ones came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// There were more than are to be kept.
    pub retention: u64,
    /// Together they had too many bytes.
    pub bytes: u64,
}

/// The snapshots that wait to be handed out, oldest first.
#[derive(Debug)]
pub struct Snapshots {
    waiting: VecDeque<Snapshot>,
    retention: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Snapshots {
    /// Keeps `retention` snapshots, with at most `bytes_max` bytes ([`limits::SNAPSHOT_BYTES`]) when handed out.
    pub fn new(retention: usize, bytes_max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            retention,
            bytes: 0,
            bytes_max,
        }
    }

    /// Keeps `retention` snapshots from now on.
    pub fn set_retention(&mut self, retention: usize) -> Dropped {
        self.retention = retention;
        self.shrink()
    }

    /// Adds the youngest; the oldest give way.
    pub fn push(&mut self, snapshot: Snapshot) -> Dropped {
        self.bytes += snapshot.bytes;
        self.waiting.push_back(snapshot);
        self.shrink()
    }

    /// Takes the oldest, `most` at the most.
    pub fn take(&mut self, most: usize) -> Vec<Snapshot> {
        let most = most.min(self.waiting.len());
        let taken: Vec<Snapshot> = self.waiting.drain(..most).collect();
        self.bytes -= taken.iter().map(Snapshot::bytes).sum::<usize>();
        taken
    }

    /// How many of the oldest have `bytes` together; one, if there is one, whatever it has.
    pub fn fitting(&self, bytes: usize) -> usize {
        let together = self.waiting.iter().scan(0, |sum: &mut usize, snapshot| {
            *sum += snapshot.bytes;
            Some(*sum)
        });
        let fitting = together.take_while(|sum| *sum <= bytes).count();
        fitting.max(1).min(self.waiting.len())
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of those that wait, as they would be handed out.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn shrink(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        loop {
            let reason = if self.waiting.len() > self.retention {
                &mut dropped.retention
            } else if self.bytes > self.bytes_max {
                &mut dropped.bytes
            } else {
                return dropped;
            };
            let Some(oldest) = self.waiting.pop_front() else {
                return dropped;
            };
            self.bytes -= oldest.bytes;
            *reason += 1;
        }
    }
}

#[cfg(test)]
mod tests;
