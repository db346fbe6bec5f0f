//! One life of CIM: both machines, and what its two threads hold.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::StartedWith;
use super::super::delivery::{Commit, Delivery};
use super::super::intake::{Intake, Step};
use super::super::key::ChangeSet;
use super::super::memory::Own;
use super::super::testing::etcd::Stream;
use super::oracle::Oracle;
use crate::limits::CONFIG_REPLY_TIME;

/// The channel between the two threads.
pub const CHANNEL: usize = 4;

pub struct Cim {
    pub intake: Intake,
    pub stream: Option<Stream>,
    /// What the intake's thread holds while the channel is full.
    pub held: VecDeque<ChangeSet>,
    pub channel: VecDeque<ChangeSet>,
    pub delivery: Delivery,
    /// The delivery's IO under way.
    pub io: Option<Io>,
    pub oracle: Option<Oracle>,
    /// Answers that have come and wait.
    pub answers: VecDeque<Vec<u8>>,
    /// Where in the order the next delivery must be; `None` before the first read.
    pub next: Option<usize>,
    pub registered: bool,
}

pub enum Io {
    /// Until then at the latest.
    Post(ChangeSet, Instant),
    ApplySelf,
    Commit(Commit),
}

impl Cim {
    pub fn start(own: Own, self_with_config_map: bool) -> Self {
        let mut delivery = Delivery::new(own.clone(), CONFIG_REPLY_TIME);
        delivery.set_self_with_config_map(self_with_config_map);
        Self {
            intake: Intake::new(own, StartedWith::default()),
            stream: None,
            held: VecDeque::new(),
            channel: VecDeque::new(),
            delivery,
            io: None,
            oracle: None,
            answers: VecDeque::new(),
            next: None,
            registered: false,
        }
    }

    pub fn move_held(&mut self) -> bool {
        let before = self.held.len();
        while self.channel.len() < CHANNEL {
            match self.held.pop_front() {
                Some(change_set) => self.channel.push_back(change_set),
                None => break,
            }
        }
        before != self.held.len()
    }

    pub fn watches(&self) -> bool {
        matches!(self.intake.step(), Step::Watch { .. })
    }
}
