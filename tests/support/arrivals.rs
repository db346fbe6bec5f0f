//! What became of the lines of a [`super::Load`] on their way to a sink.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use super::load::parse;

/// Lines of one connection, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// The lines that never came, of those that were sent.
    pub lost: Vec<Range<u64>>,
    /// Lines that came again.
    pub doubled: u64,
    /// Times that an earlier line came behind a later one; among them lines that came again.
    pub steps_back: u64,
    /// Lines that came for the first time behind a later one.
    pub reordered: u64,
    /// Different lines that came.
    pub different: u64,
}

impl Arrivals {
    /// Of the lines 0..`sent` of `connection` among `lines`; what is no line of a load is passed over.
    #[track_caller]
    pub fn of(lines: &[Vec<u8>], connection: u32, sent: u64) -> Self {
        let mut seen = HashSet::new();
        let mut arrivals = Self {
            lost: Vec::new(),
            doubled: 0,
            steps_back: 0,
            reordered: 0,
            different: 0,
        };
        let (mut last, mut highest) = (None, None);
        for line in ours(lines) {
            let (from, number) = parse(line);
            if from != connection {
                continue;
            }
            let is_new = seen.insert(number);
            arrivals.doubled += u64::from(!is_new);
            arrivals.steps_back += u64::from(last.is_some_and(|last| number < last));
            arrivals.reordered += u64::from(is_new && highest.is_some_and(|high| number < high));
            last = Some(number);
            highest = highest.max(last);
        }
        for number in (0..sent).filter(|number| !seen.contains(number)) {
            match arrivals.lost.last_mut() {
                Some(range) if range.end == number => range.end += 1,
                _ => arrivals.lost.push(number..number + 1),
            }
        }
        arrivals.different = seen.len() as u64;
        arrivals
    }

    /// How many never came.
    pub fn lost(&self) -> u64 {
        self.lost.iter().map(|range| range.end - range.start).sum()
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} arrived, {} lost {:?}, {} doubled in {} steps back, {} reordered",
            self.different,
            self.lost(),
            self.lost.iter().take(5).collect::<Vec<_>>(),
            self.doubled,
            self.steps_back,
            self.reordered
        )
    }
}

/// The lines of loads among `lines`, in their order.
pub fn ours(lines: &[Vec<u8>]) -> impl Iterator<Item = &Vec<u8>> {
    lines.iter().filter(|line| is_ours(line))
}

/// A line of a load, by its beginning.
pub fn is_ours(line: &[u8]) -> bool {
    line.len() > 6 && line[0] == b'c' && line[4..6] == *b" n"
}
