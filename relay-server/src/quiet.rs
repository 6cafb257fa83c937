//! Keeps strangers from filling the log: so many lines a minute about them, and then a count.
//!
//! Pure: time comes in as an argument.

use std::time::{Duration, Instant};

/// Lines in one [`WINDOW`].
const LINES: u32 = 30;
/// See [`LINES`].
const WINDOW: Duration = Duration::from_secs(60);

/// Counts lines about strangers.
#[derive(Debug)]
pub(crate) struct Quiet {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl Quiet {
    /// Starts with a window of its own.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            written: 0,
            left_out: 0,
        }
    }

    /// Returns whether one more line may be written, and how many were left out before it; none if not.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.since = now;
            self.written = 0;
        }
        if self.written >= LINES {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_few_lines_and_is_told_in_the_next_window() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        let written = (0..1000).filter(|_| quiet.admit(start).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(quiet.admit(start + WINDOW), Some(1000 - u64::from(LINES)));
        assert_eq!(quiet.admit(start + WINDOW), Some(0));
    }
}
