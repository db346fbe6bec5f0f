//! How often one matter may be told in CIM's own log.

use std::time::Instant;

use crate::limits::SAY_AGAIN;

/// Lets one line pass in [`SAY_AGAIN`].
#[derive(Debug, Default)]
pub struct Throttle {
    last: Option<Instant>,
    held: u64,
}

impl Throttle {
    /// `Some(lines kept back since the last one)` when a line may be said now.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        let soon = |last| now.saturating_duration_since(last) < SAY_AGAIN;
        if self.last.is_some_and(soon) {
            self.held += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_says_how_many_were_kept_back() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        assert_eq!(throttle.pass(start), Some(0));
        assert_eq!(throttle.pass(start), None);
        assert_eq!(throttle.pass(start + SAY_AGAIN / 2), None);
        assert_eq!(throttle.pass(start + SAY_AGAIN), Some(2));
        assert_eq!(throttle.pass(start + SAY_AGAIN * 2), Some(0));
    }
}
