//! What the consumer has handed over, what of it is done with, and which offsets may be committed. No clock, no broker.
//!
//! Notifications are numbered over all partitions and are delivered in this order; records that are not for the application are done
//! with at once. The offset of a partition moves on only over records that are done with, in their order.

use std::collections::{BTreeMap, VecDeque};

use super::start::Offsets;

/// The partitions of one topic.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: BTreeMap<i32, Partition>,
    delivered: u64,
}

#[derive(Debug)]
struct Partition {
    /// It is assigned to this consumer.
    owned: bool,
    /// Notifications that are not delivered: the number of each, and the offset behind it and behind what was passed over since. At
    /// most as many as may be under way.
    under_way: VecDeque<(u64, i64)>,
    /// Everything before this offset is done with.
    done: i64,
    /// Everything before this offset is committed; `None`: nobody knows.
    committed: Option<i64>,
}

impl Partition {
    fn next(&self) -> i64 {
        self.under_way.back().map_or(self.done, |(_, next)| *next)
    }

    fn is_committed(&self) -> bool {
        self.committed == Some(self.next())
    }
}

impl Ledger {
    /// These partitions are assigned and begin at these offsets. What is under way of one that goes on behind it stays.
    pub fn assigned(&mut self, starts: &Offsets) {
        for (&partition, &start) in starts {
            let fresh = Partition {
                owned: true,
                under_way: VecDeque::new(),
                done: start,
                committed: None,
            };
            match self.partitions.get_mut(&partition) {
                Some(known) if known.next() == start => known.owned = true,
                _ => drop(self.partitions.insert(partition, fresh)),
            }
        }
    }

    /// All partitions are taken away. What is under way of them is remembered.
    pub fn revoked(&mut self) {
        self.partitions
            .retain(|_, partition| !partition.is_committed());
        for partition in self.partitions.values_mut() {
            partition.owned = false;
        }
    }

    /// The record at `offset` was passed over.
    pub fn passed_over(&mut self, partition: i32, offset: i64) {
        let Some(partition) = self.partitions.get_mut(&partition) else {
            return;
        };
        match partition.under_way.back_mut() {
            Some((_, next)) => *next = offset + 1,
            None => partition.done = offset + 1,
        }
    }

    /// The record at `offset` was handed over as notification `number`.
    pub fn handed_over(&mut self, partition: i32, offset: i64, number: u64) {
        if let Some(partition) = self.partitions.get_mut(&partition) {
            partition.under_way.push_back((number, offset + 1));
        }
    }

    /// All notifications up to `number` are delivered.
    pub fn delivered(&mut self, number: u64) {
        if number == self.delivered {
            return;
        }
        self.delivered = number;
        for partition in self.partitions.values_mut() {
            while let Some(&(first, next)) = partition.under_way.front()
                && first <= number
            {
                partition.under_way.pop_front();
                partition.done = next;
            }
        }
    }

    /// Where to go on with a partition of which not everything is committed.
    pub fn next(&self, partition: i32) -> Option<i64> {
        let partition = self.partitions.get(&partition)?;
        (!partition.is_committed()).then(|| partition.next())
    }

    /// Offsets that may be committed and are not.
    pub fn to_commit(&self) -> Offsets {
        let mut offsets = Offsets::new();
        for (id, partition) in &self.partitions {
            if partition.owned && partition.committed != Some(partition.done) {
                offsets.insert(*id, partition.done);
            }
        }
        offsets
    }

    /// These offsets are committed.
    pub fn committed(&mut self, offsets: &Offsets) {
        for (partition, offset) in offsets {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.committed = Some(*offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(list: &[(i32, i64)]) -> Offsets {
        list.iter().copied().collect()
    }

    fn ledger(list: &[(i32, i64)]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.assigned(&offsets(list));
        assert_eq!(ledger.to_commit(), offsets(list));
        ledger.committed(&offsets(list));
        ledger
    }

    #[test]
    fn an_offset_moves_on_over_what_is_done_with_and_no_further() {
        let mut ledger = ledger(&[(0, 10), (1, 0)]);
        assert_eq!(ledger.to_commit(), offsets(&[]));
        ledger.passed_over(0, 10);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 11)]));
        ledger.handed_over(0, 11, 1);
        ledger.handed_over(1, 0, 2);
        // The log was compacted: offsets are missing.
        ledger.passed_over(0, 15);
        ledger.handed_over(0, 20, 3);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 11)]));
        ledger.delivered(1);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 16)]));
        ledger.delivered(3);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 21), (1, 1)]));
        ledger.committed(&offsets(&[(0, 16), (1, 1)]));
        assert_eq!(ledger.to_commit(), offsets(&[(0, 21)]));
        ledger.committed(&offsets(&[(0, 21)]));
        assert_eq!(ledger.to_commit(), offsets(&[]));
    }

    #[test]
    fn what_is_under_way_when_partitions_go_and_come_back_is_not_read_again() {
        let mut ledger = ledger(&[(0, 10), (1, 0)]);
        ledger.handed_over(0, 10, 1);
        ledger.handed_over(0, 11, 2);
        ledger.revoked();
        ledger.delivered(1);
        assert_eq!(ledger.to_commit(), offsets(&[]), "it belongs to another");
        assert_eq!((ledger.next(0), ledger.next(1)), (Some(12), None));
        ledger.assigned(&offsets(&[(0, 12)]));
        assert_eq!(ledger.to_commit(), offsets(&[(0, 11)]));
        ledger.handed_over(0, 12, 3);
        ledger.delivered(3);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 13)]));
    }

    #[test]
    fn a_partition_that_begins_elsewhere_begins_anew() {
        let mut ledger = ledger(&[(0, 10)]);
        ledger.handed_over(0, 10, 1);
        ledger.revoked();
        // Another member of the group has gone on.
        ledger.assigned(&offsets(&[(0, 40)]));
        ledger.delivered(1);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 40)]));
        ledger.passed_over(0, 40);
        assert_eq!(ledger.to_commit(), offsets(&[(0, 41)]));
    }

    #[test]
    fn records_of_a_partition_that_is_gone_are_nobodys() {
        let mut ledger = ledger(&[(0, 10)]);
        ledger.revoked();
        ledger.passed_over(0, 10);
        ledger.handed_over(0, 11, 1);
        ledger.delivered(1);
        assert_eq!(ledger.to_commit(), offsets(&[]));
        assert_eq!(ledger.next(0), None);
    }
}
