//! How often one plugin may ask for something that costs the host work: a burst, then evenly spaced.
//!
//! A call past the pace waits for its turn instead of failing, so that a plugin that asks in a loop slows down
//! itself and nobody else. Where turns are given out too far ahead, it fails.

use std::time::{Duration, Instant};

/// Between two turns, once the burst is used up.
const INTERVAL: Duration = Duration::from_millis(10);
/// Calls that may come at once after a quiet time.
const BURST: u32 = 50;
/// The longest wait for a turn; it bounds how many calls can be waiting.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The turns of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When the next turn would be if there were no bursts.
    next: Option<Instant>,
}

impl Pace {
    /// Takes a turn and returns how long to wait for it; none where too many have been taken already.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Duration> {
        let next = self.next.map_or(now, |next| next.max(now));
        let wait = next
            .saturating_duration_since(now)
            .saturating_sub(INTERVAL * BURST);
        if wait > LONGEST_WAIT {
            return None;
        }
        self.next = Some(next + INTERVAL);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_is_free_then_turns_are_spaced_and_a_quiet_time_gives_the_burst_back() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for _ in 0..=BURST {
            assert_eq!(pace.take(start), Some(Duration::ZERO));
        }
        assert_eq!(pace.take(start), Some(INTERVAL));
        assert_eq!(pace.take(start), Some(INTERVAL * 2));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.take(later), Some(Duration::ZERO));
    }

    #[test]
    fn turns_far_ahead_are_refused_and_cost_nothing() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        while pace.take(start).is_some() {}
        for _ in 0..1_000 {
            assert_eq!(pace.take(start), None);
        }
        assert_eq!(pace.take(start + INTERVAL), Some(LONGEST_WAIT));
    }

    proptest! {
        #[test]
        fn never_more_than_the_pace_over_any_time(gaps in prop::collection::vec(0_u64..40, 1..300)) {
            let (mut pace, start) = (Pace::default(), Instant::now());
            let (mut now, mut granted) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                granted.extend(pace.take(now).map(|wait| now + wait));
            }
            for (index, first) in granted.iter().enumerate() {
                for (count, last) in granted.iter().skip(index).enumerate() {
                    let allowed = (*last - *first).as_millis() / INTERVAL.as_millis() + u128::from(BURST) + 1;
                    prop_assert!(count as u128 <= allowed);
                }
            }
        }
    }
}
