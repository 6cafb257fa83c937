//! A token bucket: how much may be used over time. Pure; the time is an argument.
//!
//! What is used may exceed what is there: the bucket goes into debt and tells how long to wait until it is out
//! of it again. So one big packet is one wait and not a loop of small ones.

use std::time::{Duration, Instant};

/// So much a second, after a burst.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Refilled each second.
    rate: f64,
    /// The most that it holds.
    burst: f64,
    level: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        Self {
            rate: rate.max(f64::MIN_POSITIVE),
            burst,
            level: burst,
            filled: None,
        }
    }

    /// Uses an amount and tells how long to wait before the next use; nothing where there is no need to.
    pub(crate) fn take(&mut self, now: Instant, amount: f64) -> Option<Duration> {
        self.refill(now);
        self.level -= amount;
        // A wait of a year is as good as any longer one.
        let year = Duration::from_secs(365 * 24 * 3600);
        (self.level < 0.0).then(|| {
            Duration::try_from_secs_f64(-self.level / self.rate)
                .unwrap_or(year)
                .min(year)
        })
    }

    /// Uses an amount if it is there.
    pub(crate) fn try_take(&mut self, now: Instant, amount: f64) -> bool {
        self.refill(now);
        let there = self.level >= amount;
        if there {
            self.level -= amount;
        }
        there
    }

    /// Goes on at another rate. What is owed is forgiven, for whoever owes it takes its turn anew.
    pub(crate) fn change(&mut self, now: Instant, rate: f64, burst: f64) {
        self.refill(now);
        *self = Self {
            level: self.level.clamp(0.0, burst),
            filled: Some(now),
            ..Self::new(rate, burst)
        };
    }

    /// Takes an amount back that was not used after all.
    pub(crate) fn give_back(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.burst);
    }

    /// Returns whether all of its burst is there.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.burst
    }

    fn refill(&mut self, now: Instant) {
        let passed = self
            .filled
            .map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.level = (self.level + passed.as_secs_f64() * self.rate).min(self.burst);
        self.filled = Some(self.filled.map_or(now, |filled| filled.max(now)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_debt_is_a_wait_and_a_quiet_time_fills_up_to_the_burst() {
        let (mut bucket, start) = (Bucket::new(10.0, 20.0), Instant::now());
        assert_eq!(bucket.take(start, 20.0), None);
        assert_eq!(bucket.take(start, 5.0), Some(Duration::from_millis(500)));
        assert_eq!(bucket.take(start + Duration::from_secs(1), 5.0), None);
        let later = start + Duration::from_secs(3600);
        assert!(bucket.try_take(later, 20.0));
        assert!(!bucket.try_take(later, 1.0));
        assert!(bucket.try_take(later + Duration::from_millis(100), 1.0));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let (mut bucket, start) = (Bucket::new(10.0, 1.0), Instant::now() + Duration::from_secs(60));
        assert!(bucket.try_take(start, 1.0));
        assert!(!bucket.try_take(start - Duration::from_secs(30), 1.0));
        assert!(!bucket.try_take(start, 1.0));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(uses in prop::collection::vec((0_u64..500, 1_u32..50), 1..200)) {
            let (rate, burst) = (100.0, 50.0);
            let (mut bucket, start) = (Bucket::new(rate, burst), Instant::now());
            let (mut now, mut used) = (start, 0.0);
            for (gap, amount) in uses {
                now += Duration::from_millis(gap);
                if let Some(wait) = bucket.take(now, f64::from(amount)) {
                    now += wait;
                }
                used += f64::from(amount);
                let allowed = burst + rate * (now - start).as_secs_f64() + 1e-3;
                prop_assert!(used <= allowed, "{used} of {allowed}");
            }
        }
    }
}
