//! Where a consumer begins in a partition that it is given, decided before it reads a record of it.

use std::collections::BTreeMap;

/// An offset for each partition.
pub type Offsets = BTreeMap<i32, i64>;

/// Where a consumer begins in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset.
    At(i64),
    /// At the first record that there is: the partition is younger than the era.
    First,
    /// At its end: the brokers have forgotten what was committed.
    End,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Its end when the era began, or where it was begun since; `None`: it was not there.
    pub era: Option<i64>,
    /// What the group has committed in this era.
    pub committed: Option<i64>,
    /// Where this process goes on: all before it has been handed over, though not all of it is committed.
    pub handed_over: Option<i64>,
}

impl Known {
    /// Where it is begun. `joined`: the group has committed offsets in this era, for every partition that was there.
    pub fn start(self, joined: bool) -> Start {
        let from = match (self.committed, self.era) {
            (Some(committed), _) => Some(committed),
            (None, Some(end)) if !joined => Some(end),
            (None, _) => None,
        };
        match (from.max(self.handed_over), self.era) {
            (Some(offset), _) => Start::At(offset),
            (None, None) => Start::First,
            (None, Some(_)) => Start::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_era_is_passed_over_and_nothing_before_it_is_read() {
        let start = |era, joined, committed, handed_over| {
            let known = Known {
                era,
                committed,
                handed_over,
            };
            known.start(joined)
        };
        // The era has just begun.
        assert_eq!(start(Some(7), false, None, None), Start::At(7));
        assert_eq!(start(Some(0), false, None, None), Start::At(0));
        assert_eq!(start(None, false, None, None), Start::First);
        // A restart, or another rebalance.
        assert_eq!(start(Some(7), true, Some(9), None), Start::At(9));
        assert_eq!(start(None, true, Some(3), None), Start::At(3));
        // The topic was made anew meanwhile.
        assert_eq!(start(Some(7), true, Some(2), None), Start::At(2));
        // A partition that has been added.
        assert_eq!(start(None, true, None, None), Start::First);
        // Nobody has consumed for so long that the brokers have forgotten the group.
        assert_eq!(start(Some(7), true, None, None), Start::End);
        // Another consumer of this process, or the same one again: what is on its way is not read twice.
        assert_eq!(start(Some(7), true, Some(9), Some(12)), Start::At(12));
        assert_eq!(start(Some(7), true, None, Some(12)), Start::At(12));
        assert_eq!(start(Some(7), false, None, Some(12)), Start::At(12));
        // Another member of the group has gone on meanwhile.
        assert_eq!(start(Some(7), true, Some(20), Some(12)), Start::At(20));
    }
}
