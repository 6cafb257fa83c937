//! When a service that fails is started again, and when it is not.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::policy::Policy;

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this time.
    Restart(Duration),
    /// It failed too often.
    Open,
}

/// Counts failures over a window and spreads the waiting times.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// The times of the last failures, at most as many as open the circuit.
    failures: VecDeque<Instant>,
    /// Failures in a row, for the waiting time.
    streak: u32,
    random: u64,
}

impl Breaker {
    /// `seed`: a random number of the driver's.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            failures: VecDeque::new(),
            streak: 0,
            random: seed,
        }
    }

    /// Forgets every failure.
    pub(crate) fn reset(&mut self) {
        self.failures.clear();
        self.streak = 0;
    }

    /// Counts a failure of a service that had run for `lasted`.
    pub(crate) fn handle_failure(&mut self, lasted: Duration, policy: &Policy, now: Instant) -> Verdict {
        if lasted >= policy.window {
            self.streak = 0;
        }
        while let Some(oldest) = self.failures.front() {
            if now.saturating_duration_since(*oldest) < policy.window {
                break;
            }
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() >= policy.failures {
            self.reset();
            return Verdict::Open;
        }
        let factor = 2_u32.saturating_pow(self.streak.min(31));
        self.streak = self.streak.saturating_add(1);
        let base = policy
            .restart_first
            .saturating_mul(factor)
            .min(policy.restart_cap);
        Verdict::Restart(base.mul_f64(0.75 + 0.5 * self.next_chance()))
    }

    /// A number from 0 to 1: SplitMix64, which needs no more than a seed and is good enough to spread restarts.
    fn next_chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waiting_times_double_to_the_cap_and_start_over_after_a_long_run() {
        let policy = Policy::default();
        let mut breaker = Breaker::new(7);
        let mut now = Instant::now();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            now += policy.window / 4;
            let Verdict::Restart(delay) = breaker.handle_failure(SECOND, &policy, now) else {
                panic!("four in a window do not open the circuit");
            };
            let base = SECOND * expected;
            assert!(
                delay >= base.mul_f64(0.75) && delay <= base.mul_f64(1.25),
                "{delay:?}"
            );
        }
        now += policy.window;
        let Verdict::Restart(delay) = breaker.handle_failure(policy.window, &policy, now) else {
            panic!("a long run is no reason to open the circuit");
        };
        assert!(delay <= SECOND.mul_f64(1.25));
    }

    proptest! {
        #[test]
        fn the_fifth_failure_within_ten_minutes_opens_and_no_earlier_one(
            seed in any::<u64>(), gaps in prop::collection::vec(0_u64..400, 1..60)
        ) {
            let policy = Policy::default();
            let mut breaker = Breaker::new(seed);
            let mut now = Instant::now();
            let mut recent: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_secs(gap);
                recent.retain(|at| now - *at < policy.window);
                recent.push(now);
                let opened = breaker.handle_failure(Duration::ZERO, &policy, now) == Verdict::Open;
                prop_assert_eq!(opened, recent.len() >= policy.failures);
                if opened {
                    recent.clear();
                }
            }
        }
    }
}
