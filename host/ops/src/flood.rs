//! Keeps a flood of one message from filling the log: each place in the code has an allowance of lines.
//!
//! A peer can cause some messages as often as it likes. What is left out is counted, and the next line of that place
//! that is written says how many were. Lines of DEBUG and TRACE pass: whoever asks for them wants all of them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::{Event, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::layer::{Context, Layer};

/// Lines of one place that may come at once.
const BURST: u32 = 100;
/// How long until one more may come.
const REFILL: Duration = Duration::from_secs(1);
/// Places with an allowance of their own; a program has fewer. More share one.
const MAX_PLACES: usize = 4096;

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were left out since the start of the process.
pub fn lines_left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// What one place may still write.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    refilled: Instant,
    left_out: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
            left_out: 0,
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_secs() / REFILL.as_secs();
        if passed > 0 {
            self.left = BURST.min(self.left.saturating_add(u32::try_from(passed).unwrap_or(BURST)));
            self.refilled += REFILL * u32::try_from(passed).unwrap_or(u32::MAX);
        }
        if self.left == 0 {
            self.left_out = self.left_out.saturating_add(1);
            return false;
        }
        self.left -= 1;
        true
    }
}

/// The allowances of all places, shared by the layer, which spends them, and the writer, which tells what was
/// left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flood(Arc<Mutex<HashMap<Option<Identifier>, Allowance>>>);

impl Flood {
    fn admit(&self, place: Identifier, now: Instant) -> bool {
        let mut places = self.lock();
        let full = places.len() >= MAX_PLACES;
        let place = Some(place).filter(|place| !full || places.contains_key(&Some(place.clone())));
        let admitted = places
            .entry(place)
            .or_insert_with(|| Allowance::new(now))
            .admit(now);
        if !admitted {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Returns how many lines of this place were left out since this was last asked.
    pub(crate) fn take_left_out(&self, place: &Metadata<'_>) -> u64 {
        let mut places = self.lock();
        let allowance = places.get_mut(&Some(place.callsite()));
        allowance.map_or(0, |allowance| std::mem::take(&mut allowance.left_out))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Identifier>, Allowance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Flood {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > tracing::Level::INFO || self.admit(metadata.callsite(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_its_allowance_and_counted() {
        let start = Instant::now();
        let mut place = Allowance::new(start);
        let written = (0..10_000).filter(|_| place.admit(start)).count();
        assert_eq!(written, 100);
        assert_eq!(place.left_out, 9900);
        let later = start + Duration::from_millis(3900);
        assert_eq!((0..100).filter(|_| place.admit(later)).count(), 3);
        // What was left of the fourth second counts.
        let later = start + Duration::from_secs(4);
        assert_eq!((0..100).filter(|_| place.admit(later)).count(), 1);
    }

    #[test]
    fn a_long_silence_gives_no_more_than_the_burst() {
        let start = Instant::now();
        let mut place = Allowance::new(start);
        while place.admit(start) {}
        let later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..1000).filter(|_| place.admit(later)).count(), 100);
    }
}
