//! What the streams of one peer or one service may carry together, while the limit may change.
//!
//! Bytes are asked for before they are handed on. A turn is taken in the order of asking, so streams that share a
//! limit get their turns one after the other, and each turn is small: what waits behind a large transfer waits for a
//! few portions of it. Whoever waits holds a timer and nothing else; a changed limit wakes all who wait, and they ask
//! anew. The arithmetic is [`Bucket`]'s, with the time as an argument.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{pin, select, sync::Notify, time::sleep};

use crate::{budget::Bucket, clock};

/// The most that one turn is for, and the least that it is for where the limit is low.
const MAX_PORTION: usize = 64 << 10;
const MIN_PORTION: usize = 4 << 10;
/// Turns in a second of a limit: so much of a second a stream waits for each other one.
const TURNS_PER_SECOND: u64 = 16;
/// In place of a rate: there is none.
const UNLIMITED: u64 = 0;

/// Bytes a second that several streams share, both directions together, after a burst of one second's worth.
/// Costs one look at a number where it is not limited.
#[derive(Debug)]
pub struct Throttle {
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
    changed: Notify,
    waits: AtomicU64,
    waited_micros: AtomicU64,
}

/// How much a limit has held streams up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThrottleStats {
    /// Times that a stream had to wait for its turn.
    pub waits: u64,
    /// How long those turns were away, all together, when they were asked for.
    pub waited: Duration,
}

impl Throttle {
    /// Makes one that holds to so many bytes a second; none is without a limit.
    pub fn new(rate: Option<u64>) -> Arc<Self> {
        let rate = rate.unwrap_or(UNLIMITED);
        Arc::new(Self {
            rate: AtomicU64::new(rate),
            bucket: Mutex::new(Bucket::new(rate as f64, rate as f64)),
            changed: Notify::new(),
            waits: AtomicU64::new(0),
            waited_micros: AtomicU64::new(0),
        })
    }

    /// Changes the limit, also for those who wait now.
    pub fn set(&self, rate: Option<u64>) {
        let rate = rate.unwrap_or(UNLIMITED);
        let mut bucket = self.lock();
        if self.rate.swap(rate, Ordering::Relaxed) == rate {
            return;
        }
        bucket.change(clock::now(), rate as f64, rate as f64);
        drop(bucket);
        self.changed.notify_waiters();
    }

    /// Returns the bytes a second; none where there is no limit.
    pub fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate != UNLIMITED)
    }

    /// Returns whether it owes nothing: one that is made anew would behave the same.
    pub fn is_rested(&self) -> bool {
        self.rate().is_none() || self.lock().is_full(clock::now())
    }

    /// Returns how much it has held streams up.
    pub fn stats(&self) -> ThrottleStats {
        ThrottleStats {
            waits: self.waits.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.waited_micros.load(Ordering::Relaxed)),
        }
    }

    /// How much may be asked for in one turn.
    fn portion(&self) -> usize {
        let Some(rate) = self.rate() else {
            return MAX_PORTION;
        };
        let share = usize::try_from(rate / TURNS_PER_SECOND).unwrap_or(MAX_PORTION);
        share.clamp(MIN_PORTION, MAX_PORTION)
    }

    /// Takes a turn for so many bytes and tells how far away it is.
    fn reserve(&self, now: Instant, bytes: usize) -> Option<Duration> {
        let mut bucket = self.lock();
        // Looked at under the lock: a limit that goes meanwhile leaves no turn behind.
        self.rate()?;
        bucket.take(now, bytes as f64)
    }

    /// Waits until so many bytes may be handed on.
    async fn pass(&self, bytes: usize) {
        while self.rate().is_some() {
            let changed = self.changed.notified();
            pin!(changed);
            changed.as_mut().enable();
            let rate = self.rate.load(Ordering::Relaxed);
            let Some(wait) = self.reserve(clock::now(), bytes) else {
                return;
            };
            let turn = Turn {
                of: self,
                bytes,
                rate,
            };
            self.waits.fetch_add(1, Ordering::Relaxed);
            let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
            self.waited_micros.fetch_add(micros, Ordering::Relaxed);
            select! {
                biased;
                () = changed => {}
                () = sleep(wait) => {
                    turn.use_up();
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        // A panic while the lock is held leaves a bucket that is whole.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that is waited for. Whoever stops waiting gives it back, or streams that are reset together would leave a silence.
struct Turn<'a> {
    of: &'a Throttle,
    bytes: usize,
    /// Where the limit has changed since, what was owed is forgiven already.
    rate: u64,
}

impl Turn<'_> {
    fn use_up(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut bucket = self.of.lock();
        if self.of.rate.load(Ordering::Relaxed) == self.rate {
            bucket.give_back(self.bytes as f64);
        }
    }
}

/// Returns how much may be asked for at once where all of these hold.
pub(crate) fn portion<'a>(limits: impl IntoIterator<Item = &'a Arc<Throttle>>) -> usize {
    let portions = limits.into_iter().map(|limit| limit.portion());
    portions.min().unwrap_or(MAX_PORTION)
}

/// Returns whether any of them limits anything now.
pub(crate) fn is_limiting<'a>(limits: impl IntoIterator<Item = &'a Arc<Throttle>>) -> bool {
    limits.into_iter().any(|limit| limit.rate().is_some())
}

/// Waits until all of them let so many bytes pass. One after the other: while one is waited for the others recover,
/// so it comes to the narrowest.
pub(crate) async fn pass(limits: &[Arc<Throttle>], bytes: usize) {
    for limit in limits {
        limit.pass(bytes).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{self, advance};

    use super::*;

    const RATE: u64 = 64 << 10;

    #[test]
    fn a_turn_is_a_sixteenth_of_a_second_within_bounds() {
        for (rate, expected) in [
            (None, MAX_PORTION),
            (Some(RATE), MIN_PORTION),
            (Some(512 << 10), 32 << 10),
            (Some(1 << 30), MAX_PORTION),
        ] {
            assert_eq!(Throttle::new(rate).portion(), expected, "{rate:?}");
        }
        let limits = [Throttle::new(None), Throttle::new(Some(RATE))];
        assert_eq!(portion(&limits), MIN_PORTION);
        assert!(is_limiting(&limits) && !is_limiting(&limits[..1]));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_share_a_limit_take_turns_and_come_to_the_rate_together() {
        let limit = Throttle::new(Some(RATE));
        limit.pass(RATE as usize).await;
        assert_eq!(limit.stats(), ThrottleStats::default());
        let started = time::Instant::now();
        let mut streams = tokio::task::JoinSet::new();
        for stream in 0..4 {
            let limit = limit.clone();
            streams.spawn(async move {
                for _ in 0..8 {
                    limit.pass(MIN_PORTION).await;
                }
                (stream, started.elapsed())
            });
        }
        let ends: Vec<Duration> = streams.join_all().await.into_iter().map(|(_, end)| end).collect();
        // 128 KiB at 64 KiB a second; each of them ends within its last four turns.
        assert!(
            ends.iter().all(|end| *end > Duration::from_millis(1700)),
            "{ends:?}"
        );
        assert!(
            ends.iter().all(|end| *end < Duration::from_millis(2010)),
            "{ends:?}"
        );
        let stats = limit.stats();
        assert_eq!(stats.waits, 32);
        assert!(stats.waited >= Duration::from_secs(2), "{stats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_are_reset_while_they_wait_leave_no_silence_behind() {
        let limit = Throttle::new(Some(RATE));
        limit.pass(RATE as usize).await;
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let limit = limit.clone();
            streams.spawn(async move { limit.pass(MIN_PORTION).await });
        }
        while limit.stats().waits < 500 {
            tokio::task::yield_now().await;
        }
        streams.shutdown().await;
        let started = time::Instant::now();
        limit.pass(MIN_PORTION).await;
        assert!(
            started.elapsed() < Duration::from_millis(100),
            "{:?}",
            started.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_limit_holds_for_who_waits_already() {
        let limit = Throttle::new(Some(RATE));
        limit.pass(RATE as usize * 100).await;
        let started = time::Instant::now();
        let waiting = tokio::spawn({
            let limit = limit.clone();
            async move { limit.pass(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!limit.is_rested());
        limit.set(Some(RATE * 2));
        advance(Duration::from_millis(1)).await;
        waiting.await.unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{:?}",
            started.elapsed()
        );
        limit.pass(RATE as usize * 100).await;
        let started = time::Instant::now();
        let waiting = tokio::spawn({
            let limit = limit.clone();
            async move { limit.pass(RATE as usize * 100).await }
        });
        tokio::task::yield_now().await;
        limit.set(None);
        waiting.await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(limit.is_rested());
    }

    proptest! {
        /// Streams take turns at any time; the limit changes in between. What has passed by any moment fits what was
        /// allowed since any earlier one.
        #[test]
        fn never_more_than_the_rate_and_the_burst_over_any_time(
            turns in prop::collection::vec((0_u64..400, 1_usize..MAX_PORTION), 1..150)
        ) {
            let limit = Throttle::new(Some(RATE));
            let start = Instant::now();
            let (mut now, mut passed) = (start, Vec::new());
            for (gap, bytes) in turns {
                now += Duration::from_millis(gap);
                let wait = limit.reserve(now, bytes).unwrap_or_default();
                passed.push((now + wait, bytes));
            }
            passed.sort();
            for (index, (first, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (last, bytes) in passed.iter().skip(index) {
                    sum += bytes;
                    let allowed = RATE as f64 * (1.0 + (*last - *first).as_secs_f64()) + 1.0;
                    prop_assert!(sum as f64 <= allowed, "{sum} of {allowed}");
                }
            }
        }
    }
}
