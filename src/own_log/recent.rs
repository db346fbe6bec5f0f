//! The last lines of level WARNING and above, for the status page.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::limits::{OWN_LOG_KEPT, OWN_LOG_KEPT_BYTES};
use crate::settings::problem;

/// At most [`OWN_LOG_KEPT`] lines with [`OWN_LOG_KEPT_BYTES`] together, the oldest first.
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Box<str>>>);

/// Bytes of one line: one that is very long does not drive out all the others.
const LINE_BYTES: usize = OWN_LOG_KEPT_BYTES / 16;

impl Recent {
    /// Keeps a line.
    pub fn keep(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(problem::cut(line, LINE_BYTES).into());
        let mut bytes: usize = lines.iter().map(|line| line.len()).sum();
        while lines.len() > OWN_LOG_KEPT || bytes > OWN_LOG_KEPT_BYTES {
            bytes -= lines.pop_front().map_or(bytes, |line| line.len());
        }
    }

    /// The lines, the oldest first, each `[LEVEL] : time -> [text]`.
    pub fn lines(&self) -> Vec<Box<str>> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_their_bounds() {
        let recent = Recent::default();
        for n in 0..OWN_LOG_KEPT + 3 {
            recent.keep(&n.to_string());
        }
        let lines = recent.lines();
        assert_eq!(lines.len(), OWN_LOG_KEPT);
        assert_eq!((&*lines[0], &*lines[1]), ("3", "4"));
        for _ in 0..20 {
            recent.keep(&"é".repeat(OWN_LOG_KEPT_BYTES));
        }
        let lines = recent.lines();
        assert!(lines.iter().all(|line| line.len() == LINE_BYTES));
        assert_eq!(lines.len(), 16);
    }
}
