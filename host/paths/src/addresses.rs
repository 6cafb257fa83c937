//! Which addresses may be dialled again, and when.
//!
//! Driven by whatever dials. It counts failures by address, so one dead address of a peer does not delay the others.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

use rand::Rng;

use crate::Backoff;

/// The waiting time after the first failure.
const FIRST: Duration = Duration::from_secs(5);
/// The longest waiting time, jitter apart.
const CAP: Duration = Duration::from_secs(5 * 60);
/// Addresses remembered at one time; peers can invent addresses, so the oldest failure makes room.
pub const MAX_ADDRESSES: usize = 2048;

#[derive(Debug)]
struct Entry {
    backoff: Backoff,
    until: Instant,
    /// Tells the oldest failure even among several at one moment.
    order: u64,
}

/// The backoff of every address whose last dial failed.
#[derive(Debug)]
pub struct AddressBackoffs<A> {
    failed: HashMap<A, Entry>,
    failures: u64,
}

impl<A> Default for AddressBackoffs<A> {
    fn default() -> Self {
        Self {
            failed: HashMap::new(),
            failures: 0,
        }
    }
}

impl<A: Hash + Eq + Clone> AddressBackoffs<A> {
    /// Starts with every address allowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether the address may be dialled now.
    pub fn may_dial(&self, address: &A, now: Instant) -> bool {
        self.next_try(address).is_none_or(|until| now >= until)
    }

    /// Takes a dial that failed.
    pub fn handle_failed(&mut self, address: A, now: Instant, rng: &mut impl Rng) {
        if self.failed.len() >= MAX_ADDRESSES && !self.failed.contains_key(&address) {
            self.forget_oldest();
        }
        self.failures = self.failures.saturating_add(1);
        let entry = self.failed.entry(address).or_insert_with(|| Entry {
            backoff: Backoff::new(FIRST, CAP),
            until: now,
            order: 0,
        });
        entry.until = now + entry.backoff.next_delay(rng);
        entry.order = self.failures;
    }

    /// Takes a dial that worked.
    pub fn handle_ok(&mut self, address: &A) {
        self.failed.remove(address);
    }

    /// Allows every address again, because the network changed or somebody asked for it.
    pub fn reset_all(&mut self) {
        self.failed.clear();
    }

    /// When the address may be dialled again; none if its last dial did not fail.
    pub fn next_try(&self, address: &A) -> Option<Instant> {
        self.failed.get(address).map(|entry| entry.until)
    }

    /// How many addresses are remembered.
    pub fn len(&self) -> usize {
        self.failed.len()
    }

    /// Whether no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .failed
            .iter()
            .min_by_key(|(_, entry)| entry.order)
            .map(|(address, _)| address.clone());
        if let Some(oldest) = oldest {
            self.failed.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn waits_longer_with_each_failure_until_the_cap() {
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut backoffs = AddressBackoffs::new();
        for expected in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] {
            assert!(backoffs.may_dial(&"other", now));
            backoffs.handle_failed("a", now, &mut rng);
            let delay = (backoffs.next_try(&"a").unwrap() - now).as_secs_f64();
            assert!((expected * 0.75..=expected * 1.25).contains(&delay), "{delay}");
            assert!(!backoffs.may_dial(&"a", now));
            assert!(backoffs.may_dial(&"a", backoffs.next_try(&"a").unwrap()));
        }
        backoffs.handle_ok(&"a");
        assert_eq!(backoffs.next_try(&"a"), None);
    }

    #[test]
    fn a_reset_allows_everything() {
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut backoffs = AddressBackoffs::new();
        backoffs.handle_failed("a", now, &mut rng);
        backoffs.handle_failed("b", now, &mut rng);
        backoffs.reset_all();
        assert!(backoffs.may_dial(&"a", now) && backoffs.may_dial(&"b", now));
    }

    #[test]
    fn the_oldest_failure_makes_room() {
        let (now, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut backoffs = AddressBackoffs::new();
        for address in 0..MAX_ADDRESSES {
            backoffs.handle_failed(address, now, &mut rng);
        }
        backoffs.handle_failed(0, now, &mut rng);
        backoffs.handle_failed(MAX_ADDRESSES, now, &mut rng);
        assert_eq!(backoffs.len(), MAX_ADDRESSES);
        assert!(backoffs.next_try(&1).is_none());
        assert!(backoffs.next_try(&0).is_some() && backoffs.next_try(&MAX_ADDRESSES).is_some());
    }
}
