//! Exponential waiting times with jitter.
//!
//! Owned by whatever retries something; it must not sleep itself.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Gives the next waiting time: it doubles with each failure up to a cap and starts over after a success.
///
/// Every time is spread by a quarter up and down, so that many nodes that lose one relay do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts with `first` and never exceeds `cap` by more than the jitter of 25 %.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap,
            failures: 0,
        }
    }

    /// Counts one failure and returns how long to wait.
    pub fn next_delay(&mut self, rng: &mut impl Rng) -> Duration {
        let factor = 2_u32.saturating_pow(self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        let base = self.first.saturating_mul(factor).min(self.cap);
        base.mul_f64(rng.random_range(0.75..=1.25))
    }

    /// Starts over: the next waiting time is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(30);

    proptest! {
        #[test]
        fn stays_between_the_first_time_and_the_cap(seed in any::<u64>(), failures in 0_usize..100) {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::new(FIRST, CAP);
            for _ in 0..failures {
                let delay = backoff.next_delay(&mut rng);
                prop_assert!(delay >= FIRST.mul_f64(0.75));
                prop_assert!(delay <= CAP.mul_f64(1.25));
            }
            backoff.reset();
            prop_assert!(backoff.next_delay(&mut rng) <= FIRST.mul_f64(1.25));
        }
    }

    #[test]
    fn doubles_until_the_cap() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(FIRST, CAP);
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let delay = backoff.next_delay(&mut rng).as_secs_f64();
            assert!((expected * 0.75..=expected * 1.25).contains(&delay), "{delay}");
        }
    }
}
